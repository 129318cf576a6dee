//! What the container may see but not change, or not see at all: masked and read-only paths, and mounts that become read-only at the end.

use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, major, minor};
use rustix::io::Errno;

use crate::fault::{Fault, On, Result};
use crate::message::Call;
use crate::sys::{self, Scratch};
use crate::{mount, path};

const MOUNT_ATTR_RDONLY: u64 = 1;

/// The mount that masks directories, once there is one.
#[derive(Debug, Default)]
pub struct Masks {
    directory: Option<OwnedFd>,
    null: Option<OwnedFd>,
}

impl Masks {
    /// The fds that are needed again.
    pub fn kept(&self) -> [Option<i32>; 2] {
        [&self.directory, &self.null].map(|fd| fd.as_ref().map(AsRawFd::as_raw_fd))
    }

    /// Hides `path`: an empty read-only directory over a directory, /dev/null over anything else. What is missing needs no mask.
    pub fn mask(&mut self, root: BorrowedFd<'_>, path: &CStr) -> Result<()> {
        let Some(target) = existing(root, path)? else {
            return Ok(());
        };
        if path::kind(&target)? != FileType::Directory {
            return mount::attach(mount::clone_of(self.null(root)?, false)?, target);
        }
        match &self.directory {
            Some(first) => mount::attach(mount::clone_of(first, false)?, target),
            None => {
                // The first is attached, the others are clones of it: closing a detached mount that was never attached waits for an
                // RCU grace period.
                let first = mount::empty_directory()?;
                mount::attach(&first, target)?;
                self.directory = Some(first);
                Ok(())
            }
        }
    }

    /// The container's own /dev/null, and proof that it is one. Binding whatever stands there was CVE-2025-31133; binding the host's
    /// node would let a container's root change its mode.
    fn null(&mut self, root: BorrowedFd<'_>) -> Result<&OwnedFd> {
        if self.null.is_none() {
            self.null = Some(null_device(root)?.keep());
        }
        self.null.as_ref().ok_or(Fault::check(Errno::NOENT))
    }
}

/// An O_PATH fd of the container's /dev/null, known to be device 1:3.
pub fn null_device(root: BorrowedFd<'_>) -> Result<Scratch> {
    let null = path::look(root, c"dev/null").on(Call::Open)?;
    if is_null(&null)? {
        Ok(null)
    } else {
        Err(Fault::check(Errno::NODEV))
    }
}

/// Whether `fd` is the null device.
pub fn is_null(fd: impl AsFd) -> Result<bool> {
    let stat = path::stat(fd)?;
    let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    Ok(character && major(stat.st_rdev) == 1 && minor(stat.st_rdev) == 3)
}

/// Clones `path` onto itself read-only, with everything below it. What is missing needs no protection.
pub fn readonly(root: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    let Some(target) = existing(root, path)? else {
        return Ok(());
    };
    let clone = mount::clone_of(&target, true)?;
    sys::mount_setattr(&clone, true, MOUNT_ATTR_RDONLY, 0, 0).on(Call::MountSetattr)?;
    mount::attach(clone, target)
}

fn existing(root: BorrowedFd<'_>, path: &CStr) -> Result<Option<Scratch>> {
    match path::look(root, path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Fault::new(Call::Open, errno)),
    }
}

/// Makes the mount at `path` read-only in place.
pub fn remount_readonly(root: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    if path.is_empty() {
        return sys::mount_setattr(root, false, MOUNT_ATTR_RDONLY, 0, 0).on(Call::MountSetattr);
    }
    let target = path::look(root, path).on(Call::Open)?;
    sys::mount_setattr(target, false, MOUNT_ATTR_RDONLY, 0, 0).on(Call::MountSetattr)
}
