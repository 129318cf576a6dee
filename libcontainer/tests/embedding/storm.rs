//! A thousand containers from the eight workers of a tokio program, whose other threads allocate without pause and fork children of their own.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libcontainer::{ExitStatus, Runtime};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::bundles::{self, Place};
use crate::{null, piped, sys};

const WORKERS: usize = 8;
const EACH: usize = 125;

pub fn starts_from_eight_threads() {
    let place = Arc::new(Place::new("storm"));
    let runtime = Arc::new(Runtime::open(&place.root()).expect("state root"));
    // What a host program has forgotten to mark must not reach a container either.
    let _unmarked = rustix::io::dup(null()).expect("dup");
    let open = count("/proc/self/fd");
    let done = Arc::new(AtomicBool::new(false));
    let noise: Vec<_> = [allocate, allocate, fork_children, run_programs]
        .into_iter()
        .map(|work| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || work(&done))
        })
        .collect();
    let program = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .build()
        .expect("tokio");
    let tasks: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (place, runtime) = (Arc::clone(&place), Arc::clone(&runtime));
            program.spawn(async move {
                for round in 0..EACH {
                    one(&place, &runtime, worker, round);
                }
            })
        })
        .collect();
    for task in tasks {
        program.block_on(task).expect("a worker");
    }
    drop(program);
    done.store(true, Ordering::Relaxed);
    for thread in noise {
        thread.join().expect("a thread of the host program");
    }
    assert_eq!(count("/proc/self/fd"), open, "fds");
    assert_eq!(
        waitpid(None, None),
        Err(nix::errno::Errno::ECHILD),
        "processes"
    );
    assert_eq!(count(place.root().to_str().expect("UTF-8")), 0, "state");
    assert_eq!(bundles::left_cgroups(""), Vec::<PathBuf>::new(), "cgroups");
}

fn one(place: &Place, runtime: &Runtime, worker: usize, round: usize) {
    let id = format!("s{worker}-{round}");
    let bundle = place.bundle(&place.config(&id, &["ls", "-l", "/proc/self/fd"]));
    let (options, mut reader) = piped();
    let container = if round.is_multiple_of(2) {
        runtime.run(&id, &bundle, &options).expect("run")
    } else {
        let container = runtime.create(&id, &bundle, &options).expect("create");
        container.start().expect("start");
        container
    };
    drop(options);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("output");
    assert_eq!(container.wait().expect("status"), ExitStatus::Exited(0));
    let targets: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .map(|(_, target)| target)
        .collect();
    // ls has a fourth one, of the directory that it reads, and finds no link of it when it is done.
    let expected = matches!(
        targets[..],
        ["/dev/null", out, err] if out.starts_with("pipe:") && err == out
    );
    assert!(expected, "fds of a container: {text}");
    runtime.delete(&id, false).expect("delete");
    fs::remove_dir_all(bundle).expect("bundle");
}

fn count(directory: &str) -> usize {
    fs::read_dir(directory).expect(directory).count()
}

fn allocate(done: &AtomicBool) {
    let mut kept = Vec::new();
    let mut size = 1;
    while !done.load(Ordering::Relaxed) {
        size = (size * 31 + 7) % 65_521;
        kept.push(vec![1u8; size]);
        if kept.len() == 64 {
            kept.clear();
        }
    }
}

fn fork_children(done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let child = sys::fork_and_exit();
        assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
    }
}

fn run_programs(done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let status = Command::new("/bin/true").status().expect("a program");
        assert!(status.success(), "{status}");
    }
}
