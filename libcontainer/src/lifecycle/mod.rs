//! What can be done with a container, one file an operation: each reads the record, acts, and writes the record.

mod create;
mod delete;
mod exec;
mod exec_process;
mod explain;
mod intent;
mod kill;
mod pause;
mod start;
mod statistics;
mod update;

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cgroup::Cgroup;
use crate::container::{Container, State};
use crate::error::{Error, Refused};
use crate::event::Observer;
use crate::host::Host;
use crate::state::{Entry, Record, Status};

pub use create::create;
pub use delete::{delete, delete_held};
pub use exec::exec;
pub use explain::explain;
pub use kill::{kill, send};
pub use pause::{pause, resume};
pub use start::start;
pub use statistics::{oom_events, oom_kills, statistics};
pub use update::update;

/// The handle of a recorded container.
pub fn load(entry: Entry, host: Host, observer: &Observer) -> Result<Container, Error> {
    let init = match entry.record() {
        Some(record) => open_init(&host, record)?,
        None => None,
    };
    let pid = entry
        .record()
        .filter(|_| init.is_some())
        .map_or(0, |record| record.init_process_pid);
    Ok(Container {
        entry,
        pid,
        pidfd: init,
        console: None,
        notify: None,
        calls: None,
        warnings: Vec::new(),
        observer: observer.clone(),
        host,
    })
}

/// The state of a recorded container.
pub fn state(entry: &Entry, host: &Host) -> Result<State, Error> {
    let status = entry.status(host)?;
    let Some(record) = entry.record() else {
        // Torn: an id is all that is known.
        return Ok(State {
            oci_version: String::new(),
            id: entry.id().to_owned(),
            pid: 0,
            status,
            bundle: Default::default(),
            rootfs: Default::default(),
            created: String::new(),
            annotations: Default::default(),
            owner_uid: entry.owner(),
        });
    };
    Ok(State {
        oci_version: record.oci_version.clone(),
        id: record.id.clone(),
        pid: if status == Status::Stopped {
            0
        } else {
            record.init_process_pid
        },
        status,
        bundle: record.bundle.clone(),
        rootfs: record.rootfs.clone(),
        created: record.created.clone(),
        annotations: record.annotations.clone(),
        owner_uid: entry.owner(),
    })
}

/// Every process of the container; `None` when its cgroup is gone.
pub fn processes(entry: &Entry) -> Result<Option<Vec<i32>>, Error> {
    let Some(record) = entry.record() else {
        return Ok(None);
    };
    let cgroup = cgroup_of(record)?;
    if cgroup.is_none() {
        Ok(None)
    } else {
        cgroup.processes().map(Some)
    }
}

/// What there is of the container's cgroup.
fn cgroup_of(record: &Record) -> Result<Cgroup, Error> {
    let cgroup = Cgroup::open(&record.cgroups, record.token.as_str())?;
    Ok(cgroup.of_unit(record.unit.as_ref()))
}

/// A pidfd of the container's init, if it still lives: opened first and then compared with the recorded start time, so that a process
/// which got the same pid meanwhile is never taken for it.
fn open_init(host: &Host, record: &Record) -> Result<Option<OwnedFd>, Error> {
    if record.boot_id != host.boot_id()? {
        return Ok(None);
    }
    let Some(pid) = Pid::from_raw(record.init_process_pid) else {
        return Ok(None);
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
        Err(errno) => {
            return Err(
                Refused::call(format!("pidfd_open({})", record.init_process_pid), errno).into(),
            );
        }
    };
    let same = host
        .process(record.init_process_pid)?
        .is_some_and(|stat| stat.start_time == record.init_process_start && !stat.is_dead());
    Ok(same.then_some(pidfd))
}
