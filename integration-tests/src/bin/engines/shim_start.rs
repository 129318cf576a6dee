//! `start` and what it leaves running: what it reads and prints for each containerd, and which containers share a shim.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use containerd_shim_protos::bootstrap_api::{BootstrapParams, Extension};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::oci::Options;
use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done};
use garboard_integration_tests::engine::task_api::{Containerd, Shim, Task, print};
use garboard_integration_tests::engine::{Engine, task as tasks};
use garboard_integration_tests::engine_cases;
use garboard_integration_tests::processes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

pub fn cases() -> Vec<Case> {
    let mut cases = engine_cases!([Runc, Shim](
        a_shim_serves_and_ends,
        its_surroundings,
        a_group_has_one_shim,
        a_dead_shim_s_socket_is_taken_over,
    ));
    // The stock shim of containerd 1.6 knows one form of each, and loses shims when it is called twice at once.
    cases.extend(engine_cases!([Shim](
        replies_for_every_containerd,
        options_in_every_form,
        what_is_wrong_is_one_line,
        many_starts_at_once,
    )));
    cases
}

fn a_shim_serves_and_ends(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::sleeper())?;
    let shim = containerd.shim("one", &bundle)?;
    let (pid, task) = shim.pids("one")?;
    assert_eq!(tasks::shims(), [pid]);
    assert_eq!(task, 0);
    shim.shutdown("one")?;
    containerd.shims_are_gone()?;
    assert!(std::fs::symlink_metadata(shim.socket()).is_err());
    Ok(())
}

fn its_surroundings(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::sleeper())?;
    let shim = containerd.shim("one", &bundle)?;
    let (pid, _) = shim.pids("one")?;
    assert_eq!(
        std::fs::read_link(format!("/proc/{pid}/cwd"))?,
        std::path::absolute(&bundle)?
    );
    let group = nix::unistd::getpgid(Some(Pid::from_raw(pid)))?;
    assert_eq!(group, Pid::from_raw(pid), "a process group of its own");
    let socket = shim.socket();
    let metadata = std::fs::metadata(&socket)?;
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let directory = socket.parent().unwrap_or(Path::new("/"));
    let mode = std::fs::metadata(directory)?.permissions().mode();
    assert_eq!(mode & 0o077, 0);
    let score = |pid: u32| -> Result<i32, std::io::Error> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
        Ok(text.trim().parse().unwrap_or(-9999))
    };
    assert_eq!(score(pid.cast_unsigned())?, score(std::process::id())? + 1);
    assert_eq!(
        std::fs::read_to_string(bundle.join("address"))?,
        shim.address
    );
    shim.shutdown("one")?;
    containerd.shims_are_gone()
}

fn a_group_has_one_shim(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let mut tasks_of = Vec::new();
    for (id, key) in [
        ("pod", "io.containerd.runc.v2.group"),
        ("one", "io.kubernetes.cri.sandbox-id"),
        ("two", "io.kubernetes.cri.sandbox-id"),
    ] {
        let annotations = json!({key: "pod"});
        let bundle = Bundle::sleeper().set("/annotations", annotations);
        tasks_of.push(containerd.task(id, &bundle)?);
    }
    let addresses: Vec<_> = tasks_of.iter().map(|one| &one.shim.address).collect();
    assert_eq!(addresses[0], addresses[1]);
    assert_eq!(addresses[0], addresses[2]);
    assert_eq!(tasks::shims().len(), 1);
    let other = containerd.sleeper("other")?;
    assert_ne!(&other.shim.address, addresses[0]);
    assert_eq!(tasks::shims().len(), 2);
    for task in &tasks_of {
        task.init().start()?;
    }
    other.end()?;
    tasks::wait_and_reap(
        "the other shim to be gone",
        || Ok(tasks::shims().len() == 1),
    )?;
    // It lives as long as one of its containers.
    for task in &tasks_of {
        assert_eq!(tasks::shims().len(), 1);
        task.end()?;
    }
    containerd.shims_are_gone()
}

fn a_dead_shim_s_socket_is_taken_over(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::sleeper())?;
    let first = containerd.shim("one", &bundle)?;
    let (pid, _) = first.pids("one")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    containerd.shims_are_gone()?;
    assert!(std::fs::symlink_metadata(first.socket()).is_ok());
    let second = containerd.shim("one", &bundle)?;
    assert_eq!(second.address, first.address);
    assert_ne!(second.pids("one")?.0, pid);
    second.shutdown("one")?;
    containerd.shims_are_gone()
}

fn replies_for_every_containerd(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::sleeper())?;
    let mut old = containerd.command("one", &bundle);
    old.arg("start");
    let bare = print(old, &[])?;
    let address = bare.address()?;
    assert_eq!(String::from_utf8_lossy(&bare.stdout), address);
    // A socket that is served is told of in the caller's own form.
    let json = containerd.call_start("one", &bundle, &[])?;
    let reply: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    assert_eq!(
        reply,
        json!({"version": 2, "address": address, "protocol": "ttrpc"})
    );
    let params = BootstrapParams {
        instance_id: "one".to_owned(),
        namespace: containerd.namespace().to_owned(),
        containerd_version: "2.3.0".to_owned(),
        ..BootstrapParams::default()
    };
    let newest = containerd.call_start("one", &bundle, &params.write_to_bytes()?)?;
    let reply: serde_json::Value = serde_json::from_slice(&newest.stdout)?;
    assert_eq!(
        reply,
        json!({"version": 3, "address": address, "protocol": "ttrpc"})
    );
    assert_eq!(tasks::shims().len(), 1);
    Shim::connect(&address)?.shutdown("one")?;
    containerd.shims_are_gone()
}

fn options_in_every_form(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let any = |url: &str, value: Vec<u8>| Any {
        type_url: url.to_owned(),
        value,
        ..Any::default()
    };
    let options = Options {
        systemd_cgroup: false,
        root: engine.test.dir.join("root").display().to_string(),
        ..Options::default()
    }
    .write_to_bytes()?;
    let runc = any("containerd.runc.v1.Options", options.clone());
    // Field 1 is the type's URL, field 3 the body.
    let mut generic = vec![0x0a, 0];
    let body = b"SystemdCgroup = false\n";
    generic.extend([0x1a, u8::try_from(body.len())?]);
    generic.extend(body);
    let generic = any("runtimeoptions.v1.Options", generic);
    let params = BootstrapParams {
        instance_id: "params".to_owned(),
        namespace: containerd.namespace().to_owned(),
        extensions: vec![Extension {
            value: MessageField::some(runc.clone()),
            ..Extension::default()
        }],
        ..BootstrapParams::default()
    };
    for (id, stdin) in [
        ("empty", Vec::new()),
        ("runc", runc.write_to_bytes()?),
        ("generic", generic.write_to_bytes()?),
        ("params", params.write_to_bytes()?),
    ] {
        let bundle = containerd.bundle(id, &Bundle::args(["true"]))?;
        let printed = containerd.call_start(id, &bundle, &stdin)?;
        let shim = Shim::connect(&printed.address()?)?;
        let task = Task::new(shim, id, &bundle);
        task.create()?;
        task.init().start()?;
        assert_eq!(task.init().wait()?, 0, "{id}");
        task.init().delete()?;
        task.shim.shutdown(id)?;
        containerd.shims_are_gone()?;
    }
    Ok(())
}

fn what_is_wrong_is_one_line(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::sleeper())?;
    let garbage = containerd.call_start("one", &bundle, b"\xff\xff\xff")?;
    std::fs::remove_file(bundle.join("config.json"))?;
    let no_config = containerd.call_start("one", &bundle, &[])?;
    for printed in [garbage, no_config] {
        assert!(printed.code.is_some_and(|code| code != 0), "{printed:?}");
        assert!(printed.stdout.is_empty(), "{printed:?}");
        assert_eq!(printed.stderr.lines().count(), 1, "{printed:?}");
    }
    containerd.shims_are_gone()
}

/// All are told of one shim, which is the only one.
fn many_starts_at_once(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let annotations = json!({"io.kubernetes.cri.sandbox-id": "pod"});
    let bundle = Bundle::sleeper().set("/annotations", annotations);
    let mut bundles = Vec::new();
    for number in 0..8 {
        let id = format!("c{number}");
        bundles.push((id.clone(), containerd.bundle(&id, &bundle)?));
    }
    let commands: Vec<_> = bundles
        .iter()
        .map(|(id, bundle)| {
            let mut command = containerd.command(id, bundle);
            command.env("MAX_SHIM_VERSION", "2").arg("start");
            command
        })
        .collect();
    let printed: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = commands
            .into_iter()
            .map(|command| scope.spawn(|| print(command, &[])))
            .collect();
        calls.into_iter().map(|call| call.join()).collect()
    });
    let mut addresses = Vec::new();
    for outcome in printed {
        let outcome = outcome.unwrap_or_else(|_| panic!("a thread panicked"));
        addresses.push(outcome?.address()?);
    }
    addresses.dedup();
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    let shim = Shim::connect(&addresses[0])?;
    let (pid, _) = shim.pids("c0")?;
    tasks::wait_and_reap("one shim to be left", || Ok(tasks::shims() == [pid]))?;
    assert!(processes::stat(pid).is_some());
    shim.shutdown("c0")?;
    containerd.shims_are_gone()
}
