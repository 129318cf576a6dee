//! The package under Podman, as root and as a user: found by its name, in scopes and units of systemd's, with timers for health checks.

use std::fs;
use std::path::Path;

use garboard_integration_tests::case::{Case, Done, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::engine::image::BUSYBOX;
use garboard_integration_tests::engine::installed::{Installed, control};

use crate::installed::by_the_command;

pub fn cases() -> Vec<Case> {
    by_the_command(cases![as_root, as_a_user_in_a_unit])
}

/// With a health check, which is a timer of systemd's, and as a unit that Podman writes.
fn as_root(t: &Test) -> Done {
    let system = Installed::new(t)?;
    system.root(&["podman", "load", "--quiet", "--input", &system.image()?])?;
    // By the name that the package's drop-in says; what else Podman knows stays.
    let other = ["podman", "info", "--format", "{{.Host.OCIRuntime.Name}}"];
    assert_eq!(system.root(&other)?, "crun");
    let name = t.token.as_str();
    let words = [
        "podman",
        "--runtime=garboard",
        "run",
        "--detach",
        "--name",
        name,
        "--memory=64m",
        "--cpus=0.5",
        "--network=none",
        "--health-cmd=test -e /healthy",
        "--health-interval=1s",
        "--health-start-period=0s",
        BUSYBOX,
        "sh",
        "-c",
        "trap 'exit 5' TERM; while :; do sleep 0.1; done",
    ];
    let id = system.root(&words)?;
    let pid: i32 = system
        .root(&["podman", "inspect", "--format", "{{.State.Pid}}", name])?
        .parse()?;
    let (cgroup, limit) = control(pid, "memory.max")?;
    assert!(
        cgroup.starts_with(&format!("/machine.slice/libpod-{id}.scope")),
        "{cgroup}"
    );
    assert_eq!(limit, (64 << 20).to_string());
    assert_eq!(control(pid, "cpu.max")?.1, "50000 100000");
    system.root(&["podman", "exec", name, "touch", "/healthy"])?;
    let health = [
        "podman",
        "inspect",
        "--format",
        "{{.OCIRuntime}} {{.State.Health.Status}}",
        name,
    ];
    wait_until("a healthy container", || {
        Ok(system.root(&health)? == "garboard healthy")
    })?;
    let text = system.root(&["podman", "generate", "systemd", "--new", "--name", name])?;
    system.root(&["podman", "rm", "--force", "--time=5", name])?;
    assert!(
        !Path::new("/sys/fs/cgroup")
            .join(cgroup.trim_start_matches('/'))
            .try_exists()?
    );

    // The unit is written without the runtime's name: it is the machine's default that counts.
    let default = "[engine]\nruntime = \"garboard\"\n";
    system.configure("/etc/containers/containers.conf.d/zz-default.conf", default)?;
    let unit = format!("container-{name}.service");
    system.configure(&format!("/etc/systemd/system/{unit}"), &text)?;
    system.root(&["systemctl", "daemon-reload"])?;
    system.start(&unit)?;
    let runtime = ["podman", "inspect", "--format", "{{.OCIRuntime}}", name];
    assert_eq!(system.root(&runtime)?, "garboard");
    assert_eq!(
        system.root(&["podman", "exec", name, "cat", "/proc/1/comm"])?,
        "sh"
    );
    system.root(&["systemctl", "stop", &unit])?;
    assert_eq!(system.root(&["podman", "ps", "--all", "--quiet"])?, "");
    Ok(())
}

/// The unit that a `.container` file becomes (podman-systemd.unit(5)); Debian's Podman is older than its generator. `--cgroups=split` puts the
/// container below the unit's own cgroup.
const QUADLET: &str = "[Unit]
Description=A container below a user's manager

[Service]
Environment=PODMAN_SYSTEMD_UNIT=%n
KillMode=mixed
ExecStop=/usr/bin/podman rm -f -i --cidfile=%t/%N.cid
ExecStopPost=-/usr/bin/podman rm -f -i --cidfile=%t/%N.cid
ExecStopPost=-rm -f %t/%N.cid
Delegate=yes
Type=notify
NotifyAccess=all
SyslogIdentifier=%N
SuccessExitStatus=5
ExecStart=/usr/bin/podman --runtime=garboard run --name=systemd-%N --cidfile=%t/%N.cid --replace --rm \\
  --log-driver=passthrough --cgroups=split --sdnotify=conmon --network=none -d --memory=64m IMAGE \\
  sh -c \"trap 'exit 5' TERM; while :; do sleep 0.1; done\"
";

fn as_a_user_in_a_unit(t: &Test) -> Done {
    let system = Installed::new(t)?;
    system.user(&["podman", "load", "--quiet", "--input", &system.image()?])?;
    let words = [
        "podman",
        "--runtime=garboard",
        "run",
        "--rm",
        "--network=none",
        "--memory=32m",
        BUSYBOX,
        "sh",
        "-c",
        "id -u; cat /sys/fs/cgroup/memory.max",
    ];
    assert_eq!(system.user(&words)?, "0\n33554432");
    let name = t.token.as_str();
    let unit = format!("{name}.service");
    let text = QUADLET.replace("IMAGE", BUSYBOX);
    system.configure(&format!("/etc/systemd/user/{unit}"), &text)?;
    system.user(&["systemctl", "--user", "daemon-reload"])?;
    system.user(&["systemctl", "--user", "start", &unit])?;
    let container = format!("systemd-{name}");
    let seen = "{{.OCIRuntime}} {{.State.Pid}}";
    let seen = system.user(&["podman", "inspect", "--format", seen, &container])?;
    let (runtime, pid) = seen.split_once(' ').unwrap_or_default();
    assert_eq!(runtime, "garboard");
    let (cgroup, limit) = control(pid.parse()?, "memory.max")?;
    assert!(
        cgroup.contains(&format!("/{unit}/libpod-payload-")),
        "{cgroup}"
    );
    assert_eq!(limit, (64 << 20).to_string());
    // Root there is the user here.
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    assert!(
        status.contains("\nUid:\t1000\t1000\t1000\t1000\n"),
        "{status}"
    );
    assert_eq!(
        system.user(&["podman", "exec", &container, "id", "-u"])?,
        "0"
    );
    system.user(&["systemctl", "--user", "stop", &unit])?;
    let state = [
        "systemctl",
        "--user",
        "show",
        "--value",
        "--property=ActiveState",
        &unit,
    ];
    assert_eq!(system.user(&state)?, "inactive");
    assert_eq!(system.user(&["podman", "ps", "--all", "--quiet"])?, "");
    // The process that holds a user's namespaces for the next call of Podman.
    system.user(&[
        "sh",
        "-c",
        "kill $(cat $XDG_RUNTIME_DIR/libpod/tmp/pause.pid)",
    ])?;
    Ok(())
}
