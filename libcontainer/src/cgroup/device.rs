//! The device policy, assembled: an eBPF program for cgroup v2, lines for `devices.allow` and `devices.deny` on v1. Pure.
//!
//! A rule speaks about the accesses (read, write, mknod) of the devices it matches; the last rule that speaks about an access decides it, and
//! what no rule speaks about is denied. After the rules of `config.json` comes the default allow-list, which they therefore cannot deny, as in
//! every other runtime. A rule of type `a` with numbers or fewer accesses means just those, for both kinds of device; v1 kernels and
//! runc take it for all devices there are.

use crate::config::{DeviceKind, DeviceRule};

/// What every container may do (runc's `specconv.AllowedDevices`): make any node, and use the devices that every `/dev` has.
const DEFAULT_ALLOW: &[DeviceRule] = &[
    allow(DeviceKind::Char, None, None, MKNOD),
    allow(DeviceKind::Block, None, None, MKNOD),
    allow(DeviceKind::Char, Some(1), Some(3), ALL), // null
    allow(DeviceKind::Char, Some(1), Some(8), ALL), // random
    allow(DeviceKind::Char, Some(1), Some(7), ALL), // full
    allow(DeviceKind::Char, Some(5), Some(0), ALL), // tty
    allow(DeviceKind::Char, Some(1), Some(5), ALL), // zero
    allow(DeviceKind::Char, Some(1), Some(9), ALL), // urandom
    allow(DeviceKind::Char, Some(136), None, ALL),  // pts/*
    allow(DeviceKind::Char, Some(5), Some(2), ALL), // ptmx
    // net/tun: its removal broke VPNs (runc#4555).
    allow(DeviceKind::Char, Some(10), Some(200), ALL),
];

// BPF_DEVCG_ACC_* and BPF_DEVCG_DEV_* (linux/bpf.h).
pub(super) const MKNOD: u32 = 1;
pub(super) const READ: u32 = 2;
pub(super) const WRITE: u32 = 4;
pub(super) const ALL: u32 = MKNOD | READ | WRITE;
const DEV_BLOCK: i32 = 1;
const DEV_CHAR: i32 = 2;

const fn allow(
    kind: DeviceKind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
) -> DeviceRule {
    DeviceRule {
        allow: true,
        kind,
        major,
        minor,
        read: access & READ != 0,
        write: access & WRITE != 0,
        mknod: access & MKNOD != 0,
    }
}

/// The accesses that the rule speaks about.
pub(super) fn access(rule: &DeviceRule) -> u32 {
    (u32::from(rule.mknod) * MKNOD)
        | (u32::from(rule.read) * READ)
        | (u32::from(rule.write) * WRITE)
}

/// What every container may do.
pub(super) fn default_allow() -> &'static [DeviceRule] {
    DEFAULT_ALLOW
}

/// Whether the rule speaks about every access of every device.
fn is_total(rule: &DeviceRule) -> bool {
    rule.kind == DeviceKind::All
        && rule.major.is_none()
        && rule.minor.is_none()
        && access(rule) == ALL
}

/// One instruction, as `struct bpf_insn` (linux/bpf.h) lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    pub code: u8,
    /// Destination in the low, source in the high four bits.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

/// The opcodes used, spelt out of linux/bpf_common.h and linux/bpf.h.
mod opcode {
    /// dst = *(u32 *)(src + offset)
    pub const LOAD_U32: u8 = 0x61;
    /// 32-bit dst = immediate
    pub const MOVE: u8 = 0xb4;
    /// 32-bit dst = src
    pub const MOVE_REGISTER: u8 = 0xbc;
    /// 32-bit dst &= immediate
    pub const AND: u8 = 0x54;
    /// 32-bit dst >>= immediate
    pub const SHIFT_RIGHT: u8 = 0x74;
    pub const JUMP: u8 = 0x05;
    /// Compare the lower 32 bits with the immediate.
    pub const JUMP_IF_EQUAL: u8 = 0x16;
    pub const JUMP_IF_NOT_EQUAL: u8 = 0x56;
    /// Jump when any bit of the immediate is set in the lower 32 bits.
    pub const JUMP_IF_ANY_SET: u8 = 0x46;
    pub const EXIT: u8 = 0x95;
}

// Registers. The context comes in r1, the verdict goes out in r0.
const VERDICT: u8 = 0;
const CONTEXT: u8 = 1;
/// Kind of device.
const KIND: u8 = 2;
/// The accesses asked for that no rule has allowed yet.
const WANTED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// Offsets in `struct bpf_cgroup_dev_ctx`.
const CONTEXT_ACCESS_TYPE: i16 = 0;
const CONTEXT_MAJOR: i16 = 4;
const CONTEXT_MINOR: i16 = 8;

/// The program for BPF_PROG_TYPE_CGROUP_DEVICE: 1 lets the access happen, 0 is EPERM.
///
/// The rules are walked from the last to the first. An allow rule takes its accesses off those still wanted, and lets pass when none is
/// left; a deny rule that speaks about one still wanted refuses. Each rule ends in its own verdict, so no jump is longer than a rule, or a run of rules ([`add_run`]).
pub fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut code = vec![
        load(WANTED, CONTEXT_ACCESS_TYPE),
        Instruction {
            code: opcode::MOVE_REGISTER,
            registers: KIND | (WANTED << 4),
            offset: 0,
            immediate: 0,
        },
        plain(opcode::AND, KIND, 0xffff),
        plain(opcode::SHIFT_RIGHT, WANTED, 16),
        load(MAJOR, CONTEXT_MAJOR),
        load(MINOR, CONTEXT_MINOR),
    ];
    let mut rules = rules.iter().chain(DEFAULT_ALLOW).rev().peekable();
    while let Some(rule) = rules.next() {
        if is_total(rule) {
            // Decides everything before it, and the verifier refuses code that cannot be reached.
            code.extend(verdict(rule.allow));
            return code;
        }
        if !allows_all(rule) {
            add_rule(&mut code, rule);
            continue;
        }
        let mut run = vec![rule];
        while let Some(rule) = rules.next_if(|rule| allows_all(rule) && run.len() < RUN_MAX) {
            run.push(rule);
        }
        add_run(&mut code, &run);
    }
    code.extend(verdict(false));
    code
}

/// So many rules that no jump over their code is too long for its 16 bits.
const RUN_MAX: usize = 1000;

/// Whether the rule lets every access of some devices pass.
fn allows_all(rule: &DeviceRule) -> bool {
    rule.allow && access(rule) == ALL && !is_total(rule)
}

/// Rules in a row that let all accesses pass may be asked in any order: by kind, then by major number, all with one way out. The
/// verifier's time, which is a tenth of a start, goes with the number of branches.
fn add_run(code: &mut Vec<Instruction>, run: &[&DeviceRule]) {
    let mut tests = Vec::new();
    for (kind, number) in [
        (DeviceKind::All, None),
        (DeviceKind::Char, Some(DEV_CHAR)),
        (DeviceKind::Block, Some(DEV_BLOCK)),
    ] {
        let rules: Vec<_> = run.iter().filter(|rule| rule.kind == kind).collect();
        if rules.is_empty() {
            continue;
        }
        let of_kind = numbers(&rules);
        if let Some(number) = number {
            tests.push(jump(opcode::JUMP_IF_NOT_EQUAL, KIND, number, of_kind.len()));
        }
        tests.extend(of_kind);
    }
    let [set, exit] = verdict(true);
    tests.push(jump(opcode::JUMP, 0, 0, 2));
    let way_out = tests.len();
    for (place, test) in tests.iter_mut().enumerate() {
        if test.offset == WAY_OUT {
            test.offset = i16::try_from(way_out - place - 1).unwrap_or(i16::MAX);
        }
    }
    code.extend(tests);
    code.extend([set, exit]);
}

/// The offset of a jump whose target is not placed yet.
const WAY_OUT: i16 = -1;

/// Tests of the numbers of devices of one kind.
fn numbers(rules: &[&&DeviceRule]) -> Vec<Instruction> {
    let pass = |code, register, value: u32| Instruction {
        code,
        registers: register,
        offset: WAY_OUT,
        immediate: value.cast_signed(),
    };
    if rules
        .iter()
        .any(|rule| rule.major.is_none() && rule.minor.is_none())
    {
        // What came after it could not be reached, which the verifier refuses.
        return vec![pass(opcode::JUMP, 0, 0)];
    }
    let mut tests = Vec::new();
    let mut majors: Vec<u32> = rules.iter().filter_map(|rule| rule.major).collect();
    majors.sort_unstable();
    majors.dedup();
    for major in majors {
        let of_major = rules.iter().filter(|rule| rule.major == Some(major));
        let minors: Option<Vec<u32>> = of_major.map(|rule| rule.minor).collect();
        match minors {
            // One of them takes every minor number.
            None => tests.push(pass(opcode::JUMP_IF_EQUAL, MAJOR, major)),
            Some(minors) => {
                let over = minors.len();
                tests.push(jump(
                    opcode::JUMP_IF_NOT_EQUAL,
                    MAJOR,
                    major.cast_signed(),
                    over,
                ));
                tests.extend(
                    minors
                        .into_iter()
                        .map(|minor| pass(opcode::JUMP_IF_EQUAL, MINOR, minor)),
                );
            }
        }
    }
    let any_major = rules.iter().filter(|rule| rule.major.is_none());
    tests.extend(
        any_major
            .filter_map(|rule| rule.minor)
            .map(|minor| pass(opcode::JUMP_IF_EQUAL, MINOR, minor)),
    );
    tests
}

fn add_rule(code: &mut Vec<Instruction>, rule: &DeviceRule) {
    let access = access(rule);
    if access == 0 {
        return;
    }
    let mut conditions = Vec::with_capacity(3);
    match rule.kind {
        DeviceKind::All => {}
        DeviceKind::Char => conditions.push((KIND, DEV_CHAR)),
        DeviceKind::Block => conditions.push((KIND, DEV_BLOCK)),
    }
    conditions.extend(rule.major.map(|major| (MAJOR, major.cast_signed())));
    conditions.extend(rule.minor.map(|minor| (MINOR, minor.cast_signed())));
    let body = body(rule.allow, access, conditions.is_empty());
    let mut to_the_end = conditions.len() + body.len();
    for (register, value) in conditions {
        to_the_end -= 1;
        code.push(jump(opcode::JUMP_IF_NOT_EQUAL, register, value, to_the_end));
    }
    code.extend(body);
}

/// What happens when the device matches.
fn body(allow: bool, access: u32, matches_every_device: bool) -> Vec<Instruction> {
    let [set, exit] = verdict(allow);
    // `access` has three bits.
    let (mask, rest) = (access.cast_signed(), (ALL & !access).cast_signed());
    match (allow, access) {
        // With a condition before it, the code behind it stays reachable; without one the rule is total and never comes here.
        (_, ALL) if !matches_every_device => vec![set, exit],
        (true, _) => vec![
            plain(opcode::AND, WANTED, rest),
            jump(opcode::JUMP_IF_NOT_EQUAL, WANTED, 0, 2),
            set,
            exit,
        ],
        (false, _) => vec![
            jump(opcode::JUMP_IF_ANY_SET, WANTED, mask, 1),
            jump(opcode::JUMP, 0, 0, 2),
            set,
            exit,
        ],
    }
}

fn verdict(allow: bool) -> [Instruction; 2] {
    [
        plain(opcode::MOVE, VERDICT, i32::from(allow)),
        plain(opcode::EXIT, 0, 0),
    ]
}

fn load(register: u8, offset: i16) -> Instruction {
    Instruction {
        code: opcode::LOAD_U32,
        registers: register | (CONTEXT << 4),
        offset,
        immediate: 0,
    }
}

fn plain(code: u8, register: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: register,
        offset: 0,
        immediate,
    }
}

fn jump(code: u8, register: u8, immediate: i32, over: usize) -> Instruction {
    // At most the six instructions of one rule.
    Instruction {
        code,
        registers: register,
        offset: i16::try_from(over).unwrap_or(i16::MAX),
        immediate,
    }
}

/// One write to a file of the v1 devices controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1Write {
    /// `devices.allow` or `devices.deny`.
    pub file: &'static str,
    pub value: String,
}

/// The writes that give a v1 cgroup the same policy.
pub fn v1_writes(rules: &[DeviceRule]) -> Vec<V1Write> {
    // Everything before the last total rule is without effect.
    let start = rules.iter().rposition(is_total);
    let base = start.is_some_and(|index| rules[index].allow);
    let rest = start.map_or(rules, |index| &rules[index + 1..]);
    let mut writes = vec![V1Write {
        file: file(base),
        value: "a".to_owned(),
    }];
    for rule in rest
        .iter()
        .chain(DEFAULT_ALLOW)
        .filter(|rule| access(rule) != 0)
    {
        let kinds: &[char] = match rule.kind {
            DeviceKind::All => &['c', 'b'],
            DeviceKind::Char => &['c'],
            DeviceKind::Block => &['b'],
        };
        writes.extend(kinds.iter().map(|kind| V1Write {
            file: file(rule.allow),
            value: format!(
                "{kind} {}:{} {}",
                number(rule.major),
                number(rule.minor),
                letters(rule)
            ),
        }));
    }
    writes
}

fn file(allow: bool) -> &'static str {
    if allow {
        "devices.allow"
    } else {
        "devices.deny"
    }
}

fn number(number: Option<u32>) -> String {
    number.map_or_else(|| "*".to_owned(), |number| number.to_string())
}

fn letters(rule: &DeviceRule) -> String {
    [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')]
        .iter()
        .filter(|(given, _)| *given)
        .map(|(_, letter)| letter)
        .collect()
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
