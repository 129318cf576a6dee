//! The listener of a seccomp filter that notifies (seccomp_unotify(2)).

use std::os::fd::{AsFd, AsRawFd};

use libc::c_long;
use rustix::io::Errno;

use super::check;

/// `struct seccomp_notif` (linux/seccomp.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Notification {
    /// Names the call as long as it waits.
    pub id: u64,
    /// The thread that makes it, in the pid namespace of whoever receives; 0: outside of it.
    pub pid: u32,
    pub flags: u32,
    /// Its number; negative ones are none that the kernel has.
    pub number: i32,
    /// AUDIT_ARCH_*.
    pub arch: u32,
    pub instruction_pointer: u64,
    pub arguments: [u64; 6],
}

/// The next call that waits. Blocks. Errors: NOENT when the one that was about to be told of is gone, or all who are filtered are.
pub fn receive_notification(listener: impl AsFd) -> Result<Notification, Errno> {
    // SECCOMP_IOCTL_NOTIF_RECV: _IOWR('!', 0, struct seccomp_notif) of 80 bytes.
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    // The kernel refuses one that is not zeroed (EINVAL).
    let mut notification = Notification::default();
    // SAFETY: the kernel reads and writes the 80 bytes that the request's number says, which are all of the struct, and any bytes make one.
    let result =
        unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), RECEIVE, &raw mut notification) };
    check(c_long::from(result))?;
    Ok(notification)
}

/// Lets a call that waits be made (SECCOMP_USER_NOTIF_FLAG_CONTINUE, Linux 5.5). Errors: NOENT when it waits no more.
pub fn continue_call(listener: impl AsFd, id: u64) -> Result<(), Errno> {
    // SECCOMP_IOCTL_NOTIF_SEND: _IOWR('!', 1, struct seccomp_notif_resp) of 24 bytes: id, value, error and flags.
    const SEND: libc::c_ulong = 0xc018_2101;
    const CONTINUE: u32 = 1;
    let response = [id, 0, u64::from(CONTINUE) << 32];
    // SAFETY: the kernel reads the 24 bytes that the request's number says.
    let result = unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SEND, response.as_ptr()) };
    check(c_long::from(result)).map(drop)
}
