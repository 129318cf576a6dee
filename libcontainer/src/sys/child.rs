//! The cloned child, from its first instruction to the exec of the stage: raw system calls in memory that it shares with every thread of the
//! parent. It neither allocates nor locks nor touches errno.

use std::ffi::{c_long, c_void};
use std::sync::atomic::Ordering;

use super::spawn::{Child, CloneArguments};

/// clone3; in the child `entry(data)` on the new stack.
///
/// # Safety
/// Stack and data must live until the child has left this memory, and `entry` must not return.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn clone_into(
    arguments: &CloneArguments,
    entry: extern "C" fn(*const c_void) -> !,
    data: *const c_void,
) -> isize {
    let result: isize;
    // SAFETY: the parent's registers are kept but for rax, rcx and r11. The child starts on its own stack with no frame below it, and
    // never comes back to this function.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r8",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") arguments, in("rsi") size_of::<CloneArguments>(), in("r8") entry, in("r9") data,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

/// A system call that leaves errno alone, for the child.
///
/// # Safety
/// As for the call itself.
#[cfg(target_arch = "x86_64")]
unsafe fn raw(number: c_long, arguments: [usize; 5]) -> isize {
    let result: isize;
    let [a, b, c, d, e] = arguments;
    // SAFETY: `syscall` clobbers rcx and r11 only; the rest is the caller's promise.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// The child: its fds as the stage expects them, in its own copy of the fd table, then exec.
pub(super) extern "C" fn enter(data: *const c_void) -> ! {
    // SAFETY: `spawn` passes a `Child` that outlives this function.
    let child = unsafe { &*data.cast::<Child>() };
    let errno = keep_fds(child).err().unwrap_or_else(|| {
        let path = c"".as_ptr() as usize;
        let arguments = [
            child.program as usize,
            path,
            child.argv.as_ptr() as usize,
            child.envp.as_ptr() as usize,
            libc::AT_EMPTY_PATH as usize,
        ];
        // SAFETY: argv and envp end in null and live in `child`; the call returns only on failure.
        unsafe { raw(libc::SYS_execveat, arguments) }
    });
    child.failed.store(
        i32::try_from(-errno).unwrap_or(libc::EIO),
        Ordering::Release,
    );
    loop {
        // SAFETY: ends this process; `exit` and not `exit_group` would do as well, there is one thread.
        unsafe { raw(libc::SYS_exit_group, [127, 0, 0, 0, 0]) };
    }
}

/// Stdio in place, and no CLOEXEC on what is to stay. Errors are raw results.
fn keep_fds(child: &Child) -> Result<(), isize> {
    for (number, &source) in child.stdio.iter().enumerate() {
        let result = if source >= 0 {
            // SAFETY: numbers only; the fd table is a copy.
            unsafe { raw(libc::SYS_dup3, [source as usize, number, 0, 0, 0]) }
        } else {
            keep(number)
        };
        if result == -(libc::EBADF as isize) {
            // The caller has closed it: the container gets /dev/null rather than whatever is opened next.
            let path = c"/dev/null".as_ptr() as usize;
            // SAFETY: the path is a constant. The lowest free number is this one, since those below it are open by now.
            unsafe {
                raw(
                    libc::SYS_openat,
                    [libc::AT_FDCWD as usize, path, libc::O_RDWR as usize, 0, 0],
                )
            };
        } else if result < 0 {
            return Err(result);
        }
    }
    for number in 3..3 + child.preserved as usize {
        check_kept(keep(number))?;
    }
    for &number in &child.kept {
        check_kept(keep(number as usize))?;
    }
    Ok(())
}

fn check_kept(result: isize) -> Result<(), isize> {
    if result < 0 { Err(result) } else { Ok(()) }
}

/// Clears CLOEXEC of an fd of the child's table.
fn keep(number: usize) -> isize {
    // SAFETY: F_SETFD takes a number; the fd table is a copy of the parent's.
    unsafe { raw(libc::SYS_fcntl, [number, libc::F_SETFD as usize, 0, 0, 0]) }
}
