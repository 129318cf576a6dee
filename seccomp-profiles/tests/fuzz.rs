//! Nothing panics, whatever comes in: JSON at random and profiles with something changed, programs at random. What is compiled passes the
//! kernel's checks and decides as the rules do.
//!
//! `GARBOARD_FUZZ_SECONDS` is how long each of the two runs (a second, or ten minutes in `make test-all`), `GARBOARD_FUZZ_SEED` where it starts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use seccomp_profiles::compile::lay_out;
use seccomp_profiles::interpret::{Call, run};
use seccomp_profiles::profile::{Flag, Operator};
use seccomp_profiles::program::Instruction;
use seccomp_profiles::rules::Ruleset;
use seccomp_profiles::verify::verify;
use seccomp_profiles::{Action, Arch, Flags, Profile, Program, Syscall};
use serde_json::{Value, json};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// Runs a case with one seed after the other until the time is over.
fn for_a_while(mut case: impl FnMut(&mut Random)) {
    let number = |name: &str, otherwise| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse().ok())
            .unwrap_or(otherwise)
    };
    let end = Instant::now() + Duration::from_secs(number("GARBOARD_FUZZ_SECONDS", 1));
    let mut seed = number("GARBOARD_FUZZ_SEED", 0);
    while Instant::now() < end {
        for _ in 0..64 {
            case(&mut Random(seed));
            seed += 1;
        }
    }
    println!("seeds up to {seed}");
}

fn words() -> Vec<String> {
    let names = Syscall::all().map(|call| call.name().to_owned());
    let actions = Action::NAMES.map(str::to_owned);
    let operators = Operator::NAMES.map(str::to_owned);
    let architectures = Arch::ALL.map(|arch| arch.name().to_owned());
    let flags = Flag::ALL.map(|flag| flag.name().to_owned());
    let other = ["", "sing", "SCMP_ACT_", "\u{0}", "/run/agent.sock"].map(str::to_owned);
    // A word of each list comes as often as one of another.
    [
        names.collect(),
        actions.to_vec(),
        operators.to_vec(),
        architectures.to_vec(),
        flags.to_vec(),
        other.to_vec(),
    ]
    .map(|list: Vec<String>| list.iter().cycle().take(100).cloned().collect::<Vec<_>>())
    .concat()
}

/// Any JSON, with the keys and words of profiles in it.
fn value(random: &mut Random, words: &[String], depth: usize) -> Value {
    const KEYS: [&str; 16] = [
        "defaultAction",
        "defaultErrnoRet",
        "architectures",
        "flags",
        "listenerPath",
        "listenerMetadata",
        "syscalls",
        "names",
        "action",
        "errnoRet",
        "args",
        "index",
        "value",
        "valueTwo",
        "op",
        "comment",
    ];
    match random.below(if depth == 0 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => json!(random.next() & 1 == 0),
        2 => json!(random.next() >> random.below(64)),
        3 => json!(-(random.below(9) as i64)),
        4 => json!(random.next() as f64),
        5 => json!(random.one(words)),
        6 => (0..random.below(4))
            .map(|_| value(random, words, depth - 1))
            .collect(),
        _ => {
            let count = random.below(6);
            (0..count)
                .map(|_| {
                    (
                        random.one(&KEYS).to_owned(),
                        value(random, words, depth - 1),
                    )
                })
                .collect()
        }
    }
}

/// A profile that is right but for a few places.
fn nearly(random: &mut Random, words: &[String]) -> Value {
    let rule = |random: &mut Random| {
        let args: Vec<_> = (0..random.below(3))
            .map(|_| {
                json!({
                    "index": random.below(6), "value": random.next() >> random.below(64), "valueTwo": random.next() >> random.below(64),
                    "op": random.one(&Operator::NAMES)
                })
            })
            .collect();
        let names: Vec<_> = (0..random.below(9))
            .map(|_| random.one(words))
            .filter(|name| !name.is_empty())
            .collect();
        json!({ "names": names, "action": random.one(&Action::NAMES), "args": args })
    };
    let architectures: Vec<_> = (0..random.below(5))
        .map(|_| random.one(&Arch::ALL).name())
        .collect();
    let mut profile = json!({
        "defaultAction": random.one(&Action::NAMES),
        "architectures": architectures,
        "syscalls": (0..random.below(12)).map(|_| rule(random)).collect::<Vec<_>>()
    });
    for _ in 0..random.below(3) {
        let mut place = &mut profile;
        loop {
            let children = match place {
                Value::Object(object) => object.len(),
                Value::Array(array) => array.len(),
                _ => 0,
            };
            if children == 0 || random.below(6) == 0 {
                break;
            }
            let child = random.below(children);
            place = match place {
                Value::Object(object) => object.values_mut().nth(child).unwrap(),
                Value::Array(array) => &mut array[child],
                _ => unreachable!("has no children"),
            };
        }
        *place = value(random, words, 2);
    }
    profile
}

#[test]
fn any_json_is_refused_or_compiled() {
    let words = words();
    let (mut valid, mut all) = (0, 0);
    for_a_while(|random| {
        let value = if random.below(4) == 0 {
            value(random, &words, 4)
        } else {
            nearly(random, &words)
        };
        all += 1;
        let profile = match Profile::from_value(&value) {
            Ok(profile) => profile,
            Err(invalid) => {
                assert!(!invalid.faults.is_empty());
                // What is wrong is there, or should be.
                for fault in &invalid.faults {
                    let above = fault
                        .pointer
                        .rsplit_once('/')
                        .map_or("", |(above, _)| above);
                    assert!(
                        value
                            .pointer(&fault.pointer)
                            .or(value.pointer(above))
                            .is_some(),
                        "{fault} in {value}"
                    );
                }
                return;
            }
        };
        valid += 1;
        let _ = Flags::of(&profile); // whatever it asks for
        let native = random.one(&Arch::ALL);
        let Ok(ruleset) = Ruleset::new(&profile, native) else {
            return;
        };
        let Ok(program) = lay_out(&ruleset) else {
            return;
        };
        verify(&program).unwrap();
        for _ in 0..200 {
            let rules = &ruleset.architectures[random.below(ruleset.architectures.len())];
            let number = match rules.calls.len() {
                count @ 1.. if random.below(4) > 0 => rules.calls[random.below(count)]
                    .number
                    .wrapping_add(random.below(3) as u32)
                    .wrapping_sub(1),
                _ => random.next() as u32,
            };
            let arguments = [0; 6].map(|_: u64| random.next() >> random.below(64));
            let call = Call {
                number,
                arch: rules.arch.audit(),
                instruction_pointer: 0,
                arguments,
            };
            let said =
                Action::from_return(run(&program, &call, rules.arch.big_endian()).unwrap().value);
            let expected = ruleset.decide(call.arch, number, arguments);
            assert_eq!(
                said, expected.action,
                "{number:#x} {arguments:x?} on {}: {expected:?} in {value}",
                rules.arch
            );
        }
    });
    println!("{valid} of {all} valid");
    assert!(valid * 10 > all, "{valid} of {all} valid");
}

/// An instruction at random, often one the kernel knows.
fn instruction(random: &mut Random) -> Instruction {
    const CODES: [u16; 46] = [
        0x20, 0x80, 0x81, 0x00, 0x01, 0x60, 0x61, 0x02, 0x03, 0x06, 0x16, 0x07, 0x87, 0x04, 0x14,
        0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0xa4, 0x84, 0x0c, 0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x6c,
        0x7c, 0xac, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d, 0x94, 0x9c, 0x30, 0x28,
        0x40,
    ];
    let code = if random.below(20) == 0 {
        random.next() as u16
    } else {
        random.one(&CODES)
    };
    let k = match random.below(4) {
        0 => random.below(5) as u32,
        1 => 4 * random.below(18) as u32,
        2 => random.below(40) as u32,
        _ => random.next() as u32,
    };
    Instruction {
        code,
        jt: random.below(4) as u8,
        jf: random.below(4) as u8,
        k,
    }
}

#[test]
fn any_program_ends() {
    let (mut taken, mut all) = (0, 0);
    for_a_while(|random| {
        let length = random.below(12);
        let mut program = Program {
            instructions: (0..length).map(|_| instruction(random)).collect(),
        };
        if random.below(2) == 0 {
            program.instructions.push(Instruction {
                code: 0x06,
                jt: 0,
                jf: 0,
                k: random.next() as u32,
            });
        }
        let call = Call {
            number: random.next() as u32,
            arch: random.next() as u32,
            instruction_pointer: random.next(),
            arguments: [random.next(); 6],
        };
        let ran = run(&program, &call, random.below(2) == 0);
        all += 1;
        if verify(&program).is_ok() {
            taken += 1;
            ran.unwrap();
        }
        let _ = program.to_string(); // whatever is in it
        assert_eq!(Program::from_bytes(&program.to_bytes()), Some(program));
    });
    println!("{taken} of {all} would be taken");
    assert!(taken * 100 > all, "{taken} of {all} would be taken");
}
