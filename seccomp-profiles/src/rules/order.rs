//! In which order the rules of one call are tried.
//!
//! The specification says nothing about two rules that both hold; runc asks libseccomp, whose order profiles have been tested with. It
//! compares halves of arguments, and keeps them in a tree; a rule is a path in it. Seen from the outside:
//!
//! - rules that begin with a higher argument come first (`args[2]` before `args[0]`);
//! - on one argument, equalities (`EQ`, `NE`, `MASKED_EQ`) come before `LT` and `LE`, these before `GT` and `GE`;
//! - equalities and lower bounds with larger values come first, upper bounds with smaller ones: the closer bound wins;
//! - what is left is the profile's order, but rules that share a test stay together.
//!
//! A rule whose conditions are the beginning of another's (by argument) makes the other void.

use super::{Branch, Outcome};
use crate::arch::Width;
use crate::profile::{Condition, Operator};

/// Half of a condition, as it is compared: 32 bits are what a filter can look at. On 32-bit architectures a condition is one half.
#[derive(Clone, Copy, Debug)]
struct Half {
    /// Argument and half of it: larger is tried first.
    place: u8,
    class: Class,
    test: Test,
    value: u32,
    mask: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    LowerBound,
    UpperBound,
    Equality,
}

/// What is compared, whichever outcome the condition wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equal,
    Masked,
    Greater,
    GreaterOrEqual,
}

impl Half {
    /// The same comparison: two rules that both make it share it.
    fn same(&self, other: &Self) -> bool {
        (self.place, self.test, self.value, self.mask)
            == (other.place, other.test, other.value, other.mask)
    }

    fn before(&self, other: &Self) -> bool {
        match (self.place, self.class).cmp(&(other.place, other.class)) {
            std::cmp::Ordering::Equal if self.class == Class::UpperBound => {
                self.value < other.value
            }
            std::cmp::Ordering::Equal => self.value > other.value,
            order => order.is_gt(),
        }
    }
}

/// Puts a branch where it belongs; drops it if an earlier one makes it void. Errors: the outcome it contradicts.
pub(super) fn insert(branches: &mut Vec<Branch>, new: Branch, width: Width) -> Result<(), Outcome> {
    if let Some(general) = branches
        .iter()
        .find(|old| new.conditions.starts_with(&old.conditions))
    {
        let contradicts = general.conditions.len() == new.conditions.len()
            && general.outcome.action != new.outcome.action;
        return if contradicts {
            Err(general.outcome)
        } else {
            Ok(())
        };
    }
    let is_special = |old: &Branch| old.conditions.starts_with(&new.conditions);
    if let Some(special) = branches
        .iter()
        .find(|old| is_special(old) && old.outcome.action != new.outcome.action)
    {
        return Err(special.outcome);
    }
    branches.retain(|old| !is_special(old));
    branches.insert(place(branches, &new, width), new);
    Ok(())
}

/// The index at which `new` is tried. Rules that share their first tests lie beside each other: each step looks at one such run.
fn place(branches: &[Branch], new: &Branch, width: Width) -> usize {
    let (mut start, mut end) = (0, branches.len());
    for depth in 0.. {
        let Some(half) = half_at(new, depth, width) else {
            break;
        };
        let at = |index: usize| half_at(&branches[index], depth, width);
        // Rules that end here are tried first.
        while start < end && at(start).is_none() {
            start += 1;
        }
        let mut index = start;
        let shared = loop {
            match (index < end).then(|| at(index)).flatten() {
                Some(old) if old.same(&half) => break true,
                Some(old) if half.before(&old) => break false,
                Some(_) => index += 1,
                None => break false,
            }
        };
        start = index;
        if !shared {
            return start;
        }
        while index < end && at(index).is_some_and(|old| old.same(&half)) {
            index += 1;
        }
        end = index;
    }
    start
}

/// The comparison at this depth of a branch's path; on 64-bit architectures a condition is two, the high half first.
fn half_at(branch: &Branch, depth: usize, width: Width) -> Option<Half> {
    let (at, high) = match width {
        Width::Bits64 => (depth / 2, depth.is_multiple_of(2)),
        Width::Bits32 => (depth, false),
    };
    branch
        .conditions
        .get(at)
        .map(|condition| half(condition, high))
}

fn half(condition: &Condition, high: bool) -> Half {
    let of = |value: u64| (if high { value >> 32 } else { value }) as u32;
    let (class, test, mask) = match condition.operator {
        Operator::Equal | Operator::NotEqual => (Class::Equality, Test::Equal, u32::MAX),
        Operator::MaskedEqual(mask) => (Class::Equality, Test::Masked, of(mask)),
        Operator::Less | Operator::LessOrEqual if high => {
            (Class::UpperBound, Test::Greater, u32::MAX)
        }
        Operator::Less => (Class::UpperBound, Test::GreaterOrEqual, u32::MAX),
        Operator::LessOrEqual => (Class::UpperBound, Test::Greater, u32::MAX),
        Operator::Greater | Operator::GreaterOrEqual if high => {
            (Class::LowerBound, Test::Greater, u32::MAX)
        }
        Operator::Greater => (Class::LowerBound, Test::Greater, u32::MAX),
        Operator::GreaterOrEqual => (Class::LowerBound, Test::GreaterOrEqual, u32::MAX),
    };
    Half {
        place: 2 * condition.argument + u8::from(high),
        class,
        test,
        value: of(condition.value),
        mask,
    }
}
