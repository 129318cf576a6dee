//! Clients that misbehave, calls that meet, and states in which little is possible: the shim says so and goes on.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{Empty, StateRequest, Status};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::{Code, proto};
use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::engine::task_api::{Containerd, Refused, Shim, Task, refused};
use garboard_integration_tests::engine::{Engine, task as tasks};
use garboard_integration_tests::engine_cases;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub fn cases() -> Vec<Case> {
    let mut cases = engine_cases!([Runc, Shim](
        a_paused_container_can_be_killed,
        what_was_never_started_can_be_deleted,
    ));
    // The stock shim of containerd 1.6 waits where ours does not, and takes whatever memory it is made to.
    cases.extend(engine_cases!([Shim](
        a_client_that_never_reads_is_hung_up_on,
        frames_that_are_wrong,
        calls_at_the_same_moment,
        a_full_log_holds_nobody_up,
        output_that_a_straggler_holds_is_waited_for_ten_seconds,
        a_signal_ends_the_shim_and_leaves_its_containers,
        a_number_that_is_used_again,
    )));
    cases
}

fn frame(stream: u32, kind: u8, payload: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut frame = u32::try_from(payload.len())?.to_be_bytes().to_vec();
    frame.extend(stream.to_be_bytes());
    frame.extend([kind, 0]);
    frame.extend(payload);
    Ok(frame)
}

fn state_request(stream: u32, id: &str) -> Result<Vec<u8>, Failure> {
    let request = proto::Request {
        service: "containerd.task.v2.Task".to_owned(),
        method: "State".to_owned(),
        payload: StateRequest {
            id: id.to_owned(),
            ..StateRequest::default()
        }
        .write_to_bytes()?,
        ..proto::Request::default()
    };
    frame(stream, 1, &request.write_to_bytes()?)
}

/// The next answer: its stream and its code.
fn answer(socket: &mut UnixStream) -> Result<(u32, Code), Failure> {
    let mut header = [0; 10];
    socket.read_exact(&mut header)?;
    let header = proto::MessageHeader::from(header);
    let mut payload = vec![0; header.length as usize];
    socket.read_exact(&mut payload)?;
    let status = proto::Response::parse_from_bytes(&payload)?.status;
    Ok((header.stream_id, status.code.enum_value_or_default()))
}

fn memory(pid: i32) -> Result<u64, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = text.split(' ').nth(1).unwrap_or("0");
    Ok(pages.parse::<u64>()? * 4096)
}

/// A name that is not there makes the answer as long as the question.
fn a_client_that_never_reads_is_hung_up_on(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let (pid, _) = task.shim.pids("one")?;
    let mut socket = UnixStream::connect(task.shim.socket())?;
    socket.set_write_timeout(Some(Duration::from_secs(10)))?;
    let absent = "x".repeat(1 << 20);
    let mut sent = 0;
    let mut stream = 1;
    let hung_up = loop {
        match socket.write_all(&state_request(stream, &absent)?) {
            Ok(()) => {
                sent += 1;
                stream += 2;
            }
            Err(error) => break error,
        }
        assert!(sent < 64, "it takes whatever it is sent");
        assert!(memory(pid)? < 80 << 20, "{}", memory(pid)?);
    };
    assert_eq!(hung_up.kind(), std::io::ErrorKind::BrokenPipe);
    drop(socket);
    assert_eq!(task.init().status()?, Status::RUNNING);
    std::thread::sleep(Duration::from_millis(200));
    let rest = memory(pid)?;
    assert!(rest < 24 << 20, "{rest} bytes are kept");
    task.end()?;
    containerd.shims_are_gone()
}

fn frames_that_are_wrong(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let mut socket = UnixStream::connect(task.shim.socket())?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let too_long = vec![0; (4 << 20) + 1];
    for (frame, wanted) in [
        (frame(2, 1, &[])?, (2, Code::INVALID_ARGUMENT)),
        (frame(1, 1, &[0xff])?, (1, Code::INVALID_ARGUMENT)),
        (frame(3, 1, &too_long)?, (3, Code::RESOURCE_EXHAUSTED)),
        (frame(5, 3, b"data")?, (5, Code::INVALID_ARGUMENT)),
        (frame(5, 1, &[])?, (5, Code::UNIMPLEMENTED)),
        (state_request(7, "one")?, (7, Code::OK)),
        (state_request(7, "one")?, (7, Code::INVALID_ARGUMENT)),
    ] {
        socket.write_all(&frame)?;
        assert_eq!(answer(&mut socket)?, wanted);
    }
    // An unknown type has no answer.
    socket.write_all(&frame(9, 9, b"?")?)?;
    socket.write_all(&state_request(11, "two")?)?;
    assert_eq!(answer(&mut socket)?, (11, Code::NOT_FOUND));
    task.end()?;
    containerd.shims_are_gone()
}

/// One of them has its way, the other one hears why not.
fn calls_at_the_same_moment(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let first = containerd.sleeper("first")?;
    let twice = |call: &(dyn Fn() -> Result<(), Refused> + Sync)| -> Result<Vec<Code>, Failure> {
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
            let mut codes = Vec::new();
            for call in calls {
                let outcome = call.join().map_err(|_| Failure::new("a thread panicked"))?;
                codes.push(match outcome {
                    Ok(()) => Code::OK,
                    Err(why) => why.code.ok_or_else(|| Failure::from(why))?,
                });
            }
            Ok(codes)
        })
    };
    for round in 0..5 {
        let id = format!("c{round}");
        let bundle = containerd.bundle(&id, &Bundle::sleeper())?;
        let task = Task::new(first.shim.clone(), &id, &bundle);
        let once = |codes: &[Code]| codes.iter().filter(|code| **code == Code::OK).count() == 1;
        let codes = twice(&|| task.create().map(drop))?;
        assert!(once(&codes), "create: {codes:?}");
        let codes = twice(&|| task.init().start().map(drop))?;
        assert!(once(&codes), "start: {codes:?}");
        let codes = twice(&|| task.exec("e", &["sleep", "1000"]).map(drop))?;
        assert!(once(&codes), "exec: {codes:?}");
        let codes = twice(&|| task.process("e").start().map(drop))?;
        assert!(once(&codes), "start of an exec: {codes:?}");
        task.init().kill(9)?;
        assert_eq!(task.init().wait()?, 137);
        let codes = twice(&|| task.process("e").delete().map(drop))?;
        assert!(once(&codes), "delete of an exec: {codes:?}");
        let codes = twice(&|| task.init().delete().map(drop))?;
        assert!(once(&codes), "delete: {codes:?}");
        let told = containerd.endpoint.of(&id);
        for what in [
            "create",
            "start",
            "exec-started e",
            "exit e 137",
            "delete  137",
        ] {
            containerd.endpoint.expect(&id, what)?;
            let count = told.iter().filter(|one| *one == what).count();
            assert!(count <= 1, "{told:?}");
        }
    }
    first.end()?;
    containerd.shims_are_gone()
}

/// containerd is gone, or is slow: nobody reads the fifo, and it is as full as it can be.
fn a_full_log_holds_nobody_up(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::sleeper())?;
    let mut log = OpenOptions::new()
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(bundle.join("log"))?;
    while log.write(&[b'x'; 4096]).is_ok() {}
    while log.write(b"x").is_ok() {}
    let mut command = containerd.command("one", &bundle);
    command.args(["-debug", "start"]);
    let printed = garboard_integration_tests::engine::task_api::print(command, &[])?;
    let task = Task::new(Shim::connect(&printed.address()?)?, "one", &bundle);
    task.create()?;
    task.init().start()?;
    for number in 0..20 {
        assert_eq!(task.exec_to_the_end(&format!("e{number}"), &["true"])?, 0);
    }
    refused(task.exec("", &["true"]), Code::ALREADY_EXISTS);
    task.end()?;
    containerd.endpoint.expect("one", "exit one 137")?;
    containerd.shims_are_gone()
}

/// A process in the background keeps the pipe, and nobody can know for how long. The exit is told at once.
fn output_that_a_straggler_holds_is_waited_for_ten_seconds(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let file = engine.test.dir.join("out");
    let mut request = task.exec_request("e", &["sh", "-c", "sleep 1000 & echo said"]);
    request.stdout = format!("file://{}", file.display());
    let exec = task.exec_with(&request)?;
    let start = Instant::now();
    exec.start()?;
    assert_eq!(exec.wait()?, 0);
    containerd.endpoint.expect("one", "exit e 0")?;
    assert!(start.elapsed() < Duration::from_secs(5));
    let start = Instant::now();
    exec.delete()?;
    let took = start.elapsed().as_secs_f64();
    assert!((9.0..20.0).contains(&took), "{took}");
    assert_eq!(std::fs::read_to_string(file)?, "said\n");
    task.end()?;
    containerd.shims_are_gone()
}

/// They go on, and `delete` finds them.
fn a_signal_ends_the_shim_and_leaves_its_containers(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let (shim, init) = task.shim.pids("one")?;
    kill(Pid::from_raw(shim), Signal::SIGTERM)?;
    containerd.shims_are_gone()?;
    assert!(std::fs::symlink_metadata(task.shim.socket()).is_err());
    assert!(kill(Pid::from_raw(init), None).is_ok());
    let deleted = containerd.call_delete("one", &task.bundle)?;
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    tasks::wait_and_reap("init to be gone", || {
        Ok(kill(Pid::from_raw(init), None).is_err())
    })
}

/// The kill is not held up by the freezer; an exec is refused, or waits for nobody.
fn a_paused_container_can_be_killed(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    task.plain::<Empty>("Pause")?;
    // The stock shim refuses the first call already.
    if let Ok(exec) = task.exec("e", &["true"]) {
        assert!(exec.start().is_err(), "there is nobody awake in it");
        exec.delete()?;
    }
    let init = task.init();
    init.kill(9)?;
    assert_eq!(init.wait()?, 137);
    assert_eq!(init.status()?, Status::STOPPED);
    init.delete()?;
    task.shim.shutdown("one")?;
    containerd.shims_are_gone()
}

fn what_was_never_started_can_be_deleted(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.task("one", &Bundle::sleeper())?;
    task.init().kill(9)?;
    assert_eq!(task.init().wait()?, 137);
    task.init().delete()?;
    containerd.endpoint.expect("one", "delete  137")?;
    assert_eq!(
        containerd.endpoint.of("one"),
        ["create", "exit one 137", "delete  137"]
    );
    task.shim.shutdown("one")?;
    containerd.shims_are_gone()
}

/// In a pid namespace of its own, where the next number can be chosen: an exec gets the number of one that has ended and is not yet deleted.
fn a_number_that_is_used_again(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let bundle = containerd.bundle("one", &Bundle::sleeper())?;
    let numbers = engine.test.dir.join("numbers");
    nix::unistd::mkfifo(&numbers, nix::sys::stat::Mode::S_IRWXU)?;
    let mut next = OpenOptions::new().read(true).write(true).open(&numbers)?;
    let reply = engine.test.dir.join("reply");
    let start = containerd.command("one", &bundle);
    let mut command = Command::new("/usr/bin/unshare");
    let script = "r=$1; n=$2; shift 2; \"$@\" start >$r.new && mv $r.new $r
        while read number; do echo $number >/proc/sys/kernel/ns_last_pid; done <$n";
    command
        .args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "/bin/busybox",
        ])
        .args(["sh", "-c", script, "sh"])
        .args([&reply, &numbers])
        .arg(start.get_program())
        .args(start.get_args())
        .current_dir(&bundle);
    for (name, value) in start.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let mut keeper = engine.test.runtime.spawn(command)?;
    wait_until("the reply", || Ok(reply.is_file()))?;
    let shim = Shim::connect(&std::fs::read_to_string(&reply)?)?;
    let task = Task::new(shim, "one", &bundle);
    task.create()?;
    task.init().start()?;
    let old = task.exec("old", &["sh", "-c", "exit 3"])?;
    let number = old.start()?;
    assert_eq!(old.wait()?, 3);
    // How many numbers the shim itself takes on the way is its own affair.
    let mut round = 0;
    let exec = loop {
        let exec = format!("e{round}");
        writeln!(next, "{}", number - 1 - round % 6)?;
        std::thread::sleep(Duration::from_millis(30));
        let process = task.exec(
            &exec,
            &[
                "sh",
                "-c",
                "trap 'exit 5' TERM; while :; do usleep 10000; done",
            ],
        )?;
        if process.start()? == number {
            break exec;
        }
        process.kill(9)?;
        process.wait()?;
        process.delete()?;
        round += 1;
        assert!(round < 60, "{number} does not come again");
    };
    let new = task.process(&exec);
    assert_eq!(new.status()?, Status::RUNNING);
    assert_eq!(old.status()?, Status::STOPPED);
    assert!(task.pids()?.contains(&(number, exec.clone())));
    refused(old.kill(9), Code::NOT_FOUND);
    let deleted = old.delete()?;
    assert_eq!((deleted.pid, deleted.exit_status), (number, 3));
    assert_eq!(new.status()?, Status::RUNNING);
    // Its shell may not have come to its trap.
    std::thread::sleep(Duration::from_millis(100));
    new.kill(15)?;
    assert_eq!(new.wait()?, 5);
    containerd
        .endpoint
        .expect("one", &format!("exit {exec} 5"))?;
    new.delete()?;
    task.end()?;
    // With the first process of the namespace everything in it ends.
    keeper.child.kill()?;
    keeper.child.wait()?;
    drop(next);
    containerd.shims_are_gone()
}
