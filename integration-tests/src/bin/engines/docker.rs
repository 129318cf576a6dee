//! Docker: what `docker run` asks of a container, seen from inside and from outside.

use std::fs;

use garboard_integration_tests::case::{Case, Done};
use garboard_integration_tests::engine::docker::Docker;
use garboard_integration_tests::engine::{Door, Engine, image, shim_program};
use garboard_integration_tests::engine_cases;
use garboard_integration_tests::processes;
use serde_json::json;

pub fn cases() -> Vec<Case> {
    let chosen = engine_cases!([Command](chosen_by_name));
    let all = engine_cases!([Runc, Command, Shim](
        limits,
        privileges,
        seccomp,
        root_filesystem,
        process,
        exit_codes,
    ));
    [chosen, all].concat()
}

/// `--runtime garboard` where runc is the default, and the other way round; what dockerd finds out about the program.
fn chosen_by_name(engine: &Engine<'_>) -> Done {
    let docker = Docker::with_settings(engine, &json!({"default-runtime": "runc"}))?;
    let info = docker.docker(&["info"])?.success()?.stdout();
    assert!(info.contains("Default Runtime: runc"), "{info}");
    let missing = |runtime: &str| {
        let words = [
            "run",
            "--rm",
            "--runtime",
            runtime,
            image::BUSYBOX,
            "nosuch",
        ];
        Ok::<_, garboard_integration_tests::case::Failure>(
            docker.docker(&words)?.exits_with(127)?.stderr(),
        )
    };
    assert!(missing("runc")?.contains("runc create failed: "));
    assert!(missing("garboard")?.contains("garboard create failed: "));
    docker.end()?;
    let docker = Docker::start(engine)?;
    let info = docker.docker(&["info"])?.success()?.stdout();
    assert!(info.contains("Default Runtime: garboard"), "{info}");
    // dockerd has read the commit from `garboard --version`.
    let version = docker
        .docker(&["info", "--format", "{{.RuncCommit.ID}}"])?
        .success()?
        .stdout();
    assert!(!["", "N/A"].contains(&version.trim()), "{version}");
    docker.end()
}

/// Memory and processor, at the start and by `docker update`; `stats` and `top`.
fn limits(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let flags = [
        "--memory=512m",
        "--cpus=0.5",
        "--memory-reservation=256m",
        "--pids-limit=50",
        "--cpuset-cpus=0",
        "--blkio-weight=0",
    ];
    docker.run_in_background("limited", &flags, &["sleep", "1000"])?;
    let file = |controller, name| docker.cgroup_file("limited", controller, name);
    let mib = |count: u64| (count << 20).to_string();
    assert_eq!(file("memory", "memory.limit_in_bytes")?, mib(512));
    assert_eq!(file("memory", "memory.soft_limit_in_bytes")?, mib(256));
    assert_eq!(file("cpu", "cpu.cfs_quota_us")?, "50000");
    assert_eq!(file("cpu", "cpu.cfs_period_us")?, "100000");
    assert_eq!(file("pids", "pids.max")?, "50");
    assert_eq!(file("cpuset", "cpuset.cpus")?, "0");
    let shim = match engine.door {
        Door::Shim => shim_program(engine.test)?,
        _ => "/usr/bin/containerd-shim-runc-v2".into(),
    };
    assert_eq!(docker.shim_of("limited")?, shim);
    let pid = docker.pid("limited")?;
    assert_eq!(file("memory", "cgroup.procs")?, pid.to_string());
    let inside = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes; cat /sys/fs/cgroup/pids/pids.max; \
                  ! echo 1 > /sys/fs/cgroup/pids/pids.max; nproc";
    assert_eq!(
        docker.exec("limited", &["sh", "-c", inside])?,
        format!("{}\n50\n1\n", mib(512))
    );

    let update = ["--memory=300m", "--memory-swap=600m", "--cpus=0.25"];
    docker
        .docker(&[&["update"], &update[..], &["limited"]].concat())?
        .success()?;
    assert_eq!(file("memory", "memory.limit_in_bytes")?, mib(300));
    assert_eq!(file("cpu", "cpu.cfs_quota_us")?, "25000");
    assert_eq!(file("pids", "pids.max")?, "50");
    assert_eq!(
        docker.inspect("limited", "{{.HostConfig.Memory}}")?,
        mib(300)
    );

    let stats = [
        "stats",
        "--no-stream",
        "--format",
        "{{.PIDs}} {{.MemUsage}}",
    ];
    let said = docker
        .docker(&[&stats[..], &["limited"]].concat())?
        .success()?;
    assert!(said.stdout().starts_with("1 "), "{}", said.stdout());
    assert!(said.stdout().ends_with("/ 300MiB\n"), "{}", said.stdout());
    let top = docker
        .docker(&["top", "limited", "-o", "pid,args"])?
        .success()?;
    let lines = top.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(
        lines[1].split_whitespace().collect::<Vec<_>>(),
        [&pid.to_string(), "sleep", "1000"]
    );
    docker.end()
}

/// Users, capabilities, no-new-privileges, and namespaces of the host.
fn privileges(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let id = ["sh", "-c", "id -u; id -g; echo $HOME"];
    assert_eq!(
        docker.prints(&["--user", "user"], &id)?,
        "1000\n1000\n/home/user\n"
    );
    assert_eq!(docker.prints(&["--user", "5:6"], &id)?, "5\n6\n/\n");
    let groups = docker.prints(&["--user", "5", "--group-add", "7"], &["id", "-G"])?;
    assert_eq!(groups, "0 7\n");

    let status = [
        "grep",
        "-E",
        "^(CapBnd|CapEff|NoNewPrivs):",
        "/proc/self/status",
    ];
    let only_one = ["--cap-drop=ALL", "--cap-add=NET_RAW"];
    let flags = [&only_one[..], &["--security-opt=no-new-privileges"]].concat();
    assert_eq!(
        docker.prints(&flags, &status)?,
        "CapEff:\t0000000000002000\nCapBnd:\t0000000000002000\nNoNewPrivs:\t1\n"
    );
    let chown = ["chown", "1000", "/tmp"];
    docker.prints(&[], &chown)?;
    docker
        .run(&["--rm", "--cap-drop=CHOWN"], &chown)?
        .fails_with("Operation not permitted")?;

    docker.run_in_background(
        "shares",
        &["--pid=host", "--uts=host", "--ipc=host"],
        &["sleep", "1000"],
    )?;
    let pid = docker.pid("shares")?;
    let own = std::process::id().cast_signed();
    for kind in ["pid", "uts", "ipc"] {
        assert_eq!(
            processes::namespace(pid, kind),
            processes::namespace(own, kind)
        );
    }
    assert_ne!(
        processes::namespace(pid, "mnt"),
        processes::namespace(own, "mnt")
    );
    let seen = docker.exec(
        "shares",
        &["sh", "-c", "echo $PPID; grep -c . /proc/$PPID/cmdline"],
    )?;
    assert!(!seen.starts_with("0\n"), "{seen}");
    // In a pid namespace of others an exec'ed process must not outlive the container.
    docker
        .docker(&["exec", "--detach", "shares", "sleep", "2000"])?
        .success()?;
    let cgroup = docker.cgroup_file("shares", "pids", "cgroup.procs")?;
    assert_eq!(cgroup.lines().count(), 2, "{cgroup}");
    docker.docker(&["kill", "shares"])?.success()?;
    docker.wait_until(
        "shares",
        "{{.State.ExitCode}} {{.State.Running}}",
        "137 false",
    )?;
    for pid in cgroup.lines() {
        assert!(processes::stat(pid.parse()?).is_none(), "{pid} is left");
    }
    docker.end()
}

/// Docker's own profile, none, and one from a file.
fn seccomp(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let mode = [
        "sh",
        "-c",
        "grep ^Seccomp: /proc/self/status; mkdir /made && echo made",
    ];
    assert_eq!(docker.prints(&[], &mode)?, "Seccomp:\t2\nmade\n");
    assert_eq!(
        docker.prints(&["--security-opt=seccomp=unconfined"], &mode)?,
        "Seccomp:\t0\nmade\n"
    );
    let profile = engine.test.dir.join("profile.json");
    let rules = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 12}],
    });
    fs::write(&profile, rules.to_string())?;
    let option = format!("--security-opt=seccomp={}", profile.display());
    let out = docker
        .run(&["--rm", &option], &mode)?
        .fails_with("Cannot allocate memory")?;
    assert_eq!(out.stdout(), "Seccomp:\t2\n");
    docker.run_in_background("filtered", &[&option], &["sleep", "1000"])?;
    let pid = docker.pid("filtered")?;
    assert_eq!(
        processes::status_field(pid, "Seccomp").as_deref(),
        Some("2")
    );
    docker
        .docker(&["exec", "filtered", "mkdir", "/made"])?
        .fails_with("Cannot allocate memory")?;
    docker.end()
}

/// Read-only roots, binds, volumes, tmpfs, devices.
fn root_filesystem(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let script = "! echo x > /file 2>/dev/null; echo x > /tmp/file; df -k /tmp /dev/shm | awk 'NR>1 {print $2}'; \
                  cat /etc/hostname";
    let flags = [
        "--read-only",
        "--tmpfs=/tmp:size=1m,mode=1777",
        "--shm-size=2m",
        "--hostname=one",
    ];
    assert_eq!(
        docker.prints(&flags, &["sh", "-c", script])?,
        "1024\n2048\none\n"
    );

    let host = engine.test.scratch("shared")?;
    fs::write(host.join("given"), "from outside\n")?;
    let bind = format!("{}:/mnt", host.display());
    let script = "cat /mnt/given; echo from inside > /mnt/made";
    assert_eq!(
        docker.prints(&["--volume", &bind], &["sh", "-c", script])?,
        "from outside\n"
    );
    assert_eq!(fs::read_to_string(host.join("made"))?, "from inside\n");
    docker
        .run(
            &["--rm", "--volume", &format!("{bind}:ro")],
            &["touch", "/mnt/x"],
        )?
        .fails_with("Read-only file system")?;
    docker.prints(
        &["--volume=data:/data"],
        &["sh", "-c", "echo kept > /data/x"],
    )?;
    assert_eq!(
        docker.prints(&["--volume=data:/data"], &["cat", "/data/x"])?,
        "kept\n"
    );

    let script = "ls -l /dev/none | cut -c1; echo > /dev/none; ! mknod /tmp/disk b 7 0 || ! cat /tmp/disk 2>&1";
    assert_eq!(
        docker.prints(&["--device=/dev/null:/dev/none"], &["sh", "-c", script])?,
        "c\ncat: can't open '/tmp/disk': Operation not permitted\n"
    );
    // A directory cannot be mounted over a file: Docker knows this by the runtime's words.
    let wrong = format!("{}:/etc/passwd", host.display());
    docker
        .run(&["--rm", "--volume", &wrong], &["true"])?
        .fails_with("Are you trying to mount a directory onto a file (or vice-versa)?")?;
    docker.end()
}

/// Environment, directory, limits, sysctls, entrypoint, docker-init.
fn process(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let flags = [
        "--env=GREETING=hello",
        "--workdir=/new/place",
        "--ulimit=nofile=100:200",
        "--sysctl=net.ipv4.ip_forward=0",
        "--oom-score-adj=500",
        "--entrypoint=/bin/sh",
    ];
    let script = "echo $GREETING; pwd; ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj";
    assert_eq!(
        docker.prints(&flags, &["-c", script])?,
        "hello\n/new/place\n100\n200\n0\n500\n"
    );
    assert_eq!(
        docker.prints(&["--init"], &["sh", "-c", "cat /proc/1/comm; test $$ != 1"])?,
        "docker-init\n"
    );
    // docker-init hands TERM on and says how its child ended.
    docker.run_in_background("init", &["--init"], &["sleep", "1000"])?;
    docker.docker(&["stop", "init"])?.success()?;
    assert_eq!(docker.inspect("init", "{{.State.ExitCode}}")?, "143");
    docker.end()
}

/// 125 for what Docker or the runtime cannot do, 126 and 127 for a program, otherwise the container's.
fn exit_codes(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let run = |flags: &[&str], args: &[&str], code| {
        docker
            .run(&[&["--rm"], flags].concat(), args)?
            .exits_with(code)
    };
    run(&["--no-such-flag"], &[], 125)?;
    // More than any kernel's fs.nr_open.
    let said = run(&["--ulimit=nofile=2147483647"], &["true"], 125)?.stderr();
    assert!(said.contains("operation not permitted"), "{said}");
    let said = run(&[], &["nosuch"], 127)?.stderr();
    assert!(
        said.contains("exec: \"nosuch\": executable file not found in $PATH"),
        "{said}"
    );
    run(&[], &["/no/such"], 127)?;
    run(&[], &["/etc/passwd"], 126)?;
    run(&[], &["/etc"], 126)?;
    run(&[], &["sh", "-c", "exit 7"], 7)?;
    run(&[], &["sh", "-c", "kill -9 $$; sleep 1; exit 3"], 3)?;
    run(&["--init"], &["sh", "-c", "kill -9 $$"], 137)?;
    docker.run_in_background("killed", &[], &["sleep", "1000"])?;
    docker.docker(&["kill", "killed"])?.success()?;
    assert_eq!(
        docker.docker(&["wait", "killed"])?.success()?.stdout(),
        "137\n"
    );
    docker.end()
}
