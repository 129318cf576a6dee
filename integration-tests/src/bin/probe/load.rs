//! Uses up what a limit bounds, and prints as one line of JSON how far it came.
//!
//! `allocate BYTES` touches memory; `burn MILLISECONDS THREADS` computes; `breed N` starts N processes, or as many as it may, and stays with
//! them; `bomb` starts processes that do the same, without end; `write PATH BYTES` writes past the page cache.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};

const BLOCK: usize = 64 * 1024;
const PAGE: usize = 4096;

/// Does what the arguments name; none if they name nothing of this file. The number is the exit status.
pub fn act(args: &[String]) -> Option<i32> {
    let number = |at: usize| {
        args.get(at)
            .and_then(|arg| arg.parse::<usize>().ok())
            .unwrap_or(0)
    };
    let outcome = match args.first()?.as_str() {
        "allocate" => Ok(allocate(number(1))),
        "burn" => burn(number(1), number(2)),
        "breed" => Ok(breed(number(1))),
        "bomb" => bomb(),
        "write" => write(args.get(1)?, number(2)),
        _ => return None,
    };
    match outcome {
        Ok(report) => {
            say(&report);
            if args[0] == "breed" {
                stay();
            }
            Some(0)
        }
        Err(error) => {
            say(&json!({"error": error.to_string()}));
            Some(1)
        }
    }
}

fn say(report: &Value) {
    println!("{report}");
    // A broken stdout is the reader's concern: there is nobody else to tell.
    let _ = std::io::stdout().flush();
}

fn stay() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// Page by page, so that the kernel has to find each.
fn allocate(bytes: usize) -> Value {
    let mut blocks = Vec::with_capacity(bytes / BLOCK);
    for number in 0..bytes / BLOCK {
        let mut block = vec![0_u8; BLOCK];
        for page in block.chunks_mut(PAGE) {
            page[0] = u8::try_from(number % 251).unwrap_or(0) + 1;
        }
        blocks.push(std::hint::black_box(block));
    }
    json!({"allocated": blocks.len() * BLOCK})
}

/// The time this process has used, in microseconds.
fn used() -> std::io::Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(usage.user_time().num_microseconds() + usage.system_time().num_microseconds())
}

fn burn(milliseconds: usize, threads: usize) -> std::io::Result<Value> {
    let (before, since) = (used()?, Instant::now());
    let length = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            std::thread::spawn(move || {
                let mut value = 1_u64;
                while since.elapsed() < length {
                    for _ in 0..1000 {
                        value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005));
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        // A panic of theirs has been printed; the figures then say it too.
        let _ = worker.join();
    }
    let wall = i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX);
    Ok(json!({"wall": wall, "used": used()? - before}))
}

fn child(act: &str) -> Command {
    let mut command = Command::new("/bin/probe");
    command
        .arg(act)
        .arg("0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn breed(wanted: usize) -> Value {
    let mut children = Vec::new();
    let mut refusal = None;
    for _ in 0..wanted {
        match child("breed").spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                refusal = error.raw_os_error();
                break;
            }
        }
    }
    json!({"processes": children.len() + 1, "errno": refusal})
}

/// Each starts two of its own kind again and again; whoever is refused goes on trying.
fn bomb() -> std::io::Result<Value> {
    loop {
        for _ in 0..2 {
            // A refusal is what is waited for.
            drop(child("bomb").spawn());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn write(path: &str, bytes: usize) -> std::io::Result<Value> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    // O_DIRECT wants an aligned buffer.
    let buffer = vec![7_u8; BLOCK + PAGE];
    let from = buffer.as_ptr().align_offset(PAGE);
    let since = Instant::now();
    for _ in 0..bytes / BLOCK {
        file.write_all(&buffer[from..from + BLOCK])?;
    }
    let wall = i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX);
    Ok(json!({"wall": wall, "written": bytes / BLOCK * BLOCK}))
}
