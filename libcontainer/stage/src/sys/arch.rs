//! x86_64: the system call instruction and the numbers that rustix does not wrap. A port adds a file of this shape.

use core::arch::asm;

pub const RT_SIGACTION: usize = 13;
pub const RT_SIGPROCMASK: usize = 14;
pub const PERSONALITY: usize = 135;
pub const PRCTL: usize = 157;
pub const SCHED_SETAFFINITY: usize = 203;
pub const SET_MEMPOLICY: usize = 238;
pub const KEYCTL: usize = 250;
pub const IOPRIO_SET: usize = 251;
pub const PRLIMIT64: usize = 302;
pub const SCHED_SETATTR: usize = 314;
pub const EXECVE: usize = 59;
pub const SECCOMP: usize = 317;
pub const CLONE3: usize = 435;
pub const CLOSE_RANGE: usize = 436;
pub const MOUNT_SETATTR: usize = 442;
pub const EXIT_GROUP: usize = 231;
pub const SETGROUPS: usize = 116;
pub const IOCTL: usize = 16;
pub const GETCWD: usize = 79;
pub const FCNTL: usize = 72;
pub const SETFSUID: usize = 122;
pub const SETFSGID: usize = 123;

/// The system call instruction: six arguments, the raw result (-4095..=-1 is an errno).
///
/// # Safety
/// The caller vouches for what the call does to memory and to fds.
pub unsafe fn syscall(number: usize, arguments: [usize; 6]) -> isize {
    let result: isize;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: `syscall` clobbers rcx and r11 only; everything else is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// An illegal instruction.
pub fn abort() -> ! {
    // SAFETY: the instruction raises SIGILL and touches nothing.
    unsafe { asm!("ud2", options(noreturn)) }
}

// The kernel enters here with the arguments on the stack. The frame pointer is zero at the outermost frame (System V ABI), and the stack
// aligned as for any call.
#[cfg(garboard_stage)]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym start,
);

#[cfg(garboard_stage)]
extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: `_start` hands over the stack pointer it was entered with.
    unsafe { crate::run::stage_main(stack) }
}
