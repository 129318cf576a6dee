//! What a profile does to a call, and which rule says so.

use std::collections::BTreeMap;
use std::fmt;

use crate::action::Action;
use crate::arch::Arch;
use crate::profile::Profile;
use crate::rules::{Conflict, Decision, Reason, Ruleset};
use crate::tables::Syscall;

/// A call that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    pub arch: Arch,
    pub call: Syscall,
    /// What is not given is 0.
    pub arguments: [u64; 6],
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub arch: Arch,
    pub call: Syscall,
    /// None: the architecture has no such call.
    pub number: Option<u32>,
    pub action: Action,
    pub reason: Reason,
    /// What else the profile says of the call: its tests in the order in which they are made.
    pub tests: Vec<String>,
}

/// What happens to a call. Errors: [`Conflict`].
pub fn explain(
    profile: &Profile,
    native: Arch,
    question: &Question,
) -> Result<Explanation, Conflict> {
    let rules = Ruleset::new(profile, native)?;
    let Question {
        arch,
        call,
        arguments,
    } = *question;
    let number = call.number(arch);
    let verdict = rules.decide(arch.audit(), number.unwrap_or(u32::MAX), arguments);
    let of_arch = rules.architectures.iter().find(|rules| rules.arch == arch);
    let tests = of_arch
        .and_then(|rules| {
            let at = rules
                .calls
                .binary_search_by_key(&number?, |calls| calls.number)
                .ok()?;
            match &rules.calls[at].decision {
                Decision::Always(_) => None,
                Decision::Tests(branches) => Some(branches),
            }
        })
        .map(|branches| branches.iter().map(branch).collect())
        .unwrap_or_default();
    Ok(Explanation {
        arch,
        call,
        number,
        action: verdict.action,
        reason: verdict.reason,
        tests,
    })
}

fn branch(branch: &crate::rules::Branch) -> String {
    let conditions: Vec<_> = branch.conditions.iter().map(ToString::to_string).collect();
    let outcome = branch.outcome;
    format!(
        "{} -> {} (/syscalls/{})",
        conditions.join(" and "),
        outcome.action,
        outcome.rule
    )
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(
                f,
                "{} ({}, number {number}): {}",
                self.call.name(),
                self.arch,
                self.action
            )?,
            None => write!(
                f,
                "{} ({}, which has no such call): {}",
                self.call.name(),
                self.arch,
                self.action
            )?,
        }
        match self.reason {
            Reason::Rule(rule) => write!(f, ", by /syscalls/{rule}")?,
            Reason::Default => f.write_str(", by /defaultAction")?,
            Reason::Newer => {
                f.write_str(", because it is newer than every call that the profile names")?
            }
            Reason::Foreign => {
                f.write_str(", because the profile does not name the architecture")?
            }
        }
        self.tests
            .iter()
            .try_for_each(|test| write!(f, "\n  {test}"))
    }
}

/// Every known call of an architecture by what happens to it; calls whose arguments matter stand under each action that they may get.
pub fn overview(
    profile: &Profile,
    native: Arch,
    arch: Arch,
) -> Result<BTreeMap<String, Vec<String>>, Conflict> {
    let rules = Ruleset::new(profile, native)?;
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for call in Syscall::all() {
        let Some(number) = call.number(arch) else {
            continue;
        };
        let tests = rules
            .architectures
            .iter()
            .find(|rules| rules.arch == arch)
            .and_then(|rules| {
                let at = rules
                    .calls
                    .binary_search_by_key(&number, |calls| calls.number)
                    .ok()?;
                match &rules.calls[at].decision {
                    Decision::Tests(branches) => Some(branches),
                    Decision::Always(_) => None,
                }
            });
        match tests {
            Some(branches) => {
                for found in branches {
                    let conditions: Vec<_> =
                        found.conditions.iter().map(ToString::to_string).collect();
                    let text = format!("{} if {}", call.name(), conditions.join(" and "));
                    groups
                        .entry(found.outcome.action.to_string())
                        .or_default()
                        .push(text);
                }
            }
            None => {
                let verdict = rules.decide(arch.audit(), number, [0; 6]);
                groups
                    .entry(verdict.action.to_string())
                    .or_default()
                    .push(call.name().to_owned());
            }
        }
    }
    Ok(groups)
}
