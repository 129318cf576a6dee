//! Host programs that have their own mind about SIGCHLD: exit statuses are right wherever the kernel can tell them, and an error elsewhere.

use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libcontainer::{Error, ErrorKind, ExecProcess, ExecRequest, ExitStatus, Runtime};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use serde_json::{Value, json};

use crate::bundles::{self, Place};
use crate::{null, piped, quiet, sys};

pub fn with_a_handler() {
    sys::set_action(Signal::SIGCHLD, true);
    all_statuses(true);
    assert!(sys::HANDLED.load(Ordering::Relaxed) > 0);
}

pub fn with_sigchld_ignored() {
    sys::set_action(Signal::SIGCHLD, false);
    sys::set_action(Signal::SIGUSR1, true);
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR2);
    blocked.thread_block().expect("sigprocmask");
    no_signal_state_goes_in();
    all_statuses(kernel_tells());
}

pub fn with_a_wait_loop() {
    static DONE: AtomicBool = AtomicBool::new(false);
    let thief = std::thread::spawn(|| {
        while !DONE.load(Ordering::Relaxed) {
            // No child, or one that had nothing to do with us: the program takes them all.
            if waitpid(None, None).is_err() {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    });
    all_statuses(kernel_tells());
    DONE.store(true, Ordering::Relaxed);
    thief.join().expect("the thief");
}

/// A program starts with the signals of a fresh one, whatever the host program has done with its own.
fn no_signal_state_goes_in() {
    let place = Place::new("signals");
    let runtime = Runtime::open(&place.root()).expect("state root");
    let bundle = place.bundle(&place.config("sig", &["cat", "/proc/self/status"]));
    let (options, mut reader) = piped();
    let container = runtime.run("sig", &bundle, &options).expect("run");
    drop(options);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("output");
    let signals: Vec<&str> = text
        .lines()
        .filter(|line| {
            ["SigBlk:", "SigIgn:", "SigCgt:"]
                .iter()
                .any(|key| line.starts_with(key))
        })
        .collect();
    let none = [
        "SigBlk:\t0000000000000000",
        "SigIgn:\t0000000000000000",
        "SigCgt:\t0000000000000000",
    ];
    assert_eq!(signals, none);
    drop(container);
    // Its status is of no interest here: the kernel has reaped it.
    runtime.delete("sig", true).expect("delete");
}

/// PIDFD_GET_INFO tells the status of a process that somebody else has reaped since Linux 6.15.
fn kernel_tells() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

/// `told`: whether the status of a child can be had here. If not, it may still be that we were quicker than the thief.
fn assert_status(found: Result<ExitStatus, Error>, expected: ExitStatus, told: bool) {
    match found {
        Ok(status) => assert_eq!(status, expected),
        Err(error) => {
            assert!(!told, "{error}");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("6.15"), "{error}");
        }
    }
}

fn all_statuses(told: bool) {
    let place = Place::new("children");
    let runtime = Runtime::open(&place.root()).expect("state root");
    for round in 0..10 {
        let id = format!("c{round}");
        let exits = place.config(&id, &["sh", "-c", "exit 7"]);
        one(&runtime, &place, &id, &exits, ExitStatus::Exited(7), told);
        // Here a first process forks the second and is reaped by the library.
        let forked = in_user_namespace(exits);
        one(&runtime, &place, &id, &forked, ExitStatus::Exited(7), told);
        executed(&runtime, &place, &id, told);
        let wrong = place.config(&id, &["/bin/nothing-of-that-name"]);
        let error = runtime.run(&id, &place.bundle(&wrong), &quiet());
        let error = error.expect_err("no such program").to_string();
        assert!(error.contains("nothing-of-that-name"), "{error}");
    }
    assert_eq!(bundles::left_cgroups(""), Vec::<PathBuf>::new());
}

fn in_user_namespace(mut config: Value) -> Value {
    let namespaces = config["linux"]["namespaces"].as_array_mut();
    namespaces
        .expect("namespaces")
        .push(json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    config
}

fn one(runtime: &Runtime, place: &Place, id: &str, config: &Value, status: ExitStatus, told: bool) {
    let container = runtime
        .run(id, &place.bundle(config), &quiet())
        .expect("run");
    assert_status(container.wait(), status, told);
    runtime.delete(id, false).expect("delete");
}

/// exec in a container that was created and started, and is then killed.
fn executed(runtime: &Runtime, place: &Place, id: &str, told: bool) {
    let config = place.config(id, &["sleep", "1000"]);
    let container = runtime
        .create(id, &place.bundle(&config), &quiet())
        .expect("create");
    container.start().expect("start");
    let process = json!({"args": ["sh", "-c", "exit 3"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    let mut request = ExecRequest::new(ExecProcess::Document(process.to_string().into_bytes()));
    request.stdio = [Some(null()), Some(null()), Some(null())];
    let exec = container.exec(request).expect("exec");
    assert_status(exec.wait(), ExitStatus::Exited(3), told);
    container.kill(9, false).expect("kill");
    assert_status(container.wait(), ExitStatus::Signaled(9), told);
    runtime.delete(id, false).expect("delete");
}
