//! The tools, on profiles small enough to know the answers.

use seccomp_profiles::tools::{self, Question, Recording, WarningKind};
use seccomp_profiles::{Action, Arch, Profile, Ruleset, Syscall};
use serde_json::{Value, json};

fn profile(value: &Value) -> Profile {
    Profile::from_value(value).expect("valid")
}

fn engine() -> Value {
    serde_json::from_str(include_str!("profiles/docker.json")).expect("JSON")
}

#[test]
fn check_names_what_is_wrong_and_what_is_suspicious() {
    let report = tools::check(
        &json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                { "names": ["read", "reed", "ptrace"], "action": "SCMP_ACT_ALLOW" },
                { "names": ["read"], "action": "SCMP_ACT_KILL_PROCESS",
                  "args": [{ "index": 0, "value": 3, "op": "SCMP_CMP_EQ" }] },
                { "names": ["write"], "action": "SCMP_ACT_ERRNO" },
            ]
        }),
        Arch::X86_64,
    );
    assert!(report.is_valid());
    let found: Vec<_> = report
        .warnings
        .iter()
        .map(|warning| (warning.pointer.as_str(), &warning.kind))
        .collect();
    assert_eq!(
        found,
        [
            (
                "/architectures",
                &WarningKind::UnnamedArchitecture(Arch::X86)
            ),
            (
                "/architectures",
                &WarningKind::UnnamedArchitecture(Arch::X32)
            ),
            (
                "/syscalls/0/names/1",
                &WarningKind::UnknownName("reed".to_owned())
            ),
            (
                "/syscalls/0/names/2",
                &WarningKind::DangerousAllow {
                    name: "ptrace".to_owned(),
                    why: "controls other processes; before Linux 4.8 it went around the filter"
                }
            ),
            (
                "/syscalls/1/names/0",
                &WarningKind::Shadowed {
                    name: "read".to_owned(),
                    by: Some(0)
                }
            ),
            ("/syscalls/2", &WarningKind::SaysNothing),
        ]
    );
}

#[test]
fn check_finds_no_fault_with_an_engines_profile_and_two_with_a_broken_one() {
    assert!(tools::check(&engine(), Arch::X86_64).is_valid());
    let broken = json!({ "defaultAction": "ALLOW", "syscalls": [{ "names": "read", "action": "SCMP_ACT_LOG" }] });
    let report = tools::check(&broken, Arch::X86_64);
    let pointers: Vec<_> = report
        .faults
        .iter()
        .map(|fault| fault.pointer.as_str())
        .collect();
    assert_eq!(pointers, ["/defaultAction", "/syscalls/0/names"]);
}

#[test]
fn explain_names_the_rule() {
    let profile = profile(&engine());
    let ask = |name, arguments| {
        let question = Question {
            arch: Arch::X86_64,
            call: Syscall::named(name).expect("known"),
            arguments,
        };
        tools::explain(&profile, Arch::X86_64, &question).expect("no conflict")
    };
    assert_eq!(ask("read", [0; 6]).action, Action::Allow);
    assert_eq!(ask("mount", [0; 6]).action, Action::Errno(1));
    assert_eq!(ask("clone3", [0; 6]).action, Action::Errno(38));
    // CLONE_NEWUSER is what the profile looks for.
    let clone = ask("clone", [0x1000_0000, 0, 0, 0, 0, 0]);
    assert_eq!(clone.action, Action::Errno(1));
    assert_eq!(clone.tests.len(), 1, "{clone}");
    assert_eq!(ask("clone", [0x11, 0, 0, 0, 0, 0]).action, Action::Allow);
}

#[test]
fn diff_finds_the_one_bit_that_differs() {
    let with = |value: u64| {
        profile(&json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": value, "op": "SCMP_CMP_NE" }] },
            { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
        ]}))
    };
    assert_eq!(
        tools::diff(&with(40), &with(40), Arch::X86_64).expect("no conflict"),
        []
    );
    let differences = tools::diff(&with(40), &with(38), Arch::X86_64).expect("no conflict");
    let examples: Vec<_> = differences
        .iter()
        .map(|found| {
            (
                found.call.name(),
                found.example.map(|arguments| arguments[0]),
                found.second,
            )
        })
        .collect();
    assert_eq!(
        examples,
        [
            ("socket", Some(38), Action::Errno(1)),
            ("socket", Some(40), Action::Allow)
        ]
    );
}

#[test]
fn a_recording_becomes_a_profile_that_allows_it_and_trims_another() {
    let mut recording = Recording::default();
    for name in ["read", "execve", "socket"] {
        let number = Syscall::named(name)
            .and_then(|call| call.number(Arch::X86_64))
            .expect("there");
        recording.note(Arch::X86_64.audit(), number, [0; 6]);
    }
    recording.note(Arch::X86_64.audit(), 0x4000_0000, [0; 6]); // x32's read
    assert_eq!(recording.len(), 4);
    let made = profile(&recording.to_profile());
    assert_eq!(made.architectures, [Arch::X86_64, Arch::X32]);
    let report = tools::check(&recording.to_profile(), Arch::X86_64);
    assert!(
        report.is_valid() && report.warnings.len() == 1,
        "{:?}",
        report.warnings
    );

    let trimmed = profile(&tools::trim(&engine(), &recording).expect("valid"));
    let allows = |name: &str| {
        trimmed.rules.iter().any(|rule| {
            rule.action == Action::Allow && rule.names.iter().any(|known| **known == *name)
        })
    };
    assert!(allows("read") && allows("execve") && allows("socket") && !allows("write"));
    // What denies stays: clone3 must go on to give ENOSYS.
    assert!(
        trimmed
            .rules
            .iter()
            .any(|rule| rule.names.iter().any(|name| **name == *"clone3"))
    );
}

#[test]
fn a_recorded_clone_makes_no_namespaces_unless_it_did() {
    let decide = |recorded: &[u64], asked: u64| {
        let number = Syscall::named("clone").and_then(|call| call.number(Arch::X86_64));
        let mut recording = Recording::default();
        for flags in recorded {
            let arguments = [*flags, 0, 0, 0, 0, 0];
            recording.note(Arch::X86_64.audit(), number.expect("there"), arguments);
        }
        let rules = Ruleset::new(&profile(&recording.to_profile()), Arch::X86_64).expect("valid");
        let arguments = [asked, 0, 0, 0, 0, 0];
        let verdict = rules.decide(Arch::X86_64.audit(), number.expect("there"), arguments);
        verdict.action
    };
    let (thread, new_user) = (0x003d_0f00, 0x1000_0011);
    assert_eq!(decide(&[thread], thread), Action::Allow);
    assert_eq!(decide(&[thread], 17), Action::Allow);
    assert_eq!(decide(&[thread], new_user), Action::Errno(1));
    assert_eq!(decide(&[thread, new_user], new_user), Action::Allow);
}
