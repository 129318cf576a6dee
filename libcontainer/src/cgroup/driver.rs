//! What differs between the layouts of a cgroup: files of cgroup2, and files of v1 hierarchies.
//!
//! A [`Driver`] is given the container's directories and does one thing to all of them; it holds nothing. systemd is no third one: it
//! makes the directories as a unit, and is told of limits and devices first ([`super::systemd`]); whatever it has no part in is done by
//! these two in the directories that it made. Who manages a container's cgroup is decided when it is created and stands in its record
//! ([`crate::state::CgroupDriver`]): later commands need no flag.

use std::fmt;
use std::time::Instant;

use crate::config::DeviceRule;
use crate::error::{Error, ErrorKind};
use crate::host::Host;

use super::directory::Directory;
use super::{Version, v1, v2};

/// One way to have a cgroup.
pub(super) trait Driver: fmt::Debug + Send + Sync {
    /// Which kind of steps its limits are ([`super::limits::plan`]).
    fn version(&self) -> Version;

    /// Kills every process in `marked`, directories of one container, and waits until none is left.
    fn kill(&self, marked: &[&Directory], host: &Host, deadline: Instant) -> Result<(), Error>;

    /// Freezes, and waits until all is frozen; thaws again when that cannot be had before `deadline`.
    fn freeze(&self, directories: &[Directory], deadline: Instant) -> Result<(), Error>;

    /// Frozen, or on the way there.
    fn frozen(&self, directories: &[Directory]) -> Result<bool, Error>;

    /// Takes back what [`Driver::freeze`] did, and waits until all runs; what the container froze below by itself stays frozen.
    fn thaw(&self, directories: &[Directory], deadline: Instant) -> Result<(), Error>;

    /// Lets frozen processes that have been killed die.
    fn release(&self, directories: &[Directory]) -> Result<(), Error>;

    /// Replaces the device policy.
    fn set_devices(&self, directories: &[Directory], rules: &[DeviceRule]) -> Result<(), Error>;
}

/// cgroup2 alone: one directory.
#[derive(Debug)]
pub(super) struct Unified;

/// v1 hierarchies, and the cgroup2 one of a hybrid machine, which has no controllers that matter but can freeze.
#[derive(Debug)]
pub(super) struct Legacy;

impl Driver for Unified {
    fn version(&self) -> Version {
        Version::V2
    }

    fn kill(&self, marked: &[&Directory], host: &Host, deadline: Instant) -> Result<(), Error> {
        for directory in marked {
            v2::kill(directory, host, deadline)?;
        }
        Ok(())
    }

    fn freeze(&self, directories: &[Directory], deadline: Instant) -> Result<(), Error> {
        for directory in directories {
            v2::freeze(directory, deadline)?;
        }
        Ok(())
    }

    fn frozen(&self, directories: &[Directory]) -> Result<bool, Error> {
        for directory in directories {
            if v2::frozen(directory)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn thaw(&self, directories: &[Directory], deadline: Instant) -> Result<(), Error> {
        for directory in directories {
            v2::thaw(directory, deadline)?;
        }
        Ok(())
    }

    /// They die as they are. A thaw would let the others run.
    fn release(&self, _: &[Directory]) -> Result<(), Error> {
        Ok(())
    }

    fn set_devices(&self, directories: &[Directory], rules: &[DeviceRule]) -> Result<(), Error> {
        for directory in directories {
            v2::set_devices(directory, rules)?;
        }
        Ok(())
    }
}

impl Driver for Legacy {
    fn version(&self) -> Version {
        Version::V1
    }

    /// Whatever froze a process on v1 must be undone before it can die, so the cgroup2 tree of a hybrid machine is not waited for by
    /// itself.
    fn kill(&self, marked: &[&Directory], host: &Host, deadline: Instant) -> Result<(), Error> {
        v1::kill(marked, host, deadline)
    }

    fn freeze(&self, directories: &[Directory], deadline: Instant) -> Result<(), Error> {
        match freezer(directories)? {
            directory if directory.place.version == Version::V2 => v2::freeze(directory, deadline),
            directory => v1::freeze(directory, deadline),
        }
    }

    fn frozen(&self, directories: &[Directory]) -> Result<bool, Error> {
        for directory in directories {
            let frozen = match directory.place.version {
                Version::V2 => v2::frozen(directory)?,
                Version::V1 if directory.place.has("freezer") => v1::frozen(directory)?,
                Version::V1 => false,
            };
            if frozen {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn thaw(&self, directories: &[Directory], deadline: Instant) -> Result<(), Error> {
        match freezer(directories)? {
            directory if directory.place.version == Version::V2 => v2::thaw(directory, deadline),
            directory => v1::thaw(directory, deadline),
        }
    }

    /// A process in the v1 freezer cannot even die, in whichever sub-cgroup it was frozen.
    fn release(&self, directories: &[Directory]) -> Result<(), Error> {
        let freezers = directories
            .iter()
            .filter(|directory| directory.marked && directory.place.has("freezer"));
        for directory in freezers {
            v1::release(directory)?;
        }
        Ok(())
    }

    fn set_devices(&self, directories: &[Directory], rules: &[DeviceRule]) -> Result<(), Error> {
        let devices = directories.iter().filter(|directory| {
            directory.place.version == Version::V1 && directory.place.has("devices")
        });
        for directory in devices {
            v1::set_devices(directory, rules)?;
        }
        Ok(())
    }
}

/// Where a container of a legacy or hybrid machine is frozen.
fn freezer(directories: &[Directory]) -> Result<&Directory, Error> {
    let v1 = || {
        let mut all = directories.iter();
        all.find(|directory| directory.place.has("freezer"))
    };
    let hybrid = || {
        let mut all = directories.iter();
        all.find(|directory| directory.place.version == Version::V2)
    };
    v1().or_else(hybrid).ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            "cannot pause: the container has no cgroup that can be frozen (hint: the freezer controller, or cgroup2)",
        )
    })
}
