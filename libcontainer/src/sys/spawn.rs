//! The clone of a stage, seen from the parent: arguments, memory for the child, and the wait for its exec.

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::child::{clone_into, enter};
use super::reap;
use super::signal::with_signals_blocked;

const CLONE_VM: u64 = 0x100;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Bytes of stack for the child between clone and exec; it makes a few dozen system calls and holds no array.
const STACK: usize = 16 * 1024;

/// `struct clone_args`, CLONE_ARGS_SIZE_VER2 (Linux 5.7).
#[repr(C)]
#[derive(Default)]
pub(super) struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// How the caller waits for the child's exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// CLONE_VFORK: the kernel holds the calling thread. The fastest, and what a new cgroup allows.
    Vfork,
    /// A futex with a deadline: the cgroup may be frozen, and a vfork into a frozen one blocks past any signal.
    Deadline(Duration),
}

/// A program to start in a child that shares our memory until its exec.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// CLONE_NEW*.
    pub namespaces: u64,
    pub cgroup: Option<BorrowedFd<'a>>,
    pub program: BorrowedFd<'a>,
    /// argv[2]; argv is `garboard init NUMBERS`.
    pub numbers: &'a CStr,
    /// Kept open across the exec, under their own numbers.
    pub kept: &'a [RawFd],
    /// What becomes 0, 1 and 2: at least 3, or -1 for the caller's own.
    pub stdio: [RawFd; 3],
    /// Fds 3 to 2 + `preserved` are kept too.
    pub preserved: u32,
    pub wait: Wait,
}

/// A started child.
#[derive(Debug)]
pub struct Spawned {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

/// What went wrong in [`spawn`]: in the clone itself, or in the child before its exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnError {
    Clone(Errno),
    Exec(Errno),
    /// The deadline passed before the exec; the child has been killed.
    Deadline,
}

/// What the child needs, in memory it shares with the parent. Lives until the child's exec or death.
pub(super) struct Child {
    /// Not zeroed: only the pages that the child's few frames need are ever touched.
    stack: Box<[std::mem::MaybeUninit<u8>]>,
    pub(super) argv: [*const c_char; 4],
    pub(super) envp: [*const c_char; 1],
    pub(super) program: RawFd,
    pub(super) kept: Vec<RawFd>,
    pub(super) stdio: [RawFd; 3],
    pub(super) preserved: u32,
    /// Errno of a failed exec.
    pub(super) failed: AtomicI32,
    /// Set to 0, and woken as a futex, by the kernel when the child leaves this memory (CLONE_CHILD_CLEARTID).
    alive: AtomicU32,
    /// argv[2] is copied, since a child past its deadline may outlive the call.
    numbers: std::ffi::CString,
}

/// clone3 with CLONE_VM and a stack of its own, then execveat of `program` in the child. Between the two the child makes raw system calls
/// only: it shares its memory with every thread of an embedder, so it may neither allocate nor take a lock, nor touch errno.
/// All signals are blocked in the calling thread meanwhile, since a handler would run in the child with the parent's memory.
pub fn spawn(request: &Spawn<'_>) -> Result<Spawned, SpawnError> {
    let mut child = Box::new(Child {
        stack: Box::new_uninit_slice(STACK),
        argv: [
            c"garboard".as_ptr(),
            c"init".as_ptr(),
            std::ptr::null(),
            std::ptr::null(),
        ],
        envp: [std::ptr::null()],
        program: request.program.as_raw_fd(),
        kept: request.kept.to_vec(),
        stdio: request.stdio,
        preserved: request.preserved,
        failed: AtomicI32::new(0),
        alive: AtomicU32::new(1),
        numbers: request.numbers.to_owned(),
    });
    child.argv[2] = child.numbers.as_ptr();
    let mut pidfd: c_int = -1;
    let mut arguments = CloneArguments {
        flags: request.namespaces | CLONE_VM | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd) as u64,
        stack: child.stack.as_ptr() as u64,
        stack_size: STACK as u64,
        ..CloneArguments::default()
    };
    if let Some(cgroup) = request.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    match request.wait {
        Wait::Vfork => arguments.flags |= CLONE_VFORK,
        Wait::Deadline(_) => {
            arguments.flags |= CLONE_CHILD_CLEARTID;
            arguments.child_tid = child.alive.as_ptr() as u64;
        }
    }
    let result = with_signals_blocked(|| {
        // SAFETY: the arguments name memory of `child`, which is freed only once the child has left it (see below); `enter` never returns.
        unsafe { clone_into(&arguments, enter, (&raw const *child).cast()) }
    });
    let pid = match i32::try_from(result) {
        Ok(pid) if pid > 0 => pid,
        _ => {
            return Err(SpawnError::Clone(Errno::from_raw_os_error(
                i32::try_from(-result).unwrap_or(libc::EINVAL),
            )));
        }
    };
    // SAFETY: the kernel has stored a new descriptor there, which nothing else knows.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if let Wait::Deadline(deadline) = request.wait
        && !left(&child.alive, deadline)
    {
        // Killed, a frozen child of cgroup2 leaves at once; one of a frozen v1 cgroup only when it is thawed, and then it would run
        // on a freed stack: its memory is given up.
        let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL); // it may have died
        if left(&child.alive, Duration::from_secs(1)) {
            let _ = reap(&pidfd); // a host program that ignores SIGCHLD has no status for us
        } else {
            Box::leak(child);
        }
        return Err(SpawnError::Deadline);
    }
    match child.failed.load(Ordering::Acquire) {
        0 => Ok(Spawned { pid, pidfd }),
        errno => {
            let _ = reap(&pidfd); // as above
            Err(SpawnError::Exec(Errno::from_raw_os_error(errno)))
        }
    }
}

/// Waits until the child has left our memory; false when the time is up.
fn left(alive: &AtomicU32, deadline: Duration) -> bool {
    let end = std::time::Instant::now() + deadline;
    while alive.load(Ordering::Acquire) != 0 {
        let rest = end.saturating_duration_since(std::time::Instant::now());
        if rest.is_zero() {
            return false;
        }
        let timeout = libc::timespec {
            tv_sec: rest.as_secs().cast_signed(),
            tv_nsec: i64::from(rest.subsec_nanos()),
        };
        // SAFETY: FUTEX_WAIT (not private: the kernel's wake on exit is shared) reads the word and the timeout, both alive.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                alive.as_ptr(),
                libc::FUTEX_WAIT,
                1,
                &raw const timeout,
            )
        };
    }
    true
}
