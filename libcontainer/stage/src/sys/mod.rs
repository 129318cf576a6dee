//! The one module of the stage with `unsafe` in it: system calls that rustix does not wrap, the program's start, and adopting fds.
#![allow(unsafe_code)]

mod arch;
mod filter;
#[cfg(garboard_stage)]
mod memory;

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicI32, Ordering};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

pub use filter::{filter_space, knows_seccomp_flags, seccomp};

/// Result of a raw call.
pub type Result<T> = core::result::Result<T, Errno>;

fn check(result: isize) -> Result<usize> {
    match usize::try_from(result) {
        Ok(value) => Ok(value),
        Err(_) => Err(Errno::from_raw_os_error(
            i32::try_from(result.wrapping_neg()).unwrap_or(5),
        )),
    }
}

fn fd_argument(fd: BorrowedFd<'_>) -> usize {
    // File descriptors are never negative.
    fd.as_raw_fd() as usize
}

/// Takes over an fd that the parent left open for us at this number.
pub fn adopt(fd: i32) -> OwnedFd {
    // SAFETY: the plan lists each fd once and nothing else in this program holds it, so there is one owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// An fd that is needed for a few calls and closed later, together with its like: a start opens some fifty of them, and one close_range(2)
/// stands for all their close(2) calls. [`close_scratch`] does it; the numbers grow until then.
#[derive(Debug)]
pub struct Scratch(i32);

/// The number from which on close_scratch is worth its call: below RLIMIT_NOFILE 64, which is as low as containers are started with.
const SCRATCH_MANY: i32 = 48;

/// The number of the last one opened.
static LAST_SCRATCH: AtomicI32 = AtomicI32::new(0);

/// Whether so many have gathered that they should be closed.
pub fn scratch_is_many() -> bool {
    LAST_SCRATCH.load(Ordering::Relaxed) >= SCRATCH_MANY
}

impl Scratch {
    /// Takes it out of the scratch: it is closed when dropped, and to be named to [`close_scratch`] until then.
    pub fn keep(self) -> OwnedFd {
        adopt(self.0)
    }
}

impl From<OwnedFd> for Scratch {
    fn from(fd: OwnedFd) -> Scratch {
        use rustix::fd::IntoRawFd;
        let number = fd.into_raw_fd();
        LAST_SCRATCH.store(number, Ordering::Relaxed);
        Scratch(number)
    }
}

impl AsFd for Scratch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `close_scratch` runs between steps, when no step holds a `Scratch`, so the fd is open as long as this value lives.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// Closes every fd from `first` on but those in `kept` (which is sorted).
pub fn close_scratch(first: u32, kept: &[i32]) -> Result<()> {
    LAST_SCRATCH.store(0, Ordering::Relaxed);
    let mut next = first;
    for fd in kept
        .iter()
        .filter_map(|&fd| u32::try_from(fd).ok())
        .filter(|&fd| fd >= first)
    {
        if fd > next {
            close_range(next, fd.saturating_sub(1), Closing::Now)?;
        }
        next = fd.saturating_add(1);
    }
    close_range(next, u32::MAX, Closing::Now)
}

/// Standard input, output or error: never closed by us.
pub fn stdio(number: i32) -> BorrowedFd<'static> {
    // SAFETY: fds 0 to 2 are left alone by every close in this program, so the borrow may last for ever.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// A private read-only view of the plan's memfd.
pub fn map_plan(fd: BorrowedFd<'_>, length: usize) -> Result<&'static [u8]> {
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
    let address = unsafe {
        mmap(
            core::ptr::null_mut(),
            length,
            ProtFlags::READ,
            MapFlags::PRIVATE,
            fd,
            0,
        )
    }?;
    // SAFETY: `length` bytes are mapped, for ever; the memfd is sealed against writing and shrinking before the stage starts.
    Ok(unsafe { core::slice::from_raw_parts(address.cast::<u8>(), length) })
}

/// Zeroed memory for `words` pointers, never given back: exec replaces it.
pub fn pointers(words: usize) -> Result<&'static mut [*const c_char]> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let length = words.max(1).saturating_mul(size_of::<usize>());
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let address = unsafe {
        mmap_anonymous(
            core::ptr::null_mut(),
            length,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    }?;
    // SAFETY: the mapping is page-aligned, zeroed (null is a valid pointer value), `words` long, and ours alone.
    Ok(unsafe { core::slice::from_raw_parts_mut(address.cast(), words) })
}

/// Writes the strings into `table`, which needs one place more for the null at its end.
pub fn fill<'a>(table: &mut [*const c_char], strings: impl Iterator<Item = &'a CStr>) {
    for (place, string) in table.iter_mut().zip(strings) {
        *place = string.as_ptr();
    }
}

/// Has the kernel kill this process when nobody can write to a pipe any more; `pipe` is its reading end. Source: fcntl(2) F_SETSIG.
pub fn kill_on_hangup(pipe: BorrowedFd<'_>) -> Result<()> {
    const SETFL: usize = 4;
    const SETOWN: usize = 8;
    const SETSIG: usize = 10;
    const SIGKILL: usize = 9;
    const ASYNC: usize = 0o20000;
    let own = rustix::process::getpid().as_raw_pid() as usize;
    for (command, argument) in [(SETOWN, own), (SETSIG, SIGKILL), (SETFL, ASYNC)] {
        let fd = pipe.as_raw_fd() as usize;
        // SAFETY: numbers; no memory is touched.
        check(unsafe { arch::syscall(arch::FCNTL, [fd, command, argument, 0, 0, 0]) })?;
    }
    Ok(())
}

/// execve(2); returns only on failure. Not execveat, which fewer seccomp profiles allow.
pub fn execve(path: &CStr, arguments: &[*const c_char], environment: &[*const c_char]) -> Errno {
    if arguments.last().is_none_or(|last| !last.is_null())
        || environment.last().is_none_or(|last| !last.is_null())
    {
        return Errno::INVAL;
    }
    // SAFETY: both tables end in null, as checked above, and hold pointers to strings of the mapped plan; the call returns only on failure.
    let result = unsafe {
        arch::syscall(
            arch::EXECVE,
            [
                path.as_ptr() as usize,
                arguments.as_ptr() as usize,
                environment.as_ptr() as usize,
                0,
                0,
                0,
            ],
        )
    };
    check(result).err().unwrap_or(Errno::IO)
}

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

const CLONE_PIDFD: u64 = 0x1000;
/// The child becomes a child of our parent.
pub const CLONE_PARENT: u64 = 0x8000;

/// What a fork returned.
#[derive(Debug)]
pub enum Forked {
    Child,
    /// The child's pid in our pid namespace, and its pidfd.
    Parent(u32, OwnedFd),
}

/// clone3(2) with a copy of our memory: single-threaded and without a heap, so the child may go on like after fork(2).
pub fn fork(flags: u64) -> Result<Forked> {
    let mut pidfd: i32 = -1;
    let arguments = CloneArguments {
        flags: flags | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        // With CLONE_PARENT the exit signal is our own and must not be given.
        exit_signal: if flags & CLONE_PARENT == 0 { 17 } else { 0 },
        ..CloneArguments::default()
    };
    // SAFETY: without CLONE_VM the child runs on a copy of this stack; `pidfd` is where the kernel is told to write, and lives until then.
    let result = unsafe {
        arch::syscall(
            arch::CLONE3,
            [
                (&raw const arguments) as usize,
                size_of::<CloneArguments>(),
                0,
                0,
                0,
                0,
            ],
        )
    };
    match check(result)? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(
            u32::try_from(pid).unwrap_or(0),
            adopt(pidfd),
        )),
    }
}

/// unshare(2) of namespaces.
pub fn unshare(kinds: u32) -> Result<()> {
    let flags = rustix::thread::UnshareFlags::from_bits_retain(kinds);
    // SAFETY: unsafe only for CLONE_FILES, which would part the fd tables of threads; this program has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Whether the working directory lies below our root: getcwd(2) of one that does not starts with `(unreachable)`.
pub fn cwd_is_reachable() -> Result<bool> {
    let mut path = [0u8; 4096];
    // SAFETY: the kernel writes at most `path.len()` bytes into `path`.
    let result = unsafe {
        arch::syscall(
            arch::GETCWD,
            [path.as_mut_ptr() as usize, path.len(), 0, 0, 0, 0],
        )
    };
    check(result)?;
    Ok(path.first() == Some(&b'/'))
}

/// setfsuid(2) and setfsgid(2): neither can fail in a way it tells.
pub fn set_filesystem_user(uid: u32, gid: u32) {
    // SAFETY: one number; no memory is touched.
    let _ = unsafe { arch::syscall(arch::SETFSGID, [gid as usize, 0, 0, 0, 0, 0]) }; // it returns the old one
    // SAFETY: as above.
    let _ = unsafe { arch::syscall(arch::SETFSUID, [uid as usize, 0, 0, 0, 0, 0]) }; // it returns the old one
}

/// Ends the process.
pub fn exit(status: i32) -> ! {
    // SAFETY: the call ends the process and touches no memory.
    let _ = unsafe { arch::syscall(arch::EXIT_GROUP, [status as usize, 0, 0, 0, 0, 0]) };
    // The container's filter denies it (exec failed). A signal of the processor's own ends even an init that nobody else could kill.
    arch::abort()
}

/// Sets the disposition of `signal` to the default one.
pub fn default_disposition(signal: usize) -> Result<()> {
    // struct kernel_sigaction: handler SIG_DFL, flags, restorer, mask: all zero.
    let action = [0u64; 4];
    // SAFETY: the kernel reads the 32 bytes of `action`; SIG_DFL installs no code.
    let result = unsafe {
        arch::syscall(
            arch::RT_SIGACTION,
            [signal, action.as_ptr() as usize, 0, 8, 0, 0],
        )
    };
    check(result).map(drop)
}

/// Empties the signal mask.
pub fn unblock_all() -> Result<()> {
    let empty = 0u64;
    // SAFETY: the kernel reads the 8 bytes of `empty`; SIG_SETMASK is 2.
    let result = unsafe {
        arch::syscall(
            arch::RT_SIGPROCMASK,
            [2, (&raw const empty) as usize, 0, 8, 0, 0],
        )
    };
    check(result).map(drop)
}

/// What close_range(2) does to the fds from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    Now,
    OnExec,
}

/// close_range(2). Only for fds that no `OwnedFd` of this program stands for.
pub fn close_range(first: u32, last: u32, closing: Closing) -> Result<()> {
    let flags = if closing == Closing::OnExec { 4 } else { 0 };
    // SAFETY: the callers pass ranges between the fds they own, or end in exec; no memory is touched.
    let result = unsafe {
        arch::syscall(
            arch::CLOSE_RANGE,
            [first as usize, last as usize, flags, 0, 0, 0],
        )
    };
    check(result).map(drop)
}

/// mount_setattr(2) on the mount that `fd` refers to. `propagation` is an MS_* value or 0.
pub fn mount_setattr(
    fd: impl AsFd,
    recursive: bool,
    set: u64,
    clear: u64,
    propagation: u64,
) -> Result<()> {
    let attributes: [u64; 4] = [set, clear, propagation, 0];
    let flags = 0x1000 | if recursive { 0x8000 } else { 0 };
    let fd = fd.as_fd();
    // SAFETY: the kernel reads the 32 bytes of `attributes` (struct mount_attr, size version 0) and an empty path.
    let result = unsafe {
        arch::syscall(
            arch::MOUNT_SETATTR,
            [
                fd_argument(fd),
                c"".as_ptr() as usize,
                flags,
                attributes.as_ptr() as usize,
                32,
                0,
            ],
        )
    };
    check(result).map(drop)
}

/// prlimit64(2) on ourselves, by number.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limits = [soft, hard];
    // SAFETY: the kernel reads the 16 bytes of `limits` and writes nothing, since the old value's address is null.
    let result = unsafe {
        arch::syscall(
            arch::PRLIMIT64,
            [0, resource as usize, limits.as_ptr() as usize, 0, 0, 0],
        )
    };
    check(result).map(drop)
}

/// sched_setattr(2) on ourselves; `attributes` is `struct sched_attr`, version 0.
pub fn sched_setattr(attributes: &SchedAttributes) -> Result<()> {
    // SAFETY: the kernel reads `size` bytes, which is the size of the struct.
    let result = unsafe {
        arch::syscall(
            arch::SCHED_SETATTR,
            [0, core::ptr::from_ref(attributes) as usize, 0, 0, 0, 0],
        )
    };
    check(result).map(drop)
}

/// `struct sched_attr` up to `sched_period` (SCHED_ATTR_SIZE_VER0).
#[repr(C)]
#[derive(Debug)]
pub struct SchedAttributes {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// sched_setaffinity(2) on ourselves with a mask of any length: rustix's CpuSet ends at 1024 processors.
pub fn sched_setaffinity(mask: &[u64]) -> Result<()> {
    // SAFETY: the kernel reads the bytes of `mask`.
    let result = unsafe {
        arch::syscall(
            arch::SCHED_SETAFFINITY,
            [0, size_of_val(mask), mask.as_ptr() as usize, 0, 0, 0],
        )
    };
    check(result).map(drop)
}

/// ioprio_set(IOPRIO_WHO_PROCESS, 0, value).
pub fn set_io_priority(value: u32) -> Result<()> {
    // SAFETY: three numbers; no memory is touched.
    let result = unsafe { arch::syscall(arch::IOPRIO_SET, [1, 0, value as usize, 0, 0, 0]) };
    check(result).map(drop)
}

/// set_mempolicy(2).
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<()> {
    let (mask, bits) = match nodes {
        [] => (0, 0),
        // The kernel takes one off the number of bits (mm/mempolicy.c, get_nodes).
        some => (
            some.as_ptr() as usize,
            some.len().saturating_mul(64).saturating_add(1),
        ),
    };
    // SAFETY: the kernel reads as many bits from `nodes` as it holds.
    let result =
        unsafe { arch::syscall(arch::SET_MEMPOLICY, [mode as usize, mask, bits, 0, 0, 0]) };
    check(result).map(drop)
}

/// personality(2).
pub fn personality(value: u64) -> Result<()> {
    // SAFETY: one number; no memory is touched.
    let result = unsafe { arch::syscall(arch::PERSONALITY, [value as usize, 0, 0, 0, 0, 0]) };
    check(result).map(drop)
}

/// prctl(2) with numbers only: PR_CAPBSET_DROP and its like, without rustix's detour over capability names.
pub fn prctl(option: usize, second: usize, third: usize) -> Result<usize> {
    // SAFETY: used with options whose arguments are numbers (capability numbers and booleans), so no memory is touched.
    let result = unsafe { arch::syscall(arch::PRCTL, [option, second, third, 0, 0, 0]) };
    check(result)
}

/// keyctl(KEYCTL_JOIN_SESSION_KEYRING).
pub fn join_session_keyring(name: &CStr) -> Result<i32> {
    // SAFETY: the kernel reads the string up to its NUL.
    let result = unsafe { arch::syscall(arch::KEYCTL, [1, name.as_ptr() as usize, 0, 0, 0, 0]) };
    check(result).map(|serial| i32::try_from(serial).unwrap_or(0))
}

/// keyctl(KEYCTL_DESCRIBE): `type;uid;gid;perm;description`, as much as fits.
pub fn describe_key(serial: i32, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into it.
    let result = unsafe {
        arch::syscall(
            arch::KEYCTL,
            [
                6,
                serial as usize,
                buffer.as_mut_ptr() as usize,
                buffer.len(),
                0,
                0,
            ],
        )
    };
    check(result)
}

/// keyctl(KEYCTL_SETPERM).
pub fn set_key_permissions(serial: i32, permissions: u32) -> Result<()> {
    // SAFETY: two numbers; no memory is touched.
    let result = unsafe {
        arch::syscall(
            arch::KEYCTL,
            [5, serial as usize, permissions as usize, 0, 0, 0],
        )
    };
    check(result).map(drop)
}

/// setgroups(2) for this thread alone, which is the only one.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads `len` numbers of 32 bits.
    let result = unsafe {
        arch::syscall(
            arch::SETGROUPS,
            [groups.len(), groups.as_ptr() as usize, 0, 0, 0, 0],
        )
    };
    check(result).map(drop)
}

/// ioctl(SIOCSIFFLAGS) of the loopback interface: up and running.
pub fn loopback_up(socket: BorrowedFd<'_>) -> Result<()> {
    // struct ifreq: 16 bytes of name, then a union of 24 bytes that starts with the flags.
    let mut request = [0u8; 40];
    for (to, from) in request.iter_mut().zip(*b"lo") {
        *to = from;
    }
    // IFF_UP | IFF_RUNNING = 0x41.
    if let Some(flags) = request.get_mut(16) {
        *flags = 0x41;
    }
    // SAFETY: the kernel reads the 40 bytes of `struct ifreq`; SIOCSIFFLAGS is 0x8914.
    let result = unsafe {
        arch::syscall(
            arch::IOCTL,
            [
                fd_argument(socket),
                0x8914,
                request.as_ptr() as usize,
                0,
                0,
                0,
            ],
        )
    };
    check(result).map(drop)
}

/// The program's arguments, from the stack the kernel made (argc, argv…, NULL).
///
/// # Safety
/// `stack` is the stack pointer as `_start` found it.
pub unsafe fn arguments(stack: *const usize) -> [&'static [u8]; 3] {
    let mut found: [&'static [u8]; 3] = [&[]; 3];
    // SAFETY: the kernel puts argc at the stack pointer of a new program.
    let count = unsafe { stack.read() };
    for (index, slot) in found.iter_mut().enumerate().take(count) {
        let place = stack
            .wrapping_add(index.saturating_add(1))
            .cast::<*const c_char>();
        // SAFETY: argc pointers follow argc, and `index` is below argc.
        let string = unsafe { place.read() };
        // SAFETY: argv strings end in NUL and stay where they are until exec.
        *slot = unsafe { CStr::from_ptr(string) }.to_bytes();
    }
    found
}

/// Ends the process by an illegal instruction: a panic in the stage is a bug, and must look like one.
pub fn abort() -> ! {
    arch::abort()
}
