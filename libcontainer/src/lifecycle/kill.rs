//! kill: a signal for init; SIGKILL also for whatever a container without a pid namespace of its own has left (COMPAT 5.6).

use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};

use crate::error::{Error, ErrorKind, Refused};
use crate::host::Host;
use crate::state::{Entry, Record};

use super::{cgroup_of, open_init};

const SIGKILL: i32 = 9;
/// How long kill waits for the processes of a cgroup.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// Sends `signal`. `all`: that nothing runs any more is no error.
pub fn kill(entry: &Entry, host: &Host, signal: i32, all: bool) -> Result<(), Error> {
    let Some(record) = entry.record() else {
        return not_running(all);
    };
    let init = open_init(host, record)?;
    if signal == SIGKILL && !record.private_pid_namespace && kill_cgroup(record, host)? {
        return Ok(());
    }
    let Some(init) = init else {
        return not_running(all);
    };
    let number = Signal::from_named_raw(signal).or_else(|| realtime(signal));
    let number = number.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidConfig,
            format!("unknown signal \"{signal}\""),
        )
    })?;
    match pidfd_send_signal(&init, number) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return not_running(all),
        Err(errno) => {
            return Err(Refused::call(format!("pidfd_send_signal({signal})"), errno).into());
        }
    }
    if signal == SIGKILL {
        // cgroup2 lets a frozen process die; the v1 freezer keeps it until it is thawed.
        cgroup_of(record)?.thaw()?;
    }
    Ok(())
}

fn realtime(signal: i32) -> Option<Signal> {
    // 32 and 33 are the C library's own; the kernel knows signals up to 64.
    crate::sys::realtime_signal(signal)
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

fn not_running(all: bool) -> Result<(), Error> {
    if all {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::WrongStatus, "container not running"))
    }
}
