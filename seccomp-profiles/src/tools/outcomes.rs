//! What filters that are loaded, whoever made them, do to system calls: the programs are run, once for the arguments that are asked about
//! and once for all that there could be.

use std::collections::{BTreeSet, HashSet};

use crate::action::Action;
use crate::arch::Arch;
use crate::interpret::{Call, Next, Symbolic, run};
use crate::program::Program;
use crate::tables::Syscall;

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub call: Syscall,
    pub number: u32,
    /// With arguments that are all 0.
    pub action: Action,
    /// What other arguments may give. Empty: they do not matter, if `all`.
    pub others: Vec<Action>,
    /// Every way through the filters was walked. False: they reckon with arguments in more ways than are looked at, and there may be other
    /// actions than those in `others`.
    pub all: bool,
}

/// More states than any filter of the kernel's size has that does not reckon with arguments for their own sake.
const MOST_STATES: usize = 1 << 14;

/// How the kernel weighs actions of several filters: the lowest counts (seccomp(2)).
fn weight(action: Action) -> i32 {
    (action.to_return() & 0xffff_0000).cast_signed()
}

/// Of equals the one of the filter that was loaded last.
fn stricter(earlier: Action, later: Action) -> Action {
    if weight(later) <= weight(earlier) {
        later
    } else {
        earlier
    }
}

/// What all filters together do to a call; they are in the order in which they were loaded. Without one every call is made.
pub fn decide(filters: &[Program], call: &Call, big_endian: bool) -> Action {
    filters
        .iter()
        .map(|filter| match run(filter, call, big_endian) {
            Ok(ran) => Action::from_return(ran.value),
            // The kernel has loaded no such program.
            Err(_) => Action::KillProcess,
        })
        .fold(Action::Allow, stricter)
}

/// What all filters together do to each known call of an architecture, by name.
pub fn outcomes(filters: &[Program], arch: Arch) -> Vec<Outcome> {
    Syscall::all()
        .filter_map(|call| {
            let number = call.number(arch)?;
            let asked = Call {
                number,
                arch: arch.audit(),
                ..Call::default()
            };
            let action = decide(filters, &asked, arch.big_endian());
            let mut possible = BTreeSet::from([Action::Allow.to_return()]);
            let mut all = true;
            for filter in filters {
                let (values, every) = possible_values(filter, &asked, MOST_STATES);
                possible = combine(&possible, &values);
                all &= every;
            }
            let others = possible
                .into_iter()
                .map(Action::from_return)
                .filter(|other| *other != action)
                .collect();
            Some(Outcome {
                call,
                number,
                action,
                others,
                all,
            })
        })
        .collect()
}

/// Every pair, by the stricter of both.
fn combine(earlier: &BTreeSet<u32>, later: &BTreeSet<u32>) -> BTreeSet<u32> {
    earlier
        .iter()
        .flat_map(|one| later.iter().map(move |other| (one, other)))
        .map(|(one, other)| {
            stricter(Action::from_return(*one), Action::from_return(*other)).to_return()
        })
        .collect()
}

/// The values that a filter may return for a call if its arguments are anything, and whether these are all. A branch on an argument goes
/// both ways, also where an earlier one has settled it: there may be values too many. Too few there are only where `most` states of the
/// machine are not enough.
fn possible_values(filter: &Program, call: &Call, most: usize) -> (BTreeSet<u32>, bool) {
    let mut values = BTreeSet::new();
    let mut waiting = vec![Symbolic::new()];
    let mut seen = HashSet::new();
    while let Some(state) = waiting.pop() {
        if seen.contains(&state) {
            continue;
        }
        if seen.len() == most {
            return (values, false);
        }
        seen.insert(state.clone());
        match state.step(filter, call) {
            Next::Returns(Some(value)) => {
                values.insert(Action::from_return(value).to_return());
            }
            // Reckoned from an argument: anything, so also the strictest there is.
            Next::Returns(None) => {
                values.insert(Action::KillProcess.to_return());
            }
            Next::Goes(states) => waiting.extend(states),
        }
    }
    (values, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Condition, Name, Operator, Profile, Rule};

    #[test]
    fn ways_that_were_not_walked_are_said() {
        let conditions = |value| Condition {
            argument: 0,
            operator: Operator::Equal,
            value,
        };
        let rule = |value| Rule {
            names: vec![Name::new("read")],
            action: Action::Errno(1 + value as u16),
            conditions: vec![conditions(value)],
        };
        let profile = Profile {
            rules: (0..20).map(rule).collect(),
            ..Profile::new(Action::Allow)
        };
        let filter = crate::compile_for(&profile, Arch::X86_64).unwrap().program;
        let call = Call {
            arch: Arch::X86_64.audit(),
            ..Call::default()
        };
        let (values, all) = possible_values(&filter, &call, MOST_STATES);
        assert_eq!((values.len(), all), (21, true));
        let (values, all) = possible_values(&filter, &call, 20);
        assert!(values.len() < 21 && !all);
    }
}
