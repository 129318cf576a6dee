//! What can be asked of, or done to, a process that runs already: its end, its exit status, its limits, signals by number.

use std::ffi::{c_long, c_void};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;

use super::check;

/// Waits for a child of ours that has ended; ECHILD when the host program took its status.
pub fn reap(pidfd: &OwnedFd) -> Result<Option<rustix::process::WaitIdStatus>, Errno> {
    // __WALL: until its exec the stage has exit signal 0, which waitid passes over without it.
    let options = rustix::process::WaitIdOptions::EXITED
        | rustix::process::WaitIdOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    loop {
        match rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), options) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// prlimit64(2) by number: rustix names only the limits it knows.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limits = [soft, hard];
    let old = std::ptr::null_mut::<c_void>();
    // SAFETY: the kernel reads the 16 bytes of `limits` and writes nothing, since the old value's address is null.
    let result = unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, limits.as_ptr(), old) };
    check(result).map(drop)
}

/// The wait status of a process that has been reaped, by us or by somebody else (ioctl PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15).
pub fn exit_status_of_reaped(pidfd: impl AsFd) -> Result<i32, Errno> {
    // _IOWR(0xff, 11, struct pidfd_info) of version 0: 64 bytes. Mask first, exit code last.
    const PIDFD_GET_INFO: libc::c_ulong = 0xc040_ff0b;
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    let mut info = [PIDFD_INFO_EXIT, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: the kernel reads and writes the 64 bytes that the request's number says.
    let result =
        unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), PIDFD_GET_INFO, info.as_mut_ptr()) };
    check(c_long::from(result))?;
    if info[0] & PIDFD_INFO_EXIT == 0 {
        return Err(Errno::AGAIN);
    }
    Ok(i32::from_ne_bytes([
        info[7].to_ne_bytes()[4],
        info[7].to_ne_bytes()[5],
        info[7].to_ne_bytes()[6],
        info[7].to_ne_bytes()[7],
    ]))
}

/// A realtime signal by number; the C library's own (32, 33) included, since a container may have another library.
pub fn realtime_signal(number: i32) -> Option<rustix::process::Signal> {
    // SAFETY: any number from 32 to 64 is a signal of the kernel's; rustix only warns of those that the C library of *this* process uses.
    (32..=64)
        .contains(&number)
        .then(|| unsafe { rustix::process::Signal::from_raw_unchecked(number) })
}
