//! Filesystems: made detached, then attached to an fd, so that no path below the rootfs is ever given to mount(2).

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount,
    move_mount, open_tree, unmount,
};
use rustix::process::fchdir;

use crate::fault::{Fault, On, Result};
use crate::message::Call;
use crate::path;
use crate::sys::{self, Scratch};
use crate::wire::List;

/// A new filesystem and the mount of it: what [`crate::step::Step::MountNew`] asks for.
pub struct New<'p> {
    pub fstype: &'p CStr,
    pub source: &'p CStr,
    pub options: List<'p>,
    pub attr_flags: u64,
    pub target: &'p CStr,
    pub propagation: u64,
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
    open_tree(fd, c"", flags).map(Scratch::from).on(Call::OpenTree)
}

/// A detached clone of a host path, for a parent that may not make one itself: in our copy of the mount tree we may.
pub fn clone_path(path: &CStr, recursive: bool) -> Result<Scratch> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(CWD, path, flags).map(Scratch::from).on(Call::OpenTree)
}

/// fsopen, fsconfig, fsmount, move_mount.
pub fn mount_new(root: BorrowedFd<'_>, new: &New<'_>) -> Result<()> {
    let existing = if new.inherit_mode || new.copy_up {
        look_directory(root, new.target)?
    } else {
        None
    };
    let context = fsopen(new.fstype, FsOpenFlags::FSOPEN_CLOEXEC).on(Call::Fsopen)?;
    if !new.source.is_empty() {
        fsconfig_set_string(&context, c"source", new.source).on(Call::Fsconfig)?;
    }
    for (index, option) in (0u64..).zip(new.options.iter()) {
        configure(&context, option).map_err(|fault| Fault {
            argument: index,
            ..fault
        })?;
    }
    if let (true, Some(directory)) = (new.inherit_mode, &existing) {
        // Go's tmpcopyup and runc's tmpfs take over the mode of what they cover; octal, as mount options are.
        let mode = path::stat(directory)?.st_mode & 0o7777;
        fsconfig_set_string(&context, c"mode", octal(mode, &mut [0; 8])).on(Call::Fsconfig)?;
    }
    fsconfig_create(&context).map_err(|errno| Fault {
        argument: u64::MAX,
        ..Fault::new(Call::Fsconfig, errno)
    })?;
    let attributes = MountAttrFlags::from_bits_retain(u32::try_from(new.attr_flags).unwrap_or(0));
    let tree = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).on(Call::Fsmount)?;
    drop(context);
    if let (true, Some(directory)) = (new.copy_up, &existing) {
        crate::bind::copy_up(directory.as_fd(), tree.as_fd())?;
    }
    if new.propagation != 0 {
        set_propagation(&tree, new.propagation)?;
    }
    attach(&tree, path::make_directory(root, new.target)?)
}

fn look_directory(root: BorrowedFd<'_>, target: &CStr) -> Result<Option<Scratch>> {
    match path::open(root, target, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Fault::new(Call::Open, errno)),
    }
}

/// `key=value` as a string option, `key` as a flag.
fn configure(context: &OwnedFd, option: &CStr) -> Result<()> {
    let bytes = option.to_bytes_with_nul();
    let Some(equals) = bytes.iter().position(|&byte| byte == b'=') else {
        return fsconfig_set_flag(context, option).on(Call::Fsconfig);
    };
    let (key, value) = bytes.split_at(equals);
    let key = path::Buffer::new(key)?;
    let value = value
        .get(1..)
        .and_then(|value| CStr::from_bytes_with_nul(value).ok())
        .unwrap_or(c"");
    fsconfig_set_string(context, key.as_c_str(), value).on(Call::Fsconfig)
}

/// `mode` in octal with a NUL.
fn octal(mode: u32, buffer: &mut [u8; 8]) -> &CStr {
    let mut rest = mode;
    for place in buffer.iter_mut().take(5).rev() {
        *place = b'0'.saturating_add((rest & 7) as u8);
        rest >>= 3;
    }
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"0")
}

/// MS_* propagation, MS_REC for the whole tree.
pub fn set_propagation(tree: impl AsFd, flags: u64) -> Result<()> {
    const MS_REC: u64 = 0x4000;
    sys::mount_setattr(tree, flags & MS_REC != 0, 0, 0, flags & !MS_REC).on(Call::MountSetattr)
}

/// An old-style mount and where it goes.
pub struct Old<'p> {
    pub fstype: &'p CStr,
    pub source: &'p CStr,
    pub flags: u64,
    pub data: &'p CStr,
    pub attr_flags: u64,
    pub target: &'p CStr,
    pub propagation: u64,
}

/// mount(2) onto a directory of a tmpfs that only we know, then move_mount to the target: the path given to mount(2) is relative to a
/// directory nobody else can reach.
pub fn mount_old(root: BorrowedFd<'_>, old: &Old<'_>) -> Result<()> {
    let target = path::make_directory(root, old.target)?;
    let staging = Staging::new()?;
    mount(
        old.source,
        c"m",
        old.fstype,
        MountFlags::from_bits_retain(u32::try_from(old.flags).unwrap_or(0)),
        Some(old.data),
    )
    .on(Call::Mount)?;
    let tree = openat(
        &staging.directory,
        c"m",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .on(Call::Open)?;
    if old.attr_flags != 0 {
        sys::mount_setattr(&tree, false, old.attr_flags, 0, 0).on(Call::MountSetattr)?;
    }
    if old.propagation != 0 {
        set_propagation(&tree, old.propagation)?;
    }
    attach(&tree, target)
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

/// An empty read-only directory for masks: one superblock for all of them (FIELD 16: one per mask costs every container on the node).
pub fn empty_directory() -> Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).on(Call::Fsopen)?;
    fsconfig_set_string(&context, c"nr_blocks", c"1").on(Call::Fsconfig)?;
    fsconfig_set_string(&context, c"nr_inodes", c"1").on(Call::Fsconfig)?;
    fsconfig_set_flag(&context, c"ro").on(Call::Fsconfig)?;
    fsconfig_create(&context).on(Call::Fsconfig)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).on(Call::Fsmount)
}
