//! The cgroups below one, however many and however deep a container with a writable view has made them.
//!
//! A walk holds two descriptors, not one for each cgroup or level: a container that could make us run out of them could neither be killed
//! nor removed. The way back up is `..`, which no rename changes: a cgroup keeps its parent for life, removed ones too.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, fstat};
use rustix::io::Errno;

use super::directory::open;

/// More cgroups than a kernel has memory for: whoever makes them as fast as we look is not followed for ever.
const VISITS_MAX: usize = 1 << 20;

/// Calls `leave` for every cgroup below `top`, children before their parent, with (parent, name in the parent, the cgroup). What disappears
/// meanwhile is skipped. Errors: the first of `leave`, or of the kernel, which ends the walk; ELOOP when it does not come to an end.
pub(super) fn below(
    top: &OwnedFd,
    mut leave: impl FnMut(BorrowedFd<'_>, &CStr, &OwnedFd) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let names = child_names(top)?;
    if names.is_empty() {
        return Ok(());
    }
    let mut current = open(top, c".")?;
    // Of each level from `top` to `current`: the name of the cgroup in that above (none for `top`), and its children still to see.
    let mut levels = vec![(CString::default(), names)];
    let mut visits = 0;
    while let Some((_, pending)) = levels.last_mut() {
        if let Some(name) = pending.pop() {
            visits += 1;
            if visits > VISITS_MAX {
                return Err(Errno::LOOP);
            }
            let child = match open(&current, &*name) {
                Ok(child) => child,
                Err(Errno::NOENT | Errno::NODEV) => continue,
                Err(errno) => return Err(errno),
            };
            match child_names(&child)? {
                none if none.is_empty() => leave(current.as_fd(), &name, &child)?,
                names => {
                    levels.push((name, names));
                    current = child;
                }
            }
        } else if let Some((name, _)) = levels.pop()
            && !levels.is_empty()
        {
            let parent = open(&current, c"..")?;
            leave(parent.as_fd(), &name, &current)?;
            current = parent;
        }
    }
    Ok(())
}

/// kernfs counts the sub-directories in the link count.
pub(super) fn has_children(directory: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstat(directory)?.st_nlink > 2)
}

fn child_names(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    if !has_children(directory)? {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(errno),
        };
        if entry.file_type() == FileType::Directory
            && !matches!(entry.file_name().to_bytes(), b"." | b"..")
        {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}
