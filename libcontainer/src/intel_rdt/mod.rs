//! Intel RDT (and AMD's and Arm's equal): a resctrl group that holds the container's tasks, with its schemata and its monitoring.
//!
//! Nothing here runs, and mountinfo is not read, unless `linux.intelRdt` is there. A group is made after the intent is on disk, and the
//! waiting stage is put into it before anything of the container happens; a fork stays in its parent's group.
//!
//! **Whose a group is.** resctrl takes no extended attribute, so a group cannot be marked as a cgroup is. What makes it ours is the record:
//! that a group of this name did not exist is found out *before* the intent names it, and mkdir(2) must then make it. A group without
//! `closID` is the container's and goes with it. One with `closID` is shared: it stays, as with runc, but for the one that a create made
//! and did not live to use. rmdir(2) of a group moves its tasks to the default one, so a shared group with tasks is never removed.
//!
//! **Where resctrl is.** [`Resctrl::find`] believes mountinfo and proves it with fstatfs(2). No switch makes the program take anything else
//! for resctrl: the tests of this module, which most machines have no hardware for, call [`Resctrl::at`] with a directory tree of their own,
//! and the suite sees to it that a machine without resctrl refuses.

mod group;
mod mount;
mod schemata;
mod stats;
#[cfg(test)]
mod tests;
mod update;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{ConfigErrors, IntelRdt, RdtClass, SchemaLine};
use crate::error::{Error, ErrorKind, Pointer, Refused};
use crate::host::Host;

pub use group::Group;
pub use mount::Resctrl;
pub use stats::{CacheInfo, CacheOccupancy, MemoryBandwidth, MemoryBandwidthInfo, Stats, stats};
pub use update::Update;

/// Where `linux.intelRdt` stands.
const POINTER: Pointer = Pointer::fixed("config.json#/linux/intelRdt");

/// The container's place in resctrl, as the record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Where resctrl is mounted.
    pub root: PathBuf,
    /// The group's directory in it; empty: the default group, the root itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    pub owner: Owner,
    /// The container's group below `mon_groups` of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<String>,
}

/// Whose the group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The container's: made for it, removed with it.
    Container,
    /// Made by this create and meant to be shared: removed only if the create comes to nothing.
    Create,
    /// Somebody else's.
    Shared,
}

impl Placement {
    /// The group's absolute path.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.group)
    }
}

/// What is to be made, decided and checked before anything is.
#[derive(Debug)]
pub struct RdtPlan {
    pub(super) resctrl: Resctrl,
    pub placement: Placement,
    /// Written to the group's `schemata`; empty when nothing is, or when an existing group has them already.
    pub(super) lines: Vec<SchemaLine>,
}

impl RdtPlan {
    /// Plans what `config` asks for on this machine. Errors: Unsupported with a pointer when resctrl is not mounted or lacks a resource or
    /// monitoring; InvalidConfig when a `closID` is not there, or does not have the schemata asked for; AlreadyExists; Refused.
    pub fn new(config: &IntelRdt, id: &str, host: &Host) -> Result<RdtPlan, Error> {
        RdtPlan::within(Resctrl::find(host)?, config, id)
    }

    /// The same for a root that is at hand.
    pub(super) fn within(resctrl: Resctrl, config: &IntelRdt, id: &str) -> Result<RdtPlan, Error> {
        for line in &config.schemata {
            resctrl.check_resource(line)?;
        }
        if config.monitoring {
            resctrl.check_monitoring()?;
        }
        let name = match &config.class {
            RdtClass::Own => id,
            RdtClass::Default => "",
            RdtClass::Named(name) => name,
        };
        let exists = resctrl.has_group(name)?;
        let owner = match (&config.class, exists) {
            (RdtClass::Own, false) => Owner::Container,
            (RdtClass::Own, true) => return Err(exists_already(&resctrl, name)),
            (_, true) => Owner::Shared,
            (_, false) if config.schemata.is_empty() => return Err(no_such_class(&resctrl, name)),
            (_, false) => Owner::Create,
        };
        let monitoring = config.monitoring.then(|| id.to_owned());
        let placement = Placement {
            root: resctrl.path.clone(),
            group: name.to_owned(),
            owner,
            monitoring,
        };
        if exists {
            schemata::check_existing(&resctrl, name, &config.schemata)?;
        }
        if let (true, Some(monitoring)) = (exists, &placement.monitoring) {
            let below = group::monitoring_path(name, monitoring);
            if resctrl.has_group(&below)? {
                return Err(exists_already(&resctrl, &below));
            }
        }
        Ok(RdtPlan {
            resctrl,
            placement,
            lines: match exists {
                true => Vec::new(),
                false => config.schemata.clone(),
            },
        })
    }
}

fn exists_already(resctrl: &Resctrl, name: &str) -> Error {
    let path = resctrl.path.join(name);
    Error::new(
        ErrorKind::AlreadyExists,
        format!(
            "{POINTER}: the resctrl group {} exists and is not this container's (hint: rmdir it if nobody uses it, or name it in closID to \
             share it)",
            path.display()
        ),
    )
}

fn no_such_class(resctrl: &Resctrl, name: &str) -> Error {
    let text = format!(
        "{} does not exist (hint: a closID without schemata, l3CacheSchema and memBwSchema names a group that was made before)",
        resctrl.path.join(name).display()
    );
    ConfigErrors::one(POINTER.key("closID"), text).into()
}

/// Removes what a record says the container has in resctrl. `finished`: its create came to its end. What has gone is passed over: with
/// resctrl itself unmounted no group lives.
pub fn remove(placement: &Placement, finished: bool) -> Result<(), Error> {
    match Resctrl::reopen(&placement.root)? {
        Some(resctrl) => group::remove(&resctrl, placement, finished),
        None => Ok(()),
    }
}

/// A refusal, and what resctrl itself has to say about it (`info/last_cmd_status`).
#[derive(Debug, thiserror::Error)]
#[error("{refused}{}", said(status))]
pub(crate) struct RdtRefused {
    pub refused: Refused,
    /// Empty when the kernel says nothing.
    pub status: String,
}

fn said(status: &str) -> String {
    match status {
        "" => String::new(),
        status => format!(" (resctrl says: {status})"),
    }
}

impl From<RdtRefused> for Error {
    fn from(error: RdtRefused) -> Error {
        Error::new(ErrorKind::Refused, error)
    }
}
