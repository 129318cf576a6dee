//! One change each to a right configuration, and the error that it must give.

use super::*;

#[test]
fn what_is_wrong_is_said() {
    let table: &[(&str, Value, &str)] = &[
        (
            "/ociVersion",
            json!(null),
            "/ociVersion: ociVersion must be set",
        ),
        (
            "/ociVersion",
            json!("2.0.0"),
            "/ociVersion: version \"2.0.0\" is not supported: garboard reads 1.0.0 to 1.3.x",
        ),
        (
            "/ociVersion",
            json!("one"),
            "/ociVersion: \"one\" is no semantic version",
        ),
        ("/root", json!(null), "/root: root must be specified"),
        ("/root/path", json!(""), "/root/path: the path is empty"),
        (
            "/root/path",
            json!("a\u{0}b"),
            "/root/path: the path contains a NUL byte",
        ),
        (
            "/process",
            json!(null),
            "/process: process property must not be empty",
        ),
        (
            "/process/cwd",
            json!(null),
            "/process/cwd: Cwd property must not be empty",
        ),
        (
            "/process/args",
            json!(null),
            "/process/args: args must not be empty",
        ),
        (
            "/process/args",
            json!(["a\u{0}"]),
            "/process/args/0: contains a NUL byte at offset 1",
        ),
        (
            "/process/env",
            json!(["A"]),
            "/process/env/0: invalid environment variable: missing '=' (\"A\")",
        ),
        (
            "/process/env",
            json!(["=x"]),
            "/process/env/0: invalid environment variable: missing name (\"=x\")",
        ),
        (
            "/process/env",
            json!(["A=\u{0}"]),
            "/process/env/0: invalid environment variable: contains nul byte (\"A=\\0\")",
        ),
        (
            "/process/user/uid",
            json!(4294967295u32),
            "/process/user/uid: 4294967295 is no id: the kernel keeps it for \"no change\"",
        ),
        (
            "/process/user/uid",
            json!(4294967296u64),
            "/process/user/uid: expected an unsigned 32-bit integer, found 4294967296",
        ),
        (
            "/process/user/uid",
            json!("00000"),
            "/process/user/uid: expected an unsigned integer, found string \"00000\"",
        ),
        (
            "/process/user/gid",
            json!(4294967295u32),
            "/process/user/gid: 4294967295 is no id: the kernel keeps it for \"no change\"",
        ),
        (
            "/process/user/umask",
            json!(4096),
            "/process/user/umask: umask 010000 has bits above 0777",
        ),
        (
            "/process/rlimits/0/type",
            json!("RLIMIT_FOO"),
            "/process/rlimits/0/type: wrong rlimit value: RLIMIT_FOO",
        ),
        (
            "/process/rlimits/-",
            json!({"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}),
            "/process/rlimits/1/type: RLIMIT_NOFILE is given twice",
        ),
        (
            "/process/rlimits/0/hard",
            json!(1),
            "/process/rlimits/0/soft: the soft limit 1024 is above the hard limit 1",
        ),
        (
            "/process/capabilities/permitted",
            json!(["CAP_KILL"]),
            "/process/capabilities/effective: not in the permitted set: [CAP_NET_BIND_SERVICE CAP_AUDIT_WRITE]",
        ),
        (
            "/process/oomScoreAdj",
            json!(1001),
            "/process/oomScoreAdj: 1001 is not between -1000 and 1000",
        ),
        (
            "/process/consoleSize",
            json!({"height": 65536}),
            "/process/consoleSize/height: 65536 is more than a terminal takes, 65535",
        ),
        (
            "/process/apparmorProfile",
            json!("p"),
            "/process/apparmorProfile: unable to apply apparmor profile: apparmor: config provided but apparmor not supported",
        ),
        (
            "/process/selinuxLabel",
            json!("l"),
            "/process/selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported",
        ),
        (
            "/linux/mountLabel",
            json!("l"),
            "/linux/mountLabel: selinux label is specified in config, but selinux is disabled or not supported",
        ),
        (
            "/process/scheduler",
            json!({}),
            "/process/scheduler/policy: scheduler policy is required",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_FOO"}),
            "/process/scheduler/policy: unknown scheduler policy \"SCHED_FOO\"",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_OTHER", "flags": ["X"]}),
            "/process/scheduler/flags/0: unknown scheduler flag \"X\"",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_OTHER", "nice": 20}),
            "/process/scheduler/nice: invalid scheduler.nice: 20 is not between -20 and 19",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_OTHER", "priority": 1}),
            "/process/scheduler/priority: scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_FIFO"}),
            "/process/scheduler/priority: 0 is not between 1 and 99",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_RR", "priority": 1, "period": 9}),
            "/process/scheduler: scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        ),
        (
            "/process/ioPriority",
            json!({"class": "X"}),
            "/process/ioPriority/class: invalid ioPriority.Class: \"X\"",
        ),
        (
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
            "/process/ioPriority/priority: invalid ioPriority.Priority: 8",
        ),
        (
            "/process/execCPUAffinity",
            json!({"initial": "3-1"}),
            "/process/execCPUAffinity/initial: \"3-1\" is no list of CPUs such as 0-3,7",
        ),
        (
            "/process/execCPUAffinity",
            json!({"final": "0-99999999"}),
            "/process/execCPUAffinity/final: \"0-99999999\" is no list of CPUs such as 0-3,7",
        ),
        (
            "/hostname",
            json!("x".repeat(65)),
            "/hostname: 65 bytes are more than the 64 that the kernel takes",
        ),
        (
            "/annotations",
            json!({"": "x"}),
            "/annotations/: an annotation's key must not be empty",
        ),
        (
            "/hooks/prestart",
            json!([{"path": "bin/x"}]),
            "/hooks/prestart/0/path: a hook's path must be absolute, not \"bin/x\"",
        ),
        (
            "/hooks/poststop",
            json!([{"path": "/x", "timeout": 0}]),
            "/hooks/poststop/0/timeout: a timeout of 0 seconds is not above 0 and below 2^32",
        ),
        (
            "/hooks/poststart",
            json!([{"path": "/x", "env": ["A"]}]),
            "/hooks/poststart/0/env/0: invalid environment variable: missing '=' (\"A\")",
        ),
        (
            "/linux/namespaces/-",
            json!({"type": "foo"}),
            "/linux/namespaces/6/type: namespace \"foo\" does not exist",
        ),
        (
            "/linux/namespaces/1/path",
            json!("ns/net"),
            "/linux/namespaces/1/path: a namespace's path must be absolute, not \"ns/net\"",
        ),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
            "/linux/uidMappings: user namespace mappings specified, but user namespace isn't enabled in the config",
        ),
        (
            "/linux/timeOffsets",
            json!({"boottime": {"secs": 1}}),
            "/linux/timeOffsets: time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
        (
            "/linux/maskedPaths",
            json!(["proc/x"]),
            "/linux/maskedPaths/0: the path is not absolute",
        ),
        (
            "/linux/rootfsPropagation",
            json!("x"),
            "/linux/rootfsPropagation: rootfsPropagation=\"x\" is not supported",
        ),
        (
            "/linux/cgroupsPath",
            json!("/a/../../b"),
            "/linux/cgroupsPath: cgroupsPath \"/a/../../b\" must not contain ..",
        ),
        (
            "/linux/personality",
            json!({"domain": "X"}),
            "/linux/personality/domain: unknown personality domain \"X\": not LINUX or LINUX32",
        ),
        (
            "/linux/personality",
            json!({"domain": "LINUX", "flags": ["F"]}),
            "/linux/personality/flags: additional flags for personality are not supported: the specification defines none",
        ),
        (
            "/linux/memoryPolicy",
            json!({"mode": "X"}),
            "/linux/memoryPolicy/mode: invalid memory policy mode \"X\"",
        ),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND"}),
            "/linux/memoryPolicy/nodes: MPOL_BIND needs nodes",
        ),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_LOCAL", "nodes": "0"}),
            "/linux/memoryPolicy/nodes: MPOL_LOCAL takes no nodes",
        ),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "x"}),
            "/linux/memoryPolicy/nodes: \"x\" is no list of nodes such as 0-3,7",
        ),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["F"]}),
            "/linux/memoryPolicy/flags/0: invalid memory policy flag \"F\"",
        ),
        (
            "/linux/devices",
            json!([{"type": "", "path": "/dev/x"}]),
            "/linux/devices/0/type: invalid device type \"\": not c, u, b or p",
        ),
        (
            "/linux/devices",
            json!([{"type": "c", "path": "x"}]),
            "/linux/devices/0/path: the path is not absolute",
        ),
        (
            "/linux/devices",
            json!([{"type": "c", "path": "/x", "major": 4096}]),
            "/linux/devices/0/major: 4096 is not between 0 and 4095",
        ),
        (
            "/linux/devices",
            json!([{"type": "c", "path": "/x", "minor": -1}]),
            "/linux/devices/0/minor: -1 is not between 0 and 1048575",
        ),
        (
            "/linux/devices",
            json!([{"type": "c", "path": "/x", "uid": 4294967295u32}]),
            "/linux/devices/0/uid: 4294967295 is no id: the kernel keeps it for \"no change\"",
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": true}]),
            "/linux/resources/devices/0/access: device access cannot be empty",
        ),
        (
            "/linux/resources/devices",
            json!([{"access": "rx"}]),
            "/linux/resources/devices/0/access: device access \"rx\" has other letters than r, w and m",
        ),
        (
            "/linux/resources/devices",
            json!([{"access": "r", "type": "p"}]),
            "/linux/resources/devices/0/type: invalid cgroup device type \"p\": not a, c or b",
        ),
        (
            "/linux/resources/devices",
            json!([{"access": "r", "major": -2}]),
            "/linux/resources/devices/0/major: -2 is not between 0 and 4095",
        ),
        (
            "/linux/netDevices",
            json!({"eth/0": {}}),
            "/linux/netDevices/eth~10: invalid network device name \"eth/0\"",
        ),
    ];
    for (pointer, value, error) in table {
        let found = errors(&[(pointer, value.clone())]);
        assert!(
            found.iter().any(|found| found == error),
            "{pointer} {value}: expected\n{error}\nfound\n{}",
            found.join("\n")
        );
    }
}
