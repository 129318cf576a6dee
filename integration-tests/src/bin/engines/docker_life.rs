//! Docker: what becomes of a container once it runs: signals, pauses, restarts, health, its end.

use std::time::{Duration, Instant};

use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::engine::Engine;
use garboard_integration_tests::engine::docker::Docker;
use garboard_integration_tests::engine_cases;
use serde_json::json;

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](
        stop_and_logs,
        pause,
        restart_always,
        live_restore,
        health,
        out_of_memory,
        copy,
        exec,
    ))
}

/// Adds a line to `/lines` ten times a second.
const COUNTING: &str = "while true; do echo line >> /lines; sleep 0.1; done";

/// TERM, then KILL; signals by name; what a container wrote.
fn stop_and_logs(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let script = "trap 'echo told; exit 9' TERM; trap 'echo poked' USR1; echo up; echo down >&2; \
                  while true; do sleep 0.05; done";
    docker.run_in_background("polite", &[], &["sh", "-c", script])?;
    docker.run_in_background("stubborn", &[], &["sleep", "1000"])?;
    logged(&docker, "polite", "down\nup\n")?;
    docker
        .docker(&["kill", "--signal", "USR1", "polite"])?
        .success()?;
    logged(&docker, "polite", "down\npoked\nup\n")?;
    docker.docker(&["stop", "polite"])?.success()?;
    assert_eq!(docker.inspect("polite", "{{.State.ExitCode}}")?, "9");
    logged(&docker, "polite", "down\npoked\ntold\nup\n")?;
    // As pid 1 of its namespace it does not hear TERM.
    let since = Instant::now();
    docker
        .docker(&["stop", "--time", "1", "stubborn"])?
        .success()?;
    assert!(since.elapsed() >= Duration::from_secs(1));
    let state = "{{.State.ExitCode}} {{.State.Status}} {{.State.OOMKilled}}";
    assert_eq!(docker.inspect("stubborn", state)?, "137 exited false");
    docker.docker(&["start", "stubborn"])?.success()?;
    assert_eq!(docker.inspect("stubborn", "{{.State.Status}}")?, "running");
    // Twice as much as a pipe holds.
    let many = docker.prints(&[], &["seq", "1", "20000"])?;
    assert_eq!(many.lines().count(), 20000);
    assert!(many.ends_with("\n20000\n"));
    docker.end()
}

/// Waits until stdout and stderr of the container are these lines, sorted.
fn logged(docker: &Docker<'_>, name: &str, wanted: &str) -> Done {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let out = docker.docker(&["logs", name])?.success()?;
        let mut lines = [
            out.lines(),
            out.stderr().lines().map(str::to_owned).collect(),
        ]
        .concat();
        lines.sort();
        if lines.concat() == wanted.replace('\n', "") {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Failure::new(format!("{name} wrote {lines:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Paused processes stand still, and are found again as they were.
fn pause(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    docker.run_in_background("one", &[], &["sh", "-c", COUNTING])?;
    docker.docker(&["pause", "one"])?.success()?;
    assert_eq!(docker.inspect("one", "{{.State.Status}}")?, "paused");
    assert_eq!(
        docker.cgroup_file("one", "freezer", "freezer.state")?,
        "FROZEN"
    );
    docker
        .docker(&["exec", "one", "true"])?
        .fails_with("is paused")?;
    let lines = |name: &str| {
        let file = format!("/proc/{}/root/lines", docker.pid(name)?);
        Ok::<_, Failure>(std::fs::read_to_string(file)?.lines().count())
    };
    let before = lines("one")?;
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(lines("one")?, before);
    docker.docker(&["unpause", "one"])?.success()?;
    std::thread::sleep(Duration::from_millis(400));
    assert!(lines("one")? > before);
    docker.docker(&["pause", "one"])?.success()?;
    // Not by signal alone: it has to be thawed to die.
    docker.docker(&["rm", "--force", "one"])?.success()?;
    docker.end()
}

/// `--restart=always`: one that ends comes back; one that was stopped does when dockerd has been restarted.
fn restart_always(engine: &Engine<'_>) -> Done {
    let mut docker = Docker::start(engine)?;
    let always = ["--restart=always", "--stop-timeout=1"];
    docker.run_in_background("back", &always, &["sleep", "1000"])?;
    docker.run_in_background("stopped", &always, &["sleep", "1000"])?;
    docker
        .docker(&["stop", "--time", "0", "stopped"])?
        .success()?;
    // Docker does not bring one back at once that ran for less than ten seconds: it waits 100 ms, then twice as long each time.
    for count in ["1", "2"] {
        let pid = docker.pid("back")?;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )?;
        let state = "{{.RestartCount}} {{.State.Running}} {{.State.Restarting}}";
        docker.wait_until("back", state, &format!("{count} true false"))?;
        assert_ne!(docker.pid("back")?, pid);
        assert_eq!(docker.exec("back", &["cat", "/proc/1/comm"])?, "sleep\n");
    }
    docker.daemon().stop()?;
    docker.restart()?;
    let state = "{{.State.Running}} {{.State.Restarting}}";
    docker.wait_until("back", state, "true false")?;
    assert_eq!(docker.exec("back", &["cat", "/proc/1/comm"])?, "sleep\n");
    docker.wait_until("stopped", state, "true false")?;
    docker.end()
}

/// dockerd and its containerd are killed; containers live on, and are found again with what they have done meanwhile.
fn live_restore(engine: &Engine<'_>) -> Done {
    let mut docker = Docker::with_settings(engine, &json!({"live-restore": true}))?;
    docker.run_in_background("lives", &[], &["sh", "-c", COUNTING])?;
    let script = "while ! test -e /go; do sleep 0.05; done; exit 5";
    docker.run_in_background("ends", &[], &["sh", "-c", script])?;
    let (lives, ends) = (docker.pid("lives")?, docker.pid("ends")?);
    docker.daemon().kill()?;
    std::fs::write(format!("/proc/{ends}/root/go"), "")?;
    let until = Instant::now() + Duration::from_secs(10);
    while garboard_integration_tests::processes::stat(ends).is_some_and(|it| it.state != 'Z') {
        assert!(Instant::now() < until, "it never ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    docker.restart()?;
    assert_eq!(docker.pid("lives")?, lives);
    let state = "{{.State.Running}} {{.State.ExitCode}}";
    assert_eq!(docker.inspect("lives", state)?, "true 0");
    docker.wait_until("ends", state, "false 5")?;
    assert_eq!(docker.exec("lives", &["cat", "/proc/1/comm"])?, "sh\n");
    docker
        .docker(&["stop", "--time", "0", "lives"])?
        .success()?;
    assert_eq!(docker.inspect("lives", state)?, "false 137");
    docker.docker(&["start", "lives"])?.success()?;
    docker.end()
}

/// A health check by exec turns with what it looks at.
fn health(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let flags = [
        "--health-cmd=test -e /well",
        "--health-interval=200ms",
        "--health-retries=2",
    ];
    docker.run_in_background("patient", &flags, &["sleep", "1000"])?;
    let state = "{{.State.Health.Status}}";
    docker.wait_until("patient", state, "unhealthy")?;
    docker.exec("patient", &["touch", "/well"])?;
    docker.wait_until("patient", state, "healthy")?;
    docker.exec("patient", &["rm", "/well"])?;
    docker.wait_until("patient", state, "unhealthy")?;
    docker.end()
}

/// The kernel kills for memory: Docker is told, and 137 is the status.
fn out_of_memory(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let flags = ["--name=whole", "--memory=16m", "--memory-swap=16m"];
    docker
        .run(&flags, &["tail", "/dev/zero"])?
        .exits_with(137)?;
    let state = "{{.State.OOMKilled}} {{.State.ExitCode}}";
    docker.wait_until("whole", state, "true 137")?;
    // Its init lives on.
    let flags = ["--name=part", "--memory=16m", "--memory-swap=16m"];
    let script = "tail /dev/zero; echo $?; exit 3";
    let out = docker.run(&flags, &["sh", "-c", script])?.exits_with(3)?;
    assert_eq!(out.lines().last().map(String::as_str), Some("137"));
    docker.wait_until("part", state, "true 3")?;
    docker.end()
}

/// Files go in and out, of running and of stopped containers.
fn copy(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let given = engine.test.dir.join("given");
    let taken = engine.test.dir.join("taken");
    std::fs::write(&given, "to and fro\n")?;
    let (given, out) = (given.to_string_lossy(), taken.to_string_lossy());
    docker.run_in_background("one", &["--tmpfs=/t"], &["sleep", "1000"])?;
    docker.docker(&["cp", &given, "one:/root/x"])?.success()?;
    assert_eq!(docker.exec("one", &["cat", "/root/x"])?, "to and fro\n");
    docker.exec("one", &["sh", "-c", "echo more >> /root/x"])?;
    docker.docker(&["kill", "one"])?.success()?;
    docker.docker(&["cp", "one:/root/x", &out])?.success()?;
    assert_eq!(std::fs::read_to_string(&taken)?, "to and fro\nmore\n");
    let diff = docker.docker(&["diff", "one"])?.success()?.lines();
    assert!(diff.contains(&"A /root/x".to_owned()), "{diff:?}");
    docker.end()
}

/// A second process: who it is, where, what it prints, how it ends.
fn exec(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let flags = ["--env=GIVEN=yes", "--cap-drop=ALL"];
    docker.run_in_background("one", &flags, &["sleep", "1000"])?;
    let words = [
        "exec",
        "--user=user",
        "--workdir=/tmp",
        "--env=OTHER=1",
        "one",
    ];
    let script =
        "id -u; pwd; echo $GIVEN $OTHER; grep ^CapEff /proc/self/status; echo err >&2; exit 5";
    let out = docker.docker(&[&words[..], &["sh", "-c", script]].concat())?;
    let out = out.exits_with(5)?;
    assert_eq!(
        out.stdout(),
        "1000\n/tmp\nyes 1\nCapEff:\t0000000000000000\n"
    );
    assert_eq!(out.stderr(), "err\n");
    let code = |args: &[&str], code| {
        docker
            .docker(&[&["exec", "one"], args].concat())?
            .exits_with(code)
    };
    code(&["sh", "-c", "kill -9 $$"], 137)?;
    let said = code(&["nosuch"], 126)?.stdout();
    assert!(
        said.contains("executable file not found in $PATH"),
        "{said}"
    );
    code(&["/etc/passwd"], 126)?;
    let missing = ["exec", "--workdir=/no/such", "one", "true"];
    docker.docker(&missing)?.exits_with(126)?;

    docker
        .docker(&["exec", "--detach", "one", "sleep", "2000"])?
        .success()?;
    let top = docker
        .docker(&["top", "one", "-o", "pid,args"])?
        .success()?;
    assert!(top.stdout().contains("sleep 2000"), "{}", top.stdout());
    let mut command = docker.command(&["exec", "--interactive", "one", "cat"])?;
    command.stdin(std::process::Stdio::piped());
    let mut cat = engine.test.runtime.spawn(command)?;
    if let Some(stdin) = cat.child.stdin.as_mut() {
        std::io::Write::write_all(stdin, b"through\n")?;
    }
    let out = cat.wait(Duration::from_secs(20))?.success()?;
    assert_eq!(out.stdout(), "through\n");
    docker.docker(&["stop", "--time", "0", "one"])?.success()?;
    docker
        .docker(&["exec", "one", "true"])?
        .fails_with("is not running")?;
    docker.end()
}
