//! Podman: pods, also from Kubernetes' YAML.

use std::fs;
use std::path::Path;

use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::engine::podman::Podman;
use garboard_integration_tests::engine::{Door, Engine, image};
use garboard_integration_tests::engine_cases;
use garboard_integration_tests::processes;

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command](pod, play_kube))
}

/// Two containers in the namespaces of a third, pids too: what one starts the other sees.
fn pod(engine: &Engine<'_>) -> Done {
    let podman = Podman::start(engine)?;
    let parent = podman.cgroup_parent();
    let create = [
        "pod",
        "create",
        "--name=pod",
        "--share=net,ipc,uts,pid",
        "--network=none",
        &parent,
    ];
    podman.podman(&create)?.success()?;
    for name in ["one", "two"] {
        let words = [
            "run",
            "--detach",
            "--pod=pod",
            "--name",
            name,
            image::BUSYBOX,
            "sleep",
            "2000",
        ];
        podman.podman(&words)?.success()?;
    }
    let (one, two) = (podman.pid("one")?, podman.pid("two")?);
    for kind in ["net", "ipc", "uts", "pid"] {
        assert_eq!(
            processes::namespace(one, kind),
            processes::namespace(two, kind),
            "{kind}"
        );
    }
    assert_ne!(
        processes::namespace(one, "mnt"),
        processes::namespace(two, "mnt")
    );
    let seen = podman.exec("one", &["ps", "-o", "args"])?;
    assert_eq!(seen.matches("sleep 2000").count(), 2, "{seen}");
    assert_eq!(seen.matches("sleep 1000").count(), 1, "{seen}");
    // No pid namespace of its own: what was exec'ed must end with the container all the same.
    podman
        .podman(&["exec", "--detach", "one", "sleep", "3000"])?
        .success()?;
    podman.podman(&["kill", "one"])?.success()?;
    podman.podman(&["wait", "one"])?.success()?;
    if engine.door != Door::Runc {
        // runc 1.1 leaves it until the pod goes.
        let script = "while ps -o args | grep '[s]leep 3000'; do sleep 0.1; done";
        podman.exec("two", &["timeout", "10", "sh", "-c", script])?;
    }

    podman
        .podman(&["pod", "stop", "--time", "0", "pod"])?
        .success()?;
    podman.podman(&["pod", "start", "pod"])?.success()?;
    assert_eq!(podman.exec("one", &["cat", "/proc/1/comm"])?, "sleep\n");
    podman
        .podman(&["pod", "rm", "--force", "--time", "0", "pod"])?
        .success()?;
    podman.end()
}

const YAML: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: played}
spec:
  hostname: played
  containers:
  - name: writer
    image: localhost/busybox:latest
    command: [sh, -c, "while true; do hostname > /shared/name; sleep 0.1; done"]
    securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    resources: {limits: {memory: 64Mi, cpu: 500m}}
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: reader
    image: localhost/busybox:latest
    command: [sleep, "1000"]
    env: [{name: GREETING, value: hello}]
    volumeMounts: [{name: shared, mountPath: /shared, readOnly: true}]
  volumes:
  - name: shared
    hostPath: {path: SHARED, type: Directory}
"#;

fn play_kube(engine: &Engine<'_>) -> Done {
    let podman = Podman::start(engine)?;
    let shared = engine.test.scratch("shared")?;
    std::os::unix::fs::chown(&shared, Some(1000), None)?;
    let file = engine.test.dir.join("pod.yaml");
    fs::write(&file, YAML.replace("SHARED", &shared.display().to_string()))?;
    let file = file.to_string_lossy();
    podman
        .podman(&["play", "kube", "--network=none", &file])?
        .success()?;
    let script = "until test -s /shared/name; do sleep 0.05; done; cat /shared/name; echo $GREETING; ! touch /shared/x";
    assert_eq!(
        podman.exec("played-reader", &["timeout", "10", "sh", "-c", script])?,
        "played\nhello\n"
    );
    let status = podman.exec(
        "played-writer",
        &["grep", "-E", "^(Uid|CapBnd):", "/proc/1/status"],
    )?;
    assert_eq!(
        status,
        "Uid:\t1000\t1000\t1000\t1000\nCapBnd:\t0000000000000000\n"
    );
    let pid = podman.pid("played-writer")?;
    let limit = |controller: &str, name: &str| {
        let dir = garboard_integration_tests::cgroups::of_process(pid, controller)?;
        let dir = Path::new("/sys/fs/cgroup")
            .join(controller)
            .join(dir.strip_prefix("/").unwrap_or(&dir));
        Ok::<_, Failure>(fs::read_to_string(dir.join(name))?)
    };
    assert_eq!(limit("memory", "memory.limit_in_bytes")?, "67108864\n");
    assert_eq!(limit("cpu", "cpu.cfs_quota_us")?, "50000\n");
    let cgroup = garboard_integration_tests::cgroups::of_process(pid, "pids")?;
    podman
        .podman(&["play", "kube", "--down", &file])?
        .success()?;
    assert_eq!(podman.podman(&["ps", "--all", "--quiet"])?.stdout(), "");
    // `play kube` has no flag for the parent: it is Podman's own.
    for top in garboard_integration_tests::cgroups::hierarchies()? {
        let left = top.join(cgroup.strip_prefix("/").unwrap_or(&cgroup));
        assert!(!left.is_dir(), "{} is left", left.display());
        // Podman leaves it; not removed while another container is in it.
        let _ = fs::remove_dir(top.join("libpod_parent"));
    }
    podman.end()
}
