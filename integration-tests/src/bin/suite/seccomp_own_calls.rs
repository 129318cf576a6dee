//! A filter that denies the runtime's own last calls: the container fails to start, and neither starts by itself nor runs on.

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::seccomp::{Agent, allow_but, profile};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    cases![
        a_wait_that_is_denied_is_no_start,
        an_exit_that_is_denied_is_an_end_nevertheless,
    ]
}

const SECCOMP: &str = "/linux/seccomp";

/// The filter of an agent is loaded before the wait for `start`.
fn a_wait_that_is_denied_is_no_start(t: &Test) -> Done {
    t.not_for_runc("waits with another call")?;
    for quiet in [true, false] {
        let agent = Agent::listen(&t.dir.join(format!("agent-{quiet}")), &[])?;
        let mut seccomp = allow_but(&[
            (&["read"], "SCMP_ACT_ERRNO"),
            (&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY"),
        ]);
        seccomp["listenerPath"] = json!(agent.path);
        let bundle = Bundle::sleeper()
            .set("/process/noNewPrivileges", json!(quiet))
            .set(SECCOMP, seccomp);
        let c = t.container(&bundle)?;
        c.create()?;
        c.await_status("stopped")?;
        assert_ne!(c.call("start", &[], &[])?.code(), 0);
        c.delete()?;
    }
    Ok(())
}

/// The program turns out to be none only when the filter is loaded, and the filter denies what a process ends with.
fn an_exit_that_is_denied_is_an_end_nevertheless(t: &Test) -> Done {
    t.not_for_runc("its own calls after the load need a place in the profile")?;
    let bundle = Bundle::args(["/bin/none"])
        .root(|root| root.file("bin/none", 0o755, "no program\n\0"))
        .set(
            SECCOMP,
            profile("SCMP_ACT_ERRNO", &[(&["execve"], "SCMP_ACT_ALLOW")]),
        );
    let c = t.container(&bundle)?;
    c.create()?;
    c.start()?;
    c.await_status("stopped")?;
    c.delete()?;
    Ok(())
}
