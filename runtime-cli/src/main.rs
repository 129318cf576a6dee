//! `garboard`: the runc-compatible command over `libcontainer`.
//!
//! The order of work: the flags in front of the command, the command, its flags, the command's module (see [`commands`]), and at the very
//! end at most one error. The start is kept lean, because an engine runs this program many times for each container: one thread, no
//! locale, no log file unless something is to be logged.
//!
//! The C library calls `main` directly, without Rust's start-up in between: that reads /proc/self/maps and sets a signal stack up for a
//! report of stack overflows, 19 of some 330 system calls of a whole run. What of it matters, stdio that is open, is done here.
#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

mod apparmor;
mod arguments;
mod commands;
mod completions;
mod duration;
mod event_lines;
mod failure;
mod foreground;
mod help;
mod json;
mod log;
mod man;
mod output;
mod root;
mod signals;
mod streams;
mod table;
mod terminal;
mod timestamp;

use std::ffi::{OsString, c_int};

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use arguments::{Matches, UsageError};
use commands::{CgroupManager, Invocation};
use failure::{FAILED, Failure};
use log::{Format, Log};
use table::{Command, flags};

#[cfg(not(test))]
libcontainer::program_entry!(enter);

#[cfg_attr(
    test,
    allow(dead_code, reason = "the test harness has a main of its own")
)]
fn enter() -> c_int {
    let mut log = Log::default();
    let code = match open_standard_streams().and_then(|()| outlive_failed_writes()) {
        Ok(()) => {
            run(&mut log, std::env::args_os().skip(1)).unwrap_or_else(|told| report(&log, told))
        }
        Err(_) => FAILED, // there is nowhere to tell it
    };
    code.into()
}

/// Opens /dev/null for each standard stream that the caller closed, or the first files of ours would be taken for streams, by us and by
/// the container.
fn open_standard_streams() -> Result<(), Errno> {
    let streams = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    let mut fds = streams.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty()));
    poll(&mut fds, Some(&Timespec::default()))?;
    for fd in &fds {
        if fd.revents().contains(PollFlags::NVAL) {
            // The lowest free number is this one: those below are open by now. It stays open for good.
            let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
            std::mem::forget(null);
        }
    }
    Ok(())
}

/// A write into a closed pipe, or past RLIMIT_FSIZE, is an error to tell and to clean up after, not the end of the command. The signals are
/// blocked rather than ignored: containers and hooks start with an empty mask of their own.
fn outlive_failed_writes() -> Result<(), Errno> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGPIPE);
    signals.add(Signal::SIGXFSZ);
    signals
        .thread_block()
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// A failure, and the command whose usage explains it.
type Told = (Failure, Option<&'static Command>);

/// Does what the arguments say. `log` is set up as soon as the flags for it are read, so that every later failure goes there.
fn run(log: &mut Log, arguments: impl Iterator<Item = OsString>) -> Result<u8, Told> {
    let program = |failure: Failure| (failure, None);
    let (global, rest) =
        arguments::parse_global(arguments).map_err(|error| program(error.into()))?;
    *log = log_of(&global).map_err(program)?;
    if global.is_set(&flags::VERSION) {
        output::print(&version()).map_err(program)?;
        return Ok(0);
    }
    let mut rest = rest.into_iter();
    let name = match rest.next() {
        Some(name) if !global.help => name,
        _ => {
            output::print(&help::program()).map_err(program)?;
            return Ok(0);
        }
    };
    let name = name.to_string_lossy();
    let command = Command::named(&name).ok_or_else(|| program(commands::help::unknown(&name)))?;
    let this = |failure: Failure| (failure, Some(command));
    let matches = arguments::parse_command(command, rest).map_err(|error| this(error.into()))?;
    if matches.help {
        output::print(&help::command(command)).map_err(this)?;
        return Ok(0);
    }
    let invocation = Invocation {
        root: global.path(&flags::ROOT),
        log: std::mem::take(log),
        cgroup_manager: cgroup_manager(&global).map_err(program)?,
        matches,
    };
    let outcome = (command.run)(&invocation);
    *log = invocation.log;
    outcome.map_err(this)
}

fn log_of(global: &Matches) -> Result<Log, Failure> {
    let format = match global.text(&flags::LOG_FORMAT)?.unwrap_or("text") {
        "" | "text" => Format::Text,
        "json" => Format::Json,
        other => return Err(Failure::new(format!("invalid log-format: {other}"))),
    };
    Ok(Log {
        file: global.path(&flags::LOG),
        format,
        debug: global.is_set(&flags::DEBUG),
    })
}

fn cgroup_manager(global: &Matches) -> Result<CgroupManager, Failure> {
    // Only checked: a cgroup that may not be written is tolerated wherever the library can do without.
    match global.text(&flags::ROOTLESS)?.unwrap_or("auto") {
        "" | "auto" => {}
        text if arguments::boolean(text).is_some() => {}
        other => {
            return Err(Failure::new(format!(
                "invalid value for --rootless: {other:?}; true, false and auto are known"
            )));
        }
    }
    match global.text(&flags::CGROUP_MANAGER)?.unwrap_or("cgroupfs") {
        "systemd" => Ok(CgroupManager::Systemd),
        "disabled" => Ok(CgroupManager::Disabled),
        "cgroupfs" if global.is_set(&flags::SYSTEMD_CGROUP) => Ok(CgroupManager::Systemd),
        "cgroupfs" => Ok(CgroupManager::Cgroupfs),
        other => Err(Failure::new(format!("invalid cgroup-manager: {other}"))),
    }
}

/// Engines look for the line with `version`, and for the one that begins with `commit: `.
fn version() -> String {
    format!(
        "garboard version {}\ncommit: {}\nspec: 1.3.0\n",
        env!("CARGO_PKG_VERSION"),
        env!("GARBOARD_COMMIT")
    )
}

/// Tells a failure, and says with what code to end.
fn report(log: &Log, (failure, command): Told) -> u8 {
    match failure {
        Failure::Failed { message, code } => {
            log.error(&message);
            code
        }
        Failure::Usage(UsageError(message)) => {
            let usage = command.map_or_else(help::program, help::command);
            // Standard output may be closed: the message below is what counts.
            let _ = output::print(&format!("Incorrect Usage: {message}\n\n{usage}\n"));
            log.error(&message);
            FAILED
        }
    }
}
