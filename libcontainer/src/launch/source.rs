//! Bind sources: detached clones that the parent makes of host paths, one at a time, when the stage asks for them.
//!
//! The parent makes them because a source may lie under a directory that the container's user namespace cannot walk, and because a detached
//! clone cannot be swapped on its way. Propagation is set before the clone is handed over: a clone of a shared mount stays shared.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::{Error, Pointer, Refused};
use crate::plan::HandedSource;
use crate::sys;

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
const MS_REC: u64 = 0x4000;

/// Opens what the stage asked for. `user_namespace` gives the container's own, for an idmap without maps.
pub fn open(
    source: &HandedSource,
    user_namespace: impl FnOnce(&crate::config::IdMaps) -> Result<OwnedFd, Error>,
) -> Result<OwnedFd, Error> {
    let HandedSource::Bind {
        path,
        recursive,
        propagation,
        idmap,
        at,
    } = source;
    let tree = clone_tree(path, *recursive, *propagation, at)?;
    if let Some(idmap) = idmap {
        let namespace = user_namespace(&idmap.maps)?;
        set_idmap(&tree, idmap.recursive, namespace.as_fd(), path, at)?;
    }
    Ok(tree)
}

fn set_idmap(
    tree: &OwnedFd,
    recursive: bool,
    namespace: BorrowedFd<'_>,
    path: &Path,
    at: &Pointer,
) -> Result<(), Error> {
    sys::mount_setattr(tree, recursive, MOUNT_ATTR_IDMAP, 0, Some(namespace)).map_err(|errno| {
        Refused::new("mount_setattr(idmap)", path, errno)
            .at(at.clone())
            .into()
    })
}

/// open_tree(OPEN_TREE_CLONE) of a host path, with its propagation.
pub fn clone_tree(
    path: &Path,
    recursive: bool,
    propagation: u64,
    at: &Pointer,
) -> Result<OwnedFd, Error> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    let tree = open_tree(CWD, path, flags)
        .map_err(|errno| Refused::new("open_tree(clone)", path, errno).at(at.clone()))?;
    if propagation != 0 {
        sys::mount_setattr(
            &tree,
            propagation & MS_REC != 0,
            0,
            propagation & !MS_REC,
            None,
        )
        .map_err(|errno| Refused::new("mount_setattr(propagation)", path, errno).at(at.clone()))?;
    }
    Ok(tree)
}
