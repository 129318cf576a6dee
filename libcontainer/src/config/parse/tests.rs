//! Tables of configurations, right and wrong, through the public way in.

use std::path::Path;

use serde_json::{Value, json};

use super::super::*;

fn facts() -> HostFacts {
    HostFacts {
        last_cap: 40,
        selinux: false,
        apparmor: false,
        unprivileged: false,
        rootless: false,
        cgroup_v2: true,
    }
}

/// The default configuration with `value` put at each pointer; `null` takes a key away.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut spec: Value = serde_json::from_str(&default_spec(None, true)).expect("JSON");
    for (pointer, value) in changes {
        put(&mut spec, pointer, value.clone());
    }
    spec
}

fn put(spec: &mut Value, pointer: &str, value: Value) {
    let (above, name) = pointer.rsplit_once('/').expect("a pointer");
    if spec.pointer(above).is_none_or(Value::is_null) {
        put(spec, above, json!({}));
    }
    let above = spec.pointer_mut(above).expect("just made");
    match above {
        Value::Array(elements) if name == "-" => elements.push(value),
        Value::Array(elements) => elements[name.parse::<usize>().expect("an index")] = value,
        Value::Object(members) => {
            members.insert(name.to_owned(), value);
        }
        _ => panic!("nothing can stand at {pointer}"),
    }
}

fn parse_with(facts: &HostFacts, changes: &[(&str, Value)]) -> Result<Config, ConfigErrors> {
    Config::parse(
        with(changes).to_string().as_bytes(),
        Path::new("/bundle"),
        facts,
    )
}

fn parsed(changes: &[(&str, Value)]) -> Config {
    parse_with(&facts(), changes).expect("valid")
}

/// What is wrong, without `config.json#`, one line an error.
fn errors_on(facts: &HostFacts, changes: &[(&str, Value)]) -> Vec<String> {
    let errors = parse_with(facts, changes).expect_err("invalid");
    errors
        .iter()
        .map(|error| {
            error
                .to_string()
                .trim_start_matches("config.json#")
                .to_owned()
        })
        .collect()
}

fn errors(changes: &[(&str, Value)]) -> Vec<String> {
    errors_on(&facts(), changes)
}

#[test]
fn the_default_configuration_is_valid_and_complete() {
    let config = parsed(&[]);
    assert_eq!(config.oci_version, "1.3.0");
    assert_eq!(config.root.path, Path::new("/bundle/rootfs"));
    assert!(config.root.readonly && !config.root.propagation_asked);
    assert_eq!(config.root.propagation, (1 << 19) | (1 << 14));
    assert_eq!(config.process.args, [c"sh".to_owned()]);
    assert!(config.process.terminal && config.process.no_new_privileges);
    let caps = config.process.capabilities.expect("given");
    assert_eq!(
        (caps.bounding, caps.inheritable, caps.ambient),
        (1 << 29 | 1 << 5 | 1 << 10, 0, 0)
    );
    assert_eq!(
        (
            config.process.rlimits[0].resource,
            config.process.rlimits[0].soft
        ),
        (7, 1024)
    );
    assert_eq!(config.hostname.as_deref(), Some(c"garboard"));
    assert_eq!(
        (&config.namespaces.user, &config.namespaces.cgroup),
        (&Namespace::Host, &Namespace::New)
    );
    assert_eq!(config.mounts.len(), 7);
    assert!(
        matches!(&config.mounts[1].kind, MountKind::Filesystem { data, .. } if data.len() == 2)
    );
    assert!(
        matches!(&config.mounts[5].kind, MountKind::Filesystem { flags, .. } if *flags == ["ro"])
    );
    assert!(matches!(config.mounts[6].kind, MountKind::Cgroup));
    assert_eq!(
        (config.masked_paths.len(), config.readonly_paths.len()),
        (10, 5)
    );
    let rule = DeviceRule {
        allow: false,
        kind: DeviceKind::All,
        major: None,
        minor: None,
        read: true,
        write: true,
        mknod: true,
    };
    assert_eq!(config.cgroup.device_rules, [rule]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn the_rootless_configuration_is_valid_for_the_unprivileged() {
    let facts = HostFacts {
        unprivileged: true,
        rootless: true,
        ..facts()
    };
    let text = default_spec(Some((1000, 1000)), true);
    let config = Config::parse(text.as_bytes(), Path::new("/bundle"), &facts).expect("valid");
    assert_eq!(
        config.id_maps.uid,
        [IdMap {
            container: 0,
            host: 1000,
            size: 1
        }]
    );
    assert_eq!(
        errors_on(&facts, &[]),
        [
            "/linux/namespaces: rootless container requires user namespaces",
            "/mounts/2/options: cannot specify \"gid=5\" for rootless container: the id is not mapped"
        ]
    );
}

#[test]
fn all_errors_are_reported_at_once_those_of_types_too() {
    let found = errors(&[
        ("/process/user/uid", json!("0")),
        ("/process/cwd", json!("tmp")),
        ("/process/args", json!([])),
        ("/hostname", json!(5)),
        ("/mounts/0/destination", json!("")),
        ("/linux/namespaces/-", json!({"type": "pid"})),
    ]);
    assert_eq!(
        found,
        [
            "/hostname: expected a string, found 5",
            "/process/user/uid: expected an unsigned integer, found string \"0\"",
            "/process/args: args must not be empty",
            "/process/cwd: Cwd must be an absolute path, not \"tmp\"",
            "/linux/namespaces/6/type: malformed spec file: duplicated ns \"pid\"",
            "/mounts/0/destination: the path is empty",
        ]
    );
}

#[test]
fn consequences_of_a_wrong_type_are_not_reported() {
    assert_eq!(
        errors(&[("/process", json!("x"))]),
        ["/process: expected an object, found string \"x\""]
    );
    assert_eq!(
        errors(&[("/process/args", json!("sh"))]),
        ["/process/args: expected an array, found string \"sh\""]
    );
    assert_eq!(
        errors(&[("/linux/namespaces", json!({}))]),
        ["/linux/namespaces: expected an array, found an object"]
    );
    assert_eq!(
        errors(&[("/root/path", json!(1))]),
        ["/root/path: expected a string, found 1"]
    );
}

/// One change each, and the one error that it must give.
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

#[test]
fn what_later_versions_do_is_refused_unless_it_asks_for_nothing() {
    for (pointer, value) in [
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"})),
        ("/linux/intelRdt", json!({"closID": "x"})),
        ("/linux/resources/memory", json!({"limit": 1})),
        ("/linux/resources/cpu", json!({"shares": 0})),
        ("/linux/resources/pids", json!({"limit": 0})),
        ("/linux/resources/blockIO", json!({"weight": 10})),
        ("/linux/resources/hugepageLimits", json!([{}])),
        ("/linux/resources/network", json!({"classID": 1})),
        ("/linux/resources/rdma", json!({"x": {"hcaHandles": 1}})),
        ("/linux/resources/unified", json!({"pids.max": "1"})),
    ] {
        let refused = parse_with(&facts(), &[(pointer, value)]).expect_err("refused");
        assert!(
            refused
                .to_string()
                .starts_with(&format!("config.json#{pointer}: ")),
            "{refused}"
        );
        assert!(
            refused.to_string().ends_with("not supported yet"),
            "{refused}"
        );
        assert_eq!(
            crate::Error::from(refused).kind(),
            crate::ErrorKind::Unsupported
        );
        for nothing in [json!(null), json!({})] {
            parse_with(&facts(), &[(pointer, nothing)]).expect("asks for nothing");
        }
    }
    let mixed = parse_with(
        &facts(),
        &[
            ("/linux/seccomp", json!({"defaultAction": "x"})),
            ("/process/cwd", json!("x")),
        ],
    )
    .expect_err("both");
    assert_eq!(
        crate::Error::from(mixed).kind(),
        crate::ErrorKind::InvalidConfig
    );
    parsed(&[("/linux/resources", json!({}))]);
}

#[test]
fn the_environment_keeps_the_last_of_each_name() {
    let env = |env: Value| parsed(&[("/process/env", env)]).process.env;
    assert_eq!(
        env(json!(["A=1", "B=2", "A=3"])),
        [c"B=2".to_owned(), c"A=3".to_owned()]
    );
    assert_eq!(env(json!(["HOME=/x", "HOME="])), Vec::<CString>::new());
    assert_eq!(
        env(json!(["HOME=", "HOME=/x", "A="])),
        [c"HOME=/x".to_owned(), c"A=".to_owned()]
    );
    assert_eq!(env(json!(null)), Vec::<CString>::new());
}

#[test]
fn unknown_and_unavailable_capabilities_are_warned_of() {
    let caps =
        json!({"bounding": ["CAP_FOO", "CAP_KILL", "CAP_BPF"], "ambient": ["CAP_KILL", "CAP_BAR"]});
    let old = HostFacts {
        last_cap: 37,
        ..facts()
    };
    let config = parse_with(&old, &[("/process/capabilities", caps)]).expect("valid");
    assert_eq!(
        config
            .process
            .capabilities
            .map(|caps| (caps.bounding, caps.ambient)),
        Some((1 << 5, 0))
    );
    assert_eq!(
        config.warnings[0],
        "ignoring unknown or unavailable capabilities: [CAP_BAR CAP_BPF CAP_FOO]"
    );
    assert_eq!(
        config.warnings[1],
        "ignoring ambient capabilities that are not both permitted and inheritable: [CAP_KILL]"
    );
    assert!(
        parsed(&[("/process/capabilities", json!(null))])
            .process
            .capabilities
            .is_none()
    );
}

#[test]
fn a_newer_minor_version_and_trailing_text_are_warned_of() {
    assert_eq!(
        parsed(&[("/ociVersion", json!("1.4.0-dev"))])
            .warnings
            .len(),
        1
    );
    let text = format!("{} trailing", default_spec(None, true));
    let config = Config::parse(text.as_bytes(), Path::new("/bundle"), &facts()).expect("valid");
    assert_eq!(
        config.warnings,
        ["config.json: what follows the first JSON value is not looked at"]
    );
}

#[test]
fn names_and_masks_need_their_namespaces() {
    assert_eq!(
        errors(&[
            ("/linux/namespaces", json!([])),
            ("/domainname", json!("d"))
        ]),
        [
            "/hostname: unable to set hostname without a private UTS namespace",
            "/domainname: unable to set domainname without a private UTS namespace",
            "/linux/maskedPaths: unable to restrict sys entries without a private MNT namespace",
            "/linux/readonlyPaths: unable to restrict sys entries without a private MNT namespace",
            "/mounts: unable to mount without a private MNT namespace",
            "/root/readonly: unable to make the root read-only without a private MNT namespace",
        ]
    );
}

#[test]
fn user_namespaces_need_mappings_that_hold_the_process() {
    let user = ("/linux/namespaces/-", json!({"type": "user"}));
    let map = |first: u64, host: u64, size: u64| json!([{"containerID": first, "hostID": host, "size": size}]);
    let both = |uid: Value, gid: Value| {
        errors(&[
            user.clone(),
            ("/linux/uidMappings", uid),
            ("/linux/gidMappings", gid),
            ("/process/user/uid", json!(5)),
        ])
    };
    assert_eq!(errors(std::slice::from_ref(&user)).len(), 2);
    assert_eq!(
        both(map(0, 1000, 5), map(0, 1000, 5)),
        ["/process/user/uid: 5 is not in /linux/uidMappings"]
    );
    assert_eq!(
        both(map(1, 1000, 9), map(0, 0, 1)),
        ["/linux/uidMappings: User namespaces enabled, but user 0 of the container is not mapped"]
    );
    assert_eq!(
        both(map(0, 4294967290, 10), map(0, 0, 0)),
        [
            "/linux/uidMappings/0: the mapping goes beyond the last id, 4294967294",
            "/linux/gidMappings/0/size: a mapping of size 0 maps nothing",
            "/linux/gidMappings: User namespaces enabled, but group 0 of the container is not mapped",
        ]
    );
    let overlapping = json!([{"containerID": 0, "hostID": 0, "size": 10}, {"containerID": 9, "hostID": 100, "size": 1}, {"containerID": 10, "hostID": 5, "size": 1}]);
    assert_eq!(
        both(overlapping, map(0, 0, 1)),
        [
            "/linux/uidMappings/1/containerID: the mapping overlaps another one",
            "/linux/uidMappings/2/hostID: the mapping overlaps another one"
        ]
    );
    let many: Vec<_> = (0..10_000)
        .map(|id| json!({"containerID": id, "hostID": id, "size": 1}))
        .collect();
    assert_eq!(
        both(json!(many), map(0, 0, 1))[0],
        "/linux/uidMappings: 10000 mappings are more than the 340 that the kernel takes"
    );
    let joined = (
        "/linux/namespaces/-",
        json!({"type": "user", "path": "/proc/1/ns/user"}),
    );
    assert_eq!(
        parsed(std::slice::from_ref(&joined)).namespaces.user,
        Namespace::Path("/proc/1/ns/user".into(), 6)
    );
    assert_eq!(
        parsed(&[
            joined,
            ("/linux/uidMappings", map(0, 9, 9)),
            ("/linux/gidMappings", map(0, 9, 9))
        ])
        .id_maps
        .uid
        .len(),
        1
    );
}

#[test]
fn time_offsets_are_of_a_new_time_namespace() {
    let new = ("/linux/namespaces/-", json!({"type": "time"}));
    let offsets = |offsets: Value| ("/linux/timeOffsets", offsets);
    let config = parsed(&[
        new.clone(),
        offsets(json!({"monotonic": {"secs": -5, "nanosecs": 7}, "boottime": {}})),
    ]);
    let found: Vec<_> = config
        .time_offsets
        .iter()
        .map(|offset| (offset.clock, offset.seconds, offset.nanoseconds))
        .collect();
    assert_eq!(found, [("boottime", 0, 0), ("monotonic", -5, 7)]);
    assert_eq!(
        errors(&[
            new,
            offsets(json!({"realtime": {}, "boottime": {"nanosecs": 1_000_000_000}}))
        ]),
        [
            "/linux/timeOffsets/boottime/nanosecs: 1000000000 is not below 1000000000",
            "/linux/timeOffsets/realtime: only the clocks monotonic and boottime have offsets",
        ]
    );
}

mod mounts;
mod sysctl_and_rest;
