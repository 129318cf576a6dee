//! What a container uses, and whether it runs out of memory.

use std::os::fd::{AsFd, OwnedFd};

use crate::cgroup::{Cgroup, OomEvents};
use crate::error::{Error, ErrorKind};
use crate::intel_rdt;
use crate::state::Entry;
use crate::statistics::Statistics;

use super::cgroup_of;

/// See [`crate::Container::statistics`].
pub fn statistics(entry: &Entry) -> Result<Statistics, Error> {
    let mut statistics = cgroup(entry)?.statistics()?;
    if let Some(placement) = entry.record().and_then(|record| record.intel_rdt.as_ref()) {
        statistics.intel_rdt = intel_rdt::stats(placement)?;
    }
    Ok(statistics)
}

/// See [`crate::Container::oom_kills`].
pub fn oom_kills(entry: &Entry) -> Result<Option<u64>, Error> {
    match entry.record() {
        Some(record) => cgroup_of(record)?.oom_kills(),
        None => Ok(None),
    }
}

/// See [`crate::Container::oom_events`].
pub fn oom_events(entry: &Entry, init: Option<&OwnedFd>) -> Result<OomEvents, Error> {
    cgroup(entry)?.oom_events(init.map(AsFd::as_fd))
}

/// The container's cgroup. One that has gone is NotFound, one that never was is without directories.
fn cgroup(entry: &Entry) -> Result<Cgroup, Error> {
    let gone = || {
        Error::new(
            ErrorKind::NotFound,
            format!("the cgroup of container {} is gone", entry.id()),
        )
    };
    let record = entry.record().ok_or_else(gone)?;
    let cgroup = cgroup_of(record)?;
    if cgroup.is_none() && !record.cgroups.is_empty() {
        return Err(gone());
    }
    Ok(cgroup)
}
