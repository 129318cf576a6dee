//! delete: everything the record names is removed, in an order that a crash in between leaves resumable: processes, cgroup, files, record.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::error::{Error, ErrorKind, Refused};
use crate::event::{Event, Observer};
use crate::hooks::{self, HookKind};
use crate::host::Host;
use crate::intel_rdt;
use crate::runtime::Runtime;
use crate::state::{ContainerId, Entry, HookRecord, Phase, Record, StateDocument, Status};

use super::{cgroup_of, open_init};

/// runc polls 100 times 100 ms.
const DEADLINE: Duration = Duration::from_secs(10);

/// Deletes the container. Errors: NotFound (not with `force`); WrongStatus when it runs; Internal when processes do not die.
pub fn delete(runtime: &Runtime, id: &str, force: bool) -> Result<(), Error> {
    let host = Host::new();
    let mut entry = match ContainerId::parse(id)
        .map_err(Error::from)
        .and_then(|id| runtime.store.entry(&id))
    {
        Err(error) if force && error.kind() == ErrorKind::NotFound => return Ok(()),
        entry => entry?,
    };
    if !force {
        check_deletable(&entry, &host)?;
    }
    let deadline = Instant::now() + DEADLINE;
    entry.lock(deadline)?;
    match entry.reload() {
        // Another delete was quicker.
        Err(error) if force && error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result?,
    }
    if !force {
        check_deletable(&entry, &host)?;
    }
    destroy(&entry, &Init::Recorded, &host, deadline, &runtime.observer)
}

/// Deletes a container that this process made and holds, killing it if it still runs.
pub fn delete_held(
    entry: &Entry,
    init: Option<&OwnedFd>,
    host: &Host,
    observer: &Observer,
) -> Result<(), Error> {
    let deadline = Instant::now() + DEADLINE;
    entry.lock(deadline)?;
    let init = init.map_or(Init::Recorded, Init::Held);
    let destroyed = destroy(entry, &init, host, deadline, observer);
    match destroyed {
        Ok(()) => entry.forget_lock(),
        // The handle lives on, and somebody may try again.
        Err(_) => entry.unlock(),
    }
    destroyed
}

/// The same for a caller that holds the lock.
pub fn delete_locked(
    entry: &Entry,
    init: Option<&OwnedFd>,
    host: &Host,
    observer: &Observer,
) -> Result<(), Error> {
    let init = init.map_or(Init::Recorded, Init::Held);
    destroy(entry, &init, host, Instant::now() + DEADLINE, observer)
}

fn check_deletable(entry: &Entry, host: &Host) -> Result<(), Error> {
    match entry.status(host)? {
        Status::Stopped | Status::Created => Ok(()),
        status => Err(Error::new(
            ErrorKind::WrongStatus,
            format!(
                "cannot delete container {} that is not stopped: {status}",
                entry.id()
            ),
        )),
    }
}

/// The container's init as a delete finds it.
enum Init<'a> {
    /// To be looked for by its recorded pid and start time.
    Recorded,
    /// Held since its creation.
    Held(&'a OwnedFd),
}

/// Removes all that the record names. The caller holds the lock.
fn destroy(
    entry: &Entry,
    init: &Init<'_>,
    host: &Host,
    deadline: Instant,
    observer: &Observer,
) -> Result<(), Error> {
    // A torn record was written before anything was made, and nothing of another boot lives.
    let Some(record) = entry.record() else {
        entry.remove()?;
        observer.tell(entry.id(), Event::Deleted);
        return Ok(());
    };
    match init {
        Init::Held(init) => kill_and_remove(record, Some(init), host, deadline)?,
        Init::Recorded if entry.is_leftover(host)? => {}
        Init::Recorded => {
            let init = open_init(host, record)?;
            kill_and_remove(record, init.as_ref(), host, deadline)?;
        }
    }
    if let Some(path) = &record.pid_file_temporary {
        // Usually renamed long ago.
        let _ = unlinkat(CWD, path, AtFlags::empty());
    }
    entry.remove()?;
    observer.tell(entry.id(), Event::Deleted);
    if record.poststop.is_empty() {
        return Ok(());
    }
    let hooks = record.poststop.iter().filter_map(HookRecord::hook);
    let hooks: Vec<_> = hooks.collect();
    let state = StateDocument::new(record, Status::Stopped, None).to_json();
    // All is gone by now; that the error is returned nevertheless is runc's behaviour (docs/compatibility.md "Hooks").
    hooks::run_all(HookKind::Poststop, &hooks, &state).map_err(|error| {
        Error::new(
            error.kind(),
            format!("unable to destroy container: {error}"),
        )
    })
}

/// Init first, then whatever else is in the cgroup, then the cgroup and the group in resctrl.
fn kill_and_remove(
    record: &Record,
    init: Option<&OwnedFd>,
    host: &Host,
    deadline: Instant,
) -> Result<(), Error> {
    if let Some(init) = init {
        kill_init(record, init, deadline)?;
    }
    let mut cgroup = cgroup_of(record)?;
    if !cgroup.remove_empty()? {
        cgroup.kill_all(host, deadline)?;
        cgroup.remove(host, deadline)?;
    }
    match &record.intel_rdt {
        Some(placement) => intel_rdt::remove(placement, record.phase == Phase::Created),
        None => Ok(()),
    }
}

/// By its pidfd, since a rootless container may have no cgroup.
fn kill_init(record: &Record, init: &OwnedFd, deadline: Instant) -> Result<(), Error> {
    match pidfd_send_signal(init, Signal::KILL) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Ok(()),
        Err(errno) => return Err(Refused::call("pidfd_send_signal(SIGKILL)", errno).into()),
    }
    cgroup_of(record)?.release()?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(init, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "container init still running",
                ));
            }
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Refused::call("poll(pidfd)", errno).into()),
        }
    }
}
