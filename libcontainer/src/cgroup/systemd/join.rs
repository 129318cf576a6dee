//! The container's cgroup as a unit: started around its first process, and gone when its processes are.

use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, statat};
use rustix::io::Errno;

use crate::config::Resources;
use crate::error::{Error, Refused};
use crate::host::Host;

use super::super::directory::Directory;
use super::super::limits::Step;
use super::super::path::Version;
use super::super::{Cgroup, CgroupPlan, Place, Removal};
use super::bus::Value;
use super::client::{Systemd, UnitError};
use super::plan::{UnitPlan, UnitRecord};
use super::properties::{self, Property};
use super::unit::UnitKind;

/// How long a scope may outlive its last process before systemd is told to stop it. It needs some milliseconds, of which the kernel takes
/// ten before it says that a cgroup is empty.
const GRACE: Duration = Duration::from_millis(500);
/// How long systemd may take for anything but a start.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Has systemd start the planned unit around the waiting process `pid`, then marks its directories and moves `pid` into those that
    /// systemd has no part in. Errors: AlreadyExists for a unit that is active; Refused when systemd refuses or does not answer.
    pub fn enter_unit(
        &mut self,
        plan: &CgroupPlan,
        unit: &UnitPlan,
        token: &str,
        pid: i32,
    ) -> Result<(), Error> {
        let record = &unit.record;
        let mut properties = unit.properties.clone();
        if record.kind == UnitKind::Scope {
            let pids = Value::Numbers(vec![pid.unsigned_abs()]);
            properties.push(Property::new("PIDs", pids));
        }
        let deadline = Instant::now() + unit.patience;
        record
            .connect("start", deadline)?
            .start(&record.name, &properties)?;
        // From here on there is something to undo.
        self.unit = Some(record.clone());
        for place in &plan.places {
            self.directories.push(Directory::adopt(place, token, pid)?);
        }
        for directory in &self.directories {
            let mut there = Vec::new();
            directory.add_processes(&mut there)?;
            // A slice takes no processes at its start, and on v1 systemd leaves out the hierarchies that it needs no controller of.
            if !there.contains(&pid) {
                directory.write("cgroup.procs", pid.to_string().as_bytes())?;
            }
        }
        Ok(())
    }

    /// Writes limits that a running container shall have, having told the unit: what systemd does not know it would undo.
    /// `resources`: what the steps were planned from. Errors: as [`Cgroup::set_limits`]; Refused when systemd does not answer.
    pub fn update_limits(&self, steps: &[Step], resources: &Resources) -> Result<(), Error> {
        let Some(unit) = self.unit.as_ref().filter(|_| !steps.is_empty()) else {
            return self.set_limits(steps);
        };
        let mut steps = steps.to_vec();
        unit.update(self.version(), &mut steps, resources)?;
        self.set_limits(&steps)
    }

    /// The same cgroup, known to be a unit's.
    #[must_use]
    pub fn of_unit(mut self, unit: Option<&UnitRecord>) -> Cgroup {
        self.unit = unit.cloned();
        self
    }

    /// [`Cgroup::remove`] for a unit: systemd removes what it has made, once it is empty; what it does not, we do.
    pub(in super::super) fn remove_unit(
        &mut self,
        unit: &UnitRecord,
        host: &Host,
        deadline: Instant,
    ) -> Result<Removal, Error> {
        let tracked: Vec<_> = self
            .directories
            .iter()
            .filter(|directory| is_tracked(&directory.place))
            .collect();
        let gone = unit.kind == UnitKind::Scope
            && await_removal(&tracked, deadline.min(Instant::now() + GRACE));
        let mut stopped = Ok(());
        if !gone && may_be_stopped(&tracked)? {
            let patience = deadline.min(Instant::now() + PATIENCE);
            stopped = unit.stop(patience);
        }
        let mut removal = Removal::Done;
        for directory in &self.directories {
            if directory.remove(host, deadline)? == Removal::NotOurs {
                removal = Removal::NotOurs;
            }
        }
        self.armed = false;
        self.directories.clear();
        match stopped {
            // The last process and the cgroup of the scope are gone: systemd finds that out by itself, whenever it comes back.
            Err(_) if unit.kind == UnitKind::Scope => Ok(removal),
            stopped => stopped.map(|()| removal),
        }
    }
}

impl UnitRecord {
    fn connect(&self, act: &'static str, deadline: Instant) -> Result<Systemd, Error> {
        let connected = Systemd::connect(&self.endpoints, deadline);
        connected.map_err(|source| {
            let unit = self.name.clone();
            let source = Box::new(source);
            UnitError::Bus { act, unit, source }.into()
        })
    }

    fn stop(&self, deadline: Instant) -> Result<(), Error> {
        let mut systemd = self.connect("stop", deadline)?;
        systemd.stop(&self.name).map(drop).map_err(Error::from)
    }

    /// Tells the unit what `steps` are about to write, and makes their CPU quota the one that systemd will write.
    /// Errors: Refused when systemd does not answer, InvalidConfig at the key of a property that it refuses.
    fn update(
        &self,
        version: Version,
        steps: &mut [Step],
        resources: &Resources,
    ) -> Result<(), Error> {
        properties::round_quota(steps, resources);
        let mut properties = properties::of_steps(version, steps, resources);
        // Only at its start does a unit take a policy for the OOM killer.
        properties.retain(|property| property.name != "OOMPolicy");
        if properties.is_empty() {
            return Ok(());
        }
        self.connect("update", Instant::now() + PATIENCE)?
            .set_properties(&self.name, &properties)
    }

    /// Moves a process of the caller's into the unit's cgroup, or a sub-cgroup of it.
    pub fn attach(&self, below: &str, pid: i32) -> Result<(), Error> {
        self.connect("enter", Instant::now() + PATIENCE)?
            .attach(&self.name, below, pid.unsigned_abs())
            .map_err(Error::from)
    }
}

/// Whether this is the hierarchy in which systemd keeps its units: cgroup2 if there is one, else the one without controllers.
fn is_tracked(place: &Place) -> bool {
    place.version == Version::V2 || place.has("name=systemd")
}

/// Waits for systemd to remove the directories. False when one is still there.
fn await_removal(directories: &[&Directory], deadline: Instant) -> bool {
    let mut pause = Duration::from_micros(200);
    loop {
        let there = directories.iter().any(|directory| {
            let path = directory.place.host_path();
            !matches!(
                statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW),
                Err(Errno::NOENT)
            )
        });
        if !there || Instant::now() >= deadline {
            return !there;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(4));
    }
}

/// Stopping a unit kills what is in it: only what bears the container's mark, or is empty, is ours to stop.
fn may_be_stopped(directories: &[&Directory]) -> Result<bool, Refused> {
    let mut pids = Vec::new();
    for directory in directories.iter().filter(|directory| !directory.marked) {
        directory.add_processes(&mut pids)?;
    }
    Ok(pids.is_empty())
}

impl UnitRecord {
    /// Whether the caller may clone into the cgroup at `place` itself: the kernel wants the right to write to the closest cgroup above
    /// both (cgroup-v2.rst "Delegation Containment"), which a user's session has not. Errors: Refused without procfs.
    pub fn may_clone_into(&self, place: &Place, host: &Host) -> Result<bool, Error> {
        if self.manager == super::unit::Manager::System {
            return Ok(true);
        }
        let own = host.cgroup_layout()?.own_unified(host)?;
        let own = own.strip_prefix("/").unwrap_or(&own);
        let common: std::path::PathBuf = own
            .components()
            .zip(place.path.components())
            .take_while(|(one, other)| one == other)
            .map(|(one, _)| one)
            .collect();
        let file = place.mount.join(common).join("cgroup.procs");
        let answer =
            rustix::fs::accessat(CWD, &file, rustix::fs::Access::WRITE_OK, AtFlags::EACCESS);
        match answer {
            Ok(()) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOENT) => Ok(false),
            Err(errno) => Err(Refused::new("faccessat", file, errno).into()),
        }
    }
}
