//! The system calls that rustix does not have. The only module of this crate in which `unsafe` may stand.
//!
//! Each function is safe to call with any argument of its types: what the kernel reads or writes is owned or borrowed by the caller.
#![allow(unsafe_code)]

mod bpf;
mod child;
mod entry;
mod file;
mod hook;
mod process;
mod seccomp;
mod signal;
mod spawn;
mod trace;

use std::ffi::c_long;
use std::os::fd::RawFd;

use rustix::io::Errno;

pub use bpf::{bpf_attach_cgroup_device, bpf_load_cgroup_device};
pub use file::{MFD_EXEC, is_open, mount_setattr, namespace_kind, owning_user_namespace};
pub use hook::{HookProgram, spawn_hook};
pub use process::{exit_status_of_reaped, realtime_signal, reap, set_rlimit};
pub use seccomp::{Notification, continue_call, receive_notification};
pub use signal::with_signals_blocked;
pub use spawn::{Spawn, SpawnError, Spawned, Wait, spawn};
pub use trace::{detach, interrupt, seccomp_filter, seize, stopped};

fn check(result: c_long) -> Result<RawFd, Errno> {
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    RawFd::try_from(result).map_err(|_| Errno::INVAL)
}
