//! Buildah: `run` and `bud`, whose every command is a container of the OCI runtime.

use std::fs;
use std::process::Command;

use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::engine::podman::{DEADLINE, Podman};
use garboard_integration_tests::engine::{Engine, doc, image};
use garboard_integration_tests::engine_cases;
use garboard_integration_tests::runtime::Output;

use crate::docker_build::{DOCKERFILE, PRINTS};

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command](run, build))
}

fn buildah(engine: &Engine<'_>, podman: &Podman<'_>, words: &[&str]) -> Result<Output, Failure> {
    let mut command = podman.program("buildah")?;
    command
        .env("BUILDAH_ISOLATION", "oci")
        .env("BUILDAH_RUNTIME", engine.runtime())
        .args(words);
    engine.test.runtime.spawn(command)?.wait(DEADLINE)
}

fn run(engine: &Engine<'_>) -> Done {
    let podman = Podman::start(engine)?;
    let call = |words: &[&str]| buildah(engine, &podman, words);
    let parent = podman.cgroup_parent();
    let from = [
        "from",
        "--name=box",
        &parent,
        "--network=none",
        image::BUSYBOX,
    ];
    call(&from)?.success()?;
    let run = |flags: &[&str], args: &[&str]| call(&[&["run"], flags, &["box"], args].concat());
    let script =
        "id -u; ls /sys/class/net; grep -c /garboard-test /proc/self/cgroup; echo err >&2; exit 3";
    let out = run(&[], &["sh", "-c", script])?.exits_with(3)?;
    assert_eq!(out.stdout(), "0\nlo\n10\n");
    assert!(out.stderr().starts_with("err\n"), "{}", out.stderr());
    run(&[], &["nosuch"])?.fails_with("executable file not found in $PATH")?;
    run(&["--user=user"], &["touch", "/x"])?.fails_with("Permission denied")?;
    let host = engine.test.scratch("shared")?;
    fs::write(host.join("given"), "given\n")?;
    let bind = format!("--volume={}:/mnt:ro", host.display());
    let out = run(&[&bind], &["sh", "-c", "cat /mnt/given; ! touch /mnt/x"])?.success()?;
    assert_eq!(out.stdout(), "given\n");
    // A terminal that Buildah makes: its console socket.
    let out = run(&["--tty"], &["tty"])?.success()?;
    assert_eq!(out.stdout(), "/dev/pts/0\r\n");
    call(&["rm", "--all"])?.success()?;
    podman.end()
}

/// By the line of the document, as it stands there.
fn build(engine: &Engine<'_>) -> Done {
    let podman = Podman::start(engine)?;
    let context = engine.test.scratch("context")?;
    fs::write(context.join("given"), "given\n")?;
    fs::write(context.join("Dockerfile"), DOCKERFILE)?;
    let program = [(doc::PROGRAM, engine.runtime())];
    let line = doc::block("Podman and Buildah", "sh", &program)?;
    let flags = format!(
        "buildah bud --build-arg=BASE={} {} ",
        image::BUSYBOX,
        podman.cgroup_parent()
    );
    let mut shell: Command = podman.program("sh")?;
    shell
        .current_dir(&context)
        .args(["-ec", &line.replace("buildah bud ", &flags)]);
    engine
        .test
        .runtime
        .spawn(shell)?
        .wait(DEADLINE)?
        .success()?;
    let words = ["--rm", "--network=none"];
    let parent = podman.cgroup_parent();
    let words = [&["run", &parent], &words[..], &["localhost/built"]].concat();
    assert_eq!(podman.podman(&words)?.success()?.stdout(), PRINTS);
    podman.end()
}
