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
        .as_slice()
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

#[test]
fn a_profile_that_asks_for_nothing_is_no_filter() {
    for nothing in [
        json!(null),
        json!({}),
        json!({"defaultAction": "", "architectures": ["SCMP_ARCH_X86"], "syscalls": null}),
    ] {
        assert!(parsed(&[("/linux/seccomp", nothing)]).seccomp.is_none());
    }
}

#[test]
fn a_profile_is_read_with_the_pointers_of_its_faults() {
    let profile = parsed(&[("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}))]);
    let seccomp = profile.seccomp.expect("a filter");
    // SECCOMP_FILTER_FLAG_SPEC_ALLOW, as runc where there is no `flags`.
    assert_eq!((seccomp.flags, seccomp.agent.is_none()), (4, true));

    let faults = json!({
        "defaultAction": "SCMP_ACT_NOTHING",
        "flags": ["SECCOMP_FILTER_FLAG_LOG", 7],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}]}]
    });
    assert_eq!(
        errors(&[("/linux/seccomp", faults)]),
        [
            "/linux/seccomp/flags/1: expected a string, found 7",
            "/linux/seccomp/defaultAction: unknown action \"SCMP_ACT_NOTHING\"",
            "/linux/seccomp/syscalls/0/args/0/index: a system call has arguments 0 to 5, not 6",
        ]
    );

    let notify = json!({"defaultAction": "SCMP_ACT_NOTIFY"});
    assert_eq!(
        errors(&[("/linux/seccomp", notify)]),
        [
            "/linux/seccomp/listenerPath: SCMP_ACT_NOTIFY is used and listenerPath is not set: nobody would answer"
        ]
    );
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

mod broken;
mod mounts;
mod sysctl_and_rest;
