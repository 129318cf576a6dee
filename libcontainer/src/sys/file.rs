//! Calls on descriptors that rustix does not have: mount attributes, namespace files, and whether a number is open.

use std::ffi::c_long;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::check;

/// mount_setattr(2) on the mount that `fd` refers to; `user_namespace` with MOUNT_ATTR_IDMAP.
pub fn mount_setattr(
    fd: impl AsFd,
    recursive: bool,
    set: u64,
    propagation: u64,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let attributes: [u64; 4] = [
        set,
        0,
        propagation,
        user_namespace.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
    ];
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the kernel reads the 32 bytes of `attributes` (struct mount_attr, size version 0) and an empty path.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    check(result).map(drop)
}

/// The memfd's flags of Linux 6.3; older kernels answer EINVAL.
pub const MFD_EXEC: u32 = 0x10;

/// The user namespace that owns the namespace `fd` (ioctl NS_GET_USERNS, Linux 4.9). EPERM when it is outside our own one's sight.
pub fn owning_user_namespace(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: the request takes no argument and returns a new descriptor.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_USERNS) };
    let fd = check(c_long::from(result))?;
    // SAFETY: the kernel has just returned it (close-on-exec) and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// CLONE_NEW* of the namespace `fd` (ioctl NS_GET_NSTYPE, Linux 4.11). ENOTTY when it is none.
pub fn namespace_kind(fd: impl AsFd) -> Result<u32, Errno> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the request takes no argument and returns a number.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE) };
    check(c_long::from(result)).map(i32::cast_unsigned)
}

/// Whether an fd of that number is open.
pub fn is_open(number: u32) -> bool {
    let Ok(number) = RawFd::try_from(number) else {
        return false;
    };
    // SAFETY: F_GETFD takes no argument and changes nothing.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}
