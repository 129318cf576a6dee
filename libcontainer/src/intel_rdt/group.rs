//! One group: made, given its schemata, entered and removed.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, unlinkat};
use rustix::io::{Errno, write};

use crate::config::SchemaLine;
use crate::error::{Error, Refused};
use crate::kernel_file::retry;

use super::{Owner, POINTER, Placement, RdtPlan, Resctrl};

/// The container's group. What [`Group::create`] made disappears on drop until [`Group::commit`].
#[derive(Debug)]
pub struct Group {
    resctrl: Resctrl,
    placement: Placement,
    /// Made by this value and not committed: the group, the monitoring group.
    made: (bool, bool),
}

impl Group {
    /// Makes the group, if it is to be made, with its schemata, and the one that monitors. Nobody is in it yet.
    pub fn create(plan: RdtPlan) -> Result<Group, Error> {
        let mut group = Group::unmade(plan.resctrl, plan.placement);
        if group.placement.owner != Owner::Shared {
            group.make()?;
        }
        group.set_schemata(&plan.lines)?;
        if group.placement.monitoring.is_some() {
            group.make_monitoring()?;
        }
        Ok(group)
    }

    pub(super) fn unmade(resctrl: Resctrl, placement: Placement) -> Group {
        Group {
            resctrl,
            placement,
            made: (false, false),
        }
    }

    /// The group of a record; `None` when it has gone: an administrator may unmount resctrl, or remove a group, and its tasks live on.
    pub fn open(placement: &Placement) -> Result<Option<Group>, Error> {
        match Resctrl::reopen(&placement.root)? {
            Some(resctrl) if resctrl.has_group(&placement.group)? => {
                Ok(Some(Group::unmade(resctrl, placement.clone())))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn make(&mut self) -> Result<(), Error> {
        let name = &self.placement.group;
        make(&self.resctrl, name)?;
        self.made.0 = true;
        Ok(())
    }

    pub(super) fn make_monitoring(&mut self) -> Result<(), Error> {
        if let Some(monitoring) = &self.placement.monitoring {
            make(
                &self.resctrl,
                &monitoring_path(&self.placement.group, monitoring),
            )?;
            self.made.1 = true;
        }
        Ok(())
    }

    /// All lines in one write: the kernel takes them all or none.
    pub fn set_schemata(&self, lines: &[SchemaLine]) -> Result<(), Error> {
        let Some(first) = lines.first() else {
            return Ok(());
        };
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let path = below(&self.placement.group, "schemata");
        let value = format!("{}\n", texts.join("\n"));
        self.write(&path, value.as_bytes()).map_err(|errno| {
            let call = format!("write({})", texts.join(", "));
            let at = match lines {
                [only] => only.at.clone(),
                _ if lines.iter().all(|line| line.at == first.at) => first.at.clone(),
                _ => POINTER,
            };
            let path = self.resctrl.path.join(&path);
            self.resctrl
                .refused_at(Refused::new(call, path, errno).at(at))
        })
    }

    /// Moves a task in: the waiting stage, which alone is what its process consists of.
    pub fn enter(&self, pid: i32) -> Result<(), Error> {
        let group = &self.placement.group;
        self.add(group, pid)?;
        match &self.placement.monitoring {
            // After the group: a task can be monitored only where it is.
            Some(monitoring) => self.add(&monitoring_path(group, monitoring), pid),
            None => Ok(()),
        }
    }

    fn add(&self, group: &str, pid: i32) -> Result<(), Error> {
        let path = below(group, "tasks");
        self.write(&path, pid.to_string().as_bytes())
            .map_err(|errno| self.resctrl.refused(&format!("write({pid})"), &path, errno))
    }

    fn write(&self, path: &str, value: &[u8]) -> Result<(), Errno> {
        let file: OwnedFd = self.resctrl.open(path, OFlags::WRONLY)?;
        retry(|| write(&file, value)).map(drop)
    }

    /// The group stays when this value is dropped.
    pub fn commit(&mut self) {
        self.made = (false, false);
    }
}

impl Drop for Group {
    /// The undo of a create that failed. Its own error is what the caller gets.
    fn drop(&mut self) {
        if let (true, Some(monitoring)) = (self.made.1, &self.placement.monitoring) {
            let _ = remove_one(
                &self.resctrl,
                &monitoring_path(&self.placement.group, monitoring),
            );
        }
        if self.made.0 {
            let _ = remove_group(&self.resctrl, &self.placement);
        }
    }
}

/// The directory, relative to the root, of a group that monitors.
pub(super) fn monitoring_path(group: &str, name: &str) -> String {
    below(group, &format!("mon_groups/{name}"))
}

fn below(group: &str, path: &str) -> String {
    match group {
        "" => path.to_owned(),
        group => format!("{group}/{path}"),
    }
}

/// Makes a directory below a parent that is opened without following links. EEXIST is an error: it would not be ours.
fn make(resctrl: &Resctrl, path: &str) -> Result<(), Error> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    resctrl
        .directory(parent)
        .and_then(|parent| mkdirat(parent, name, Mode::from_raw_mode(0o755)))
        .map_err(|errno| resctrl.refused("mkdir", path, errno))
}

/// What [`super::remove`] does, for a root that is at hand.
pub(super) fn remove(
    resctrl: &Resctrl,
    placement: &Placement,
    finished: bool,
) -> Result<(), Error> {
    if let Some(monitoring) = &placement.monitoring {
        remove_one(resctrl, &monitoring_path(&placement.group, monitoring))?;
    }
    match placement.owner {
        Owner::Container => remove_group(resctrl, placement),
        Owner::Create if !finished => remove_group(resctrl, placement),
        Owner::Create | Owner::Shared => Ok(()),
    }
}

/// A shared group is left alone as soon as it has a task: somebody else has begun to use it.
fn remove_group(resctrl: &Resctrl, placement: &Placement) -> Result<(), Error> {
    let name = &placement.group;
    if placement.owner == Owner::Create
        && resctrl
            .read(&below(name, "tasks"))
            .is_ok_and(|tasks| !tasks.is_empty())
    {
        return Ok(());
    }
    remove_one(resctrl, name)
}

fn remove_one(resctrl: &Resctrl, path: &str) -> Result<(), Error> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let removed = resctrl
        .directory(parent)
        .and_then(|parent| unlinkat(parent, name, AtFlags::REMOVEDIR));
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(resctrl.refused("rmdir", path, errno)),
    }
}
