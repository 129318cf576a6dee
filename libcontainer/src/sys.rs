//! The system calls that rustix does not have. The only module of this crate in which `unsafe` may stand.
//!
//! Each function is safe to call with any argument of its types: what the kernel reads or writes is owned or borrowed by the caller.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use crate::cgroup::device::Instruction;

// linux/bpf.h
const BPF_PROG_LOAD: c_long = 5;
const BPF_PROG_ATTACH: c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The head of `union bpf_attr` for BPF_PROG_LOAD, as far as anything but zero stands in it.
#[repr(C)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The same for BPF_PROG_ATTACH.
#[repr(C)]
struct AttachAttributes {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads a program of type BPF_PROG_TYPE_CGROUP_DEVICE. Source: bpf(2).
pub fn bpf_load_cgroup_device(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let attributes = LoadAttributes {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"garboard_device\0",
    };
    // SAFETY: `insns` and `license` point at memory that outlives the call, `insn_cnt` is the slice's length in `struct bpf_insn`
    // (`Instruction` is repr(C) with the same fields), and the kernel only reads the attributes, of which it is told the size.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const attributes,
            size_of::<LoadAttributes>(),
        )
    };
    let fd = check(fd)?;
    // SAFETY: the kernel has just returned this descriptor (close-on-exec, as all of bpf's) and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device program to a cgroup, beside those of its ancestors (every one of them must allow). Source: bpf(2).
pub fn bpf_attach_cgroup_device(cgroup: impl AsFd, program: impl AsFd) -> Result<(), Errno> {
    let attributes = AttachAttributes {
        target_fd: cgroup.as_fd().as_raw_fd().cast_unsigned(),
        attach_bpf_fd: program.as_fd().as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the kernel only reads the attributes, of which it is told the size; they hold two borrowed descriptors and no pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &raw const attributes,
            size_of::<AttachAttributes>(),
        )
    };
    check(result).map(drop)
}

fn check(result: c_long) -> Result<RawFd, Errno> {
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    RawFd::try_from(result).map_err(|_| Errno::INVAL)
}

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
struct CloneArguments {
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
struct Child {
    stack: Box<[u8]>,
    argv: [*const c_char; 4],
    envp: [*const c_char; 1],
    program: RawFd,
    kept: Vec<RawFd>,
    stdio: [RawFd; 3],
    preserved: u32,
    /// Errno of a failed exec.
    failed: AtomicI32,
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
        stack: vec![0; STACK].into_boxed_slice(),
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
    let mask = block_signals();
    // SAFETY: the arguments name memory of `child`, which is freed only once the child has left it (see below); `enter` never returns.
    let result = unsafe { clone_into(&arguments, enter, (&raw const *child).cast()) };
    restore_signals(&mask);
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
    if let Wait::Deadline(deadline) = request.wait {
        if !left(&child.alive, deadline) {
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
    }
    match child.failed.load(Ordering::Acquire) {
        0 => Ok(Spawned { pid, pidfd }),
        errno => {
            let _ = reap(&pidfd); // as above
            Err(SpawnError::Exec(Errno::from_raw_os_error(errno)))
        }
    }
}

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

fn block_signals() -> libc::sigset_t {
    // SAFETY: sigset_t is plain bits, for which all zero is a value.
    let mut old = unsafe { std::mem::zeroed::<libc::sigset_t>() };
    // SAFETY: as above.
    let mut all = unsafe { std::mem::zeroed::<libc::sigset_t>() };
    // SAFETY: writes the set that it is given.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: reads one set and writes the other, both ours.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old) };
    old
}

fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: reads the set; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// clone3; in the child `entry(data)` on the new stack.
///
/// # Safety
/// Stack and data must live until the child has left this memory, and `entry` must not return.
#[cfg(target_arch = "x86_64")]
unsafe fn clone_into(
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
extern "C" fn enter(data: *const c_void) -> ! {
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

/// Whether an fd of that number is open.
pub fn is_open(number: u32) -> bool {
    let Ok(number) = RawFd::try_from(number) else {
        return false;
    };
    // SAFETY: F_GETFD takes no argument and changes nothing.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// A realtime signal by number; the C library's own (32, 33) included, since a container may have another library.
pub fn realtime_signal(number: i32) -> Option<rustix::process::Signal> {
    // SAFETY: any number from 32 to 64 is a signal of the kernel's; rustix only warns of those that the C library of *this* process uses.
    (32..=64)
        .contains(&number)
        .then(|| unsafe { rustix::process::Signal::from_raw_unchecked(number) })
}
