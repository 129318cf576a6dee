//! What the compiler makes decides as the rules do, and the kernel would take it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use seccomp_profiles::action::Action;
use seccomp_profiles::compile::{Error, compile_for, lay_out};
use seccomp_profiles::interpret::{Call, run};
use seccomp_profiles::rules::{Reason, Ruleset};
use seccomp_profiles::verify::verify;
use seccomp_profiles::{Arch, Profile, Program, Syscall};
use serde_json::{Value, json};

const DOCKER: &str = include_str!("profiles/docker.json");
const PODMAN: &str = include_str!("profiles/podman.json");

fn profile(value: &Value) -> Profile {
    Profile::from_value(value).unwrap()
}

fn parsed(text: &str) -> Profile {
    profile(&serde_json::from_str(text).unwrap())
}

fn action(program: &Program, arch: Arch, number: u32, arguments: [u64; 6]) -> Action {
    let call = Call {
        number,
        arch: arch.audit(),
        instruction_pointer: 0,
        arguments,
    };
    Action::from_return(run(program, &call, arch.big_endian()).unwrap().value)
}

fn number(name: &str, arch: Arch) -> u32 {
    Syscall::named(name).unwrap().number(arch).unwrap()
}

#[test]
fn engines_profiles_decide_as_their_rules() {
    for text in [DOCKER, PODMAN] {
        let ruleset = Ruleset::new(&parsed(text), Arch::X86_64).unwrap();
        let program = lay_out(&ruleset).unwrap();
        verify(&program).unwrap();
        let numbers = (0..1200).chain([
            0x7fff_ffff,
            0x8000_0000,
            0x8000_0001,
            0xbfff_ffff,
            0xc000_0000,
            u32::MAX - 1,
            u32::MAX,
        ]);
        let numbers = numbers.flat_map(|number| [number, number.wrapping_add(0x4000_0000)]);
        for (number, arch) in numbers.flat_map(|number| Arch::ALL.map(|arch| (number, arch))) {
            for value in [
                0,
                1,
                8,
                9,
                16,
                0x2_0000,
                0x1_0000_0000,
                0x7e02_0000,
                u64::MAX,
            ] {
                let arguments = [value, value, value, 0, 0, 0];
                let expected = ruleset.decide(arch.audit(), number, arguments);
                assert_eq!(
                    action(&program, arch, number, arguments),
                    expected.action,
                    "{number:#x} on {arch}, {value:#x}: {expected:?}"
                );
            }
        }
    }
}

#[test]
fn dockers_profile_in_a_few_sentences() {
    let program = compile_for(&parsed(DOCKER), Arch::X86_64).unwrap().program;
    let on = |name: &str, arguments: [u64; 6]| {
        action(
            &program,
            Arch::X86_64,
            number(name, Arch::X86_64),
            arguments,
        )
    };
    assert_eq!(on("read", [0; 6]), Action::Allow);
    assert_eq!(on("keyctl", [0; 6]), Action::Errno(1));
    assert_eq!(on("clone3", [0; 6]), Action::Errno(38));
    assert_eq!(on("personality", [8, 0, 0, 0, 0, 0]), Action::Allow);
    assert_eq!(on("personality", [9, 0, 0, 0, 0, 0]), Action::Errno(1));
    assert_eq!(
        on("clone", [0x1000_0000, 0, 0, 0, 0, 0]),
        Action::Errno(1),
        "CLONE_NEWUSER"
    );
    assert_eq!(on("clone", [0x11, 0, 0, 0, 0, 0]), Action::Allow);
    assert_eq!(
        action(&program, Arch::X86_64, 467, [0; 6]),
        Action::Errno(38),
        "newer than the profile"
    );
    assert_eq!(
        action(&program, Arch::X86, number("socketcall", Arch::X86), [0; 6]),
        Action::Allow
    );
    assert_eq!(
        action(&program, Arch::Aarch64, 0, [0; 6]),
        Action::KillThread,
        "not an architecture of the profile"
    );
}

#[test]
fn precedence_is_that_of_libseccomp() {
    let rule = |errno: u16, conditions: &[(u8, &str, u64)]| {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(index, op, value)| json!({ "index": index, "op": op, "value": value }))
            .collect();
        json!({ "names": ["fcntl"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": conditions })
    };
    let answer = |rules: Value, arguments: [u64; 6]| {
        let profile = profile(&json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
        Ruleset::new(&profile, Arch::X86_64)
            .unwrap()
            .decide(Arch::X86_64.audit(), 72, arguments)
            .reason
    };
    let (one, two) = (
        rule(1, &[(0, "SCMP_CMP_EQ", 1)]),
        rule(2, &[(1, "SCMP_CMP_EQ", 1)]),
    );
    assert_eq!(
        answer(json!([one, two]), [1, 1, 0, 0, 0, 0]),
        Reason::Rule(1),
        "the higher argument first"
    );
    let (one, two) = (
        rule(1, &[(0, "SCMP_CMP_GT", 1)]),
        rule(2, &[(0, "SCMP_CMP_GT", 5)]),
    );
    assert_eq!(
        answer(json!([one, two]), [7, 0, 0, 0, 0, 0]),
        Reason::Rule(1),
        "the closer bound"
    );
    let (one, two) = (rule(1, &[(0, "SCMP_CMP_EQ", 1)]), rule(2, &[]));
    assert_eq!(
        answer(json!([one, two]), [1, 0, 0, 0, 0, 0]),
        Reason::Rule(1),
        "no conditions: wins"
    );
    let (one, two) = (rule(1, &[]), rule(2, &[]));
    assert_eq!(
        answer(json!([one, two]), [1, 0, 0, 0, 0, 0]),
        Reason::Rule(0),
        "the first without conditions"
    );
    let either = rule(
        1,
        &[
            (0, "SCMP_CMP_EQ", 1),
            (0, "SCMP_CMP_EQ", 2),
            (1, "SCMP_CMP_EQ", 3),
        ],
    );
    assert_eq!(
        answer(json!([either]), [0, 3, 0, 0, 0, 0]),
        Reason::Rule(0),
        "one argument twice: one is enough"
    );
}

#[test]
fn rules_that_contradict_are_refused() {
    let profile = profile(&json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            { "names": ["read"], "action": "SCMP_ACT_KILL", "args": [{ "index": 0, "op": "SCMP_CMP_EQ", "value": 1 }] },
            { "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "op": "SCMP_CMP_EQ", "value": 1 }] },
        ]
    }));
    let Err(Error::Conflict(conflict)) = compile_for(&profile, Arch::X86_64) else {
        panic!("no conflict")
    };
    assert_eq!((conflict.first, conflict.second), (0, 1));
    assert_eq!(
        conflict.to_string(),
        "/syscalls/1: read on SCMP_ARCH_X86_64 has SCMP_ACT_ERRNO(1) under conditions for which /syscalls/0 has SCMP_ACT_KILL_THREAD"
    );
}

#[test]
fn a_profile_without_rules_is_a_filter_too() {
    for name in Action::NAMES {
        for arch in Arch::ALL {
            let profile = Profile::new(Action::named(name).unwrap());
            let program = compile_for(&profile, arch).unwrap().program;
            verify(&program).unwrap();
            let first = if arch == Arch::X32 { 0x4000_0000 } else { 0 };
            assert_eq!(
                action(&program, arch, first, [0; 6]),
                profile.default_action
            );
        }
    }
}

#[test]
fn unknown_names_are_reported_and_say_nothing() {
    let value = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read", "sing"], "action": "SCMP_ACT_ERRNO" }] });
    let compiled = compile_for(&profile(&value), Arch::X86_64).unwrap();
    let names: Vec<_> = compiled
        .unknown
        .iter()
        .map(|unknown| (unknown.rule, unknown.name, unknown.text.as_str()))
        .collect();
    assert_eq!(names, [(0, 1, "sing")]);
}

#[test]
fn every_fault_is_named() {
    let value = json!({
        "defaultAction": "SCMP_ACT_SING",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_Z80"],
        "flags": ["SECCOMP_FILTER_FLAG_MAYBE"],
        "syscalls": [
            { "names": ["read", ""], "action": "SCMP_ACT_ALLOW", "errnoRet": 1 },
            { "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096, "args": [{ "index": 6, "op": "SCMP_CMP_EQ", "value": 0 }, {}] },
            { "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "op": "==", "value": -1 }] },
            7,
        ]
    });
    let invalid = Profile::from_value(&value).unwrap_err();
    let expected = "/defaultAction: unknown action \"SCMP_ACT_SING\"
/architectures/1: unknown architecture \"SCMP_ARCH_Z80\"
/flags/0: unknown flag \"SECCOMP_FILTER_FLAG_MAYBE\"
/syscalls/0/names/1: the name of a system call is empty
/syscalls/0/errnoRet: SCMP_ACT_ALLOW gives no errno: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take one
/syscalls/1/errnoRet: 4096 is more than 4095
/syscalls/1/args/0/index: a system call has arguments 0 to 5, not 6
/syscalls/1/args/1/index: is required
/syscalls/1/args/1/value: is required
/syscalls/1/args/1/op: is required
/syscalls/2/names: is required
/syscalls/2/args/0/value: should be a whole number that is not negative
/syscalls/2/args/0/op: unknown operator \"==\"
/syscalls/3: should be an object";
    assert_eq!(invalid.to_string(), expected);
}

#[test]
fn the_first_number_of_x32_is_its_own() {
    for architectures in [
        json!(["SCMP_ARCH_X32"]),
        json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    ] {
        for default in ["SCMP_ACT_ERRNO", "SCMP_ACT_LOG"] {
            for names in [json!(["read"]), json!(["read", "write", "close"])] {
                let value = json!({
                    "defaultAction": default,
                    "architectures": architectures,
                    "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }]
                });
                let program = compile_for(&profile(&value), Arch::X86_64).unwrap().program;
                assert_eq!(
                    action(&program, Arch::X32, 0x4000_0000, [0; 6]),
                    Action::Allow
                );
                assert_eq!(action(&program, Arch::X86_64, 0, [0; 6]), Action::Allow);
            }
        }
    }
}
