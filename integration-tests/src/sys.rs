//! The kernel calls that neither the standard library nor nix has. The only unsafe code of this crate.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The result of `sched_getattr(2)`, in part.
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedAttr {
    /// `SCHED_OTHER` 0, `SCHED_FIFO` 1, `SCHED_RR` 2, `SCHED_BATCH` 3, `SCHED_IDLE` 5, `SCHED_DEADLINE` 6.
    pub policy: u32,
    /// Nice value.
    pub nice: i32,
    /// Real-time priority.
    pub priority: u32,
}

#[repr(C)]
#[derive(Default)]
struct RawSchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

fn checked(result: libc::c_long) -> io::Result<i64> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The scheduling of this thread. Source: sched_setattr(2).
pub fn scheduling() -> io::Result<SchedAttr> {
    let mut raw = RawSchedAttr::default();
    let size = std::mem::size_of::<RawSchedAttr>();
    // SAFETY: the kernel writes at most `size` bytes, which is the size of `raw`, a plain structure in the kernel's layout.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut raw, size, 0) };
    checked(result)?;
    Ok(SchedAttr {
        policy: raw.policy,
        nice: raw.nice,
        priority: raw.priority,
    })
}

/// The I/O priority of this thread as (class, level). Source: ioprio_set(2).
pub fn io_priority() -> io::Result<(i64, i64)> {
    // SAFETY: only numbers are passed; 1 is IOPRIO_WHO_PROCESS and 0 the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) };
    let value = checked(result)?;
    Ok((value >> 13, value & 0x1fff))
}

/// The personality, unchanged by the question. Source: personality(2).
pub fn personality() -> io::Result<i64> {
    // SAFETY: only a number is passed, the one that asks and does not set.
    let result = unsafe { libc::syscall(libc::SYS_personality, 0xffff_ffff_u64) };
    checked(result)
}

/// The default memory policy's mode. Source: get_mempolicy(2).
pub fn memory_policy() -> io::Result<i32> {
    let mut mode: libc::c_int = 0;
    let none = std::ptr::null::<libc::c_ulong>();
    // SAFETY: the kernel writes one int to `mode`; no mask and no address are given.
    let result = unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, none, 0, 0, 0) };
    checked(result)?;
    Ok(mode)
}

/// The session keyring's number and description (`keyring;uid;gid;perm;name`). Source: keyctl(2).
pub fn session_keyring() -> io::Result<(i64, String)> {
    const SESSION: libc::c_long = -3;
    const GET_ID: libc::c_long = 0;
    const DESCRIBE: libc::c_long = 6;
    // SAFETY: only numbers are passed.
    let id = unsafe { libc::syscall(libc::SYS_keyctl, GET_ID, SESSION, 0) };
    let id = checked(id)?;
    let mut text = vec![0u8; 256];
    // SAFETY: the kernel writes at most 256 bytes, the length of `text`.
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            DESCRIBE,
            id,
            text.as_mut_ptr(),
            text.len(),
        )
    };
    let length = usize::try_from(checked(length)?)
        .unwrap_or(0)
        .min(text.len());
    text.truncate(length.saturating_sub(1));
    Ok((id, String::from_utf8_lossy(&text).into_owned()))
}

/// The size of the terminal on this descriptor as (rows, columns).
pub fn terminal_size(fd: i32) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize, which `size` is.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    checked(result.into())?;
    Ok((size.ws_row, size.ws_col))
}

/// Gives the terminal on this descriptor a size; who runs in its foreground gets SIGWINCH.
pub fn set_terminal_size(fd: i32, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize, which `size` is.
    let result = unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size) };
    checked(result.into()).map(drop)
}

/// Puts one byte into the input queue of a terminal, as if typed; `request` is the whole register, so that bits above 32 can be tried.
pub fn type_into_terminal(fd: i32, request: u64, byte: u8) -> io::Result<()> {
    // SAFETY: TIOCSTI reads one byte at the address given, which is `byte`.
    let result = unsafe { libc::syscall(libc::SYS_ioctl, fd, request, &raw const byte) };
    checked(result).map(drop)
}

/// Opens a descriptor for a process. Source: pidfd_open(2).
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: only numbers are passed.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    Ok(own(i32::try_from(checked(fd)?).map_err(io::Error::other)?))
}

/// Takes a descriptor that the kernel has just handed to this process, by a call or in a message, and that nobody else knows of.
pub(crate) fn own(fd: i32) -> OwnedFd {
    // SAFETY: both callers pass a number that a system call has just returned to them and forget it afterwards.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Loads a seccomp filter for this process and all it will run. Source: seccomp(2). The caller must have no-new-privs or CAP_SYS_ADMIN.
pub fn load_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions at `filter`, which `program` holds, and writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const filter,
        )
    };
    checked(result).map(drop)
}

/// Makes a descriptor survive exec, or not.
pub fn keep_over_exec(fd: i32, keep: bool) -> io::Result<()> {
    let flags = if keep { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: only numbers are passed; a descriptor that is not open gives EBADF.
    let result = unsafe { libc::fcntl(fd, libc::F_SETFD, flags) };
    checked(result.into()).map(drop)
}

/// Has the kernel kill the command when the thread that starts it ends, however that comes about.
pub fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let parent = nix::unistd::getpid();
    let ask = move || {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        // It may have died before it was asked for.
        if nix::unistd::getppid() == parent {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    };
    // SAFETY: the closure makes two system calls and allocates nothing, which a child of a threaded process may do between fork and exec.
    unsafe { command.pre_exec(ask) };
}

/// Makes any system call. The arguments must be harmless for this process whatever the call does with them: no address of its own memory.
pub fn call(number: u64, arguments: [u64; 6]) -> io::Result<i64> {
    let [a, b, c, d, e, f] = arguments;
    let number = number.cast_signed();
    // SAFETY: the callers pass numbers that are no address of anything that lives here, or none at all, so that the kernel writes nowhere.
    checked(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// Makes a system call in a child of its own. Source of the numbers: 0 for success, else the errno.
/// The child ends with it; what ends the child otherwise is seen by who waits for it.
pub fn call_in_child(number: u64, arguments: [u64; 6]) -> io::Result<nix::unistd::Pid> {
    // SAFETY: this program has one thread here; the child makes two system calls and ends.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(child),
        nix::unistd::ForkResult::Child => {
            let status = match call(number, arguments) {
                Ok(_) => 0,
                Err(error) => error.raw_os_error().unwrap_or(0),
            };
            // SAFETY: ends the process without running anything of the parent's.
            unsafe { libc::_exit(status) }
        }
    }
}

/// The next call that a seccomp listener tells of; ENOENT if its process is gone meanwhile. Source: seccomp_unotify(2).
pub fn next_notification(listener: &OwnedFd) -> io::Result<(u64, i32, i32)> {
    const RECEIVE: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
    let mut told = std::mem::MaybeUninit::<libc::seccomp_notif>::zeroed();
    // SAFETY: SECCOMP_IOCTL_NOTIF_RECV wants a zeroed seccomp_notif and writes no more than that.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, told.as_mut_ptr()) };
    checked(result.into())?;
    // SAFETY: all of it was zeroed and then written by the kernel, and it is made of numbers alone.
    let told = unsafe { told.assume_init() };
    Ok((told.id, told.pid.cast_signed(), told.data.nr))
}

/// Answers it: the call goes on, or gives this errno.
pub fn answer_notification(listener: &OwnedFd, id: u64, errno: Option<i32>) -> io::Result<()> {
    const SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
    const CONTINUE: u32 = 1;
    let answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: -errno.unwrap_or(0),
        flags: if errno.is_some() { 0 } else { CONTINUE },
    };
    // SAFETY: SECCOMP_IOCTL_NOTIF_SEND reads one seccomp_notif_resp, which `answer` is.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer) };
    checked(result.into()).map(drop)
}
