//! ptrace(2), as far as it takes to read a process's seccomp filters. Nothing here writes to a tracee.
//!
//! PTRACE_SEIZE and no options: a tracee whose tracer ends, however that comes about, goes on as if it had never been traced.

use std::ffi::{c_long, c_void};
use std::ptr::null_mut;

use rustix::io::Errno;

use super::check;

// linux/ptrace.h
const PTRACE_DETACH: c_long = 17;
const PTRACE_SEIZE: c_long = 0x4206;
const PTRACE_INTERRUPT: c_long = 0x4207;
const PTRACE_SECCOMP_GET_FILTER: c_long = 0x420c;
const PTRACE_EVENT_STOP: i32 = 128;

/// The calling thread becomes the tracer of `pid`, which does not notice.
pub fn seize(pid: i32) -> Result<(), Errno> {
    plain(PTRACE_SEIZE, pid, 0)
}

/// Asks a tracee to stop; [`stopped`] tells when it has.
pub fn interrupt(pid: i32) -> Result<(), Errno> {
    plain(PTRACE_INTERRUPT, pid, 0)
}

/// Lets a tracee that has stopped go on, with the signal that it stopped for, or 0.
pub fn detach(pid: i32, signal: i32) -> Result<(), Errno> {
    plain(PTRACE_DETACH, pid, signal)
}

/// A request that carries no address of ours.
fn plain(request: c_long, pid: i32, data: i32) -> Result<(), Errno> {
    // SAFETY: for these three requests the kernel takes `data` as a number (options or a signal), and touches no memory of this process.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            request,
            c_long::from(pid),
            null_mut::<c_void>(),
            c_long::from(data),
        )
    };
    check(result).map(drop)
}

/// Whether a tracee has stopped, without waiting: with the signal that it stopped for, 0 where it stopped because it was asked to.
/// Errors: SRCH when it has ended.
pub fn stopped(pid: i32) -> Result<Option<i32>, Errno> {
    let mut status = 0;
    // SAFETY: the kernel writes one int at the address of `status`, which lives on.
    let found = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | libc::WNOHANG) };
    match check(c_long::from(found))? {
        0 => Ok(None),
        _ if !libc::WIFSTOPPED(status) => Err(Errno::SRCH),
        _ if status >> 16 == PTRACE_EVENT_STOP => Ok(Some(0)),
        _ => Ok(Some(libc::WSTOPSIG(status))),
    }
}

/// Filter `index` of a tracee that has stopped, the first one loaded being 0: `struct sock_filter` each, as the eight bytes of a number.
/// Errors: NOENT: there are not so many; INVAL: no filter at all, or a kernel without CONFIG_CHECKPOINT_RESTORE; ACCESS: only for
/// CAP_SYS_ADMIN, and who has no filter itself; MEDIUMTYPE: the kernel has kept no program that could be read.
pub fn seccomp_filter(pid: i32, index: usize) -> Result<Vec<u64>, Errno> {
    let index = c_long::try_from(index).map_err(|_| Errno::NOENT)?;
    let ask = |to: *mut u64| {
        // SAFETY: without an address the kernel tells the length alone; with one it writes as many instructions as it told before, for
        // which `to` has room: the tracee has stopped and a filter that is loaded does not change.
        let length = unsafe {
            libc::syscall(
                libc::SYS_ptrace,
                PTRACE_SECCOMP_GET_FILTER,
                c_long::from(pid),
                index,
                to,
            )
        };
        check(length)
    };
    let length = usize::try_from(ask(null_mut())?).map_err(|_| Errno::INVAL)?;
    let mut program = vec![0_u64; length];
    ask(program.as_mut_ptr())?;
    Ok(program)
}
