//! A cgroup2 directory that the container may work with: handed over to its user, and of a type that processes can live in.
//!
//! Handed over is what the kernel itself lists as safe to (`/sys/kernel/cgroup/delegate`): the directory, in which sub-cgroups are made, and
//! the files that move processes and pass controllers on. The files of limits stay ours, and no link is followed on the way to any.

use rustix::fs::{AtFlags, CWD, Uid, chownat, fchown};
use rustix::io::Errno;

use crate::config::{Config, IdMap, MountKind, Namespace};
use crate::error::{Error, Refused};
use crate::kernel_file::read_record;

use super::path::POINTER;
use super::{Cgroup, no_privilege};

/// `MOUNT_ATTR_RDONLY` (linux/mount.h).
const MOUNT_ATTR_RDONLY: u64 = 1;
/// What may be handed over on a kernel that has no list (cgroup-v2.rst "Model of Delegation").
const USUAL: &[u8] = b"cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// The uid on the host that the container's cgroup is handed over to: that of its process, if the container has a cgroup namespace of its
/// own and sees its cgroup at the usual place, writable. As runc has it, but not with systemd alone.
pub fn owner(config: &Config) -> Option<u32> {
    if config.namespaces.cgroup != Namespace::New {
        return None;
    }
    let writable = config.mounts.iter().any(|mount| {
        matches!(mount.kind, MountKind::Cgroup)
            && mount.target.to_string() == "/sys/fs/cgroup"
            && mount.attr_set & MOUNT_ATTR_RDONLY == 0
    });
    let uid = config.process.user.uid;
    match config.namespaces.user {
        _ if !writable => None,
        Namespace::Host => Some(uid),
        _ => on_host(&config.id_maps.uid, uid),
    }
}

fn on_host(maps: &[IdMap], id: u32) -> Option<u32> {
    maps.iter().find_map(|map| {
        let offset = id.checked_sub(map.container)?;
        (offset < map.size).then(|| map.host.wrapping_add(offset))
    })
}

impl Cgroup {
    /// Hands the cgroup over to `uid`, on cgroup2 alone: a v1 hierarchy cannot be delegated safely. Where we lack the privilege the
    /// container goes without, as it would without cgroups. Errors: Refused.
    pub fn delegate(&self, uid: u32) -> Result<(), Error> {
        let [directory] = self.directories.as_slice() else {
            return Ok(());
        };
        if !directory.place.is_unified() || uid == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        let listed = read_record(CWD, c"/sys/kernel/cgroup/delegate");
        let listed = listed.as_deref().unwrap_or(USUAL);
        let files = listed
            .split(|&byte| byte == b'\n')
            .filter(|name| !name.is_empty() && !name.contains(&b'/'));
        let owner = Some(Uid::from_raw(uid));
        let mut result = fchown(&directory.fd, owner, None);
        for file in files {
            let handed = chownat(&directory.fd, file, owner, None, AtFlags::SYMLINK_NOFOLLOW);
            match handed {
                // The file of a controller that is not enabled here.
                Err(Errno::NOENT) => {}
                handed => result = result.and(handed),
            }
        }
        match result {
            Err(errno) if !(self.tolerant && no_privilege(errno.into())) => {
                let path = directory.place.host_path();
                Err(Refused::new(format!("chown({uid})"), path, errno)
                    .at(POINTER)
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// Why nothing can be started in this cgroup, for a create that was refused: below a threaded cgroup a new one is `domain invalid`, and
    /// in a threaded one processes can neither be listed nor killed.
    pub fn not_a_domain(&self) -> Option<Error> {
        let mut directories = self.directories.iter();
        directories
            .find_map(|directory| directory.check_domain().err())
            .map(Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_container_are_those_of_the_host() {
        let map = |container, host, size| IdMap {
            container,
            host,
            size,
        };
        let maps = [map(0, 1000, 1), map(1, 100_000, 65536)];
        for (inside, outside) in [(0, Some(1000)), (5, Some(100_004)), (70_000, None)] {
            assert_eq!(on_host(&maps, inside), outside);
        }
    }
}
