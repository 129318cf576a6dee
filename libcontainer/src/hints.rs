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
        ("mkdir", libc_errno::EROFS) if call == "mkdir(cgroup)" => Some(
            "cgroups are mounted read-only here: in a container, run the outer one with /sys/fs/cgroup writable",
        ),
        ("mkdir", libc_errno::EPERM | libc_errno::EACCES) if call == "mkdir(cgroup)" => Some(
            "this user may not make cgroups there: have a cgroup delegated (systemd: Delegate=yes), or ask for no limits",
        ),
        ("memfd_create", libc_errno::EACCES) => Some(
            "vm.memfd_noexec is 2: nothing may be executed from memory, and the stage is; set it to 1 or 0",
        ),
        ("write", libc_errno::ENOSPC) => Some(
            "a cpuset without cpus or mems takes no process, and resctrl has only so many groups",
        ),
        (_, libc_errno::ENOSPC) => {
            Some("a filesystem or a kernel limit (user.max_*_namespaces, fs.mount-max) is full")
        }
        _ => None,
    }
}

/// The hint for a limit that the kernel refuses to take, by the name of its control file.
pub fn limit(file: &str, errno: Errno) -> Option<&'static str> {
    let controller = file.split('.').next().unwrap_or(file);
    Some(match (controller, file, errno.0) {
        (_, _, libc_errno::EACCES | libc_errno::EPERM | libc_errno::EROFS) => {
            "limits can only be set in a cgroup that is delegated to this user, on a writable cgroup filesystem"
        }
        ("io" | "blkio", _, libc_errno::ENODEV | libc_errno::ENXIO) => {
            "major and minor must be those of a whole block device that is there, not of a partition"
        }
        ("io", "io.weight", libc_errno::EOPNOTSUPP | libc_errno::EINVAL) => {
            "the device has no I/O cost model; the BFQ scheduler has weights of its own"
        }
        ("net_prio", _, libc_errno::ENODEV | libc_errno::EINVAL) => {
            "the network device must be in the network namespace of the runtime"
        }
        ("rdma", _, libc_errno::ENODEV | libc_errno::EINVAL) => {
            "there is no RDMA device of that name"
        }
        ("cpu", "cpu.rt_runtime_us", libc_errno::EINVAL) => {
            "the parent cgroup must have realtime runtime to give: it begins with none"
        }
        ("cpu", "cpu.cfs_quota_us" | "cpu.cfs_period_us" | "cpu.max", libc_errno::EINVAL) => {
            "a quota may not be a larger part of its period than the parent cgroup's"
        }
        ("memory", "memory.memsw.limit_in_bytes", libc_errno::EINVAL) => {
            "memory and swap together may not be limited below memory alone"
        }
        ("memory", _, libc_errno::EBUSY) => {
            "more memory is in use than that, and cannot be reclaimed"
        }
        (_, _, libc_errno::EBUSY) => "the container's processes use it",
        (_, _, libc_errno::EINVAL | libc_errno::ERANGE) => "the kernel does not take this value",
        _ => return None,
    })
}

/// Why a cgroup may lack a control file.
pub fn absent_limit(file: &str) -> &'static str {
    if file.contains("leaf_weight") {
        return "leaf weights went with the CFQ scheduler, in Linux 5.0";
    }
    match file.split_once('.') {
        Some(("blkio" | "io", rest)) if rest.contains("weight") => {
            "weights need the BFQ scheduler (module bfq) or CONFIG_BLK_CGROUP_IOCOST"
        }
        Some(("memory", rest)) if rest.contains("swap") || rest.contains("memsw") => {
            "swap is not accounted: boot with swapaccount=1, on a kernel with CONFIG_SWAP"
        }
        Some(("cpu", rest)) if rest.starts_with("rt_") => "the kernel needs CONFIG_RT_GROUP_SCHED",
        _ => "another kernel version or configuration may have it",
    }
}

/// The errno values the table speaks of (`include/uapi/asm-generic/errno-base.h`, `errno.h`).
mod libc_errno {
    pub const EPERM: i32 = 1;
    pub const ENXIO: i32 = 6;
    pub const EACCES: i32 = 13;
    pub const EBUSY: i32 = 16;
    pub const ENODEV: i32 = 19;
    pub const EINVAL: i32 = 22;
    pub const ENOSPC: i32 = 28;
    pub const EROFS: i32 = 30;
    pub const ERANGE: i32 = 34;
    pub const ENOSYS: i32 = 38;
    pub const EOPNOTSUPP: i32 = 95;
}
