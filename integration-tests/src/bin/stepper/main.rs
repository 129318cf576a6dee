//! Strikes a runtime at every system call: `stepper [--every N] [--place native|v2|vm] [--jobs N] [WORD]...`.
//!
//! For each command (create without and with limits, start, run, exec, delete, update, pause, resume; create, run and exec with Docker's seccomp profile and with one that notifies), for the command's own process and for its children apart, at the n-th call, n = 1, 2, 3 …:
//! the process is killed, or the call fails with ENOMEM, EIO, ENOSPC, EPERM. The command must end within ten seconds; then `delete --force` must
//! work, and within a second nothing may be left on the machine. `--every N` takes every N-th call, each strike from an offset of its own.
//! At the place vm it is the systemd driver's turn, in the virtual machine; only if that place is named.
//! The exit status is 1 if anything leaked or hung. A WORD keeps the lines that hold it.

mod filters;
mod limits;
mod rounds;
mod swaps;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use garboard_integration_tests::case::{Failure, Test};
use garboard_integration_tests::place::{self, Driver, Place};
use garboard_integration_tests::runtime::Runtime;
use garboard_integration_tests::tracer::{self, Plan, Scope, Strike};
use garboard_integration_tests::{cgroups, guest, processes, runner};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.first().map(String::as_str) {
        Some("--tracee") => Err(tracer::become_tracee(&args[1..])),
        Some("--trace") => traced(&args[1..]),
        Some("--line") => line(&args[1..]),
        _ => all(&args),
    };
    ExitCode::from(outcome.unwrap_or_else(|failure| {
        eprintln!("stepper: {failure}");
        2
    }))
}

/// The tracer process: `--trace REPORT SCOPE STRIKE AT ATTACH COMMAND...`.
fn traced(args: &[String]) -> Result<u8, Failure> {
    let [report, scope, strike, at, attach, command @ ..] = args else {
        return Err(Failure::new("--trace wants five words and a command"));
    };
    let plan = Plan {
        scope: if scope == "command" {
            Scope::Command
        } else {
            Scope::Children
        },
        strike: Strike::parse(strike)?,
        report: PathBuf::from(report),
        at: at.parse()?,
        users: rounds::USERS.map(str::to_owned).to_vec(),
        attach: attach.parse().ok().filter(|pid| *pid > 0),
    };
    let ended = tracer::trace(plan, command)?;
    std::fs::write(report, ended.to_json().to_string())?;
    Ok(0)
}

struct Running {
    child: std::process::Child,
    name: String,
    log: PathBuf,
}

fn all(args: &[String]) -> Result<u8, Failure> {
    let value = |name: &str| {
        args.iter()
            .position(|arg| arg == name)
            .and_then(|at| args.get(at + 1))
            .cloned()
    };
    let every = value("--every").unwrap_or_else(|| "7".to_owned());
    let jobs: usize = value("--jobs").map_or(Ok(2), |jobs| jobs.parse())?;
    let place = value("--place");
    let mut skip = false;
    let words: Vec<&String> = args
        .iter()
        .filter(|arg| {
            !std::mem::replace(&mut skip, arg.starts_with("--")) && !arg.starts_with("--")
        })
        .collect();
    let program = runner::runtime_program()?;
    if !program.is_file() {
        return Err(Failure::new(format!("no runtime at {}", program.display())));
    }
    if place.as_deref() == Some("vm") && !place::in_guest() {
        let status = guest::program(&program, "stepper", args)?;
        return Ok(u8::try_from(status).unwrap_or(2));
    }
    println!(
        "striking {} at every {every}. system call",
        program.display()
    );
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut queue = rounds::lines().into_iter().filter(|line| {
        let name = line.name();
        place.as_ref().map_or(!line.place.is_guest(), |place| {
            name.starts_with(place.as_str())
        }) && words.iter().all(|word| name.contains(word.as_str()))
    });
    let logs = std::env::temp_dir().join(format!("garboard-test-steps-{}", std::process::id()));
    std::fs::create_dir(&logs)?;
    let mut running: Vec<Running> = Vec::new();
    let mut total = [0; 3];
    let mut worst = 0;
    loop {
        while running.len() < jobs {
            let Some(next) = queue.next() else { break };
            let name = next.name();
            let log = logs.join(name.replace(' ', "-"));
            let out = std::fs::OpenOptions::new()
                .append(true)
                .create_new(true)
                .open(&log)?;
            let child = Command::new(std::env::current_exe()?)
                .args(["--line", &name, &every])
                .stdout(out)
                .spawn()?;
            running.push(Running { child, name, log });
        }
        if running.is_empty() {
            break;
        }
        let mut still = Vec::new();
        for mut one in running {
            match one.child.try_wait()? {
                Some(status) => {
                    let text = std::fs::read_to_string(&one.log)?;
                    print!("{text}");
                    for (sum, count) in total.iter_mut().zip(counts(&text)) {
                        *sum += count;
                    }
                    if status.code() != Some(0) {
                        println!("FAILED {}", one.name);
                        worst = 1;
                    }
                }
                None => still.push(one),
            }
        }
        running = still;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    processes::end_descendants();
    std::fs::remove_dir_all(&logs)?;
    let [points, leaks, hangs] = total;
    println!("{points} points struck, leaks: {leaks}, hangs: {hangs}");
    Ok(worst)
}

/// The three numbers of a line's own summary, its last line.
fn counts(text: &str) -> [u64; 3] {
    let words: Vec<&str> = text
        .lines()
        .last()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    ["points,", "leaks,", "hangs"].map(|unit| {
        let at = words
            .iter()
            .position(|word| *word == unit)
            .and_then(|at| at.checked_sub(1));
        at.and_then(|at| words[at].parse().ok()).unwrap_or(0)
    })
}

/// All strikes of one line, in a process and a mount namespace of its own.
fn line(args: &[String]) -> Result<u8, Failure> {
    let every: u64 = args[1].parse()?;
    let line = rounds::lines()
        .into_iter()
        .find(|line| line.name() == args[0])
        .ok_or_else(|| Failure::new("no such line"))?;
    let token = format!("garboard-test-step-{}", std::process::id());
    let dir: PathBuf = std::env::temp_dir().join(&token);
    std::fs::create_dir(&dir)?;
    let place = if place::has_v1() || line.place.is_guest() {
        line.place
    } else {
        Place::Native
    };
    let outcome =
        place::enter(place, &dir).and_then(|()| struck(&line, place, &dir, &token, every));
    processes::end_descendants();
    let _ = cgroups::remove(&token);
    let _ = nix::mount::umount2(&dir, nix::mount::MntFlags::MNT_DETACH);
    std::fs::remove_dir(&dir)?;
    outcome
}

fn struck(
    line: &rounds::Line,
    place: Place,
    dir: &Path,
    token: &str,
    every: u64,
) -> Result<u8, Failure> {
    let mut runtime = Runtime::new(&runner::runtime_program()?, dir);
    if place.is_guest() {
        runtime.driver = Driver::Systemd;
    }
    std::fs::create_dir_all(&runtime.root)?;
    let test = Test::new(runtime, place, dir, token);
    let since = std::time::Instant::now();
    let tally = line.take(&test, every)?;
    println!(
        "{:<44} {:>6} points, {:>3} leaks, {:>3} hangs ({:.0?})",
        line.name(),
        tally.points,
        tally.leaks,
        tally.hangs,
        since.elapsed()
    );
    Ok(u8::from(tally.leaks + tally.hangs > 0))
}
