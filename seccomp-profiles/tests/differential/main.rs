//! The same verdicts as runc with libseccomp: for the engines' profiles and for random ones, for every number and many arguments.
//!
//! Where the two differ, what the profile says in so many words decides who is right: [`said`] collects the actions of all rules that hold,
//! without any order. A verdict outside of them is a bug of whoever gives it; ours has none, which is asserted. What is left is explained in
//! docs/differences.md, and counted.
//!
//! `GARBOARD_SECCOMP_PROFILES` is how many random profiles are made (2,000 for the long run), `GARBOARD_SECCOMP_SEED` where they start.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod random;
mod runc;
#[allow(dead_code, reason = "shared with the example figures")]
mod sys;

use std::collections::BTreeMap;

use random::{Random, Style};
use runc::Runc;
use seccomp_profiles::compile::compile_for;
use seccomp_profiles::interpret::{Call, run};
use seccomp_profiles::profile::{Condition, Name};
use seccomp_profiles::verify::verify;
use seccomp_profiles::{Action, Arch, Profile, Syscall};
use sys::Refusal;

/// The architectures that occur together, the native one first. libseccomp 2.5 knows no loongarch64.
const FAMILIES: [&[Arch]; 12] = [
    &[Arch::X86_64, Arch::X86, Arch::X32],
    &[Arch::X86_64],
    &[Arch::X86_64, Arch::X86],
    &[Arch::Aarch64, Arch::Arm],
    &[Arch::Riscv64],
    &[Arch::Ppc64le],
    &[Arch::Ppc64, Arch::Ppc],
    &[Arch::S390x, Arch::S390],
    &[Arch::Mips64, Arch::Mips64n32, Arch::Mips],
    &[Arch::Mipsel64, Arch::Mipsel64n32, Arch::Mipsel],
    &[Arch::Ppc],
    &[Arch::X86_64, Arch::X32],
];

#[derive(Default, Debug)]
struct Tally {
    profiles: usize,
    calls: u64,
    refused_by_both: usize,
    /// libseccomp refuses a profile we take, and the other way round.
    refused_by_them: usize,
    refused_by_us: usize,
    /// libseccomp does not come to an end, or crashes.
    lost_by_them: usize,
    /// Verdicts of libseccomp that no rule gives.
    theirs_unsaid: u64,
    /// Both verdicts are said by some rule: another order.
    order: u64,
    examples: BTreeMap<String, Vec<String>>,
}

impl Tally {
    fn example(&mut self, of: impl Into<String>, text: impl FnOnce() -> String) {
        let examples = self.examples.entry(of.into()).or_default();
        if examples.len() < 3 {
            examples.push(text());
        }
    }
}

fn environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(otherwise)
}

/// Names with other numbers in our tables, which are from a newer kernel: x32 has map_shadow_stack since Linux 6.7 (if only as a number), and
/// ARM has sync_file_range2 as another name of arm_sync_file_range.
const NEWER: [&str; 2] = ["map_shadow_stack", "sync_file_range2"];

/// Names both know, with the same numbers everywhere. Calls this machine lacks libseccomp gives negative numbers, some of them twice: it takes
/// one such call for the other.
fn names() -> Vec<&'static str> {
    let numbers: Vec<_> = Syscall::all()
        .filter_map(|call| sys::number(call.name()))
        .collect();
    let once =
        |number: &i32| *number >= 0 || numbers.iter().filter(|known| *known == number).count() == 1;
    let known = |name: &&str| sys::number(name).filter(once).is_some();
    Syscall::all()
        .map(Syscall::name)
        .filter(known)
        .filter(|name| !NEWER.contains(name))
        .collect()
}

#[test]
fn tables_agree() {
    for call in Syscall::all().filter(|call| sys::number(call.name()).is_some()) {
        for arch in FAMILIES.into_iter().flatten() {
            let theirs = sys::number_on(*arch, call.name()).filter(|number| *number >= 0);
            // Numbers of calls that also come folded they do not tell.
            let folded = ["socketcall", "ipc"]
                .map(|into| Syscall::named(into).and_then(|into| into.number(*arch)));
            let folded = folded
                .into_iter()
                .flatten()
                .any(|into| selector(call.name(), *arch, into).is_some());
            let ours = call.number(*arch).filter(|_| !folded).map(u32::cast_signed);
            assert!(
                ours == theirs || NEWER.contains(&call.name()),
                "{call:?} on {arch}: ours {ours:?}, libseccomp's {theirs:?}"
            );
        }
    }
}

fn numbers(arch: Arch) -> Vec<u32> {
    let edges = [
        0x3fff_ffff,
        0x4000_0000,
        0x7fff_ffff,
        0x8000_0000,
        0x8000_0001,
        0xbfff_ffff,
        0xc000_0000,
        0xc000_0001,
        u32::MAX - 1,
        u32::MAX,
    ];
    let base = match arch {
        Arch::X32 => 0x4000_0000,
        Arch::Mips | Arch::Mipsel => 4000,
        Arch::Mips64 | Arch::Mipsel64 => 5000,
        Arch::Mips64n32 | Arch::Mipsel64n32 => 6000,
        Arch::Arm => 0x000f_0000,
        _ => 0,
    };
    (0..=1100)
        .chain(if base == 0 { 0..0 } else { base..base + 620 })
        .chain(edges)
        .collect()
}

/// The actions of all rules that hold for a call, in no order; the default one if none does.
fn said(profile: &Profile, arch: Arch, call: &Call) -> Vec<Action> {
    let mut actions = Vec::new();
    // A rule with the default action says nothing: runc leaves it out.
    for rule in profile
        .rules
        .iter()
        .filter(|rule| rule.action != profile.default_action)
    {
        let holds = |condition: &Condition| {
            condition.holds(
                call.arguments[usize::from(condition.argument)],
                arch.width(),
            )
        };
        let joined = |skip: Option<u8>| {
            let mut conditions = rule
                .conditions
                .iter()
                .filter(|condition| Some(condition.argument) != skip);
            match rule.alternatives() {
                true => conditions.clone().count() < rule.conditions.len() || conditions.any(holds),
                false => conditions.all(holds),
            }
        };
        for name in &rule.names {
            let Some(known) = name.call() else {
                continue;
            };
            let direct = known.number(arch) == Some(call.number) && joined(None);
            let folded = selector(name, arch, call.number) == Some(low(call.arguments[0], arch))
                && joined(Some(0));
            if direct || folded {
                actions.push(rule.action);
            }
        }
    }
    if actions.is_empty() {
        actions.push(profile.default_action);
    }
    actions
}

fn low(argument: u64, arch: Arch) -> u64 {
    if arch.width() == seccomp_profiles::arch::Width::Bits32 {
        argument & 0xffff_ffff
    } else {
        argument
    }
}

/// The call is one that others are folded into, or comes folded itself on some architectures.
fn folds(name: &str) -> bool {
    ["socketcall", "ipc"].iter().any(|into| {
        if *into == name {
            return true;
        }
        let into = Syscall::named(into).and_then(|into| into.number(Arch::X86));
        into.is_some_and(|into| selector(name, Arch::X86, into).is_some())
    })
}

/// socketcall(2) and ipc(2).
fn selector(name: &str, arch: Arch, number: u32) -> Option<u64> {
    const SOCKET: [&str; 21] = [
        "",
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const IPC: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    let is = |into: &str| Syscall::named(into).and_then(|call| call.number(arch)) == Some(number);
    // Architectures that have both numbers in the tables but do not fold are not: mips64 and ARM's old ABI have none.
    let folds = is("socketcall") || is("ipc");
    folds.then_some(())?;
    let socket = SOCKET
        .iter()
        .position(|known| *known == name)
        .filter(|at| *at > 0 && is("socketcall"))
        .map(|at| at as u64);
    socket.or_else(|| {
        IPC.iter()
            .find(|(known, _)| *known == name && is("ipc"))
            .map(|(_, selector)| *selector)
    })
}

fn compare(profile: &Profile, architectures: &[Arch], random: &mut Random, tally: &mut Tally) {
    tally.profiles += 1;
    let (ours, theirs) = (
        compile_for(profile, architectures[0]),
        Runc::new(profile, architectures),
    );
    let (ours, theirs) = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => (ours.program, theirs),
        (ours, Err(Refusal::Lost)) => {
            if let Ok(ours) = ours {
                verify(&ours.program).unwrap();
            }
            tally.lost_by_them += 1;
            return tally.example("lost by libseccomp", || format!("{profile:?}"));
        }
        (Err(_), Err(_)) => return tally.refused_by_both += 1,
        (Ok(_), Err(_)) => {
            tally.refused_by_them += 1;
            return tally.example("refused by libseccomp", || format!("{profile:?}"));
        }
        (Err(error), Ok(_)) => {
            tally.refused_by_us += 1;
            return tally.example("refused by us", || format!("{error}: {profile:?}"));
        }
    };
    verify(&ours).unwrap();
    if architectures[0] == Arch::X86_64 && tally.profiles.is_multiple_of(4) {
        assert!(sys::kernel_takes(&ours), "{profile:?}");
    }
    for arch in architectures {
        for number in numbers(*arch) {
            // Bit 30 decides which of the two it is.
            let arch = &match (arch, number & 0x4000_0000 != 0) {
                (Arch::X86_64, true) => Arch::X32,
                (Arch::X32, false) => Arch::X86_64,
                _ => *arch,
            };
            // What the rules for this number test: the arguments to try.
            let near: Vec<&[Condition]> = profile
                .rules
                .iter()
                .filter(|rule| !rule.conditions.is_empty())
                .filter(|rule| {
                    let is = |name: &Name| {
                        name.call().and_then(|call| call.number(*arch)) == Some(number)
                    };
                    rule.names
                        .iter()
                        .any(|name| is(name) || selector(name, *arch, number).is_some())
                })
                .map(|rule| rule.conditions.as_slice())
                .collect();
            let folded: Vec<u64> = profile
                .rules
                .iter()
                .flat_map(|rule| &rule.names)
                .filter_map(|name| selector(name, *arch, number))
                .collect();
            for round in 0..(64 * near.len()).max(1) {
                let mut arguments = random.arguments(near.get(round / 64).copied().unwrap_or(&[]));
                if !folded.is_empty() && random.chance(80) {
                    arguments[0] = random.one(&folded);
                }
                let call = Call {
                    number,
                    arch: arch.audit(),
                    instruction_pointer: random.next(),
                    arguments,
                };
                judge(profile, *arch, &call, &ours, &theirs, tally);
            }
        }
    }
    let foreign = Call {
        number: 1,
        arch: 0x1234,
        instruction_pointer: 0,
        arguments: [0; 6],
    };
    assert_eq!(
        Action::from_return(
            run(&ours, &foreign, architectures[0].big_endian())
                .unwrap()
                .value
        ),
        theirs.decide(&foreign)
    );
}

fn judge(
    profile: &Profile,
    arch: Arch,
    call: &Call,
    ours: &seccomp_profiles::Program,
    theirs: &Runc,
    tally: &mut Tally,
) {
    tally.calls += 1;
    let ours = Action::from_return(run(ours, call, arch.big_endian()).unwrap().value);
    let theirs = theirs.decide(call);
    if ours == theirs {
        return;
    }
    let said = said(profile, arch, call);
    let text = || {
        let rules: Vec<_> = profile
            .rules
            .iter()
            .filter(|rule| {
                rule.names.iter().any(|name| {
                    name.call().and_then(|known| known.number(arch)) == Some(call.number)
                        || selector(name, arch, call.number).is_some()
                })
            })
            .map(|rule| {
                let conditions: Vec<_> = rule.conditions.iter().map(ToString::to_string).collect();
                format!("{} if {}", rule.action, conditions.join(" and "))
            })
            .collect();
        format!(
            "{arch} {} {:#x?}: ours {ours}, libseccomp {theirs}; {rules:#?}",
            call.number, call.arguments
        )
    };
    assert!(said.contains(&ours), "no rule says so: {}", text());
    if said.contains(&theirs) {
        tally.order += 1;
        tally.example(format!("order {arch}"), text);
    } else {
        tally.theirs_unsaid += 1;
        tally.example(format!("unsaid {arch}"), text);
    }
}

#[test]
fn engines_profiles() {
    let mut tally = Tally::default();
    for text in [
        include_str!("../profiles/docker.json"),
        include_str!("../profiles/podman.json"),
    ] {
        let profile = Profile::from_value(&serde_json::from_str(text).unwrap()).unwrap();
        compare(&profile, FAMILIES[0], &mut Random(1), &mut tally);
        assert!(sys::kernel_takes(
            &compile_for(&profile, Arch::X86_64).unwrap().program
        ));
        for architectures in FAMILIES {
            let profile = Profile {
                architectures: architectures.to_vec(),
                ..profile.clone()
            };
            compare(&profile, architectures, &mut Random(2), &mut tally);
        }
    }
    println!("{tally:#?}");
    assert_eq!(
        (
            tally.refused_by_both,
            tally.refused_by_them + tally.lost_by_them,
            tally.refused_by_us
        ),
        (0, 0, 0)
    );
    assert_eq!((tally.order, tally.theirs_unsaid), (0, 0));
}

#[test]
fn random_profiles() {
    let count = environment("GARBOARD_SECCOMP_PROFILES", 200);
    let first = environment("GARBOARD_SECCOMP_SEED", 0);
    let names = names();
    for style in [Style::Plain, Style::Ordered, Style::Wild] {
        let mut tally = Tally::default();
        for seed in first..first + count.div_ceil(3) {
            let mut random = Random(seed);
            let architectures = FAMILIES[seed as usize % FAMILIES.len()];
            let profile = random.profile(&names, architectures, style);
            compare(&profile, architectures, &mut random, &mut tally);
        }
        println!("{style:?}: {tally:#?}");
        assert_eq!(tally.refused_by_us, 0, "{style:?}");
        if style == Style::Plain {
            let lost = tally.refused_by_them + tally.lost_by_them;
            assert_eq!((lost, tally.order, tally.theirs_unsaid), (0, 0, 0));
        }
    }
}
