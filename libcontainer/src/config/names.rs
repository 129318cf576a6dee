//! Names of the specification and the kernel's numbers for them: capabilities, limits, policies, namespaces.

/// The number that a table has for a name.
pub(super) fn lookup<T: Copy>(table: &[(&'static str, T)], name: &str) -> Option<T> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

/// In the order of `linux/capability.h`: the index is the number.
pub(crate) const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// `asm-generic/resource.h`; the index is the number.
pub(crate) const RLIMITS: &[&str] = &[
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// `linux/sched.h`.
pub(crate) const SCHED_POLICIES: &[(&str, u32)] = &[
    ("SCHED_OTHER", SCHED_OTHER),
    ("SCHED_FIFO", SCHED_FIFO),
    ("SCHED_RR", SCHED_RR),
    ("SCHED_BATCH", SCHED_BATCH),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", SCHED_DEADLINE),
];
pub(super) const SCHED_OTHER: u32 = 0;
pub(super) const SCHED_FIFO: u32 = 1;
pub(super) const SCHED_RR: u32 = 2;
pub(super) const SCHED_BATCH: u32 = 3;
pub(super) const SCHED_DEADLINE: u32 = 6;

/// `linux/sched.h`.
pub(crate) const SCHED_FLAGS: &[(&str, u64)] = &[
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// `linux/ioprio.h`.
pub(crate) const IO_CLASSES: &[(&str, u16)] = &[
    ("IOPRIO_CLASS_RT", 1),
    ("IOPRIO_CLASS_BE", 2),
    ("IOPRIO_CLASS_IDLE", 3),
];

/// `linux/personality.h`.
pub(super) const PERSONALITIES: &[(&str, u64)] = &[("LINUX", 0), ("LINUX32", 8)];

/// Whether a memory policy takes nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nodes {
    None,
    Some,
    Any,
}

/// `linux/mempolicy.h`, in the order of `features`.
pub(crate) const MEMORY_MODES: &[(&str, (u32, Nodes))] = &[
    ("MPOL_BIND", (2, Nodes::Some)),
    ("MPOL_DEFAULT", (0, Nodes::None)),
    ("MPOL_INTERLEAVE", (3, Nodes::Some)),
    ("MPOL_LOCAL", (4, Nodes::None)),
    ("MPOL_PREFERRED", (1, Nodes::Any)),
    ("MPOL_PREFERRED_MANY", (5, Nodes::Some)),
    ("MPOL_WEIGHTED_INTERLEAVE", (6, Nodes::Some)),
];

pub(super) const MPOL_F_NUMA_BALANCING: u32 = 1 << 13;
pub(super) const MPOL_F_RELATIVE_NODES: u32 = 1 << 14;
pub(super) const MPOL_F_STATIC_NODES: u32 = 1 << 15;

/// `linux/mempolicy.h`, in the order of `features`.
pub(crate) const MEMORY_FLAGS: &[(&str, u32)] = &[
    ("MPOL_F_NUMA_BALANCING", MPOL_F_NUMA_BALANCING),
    ("MPOL_F_RELATIVE_NODES", MPOL_F_RELATIVE_NODES),
    ("MPOL_F_STATIC_NODES", MPOL_F_STATIC_NODES),
];

/// The specification's namespace types, in the order of `features`.
pub(super) const NAMESPACES: &[&str] = &[
    "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
];

const MS_REC: u64 = 1 << 14;
const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;

/// What the runtime gives `/` when `rootfsPropagation` is absent.
pub(super) const DEFAULT_PROPAGATION: u64 = MS_SLAVE | MS_REC;

/// `linux/mount.h`.
pub(crate) const PROPAGATIONS: &[(&str, u64)] = &[
    ("private", MS_PRIVATE),
    ("rprivate", MS_PRIVATE | MS_REC),
    ("shared", MS_SHARED),
    ("rshared", MS_SHARED | MS_REC),
    ("slave", MS_SLAVE),
    ("rslave", MS_SLAVE | MS_REC),
    ("unbindable", MS_UNBINDABLE),
    ("runbindable", MS_UNBINDABLE | MS_REC),
];

/// The set of a list such as `0-3,7`, as little-endian words; `None` if it is no such list or names more than `most` - 1.
pub(super) fn number_list(text: &str, most: u32) -> Option<Vec<u64>> {
    let mut words = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (decimal(first)?, decimal(last)?);
        if first > last || last >= most {
            return None;
        }
        let needed = usize::try_from(last / 64).ok()? + 1;
        if words.len() < needed {
            words.resize(needed, 0);
        }
        for number in first..=last {
            *words.get_mut(usize::try_from(number / 64).ok()?)? |= 1 << (number % 64);
        }
    }
    Some(words)
}

/// `dev_valid_name` of the kernel; `%` would make the kernel choose a number.
pub(super) fn is_interface_name(name: &str) -> bool {
    let plain = |byte: u8| byte > b' ' && byte != 0x7f && !matches!(byte, b'/' | b':' | b'%');
    !matches!(name, "" | "." | "..") && name.len() < 16 && name.bytes().all(plain)
}

fn decimal(text: &str) -> Option<u32> {
    let text = text.trim();
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_lists_become_masks() {
        for (text, words) in [
            ("0", Some(vec![1])),
            ("0-3,7", Some(vec![0x8f])),
            (" 1 , 64 ", Some(vec![2, 1])),
            ("63-64", Some(vec![1 << 63, 1])),
            ("", Some(vec![])),
            ("8191", None),
            ("3-1", None),
            ("a", None),
            ("-1", None),
            ("+1", None),
            ("1-", None),
            ("99999999999", None),
        ] {
            assert_eq!(number_list(text, 1024), words, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(
            CAPABILITIES
                .iter()
                .position(|name| *name == "CAP_SYS_ADMIN"),
            Some(21)
        );
        assert_eq!(
            CAPABILITIES
                .iter()
                .position(|name| *name == "CAP_CHECKPOINT_RESTORE"),
            Some(40)
        );
        assert_eq!(
            RLIMITS.iter().position(|name| *name == "RLIMIT_NOFILE"),
            Some(7)
        );
        assert_eq!(
            RLIMITS.iter().position(|name| *name == "RLIMIT_RTTIME"),
            Some(15)
        );
    }
}
