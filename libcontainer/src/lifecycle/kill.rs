//! kill: a signal for init; SIGKILL also for whatever a container without a pid namespace of its own has left (docs/compatibility.md "kill").

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};

use crate::error::{Error, ErrorKind, Refused};
use crate::host::Host;
use crate::state::{Entry, Record};

use super::{cgroup_of, open_init};

const SIGKILL: i32 = 9;
/// How long kill waits for the processes of a cgroup.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// Sends `signal`; false when nothing runs any more, which without `all` is an error.
pub fn kill(entry: &Entry, host: &Host, signal: i32, all: bool) -> Result<bool, Error> {
    let Some(record) = entry.record() else {
        return not_running(all);
    };
    let init = open_init(host, record)?;
    if signal == SIGKILL && !record.private_pid_namespace && kill_cgroup(record, host)? {
        return Ok(true);
    }
    let Some(init) = init else {
        return not_running(all);
    };
    if !send(init.as_fd(), signal)? {
        return not_running(all);
    }
    if signal == SIGKILL {
        // cgroup2 lets a frozen process die; the v1 freezer keeps it.
        cgroup_of(record)?.release()?;
    }
    Ok(true)
}

/// Sends `signal` to the process behind a pidfd; false when it is gone. 0 sends nothing, as in kill(2).
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<bool, Error> {
    if signal == 0 {
        return Ok(true); // its caller has just found the process alive
    }
    // Real-time ones: 32 and 33 are the C library's own; the kernel knows signals up to 64.
    let number = Signal::from_named_raw(signal).or_else(|| crate::sys::realtime_signal(signal));
    let unknown = || format!("unknown signal \"{signal}\"");
    let number = number.ok_or_else(|| Error::new(ErrorKind::InvalidConfig, unknown()))?;
    match pidfd_send_signal(pidfd, number) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(errno) => Err(Refused::call(format!("pidfd_send_signal({signal})"), errno).into()),
    }
}

/// Kills every process in the container's cgroup; false when there is none.
fn kill_cgroup(record: &Record, host: &Host) -> Result<bool, Error> {
    let cgroup = cgroup_of(record)?;
    if !cgroup.is_marked() || cgroup.processes()?.is_empty() {
        return Ok(false);
    }
    cgroup.kill_all(host, Instant::now() + KILL_WAIT)?;
    Ok(true)
}

fn not_running(all: bool) -> Result<bool, Error> {
    if all {
        Ok(false)
    } else {
        Err(Error::new(ErrorKind::WrongStatus, "container not running"))
    }
}
