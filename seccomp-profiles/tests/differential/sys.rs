//! libseccomp, as far as runc uses it. The only unsafe code of the tests.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use seccomp_profiles::profile::{Condition, Operator};
use seccomp_profiles::{Arch, Program};

/// `struct scmp_arg_cmp`.
#[repr(C)]
struct ArgCmp {
    arg: c_uint,
    op: c_int,
    datum_a: u64,
    datum_b: u64,
}

#[link(name = "seccomp")]
unsafe extern "C" {
    fn seccomp_init(def_action: u32) -> *mut c_void;
    fn seccomp_release(ctx: *mut c_void);
    fn seccomp_arch_add(ctx: *mut c_void, token: u32) -> c_int;
    fn seccomp_arch_remove(ctx: *mut c_void, token: u32) -> c_int;
    fn seccomp_attr_set(ctx: *mut c_void, attr: c_int, value: u32) -> c_int;
    fn seccomp_rule_add_array(
        ctx: *mut c_void,
        action: u32,
        syscall: c_int,
        count: c_uint,
        args: *const ArgCmp,
    ) -> c_int;
    fn seccomp_export_bpf(ctx: *const c_void, fd: c_int) -> c_int;
    fn seccomp_syscall_resolve_name_arch(token: u32, name: *const c_char) -> c_int;
    fn seccomp_syscall_resolve_name(name: *const c_char) -> c_int;
}

/// A negative errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub c_int);

/// Why there is no program of libseccomp's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Errno(Errno),
    /// It did not come to an end within [`PATIENCE`], or to a bad one.
    Lost,
}

/// In seconds of the processor: what comes to an end does so in milliseconds.
const PATIENCE: libc::rlim_t = 1;

/// Has a child make a program: there are profiles that libseccomp never comes to an end with.
#[allow(
    clippy::disallowed_methods,
    reason = "glibc's allocator works in the child of a threaded process, and no other lock is taken there"
)]
pub fn apart(make: impl FnOnce() -> Result<Program, Errno>) -> Result<Program, Refusal> {
    const PANICKED: c_int = 101;
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: the child computes, writes and leaves.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        let limit = libc::rlimit {
            rlim_cur: PATIENCE,
            rlim_max: PATIENCE,
        };
        // SAFETY: the kernel reads the limit; it ends the child if nothing else does.
        unsafe { libc::setrlimit(libc::RLIMIT_CPU, &raw const limit) };
        let code = match catch_unwind(AssertUnwindSafe(make)) {
            Ok(Ok(program)) => i32::from(writer.write_all(&program.to_bytes()).is_err()),
            Ok(Err(Errno(code))) => -code,
            Err(_) => PANICKED,
        };
        // SAFETY: leaves without running anything.
        unsafe { libc::_exit(code) };
    }
    drop(writer);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    let mut status = 0;
    // SAFETY: the child is ours and the status is a place for its answer.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    match libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)) {
        Some(0) => Ok(Program::from_bytes(&bytes).unwrap()),
        None | Some(PANICKED) => Err(Refusal::Lost),
        Some(code) => Err(Refusal::Errno(Errno(-code))),
    }
}

/// SCMP_FLTATR_CTL_NNP and SCMP_FLTATR_CTL_OPTIMIZE.
const NO_NEW_PRIVILEGES: c_int = 3;
const OPTIMIZE: c_int = 8;

pub struct Filter(*mut c_void);

/// SCMP_ARCH_…: AUDIT_ARCH_…, but x32 has one of its own.
fn token(arch: Arch) -> u32 {
    if arch == Arch::X32 {
        0x4000_003e
    } else {
        arch.audit()
    }
}

fn check(code: c_int) -> Result<(), Errno> {
    if code == 0 { Ok(()) } else { Err(Errno(code)) }
}

impl Filter {
    pub fn new(default: u32) -> Self {
        // SAFETY: takes a number and gives a context or null.
        let context = unsafe { seccomp_init(default) };
        assert!(!context.is_null(), "seccomp_init({default:#x})");
        Self(context)
    }

    pub fn add_arch(&self, arch: Arch) -> Result<(), Errno> {
        // SAFETY: the context is alive until drop.
        check(unsafe { seccomp_arch_add(self.0, token(arch)) })
    }

    pub fn remove_arch(&self, arch: Arch) -> Result<(), Errno> {
        // SAFETY: the context is alive until drop.
        check(unsafe { seccomp_arch_remove(self.0, token(arch)) })
    }

    /// The binary tree instead of a list.
    pub fn optimize(&self) -> Result<(), Errno> {
        // SAFETY: the context is alive until drop; the attribute takes a number.
        check(unsafe { seccomp_attr_set(self.0, OPTIMIZE, 2) })
    }

    pub fn without_no_new_privileges(&self) -> Result<(), Errno> {
        // SAFETY: the context is alive until drop; the attribute takes a number.
        check(unsafe { seccomp_attr_set(self.0, NO_NEW_PRIVILEGES, 0) })
    }

    pub fn add_rule(
        &self,
        action: u32,
        number: c_int,
        conditions: &[Condition],
    ) -> Result<(), Errno> {
        let arguments: Vec<_> = conditions.iter().map(argument).collect();
        // SAFETY: the context is alive until drop, and the array has as many elements as the count says.
        check(unsafe {
            seccomp_rule_add_array(
                self.0,
                action,
                number,
                arguments.len() as c_uint,
                arguments.as_ptr(),
            )
        })
    }

    pub fn export(&self) -> Program {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let copy = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        // SAFETY: the context is alive until drop, and the descriptor is open.
        let code = unsafe { seccomp_export_bpf(self.0, writer.as_raw_fd()) };
        drop(writer);
        assert_eq!(code, 0, "seccomp_export_bpf");
        Program::from_bytes(&copy.join().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: made by seccomp_init, released once.
        unsafe { seccomp_release(self.0) }
    }
}

fn argument(condition: &Condition) -> ArgCmp {
    let (op, datum_a, datum_b) = match condition.operator {
        Operator::NotEqual => (1, condition.value, 0),
        Operator::Less => (2, condition.value, 0),
        Operator::LessOrEqual => (3, condition.value, 0),
        Operator::Equal => (4, condition.value, 0),
        Operator::GreaterOrEqual => (5, condition.value, 0),
        Operator::Greater => (6, condition.value, 0),
        Operator::MaskedEqual(mask) => (7, mask, condition.value),
    };
    ArgCmp {
        arg: condition.argument.into(),
        op,
        datum_a,
        datum_b,
    }
}

/// __NR_SCMP_ERROR
const UNKNOWN: c_int = -1;

/// The number on this machine, negative for a call of other architectures; None for an unknown name.
pub fn number(name: &str) -> Option<c_int> {
    let name = CString::new(name).unwrap();
    // SAFETY: the string ends in a null and outlives the call.
    Some(unsafe { seccomp_syscall_resolve_name(name.as_ptr()) }).filter(|number| *number != UNKNOWN)
}

/// The same for any architecture.
pub fn number_on(arch: Arch, name: &str) -> Option<c_int> {
    let name = CString::new(name).unwrap();
    // SAFETY: the string ends in a null and outlives the call.
    Some(unsafe { seccomp_syscall_resolve_name_arch(token(arch), name.as_ptr()) })
        .filter(|number| *number != UNKNOWN)
}

/// The kernel of this machine takes the program: a child loads it, and does nothing else.
#[allow(
    clippy::disallowed_methods,
    reason = "the child allocates nothing: loading is one system call"
)]
pub fn kernel_takes(program: &Program) -> bool {
    // SAFETY: the child makes system calls only: it needs no lock that another thread may hold.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        // Where the filter forbids to leave, the C library stops at an illegal instruction: Rust's handler of the signal would come back to it.
        for signal in [libc::SIGSEGV, libc::SIGILL, libc::SIGBUS, libc::SIGTRAP] {
            // SAFETY: takes a number and the default action.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        // SAFETY: takes a number; ends the child if nothing else does.
        unsafe { libc::alarm(10) };
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let refused = seccomp_profiles::load::load(program, seccomp_profiles::Flags::NONE).is_err();
        // SAFETY: leaves without running anything; a filter that forbids even that ends the child by a signal.
        unsafe { libc::_exit(if refused { REFUSED } else { 0 }) };
    }
    let mut status = 0;
    // SAFETY: the child is ours and the status is a place for its answer.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    !(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == REFUSED)
}

const REFUSED: c_int = 77;

/// How long the kernel takes to load a program, into a thread that ends then. The program has to allow what a thread does.
pub fn time_to_load(program: &Program) -> std::time::Duration {
    let load = || {
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let start = std::time::Instant::now();
        seccomp_profiles::load::load(program, seccomp_profiles::Flags::SPEC_ALLOW).unwrap();
        start.elapsed()
    };
    std::thread::scope(|scope| scope.spawn(load).join().unwrap())
}
