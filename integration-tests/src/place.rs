//! The places a case runs at: the machine's own cgroup layout, a view of it in which cgroup v2 alone is mounted, and the virtual machine, as root and
//! as an ordinary user. With a place goes the driver, the way to the cgroups that the runtime is told to take.
//!
//! [`enter`] changes the calling process: it gets a mount namespace of its own, a tmpfs, and becomes the parent of every orphan it makes. An
//! ordinary user can have no such namespace; the guest, which is thrown away, stands in for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::case::Failure;
use crate::cgroups;

const CGROUPS: &str = "/sys/fs/cgroup";

/// A cgroup layout to test under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// What the machine has: cgroup v1 hierarchies, v2 at `unified` (or v2 alone on a newer machine).
    Native,
    /// cgroup v2 alone, in a private mount namespace.
    V2,
    /// The guest of [`vm`](crate::vm), as root: systemd, cgroup v2 with every controller, AppArmor, all capabilities.
    Vm,
    /// The same guest as an ordinary user with subordinate ids, below that user's own systemd manager.
    User,
}

/// Who makes a container's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The runtime, by writing to the cgroup filesystem.
    Cgroupfs,
    /// systemd, which the runtime asks over D-Bus: `--systemd-cgroup`.
    Systemd,
}

/// Where a case runs, and with which driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Where.
    pub place: Place,
    /// With which driver.
    pub driver: Driver,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.driver {
            Driver::Cgroupfs => write!(f, "{}", self.place),
            Driver::Systemd => write!(f, "{}+systemd", self.place),
        }
    }
}

impl Driver {
    /// The driver of this name.
    pub fn parse(name: &str) -> Option<Driver> {
        match name {
            "cgroupfs" => Some(Driver::Cgroupfs),
            "systemd" => Some(Driver::Systemd),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Driver::Cgroupfs => "cgroupfs",
            Driver::Systemd => "systemd",
        }
    }
}

impl Place {
    /// The place of this name.
    pub fn parse(name: &str) -> Option<Place> {
        [Place::Native, Place::V2, Place::Vm, Place::User]
            .into_iter()
            .find(|place| place.to_string() == name)
    }

    /// Whether cgroup v2 alone is mounted there.
    pub fn is_unified(self) -> bool {
        self != Place::Native || !has_v1()
    }

    /// Whether the guest of the virtual machine is meant.
    pub fn is_guest(self) -> bool {
        matches!(self, Place::Vm | Place::User)
    }

    /// The places that this process can run at if it is told none.
    pub fn usual() -> Vec<Place> {
        if in_guest() {
            let root = nix::unistd::geteuid().is_root();
            return vec![if root { Place::Vm } else { Place::User }];
        }
        let mut places = vec![Place::Native];
        if has_v1() {
            places.push(Place::V2);
        }
        places
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Native => "native",
            Place::V2 => "v2",
            Place::Vm => "vm",
            Place::User => "user",
        })
    }
}

/// Whether the machine mounts cgroup v1 hierarchies.
pub fn has_v1() -> bool {
    Path::new("/sys/fs/cgroup/memory").is_dir()
}

/// Whether this process runs in the guest: the [`agent`](crate::vm::agent) says so.
pub fn in_guest() -> bool {
    std::env::var_os("GARBOARD_TEST_GUEST").is_some()
}

/// A time after which something counts as hung here: several times `usual` in the guest, which is emulated.
pub fn patience(usual: Duration) -> Duration {
    if in_guest() { usual * 5 } else { usual }
}

/// The cgroup of this process on v2, below which a user may make others. It moves one level down: a cgroup with processes hands no controllers on.
pub fn own_cgroup() -> Result<PathBuf, Failure> {
    let path = cgroups::of_process(std::process::id().cast_signed(), "")?;
    if path.ends_with("suite") {
        return Ok(path.parent().unwrap_or(&path).to_owned());
    }
    let leaf = Path::new(CGROUPS)
        .join(path.strip_prefix("/").unwrap_or(&path))
        .join("suite");
    std::fs::create_dir_all(&leaf)?;
    std::fs::write(leaf.join("cgroup.procs"), std::process::id().to_string())?;
    Ok(path)
}

/// Gives this process a private mount namespace with a tmpfs at `dir`, laid out like `place`.
pub fn enter(place: Place, dir: &Path) -> Result<(), Failure> {
    if place == Place::User {
        nix::sys::prctl::set_child_subreaper(true)?;
        return keep_own_descriptors();
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(
        Some("tmpfs"),
        dir,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0711"),
    )?;
    nix::sys::prctl::set_child_subreaper(true)?;
    keep_own_descriptors()?;
    if place == Place::V2 && has_v1() {
        let mut below: Vec<String> = crate::leaks::mount_points()?
            .into_iter()
            .filter(|point| Path::new(point).starts_with(CGROUPS))
            .collect();
        while let Some(point) = below.pop() {
            umount2(point.as_str(), MntFlags::MNT_DETACH)?;
        }
        mount(
            Some("cgroup2"),
            CGROUPS,
            Some("cgroup2"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            none,
        )?;
    }
    Ok(())
}

/// Whatever this process was handed beyond stdio, a runtime that it starts is not.
fn keep_own_descriptors() -> Result<(), Failure> {
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        if let Some(fd) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
            && fd > 2
        {
            // The listing's own is closed by now.
            let _ = crate::sys::keep_over_exec(fd, false);
        }
    }
    Ok(())
}

/// A mount in the case's own mount namespace, taken away when dropped.
#[derive(Debug)]
pub struct HostMount {
    point: PathBuf,
}

impl HostMount {
    /// Mounts a new tmpfs at `point`, which is made.
    pub fn tmpfs(point: &Path) -> Result<HostMount, Failure> {
        may_mount()?;
        std::fs::create_dir_all(point)?;
        mount(
            Some("tmpfs"),
            point,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755"),
        )?;
        Ok(HostMount {
            point: point.to_owned(),
        })
    }

    /// Bind-mounts `source` at `point`, which is made, with all below it.
    pub fn bind(source: &Path, point: &Path) -> Result<HostMount, Failure> {
        may_mount()?;
        let none: Option<&str> = None;
        if source.is_dir() {
            std::fs::create_dir_all(point)?;
        } else {
            std::fs::write(point, "")?;
        }
        mount(
            Some(source),
            point,
            none,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            none,
        )?;
        Ok(HostMount {
            point: point.to_owned(),
        })
    }

    /// Bind-mounts the file `source` over the file `target`, which is there.
    pub fn over(source: &Path, target: &Path) -> Result<HostMount, Failure> {
        may_mount()?;
        let none: Option<&str> = None;
        mount(Some(source), target, none, MsFlags::MS_BIND, none)?;
        Ok(HostMount {
            point: target.to_owned(),
        })
    }

    /// Mounts an overlay at `point`, which is there: the directory `lower` shows, and what is written goes below `scratch`.
    pub fn overlay(lower: &Path, scratch: &Path, point: &Path) -> Result<HostMount, Failure> {
        may_mount()?;
        let (upper, work) = (scratch.join("upper"), scratch.join("work"));
        std::fs::create_dir_all(&upper)?;
        std::fs::create_dir_all(&work)?;
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        mount(
            Some("overlay"),
            point,
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )?;
        Ok(HostMount {
            point: point.to_owned(),
        })
    }

    /// Makes the mount shared, so that what is mounted below it shows in its copies and the other way round.
    pub fn share(&self) -> Result<(), Failure> {
        let none: Option<&str> = None;
        Ok(mount(
            none,
            &self.point,
            none,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            none,
        )?)
    }
}

fn may_mount() -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err(Failure::skip("needs root: it mounts something on the host"))
    }
}

impl Drop for HostMount {
    fn drop(&mut self) {
        // What is left would be found by the leak check.
        let _ = umount2(&self.point, MntFlags::MNT_DETACH);
    }
}
