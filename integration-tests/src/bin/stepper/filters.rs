//! The seccomp profiles that strikes are made at: Docker's default one, and one that notifies an agent of calls that a launch itself makes.

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Failure, Test};
use garboard_integration_tests::seccomp::{Agent, allow_but};
use serde_json::{Value, json};

/// Lines with Docker's profile.
pub const DOCKERS: [&str; 3] = ["filtered-create", "filtered-run", "filtered-exec"];

/// Lines with an agent.
pub const NOTIFYING: [&str; 3] = ["notified-create", "notified-run", "notified-exec"];

const DOCKER: &str = include_str!("../../../fixtures/engines/docker.json");

/// The command of a line: what stands behind the dash, if there is one.
pub fn command(verb: &'static str) -> &'static str {
    verb.split_once('-').map_or(verb, |(_, command)| command)
}

/// Puts in the line's profile. The agent answers as long as it is held.
pub fn profiled(
    verb: &str,
    test: &Test,
    bundle: Bundle,
) -> Result<(Bundle, Option<Agent>), Failure> {
    if DOCKERS.contains(&verb) {
        let config: Value = serde_json::from_str(DOCKER)?;
        let profile = config["linux"]["seccomp"].clone();
        return Ok((bundle.set("/linux/seccomp", profile), None));
    }
    if NOTIFYING.contains(&verb) {
        let agent = Agent::listen(&test.dir.join("agent"), &[])?;
        let calls = ["sendmsg", "recvmsg", "read", "write", "close", "execve"];
        let mut profile = allow_but(&[(&calls, "SCMP_ACT_NOTIFY")]);
        profile["listenerPath"] = json!(agent.path);
        return Ok((bundle.set("/linux/seccomp", profile), Some(agent)));
    }
    Ok((bundle, None))
}
