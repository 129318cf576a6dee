//! Makes system calls by number, to see what a seccomp filter does with them.
//!
//! `calls SPEC...` makes each in a child of its own and prints `{"calls": [...]}`: 0 for success, an errno, or the negative of the signal
//! that ended the child; `call SPEC` makes one in this very process and exits with its errno. A SPEC is `NUMBER[,ARGUMENT...]`; arguments that
//! are not given are -1, which hardly any call does something with.

use std::io::Write;
use std::time::{Duration, Instant};

use garboard_integration_tests::seccomp::BLOCKED;
use garboard_integration_tests::sys;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(5);

/// Does what the arguments name; none if they name nothing of this file. The number is the exit status.
pub fn act(args: &[String]) -> Option<i32> {
    match args.first()?.as_str() {
        "calls" => {
            let outcomes: Vec<i32> = args[1..].iter().map(|spec| outcome(spec)).collect();
            println!("{}", json!({"calls": outcomes}));
            // A broken stdout is the reader's concern: there is nobody else to tell.
            let _ = std::io::stdout().flush();
            Some(0)
        }
        "call" => {
            let (number, arguments) = read(args.get(1)?)?;
            let result = sys::call(number, arguments);
            Some(result.map_or_else(|error| error.raw_os_error().unwrap_or(0), |_| 0))
        }
        _ => None,
    }
}

fn read(spec: &str) -> Option<(u64, [u64; 6])> {
    let mut words = spec.split(',').map(str::parse);
    let number = words.next()?.ok()?;
    let mut arguments = [u64::MAX; 6];
    for (argument, word) in arguments.iter_mut().zip(words) {
        *argument = word.ok()?;
    }
    Some((number, arguments))
}

fn outcome(spec: &str) -> i32 {
    let started =
        read(spec).and_then(|(number, arguments)| sys::call_in_child(number, arguments).ok());
    let Some(child) = started else {
        return i32::MIN;
    };
    let until = Instant::now() + PATIENCE;
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, status)) => return status,
            Ok(WaitStatus::Signaled(_, signal, _)) => return -(signal as i32),
            Ok(_) if Instant::now() < until => std::thread::sleep(Duration::from_micros(100)),
            _ => {
                let _ = kill(child, Signal::SIGKILL);
                let _ = waitpid(child, None);
                return BLOCKED;
            }
        }
    }
}
