//! What to try when the kernel refuses a call: a pure table from (call, errno) to a sentence.

use crate::error::Errno;

/// The calls without which nothing starts; each is in Linux 5.14 and may be denied by the seccomp profile of an outer container.
const REQUIRED: &[&str] = &[
    "clone3",
    "openat2",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "memfd_create",
    "fsopen",
    "fsmount",
    "fsconfig",
    "close_range",
    "pidfd_open",
];

/// The hint for a refused `call` (its name, with or without arguments), if there is one worth saying.
pub fn hint(call: &str, errno: Errno) -> Option<&'static str> {
    let name = call.split('(').next().unwrap_or(call);
    let denied = matches!(errno.0, libc_errno::EPERM | libc_errno::ENOSYS);
    match (name, errno.0) {
        ("mount_setattr", libc_errno::EPERM) => Some(
            "the mount's flags may be locked by a parent user namespace: keep its nosuid, nodev and noexec; or an outer seccomp profile denies mount_setattr",
        ),
        (name, libc_errno::ENOSYS) if REQUIRED.contains(&name) => Some(
            "this call needs Linux 5.14 or newer; in a nested container the outer seccomp profile may deny it",
        ),
        (name, _) if denied && REQUIRED.contains(&name) => Some(
            "inside another container its seccomp profile or missing capabilities may deny this call",
        ),
        ("memfd_create", libc_errno::EACCES) => Some(
            "vm.memfd_noexec is 2: nothing may be executed from memory, and the stage is; set it to 1 or 0",
        ),
        (_, libc_errno::ENOSPC) => {
            Some("a filesystem or a kernel limit (user.max_*_namespaces, fs.mount-max) is full")
        }
        _ => None,
    }
}

/// The errno values the table speaks of (`include/uapi/asm-generic/errno-base.h`, `errno.h`).
mod libc_errno {
    pub const EPERM: i32 = 1;
    pub const EACCES: i32 = 13;
    pub const ENOSPC: i32 = 28;
    pub const ENOSYS: i32 = 38;
}
