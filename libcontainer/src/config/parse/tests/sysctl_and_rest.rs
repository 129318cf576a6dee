//! Kernel parameters, devices, hooks, process files, and input meant to hurt.

use super::*;

#[test]
fn kernel_parameters_need_a_namespace_of_their_own() {
    let config = parsed(&[(
        "/linux/sysctl",
        json!({"net.ipv4.ip_forward": "1", "kernel/sem": "1 2", "fs.mqueue.msg_max": "5", "kernel.domainname": "d"}),
    )]);
    let found: Vec<_> = config
        .sysctl
        .iter()
        .map(|sysctl| (sysctl.path.to_str().expect("text"), sysctl.scope))
        .collect();
    assert_eq!(
        found,
        [
            ("fs/mqueue/msg_max", SysctlScope::Ipc),
            ("kernel/domainname", SysctlScope::Uts),
            ("kernel/sem", SysctlScope::Ipc),
            ("net/ipv4/ip_forward", SysctlScope::Network)
        ]
    );
    for (key, rest) in [
        (
            "kernel.pid_max",
            "sysctl \"kernel.pid_max\" is not in a separate kernel namespace",
        ),
        (
            "kernel.hostname",
            "sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field",
        ),
        (
            "user.max_user_namespaces",
            "sysctl \"user.max_user_namespaces\" is not in a separate kernel namespace",
        ),
        (
            "kernel.core_pattern",
            "sysctl \"kernel.core_pattern\" is not in a separate kernel namespace",
        ),
        (
            "net.ipv4.x+kernel.core_pattern",
            "\"net.ipv4.x+kernel.core_pattern\" is no name of a kernel parameter",
        ),
        (
            "net.x\nkernel.y",
            "\"net.x\\nkernel.y\" is no name of a kernel parameter",
        ),
    ] {
        assert_eq!(
            errors(&[("/linux/sysctl", json!({key: "1"}))]),
            [format!("/linux/sysctl/{key}: {rest}")]
        );
    }
    assert_eq!(
        errors(&[(
            "/linux/sysctl",
            json!({"net/../kernel/core_pattern": "|/x"})
        )]),
        [
            "/linux/sysctl/net~1..~1kernel~1core_pattern: \"net/../kernel/core_pattern\" is no name of a kernel parameter"
        ]
    );
    let no_net = json!([{"type": "mount"}, {"type": "uts"}]);
    assert_eq!(
        errors(&[
            ("/linux/namespaces", no_net),
            ("/linux/sysctl", json!({"net.x": "1", "kernel.shmmax": "1"}))
        ]),
        [
            "/linux/sysctl/kernel.shmmax: sysctl \"kernel.shmmax\" is not in a separate kernel namespace",
            "/linux/sysctl/net.x: sysctl \"net.x\" not allowed in host network namespace",
        ]
    );
}

#[test]
fn devices_and_rules() {
    let config = parsed(&[
        (
            "/linux/devices",
            json!([{"type": "c", "path": "/dev/../dev/x", "major": 1, "minor": 3}, {"type": "p", "path": "/f", "fileMode": 0o010600, "uid": 7}]),
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": true, "type": "", "access": "rm", "major": -1, "minor": 5}]),
        ),
    ]);
    assert_eq!(
        (config.devices[0].mode, config.devices[0].path.to_string()),
        (0o020666, "/dev/x".to_owned())
    );
    assert_eq!(
        (config.devices[1].mode, config.devices[1].uid),
        (0o010600, Some(7))
    );
    let rule = DeviceRule {
        allow: true,
        kind: DeviceKind::All,
        major: None,
        minor: Some(5),
        read: true,
        write: false,
        mknod: true,
    };
    assert_eq!(config.cgroup.device_rules, [rule]);
}

#[test]
fn hooks_get_their_defaults() {
    let config = parsed(&[(
        "/hooks",
        json!({"prestart": [{"path": "/a"}], "poststop": [{"path": "/b", "args": ["b", "c"], "env": [], "timeout": 3}]}),
    )]);
    assert_eq!(
        config.hooks.prestart,
        [Hook {
            path: c"/a".to_owned(),
            args: vec![c"/a".to_owned()],
            env: None,
            timeout_s: None
        }]
    );
    let args = vec![c"b".to_owned(), c"c".to_owned()];
    assert_eq!(
        config.hooks.poststop,
        [Hook {
            path: c"/b".to_owned(),
            args,
            env: Some(Vec::new()),
            timeout_s: Some(3)
        }]
    );
}

#[test]
fn the_rest_of_linux() {
    let config = parsed(&[
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0,65", "flags": ["MPOL_F_STATIC_NODES"]}),
        ),
        ("/linux/personality", json!({"domain": "LINUX32"})),
        (
            "/linux/netDevices",
            json!({"eth1": {"name": "c0"}, "eth2": {}}),
        ),
        ("/linux/rootfsPropagation", json!("shared")),
        ("/linux/cgroupsPath", json!("system.slice:docker:x")),
        (
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_IDLE", "priority": 7}),
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RESET_ON_FORK"], "runtime": 1, "deadline": 2, "period": 3}),
        ),
        (
            "/process/execCPUAffinity",
            json!({"initial": "0,9", "final": ""}),
        ),
        ("/process/consoleSize", json!({"height": 24, "width": 80})),
    ]);
    assert_eq!(
        config
            .memory_policy
            .map(|policy| (policy.mode, policy.nodes)),
        Some((2 | 1 << 15, vec![1, 2]))
    );
    assert_eq!(config.personality, Some(8));
    assert_eq!(
        config
            .net_devices
            .iter()
            .map(|d| (&*d.host, &*d.container))
            .collect::<Vec<_>>(),
        [("eth1", "c0"), ("eth2", "eth2")]
    );
    assert!(config.root.propagation_asked);
    assert_eq!(config.cgroup.path.as_deref(), Some("system.slice:docker:x"));
    assert_eq!(config.process.io_priority, Some(3 << 13 | 7));
    assert_eq!(
        config
            .process
            .scheduler
            .map(|s| (s.policy, s.flags, s.period)),
        Some((6, 5, 3))
    );
    let affinity = config.process.exec_cpu_affinity.expect("given");
    assert_eq!(
        (affinity.initial, affinity.last),
        (Some(vec![1, 2, 0, 0, 0, 0, 0, 0]), None)
    );
    assert_eq!(config.process.console_size, Some((24, 80)));
}

#[test]
fn of_a_process_file_only_the_first_value_is_read() {
    let text = br#"{"args":["ls"],"cwd":"/","user":{"uid":3,"additionalGids":[4]},"capabilities":{"bounding":["CAP_X"]}} garbage"#;
    let (process, warnings) = Process::parse(text, &facts()).expect("valid");
    assert_eq!(
        (
            process.user.uid,
            process.user.additional_gids,
            process.no_new_privileges
        ),
        (3, vec![4], false)
    );
    assert_eq!(
        warnings,
        ["ignoring unknown or unavailable capabilities: [CAP_X]"]
    );
    let errors = Process::parse(br#"{"args":[1],"cwd":"x"}"#, &facts()).expect_err("invalid");
    assert_eq!(
        errors.to_string(),
        "process.json#/args/0: expected a string, found 1; process.json#/cwd: Cwd must be an absolute path, not \"x\""
    );
    let rootless = HostFacts {
        unprivileged: true,
        ..facts()
    };
    assert!(
        Process::parse(text, &rootless)
            .expect_err("groups")
            .to_string()
            .contains("cannot set any additional groups in a rootless container")
    );
}

#[test]
fn what_is_no_json_is_said() {
    let parse = |bytes: &[u8]| {
        Config::parse(bytes, Path::new("/b"), &facts())
            .expect_err("invalid")
            .to_string()
    };
    assert_eq!(parse(b""), "config.json#: the file is empty");
    assert_eq!(
        parse(b"null"),
        "config.json#: expected an object, found null"
    );
    assert_eq!(
        parse(b"[1]"),
        "config.json#: expected an object, found an array"
    );
    assert_eq!(
        parse(b"{\"a\":\xff}"),
        "config.json#: not UTF-8 text from byte 5 on"
    );
    assert_eq!(
        parse(b"{\"ociVersion\":\"1.0.0\""),
        "config.json#: not valid JSON: EOF while parsing an object at line 1 column 21"
    );
    assert!(
        parse(b"{\"ociVersion\":01}").starts_with("config.json#: not valid JSON: "),
        "{}",
        parse(b"{\"ociVersion\":01}")
    );
    let deep = format!("{{\"root\":{}", "[".repeat(1 << 20));
    assert!(parse(deep.as_bytes()).contains("recursion limit"));
}

/// A megabyte in any string gives a short error or a value, never a crash; so does a NUL.
#[test]
fn hostile_strings_anywhere_give_short_errors() {
    let long = "x".repeat(1 << 20);
    let texts: Vec<_> = keys::KEYS
        .iter()
        .filter(|key| key.kind == keys::Kind::Text && !key.pattern.contains("seccomp"))
        .collect();
    for key in texts {
        for text in [
            long.as_str(),
            "\0",
            "/\0",
            "a=\0",
            "",
            "..",
            "/../..",
            "\u{202e}\n",
        ] {
            let mut spec = with(&[]);
            place(&mut spec, key.pattern, json!(text));
            if let Err(errors) =
                Config::parse(spec.to_string().as_bytes(), Path::new("/bundle"), &facts())
            {
                let text = errors.to_string();
                let pointers: usize = errors
                    .as_slice()
                    .iter()
                    .map(|error| error.pointer.as_str().len())
                    .sum();
                assert!(
                    text.len() < 2000 + pointers,
                    "{}: {} bytes",
                    key.pattern,
                    text.len()
                );
                assert!(
                    errors
                        .as_slice()
                        .iter()
                        .all(|error| !error.message.contains(['\n', '\0'])),
                    "{}: {text}",
                    key.pattern
                );
            }
        }
    }
}

/// The typed reading and the table of keys agree: whatever the table calls wrong is refused, and named.
#[test]
fn every_key_of_a_wrong_type_is_named() {
    use keys::Kind;
    for key in keys::KEYS
        .iter()
        .filter(|key| key.standing == keys::Standing::Done)
    {
        let wrong = match key.kind {
            Kind::Any => continue,
            Kind::Object | Kind::Array => json!("text"),
            Kind::Text => json!(1),
            Kind::Bool => json!("true"),
            Kind::U16 | Kind::U32 | Kind::U64 => json!(-1),
            Kind::I32 | Kind::I64 => json!(1.5),
        };
        let mut spec = with(&[]);
        place(&mut spec, key.pattern, wrong);
        let errors = Config::parse(spec.to_string().as_bytes(), Path::new("/bundle"), &facts())
            .expect_err(key.pattern);
        let pointer = format!("config.json#{}", key.pattern.replace("/*", "/0"));
        assert!(
            errors
                .as_slice()
                .iter()
                .any(|error| error.pointer.as_str() == pointer
                    && error.message.starts_with("expected ")),
            "{pointer}: {errors}"
        );
    }
}

/// Puts a value at a pattern, making what is above it: `*` is element 0, or the member `0`.
fn place(spec: &mut Value, pattern: &str, value: Value) {
    let steps: Vec<&str> = pattern.split('/').skip(1).collect();
    let mut here = spec;
    let mut walked = String::new();
    for step in steps {
        walked = format!("{walked}/{step}");
        let list = here.is_array();
        if step == "*" && list {
            if here.as_array().is_some_and(Vec::is_empty) {
                here.as_array_mut().expect("a list").push(Value::Null);
            }
            here = &mut here[0];
        } else {
            if here.is_null() {
                *here = json!({});
            }
            here = &mut here[if step == "*" { "0" } else { step }];
        }
        let above_elements = keys::find(&walked).is_some_and(|key| key.kind == keys::Kind::Array);
        if above_elements && !here.is_array() {
            *here = json!([]);
        }
    }
    *here = value;
}

#[test]
fn intel_rdt_becomes_a_class_and_its_lines() {
    let rdt = |value| {
        let config = parsed(&[("/linux/intelRdt", value)]);
        let rdt = config.intel_rdt.expect("asked for");
        let lines = rdt.schemata.iter().map(|line| {
            let at = line
                .at
                .as_str()
                .rsplit_once("intelRdt/")
                .expect("below it")
                .1;
            format!("{} <- {at}", line.text)
        });
        (rdt.class, lines.collect::<Vec<_>>(), rdt.monitoring)
    };
    let named = |name: &str| RdtClass::Named(name.to_owned());
    assert_eq!(rdt(json!({})), (RdtClass::Own, vec![], false));
    assert_eq!(
        rdt(json!({"closID": "/", "enableMonitoring": true, "enableCMT": true})),
        (RdtClass::Default, vec![], true)
    );
    assert_eq!(
        rdt(
            json!({"closID": "gold", "l3CacheSchema": "L3:0=f\nMB:0=90", "memBwSchema": "MB:0=20"})
        ),
        (
            named("gold"),
            vec![
                "L3:0=f <- l3CacheSchema".to_owned(),
                "MB:0=20 <- memBwSchema".to_owned()
            ],
            false
        )
    );
    assert_eq!(
        rdt(
            json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L3:0=ff", "L2:0=1"]})
        ),
        (
            RdtClass::Own,
            vec![
                "MB:0=20 <- memBwSchema".to_owned(),
                "L3:0=ff <- schemata/0".to_owned(),
                "L2:0=1 <- schemata/1".to_owned()
            ],
            false
        )
    );
    for name in [".", "..", "a/b", "/a", "info", "mon_groups", "a\nb"] {
        let found = errors(&[("/linux/intelRdt", json!({"closID": name}))]);
        assert!(
            found[0].starts_with("/linux/intelRdt/closID: invalid closID"),
            "{found:?}"
        );
    }
    assert_eq!(
        errors(&[(
            "/linux/intelRdt",
            json!({"memBwSchema": "L3:0=f", "l3CacheSchema": "0=f", "schemata": ["L3:0=f\nL2:0=f"]})
        )]),
        [
            "/linux/intelRdt/l3CacheSchema: \"0=f\" is not one line of the form \"L3:0=ff;1=c0\"",
            "/linux/intelRdt/memBwSchema: \"L3:0=f\" does not begin with \"MB:\"",
            "/linux/intelRdt/schemata/0: \"L3:0=f\\nL2:0=f\" is not one line of the form \"L3:0=ff;1=c0\""
        ]
    );
    assert_eq!(
        errors(&[("/linux/intelRdt", json!({"closID": 1}))]),
        ["/linux/intelRdt/closID: expected a string, found 1"]
    );
}
