//! The container's cgroup: made, marked, joined, watched, killed and removed.
//!
//! A directory is *ours* only if we made it (or found it empty) and marked it, by an extended attribute with the container's random token,
//! before any process entered. Processes are killed only in a marked directory; an unmarked one is at most rmdir'ed. What
//! [`Cgroup::create`] made disappears on drop until [`Cgroup::commit`].
//!
//! One [`Cgroup`] is one directory on a unified machine and one for each hierarchy on a legacy or hybrid one. Making, marking, listing and
//! removing a directory are the same everywhere ([`directory`]); what differs is behind one trait ([`driver`]). Limits are planned as
//! writes before anything is made ([`limits`]).

pub(crate) mod delegate;
pub mod device;
mod directory;
mod driver;
pub(crate) mod layout;
pub mod limits;
mod mounts;
mod path;
mod plan;
mod statistics;
mod stuck;
mod systemd;
mod v1;
mod v2;
mod walk;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::CWD;
use rustix::io::Errno;

use crate::config::{DeviceRule, Resources};
use crate::error::{Error, ErrorKind, Refused};
use crate::host::Host;
use crate::kernel_file::write_value;
pub(crate) use directory::CreateError;
use directory::Directory;
use driver::{Driver, Legacy, Unified};
use layout::CgroupLayout;

pub use mounts::{CgroupMounts, HierarchyMount};
pub use path::{BadPath, Version};
pub use plan::{CgroupPlan, Place};
pub use statistics::{OomEvent, OomEvents};
pub use stuck::Survivors;
use stuck::{frozen_above, not_frozen, not_thawed, survivors};
pub use systemd::{UnitPlan, UnitRecord};

/// How long the undo of a failed create waits for processes that are being killed.
const UNDO_DEADLINE: Duration = Duration::from_secs(2);

/// The cgroup of one container, on every hierarchy. Without any directory for a rootless container that may not make one.
#[derive(Debug)]
pub struct Cgroup {
    directories: Vec<Directory>,
    driver: Box<dyn Driver>,
    /// The unit that systemd made of the directories.
    unit: Option<UnitRecord>,
    /// Removed on drop: made by this value and not committed.
    armed: bool,
    /// Device rules that the kernel refuses are passed over: a rootless runtime has no right to set them and needs none.
    tolerant: bool,
}

/// What [`Cgroup::remove`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Nothing of the container's is left.
    Done,
    /// A directory that is not marked as ours has processes or children in it; it was left alone.
    NotOurs,
}

impl Cgroup {
    /// Makes and marks the planned directories. `token` is the container's random token, already in its intent record.
    /// Errors: Refused by the kernel; AlreadyExists when a directory has processes or children. Nothing is left behind then.
    pub fn create(plan: &CgroupPlan, token: &str) -> Result<Cgroup, Error> {
        let mut cgroup = Cgroup {
            directories: Vec::with_capacity(plan.places.len()),
            driver: driver(&plan.places),
            unit: None,
            armed: true,
            tolerant: plan.rootless,
        };
        // systemd makes them, around the first process.
        if plan.unit.is_some() {
            return Ok(cgroup);
        }
        for place in &plan.places {
            match Directory::create(place, token) {
                Ok(directory) => cgroup.directories.push(directory),
                Err(directory::CreateError::Refused(refused))
                    if plan.tolerant && no_privilege(refused.errno) => {}
                Err(directory::CreateError::Refused(refused)) if no_privilege(refused.errno) => {
                    return Err(limits::blame(refused, &plan.limits).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(cgroup)
    }

    /// No cgroup at all: a rootless container that may not make one and asks for no limits.
    pub fn none() -> Cgroup {
        Cgroup {
            directories: Vec::new(),
            driver: Box::new(Legacy),
            unit: None,
            armed: false,
            tolerant: true,
        }
    }

    /// What is there of the cgroup that a record names. Absent directories are left out: they may never have been made, or be gone.
    pub fn open(places: &[Place], token: &str) -> Result<Cgroup, Error> {
        let mut directories = Vec::with_capacity(places.len());
        for place in places {
            directories.extend(Directory::open(place, token)?);
        }
        Ok(Cgroup {
            directories,
            driver: driver(places),
            unit: None,
            armed: false,
            tolerant: false,
        })
    }

    /// The directories stay when this value is dropped.
    pub fn commit(&mut self) {
        self.armed = false;
    }

    /// Whether there is no directory at all.
    pub fn is_none(&self) -> bool {
        self.directories.is_empty()
    }

    /// The directory to clone into (CLONE_INTO_CGROUP), on a unified machine only: elsewhere [`Cgroup::place`] comes after the clone.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        match self.directories.as_slice() {
            [only] if only.place.is_unified() => Some(only.fd.as_fd()),
            _ => None,
        }
    }

    /// The directory in the cgroup2 tree of a hybrid machine, to clone into: the other hierarchies are entered after the clone.
    pub fn tree(&self) -> Option<BorrowedFd<'_>> {
        let tree = |directory: &&Directory| directory.place.version == Version::V2;
        let tree = self.directories.iter().find(tree);
        tree.map(|directory| directory.fd.as_fd())
    }

    /// Brings the waiting `pid` into every hierarchy but the one of [`Cgroup::tree`] that it was cloned into (`in_tree`). `enter` has it
    /// write itself into the list it is given. `below`: for `exec --cgroup`, below the container's directories: (controllers, path) for each
    /// hierarchy that one of them is bound to, a path without controllers for all others.
    pub fn place(
        &self,
        pid: i32,
        in_tree: bool,
        below: &[(Option<String>, String)],
        enter: impl Fn(BorrowedFd<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for directory in &self.directories {
            let named = below.iter().find(|(controllers, _)| {
                controllers
                    .as_deref()
                    .is_some_and(|list| list.split(',').any(|name| directory.place.has(name)))
            });
            let chosen =
                named.or_else(|| below.iter().find(|(controllers, _)| controllers.is_none()));
            let path = chosen.map_or("", |(_, path)| path);
            if directory.place.version == Version::V1 {
                enter(directory.open_tasks(path)?.as_fd())?;
            } else if !in_tree {
                directory.add_process(path, pid)?;
            }
        }
        Ok(())
    }

    /// Moves processes of ours out of a frozen v1 cgroup, where they could not even die, into the one that we run in: its parent may be
    /// frozen too. On cgroup2 a frozen process dies as it is.
    pub fn evict(&self, pids: &[i32]) -> Result<(), Error> {
        let frozen = self
            .directories
            .iter()
            .find(|directory| directory.place.has("freezer"));
        let (Some(frozen), CgroupLayout::Legacy(hierarchies)) =
            (frozen, CgroupLayout::read(&Host::new())?)
        else {
            return Ok(());
        };
        let own = hierarchies
            .iter()
            .find(|hierarchy| hierarchy.mount_point == frozen.place.mount);
        let Some(own) = own else { return Ok(()) };
        let path = own
            .mount_point
            .join(own.own.strip_prefix("/").unwrap_or(&own.own))
            .join("cgroup.procs");
        for pid in pids {
            match write_value(CWD, &path, pid.to_string().as_bytes()) {
                // It has ended by itself.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(Refused::new("write", path, errno).into()),
            }
        }
        Ok(())
    }

    /// A directory below the container's own (v2).
    pub fn open_below(&self, path: &str) -> Result<OwnedFd, Error> {
        let top = self
            .directories
            .first()
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "the container has no cgroup"))?;
        top.open_below(Path::new(path)).map_err(|errno| {
            Refused::new("openat2", top.place.host_path().join(path), errno).into()
        })
    }

    /// For exec on a unified machine, when the container has made sub-cgroups and cloning into the top one failed with EBUSY: the cgroup
    /// that `init` is in now, which must lie below the container's. Errors: NotFound when it does not or init has gone.
    pub fn directory_of(&self, host: &Host, init: i32) -> Result<OwnedFd, Error> {
        let gone = || {
            Error::new(
                ErrorKind::NotFound,
                format!("process {init} is not in the container's cgroup"),
            )
        };
        let top = self.directories.first().ok_or_else(gone)?;
        let cgroups = host.read_proc(&format!("{init}/cgroup"))?;
        let current = layout::cgroup_of(&cgroups, "").ok_or_else(gone)?;
        let below = current
            .strip_prefix("/")
            .ok()
            .and_then(|path| path.strip_prefix(&top.place.path).ok())
            .ok_or_else(gone)?;
        top.open_below(below).map_err(|errno| {
            Refused::new("openat2", top.place.host_path().join(below), errno).into()
        })
    }

    /// Sets the device policy: `rules` in order, later ones deciding, then the default allow-list, everything else denied.
    /// Errors: Refused, always fatal with real privileges (R14). Without them a refusal is passed over: nothing could be reached anyway.
    pub fn set_devices(&self, rules: &[DeviceRule]) -> Result<(), Error> {
        match self.driver.set_devices(&self.directories, rules) {
            Err(error) if self.tolerant && error.errno().is_some_and(no_privilege) => Ok(()),
            other => other,
        }
    }

    /// Writes the planned limits. Errors: Refused or InvalidConfig with the pointer of the key; what was written before stays.
    pub fn set_limits(&self, steps: &[limits::Step]) -> Result<(), Error> {
        limits::apply(&self.directories, steps)
    }

    /// What the files that `steps` would write say now.
    pub fn save_limits(&self, steps: &[limits::Step]) -> Vec<limits::SavedLimit> {
        limits::save(&self.directories, steps)
    }

    /// Makes the files say that again. Errors: Refused; those that could be put back are.
    pub fn restore_limits(&self, saved: &[limits::SavedLimit]) -> Result<(), Error> {
        let steps = limits::restoring(&self.directories, saved);
        self.update_limits(&steps, &Resources::default())
    }

    /// Which files its limits are.
    pub fn version(&self) -> Version {
        self.driver.version()
    }

    /// Every process of the container, sub-cgroups included, in ascending order. A process that has gone meanwhile may be among them.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        let mut pids = Vec::new();
        // v1 hierarchies may disagree when a process was moved by hand: whoever is in one of them is counted.
        for directory in &self.directories {
            directory.add_processes(&mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Whether every directory found is marked with the token: then its processes are the container's.
    pub fn is_marked(&self) -> bool {
        !self.directories.is_empty() && self.directories.iter().all(|directory| directory.marked)
    }

    /// Kills every process in the marked directories and waits until none is left. Frozen ones are thawed to die.
    /// Errors: Refused; Internal with [`Survivors`] after the deadline.
    pub fn kill_all(&self, host: &Host, deadline: Instant) -> Result<(), Error> {
        let marked = self
            .directories
            .iter()
            .filter(|directory| directory.marked)
            .collect::<Vec<_>>();
        if marked.is_empty() {
            return Ok(());
        }
        self.driver.kill(&marked, host, deadline)
    }

    /// Freezes every process and waits until all are. Thawed again when that cannot be had before the deadline.
    /// Errors: Internal after the deadline, or when this process would freeze itself; Unsupported without a cgroup that can be frozen;
    /// Refused.
    pub fn freeze(&self, deadline: Instant) -> Result<(), Error> {
        self.check_marked()?;
        if self
            .processes()?
            .contains(&rustix::process::getpid().as_raw_nonzero().get())
        {
            return Err(Error::new(
                ErrorKind::Internal,
                "refusing to freeze: this process is in the container's cgroup",
            ));
        }
        self.driver.freeze(&self.directories, deadline)
    }

    /// Whether the container is frozen, or on the way there. An absent directory is not: its container has stopped.
    pub fn frozen(&self) -> Result<bool, Error> {
        self.driver.frozen(&self.directories)
    }

    /// Takes back [`Cgroup::freeze`], and waits until the processes run.
    /// Errors: WrongStatus when a cgroup above is frozen; Internal after the deadline; Refused.
    pub fn thaw(&self, deadline: Instant) -> Result<(), Error> {
        self.check_marked()?;
        self.driver.thaw(&self.directories, deadline)
    }

    /// Lets processes that were killed while frozen die, however deep below they were frozen.
    pub fn release(&self) -> Result<(), Error> {
        self.driver.release(&self.directories)
    }

    /// Whether there is a cgroup to work on, and it is the container's. Errors: Unsupported without one; Internal when it is a stranger's.
    pub fn check_marked(&self) -> Result<(), Error> {
        if self.directories.is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the container has no cgroup",
            ));
        }
        match self.directories.iter().find(|directory| !directory.marked) {
            None => Ok(()),
            Some(stranger) => {
                let path = stranger.place.host_path();
                let text = format!("{} is not the container's any more", path.display());
                Err(Error::new(ErrorKind::Internal, text))
            }
        }
    }

    /// Removes what of the directories is empty, as all of them are when the container's processes have ended. False when any is left.
    pub fn remove_empty(&mut self) -> Result<bool, Error> {
        // Those of a unit are systemd's to remove.
        if self.unit.is_some() {
            return Ok(self.directories.is_empty());
        }
        // A refusal counts as not empty: `remove` meets it again and tells it.
        self.directories
            .retain(|directory| !directory.remove_empty().unwrap_or(false));
        Ok(self.directories.is_empty())
    }

    /// Removes the directories, children first, again and again until the deadline: a process that is just dying still counts. The
    /// parents that [`Cgroup::create`] made go too once they are empty. Kills nothing.
    /// Errors: Refused; Internal with [`Survivors`] after the deadline.
    pub fn remove(&mut self, host: &Host, deadline: Instant) -> Result<Removal, Error> {
        if let Some(unit) = self.unit.clone() {
            return self.remove_unit(&unit, host, deadline);
        }
        let mut removal = Removal::Done;
        for directory in &self.directories {
            if directory.remove(host, deadline)? == Removal::NotOurs {
                removal = Removal::NotOurs;
            }
        }
        self.armed = false;
        self.directories.clear();
        Ok(removal)
    }

    /// (controller, absolute directory) as runc's `cgroup_paths` has them: key `""` for cgroup2.
    pub fn paths(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.directories.iter().flat_map(|directory| {
            directory
                .place
                .keys()
                .map(|key| (key, directory.place.host_path()))
        })
    }

    /// Gives up a cgroup that a rootless launch could make but not enter; the container then has none.
    pub fn abandon(&mut self, host: &Host) -> Result<(), Error> {
        self.remove(host, Instant::now() + UNDO_DEADLINE).map(drop)
    }
}

/// The file driver of these places.
fn driver(places: &[Place]) -> Box<dyn Driver> {
    match places {
        [only] if only.is_unified() => Box::new(Unified),
        _ => Box::new(Legacy),
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.armed {
            self.undo();
        }
    }
}

impl Cgroup {
    /// Undoes a create that failed. Its own error is what the caller gets; the record still names what could not go.
    fn undo(&mut self) {
        let host = Host::new();
        if self.unit.is_none() {
            self.directories
                .extract_if(.., |directory| !directory.made)
                .for_each(|directory| directory.unmark());
        }
        let deadline = Instant::now() + UNDO_DEADLINE;
        let _ = self.kill_all(&host, deadline);
        let _ = self.remove(&host, deadline);
    }
}

/// Whether an errno only says that this user may not touch cgroups.
fn no_privilege(errno: crate::error::Errno) -> bool {
    [Errno::PERM, Errno::ACCESS, Errno::ROFS]
        .iter()
        .any(|refusal| refusal.raw_os_error() == errno.0)
}
