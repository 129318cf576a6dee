//! Filesystems and detached mounts: each goes to an fd that openat2 found, so that no path below the rootfs is ever given to mount(2).

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, move_mount,
    open_tree, unmount,
};
use rustix::process::fchdir;

use crate::fault::{Fault, On, Result};
use crate::message::Call;
use crate::path;
use crate::sys::{self, Scratch};

/// A new filesystem and the mount of it: what [`crate::step::Step::MountNew`] asks for.
pub struct New<'p> {
    pub fstype: &'p CStr,
    pub source: &'p CStr,
    pub flags: u64,
    pub data: &'p CStr,
    pub attr_flags: u64,
    pub target: &'p CStr,
    pub copy_up: bool,
    pub inherit_mode: bool,
}

/// Attaches the detached mount `tree` over what `target` refers to.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", target, c"", flags).on(Call::MoveMount)
}

/// A detached clone of the mount (with what is mounted below it, if `recursive`) that `fd` looks into.
pub fn clone_of(fd: impl AsFd, recursive: bool) -> Result<Scratch> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(fd, c"", flags)
        .map(Scratch::from)
        .on(Call::OpenTree)
}

/// A detached clone of a host path, for a parent that may not make one itself: in our copy of the mount tree we may.
pub fn clone_path(path: &CStr, recursive: bool) -> Result<Scratch> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(CWD, path, flags)
        .map(Scratch::from)
        .on(Call::OpenTree)
}

/// Mounts the new filesystem on its target.
pub fn mount_new(root: BorrowedFd<'_>, new: &New<'_>) -> Result<()> {
    let mut data = Data::new(new.data)?;
    if new.copy_up || new.inherit_mode {
        let existing = look_directory(root, new.target)?;
        if let (true, Some(directory)) = (new.inherit_mode, &existing) {
            data.add_mode(path::stat(directory)?.st_mode & 0o7777)?;
        }
        if let (true, Some(directory)) = (new.copy_up, &existing) {
            return mount_copy(root, new, &data, directory.as_fd());
        }
    }
    // The working directory is the target that openat2 found: mount(2) is given no path that somebody could swap.
    let target = match new.fstype.to_bytes() {
        // What masks and read-only paths protect lies below these (CVE-2019-19921, CVE-2025-54867).
        b"proc" | b"sysfs" => path::make_ordinary_directory(root, new.target)?,
        _ => path::make_directory(root, new.target)?,
    };
    fchdir(target).on(Call::Fchdir)?;
    mount(
        new.source,
        c".",
        new.fstype,
        new.mount_flags(),
        data.as_option(),
    )
    .on(Call::Mount)
}

/// With a copy of what the target holds: mounted on a directory that nobody else can reach, filled, and moved onto the target.
fn mount_copy(
    root: BorrowedFd<'_>,
    new: &New<'_>,
    data: &Data,
    from: BorrowedFd<'_>,
) -> Result<()> {
    let staging = Staging::new()?;
    mount(
        new.source,
        c"m",
        new.fstype,
        new.mount_flags(),
        data.as_option(),
    )
    .on(Call::Mount)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = openat(&staging.directory, c"m", flags, Mode::empty()).on(Call::Open)?;
    crate::bind::copy_up(from, tree.as_fd())?;
    attach(&tree, path::make_directory(root, new.target)?)
}

fn look_directory(root: BorrowedFd<'_>, target: &CStr) -> Result<Option<Scratch>> {
    match path::open(root, target, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Fault::new(Call::Open, errno)),
    }
}

impl New<'_> {
    /// The superblock's flags and the mount's attributes as mount(2) takes them.
    fn mount_flags(&self) -> MountFlags {
        // (MOUNT_ATTR_*, MS_*): linux/mount.h. RELATIME is 0 there and the default here.
        const WORDS: [(u64, u64); 8] = [
            (0x1, 0x1),
            (0x2, 0x2),
            (0x4, 0x4),
            (0x8, 0x8),
            (0x10, 0x400),
            (0x20, 0x100_0000),
            (0x80, 0x800),
            (0x20_0000, 0x100),
        ];
        let words = WORDS
            .iter()
            .filter(|(attribute, _)| self.attr_flags & attribute != 0);
        let flags = words.fold(self.flags, |flags, (_, word)| flags | word);
        MountFlags::from_bits_retain(u32::try_from(flags).unwrap_or(0))
    }
}

/// The option string of mount(2), which takes one page and cuts the rest off without a word.
struct Data(path::Buffer);

impl Data {
    fn new(text: &CStr) -> Result<Data> {
        match path::Buffer::new(text.to_bytes()) {
            Ok(buffer) => Ok(Data(buffer)),
            Err(_) => Err(Fault::new(Call::Mount, Errno::TOOBIG)),
        }
    }

    /// Adds `mode=`, octal. runc's tmpfs takes over the mode of what it covers.
    fn add_mode(&mut self, mode: u32) -> Result<()> {
        let digit =
            |shift: u32| b'0'.saturating_add(u8::try_from((mode >> shift) & 7).unwrap_or(0));
        let option = [
            b"mode=0".as_slice(),
            &[digit(9), digit(6), digit(3), digit(0)],
        ];
        let comma: &[u8] = if self.0.as_c_str().is_empty() {
            b""
        } else {
            b","
        };
        for part in core::iter::once(comma).chain(option) {
            self.0
                .push(part)
                .ok_or(Fault::new(Call::Mount, Errno::TOOBIG))?;
        }
        Ok(())
    }

    fn as_option(&self) -> Option<&CStr> {
        Some(self.0.as_c_str()).filter(|text| !text.is_empty())
    }
}

/// MS_* propagation, MS_REC for the whole tree.
pub fn set_propagation(tree: impl AsFd, flags: u64) -> Result<()> {
    const MS_REC: u64 = 0x4000;
    sys::mount_setattr(tree, flags & MS_REC != 0, 0, 0, flags & !MS_REC).on(Call::MountSetattr)
}

/// A tmpfs over `/sys` of the host tree's copy (which pivot_root throws away), as our working directory.
struct Staging {
    directory: OwnedFd,
}

impl Staging {
    fn new() -> Result<Staging> {
        let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).on(Call::Fsopen)?;
        fsconfig_create(&context).on(Call::Fsconfig)?;
        let directory = fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )
        .on(Call::Fsmount)?;
        move_mount(
            &directory,
            c"",
            CWD,
            c"/sys",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .on(Call::MoveMount)?;
        mkdirat(&directory, c"m", Mode::from_raw_mode(0o700)).on(Call::Mkdir)?;
        fchdir(&directory).on(Call::Fchdir)?;
        Ok(Staging { directory })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Best effort: the copy of the host tree is detached at pivot_root anyway.
        let _ = unmount(c"/sys", UnmountFlags::DETACH);
    }
}

/// An empty read-only directory for masks, with room for no second inode: one superblock for all of them, since each costs the whole machine
/// (its shrinkers walk them all).
pub fn empty_directory() -> Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).on(Call::Fsopen)?;
    fsconfig_set_string(&context, c"nr_inodes", c"1").on(Call::Fsconfig)?;
    fsconfig_create(&context).on(Call::Fsconfig)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).on(Call::Fsmount)
}
