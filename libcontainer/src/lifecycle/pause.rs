//! pause and resume: the container's cgroup is frozen with all below it, and thawed.
//!
//! Nothing is written down: a frozen cgroup is what a paused container is, so a pause that is killed halfway leaves a container that
//! [`crate::Status::Paused`] describes, and resume or a forced delete deal with. One that fails, or misses its deadline, thaws again.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::host::Host;
use crate::state::{Entry, Event};

use super::cgroup_of;

/// For the whole of a pause or resume: the wait for another command, and for the processes.
const DEADLINE: Duration = Duration::from_secs(10);

/// Freezes every process. Errors: WrongStatus; Unsupported; Internal after the deadline; Refused.
pub fn pause(entry: &Entry, host: &Host) -> Result<(), Error> {
    locked(entry, host, Event::Pause)
}

/// Thaws them. Errors: as [`pause`].
pub fn resume(entry: &Entry, host: &Host) -> Result<(), Error> {
    locked(entry, host, Event::Resume)
}

fn locked(entry: &Entry, host: &Host, event: Event) -> Result<(), Error> {
    let deadline = Instant::now() + DEADLINE;
    entry.lock(deadline)?;
    let done = act(entry, host, event, deadline);
    entry.unlock();
    done
}

fn act(entry: &Entry, host: &Host, event: Event, deadline: Instant) -> Result<(), Error> {
    entry.status(host)?.after(event)?;
    let Some(record) = entry.record() else {
        return Err(Error::new(ErrorKind::WrongStatus, "container not running"));
    };
    let cgroup = cgroup_of(record)?;
    match event {
        Event::Resume => cgroup.thaw(deadline),
        _ => cgroup.freeze(deadline),
    }
}
