//! What one profile lets a program do and another does not.
//!
//! Two rulesets are compared by what they decide, not by how they are written. A decision depends on an argument only through comparisons
//! with the constants of its tests, so values at, below and above each constant (and with one bit of each mask changed) stand for all others.

use std::fmt;

use crate::action::Action;
use crate::arch::Arch;
use crate::profile::{Operator, Profile};
use crate::rules::{Conflict, Decision, Ruleset};
use crate::tables::Syscall;

/// A call that two profiles decide differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub arch: Arch,
    pub call: Syscall,
    pub first: Action,
    pub second: Action,
    /// Arguments for which it is so; None: for all.
    pub example: Option<[u64; 6]>,
}

/// At most this many tuples of arguments are tried for a call: a profile could otherwise ask for 6th powers.
const MOST_TUPLES: usize = 1 << 16;

/// The calls about which the profiles differ, on the architectures that either names, by name; for each pair of actions one example.
/// Errors: [`Conflict`].
pub fn diff(first: &Profile, second: &Profile, native: Arch) -> Result<Vec<Difference>, Conflict> {
    let (one, other) = (Ruleset::new(first, native)?, Ruleset::new(second, native)?);
    let mut archs: Vec<Arch> = one.architectures.iter().map(|rules| rules.arch).collect();
    archs.extend(other.architectures.iter().map(|rules| rules.arch));
    archs.sort_unstable();
    archs.dedup();
    let mut differences = Vec::new();
    for arch in archs {
        for call in Syscall::all() {
            if let Some(number) = call.number(arch) {
                compare(&one, &other, arch, call, number, &mut differences);
            }
        }
    }
    Ok(differences)
}

fn compare(
    one: &Ruleset,
    other: &Ruleset,
    arch: Arch,
    call: Syscall,
    number: u32,
    differences: &mut Vec<Difference>,
) {
    let mut values: [Vec<u64>; 6] = std::array::from_fn(|_| vec![0]);
    collect(one, arch, number, &mut values);
    collect(other, arch, number, &mut values);
    for list in &mut values {
        list.sort_unstable();
        list.dedup();
    }
    let depends = values.iter().any(|list| list.len() > 1);
    let mut seen: Vec<(Action, Action)> = Vec::new();
    let (mut equal, mut found) = (false, Vec::new());
    for arguments in tuples(&values).take(MOST_TUPLES) {
        let first = one.decide(arch.audit(), number, arguments).action;
        let second = other.decide(arch.audit(), number, arguments).action;
        if first == second {
            equal = true;
        } else if !seen.contains(&(first, second)) {
            seen.push((first, second));
            found.push(Difference {
                arch,
                call,
                first,
                second,
                example: depends.then_some(arguments),
            });
        }
    }
    if let [only] = found.as_mut_slice()
        && !equal
    {
        only.example = None;
    }
    differences.append(&mut found);
}

/// The values that stand for all others of each argument.
fn collect(rules: &Ruleset, arch: Arch, number: u32, values: &mut [Vec<u64>; 6]) {
    let of_arch = rules.architectures.iter().find(|rules| rules.arch == arch);
    let decision = of_arch.and_then(|rules| {
        let at = rules
            .calls
            .binary_search_by_key(&number, |calls| calls.number)
            .ok()?;
        Some(&rules.calls[at].decision)
    });
    let Some(Decision::Tests(branches)) = decision else {
        return;
    };
    for condition in branches.iter().flat_map(|branch| &branch.conditions) {
        let Some(list) = values.get_mut(usize::from(condition.argument)) else {
            continue;
        };
        let value = condition.value;
        list.extend([value, value.wrapping_sub(1), value.wrapping_add(1)]);
        if let Operator::MaskedEqual(mask) = condition.operator {
            let lowest = mask & mask.wrapping_neg();
            list.extend([value ^ lowest, value | !mask]);
        }
    }
}

/// Every combination.
fn tuples(values: &[Vec<u64>; 6]) -> impl Iterator<Item = [u64; 6]> + '_ {
    let total: usize = values.iter().map(Vec::len).fold(1, usize::saturating_mul);
    (0..total).map(move |mut index| {
        std::array::from_fn(|argument| {
            let list = &values[argument];
            let value = list[index % list.len()];
            index /= list.len();
            value
        })
    })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}): {} -> {}",
            self.call.name(),
            self.arch,
            self.first,
            self.second
        )?;
        match &self.example {
            Some(arguments) => {
                let shown: Vec<_> = arguments
                    .iter()
                    .map(|value| format!("{value:#x}"))
                    .collect();
                write!(f, ", for example with ({})", shown.join(", "))
            }
            None => Ok(()),
        }
    }
}
