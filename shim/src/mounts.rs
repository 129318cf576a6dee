//! The root filesystem of a task: the mounts that containerd's snapshotter asks for (containerd, api/types/mount.proto), on the bundle's
//! `rootfs`.
//!
//! They are mounted in the host's mount namespace, as with containerd's own shim, so that every container and every exec finds them. The
//! bundle is containerd's and trusted; what an image brings is not, so a target below the rootfs is looked up with the rootfs as its
//! root. What needs more than mount(2) (id maps, loop devices, FUSE helpers, containerd's own preparations) is refused, never left out.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use containerd_shim_protos::types::mount::Mount;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use self::flags::Parsed;

mod flags;
mod layers;

/// Why a root filesystem cannot be mounted. Nothing of it is mounted then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that mount(2) alone cannot do.
    #[error("rootfs: mount of type {kind:?} from {origin:?}: {what} is not supported")]
    Unsupported {
        /// The type of the mount.
        kind: String,
        /// Its source.
        origin: String,
        /// The option or the type.
        what: String,
    },
    /// More option text than mount(2) takes.
    #[error("rootfs: the options of the {kind} mount are longer than a page")]
    TooLong {
        /// The type of the mount.
        kind: String,
    },
    /// A word with a NUL in it.
    #[error("rootfs: a mount of type {kind:?} has a NUL in its words")]
    Nul {
        /// The type of the mount.
        kind: String,
    },
    /// The kernel said no.
    #[error("rootfs: {call} on {}: {errno}", target.display())]
    Refused {
        /// The call and what it was to do.
        call: String,
        /// Where.
        target: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// No thread could be made for the options that need one.
    #[error("rootfs: make a thread: {0}")]
    Thread(std::io::Error),
}

/// Mounts all, each on top of the one before. Makes the target if it is missing; follows no symlink in its place. Undoes everything when
/// one fails. Blocks as long as the filesystems do.
pub fn mount_all(mounts: &[Mount], target: &Path) -> Result<(), Error> {
    if mounts.is_empty() {
        return Ok(());
    }
    let place = Place::open(target)?;
    mounts
        .iter()
        .try_for_each(|mount| place.mount(mount))
        // The failure to mount is the one to tell. Nobody else mounts in a bundle, so that everything there is ours.
        .inspect_err(|_| {
            let _ = place.unmount_all();
        })
}

/// Unmounts every layer, and what is mounted below; what is still in use goes when its user does. Neither a missing target nor one where
/// nothing is mounted is an error.
pub fn unmount_all(target: &Path) -> Result<(), Error> {
    let place = match Place::open_existing(target) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        place => place.map_err(refused("open", target))?,
    };
    place.unmount_all().map_err(refused("umount2", target))
}

fn refused(call: impl Into<String>, target: &Path) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Refused {
        call: call.into(),
        target: target.to_owned(),
        errno,
    }
}

/// The directory that holds the target, and its name there. What is mounted last on it is found by walking through this name again, so
/// no fd of the target is kept.
struct Place<'a> {
    parent: OwnedFd,
    name: &'a Path,
    target: &'a Path,
}

impl<'a> Place<'a> {
    fn open(target: &'a Path) -> Result<Place<'a>, Error> {
        let place = Place::open_existing(target).map_err(refused("open", target))?;
        match mkdirat(&place.parent, place.name, Mode::from_raw_mode(0o711)) {
            Ok(()) | Err(Errno::EXIST) => Ok(place),
            Err(errno) => Err(refused("mkdir", target)(errno)),
        }
    }

    fn open_existing(target: &'a Path) -> Result<Place<'a>, Errno> {
        let parent = target.parent().ok_or(Errno::INVAL)?;
        let name = Path::new(target.file_name().ok_or(Errno::INVAL)?);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Place {
            parent: openat(CWD, parent, flags, Mode::empty())?,
            name,
            target,
        })
    }

    /// What is uppermost now at the target, or at a path below it that an image may have laid symlinks on.
    fn top(&self, below: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = flags | OFlags::DIRECTORY;
        let root = openat(&self.parent, self.name, directory, Mode::empty())?;
        match below.trim_start_matches('/') {
            "" => Ok(root),
            below => openat2(
                &root,
                below,
                flags,
                Mode::empty(),
                ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            ),
        }
    }

    fn mount(&self, mount: &Mount) -> Result<(), Error> {
        let parsed = Parsed::of(mount)?;
        let options = layers::Options::of(&mount.type_, parsed.data)?;
        let word = |word: &str| {
            CString::new(word).map_err(|_| Error::Nul {
                kind: mount.type_.clone(),
            })
        };
        let (source, kind, data) = (
            word(&mount.source)?,
            word(&mount.type_)?,
            word(&options.data)?,
        );
        let top = || {
            self.top(&mount.target)
                .map_err(refused("open", self.target))
        };
        let said = |call: &str, errno| {
            let call = format!("{call}({}, {})", mount.source, mount.type_);
            refused(call, self.target)(errno)
        };
        if !parsed.flags.contains(flags::REMOUNT) || !options.data.is_empty() {
            let top = top()?;
            let target = path_of(&top);
            let call = || rustix::mount::mount(&*source, &*target, &*kind, parsed.flags, &*data);
            match &options.directory {
                None => call(),
                Some(directory) => layers::in_directory(directory, call)?,
            }
            .map_err(|errno| said("mount", errno))?;
        }
        // A bind mount takes its other flags from its source; only a remount sets them.
        if parsed.flags.contains(MountFlags::BIND | MountFlags::RDONLY) {
            let top = top()?;
            let flags = parsed.flags | flags::of_mount(&top);
            rustix::mount::mount_remount(&*path_of(&top), flags, c"")
                .map_err(|errno| said("remount", errno))?;
        }
        Ok(())
    }

    fn unmount_all(&self) -> Result<(), Errno> {
        let parent = format!("/proc/self/fd/{}", self.parent.as_raw_fd());
        let path = Path::new(&parent).join(self.name);
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        loop {
            match rustix::mount::unmount(&path, flags) {
                Ok(()) => {}
                // Not a mount point (any more), or not there.
                Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// mount(2) takes paths; this one leads to what the fd is, whatever has become of its name.
fn path_of(fd: &OwnedFd) -> CString {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    CString::new(path).expect("digits hold no NUL")
}

#[cfg(test)]
mod tests;
