//! The resctrl filesystem: found, proven, and everything below it reached from a descriptor of its root.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstatfs, openat2};
use rustix::io::Errno;

use crate::cgroup::layout;
use crate::config::{ConfigErrors, SchemaLine};
use crate::error::{Error, Refused};
use crate::host::Host;
use crate::kernel_file::{read_all, retry};

use super::{POINTER, RdtRefused};

/// `RDTGROUP_SUPER_MAGIC` (linux/magic.h).
const RDTGROUP_SUPER_MAGIC: u64 = 0x0765_5821;
const FILESYSTEM: &str = "resctrl";

/// A mounted resctrl.
#[derive(Debug)]
pub struct Resctrl {
    root: OwnedFd,
    pub path: PathBuf,
}

impl Resctrl {
    /// The first mount of type resctrl. Errors: Unsupported with the key's pointer when there is none; Refused.
    pub fn find(host: &Host) -> Result<Resctrl, Error> {
        let mounts = read_all(host.proc_dir()?, "self/mountinfo")
            .map_err(|errno| Refused::new("read", "/proc/self/mountinfo", errno))?;
        let Some(path) = mount_point(&mounts) else {
            return Err(absent());
        };
        Resctrl::reopen(&path)?.ok_or_else(absent)
    }

    /// The one that was at `path`; `None` when something else is there now.
    pub(super) fn reopen(path: &Path) -> Result<Option<Resctrl>, Error> {
        let resctrl = match Resctrl::at(path) {
            Ok(resctrl) => resctrl,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(Refused::new("openat2", path, errno).at(POINTER).into()),
        };
        let magic = fstatfs(&resctrl.root)
            .map_err(|errno| Refused::new("fstatfs", path, errno))?
            .f_type
            .cast_unsigned();
        Ok((magic == RDTGROUP_SUPER_MAGIC).then_some(resctrl))
    }

    /// Whatever is at `path`, without a proof that it is resctrl.
    pub(super) fn at(path: &Path) -> Result<Resctrl, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
        Ok(Resctrl {
            root,
            path: path.to_path_buf(),
        })
    }

    /// Opens what is below the root, links never followed.
    pub(super) fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        retry(|| {
            openat2(
                &self.root,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
            )
        })
    }

    pub(super) fn directory(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// The content of a file, without the white space around it.
    pub(super) fn read(&self, path: &str) -> Result<String, Errno> {
        let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
        let content = read_all(self.directory(directory)?, file)?;
        Ok(String::from_utf8_lossy(content.trim_ascii()).into_owned())
    }

    /// Whether there is a group of this name: what has no `tasks` is none (`info`, `mon_data`).
    pub(super) fn has_group(&self, name: &str) -> Result<bool, Error> {
        let directory = match self.directory(name) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(self.refused("openat2", name, errno)),
        };
        match rustix::fs::accessat(
            &directory,
            c"tasks",
            rustix::fs::Access::EXISTS,
            rustix::fs::AtFlags::empty(),
        ) {
            Ok(()) => Ok(true),
            Err(errno) => Err(self.refused("access", &format!("{name}/tasks"), errno)),
        }
    }

    /// Whether the machine can do what a line of schemata sets.
    pub(super) fn check_resource(&self, line: &SchemaLine) -> Result<(), Error> {
        match self.directory(&format!("info/{}", line.resource)) {
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                let text = format!(
                    "resource {:?} is not available here (hint: {}/info lists what the processor and the mount options offer)",
                    line.resource,
                    self.path.display()
                );
                Err(ConfigErrors::unsupported(line.at.clone(), text).into())
            }
            Err(errno) => Err(self.refused("openat2", "info", errno)),
        }
    }

    /// Whether the machine can monitor groups.
    pub(super) fn check_monitoring(&self) -> Result<(), Error> {
        match self.directory("mon_groups") {
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                let text = format!(
                    "monitoring is not available here: {} has no mon_groups (hint: the processor, or the kernel's rdt= option, has none)",
                    self.path.display()
                );
                Err(ConfigErrors::unsupported(POINTER.key("enableMonitoring"), text).into())
            }
            Err(errno) => Err(self.refused("openat2", "mon_groups", errno)),
        }
    }

    /// The error of a call on something below the root, with the kernel's own words about it.
    pub(super) fn refused(&self, call: &str, path: &str, errno: Errno) -> Error {
        self.refused_at(Refused::new(call, self.path.join(path), errno).at(POINTER))
    }

    pub(super) fn refused_at(&self, refused: Refused) -> Error {
        let status = self.read("info/last_cmd_status").unwrap_or_default();
        let status = if status == "ok" {
            String::new()
        } else {
            status
        };
        RdtRefused { refused, status }.into()
    }
}

fn absent() -> Error {
    let text = "resctrl is not mounted: this machine cannot allot or monitor cache and memory bandwidth (hint: where the processor can, \
                mount -t resctrl resctrl /sys/fs/resctrl)";
    ConfigErrors::unsupported(POINTER, text).into()
}

/// Where mountinfo (proc_pid_mountinfo(5)) shows the first resctrl.
pub(super) fn mount_point(mountinfo: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(mountinfo);
    text.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let is_resctrl = filesystem.split(' ').next() == Some(FILESYSTEM);
        // The whole of it, not a bind mount of one group.
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (is_resctrl && root == "/").then(|| layout::unescape(point))
    })
}
