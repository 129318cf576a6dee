//! Device nodes and symlinks of /dev.

use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Uid, chownat, makedev, mknodat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::fault::{Fault, On, Result};
use crate::message::Call;
use crate::{mount, path};

/// A node to make.
pub struct Device<'p> {
    pub path: &'p CStr,
    pub mode: u32,
    pub device: (u32, u32),
    pub owner: (u32, u32),
}

/// The directory that nodes were last made in: eleven of them stand in /dev, and one look-up is enough.
#[derive(Debug, Default)]
pub struct Parent<'p> {
    directory: Option<(&'p [u8], OwnedFd)>,
}

impl<'p> Parent<'p> {
    /// Forgets the directory: a mount may have covered it.
    pub fn forget(&mut self) {
        self.directory = None;
    }

    /// Its fd, while it is remembered.
    pub fn kept(&self) -> Option<i32> {
        self.directory
            .as_ref()
            .map(|(_, directory)| directory.as_raw_fd())
    }

    fn of(
        &mut self,
        root: BorrowedFd<'_>,
        path: &'p CStr,
    ) -> Result<(BorrowedFd<'_>, path::Buffer)> {
        let (parent, name) = path::split(path);
        if self
            .directory
            .as_ref()
            .is_none_or(|(known, _)| *known != parent)
        {
            let directory = path::make_directory(root, path::Buffer::new(parent)?.as_c_str())?;
            self.directory = Some((parent, directory.keep()));
        }
        let (_, directory) = self.directory.as_ref().ok_or(Fault::check(Errno::NOENT))?;
        Ok((directory.as_fd(), path::Buffer::new(name)?))
    }

    /// mknodat; a node of the same device that is there already (a second start on one rootfs) will do.
    pub fn make_device(&mut self, root: BorrowedFd<'_>, device: &Device<'p>) -> Result<()> {
        let (directory, name) = self.of(root, device.path)?;
        let name = name.as_c_str();
        let kind = FileType::from_raw_mode(device.mode);
        let number = makedev(device.device.0, device.device.1);
        match mknodat(
            directory,
            name,
            kind,
            Mode::from_raw_mode(device.mode),
            number,
        ) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).on(Call::Stat)?;
                let same = FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == number;
                return if same {
                    Ok(())
                } else {
                    Err(Fault::new(Call::Mknod, Errno::EXIST))
                };
            }
            Err(errno) => return Err(Fault::new(Call::Mknod, errno)),
        }
        if device.owner == (0, 0) {
            return Ok(());
        }
        let (uid, gid) = device.owner;
        chownat(
            directory,
            name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .on(Call::Chown)
    }

    /// symlinkat; an entry that is there stays unless `replace`.
    pub fn make_symlink(
        &mut self,
        root: BorrowedFd<'_>,
        content: &CStr,
        path: &'p CStr,
        replace: bool,
    ) -> Result<()> {
        let (directory, name) = self.of(root, path)?;
        let name = name.as_c_str();
        match symlinkat(content, directory, name) {
            Err(Errno::EXIST) if replace => {
                unlinkat(directory, name, AtFlags::empty()).on(Call::Unlink)?;
                symlinkat(content, directory, name).on(Call::Symlink)
            }
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Fault::new(Call::Symlink, errno)),
        }
    }
}

/// Binds the host's node over an empty file, where mknod is not ours to use.
pub fn bind_device(root: BorrowedFd<'_>, source: &CStr, path: &CStr) -> Result<()> {
    let tree = mount::clone_path(source, false)?;
    mount::attach(tree, path::make_target(root, path, false)?)
}
