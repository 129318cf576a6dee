//! Tests of arguments: 64 bits compared in two halves, the high one first, because that is where two values of different size differ.

use super::assemble::{Assembler, Place};
use crate::arch::{Arch, Width};
use crate::profile::{Condition, Operator};
use crate::program::{
    AND, ARGUMENTS_OFFSET, Instruction, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL,
};
use crate::rules::Branch;

/// The code for the branches of a call: the first that holds decides, `otherwise` if none does.
pub(super) fn tests(
    branches: &[Branch],
    arch: Arch,
    otherwise: Place,
    assembler: &mut Assembler,
) -> Place {
    let mut otherwise = otherwise;
    let mut rest = branches;
    while let Some(last) = rest.last() {
        let run = rest
            .iter()
            .rev()
            .take_while(|branch| alike(branch, last, arch))
            .count()
            .max(1);
        let (before, group) = rest.split_at(rest.len() - run);
        otherwise = match group {
            [branch] => one(branch, arch, otherwise, assembler),
            _ => several(group, arch, otherwise, assembler),
        };
        rest = before;
    }
    otherwise
}

/// Both compare the whole of one argument with values that differ in the low half only: the halves need to be loaded once.
fn alike(one: &Branch, other: &Branch, arch: Arch) -> bool {
    match (one.conditions.as_slice(), other.conditions.as_slice()) {
        ([one], [other]) => {
            let equal = one.operator == Operator::Equal && other.operator == Operator::Equal;
            equal
                && one.argument == other.argument
                && (arch.width() == Width::Bits32 || one.value >> 32 == other.value >> 32)
        }
        _ => false,
    }
}

fn several(group: &[Branch], arch: Arch, otherwise: Place, assembler: &mut Assembler) -> Place {
    let mut place = otherwise;
    for branch in group.iter().rev() {
        let value = branch.conditions[0].value as u32;
        place = assembler.branch(
            JUMP_EQUAL,
            value,
            Place::Return(branch.outcome.action.to_return()),
            place,
        );
    }
    let condition = &group[0].conditions[0];
    let place = assembler.load(low(condition, arch), place);
    if arch.width() == Width::Bits32 {
        return place;
    }
    let place = assembler.branch(JUMP_EQUAL, (condition.value >> 32) as u32, place, otherwise);
    assembler.load(high(condition, arch), place)
}

fn one(branch: &Branch, arch: Arch, otherwise: Place, assembler: &mut Assembler) -> Place {
    let mut place = Place::Return(branch.outcome.action.to_return());
    for condition in branch.conditions.iter().rev() {
        place = match arch.width() {
            Width::Bits32 => half(
                condition,
                condition.value as u32,
                u32::MAX,
                low(condition, arch),
                place,
                otherwise,
                assembler,
            ),
            Width::Bits64 => whole(condition, arch, place, otherwise, assembler),
        };
    }
    place
}

fn whole(
    condition: &Condition,
    arch: Arch,
    yes: Place,
    no: Place,
    assembler: &mut Assembler,
) -> Place {
    let upper = (condition.value >> 32) as u32;
    let value = condition.value as u32;
    if let Operator::MaskedEqual(mask) = condition.operator {
        let place = masked(mask as u32, value, low(condition, arch), yes, no, assembler);
        return masked(
            (mask >> 32) as u32,
            upper,
            high(condition, arch),
            place,
            no,
            assembler,
        );
    }
    let lower = half(
        condition,
        value,
        u32::MAX,
        low(condition, arch),
        yes,
        no,
        assembler,
    );
    // If the high halves are equal the low ones decide; if not, the high ones do.
    let place = match condition.operator {
        Operator::Equal | Operator::MaskedEqual(_) => {
            assembler.branch(JUMP_EQUAL, upper, lower, no)
        }
        Operator::NotEqual => assembler.branch(JUMP_EQUAL, upper, lower, yes),
        Operator::Greater | Operator::GreaterOrEqual => {
            let not_greater = assembler.branch(JUMP_EQUAL, upper, lower, no);
            assembler.branch(JUMP_GREATER, upper, yes, not_greater)
        }
        Operator::Less | Operator::LessOrEqual => {
            let not_greater = assembler.branch(JUMP_EQUAL, upper, lower, yes);
            assembler.branch(JUMP_GREATER, upper, no, not_greater)
        }
    };
    assembler.load(high(condition, arch), place)
}

/// One half, or a whole argument of 32 bits.
fn half(
    condition: &Condition,
    value: u32,
    mask: u32,
    offset: u32,
    yes: Place,
    no: Place,
    assembler: &mut Assembler,
) -> Place {
    let place = match condition.operator {
        Operator::Equal => assembler.branch(JUMP_EQUAL, value, yes, no),
        Operator::NotEqual => assembler.branch(JUMP_EQUAL, value, no, yes),
        Operator::Greater => assembler.branch(JUMP_GREATER, value, yes, no),
        Operator::GreaterOrEqual => assembler.branch(JUMP_GREATER_OR_EQUAL, value, yes, no),
        Operator::Less => assembler.branch(JUMP_GREATER_OR_EQUAL, value, no, yes),
        Operator::LessOrEqual => assembler.branch(JUMP_GREATER, value, no, yes),
        Operator::MaskedEqual(bits) => {
            return masked(bits as u32 & mask, value, offset, yes, no, assembler);
        }
    };
    assembler.load(offset, place)
}

fn masked(
    mask: u32,
    value: u32,
    offset: u32,
    yes: Place,
    no: Place,
    assembler: &mut Assembler,
) -> Place {
    if mask == 0 {
        return yes;
    }
    let mut place = assembler.branch(JUMP_EQUAL, value, yes, no);
    if mask != u32::MAX {
        place = assembler.follow(
            Instruction {
                code: AND,
                jt: 0,
                jf: 0,
                k: mask,
            },
            place,
        );
    }
    assembler.load(offset, place)
}

fn low(condition: &Condition, arch: Arch) -> u32 {
    ARGUMENTS_OFFSET + 8 * u32::from(condition.argument) + if arch.big_endian() { 4 } else { 0 }
}

fn high(condition: &Condition, arch: Arch) -> u32 {
    ARGUMENTS_OFFSET + 8 * u32::from(condition.argument) + if arch.big_endian() { 0 } else { 4 }
}
