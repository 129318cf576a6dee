//! Every key of runtime-spec 1.3's schema for Linux, with the type of its value and what becomes of it here.
//!
//! This table is what "nothing is skipped silently" rests on: the types are checked against it, the keys without effect are listed by it, and
//! a key that it refuses is an error with its pointer. A flat table in byte order, searched by halves; `*` stands for an index or a name of the user's choice.

use Kind::{Any, Array, Bool, I32, I64, Object, Text, U16, U32, U64};
use Standing::{Done, NoEffect, Refused};

/// What a JSON value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    Text,
    Bool,
    U16,
    U32,
    U64,
    I32,
    I64,
    /// Belongs to somebody else's schema.
    Any,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is obeyed.
    Done,
    /// An error, with the reason.
    Refused(&'static str),
    /// Passed over, with the reason.
    NoEffect(&'static str),
}

/// One key of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// RFC 6901, with `*` for any index or name.
    pub pattern: &'static str,
    pub kind: Kind,
    pub standing: Standing,
}

const fn done(pattern: &'static str, kind: Kind) -> Key {
    Key {
        pattern,
        kind,
        standing: Done,
    }
}

const fn other_platform(pattern: &'static str, kind: Kind) -> Key {
    Key {
        pattern,
        kind,
        standing: NoEffect("for another platform than Linux"),
    }
}

const fn no_flags(pattern: &'static str, kind: Kind) -> Key {
    Key {
        pattern,
        kind,
        standing: Refused("the specification defines no personality flags"),
    }
}

const fn without(pattern: &'static str, kind: Kind, reason: &'static str) -> Key {
    Key {
        pattern,
        kind,
        standing: NoEffect(reason),
    }
}

const fn vague(pattern: &'static str) -> Key {
    Key {
        pattern,
        kind: Bool,
        standing: NoEffect("the specification replaced it by enableMonitoring in 1.3"),
    }
}

/// The key of a pattern, if the schema has it.
pub fn find(pattern: &str) -> Option<&'static Key> {
    KEYS.binary_search_by(|key| key.pattern.cmp(pattern))
        .ok()
        .and_then(|index| KEYS.get(index))
}

/// The whole schema, in byte order of the patterns.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    done("/annotations", Object),
    done("/annotations/*", Text),
    done("/domainname", Text),
    other_platform("/freebsd", Any),
    done("/hooks", Object),
    done("/hooks/createContainer", Array),
    done("/hooks/createContainer/*", Object),
    done("/hooks/createContainer/*/args", Array),
    done("/hooks/createContainer/*/args/*", Text),
    done("/hooks/createContainer/*/env", Array),
    done("/hooks/createContainer/*/env/*", Text),
    done("/hooks/createContainer/*/path", Text),
    done("/hooks/createContainer/*/timeout", I64),
    done("/hooks/createRuntime", Array),
    done("/hooks/createRuntime/*", Object),
    done("/hooks/createRuntime/*/args", Array),
    done("/hooks/createRuntime/*/args/*", Text),
    done("/hooks/createRuntime/*/env", Array),
    done("/hooks/createRuntime/*/env/*", Text),
    done("/hooks/createRuntime/*/path", Text),
    done("/hooks/createRuntime/*/timeout", I64),
    done("/hooks/poststart", Array),
    done("/hooks/poststart/*", Object),
    done("/hooks/poststart/*/args", Array),
    done("/hooks/poststart/*/args/*", Text),
    done("/hooks/poststart/*/env", Array),
    done("/hooks/poststart/*/env/*", Text),
    done("/hooks/poststart/*/path", Text),
    done("/hooks/poststart/*/timeout", I64),
    done("/hooks/poststop", Array),
    done("/hooks/poststop/*", Object),
    done("/hooks/poststop/*/args", Array),
    done("/hooks/poststop/*/args/*", Text),
    done("/hooks/poststop/*/env", Array),
    done("/hooks/poststop/*/env/*", Text),
    done("/hooks/poststop/*/path", Text),
    done("/hooks/poststop/*/timeout", I64),
    done("/hooks/prestart", Array),
    done("/hooks/prestart/*", Object),
    done("/hooks/prestart/*/args", Array),
    done("/hooks/prestart/*/args/*", Text),
    done("/hooks/prestart/*/env", Array),
    done("/hooks/prestart/*/env/*", Text),
    done("/hooks/prestart/*/path", Text),
    done("/hooks/prestart/*/timeout", I64),
    done("/hooks/startContainer", Array),
    done("/hooks/startContainer/*", Object),
    done("/hooks/startContainer/*/args", Array),
    done("/hooks/startContainer/*/args/*", Text),
    done("/hooks/startContainer/*/env", Array),
    done("/hooks/startContainer/*/env/*", Text),
    done("/hooks/startContainer/*/path", Text),
    done("/hooks/startContainer/*/timeout", I64),
    done("/hostname", Text),
    done("/linux", Object),
    done("/linux/cgroupsPath", Text),
    done("/linux/devices", Array),
    done("/linux/devices/*", Object),
    done("/linux/devices/*/fileMode", U32),
    done("/linux/devices/*/gid", U32),
    done("/linux/devices/*/major", I64),
    done("/linux/devices/*/minor", I64),
    done("/linux/devices/*/path", Text),
    done("/linux/devices/*/type", Text),
    done("/linux/devices/*/uid", U32),
    done("/linux/gidMappings", Array),
    done("/linux/gidMappings/*", Object),
    done("/linux/gidMappings/*/containerID", U32),
    done("/linux/gidMappings/*/hostID", U32),
    done("/linux/gidMappings/*/size", U32),
    done("/linux/intelRdt", Object),
    done("/linux/intelRdt/closID", Text),
    vague("/linux/intelRdt/enableCMT"),
    vague("/linux/intelRdt/enableMBM"),
    done("/linux/intelRdt/enableMonitoring", Bool),
    done("/linux/intelRdt/l3CacheSchema", Text),
    done("/linux/intelRdt/memBwSchema", Text),
    done("/linux/intelRdt/schemata", Array),
    done("/linux/intelRdt/schemata/*", Text),
    done("/linux/maskedPaths", Array),
    done("/linux/maskedPaths/*", Text),
    done("/linux/memoryPolicy", Object),
    done("/linux/memoryPolicy/flags", Array),
    done("/linux/memoryPolicy/flags/*", Text),
    done("/linux/memoryPolicy/mode", Text),
    done("/linux/memoryPolicy/nodes", Text),
    done("/linux/mountLabel", Text),
    done("/linux/namespaces", Array),
    done("/linux/namespaces/*", Object),
    done("/linux/namespaces/*/path", Text),
    done("/linux/namespaces/*/type", Text),
    done("/linux/netDevices", Object),
    done("/linux/netDevices/*", Object),
    done("/linux/netDevices/*/name", Text),
    done("/linux/personality", Object),
    done("/linux/personality/domain", Text),
    no_flags("/linux/personality/flags", Array),
    no_flags("/linux/personality/flags/*", Text),
    done("/linux/readonlyPaths", Array),
    done("/linux/readonlyPaths/*", Text),
    done("/linux/resources", Object),
    done("/linux/resources/blockIO", Object),
    done("/linux/resources/blockIO/leafWeight", U16),
    done("/linux/resources/blockIO/throttleReadBpsDevice", Array),
    done("/linux/resources/blockIO/throttleReadBpsDevice/*", Object),
    done("/linux/resources/blockIO/throttleReadBpsDevice/*/major", I64),
    done("/linux/resources/blockIO/throttleReadBpsDevice/*/minor", I64),
    done("/linux/resources/blockIO/throttleReadBpsDevice/*/rate", U64),
    done("/linux/resources/blockIO/throttleReadIOPSDevice", Array),
    done("/linux/resources/blockIO/throttleReadIOPSDevice/*", Object),
    done("/linux/resources/blockIO/throttleReadIOPSDevice/*/major", I64),
    done("/linux/resources/blockIO/throttleReadIOPSDevice/*/minor", I64),
    done("/linux/resources/blockIO/throttleReadIOPSDevice/*/rate", U64),
    done("/linux/resources/blockIO/throttleWriteBpsDevice", Array),
    done("/linux/resources/blockIO/throttleWriteBpsDevice/*", Object),
    done("/linux/resources/blockIO/throttleWriteBpsDevice/*/major", I64),
    done("/linux/resources/blockIO/throttleWriteBpsDevice/*/minor", I64),
    done("/linux/resources/blockIO/throttleWriteBpsDevice/*/rate", U64),
    done("/linux/resources/blockIO/throttleWriteIOPSDevice", Array),
    done("/linux/resources/blockIO/throttleWriteIOPSDevice/*", Object),
    done("/linux/resources/blockIO/throttleWriteIOPSDevice/*/major", I64),
    done("/linux/resources/blockIO/throttleWriteIOPSDevice/*/minor", I64),
    done("/linux/resources/blockIO/throttleWriteIOPSDevice/*/rate", U64),
    done("/linux/resources/blockIO/weight", U16),
    done("/linux/resources/blockIO/weightDevice", Array),
    done("/linux/resources/blockIO/weightDevice/*", Object),
    done("/linux/resources/blockIO/weightDevice/*/leafWeight", U16),
    done("/linux/resources/blockIO/weightDevice/*/major", I64),
    done("/linux/resources/blockIO/weightDevice/*/minor", I64),
    done("/linux/resources/blockIO/weightDevice/*/weight", U16),
    done("/linux/resources/cpu", Object),
    done("/linux/resources/cpu/burst", U64),
    done("/linux/resources/cpu/cpus", Text),
    done("/linux/resources/cpu/idle", I64),
    done("/linux/resources/cpu/mems", Text),
    done("/linux/resources/cpu/period", U64),
    done("/linux/resources/cpu/quota", I64),
    done("/linux/resources/cpu/realtimePeriod", U64),
    done("/linux/resources/cpu/realtimeRuntime", I64),
    done("/linux/resources/cpu/shares", U64),
    done("/linux/resources/devices", Array),
    done("/linux/resources/devices/*", Object),
    done("/linux/resources/devices/*/access", Text),
    done("/linux/resources/devices/*/allow", Bool),
    done("/linux/resources/devices/*/major", I64),
    done("/linux/resources/devices/*/minor", I64),
    done("/linux/resources/devices/*/type", Text),
    done("/linux/resources/hugepageLimits", Array),
    done("/linux/resources/hugepageLimits/*", Object),
    done("/linux/resources/hugepageLimits/*/limit", U64),
    done("/linux/resources/hugepageLimits/*/pageSize", Text),
    done("/linux/resources/memory", Object),
    done("/linux/resources/memory/checkBeforeUpdate", Bool),
    done("/linux/resources/memory/disableOOMKiller", Bool),
    without("/linux/resources/memory/kernel", I64, "Linux has no limit for kernel memory of its own any more: it counts into the limit"),
    done("/linux/resources/memory/kernelTCP", I64),
    done("/linux/resources/memory/limit", I64),
    done("/linux/resources/memory/reservation", I64),
    done("/linux/resources/memory/swap", I64),
    done("/linux/resources/memory/swappiness", U64),
    without("/linux/resources/memory/useHierarchy", Bool, "memory is always accounted hierarchically"),
    done("/linux/resources/network", Object),
    done("/linux/resources/network/classID", U32),
    done("/linux/resources/network/priorities", Array),
    done("/linux/resources/network/priorities/*", Object),
    done("/linux/resources/network/priorities/*/name", Text),
    done("/linux/resources/network/priorities/*/priority", U32),
    done("/linux/resources/pids", Object),
    done("/linux/resources/pids/limit", I64),
    done("/linux/resources/rdma", Object),
    done("/linux/resources/rdma/*", Object),
    done("/linux/resources/rdma/*/hcaHandles", U32),
    done("/linux/resources/rdma/*/hcaObjects", U32),
    done("/linux/resources/unified", Object),
    done("/linux/resources/unified/*", Text),
    done("/linux/rootfsPropagation", Text),
    done("/linux/seccomp", Object),
    done("/linux/seccomp/architectures", Array),
    done("/linux/seccomp/architectures/*", Text),
    done("/linux/seccomp/defaultAction", Text),
    done("/linux/seccomp/defaultErrnoRet", U64),
    done("/linux/seccomp/flags", Array),
    done("/linux/seccomp/flags/*", Text),
    done("/linux/seccomp/listenerMetadata", Text),
    done("/linux/seccomp/listenerPath", Text),
    done("/linux/seccomp/syscalls", Array),
    done("/linux/seccomp/syscalls/*", Object),
    done("/linux/seccomp/syscalls/*/action", Text),
    done("/linux/seccomp/syscalls/*/args", Array),
    done("/linux/seccomp/syscalls/*/args/*", Object),
    done("/linux/seccomp/syscalls/*/args/*/index", U64),
    done("/linux/seccomp/syscalls/*/args/*/op", Text),
    done("/linux/seccomp/syscalls/*/args/*/value", U64),
    done("/linux/seccomp/syscalls/*/args/*/valueTwo", U64),
    done("/linux/seccomp/syscalls/*/errnoRet", U64),
    done("/linux/seccomp/syscalls/*/names", Array),
    done("/linux/seccomp/syscalls/*/names/*", Text),
    done("/linux/sysctl", Object),
    done("/linux/sysctl/*", Text),
    done("/linux/timeOffsets", Object),
    done("/linux/timeOffsets/*", Object),
    done("/linux/timeOffsets/*/nanosecs", U32),
    done("/linux/timeOffsets/*/secs", I64),
    done("/linux/uidMappings", Array),
    done("/linux/uidMappings/*", Object),
    done("/linux/uidMappings/*/containerID", U32),
    done("/linux/uidMappings/*/hostID", U32),
    done("/linux/uidMappings/*/size", U32),
    done("/mounts", Array),
    done("/mounts/*", Object),
    done("/mounts/*/destination", Text),
    done("/mounts/*/gidMappings", Array),
    done("/mounts/*/gidMappings/*", Object),
    done("/mounts/*/gidMappings/*/containerID", U32),
    done("/mounts/*/gidMappings/*/hostID", U32),
    done("/mounts/*/gidMappings/*/size", U32),
    done("/mounts/*/options", Array),
    done("/mounts/*/options/*", Text),
    done("/mounts/*/source", Text),
    done("/mounts/*/type", Text),
    done("/mounts/*/uidMappings", Array),
    done("/mounts/*/uidMappings/*", Object),
    done("/mounts/*/uidMappings/*/containerID", U32),
    done("/mounts/*/uidMappings/*/hostID", U32),
    done("/mounts/*/uidMappings/*/size", U32),
    done("/ociVersion", Text),
    done("/process", Object),
    done("/process/apparmorProfile", Text),
    done("/process/args", Array),
    done("/process/args/*", Text),
    done("/process/capabilities", Object),
    done("/process/capabilities/ambient", Array),
    done("/process/capabilities/ambient/*", Text),
    done("/process/capabilities/bounding", Array),
    done("/process/capabilities/bounding/*", Text),
    done("/process/capabilities/effective", Array),
    done("/process/capabilities/effective/*", Text),
    done("/process/capabilities/inheritable", Array),
    done("/process/capabilities/inheritable/*", Text),
    done("/process/capabilities/permitted", Array),
    done("/process/capabilities/permitted/*", Text),
    other_platform("/process/commandLine", Text),
    done("/process/consoleSize", Object),
    done("/process/consoleSize/height", U64),
    done("/process/consoleSize/width", U64),
    done("/process/cwd", Text),
    done("/process/env", Array),
    done("/process/env/*", Text),
    done("/process/execCPUAffinity", Object),
    done("/process/execCPUAffinity/final", Text),
    done("/process/execCPUAffinity/initial", Text),
    done("/process/ioPriority", Object),
    done("/process/ioPriority/class", Text),
    done("/process/ioPriority/priority", I64),
    done("/process/noNewPrivileges", Bool),
    done("/process/oomScoreAdj", I64),
    done("/process/rlimits", Array),
    done("/process/rlimits/*", Object),
    done("/process/rlimits/*/hard", U64),
    done("/process/rlimits/*/soft", U64),
    done("/process/rlimits/*/type", Text),
    done("/process/scheduler", Object),
    done("/process/scheduler/deadline", U64),
    done("/process/scheduler/flags", Array),
    done("/process/scheduler/flags/*", Text),
    done("/process/scheduler/nice", I32),
    done("/process/scheduler/period", U64),
    done("/process/scheduler/policy", Text),
    done("/process/scheduler/priority", I32),
    done("/process/scheduler/runtime", U64),
    done("/process/selinuxLabel", Text),
    done("/process/terminal", Bool),
    done("/process/user", Object),
    done("/process/user/additionalGids", Array),
    done("/process/user/additionalGids/*", U32),
    done("/process/user/gid", U32),
    done("/process/user/uid", U32),
    done("/process/user/umask", U32),
    other_platform("/process/user/username", Text),
    done("/root", Object),
    done("/root/path", Text),
    done("/root/readonly", Bool),
    other_platform("/solaris", Any),
    other_platform("/vm", Any),
    other_platform("/windows", Any),
    other_platform("/zos", Any),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key of the specification's `config.md` and `config-linux.md`, 1.3.0, written down apart from the table above.
    const SPECIFICATION: &str = include_str!("testdata/runtime-spec-1.3-keys.txt");

    #[test]
    fn the_table_is_in_order_without_duplicates() {
        assert!(
            KEYS.windows(2)
                .all(|pair| pair[0].pattern < pair[1].pattern)
        );
    }

    #[test]
    fn every_key_of_the_specification_has_a_standing_and_no_other_key_has() {
        let specified: std::collections::BTreeSet<&str> = SPECIFICATION
            .lines()
            .filter(|line| !line.is_empty())
            .collect();
        let known: std::collections::BTreeSet<&str> = KEYS.iter().map(|key| key.pattern).collect();
        assert_eq!(
            specified.difference(&known).collect::<Vec<_>>(),
            Vec::<&&str>::new(),
            "not in the table"
        );
        assert_eq!(
            known.difference(&specified).collect::<Vec<_>>(),
            Vec::<&&str>::new(),
            "not in the specification"
        );
    }

    #[test]
    fn what_stands_below_a_key_that_is_not_done_is_not_done_either() {
        for key in KEYS {
            let Some((above, _)) = key.pattern.rsplit_once('/') else {
                continue;
            };
            if let Some(above) = find(above).filter(|above| above.standing != Done) {
                assert_eq!(key.standing, above.standing, "{}", key.pattern);
            }
        }
    }
}
