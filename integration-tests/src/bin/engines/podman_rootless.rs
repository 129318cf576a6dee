//! Podman as an ordinary user with subordinate ids, below whom the runtime has no right but that of a user namespace.

use garboard_integration_tests::case::{Case, Done};
use garboard_integration_tests::engine::Engine;
use garboard_integration_tests::engine::podman::Podman;
use garboard_integration_tests::engine_cases;
use garboard_integration_tests::processes;

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command](containers, network, pod))
}

/// Who a container is, inside and outside; its life.
fn containers(engine: &Engine<'_>) -> Done {
    let podman = Podman::rootless(engine)?;
    let script = "id -u; cat /proc/self/uid_map | awk '{print $1, $2, $3}'; touch /x && chown 1000 /x && stat -c %u /x";
    assert_eq!(
        podman.prints(&["--network=none"], &["sh", "-c", script])?,
        "0\n0 52000 1\n1 5200000 65536\n1000\n"
    );
    podman
        .run(&["--rm", "--network=none"], &["nosuch"])?
        .exits_with(127)?;
    let flags = [
        "--network=none",
        "--user=user",
        "--read-only",
        "--cap-drop=ALL",
    ];
    podman.run_in_background("one", &flags, &["sleep", "1000"])?;
    let pid = podman.pid("one")?;
    let uid = processes::status_field(pid, "Uid").unwrap_or_default();
    assert!(uid.starts_with("5200999\t"), "{uid}");
    assert_eq!(podman.exec("one", &["id", "-u"])?, "1000\n");
    podman
        .podman(&["exec", "one", "sh", "-c", "exit 5"])?
        .exits_with(5)?;
    podman.podman(&["exec", "one", "nosuch"])?.exits_with(127)?;
    podman
        .podman(&["exec", "one", "touch", "/x"])?
        .fails_with("Read-only file system")?;
    let top = podman.podman(&["top", "one", "huser", "args"])?.success()?;
    assert!(top.stdout().contains("5200999"), "{}", top.stdout());
    podman.podman(&["stop", "--time", "0", "one"])?.success()?;
    assert_eq!(podman.inspect("one", "{{.State.ExitCode}}")?, "137");
    podman.podman(&["start", "one"])?.success()?;
    assert_eq!(podman.exec("one", &["cat", "/proc/1/comm"])?, "sleep\n");
    podman.end()
}

/// slirp4netns gives the container a network of its own.
fn network(engine: &Engine<'_>) -> Done {
    let podman = Podman::rootless(engine)?;
    let serve = "mkdir /www; hostname > /www/index.html; exec busybox httpd -f -h /www -p 80";
    let flags = ["--publish=127.0.0.1:8080:80", "--hostname=served"];
    podman.run_in_background("web", &flags, &["sh", "-c", serve])?;
    let text = super::docker_network::fetched("127.0.0.1:8080")?;
    assert!(text.ends_with("\r\n\r\nserved\n"), "{text}");
    let links = ["sh", "-c", "ls /sys/class/net | tr '\\n' ' '"];
    assert_eq!(podman.exec("web", &links)?, "lo tap0 ");
    podman.end()
}

fn pod(engine: &Engine<'_>) -> Done {
    let podman = Podman::rootless(engine)?;
    podman
        .podman(&["pod", "create", "--name=pod", "--network=none"])?
        .success()?;
    for name in ["one", "two"] {
        podman.run_in_background(name, &["--pod=pod"], &["sleep", "2000"])?;
    }
    let (one, two) = (podman.pid("one")?, podman.pid("two")?);
    for kind in ["net", "ipc", "uts", "user"] {
        assert_eq!(
            processes::namespace(one, kind),
            processes::namespace(two, kind),
            "{kind}"
        );
    }
    assert_ne!(
        processes::namespace(one, "pid"),
        processes::namespace(two, "pid")
    );
    podman.end()
}
