//! Bind mounts: detached clones attached over targets of the same kind, and the copying that `tmpcopyup` asks for.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, Uid, chownat, fchmod, fchown, mkdirat, mknodat,
    openat, readlinkat_raw, statat, symlinkat,
};
use rustix::io::{Errno, read, write};

use crate::fault::{Fault, On, Result};
use crate::message::Call;
use crate::mount;
use crate::path::{self, PATH_MAX};
use crate::sys::{self, Scratch};

/// Mount attributes of a bind, and the propagation set before it is attached.
pub struct Attributes {
    pub set: u64,
    pub clear: u64,
    pub recursive_set: u64,
    pub recursive_clear: u64,
    pub propagation: u64,
}

/// Attaches the detached clone `tree` at `target`. Attributes come first: the mount is never visible without its `ro` or `nosuid`.
pub fn bind(
    root: BorrowedFd<'_>,
    tree: &Scratch,
    target: &CStr,
    attributes: &Attributes,
) -> Result<()> {
    set_attributes(tree, attributes)?;
    let directory = path::kind(tree)? == FileType::Directory;
    let target = path::make_target(root, target, directory)?;
    mount::attach(tree, &target).map_err(|fault| explained(fault, directory, &target))
}

/// For a file onto a directory move_mount(2) says EINVAL, as it does for much else. mount(2) said ENOTDIR, and engines look for that text.
fn explained(fault: Fault, directory: bool, target: &Scratch) -> Fault {
    let onto_directory = || path::kind(target).is_ok_and(|kind| kind == FileType::Directory);
    if fault.errno == Errno::INVAL.raw_os_error() && !directory && onto_directory() {
        return Fault::new(Call::MoveMount, Errno::NOTDIR);
    }
    fault
}

/// mount_setattr(2) of all that is asked for.
pub fn set_attributes(tree: &Scratch, attributes: &Attributes) -> Result<()> {
    if attributes.recursive_set | attributes.recursive_clear != 0 {
        sys::mount_setattr(
            tree,
            true,
            attributes.recursive_set,
            attributes.recursive_clear,
            0,
        )
        .on(Call::MountSetattr)?;
    }
    if attributes.set | attributes.clear != 0 {
        sys::mount_setattr(tree, false, attributes.set, attributes.clear, 0)
            .on(Call::MountSetattr)?;
    }
    if attributes.propagation != 0 {
        mount::set_propagation(tree, attributes.propagation)?;
    }
    Ok(())
}

/// How deep a directory given to `tmpcopyup` may be: each level holds two fds and a buffer on the stack.
const DEPTH_MAX: usize = 24;

/// Copies what `from` holds into `to`: directories, files, symlinks and device nodes with mode and owner.
pub fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    // An fsmount fd is an O_PATH one; directories are read and written through a real one.
    let to = openat(
        to,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .on(Call::Open)?;
    copy_directory(from, to.as_fd(), DEPTH_MAX)
}

fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    let depth = depth.checked_sub(1).ok_or(Fault::check(Errno::LOOP))?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(from, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.on(Call::Getdents)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, to, name, depth)?;
        }
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).on(Call::Stat)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let owner = (
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    );
    let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU).on(Call::Mkdir)?;
            let source = openat(
                from,
                name,
                OFlags::RDONLY | OFlags::DIRECTORY | nofollow,
                Mode::empty(),
            )
            .on(Call::Open)?;
            let copy = openat(
                to,
                name,
                OFlags::RDONLY | OFlags::DIRECTORY | nofollow,
                Mode::empty(),
            )
            .on(Call::Open)?;
            copy_directory(source.as_fd(), copy.as_fd(), depth)?;
            fchown(&copy, owner.0, owner.1).on(Call::Chown)?;
            fchmod(&copy, mode).on(Call::Chmod)
        }
        FileType::RegularFile => {
            let source =
                openat(from, name, OFlags::RDONLY | nofollow, Mode::empty()).on(Call::Open)?;
            let copy = openat(
                to,
                name,
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | nofollow,
                Mode::RWXU,
            )
            .on(Call::Open)?;
            copy_content(&source, &copy)?;
            fchown(&copy, owner.0, owner.1).on(Call::Chown)?;
            fchmod(&copy, mode).on(Call::Chmod)
        }
        FileType::Symlink => {
            let mut content = [MaybeUninit::uninit(); PATH_MAX];
            let (content, _) = readlinkat_raw(from, name, &mut content).on(Call::Readlink)?;
            let content = path::Buffer::new(content)?;
            symlinkat(content.as_c_str(), to, name).on(Call::Symlink)?;
            chownat(to, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).on(Call::Chown)
        }
        kind => {
            mknodat(to, name, kind, mode, stat.st_rdev).on(Call::Mknod)?;
            chownat(to, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).on(Call::Chown)
        }
    }
}

fn copy_content(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let mut buffer = [0u8; 4096];
    loop {
        let length = read(from, &mut buffer).on(Call::Read)?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = buffer.get(..length).unwrap_or(&[]);
        while !rest.is_empty() {
            let written = write(to, rest).on(Call::Write)?;
            rest = rest.get(written..).unwrap_or(&[]);
        }
    }
}
