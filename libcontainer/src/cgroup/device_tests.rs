//! The program is run by a small interpreter and compared with the rules read literally; the kernel's verifier takes the real ones in
//! `tests/cgroup.rs`.

use super::*;

/// Runs `program` on an access. Knows the instructions that the assembler emits and no others.
fn run(program: &[Instruction], kind: i32, access: u32, major: u32, minor: u32) -> bool {
    let mut registers = [0u64; 11];
    let mut at = 0usize;
    for _ in 0..=program.len() {
        let Instruction {
            code,
            registers: named,
            offset,
            immediate,
        } = program[at];
        let (destination, source) = (usize::from(named & 15), usize::from(named >> 4));
        at += 1;
        let jump = usize::try_from(offset).unwrap();
        let low = u32::try_from(registers[destination] & 0xffff_ffff).unwrap();
        match code {
            opcode::LOAD_U32 => {
                registers[destination] = u64::from(match offset {
                    0 => kind.cast_unsigned() | (access << 16),
                    4 => major,
                    8 => minor,
                    _ => panic!("offset {offset}"),
                })
            }
            opcode::MOVE => registers[destination] = u64::from(immediate.cast_unsigned()),
            opcode::MOVE_REGISTER => registers[destination] = registers[source] & 0xffff_ffff,
            opcode::AND => registers[destination] = u64::from(low & immediate.cast_unsigned()),
            opcode::SHIFT_RIGHT => registers[destination] = u64::from(low >> immediate),
            opcode::JUMP => at += jump,
            opcode::JUMP_IF_EQUAL if low == immediate.cast_unsigned() => at += jump,
            opcode::JUMP_IF_NOT_EQUAL if low != immediate.cast_unsigned() => at += jump,
            opcode::JUMP_IF_ANY_SET if low & immediate.cast_unsigned() != 0 => at += jump,
            opcode::JUMP_IF_EQUAL | opcode::JUMP_IF_NOT_EQUAL | opcode::JUMP_IF_ANY_SET => {}
            opcode::EXIT => return registers[0] == 1,
            other => panic!("instruction {other:#x}"),
        }
    }
    panic!("no exit");
}

/// The rules read literally: for each access the last rule that speaks about it.
fn literal(rules: &[DeviceRule], kind: i32, wanted: u32, major: u32, minor: u32) -> bool {
    [MKNOD, READ, WRITE]
        .into_iter()
        .filter(|bit| wanted & bit != 0)
        .all(|bit| {
            let speaks = |rule: &&DeviceRule| {
                let same_kind = match rule.kind {
                    DeviceKind::All => true,
                    DeviceKind::Char => kind == DEV_CHAR,
                    DeviceKind::Block => kind == DEV_BLOCK,
                };
                same_kind
                    && rule.major.is_none_or(|m| m == major)
                    && rule.minor.is_none_or(|m| m == minor)
                    && access(rule) & bit != 0
            };
            rules
                .iter()
                .chain(DEFAULT_ALLOW)
                .rev()
                .find(speaks)
                .is_some_and(|rule| rule.allow)
        })
}

fn rule(
    allowed: bool,
    kind: DeviceKind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
) -> DeviceRule {
    DeviceRule {
        allow: allowed,
        ..allow(kind, major, minor, access)
    }
}

const DENY_ALL: DeviceRule = DeviceRule {
    allow: false,
    ..allow(DeviceKind::All, None, None, ALL)
};

#[test]
fn the_default_bundle_gets_the_default_devices_and_no_disk() {
    let program = program(&[DENY_ALL]);
    for (major, minor) in [
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (5, 0),
        (5, 2),
        (10, 200),
        (136, 0),
        (136, 77),
    ] {
        assert!(
            run(&program, DEV_CHAR, READ | WRITE, major, minor),
            "{major}:{minor}"
        );
    }
    assert!(run(&program, DEV_BLOCK, MKNOD, 8, 0));
    assert!(!run(&program, DEV_BLOCK, READ, 8, 0));
    assert!(!run(&program, DEV_CHAR, READ, 1, 1), "mem");
    assert!(!run(&program, DEV_CHAR, READ | WRITE, 10, 229), "fuse");
    assert!(!run(&program, DEV_BLOCK, MKNOD | WRITE, 8, 0));
    assert!(program.len() < 80, "{} instructions", program.len());
}

#[test]
fn without_rules_the_default_is_denial() {
    assert_eq!(program(&[]).len(), program(&[DENY_ALL]).len());
    assert!(!run(&program(&[]), DEV_BLOCK, READ, 8, 0));
}

#[test]
fn later_rules_override_earlier_ones_access_by_access() {
    let fuse = |allowed, access| rule(allowed, DeviceKind::Char, Some(10), Some(229), access);
    let split = program(&[DENY_ALL, fuse(true, READ), fuse(true, WRITE)]);
    assert!(
        run(&split, DEV_CHAR, READ | WRITE, 10, 229),
        "two rules add up"
    );
    let taken_back = program(&[DENY_ALL, fuse(true, ALL), fuse(false, WRITE)]);
    assert!(run(&taken_back, DEV_CHAR, READ, 10, 229));
    assert!(!run(&taken_back, DEV_CHAR, READ | WRITE, 10, 229));
    let reset = program(&[fuse(true, ALL), DENY_ALL]);
    assert!(!run(&reset, DEV_CHAR, READ, 10, 229));
    let defaults_stay = program(&[rule(false, DeviceKind::Char, Some(1), Some(3), ALL)]);
    assert!(
        run(&defaults_stay, DEV_CHAR, READ | WRITE, 1, 3),
        "the default list cannot be denied"
    );
}

#[test]
fn an_allow_for_all_kinds_with_numbers_is_no_allow_for_everything() {
    let program = program(&[
        DENY_ALL,
        rule(true, DeviceKind::All, Some(10), Some(229), ALL),
    ]);
    assert!(run(&program, DEV_CHAR, READ, 10, 229));
    assert!(!run(&program, DEV_BLOCK, READ, 8, 0));
}

#[test]
fn random_rules_mean_what_they_say() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u32| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(seed >> 33).unwrap() % below
    };
    for _ in 0..3000 {
        let rules: Vec<DeviceRule> = (0..random(6))
            .map(|_| {
                let kind =
                    [DeviceKind::All, DeviceKind::Char, DeviceKind::Block][random(3) as usize];
                let major = (random(3) != 0).then(|| random(3));
                let minor = (random(3) != 0).then(|| random(3));
                rule(random(2) == 0, kind, major, minor, random(8))
            })
            .collect();
        let program = program(&rules);
        for _ in 0..20 {
            let (kind, wanted) = (1 + random(2).cast_signed(), 1 + random(7));
            let (major, minor) = (random(4), random(5));
            assert_eq!(
                run(&program, kind, wanted, major, minor),
                literal(&rules, kind, wanted, major, minor),
                "{rules:?}: kind {kind} access {wanted} {major}:{minor}"
            );
        }
    }
}

#[test]
fn v1_writes_of_the_default_bundle() {
    let lines: Vec<String> = v1_writes(&[DENY_ALL])
        .into_iter()
        .map(|write| format!("{} {}", write.file, write.value))
        .collect();
    assert_eq!(
        lines,
        [
            "devices.deny a",
            "devices.allow c *:* m",
            "devices.allow b *:* m",
            "devices.allow c 1:3 rwm",
            "devices.allow c 1:8 rwm",
            "devices.allow c 1:7 rwm",
            "devices.allow c 5:0 rwm",
            "devices.allow c 1:5 rwm",
            "devices.allow c 1:9 rwm",
            "devices.allow c 136:* rwm",
            "devices.allow c 5:2 rwm",
            "devices.allow c 10:200 rwm",
        ]
    );
    let privileged = v1_writes(&[
        DENY_ALL,
        rule(true, DeviceKind::All, None, None, ALL),
        rule(false, DeviceKind::Block, Some(8), None, WRITE),
    ]);
    assert_eq!(
        (privileged[0].file, privileged[0].value.as_str()),
        ("devices.allow", "a")
    );
    assert_eq!(
        (privileged[1].file, privileged[1].value.as_str()),
        ("devices.deny", "b 8:* w")
    );
}
