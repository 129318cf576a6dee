//! What a test needs of the C library that is not safe: an allocator that watches who calls it, fork, and signal actions.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, Pid, fork};

/// The system's allocator, which ends any other process than the test's that calls it. A child that shares our memory (CLONE_VM) is counted
/// besides, where its parent sees it.
#[derive(Debug)]
pub struct Watched;

/// 0: not watched yet.
static OWNER: AtomicI64 = AtomicI64::new(0);
static FOREIGN: AtomicU32 = AtomicU32::new(0);
/// How often the SIGCHLD handler ran.
pub static HANDLED: AtomicU32 = AtomicU32::new(0);

fn pid() -> i64 {
    // SAFETY: takes nothing and returns a number. Not getpid(3), which a libc may answer from memory shared with the parent.
    unsafe { libc::syscall(libc::SYS_getpid) }
}

fn check() {
    let owner = OWNER.load(Ordering::Relaxed);
    if owner != 0 && owner != pid() {
        FOREIGN.fetch_add(1, Ordering::Relaxed);
        // SAFETY: ends the process that should not be here. Not abort(3): its lock would be taken for good in memory that we share, and the
        // first process of a pid namespace survives its own signals.
        unsafe { libc::syscall(libc::SYS_exit_group, 134) };
    }
}

// SAFETY: everything is the system allocator's; the check before it allocates nothing and returns nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check();
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// From here on this process alone may allocate.
pub fn watch_allocations() {
    OWNER.store(pid(), Ordering::Relaxed);
}

pub fn assert_no_foreign_allocation() {
    assert_eq!(
        FOREIGN.load(Ordering::Relaxed),
        0,
        "allocations in a child that shares our memory"
    );
}

/// A child of the host program's own that leaves at once.
pub fn fork_and_exit() -> Pid {
    // SAFETY: the child calls nothing but _exit.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        // SAFETY: ends the child without running anything of ours.
        ForkResult::Child => unsafe { libc::_exit(0) },
    }
}

extern "C" fn count(_: i32) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Sets what a signal does: counted by a handler, or ignored.
pub fn set_action(signal: Signal, handled: bool) {
    let handler = if handled {
        SigHandler::Handler(count)
    } else {
        SigHandler::SigIgn
    };
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler adds to an atomic and nothing else.
    unsafe { sigaction(signal, &action) }.expect("sigaction");
}
