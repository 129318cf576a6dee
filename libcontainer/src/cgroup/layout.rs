//! Where this machine mounts its cgroup hierarchies, and which cgroup of each this process is in.
//!
//! Three layouts exist: *unified* (one cgroup2 mount at `/sys/fs/cgroup`), *legacy* (one mount per v1 hierarchy below it) and *hybrid*
//! (legacy, and a cgroup2 mount at `/sys/fs/cgroup/unified`), which is legacy with one hierarchy more. The unified layout is told by one
//! statfs(2); only the others pay for reading mountinfo.

use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::statfs;

use crate::error::{Error, Refused};
use crate::host::Host;
use crate::kernel_file::read_all;

/// `CGROUP2_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC` (linux/magic.h).
pub(super) const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
pub(super) const CGROUP_SUPER_MAGIC: u64 = 0x0027_e0eb;

/// The mount point that every distribution uses; runc knows no other.
pub(super) const MOUNT_POINT: &str = "/sys/fs/cgroup";
/// The cgroup2 mount of a hybrid layout.
const HYBRID_MOUNT_POINT: &str = "/sys/fs/cgroup/unified";

/// How cgroups are mounted.
#[derive(Debug)]
pub enum CgroupLayout {
    /// One cgroup2 mount at `/sys/fs/cgroup`. The cgroup of this process is read only when a relative path needs it.
    Unified {
        /// As `/proc/self/cgroup` shows it.
        own: OnceLock<PathBuf>,
    },
    /// v1 hierarchies, and on a hybrid machine the cgroup2 one. Empty: no cgroup filesystem at all.
    Legacy(Vec<Hierarchy>),
}

/// One mounted hierarchy of a legacy or hybrid layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// `/sys/fs/cgroup/cpu,cpuacct`
    pub mount_point: PathBuf,
    /// `cpu`, `cpuacct`, or `name=systemd`; empty for cgroup2.
    pub controllers: Vec<String>,
    /// The cgroup of this process, relative to the mount.
    pub own: PathBuf,
}

impl Hierarchy {
    /// Whether this is the cgroup2 hierarchy of a hybrid layout.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }
}

impl CgroupLayout {
    pub(crate) fn read(host: &Host) -> Result<CgroupLayout, Error> {
        if is_cgroup2(MOUNT_POINT) {
            return Ok(CgroupLayout::Unified {
                own: OnceLock::new(),
            });
        }
        let mounts = read_all(host.proc_dir()?, "self/mountinfo")
            .map_err(|errno| Refused::new("read", "/proc/self/mountinfo", errno))?;
        let cgroups = read_all(host.proc_dir()?, "self/cgroup")
            .map_err(|errno| Refused::new("read", "/proc/self/cgroup", errno))?;
        Ok(CgroupLayout::Legacy(hierarchies(&mounts, &cgroups)))
    }

    /// The cgroup of this process in the unified hierarchy.
    pub(crate) fn own_unified(&self, host: &Host) -> Result<PathBuf, Error> {
        let CgroupLayout::Unified { own } = self else {
            return Ok(PathBuf::from("/"));
        };
        if let Some(known) = own.get() {
            return Ok(known.clone());
        }
        let cgroups = host.read_proc("self/cgroup")?;
        let found = cgroup_of(&cgroups, "").unwrap_or_else(|| PathBuf::from("/"));
        Ok(own.get_or_init(|| found).clone())
    }
}

fn is_cgroup2(path: &str) -> bool {
    statfs(path).is_ok_and(|found| found.f_type.cast_unsigned() == CGROUP2_SUPER_MAGIC)
}

/// The path that the line of `/proc/PID/cgroup` for a hierarchy with these controllers (comma-separated; empty for cgroup2) gives.
/// A process above the root of our cgroup namespace is shown as `/..`: then the namespace's root is as near as we can get.
pub(super) fn cgroup_of(cgroups: &[u8], controllers: &str) -> Option<PathBuf> {
    cgroups.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (_, list, path) = (fields.next()?, fields.next()?, fields.next()?);
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        (list == controllers.as_bytes()).then(|| {
            let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
            if path.components().any(|part| part == Component::ParentDir) {
                PathBuf::from("/")
            } else {
                path
            }
        })
    })
}

fn hierarchies(mountinfo: &[u8], cgroups: &[u8]) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.split(|&byte| byte == b'\n') {
        let Some(mount) = CgroupMount::parse(line) else {
            continue;
        };
        // A hierarchy may be mounted again elsewhere (a container's rootfs): the one at the usual place comes first in mountinfo.
        let usual = mount.mount_point.starts_with(MOUNT_POINT);
        let Some((controllers, own)) = mount.match_line(cgroups) else {
            continue;
        };
        if !usual || (mount.v2 && mount.mount_point != Path::new(HYBRID_MOUNT_POINT)) {
            continue;
        }
        if !found.iter().any(|other| other.controllers == controllers) {
            found.push(Hierarchy {
                mount_point: mount.mount_point,
                controllers,
                own,
            });
        }
    }
    found
}

/// A line of mountinfo that shows a cgroup filesystem (proc_pid_mountinfo(5)).
struct CgroupMount {
    root: PathBuf,
    mount_point: PathBuf,
    v2: bool,
    options: Vec<String>,
}

impl CgroupMount {
    fn parse(line: &[u8]) -> Option<CgroupMount> {
        let line = std::str::from_utf8(line).ok()?;
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut filesystem = filesystem.split(' ');
        let (root, mount_point) = (mount.next()?, mount.next()?);
        let v2 = match filesystem.next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        let options = filesystem.nth(1)?.split(',').map(str::to_owned).collect();
        Some(CgroupMount {
            root: unescape(root),
            mount_point: unescape(mount_point),
            v2,
            options,
        })
    }

    /// The controllers of this hierarchy and our own cgroup in it, relative to the mount.
    fn match_line(&self, cgroups: &[u8]) -> Option<(Vec<String>, PathBuf)> {
        let text = std::str::from_utf8(cgroups).ok()?;
        for line in text.lines() {
            let list = line.split(':').nth(1)?;
            let names = list
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>();
            let same = if self.v2 {
                names.is_empty()
            } else {
                !names.is_empty() && names.iter().all(|name| self.options.contains(name))
            };
            if same {
                let own = cgroup_of(cgroups, list)?;
                let own = own
                    .strip_prefix(&self.root)
                    .unwrap_or(Path::new(""))
                    .to_path_buf();
                return Some((names, own));
            }
        }
        None
    }
}

/// Undoes the octal escapes of mountinfo: `\040` is a space.
pub(crate) fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| tail.get(..3)).flatten();
        match octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok())
        {
            Some(value) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &[u8] = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 /box /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
        50 31 0:32 / /srv/my\\040roots/memory rw,relatime - cgroup cgroup rw,memory\n";
    const CGROUPS: &[u8] =
        b"9:name=systemd:/init.scope\n4:memory:/box/inner\n1:cpu,cpuacct:/\n0::/../outside\n";

    #[test]
    fn a_hybrid_machine_is_read_hierarchy_by_hierarchy() {
        let found = hierarchies(MOUNTINFO, CGROUPS);
        let short: Vec<_> = found
            .iter()
            .map(|h| {
                (
                    h.mount_point.to_str().unwrap(),
                    h.controllers.join("+"),
                    h.own.to_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            short,
            [
                ("/sys/fs/cgroup/cpu,cpuacct", "cpu+cpuacct".to_owned(), ""),
                ("/sys/fs/cgroup/memory", "memory".to_owned(), "inner"),
                (
                    "/sys/fs/cgroup/systemd",
                    "name=systemd".to_owned(),
                    "init.scope"
                ),
                ("/sys/fs/cgroup/unified", String::new(), ""),
            ]
        );
    }

    #[test]
    fn mountinfo_escapes_are_undone() {
        assert_eq!(unescape("/a\\040b\\134c\\9"), PathBuf::from("/a b\\c\\9"));
    }

    #[test]
    fn a_cgroup_outside_the_namespace_counts_as_its_root() {
        assert_eq!(cgroup_of(CGROUPS, ""), Some(PathBuf::from("/")));
        assert_eq!(
            cgroup_of(b"0::/a/b (deleted)\n", ""),
            Some(PathBuf::from("/a/b"))
        );
        assert_eq!(cgroup_of(CGROUPS, "pids"), None);
    }
}
