//! The root filesystem: taken, attached over `/` of our own mount namespace, and at last made the only one there is.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root, umask};

use crate::fault::{Fault, On, Result};
use crate::message::Call;
use crate::mount;

/// Propagation of the whole copied tree. It comes before any attach, or the host would see our mounts.
pub fn tree_propagation(flags: u64) -> Result<()> {
    let flags = MountPropagationFlags::from_bits_retain(u32::try_from(flags).unwrap_or(0));
    mount_change(c"/", flags).on(Call::Mount)
}

/// At `at`, the path that hooks know the rootfs by, or over `/` where it is empty: pivot_root only asks that the new root be a mount point.
/// Returns the umask that the caller of the runtime gave us.
pub fn attach(tree: impl AsFd, at: &CStr) -> Result<Mode> {
    let at = if at.is_empty() { c"/" } else { at };
    move_mount(tree, c"", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).on(Call::MoveMount)?;
    // Modes of what we make are those of the plan; the container's own umask is set by a later step.
    Ok(umask(Mode::empty()))
}

/// For a parent without privilege over its mount namespace.
pub fn clone(path: &CStr, recursive: bool) -> Result<(OwnedFd, Mode)> {
    let tree = mount::clone_path(path, recursive)?.keep();
    let mask = attach(&tree, path)?;
    Ok((tree, mask))
}

/// The old root is put over the new one and detached: no directory for it is needed, and nothing of the host stays reachable.
pub fn pivot(root: BorrowedFd<'_>) -> Result<()> {
    fchdir(root).on(Call::Fchdir)?;
    pivot_root(c".", c".").on(Call::PivotRoot)?;
    unmount(c".", UnmountFlags::DETACH).on(Call::Umount)?;
    chdir(c"/").on(Call::Chdir)
}

/// chroot for a host whose root cannot be pivoted (initramfs). The host's proc and sysfs go first: a container that found them below its
/// root could use them with the host's rights.
pub fn switch(root: BorrowedFd<'_>) -> Result<()> {
    for host in [c"/proc", c"/sys"] {
        match unmount(host, UnmountFlags::DETACH) {
            // Not a mount point, or not there: nothing to hide.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(Fault::new(Call::Umount, errno)),
        }
    }
    move_mount(
        root,
        c"",
        CWD,
        c"/",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .on(Call::MoveMount)?;
    fchdir(root).on(Call::Fchdir)?;
    chroot(c".").on(Call::Chroot)?;
    chdir(c"/").on(Call::Chdir)
}
