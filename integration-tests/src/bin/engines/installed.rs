//! The package on a whole system: installed, found by every engine under its name, removed and purged. In the guest alone, one at a time.
//!
//! Each engine takes garboard from where the package puts it, by the snippet that the package brings, and with the driver that it chooses where systemd is init.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::engine::image::BUSYBOX;
use garboard_integration_tests::engine::installed::{Installed, control};
use serde_json::Value;

pub fn cases() -> Vec<Case> {
    let cases = cases![
        the_package_comes_and_goes,
        docker_by_its_unit,
        containerd_by_its_unit,
    ];
    by_the_command(cases)
}

/// They go in by the command, whatever else they do: `--door` looks for that.
pub fn by_the_command(cases: Vec<Case>) -> Vec<Case> {
    let named = cases.into_iter().map(|case| Case {
        name: format!("command::{}", case.name),
        ..case
    });
    named.collect()
}

fn the_package_comes_and_goes(t: &Test) -> Done {
    let before = files()?;
    let system = Installed::new(t)?;
    let version = system.root(&["garboard", "--version"])?;
    assert!(version.starts_with("garboard version "), "{version}");
    system.root(&["containerd-shim-garboard-v2", "-v"])?;
    for page in [
        "garboard.8",
        "garboard-run.8",
        "containerd-shim-garboard-v2.8",
    ] {
        let page = format!("/usr/share/man/man8/{page}.gz");
        system.root(&["gzip", "--test", &page])?;
    }
    // Every file is as the package says, the manual pages included.
    assert_eq!(system.root(&["dpkg", "--verify", "garboard"])?, "");
    // One profile that the parser refuses would make apparmor.service fail.
    system.root(&[
        "apparmor_parser",
        "--skip-kernel-load",
        "--skip-cache",
        "/etc/apparmor.d",
    ])?;
    let container = t.container(&Bundle::shell("echo hello"))?;
    let mut run = Command::new("/usr/bin/garboard");
    run.args(container.run_command(&[]).get_args())
        .stdin(Stdio::null());
    assert_eq!(t.runtime.finish(run)?.success()?.stdout(), "hello\n");
    // Over itself, as an upgrade does.
    system.dpkg("--install")?;
    system.dpkg("--remove")?;
    assert!(!Path::new("/usr/bin/garboard").try_exists()?);
    // What stays are the files of the administrator, which must not trouble anybody.
    system.root(&[
        "apparmor_parser",
        "--skip-kernel-load",
        "--skip-cache",
        "/etc/apparmor.d",
    ])?;
    let info = system.try_root(&["podman", "info", "--format", "{{.Host.OCIRuntime.Name}}"])?;
    assert_eq!(
        (info.stdout(), info.stderr()),
        ("crun\n".to_owned(), String::new())
    );
    system.dpkg("--purge")?;
    drop(system);
    let left: Vec<_> = files()?.difference(&before).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

/// What is in the system's directories, without what others keep account in.
fn files() -> Result<BTreeSet<PathBuf>, Failure> {
    let mut found = BTreeSet::new();
    let mut pending: Vec<PathBuf> = ["/etc", "/usr", "/opt", "/var"].map(PathBuf::from).to_vec();
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir)?.flatten() {
            let path = entry.path();
            let of_others = [
                "/var/lib/dpkg",
                "/var/log",
                "/var/lib/containers",
                "/var/tmp",
            ];
            if of_others.iter().any(|other| path.starts_with(other)) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                pending.push(path.clone());
            }
            found.insert(path);
        }
    }
    Ok(found)
}

/// As the default runtime, by the snippet; systemd's driver is what Docker takes here by itself.
fn docker_by_its_unit(t: &Test) -> Done {
    let system = Installed::new(t)?;
    let snippet = fs::read_to_string("/usr/share/doc/garboard/examples/daemon.json")?;
    system.configure("/etc/docker/daemon.json", &snippet)?;
    system.start("docker.service")?;
    system.root(&["docker", "load", "--quiet", "--input", &system.image()?])?;
    let name = t.token.as_str();
    let words = [
        "docker",
        "run",
        "--detach",
        "--name",
        name,
        "--memory=64m",
        "--cpus=0.5",
        "--restart=always",
        BUSYBOX,
        "sh",
        "-c",
        "trap 'exit 5' TERM; while :; do sleep 0.1; done",
    ];
    let id = system.root(&words)?;
    let first = docker_pid(&system, name)?;
    let unit = format!("docker-{id}.scope");
    let (cgroup, limit) = control(first, "memory.max")?;
    assert_eq!(cgroup, format!("/system.slice/{unit}"));
    assert_eq!(limit, (64 << 20).to_string());
    assert_eq!(control(first, "cpu.max")?.1, "50000 100000");
    let shown = ["MemoryMax", "CPUQuotaPerSecUSec"].map(|name| format!("--property={name}"));
    let shown = system.root(&["systemctl", "show", "--value", &shown[0], &shown[1], &unit])?;
    let shown: BTreeSet<&str> = shown.lines().collect();
    assert_eq!(shown, BTreeSet::from(["67108864", "500ms"]), "of the unit");
    let runtime = system.root(&[
        "docker",
        "inspect",
        "--format",
        "{{.HostConfig.Runtime}}",
        name,
    ])?;
    assert_eq!(runtime, "garboard");
    assert_eq!(
        system.root(&["docker", "exec", name, "cat", "/proc/1/comm"])?,
        "sh"
    );

    system.root(&[
        "docker",
        "update",
        "--memory=48m",
        "--memory-swap=48m",
        name,
    ])?;
    assert_eq!(control(first, "memory.max")?.1, (48 << 20).to_string());
    let shown = system.root(&[
        "systemctl",
        "show",
        "--value",
        "--property=MemoryMax",
        &unit,
    ])?;
    assert_eq!(shown, (48 << 20).to_string());
    let stats = [
        "docker",
        "stats",
        "--no-stream",
        "--format",
        "{{.MemUsage}}",
        name,
    ];
    let stats = system.root(&stats)?;
    assert!(stats.ends_with("/ 48MiB"), "{stats}");

    // Whoever kills it, Docker starts it again.
    system.root(&["kill", "-KILL", &first.to_string()])?;
    wait_until("another process", || {
        let pid = docker_pid(&system, name)?;
        Ok(pid != 0 && pid != first)
    })?;
    system.root(&["docker", "stop", name])?;
    let ended = [
        "docker",
        "inspect",
        "--format",
        "{{.State.ExitCode}} {{.RestartCount}}",
        name,
    ];
    assert_eq!(system.root(&ended)?, "5 1");
    system.root(&["docker", "rm", name])?;
    docker_says_what_the_kernel_killed(&system, name)?;
    let scopes = system.root(&[
        "systemctl",
        "list-units",
        "--all",
        "--no-legend",
        "docker-*.scope",
    ])?;
    assert_eq!(scopes, "");
    Ok(())
}

fn docker_pid(system: &Installed<'_>, name: &str) -> Result<i32, Failure> {
    let words = ["docker", "inspect", "--format", "{{.State.Pid}}", name];
    Ok(system.root(&words)?.parse()?)
}

fn docker_says_what_the_kernel_killed(system: &Installed<'_>, name: &str) -> Done {
    let words = [
        "docker",
        "run",
        "--name",
        name,
        "--memory=16m",
        "--memory-swap=16m",
        BUSYBOX,
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=64M",
        "count=1",
    ];
    system.try_root(&words)?.exits_with(137)?;
    let words = [
        "docker",
        "inspect",
        "--format",
        "{{.State.OOMKilled}}",
        name,
    ];
    assert_eq!(system.root(&words)?, "true");
    system.root(&["docker", "rm", name])?;
    Ok(())
}

/// In runc's place, with systemd's driver.
fn containerd_by_its_unit(t: &Test) -> Done {
    let system = Installed::new(t)?;
    system.start("containerd.service")?;
    let ctr = |words: &[&str]| system.root(&[&["ctr", "--namespace", &t.token], words].concat());
    ctr(&["images", "import", &system.image()?])?;
    let cgroup = format!("system.slice:garboard:{}", t.token);
    ctr(&[
        "run",
        "--detach",
        "--runc-binary=/usr/bin/garboard",
        "--runc-systemd-cgroup",
        "--cgroup",
        &cgroup,
        "--memory-limit=67108864",
        BUSYBOX,
        "one",
        "sleep",
        "1000",
    ])?;
    let tasks = ctr(&["tasks", "ls"])?;
    let mut line = tasks.lines().last().unwrap_or("").split_whitespace();
    assert_eq!(line.next(), Some("one"));
    let pid: i32 = line.next().unwrap_or("").parse()?;
    let (path, limit) = control(pid, "memory.max")?;
    let unit = format!("garboard-{}.scope", t.token);
    assert_eq!(
        (path, limit),
        (format!("/system.slice/{unit}"), (64 << 20).to_string())
    );
    assert_eq!(
        ctr(&["tasks", "exec", "--exec-id=e", "one", "cat", "/proc/1/comm"])?,
        "sleep"
    );
    let metrics: Value =
        serde_json::from_str(&ctr(&["tasks", "metrics", "--format=json", "one"])?)?;
    assert_eq!(metrics["memory"]["usage_limit"], 64 << 20, "{metrics}");
    assert_eq!(metrics["pids"]["current"], 1, "{metrics}");
    ctr(&["tasks", "kill", "--signal=SIGKILL", "one"])?;
    wait_until("a task that is over", || {
        Ok(ctr(&["tasks", "ls"])?.contains("STOPPED"))
    })?;
    ctr(&["tasks", "delete", "one"]).or_else(|error| {
        // It says 137 with its own status.
        if error.to_string().contains("137") {
            Ok(String::new())
        } else {
            Err(error)
        }
    })?;
    ctr(&["containers", "delete", "one"])?;
    let units = system.root(&["systemctl", "list-units", "--all", "--no-legend", &unit])?;
    assert_eq!(units, "");
    // The shim is found by its name.
    let out = ctr(&[
        "run",
        "--rm",
        "--runtime=io.containerd.garboard.v2",
        BUSYBOX,
        "two",
        "echo",
        "by the shim",
    ])?;
    assert_eq!(out, "by the shim");
    ctr(&["images", "rm", BUSYBOX])?;
    the_snippet_for_pods_is_understood(&system)
}

/// As the snippet itself says how to bring it in; Debian's own configuration stays in force.
fn the_snippet_for_pods_is_understood(system: &Installed<'_>) -> Done {
    let snippet = fs::read_to_string("/usr/share/doc/garboard/examples/containerd.toml")?;
    system.configure("/etc/containerd/conf.d/garboard.toml", &snippet)?;
    let debian = fs::read_to_string("/etc/containerd/config.toml")?;
    let config = system.dir.join("config.toml");
    let text = format!("imports = [\"/etc/containerd/conf.d/*.toml\"]\n{debian}");
    fs::write(&config, text)?;
    let config = config.to_string_lossy();
    let merged = system.root(&["containerd", "--config", &config, "config", "dump"])?;
    for part in [
        "containerd.runtimes.garboard]",
        "containerd.runtimes.runc]",
        "runtime_type = \"io.containerd.garboard.v2\"",
        "ConfigPath = \"/usr/share/garboard/shim-systemd.toml\"",
        "bin_dir = \"/usr/lib/cni\"",
        "path = \"/var/lib/containerd/opt\"",
    ] {
        assert!(merged.contains(part), "no {part} in\n{merged}");
    }
    Ok(())
}
