//! Many things at once, and things that take long: what one call waits for, no other does.

use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;
use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::engine::task_api::{Containerd, Refused, Shim, Task, print};
use garboard_integration_tests::engine::{Door, Engine, task as tasks};
use garboard_integration_tests::engine_cases;
use garboard_integration_tests::rootfs::Rootfs;
use serde_json::json;

pub fn cases() -> Vec<Case> {
    let mut cases = engine_cases!([Runc, Shim](
        twenty_execs_at_once,
        a_shim_that_is_killed_is_cleaned_up_after,
    ));
    cases.extend(engine_cases!([Shim](
        two_hundred_execs_at_once,
        waiting_calls_hold_nobody_up,
        a_slow_hook_delays_nobody_else,
        a_client_that_goes_away_changes_nothing,
        containers_at_once,
    )));
    cases
}

fn twenty_execs_at_once(engine: &Engine<'_>) -> Done {
    execs_at_once(engine, 20)
}

fn two_hundred_execs_at_once(engine: &Engine<'_>) -> Done {
    execs_at_once(engine, 200)
}

fn execs_at_once(engine: &Engine<'_>, count: u32) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let statuses: Vec<Result<u32, Refused>> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..count)
            .map(|number| {
                let task = task.clone();
                scope.spawn(move || {
                    let script = format!("exit {}", number % 256);
                    task.exec_to_the_end(&format!("e{number}"), &["sh", "-c", &script])
                })
            })
            .collect();
        calls
            .into_iter()
            .map(|call| call.join().unwrap_or_else(|_| panic!("a thread panicked")))
            .collect()
    });
    for (number, status) in (0..count).zip(statuses) {
        assert_eq!(status, Ok(number % 256));
    }
    for number in 0..count {
        let exit = format!("exit e{number} {}", number % 256);
        containerd.endpoint.expect("one", &exit)?;
    }
    let mut exits = containerd.endpoint.of("one");
    exits.retain(|what| what.starts_with("exit"));
    assert_eq!(exits.len(), count as usize, "each once");
    task.end()?;
    containerd.shims_are_gone()
}

/// Each `Wait` is a call that stays open.
fn waiting_calls_hold_nobody_up(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    std::thread::scope(|scope| -> Done {
        let mut waiting = Vec::new();
        for number in 0..300 {
            let mut task = task.clone();
            // On its own connection, every tenth.
            if number % 10 == 0 {
                task.shim = Shim::connect(&task.shim.address)?;
            }
            waiting.push(scope.spawn(move || task.init().wait()));
        }
        std::thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        for number in 0..5 {
            assert_eq!(task.init().status()?, Status::RUNNING);
            assert_eq!(task.exec_to_the_end(&format!("e{number}"), &["true"])?, 0);
        }
        assert!(start.elapsed() < Duration::from_secs(5));
        task.init().kill(9)?;
        for call in waiting {
            let status = call.join().map_err(|_| Failure::new("a thread panicked"))?;
            assert_eq!(status, Ok(137));
        }
        Ok(())
    })?;
    task.init().delete()?;
    task.shim.shutdown("one")?;
    containerd.shims_are_gone()
}

/// In one shim: neither the exit of another container, nor its deletion, nor the making of a third wait.
fn a_slow_hook_delays_nobody_else(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let annotations = json!({"io.kubernetes.cri.sandbox-id": "pod"});
    let pod = |bundle: Bundle| bundle.set("/annotations", annotations.clone());
    let first = containerd.task("first", &pod(Bundle::sleeper()))?;
    first.init().start()?;
    let hook = json!([{"path": "/bin/busybox", "args": ["sleep", "10"]}]);
    let bundle = pod(Bundle::sleeper()).set("/hooks/createRuntime", hook);
    let slow = Task::new(
        first.shim.clone(),
        "slow",
        &containerd.bundle("slow", &bundle)?,
    );
    let third = Task::new(
        first.shim.clone(),
        "third",
        &containerd.bundle("third", &pod(Bundle::args(["true"])))?,
    );
    std::thread::scope(|scope| -> Done {
        let begin = Instant::now();
        let creating = scope.spawn(|| slow.create());
        std::thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        first.init().kill(9)?;
        assert_eq!(first.init().wait()?, 137);
        containerd.endpoint.expect("first", "exit first 137")?;
        first.init().delete()?;
        third.create()?;
        third.init().start()?;
        assert_eq!(third.init().wait()?, 0);
        third.init().delete()?;
        assert!(start.elapsed() < Duration::from_secs(4), "they have waited");
        let created = creating
            .join()
            .map_err(|_| Failure::new("a thread panicked"))?;
        created?;
        assert!(begin.elapsed() >= Duration::from_secs(10));
        Ok(())
    })?;
    slow.init().start()?;
    slow.end()?;
    containerd.shims_are_gone()
}

/// containerd dies in the middle of calls: what they began goes on, and is found by the next one.
fn a_client_that_goes_away_changes_nothing(engine: &Engine<'_>) -> Done {
    use containerd_shim_protos::protobuf::Message;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::sleeper())?;
    let shim = containerd.shim("one", &bundle)?;
    let task = Task::new(shim, "one", &bundle);
    let request = containerd_shim_protos::ttrpc::Request {
        service: "containerd.task.v2.Task".to_owned(),
        method: "Create".to_owned(),
        payload: task.create_request().write_to_bytes()?,
        ..Default::default()
    };
    let payload = request.write_to_bytes()?;
    let mut socket = UnixStream::connect(task.shim.socket())?;
    let mut frame = u32::try_from(payload.len())?.to_be_bytes().to_vec();
    frame.extend([0, 0, 0, 1, 1, 0]);
    frame.extend(payload);
    // Half a frame and an end, then a whole one and an end.
    socket.write_all(&frame[..20])?;
    drop(socket);
    let mut socket = UnixStream::connect(task.shim.socket())?;
    socket.write_all(&frame)?;
    drop(socket);
    containerd.endpoint.expect("one", "create")?;
    assert_eq!(task.init().status()?, Status::CREATED);
    task.init().start()?;
    task.end()?;
    containerd.shims_are_gone()
}

/// Made, run and removed by many at once in one shim, with output that arrives.
fn containers_at_once(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let annotations = json!({"io.kubernetes.cri.sandbox-id": "pod"});
    let first = containerd.task("pod", &Bundle::sleeper().set("/annotations", annotations))?;
    first.init().start()?;
    let mut tasks = Vec::new();
    for number in 0..16 {
        let id = format!("c{number}");
        let bundle = Bundle::shell(&format!("echo {id}; exit {number}")).root(|root: Rootfs| root);
        let bundle = containerd.bundle(&id, &bundle)?;
        tasks.push((number, Task::new(first.shim.clone(), &id, &bundle)));
    }
    let outcomes: Vec<Result<String, Failure>> = std::thread::scope(|scope| {
        let calls: Vec<_> = tasks
            .iter()
            .map(|(number, task)| scope.spawn(|| run_to_a_file(task, *number)))
            .collect();
        calls
            .into_iter()
            .map(|call| call.join().unwrap_or_else(|_| panic!("a thread panicked")))
            .collect()
    });
    for ((number, _), outcome) in tasks.iter().zip(outcomes) {
        assert_eq!(outcome?, format!("c{number}\n"));
    }
    first.end()?;
    containerd.shims_are_gone()
}

fn run_to_a_file(task: &Task, number: u32) -> Result<String, Failure> {
    let file = task.bundle.join("out");
    let mut request = task.create_request();
    request.stdout = format!("file://{}", file.display());
    task.create_with(&request)?;
    task.init().start()?;
    assert_eq!(task.init().wait()?, number);
    task.init().delete()?;
    Ok(std::fs::read_to_string(file)?)
}

fn a_shim_that_is_killed_is_cleaned_up_after(engine: &Engine<'_>) -> Done {
    use containerd_shim_protos::api::{DeleteResponse, Mount};
    use containerd_shim_protos::protobuf::Message;
    use garboard_integration_tests::container::wait_until;
    use garboard_integration_tests::{cgroups, processes};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::sleeper())?;
    let root = engine.test.dir.join("root");
    std::fs::rename(bundle.join("rootfs"), &root)?;
    std::fs::create_dir(bundle.join("rootfs"))?;
    let task = Task::new(containerd.shim("one", &bundle)?, "one", &bundle);
    let mut request = task.create_request();
    request.rootfs.push(Mount {
        type_: "bind".to_owned(),
        source: root.display().to_string(),
        options: vec!["rbind".to_owned()],
        ..Mount::default()
    });
    let pid = task.create_with(&request)?;
    task.init().start()?;
    let exec = task.exec("e", &["sleep", "1000"])?.start()?;
    let (shim, _) = task.shim.pids("one")?;
    kill(Pid::from_raw(shim), Signal::SIGKILL)?;
    containerd.shims_are_gone()?;
    assert!(task.init().state().is_err_and(|why| why.code.is_none()));
    let alive = |pid: u32| processes::stat(pid.cast_signed()).is_some_and(|one| one.state != 'Z');
    assert!(alive(pid) && alive(exec), "they outlive it");
    // Its orphans come to this process; init can end only when the exec, which was not its child, has been reaped.
    let printed = std::thread::scope(|scope| {
        let mut delete = containerd.command("one", &bundle);
        delete.arg("-bundle").arg(&bundle).arg("delete");
        let deleting = scope.spawn(move || print(delete, &[]));
        tasks::wait_and_reap("delete to be done", || Ok(deleting.is_finished()))?;
        deleting
            .join()
            .map_err(|_| Failure::new("a thread panicked"))?
    })?;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    // The stock shim has something to say in any case.
    assert!(
        engine.door == Door::Runc || printed.stderr.is_empty(),
        "{printed:?}"
    );
    let reply = DeleteResponse::parse_from_bytes(&printed.stdout)?;
    assert_eq!((reply.pid, reply.exit_status), (pid, 137));
    assert!(reply.exited_at.seconds > 0);
    wait_until("all to have ended", || Ok(!alive(pid) && !alive(exec)))?;
    assert!(!bundle.join("rootfs/bin").is_dir(), "still mounted");
    let token = containerd.namespace();
    wait_until("the cgroups to be gone", || {
        let left = cgroups::named(token)?;
        Ok(left.iter().all(|dir| dir.ends_with(token)))
    })?;
    // Again, when there is nothing left to be done.
    let printed = containerd.call_delete("one", &bundle)?;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let _ = std::fs::remove_file(task.shim.socket());
    Ok(())
}
