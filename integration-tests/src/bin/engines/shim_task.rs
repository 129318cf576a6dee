//! Every method of the Task service, what it does and what it refuses.

use std::time::Duration;

use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, Empty, Mount,
    ResizePtyRequest, Status, UpdateTaskRequest,
};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::shim::StatsResponse;
use containerd_shim_protos::ttrpc::Code;
use containerd_shim_protos::{cgroups, cgroups_v2};
use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::engine::task_api::{Containerd, Task, V2, V3, json_any, refused};
use garboard_integration_tests::engine::{Door, Engine, task as tasks};
use garboard_integration_tests::{cgroups as groups, engine_cases, processes};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    let mut cases = engine_cases!([Runc, Shim](
        a_life,
        what_is_not_there_is_not_found,
        kill_says_what_is_gone,
        pause_and_resume,
        processes_and_their_execs,
        statistics,
        an_update_is_in_the_cgroup,
        a_container_that_cannot_be_made_leaves_nothing,
        a_rootfs_is_mounted_and_unmounted,
        a_shim_with_tasks_does_not_end,
        what_is_running_is_not_deleted,
        stdin_is_closed_when_asked,
        a_terminal_has_the_size_it_is_given,
    ));
    cases.extend(engine_cases!([Shim](
        a_life_by_the_newer_name,
        what_is_there_already,
        what_is_not_implemented_says_so,
        an_exec_needs_a_running_init,
    )));
    cases
}

fn a_life(engine: &Engine<'_>) -> Done {
    life(engine, V2)
}

fn a_life_by_the_newer_name(engine: &Engine<'_>) -> Done {
    life(engine, V3)
}

fn life(engine: &Engine<'_>, service: &'static str) -> Done {
    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::sleeper())?;
    let shim = containerd.shim("one", &bundle)?.speaking(service);
    let task = Task::new(shim, "one", &bundle);
    let init = task.init();
    let pid = task.create()?;
    let state = init.state()?;
    assert_eq!(state.status.enum_value(), Ok(Status::CREATED));
    assert_eq!((state.pid, state.id.as_str()), (pid, "one"));
    assert_eq!(state.bundle, bundle.display().to_string());
    assert_eq!(
        std::fs::read_to_string(bundle.join("init.pid"))?,
        pid.to_string()
    );
    assert_eq!(init.start()?, pid);
    assert_eq!(init.status()?, Status::RUNNING);
    wait_until("init to be the program", || {
        Ok(processes::command_line(pid.cast_signed()).contains("sleep"))
    })?;
    let (shim_pid, task_pid) = task.shim.pids("one")?;
    assert_eq!(
        (vec![shim_pid], task_pid),
        (tasks::shims(), pid.cast_signed())
    );
    init.kill(9)?;
    assert_eq!(init.wait()?, 137);
    let state = init.state()?;
    assert_eq!(state.status.enum_value(), Ok(Status::STOPPED));
    assert_eq!(state.exit_status, 137);
    let exited_at = state.exited_at.clone();
    // As often as one likes.
    assert_eq!(init.wait()?, 137);
    let deleted = init.delete()?;
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 137));
    assert_eq!(deleted.exited_at, exited_at);
    refused(init.state(), Code::NOT_FOUND);
    task.shim.shutdown("one")?;
    containerd.shims_are_gone()
}

/// Of a container, and of an exec.
fn what_is_not_there_is_not_found(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let absent = Task::new(task.shim.clone(), "absent", &task.bundle);
    let found: ConnectResponse = absent.plain("Connect")?;
    assert_eq!(found.task_pid, 0);
    for method in [
        "State",
        "Start",
        "Delete",
        "Kill",
        "ResizePty",
        "CloseIO",
        "Pids",
        "Pause",
        "Resume",
        "Update",
        "Stats",
        "Wait",
    ] {
        let outcome = absent.plain::<Empty>(method);
        assert_eq!(
            outcome.as_ref().map_err(|refused| refused.code),
            Err(Some(Code::NOT_FOUND)),
            "{method}: {outcome:?}"
        );
    }
    refused(absent.exec("e", &["true"]), Code::NOT_FOUND);
    let exec = task.process("e");
    refused(exec.state(), Code::NOT_FOUND);
    refused(exec.start(), Code::NOT_FOUND);
    refused(exec.wait(), Code::NOT_FOUND);
    refused(exec.delete(), Code::NOT_FOUND);
    refused(exec.kill(9), Code::NOT_FOUND);
    // Nothing of that has hurt the one that is there.
    assert_eq!(task.init().status()?, Status::RUNNING);
    task.end()?;
    containerd.shims_are_gone()
}

fn what_is_there_already(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    refused(task.create(), Code::ALREADY_EXISTS);
    task.exec("e", &["true"])?;
    refused(task.exec("e", &["true"]), Code::ALREADY_EXISTS);
    let pid = task.init().state()?.pid;
    assert!(task.init().start().is_err());
    assert_eq!(task.init().state()?.pid, pid);
    // Never started, it can be deleted; and then its id is free.
    task.process("e").delete()?;
    assert_eq!(task.exec_to_the_end("e", &["sh", "-c", "exit 3"])?, 3);
    task.end()?;
    containerd.shims_are_gone()
}

fn what_is_not_implemented_says_so(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let checkpoint = CheckpointTaskRequest {
        id: "one".to_owned(),
        path: "/nowhere".to_owned(),
        ..CheckpointTaskRequest::default()
    };
    let outcome = task.shim.call::<Empty>("Checkpoint", &checkpoint);
    refused(outcome, Code::UNIMPLEMENTED);
    refused(task.plain::<Empty>("Teleport"), Code::UNIMPLEMENTED);
    for service in [
        "containerd.task.v1.Task",
        "containerd.runtime.sandbox.v1.Sandbox",
    ] {
        let other = task.shim.speaking(service);
        let outcome = other.call::<ConnectResponse>("Connect", &ConnectRequest::default());
        refused(outcome, Code::UNIMPLEMENTED);
    }
    // Restoring is what Create with a checkpoint is.
    let bundle = containerd.bundle("two", &Bundle::sleeper())?;
    let two = Task::new(task.shim.clone(), "two", &bundle);
    let mut request = two.create_request();
    request.checkpoint = "/nowhere".to_owned();
    refused(two.create_with(&request), Code::UNIMPLEMENTED);
    task.end()?;
    containerd.shims_are_gone()
}

fn an_exec_needs_a_running_init(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let exec = task.exec("e", &["sleep", "1000"])?;
    // It has no process yet.
    refused(exec.kill(9), Code::FAILED_PRECONDITION);
    task.init().kill(9)?;
    task.init().wait()?;
    refused(exec.start(), Code::FAILED_PRECONDITION);
    exec.delete()?;
    refused(
        task.exec("f", &["true"]).and_then(|f| f.start()),
        Code::FAILED_PRECONDITION,
    );
    task.init().delete()?;
    task.shim.shutdown("one")?;
    containerd.shims_are_gone()
}

/// CRI and Docker take NotFound for "it has ended", and anything else for an error.
fn kill_says_what_is_gone(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let exec = task.exec("e", &["sleep", "1000"])?;
    exec.start()?;
    exec.kill(15)?;
    assert_eq!(exec.wait()?, 143);
    refused(exec.kill(15), Code::NOT_FOUND);
    exec.delete()?;
    task.init().kill(9)?;
    task.init().wait()?;
    refused(task.init().kill(9), Code::NOT_FOUND);
    task.init().delete()?;
    task.shim.shutdown("one")?;
    containerd.shims_are_gone()
}

fn pause_and_resume(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    task.plain::<Empty>("Pause")?;
    assert_eq!(task.init().status()?, Status::PAUSED);
    task.plain::<Empty>("Resume")?;
    assert_eq!(task.init().status()?, Status::RUNNING);
    containerd.endpoint.expect("one", "resumed")?;
    assert_eq!(
        containerd.endpoint.of("one"),
        ["create", "start", "paused", "resumed"]
    );
    task.end()?;
    containerd.shims_are_gone()
}

fn processes_and_their_execs(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let init = task.init().state()?.pid;
    let pid = task.exec("e", &["sleep", "1000"])?.start()?;
    let mut expected = [(init, String::new()), (pid, "e".to_owned())];
    expected.sort();
    let mut found = task.pids()?;
    found.sort();
    assert_eq!(found, expected);
    let state = task.process("e").state()?;
    assert_eq!(state.pid, pid);
    // The stock shim of containerd 1.6 leaves it empty.
    assert!(engine.door == Door::Runc || state.exec_id == "e");
    assert_eq!(state.status.enum_value(), Ok(Status::RUNNING));
    task.end()?;
    containerd.shims_are_gone()
}

fn statistics(engine: &Engine<'_>) -> Done {
    if engine.door == Door::Runc {
        // Without the controller it does not read cpu.stat, which the kernel has nevertheless.
        engine.test.controller("cpu")?;
    }
    let containerd = Containerd::start(engine)?;
    let busy = Bundle::shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000");
    let task = containerd.task("one", &busy)?;
    let pid = task.init().start()?;
    let (mut processor, mut memory, mut threads) = (0, 0, 0);
    wait_until("something to have been used", || {
        let found: StatsResponse = task.plain("Stats")?;
        let (url, value) = (&found.stats.type_url, found.stats.value.as_slice());
        (processor, memory, threads) = match url.as_str() {
            "io.containerd.cgroups.v1.Metrics" => {
                let found = cgroups::metrics::Metrics::parse_from_bytes(value)?;
                let memory = found.memory.usage.usage;
                (found.cpu.usage.total / 1_000, memory, found.pids.current)
            }
            "io.containerd.cgroups.v2.Metrics" => {
                let found = cgroups_v2::metrics::Metrics::parse_from_bytes(value)?;
                (found.cpu.usage_usec, found.memory.usage, found.pids.current)
            }
            _ => return Err(Failure::new(format!("statistics are a {url}"))),
        };
        // A runtime's own process, with many threads, may still be in the cgroup.
        Ok(processor > 5_000 && threads <= 2)
    })?;
    let unified = groups::unified();
    let url = if unified { "v2" } else { "v1" };
    let found: StatsResponse = task.plain("Stats")?;
    assert_eq!(
        found.stats.type_url,
        format!("io.containerd.cgroups.{url}.Metrics")
    );
    assert!(processor < 60_000_000, "microseconds: {processor}");
    // The view of v2 has the controllers that v1 does not hold.
    if !unified {
        assert!((100_000..50_000_000).contains(&memory), "{memory}");
        assert!(threads > 0);
    }
    assert!(processes::stat(pid.cast_signed()).is_some());
    task.end()?;
    containerd.shims_are_gone()
}

fn an_update_is_in_the_cgroup(engine: &Engine<'_>) -> Done {
    engine.test.controller("pids")?;
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let request = UpdateTaskRequest {
        id: "one".to_owned(),
        resources: json_any(
            "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
            &json!({"pids": {"limit": 77}}),
        ),
        ..UpdateTaskRequest::default()
    };
    task.shim.call::<Empty>("Update", &request)?;
    let pid = task.init().state()?.pid.cast_signed();
    let directory = groups::of_process(pid, "pids")?;
    let mut found = None;
    for hierarchy in groups::hierarchies()? {
        let below = directory.strip_prefix("/").unwrap_or(&directory);
        let file = hierarchy.join(below).join("pids.max");
        found = found.or(std::fs::read_to_string(file).ok());
    }
    assert_eq!(found.as_deref(), Some("77\n"));
    task.end()?;
    containerd.shims_are_gone()
}

fn a_container_that_cannot_be_made_leaves_nothing(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::args(["/no/such/program"]))?;
    let shim = containerd.shim("one", &bundle)?;
    let task = Task::new(shim, "one", &bundle);
    let outcome = task.create();
    let Err(why) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(why.message.contains("/no/such/program"), "{why}");
    refused(task.init().state(), Code::NOT_FOUND);
    assert_eq!(containerd.endpoint.of("one"), [""; 0]);
    // The id is free.
    let good = containerd.bundle("good", &Bundle::args(["true"]))?;
    std::fs::copy(good.join("config.json"), bundle.join("config.json"))?;
    task.create()?;
    task.init().start()?;
    assert_eq!(task.init().wait()?, 0);
    task.init().delete()?;
    task.shim.shutdown("one")?;
    containerd.shims_are_gone()
}

fn a_rootfs_is_mounted_and_unmounted(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::shell("exec cat /marker"))?;
    let root = engine.test.dir.join("root");
    std::fs::rename(bundle.join("rootfs"), &root)?;
    std::fs::create_dir(bundle.join("rootfs"))?;
    std::fs::write(root.join("marker"), "here")?;
    let shim = containerd.shim("one", &bundle)?;
    let task = Task::new(shim, "one", &bundle);
    let mut request = task.create_request();
    request.rootfs.push(Mount {
        type_: "bind".to_owned(),
        source: root.display().to_string(),
        options: vec!["rbind".to_owned(), "ro".to_owned()],
        ..Mount::default()
    });
    task.create_with(&request)?;
    let mounted = || bundle.join("rootfs/marker").is_file();
    assert!(mounted());
    task.init().start()?;
    assert_eq!(task.init().wait()?, 0);
    task.init().delete()?;
    assert!(!mounted());
    // A second mount that fails takes the first one along.
    request.rootfs.push(Mount {
        type_: "no-such-filesystem".to_owned(),
        source: "x".to_owned(),
        ..Mount::default()
    });
    assert!(task.create_with(&request).is_err());
    assert!(!mounted());
    task.shim.shutdown("one")?;
    containerd.shims_are_gone()
}

fn a_shim_with_tasks_does_not_end(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    task.shim.shutdown("one")?;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(task.init().status()?, Status::RUNNING);
    task.end()?;
    containerd.shims_are_gone()
}

fn what_is_running_is_not_deleted(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let exec = task.exec("e", &["sleep", "1000"])?;
    exec.start()?;
    for process in [task.init(), exec] {
        let outcome = process.delete();
        assert!(
            outcome.as_ref().is_err_and(|why| matches!(
                why.code,
                Some(Code::UNKNOWN | Code::FAILED_PRECONDITION)
            )),
            "{outcome:?}"
        );
        assert_eq!(process.status()?, Status::RUNNING);
    }
    task.end()?;
    containerd.shims_are_gone()
}

/// As containerd's client does it: fifos, of which the shim keeps a writer until it is told.
fn stdin_is_closed_when_asked(engine: &Engine<'_>) -> Done {
    use std::io::{Read, Write};
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let fifo = |name: &str| -> Result<String, Failure> {
        let path = engine.test.dir.join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)?;
        Ok(path.display().to_string())
    };
    let mut request = task.exec_request("e", &["cat"]);
    (request.stdin, request.stdout) = (fifo("in")?, fifo("out")?);
    request.stderr = fifo("err")?;
    // Both ends, so that neither side waits for the other.
    let open = |path: &str| {
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
    };
    let (mut input, mut output) = (open(&request.stdin)?, open(&request.stdout)?);
    let _errors = open(&request.stderr)?;
    let exec = task.exec_with(&request)?;
    exec.start()?;
    input.write_all(b"first\n")?;
    let mut line = [0; 6];
    output.read_exact(&mut line)?;
    assert_eq!(&line, b"first\n");
    // Our end is not the last writer.
    drop(input);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(exec.status()?, Status::RUNNING);
    let close = CloseIORequest {
        id: "one".to_owned(),
        exec_id: "e".to_owned(),
        stdin: true,
        ..CloseIORequest::default()
    };
    task.shim.call::<Empty>("CloseIO", &close)?;
    assert_eq!(exec.wait()?, 0);
    exec.delete()?;
    task.end()?;
    containerd.shims_are_gone()
}

fn a_terminal_has_the_size_it_is_given(engine: &Engine<'_>) -> Done {
    use std::io::{BufRead, BufReader};
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let path = engine.test.dir.join("out");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)?;
    let output = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)?;
    let script =
        "tty; until stty size 2>/dev/null | grep -q '^41 123'; do usleep 10000; done; stty size";
    let mut request = task.exec_request("e", &["sh", "-c", script]);
    request.stdout = path.display().to_string();
    request.terminal = true;
    let exec = task.exec_with(&request)?;
    exec.start()?;
    let mut lines = BufReader::new(output).lines();
    let mut next = || lines.next().transpose().map(Option::unwrap_or_default);
    assert!(next()?.starts_with("/dev/pts/"));
    let resize = ResizePtyRequest {
        id: "one".to_owned(),
        exec_id: "e".to_owned(),
        width: 123,
        height: 41,
        ..ResizePtyRequest::default()
    };
    task.shim.call::<Empty>("ResizePty", &resize)?;
    assert_eq!(next()?.trim_end(), "41 123");
    assert_eq!(exec.wait()?, 0);
    exec.delete()?;
    task.end()?;
    containerd.shims_are_gone()
}
