//! Podman as root: containers, their settings and their lives.

use std::fs;

use garboard_integration_tests::case::{Case, Done};
use garboard_integration_tests::engine::Engine;
use garboard_integration_tests::engine::podman::Podman;
use garboard_integration_tests::engine_cases;
use garboard_integration_tests::processes;
use serde_json::json;

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command](
        settings,
        exit_codes,
        life,
        exec_and_health,
        terminal,
        network
    ))
}

/// Limits, users, capabilities, a profile, mounts.
fn settings(engine: &Engine<'_>) -> Done {
    let podman = Podman::start(engine)?;
    let flags = [
        "--memory=64m",
        "--cpus=0.5",
        "--pids-limit=40",
        "--read-only",
        "--tmpfs=/t:size=1m",
        "--hostname=one",
        "--env=GREETING=hello",
        "--user=user",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
    ];
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us \
                  /sys/fs/cgroup/pids/pids.max; touch /x; touch /t/x; hostname; echo $GREETING; id -u; ulimit -n; \
                  grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status";
    assert_eq!(
        podman.prints(&flags, &["sh", "-c", script])?,
        "67108864\n50000\n40\none\nhello\n1000\n1024\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    );
    let profile = engine.test.dir.join("profile.json");
    let rules = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 12}],
    });
    fs::write(&profile, rules.to_string())?;
    let option = format!("--security-opt=seccomp={}", profile.display());
    podman
        .run(&["--rm", &option], &["mkdir", "/made"])?
        .fails_with("Cannot allocate memory")?;
    let host = engine.test.scratch("shared")?;
    let bind = format!("--volume={}:/mnt", host.display());
    let script = "echo made > /mnt/x; echo kept > /data/x";
    podman.prints(&[&bind, "--volume=data:/data"], &["sh", "-c", script])?;
    assert_eq!(fs::read_to_string(host.join("x"))?, "made\n");
    assert_eq!(
        podman.prints(&["--volume=data:/data"], &["cat", "/data/x"])?,
        "kept\n"
    );
    podman.end()
}

fn exit_codes(engine: &Engine<'_>) -> Done {
    let podman = Podman::start(engine)?;
    let run = |args: &[&str], code| podman.run(&["--rm"], args)?.exits_with(code);
    podman
        .run(&["--no-such-flag"], &["true"])?
        .exits_with(125)?;
    let said = run(&["nosuch"], 127)?.stderr();
    assert!(
        said.contains("exec: \"nosuch\": executable file not found in $PATH"),
        "{said}"
    );
    // The message alone, not the record of the log around it.
    assert!(!said.contains("level=error"), "{said}");
    run(&["/no/such"], 127)?;
    run(&["/etc/passwd"], 126)?;
    run(&["/etc"], 126)?;
    run(&["sh", "-c", "exit 7"], 7)?;
    let flags = ["--rm", "--memory=16m", "--memory-swap=16m"];
    podman
        .run(&flags, &["tail", "/dev/zero"])?
        .exits_with(137)?;
    // A limit that is refused, and one above it that no kernel would take.
    let high = ["--rm", "--ulimit=nofile=2147483647:2147483647"];
    let said = podman.run(&high, &["true"])?.exits_with(126)?.stderr();
    assert!(
        said.to_lowercase().contains("operation not permitted"),
        "{said}"
    );
    podman.end()
}

/// Detached, found by every command, paused, updated, stopped, started again.
fn life(engine: &Engine<'_>) -> Done {
    let podman = Podman::start(engine)?;
    let flags = ["--memory=64m", "--network=none"];
    let script = "echo up; echo down >&2; exec sleep 1000";
    podman.run_in_background("one", &flags, &["sh", "-c", script])?;
    let pid = podman.pid("one")?;
    assert_eq!(
        processes::stat(pid).map(|it| it.comm).as_deref(),
        Some("sleep")
    );
    let logs = podman.podman(&["logs", "one"])?.success()?;
    assert_eq!(
        (logs.stdout(), logs.stderr()),
        ("up\n".into(), "down\n".into())
    );
    let top = podman.podman(&["top", "one", "hpid", "args"])?.success()?;
    let last = top.lines().pop().unwrap_or_default();
    assert_eq!(
        last.split_whitespace().collect::<Vec<_>>(),
        [&pid.to_string(), "sleep", "1000"]
    );
    let stats = [
        "stats",
        "--no-stream",
        "--format",
        "{{.PIDS}} {{.MemUsage}}",
        "one",
    ];
    let said = podman.podman(&stats)?.success()?.stdout();
    assert!(said.starts_with("1 "), "{said}");
    assert!(said.ends_with("/ 67.11MB\n"), "{said}");

    let id = podman.inspect("one", "{{.Id}}")?;
    let file = |controller: &str, name: &str| {
        let scope = format!("{}/libpod-{id}", engine.test.token);
        fs::read_to_string(format!("/sys/fs/cgroup/{controller}/{scope}/{name}"))
    };
    podman.podman(&["pause", "one"])?.success()?;
    assert_eq!(file("freezer", "freezer.state")?, "FROZEN\n");
    assert_eq!(podman.inspect("one", "{{.State.Status}}")?, "paused");
    podman.podman(&["unpause", "one"])?.success()?;
    assert_eq!(file("freezer", "freezer.state")?, "THAWED\n");
    podman
        .podman(&["update", "--memory=100m", "--cpus=0.25", "one"])?
        .success()?;
    assert_eq!(file("memory", "memory.limit_in_bytes")?, "104857600\n");
    assert_eq!(file("cpu", "cpu.cfs_quota_us")?, "25000\n");

    let given = engine.test.dir.join("given");
    fs::write(&given, "to and fro\n")?;
    let given = given.to_string_lossy();
    podman.podman(&["cp", &given, "one:/root/x"])?.success()?;
    assert_eq!(podman.exec("one", &["cat", "/root/x"])?, "to and fro\n");

    podman.podman(&["stop", "--time", "1", "one"])?.success()?;
    assert_eq!(
        podman.inspect("one", "{{.State.ExitCode}} {{.State.Status}}")?,
        "137 exited"
    );
    podman.podman(&["start", "one"])?.success()?;
    assert_eq!(podman.exec("one", &["cat", "/root/x"])?, "to and fro\n");
    assert_ne!(podman.pid("one")?, pid);
    podman.podman(&["kill", "one"])?.success()?;
    assert_eq!(
        podman.podman(&["wait", "one"])?.success()?.stdout(),
        "137\n"
    );
    // TERM is enough where somebody hears it.
    let polite = "trap 'exit 9' TERM; while true; do sleep 0.05; done";
    podman.run_in_background("polite", &["--network=none"], &["sh", "-c", polite])?;
    podman.podman(&["stop", "polite"])?.success()?;
    assert_eq!(podman.inspect("polite", "{{.State.ExitCode}}")?, "9");
    podman.end()
}

fn exec_and_health(engine: &Engine<'_>) -> Done {
    let podman = Podman::start(engine)?;
    let flags = [
        "--network=none",
        "--health-cmd=test -e /well",
        "--health-interval=disable",
    ];
    podman.run_in_background("one", &flags, &["sleep", "1000"])?;
    let code = |args: &[&str], code| {
        podman
            .podman(&[&["exec", "one"], args].concat())?
            .exits_with(code)
    };
    code(&["sh", "-c", "exit 5"], 5)?;
    code(&["nosuch"], 127)?;
    code(&["/etc/passwd"], 126)?;
    let words = ["exec", "--user=user", "--workdir=/tmp", "--env=X=1", "one"];
    let out = podman.podman(&[&words[..], &["sh", "-c", "id -u; pwd; echo $X"]].concat())?;
    assert_eq!(out.success()?.stdout(), "1000\n/tmp\n1\n");
    let mut command = podman.command(&["exec", "--interactive", "one", "cat"])?;
    command.stdin(std::process::Stdio::piped());
    let mut cat = engine.test.runtime.spawn(command)?;
    if let Some(stdin) = cat.child.stdin.as_mut() {
        std::io::Write::write_all(stdin, b"through\n")?;
    }
    let deadline = std::time::Duration::from_secs(20);
    assert_eq!(cat.wait(deadline)?.success()?.stdout(), "through\n");

    let check = ["healthcheck", "run", "one"];
    podman.podman(&check)?.exits_with(1)?;
    podman.exec("one", &["touch", "/well"])?;
    podman.podman(&check)?.success()?;
    assert_eq!(
        podman.inspect("one", "{{.State.Health.Status}}")?,
        "healthy"
    );
    podman.end()
}

fn terminal(engine: &Engine<'_>) -> Done {
    let podman = Podman::start(engine)?;
    let parent = podman.cgroup_parent();
    let image = garboard_integration_tests::engine::image::BUSYBOX;
    let words = ["run", "-it", "--name=one", "--network=none", &parent, image];
    super::docker_terminal::converse(podman.at_terminal(&words)?, 4)?;
    podman.podman(&["start", "one"])?.success()?;
    let words = ["exec", "-it", "one", "sh"];
    super::docker_terminal::converse(podman.at_terminal(&words)?, 6)?;
    podman.end()
}

/// A bridge that netavark makes, and a port.
fn network(engine: &Engine<'_>) -> Done {
    let podman = Podman::start(engine)?;
    let serve = "mkdir /www; hostname > /www/index.html; exec busybox httpd -f -h /www -p 80";
    let flags = ["--publish=127.0.0.1:8080:80", "--hostname=served"];
    podman.run_in_background("web", &flags, &["sh", "-c", serve])?;
    let text = super::docker_network::fetched("127.0.0.1:8080")?;
    assert!(text.ends_with("\r\n\r\nserved\n"), "{text}");
    let links = ["sh", "-c", "ls /sys/class/net | tr '\\n' ' '"];
    assert_eq!(podman.prints(&["--network=none"], &links)?, "lo ");
    assert_eq!(
        podman.prints(&["--network=container:web"], &links)?,
        "eth0 lo "
    );
    podman.end()
}
