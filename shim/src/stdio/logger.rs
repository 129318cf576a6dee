//! The program of a `binary://` URI: it reads the process's output itself, as descriptors 3 and 4, and tells on 5 that it is ready.
//!
//! Descriptors are put in their places without `unsafe` in a step between: this program calls itself with the three as stdin, stdout and
//! stderr, moves them up and becomes the logging program ([`become_logger`]). What goes wrong there comes back on descriptor 5.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::error::{Error, Field, NotReady};
use super::uri::Binary;
use super::{call, errno};

/// The word for the step between; what follows is the program and its arguments. Nobody else is to say it.
pub const WORD: &str = "become-logger";

/// containerd waits for ever; here the call fails, as it does for a terminal that does not come.
const READY: Duration = Duration::from_secs(30);
/// From SIGTERM to SIGKILL (containerd: ten seconds for the program's own clearing up, and some).
const PATIENCE: Duration = Duration::from_secs(12);
/// Before the errno, when there is no program to become. A logging program writes what it likes, but hardly this.
const FAILED: &[u8; 5] = b"\0exec";

/// A logging program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Logger {
    pidfd: OwnedFd,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NotAsked,
    /// SIGTERM was sent; SIGKILL is due then.
    Asked(Instant),
    Killed,
    Reaped,
}

impl Logger {
    /// Starts `binary` on the read ends of stdout and stderr and waits until it is ready.
    pub(super) fn spawn(
        binary: &Binary,
        container: &str,
        namespace: &str,
        (stdout, stderr): (OwnedFd, OwnedFd),
    ) -> Result<Logger, Error> {
        let failed = |call_name| call(Field::Stdout, call_name);
        let (ready, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("pipe2"))?;
        let child = ourselves()
            .arg(WORD)
            .arg(&binary.program)
            .args(&binary.arguments)
            .env_clear()
            .envs(binary.environment.iter().map(|(name, value)| (name, value)))
            .env("CONTAINER_ID", container)
            .env("CONTAINER_NAMESPACE", namespace)
            .stdin(Stdio::from(stdout))
            .stdout(Stdio::from(stderr))
            .stderr(Stdio::from(theirs))
            .spawn()
            .map_err(|error| failed("fork")(errno(&error)))?;
        // A child is a zombie at worst, so its number is its own until it is reaped here.
        let pid = Pid::from_child(&child);
        let logger = Logger {
            pidfd: pidfd_open(pid, PidfdFlags::empty()).map_err(failed("pidfd_open"))?,
            end: End::NotAsked,
        };
        match wait_ready(&ready, READY, binary.says_ready) {
            Ok(()) => Ok(logger),
            Err(why) => Err(Error::Logger {
                program: binary.program.clone(),
                why,
            }),
        }
    }

    /// Readable when the program has ended: call [`Logger::reap`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// SIGTERM now, SIGKILL at [`Logger::deadline`]. The second call does nothing.
    pub fn terminate(&mut self, now: Instant) {
        if self.end == End::NotAsked {
            self.signal(Signal::TERM);
            self.end = End::Asked(now + PATIENCE);
        }
    }

    /// When to call [`Logger::tick`].
    pub fn deadline(&self) -> Option<Instant> {
        match self.end {
            End::Asked(deadline) => Some(deadline),
            _ => None,
        }
    }

    /// SIGKILL, if the deadline is over.
    pub fn tick(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.signal(Signal::KILL);
            self.end = End::Killed;
        }
    }

    /// Takes the zombie, if the program has ended. True: it has, and this can be dropped.
    pub fn reap(&mut self) -> bool {
        if self.end != End::Reaped {
            let flags = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), flags) {
                Ok(None) | Err(Errno::INTR) => {}
                // ECHILD: somebody who reaps every child was first.
                Ok(Some(_)) | Err(_) => self.end = End::Reaped,
            }
        }
        self.end == End::Reaped
    }

    fn signal(&self, signal: Signal) {
        // It fails when the program has ended, which is all that is wanted.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        if self.reap() {
            return;
        }
        self.signal(Signal::KILL);
        // A killed process is a zombie within microseconds. Not so in a device's wait: then it stays one until this program ends.
        let _ = wait_for(self.fd(), Duration::from_millis(100));
        self.reap();
    }
}

/// The program that runs, by a name that holds when its file was replaced.
fn ourselves() -> Command {
    let command = Command::new("/proc/self/exe");
    // Under test this program is the test harness: it has to be told which test to be.
    #[cfg(test)]
    let command = tests::as_test(command);
    command
}

/// False: nothing came within `time`.
fn wait_for(fd: BorrowedFd<'_>, time: Duration) -> Result<bool, Errno> {
    let mut end = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let time = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    Ok(rustix::io::retry_on_intr(|| poll(&mut end, Some(&time)))? > 0)
}

/// The end of the pipe is the sign; with `wants_byte` (binary-v2) a byte before it.
fn wait_ready(ready: &OwnedFd, time: Duration, wants_byte: bool) -> Result<(), NotReady> {
    match wait_for(ready.as_fd(), time) {
        Ok(true) => {}
        Ok(false) => return Err(NotReady::Timeout(time.as_secs())),
        Err(errno) => return Err(NotReady::Exec(errno)),
    }
    let mut said = [0; FAILED.len() + 4];
    let count =
        rustix::io::retry_on_intr(|| rustix::io::read(ready, &mut said)).map_err(NotReady::Exec)?;
    if count == 0 && wants_byte {
        return Err(NotReady::Silent);
    }
    match said[..count].strip_prefix(FAILED) {
        Some(&[a, b, c, d]) => Err(NotReady::Exec(Errno::from_raw_os_error(
            i32::from_le_bytes([a, b, c, d]),
        ))),
        _ => Ok(()),
    }
}

/// The step between, in a program of its own that has just begun: `arguments` are the logging program and its arguments. Returns only on
/// failure, which it has told.
pub fn become_logger(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let program = arguments.next().unwrap_or_default();
    // Out of the way of the three, and gone with the exec.
    let Ok(ready) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 10) else {
        return ExitCode::FAILURE;
    };
    let errno = match move_up() {
        Err(errno) => errno,
        // The three stay open until here.
        Ok(_three) => errno(&Command::new(program).args(arguments).exec()),
    };
    let mut said = FAILED.to_vec();
    said.extend(errno.raw_os_error().to_le_bytes());
    // There is nobody else to tell.
    let _ = rustix::io::write(&ready, &said);
    ExitCode::FAILURE
}

/// Descriptors 0 to 2 become 3 to 5, which are inherited, and 0 to 2 `/dev/null`.
fn move_up() -> Result<[OwnedFd; 3], Errno> {
    use rustix::stdio;
    let up = |fd: BorrowedFd<'_>, place| {
        let moved = rustix::io::fcntl_dupfd_cloexec(fd, place)?;
        if moved.as_raw_fd() != place {
            // Something else was inherited and has the place.
            return Err(Errno::BUSY);
        }
        rustix::io::fcntl_setfd(&moved, FdFlags::empty())?;
        Ok(moved)
    };
    let three = [
        up(stdio::stdin(), 3)?,
        up(stdio::stdout(), 4)?,
        up(stdio::stderr(), 5)?,
    ];
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    stdio::dup2_stdin(&null)?;
    stdio::dup2_stdout(&null)?;
    stdio::dup2_stderr(&null)?;
    Ok(three)
}

#[cfg(test)]
mod tests;
