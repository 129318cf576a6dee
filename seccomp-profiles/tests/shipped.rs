//! The shipped profiles: nothing about them is unexplained, and how the default one differs from Docker's is written down.
//!
//! `GARBOARD_TEST_SNAPSHOTS=update` writes the snapshot anew; a difference without a reason is then a line without one, which fails.

use std::collections::BTreeSet;

use seccomp_profiles::tools::{self, Question, WarningKind};
use seccomp_profiles::{Action, Arch, Profile, Syscall, compile, profiles};
use serde_json::{Value, json};

const DOCKER: &str = include_str!("profiles/docker.json");

/// What the snapshot says why, by the names of the calls.
const REASONS: &[(&str, &[&str])] = &[
    (
        "the fixture is older than the call; one like those that are allowed",
        &[
            "cachestat",
            "fchmodat2",
            "file_getattr",
            "file_setattr",
            "futex_requeue",
            "futex_wait",
            "futex_wake",
            "getxattrat",
            "listxattrat",
            "lsm_get_self_attr",
            "lsm_list_modules",
            "map_shadow_stack",
            "mseal",
            "removexattrat",
            "setxattrat",
        ],
    ),
    (
        "denied by both; the fixture is older than the call",
        &[
            "listmount",
            "lsm_set_self_attr",
            "open_tree_attr",
            "statmount",
        ],
    ),
    (
        "its operations pass no filter, and it has been the way into the kernel too often",
        &["io_uring_enter", "io_uring_register", "io_uring_setup"],
    ),
    (
        "the program's own memory",
        &[
            "get_mempolicy",
            "mbind",
            "pkey_alloc",
            "pkey_free",
            "pkey_mprotect",
            "set_mempolicy",
            "set_mempolicy_home_node",
        ],
    ),
    ("no kernel has it", &["epoll_ctl_old", "epoll_wait_old"]),
    (
        "without fanotify_init it has nothing to work on",
        &["fanotify_mark"],
    ),
    (
        "segments for 16-bit programs, with a history of holes; threads do not use it",
        &["modify_ldt"],
    ),
    (
        "compared are the 32 bits that the kernel looks at",
        &["personality"],
    ),
    (
        "rare address families, AF_ALG and AF_VSOCK are denied",
        &["socket"],
    ),
    ("flags that make no namespace are allowed", &["unshare"]),
    (
        "programs of 32-bit x86 and ARM with old C libraries",
        &[
            "nice",
            "readdir",
            "sigaction",
            "signal",
            "sigpending",
            "sigsuspend",
        ],
    ),
];

fn read(text: &str) -> (Value, Profile) {
    let value: Value = serde_json::from_str(text).expect("JSON");
    let profile = Profile::from_value(&value).expect("a profile");
    (value, profile)
}

#[test]
fn every_rule_has_a_comment_and_no_warning_is_unexplained() {
    for (text, expected) in [
        (profiles::DEFAULT, vec!["ptrace"]),
        (profiles::STRICT, vec!["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    ] {
        let (value, _) = read(text);
        for rule in value["syscalls"].as_array().expect("rules") {
            let comment = rule["comment"].as_str().unwrap_or("");
            assert!(comment.ends_with('.'), "{rule}");
        }
        let report = tools::check(&value, Arch::X86_64);
        assert!(report.is_valid());
        let warned: Vec<_> = report
            .warnings
            .into_iter()
            .map(|warning| match warning.kind {
                WarningKind::DangerousAllow { name, .. } => name,
                WarningKind::UnnamedArchitecture(arch) => arch.to_string(),
                other => panic!("{}: {other}", warning.pointer),
            })
            .collect();
        assert_eq!(warned, expected);
    }
}

#[test]
fn they_compile_and_decide_as_they_say() {
    let (_, default) = read(profiles::DEFAULT);
    let (_, strict) = read(profiles::STRICT);
    for profile in [&default, &strict] {
        assert!(compile(profile).expect("compiles").unknown.is_empty());
    }
    let decides = |profile: &Profile, name: &str, first: u64| {
        let question = Question {
            arch: Arch::X86_64,
            call: Syscall::named(name).expect("known"),
            arguments: [first, first, 0, 0, 0, 0],
        };
        let explanation = tools::explain(profile, Arch::X86_64, &question);
        explanation.expect("no conflict").action
    };
    let (allow, deny) = (Action::Allow, Action::Errno(1));
    for (name, first, by_default, by_strict) in [
        ("read", 0, allow, allow),
        ("clone", 0x11, allow, allow),
        ("clone", 0x1000_0011, deny, deny),
        ("clone3", 0, Action::Errno(38), Action::Errno(38)),
        ("unshare", 0x400, allow, deny),
        ("unshare", 0x80, deny, deny),
        ("unshare", 0x1000_0000, deny, deny),
        ("socket", 2, allow, deny),
        ("socket", 31, allow, deny),
        ("socket", 38, deny, deny),
        ("socket", 40, deny, deny),
        // What the kernel takes for 40 too.
        ("socket", 0x1_0000_0028, deny, deny),
        ("personality", 0, allow, deny),
        ("personality", 0x2_0008, allow, deny),
        ("personality", 0x4_0000, deny, deny),
        ("personality", 0xffff_ffff, allow, deny),
        ("prctl", 15, allow, allow),
        ("prctl", 24, allow, deny),
        ("ioctl", 0x5413, allow, allow),
        ("ioctl", 0x5412, allow, deny),
        ("mount", 0, deny, deny),
        ("bpf", 0, deny, deny),
        ("io_uring_setup", 0, deny, deny),
        ("setuid", 0, allow, deny),
    ] {
        assert_eq!(
            decides(&default, name, first),
            by_default,
            "{name} {first:#x}"
        );
        assert_eq!(
            decides(&strict, name, first),
            by_strict,
            "{name} {first:#x}"
        );
    }
}

#[test]
fn differences_from_dockers_have_reasons() {
    let differences = tools::diff(&read(DOCKER).1, &read(profiles::DEFAULT).1, Arch::X86_64);
    let mut lines = BTreeSet::new();
    for found in differences.expect("no conflict") {
        // The fixture was made on x86_64: it names no other architectures.
        if !matches!(found.arch, Arch::X86_64 | Arch::X86 | Arch::X32) {
            continue;
        }
        let name = found.call.name();
        let reason = REASONS.iter().find(|(_, names)| names.contains(&name));
        let (reason, _) = reason.unwrap_or_else(|| panic!("{found}: no reason is given"));
        lines.insert(format!(
            "{name}: {} -> {}: {reason}",
            found.first, found.second
        ));
    }
    let now: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/profiles/default-from-docker.txt"
    );
    if std::env::var_os("GARBOARD_TEST_SNAPSHOTS").is_some_and(|word| word == "update") {
        std::fs::write(path, &now).expect("written");
    }
    let before = std::fs::read_to_string(path).expect("the snapshot");
    assert_eq!(now, before);
    let unused: Vec<_> = REASONS
        .iter()
        .flat_map(|(_, names)| *names)
        .filter(|name| !now.contains(&format!("{name}: ")))
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn filters_are_listed_and_their_outcomes_known() {
    let profile = |value: &Value| Profile::from_value(value).expect("valid");
    let first = profile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}]},
    ]}));
    let second = profile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mount", "bpf"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["socket"], "action": "SCMP_ACT_KILL_PROCESS", "args": [{"index": 1, "value": 3, "op": "SCMP_CMP_EQ"}]},
    ]}));
    let filters = [first, second].map(|profile| {
        seccomp_profiles::compile_for(&profile, Arch::X86_64)
            .expect("compiles")
            .program
    });
    let all = tools::outcomes(&filters, Arch::X86_64);
    let of = |name: &str| {
        let found = all.iter().find(|outcome| outcome.call.name() == name);
        let found = found.expect("there");
        (found.action, found.others.clone())
    };
    // Of two errnos the one that was loaded last.
    assert_eq!(of("mount"), (Action::Errno(1), vec![]));
    assert_eq!(of("bpf"), (Action::Errno(1), vec![]));
    assert_eq!(of("read"), (Action::Allow, vec![]));
    let (action, others) = of("socket");
    assert_eq!(action, Action::Allow);
    assert_eq!(others, [Action::Errno(1), Action::KillProcess]);
    let listing = tools::Listing::new(&filters[0], Arch::X86_64).to_string();
    for words in [
        "load arch",
        "0xc000003e (SCMP_ARCH_X86_64)",
        "load number",
        "(mount)",
        "load args[0], low half",
        "return SCMP_ACT_ERRNO(13)",
    ] {
        assert!(listing.contains(words), "{words}:\n{listing}");
    }
}
