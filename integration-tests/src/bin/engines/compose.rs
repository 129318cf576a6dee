//! docker-compose: a stack of an API, PostgreSQL and Redis whose parts wait for each other's health.
//!
//! The image is Debian's tree of `$GARBOARD_TEST_DEBIAN`, without what no server reads.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::engine::Engine;
use garboard_integration_tests::engine::docker::{Docker, SOCKET};
use garboard_integration_tests::engine_cases;
use garboard_integration_tests::runtime::Output;

use crate::docker_network::fetched;

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](three_services))
}

const DEADLINE: Duration = Duration::from_secs(90);

/// Documentation, and the compiler that PostgreSQL loads for long queries only.
const LEFT_OUT: [&str; 5] = [
    "./usr/share/doc",
    "./usr/share/man",
    "./usr/share/locale",
    "./var/cache",
    "*/libLLVM*",
];

fn three_services(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    debian(engine, &docker)?;
    let dir = stack(engine)?;
    let compose = |words: &[&str]| compose(engine, &dir, words);
    compose(&["up", "--detach"])?.success()?;
    let answer = fetched("127.0.0.1:8080")?;
    assert!(answer.ends_with("\r\n\r\n1 1\n"), "{answer}");
    docker.wait_until("stack_api_1", "{{.State.Health.Status}}", "healthy")?;
    // The API was started when the others were well, not before.
    let started = docker.inspect("stack_api_1", "{{.State.StartedAt}}")?;
    for name in ["stack_database_1", "stack_cache_1"] {
        let well = "{{range .State.Health.Log}}{{if eq .ExitCode 0}}{{.End.UTC.Format \"2006-01-02T15:04:05.000000000Z\"}} {{end}}{{end}}";
        let well = docker.inspect(name, well)?;
        let first = well.split(' ').next().unwrap_or("");
        let own = docker.inspect(name, "{{.State.StartedAt}}")?;
        assert!(own < started, "{name}: {own} {started}");
        assert!(!first.is_empty(), "{name} was never well");
    }
    assert_eq!(
        docker.cgroup_file("stack_api_1", "memory", "memory.limit_in_bytes")?,
        (256u64 << 20).to_string()
    );
    let said = compose(&["exec", "-T", "cache", "redis-cli", "get", "visits"])?.success()?;
    assert_eq!(said.stdout(), "1\n");

    // What the database keeps is in a volume, what the cache has is not.
    compose(&["restart", "--timeout", "5", "database", "cache"])?.success()?;
    for name in ["stack_database_1", "stack_cache_1"] {
        docker.wait_until(name, "{{.State.Health.Status}}", "healthy")?;
    }
    let answer = fetched("127.0.0.1:8080")?;
    assert!(answer.ends_with("\r\n\r\n2 1\n"), "{answer}");
    compose(&["stop", "--timeout", "5", "database"])?.success()?;
    assert_eq!(
        docker.inspect("stack_database_1", "{{.State.ExitCode}}")?,
        "0"
    );
    compose(&["down", "--volumes", "--timeout", "1"])?.success()?;
    assert_eq!(docker.docker(&["ps", "--all", "--quiet"])?.stdout(), "");
    docker.end()
}

fn compose(engine: &Engine<'_>, dir: &Path, words: &[&str]) -> Result<Output, Failure> {
    let mut command = engine.command("docker-compose")?;
    command
        .current_dir(dir)
        .args(["--host", SOCKET, "--no-ansi", "--project-name", "stack"])
        .args(words);
    engine.test.runtime.spawn(command)?.wait(DEADLINE)
}

/// Brings the image `localhost/debian` in.
fn debian(engine: &Engine<'_>, docker: &Docker<'_>) -> Done {
    let tree = std::env::var_os("GARBOARD_TEST_DEBIAN").map(PathBuf::from);
    let Some(tree) = tree.filter(|tree| tree.join("usr/lib/postgresql").is_dir()) else {
        return Err(Failure::skip(
            "no tree with servers at $GARBOARD_TEST_DEBIAN",
        ));
    };
    let archive = engine.test.dir.join("debian.tar");
    let mut tar = Command::new("tar");
    tar.args(["--create", "--numeric-owner", "--file"])
        .arg(&archive);
    tar.args(LEFT_OUT.map(|path| format!("--exclude={path}")));
    tar.arg("--directory").arg(tree).arg(".");
    engine.test.runtime.spawn(tar)?.wait(DEADLINE)?.success()?;
    docker
        .docker(&["import", &archive.to_string_lossy(), "localhost/debian"])?
        .success()?;
    Ok(std::fs::remove_file(archive)?)
}

/// A directory with the stack's files.
fn stack(engine: &Engine<'_>) -> Result<PathBuf, Failure> {
    let dir = engine.test.scratch("stack")?;
    let files = [
        (
            "docker-compose.yml",
            include_str!("../../../stack/docker-compose.yml"),
        ),
        ("api.py", include_str!("../../../stack/api.py")),
    ];
    for (name, text) in files {
        std::fs::write(dir.join(name), text)?;
    }
    Ok(dir)
}
