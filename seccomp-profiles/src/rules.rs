//! What a profile means, architecture by architecture: for each number of a system call, which action, or which tests in which order.
//!
//! This is the one place that decides precedence; the compiler only lays out what stands here, and [`Ruleset::decide`] answers from the
//! same data which rule is responsible for a call. The reading is runc's with libseccomp, because profiles are written against it:
//!
//! - A name that no architecture knows is skipped and reported ([`Ruleset::unknown`]); one that this architecture lacks is skipped.
//! - A rule whose action is the default one says nothing.
//! - A rule without conditions (or whose conditions always hold) wins over all rules with conditions, the first such over later ones.
//! - Among rules with conditions the first that holds decides, in the order of `order`: not the profile's. Two that hold for exactly the
//!   same arguments with different actions, or a general one after a special one, are a [`Conflict`].
//! - Two conditions about one argument in one rule make a rule each.
//! - On architectures that fold calls into `socketcall` and `ipc`, a rule for `socket` also speaks of the folded call.
//! - A number above every one the profile names gives ENOSYS, so that programs fall back from calls that are newer than the profile; unless
//!   the default action lets calls happen.
//! - A call of an architecture the profile does not name kills the thread.

mod fold;
mod order;

use std::collections::HashSet;

use crate::action::{Action, ENOSYS};
use crate::arch::{Arch, Width};
use crate::profile::{Condition, Name, Operator, Profile};
use crate::tables::Syscall;

/// Bit 30 of a number on x86: the call is one of x32.
pub(crate) const X32: u32 = 0x4000_0000;

/// s390 puts numbers it does not know through number 0, once setup(2).
const S390_SETUP: u32 = 0;

/// A profile, read for all its architectures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    pub default_action: Action,
    /// The native one first, then those of the profile; none twice.
    pub architectures: Vec<ArchRules>,
    /// Names that no architecture has a call for, in the profile's order.
    pub unknown: Vec<UnknownName>,
}

/// A name in the profile that says nothing, at `/syscalls/{rule}/names/{name}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    pub rule: usize,
    pub name: usize,
    pub text: String,
}

/// The rules of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchRules {
    pub arch: Arch,
    /// By number, none twice. Numbers as the kernel sees them, for x32 with bit 30.
    pub calls: Vec<CallRules>,
    /// The largest number the profile names: above it is ENOSYS. None if the default action decides there too.
    pub newest: Option<u32>,
}

/// The rules of one system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRules {
    pub number: u32,
    pub decision: Decision,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Always(Outcome),
    /// The first branch that holds; the default action if none does.
    Tests(Vec<Branch>),
}

/// Conditions that must all hold, and what happens then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// By argument, at least one, none that always holds; values cut to the architecture's width.
    pub conditions: Vec<Condition>,
    pub outcome: Outcome,
}

/// What happens, and the index in `syscalls` of the rule that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub action: Action,
    pub rule: usize,
}

/// Two rules that contradict each other: a profile like this does not say what it means, and runc refuses it too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "/syscalls/{second}: {call} on {arch} has {second_action} under conditions for which /syscalls/{first} has {first_action}"
)]
pub struct Conflict {
    pub call: String,
    pub arch: Arch,
    /// Indices in `syscalls`.
    pub first: usize,
    pub second: usize,
    pub first_action: Action,
    pub second_action: Action,
}

/// What happens to a call, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub action: Action,
    pub reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The rule at this index in `syscalls`.
    Rule(usize),
    /// `defaultAction`.
    Default,
    /// The number is above every one the profile names.
    Newer,
    /// The profile does not name this architecture.
    Foreign,
}

impl Ruleset {
    /// Reads a profile for its architectures and for the native one, which the kernel calls the filter for in any case.
    /// Errors: [`Conflict`].
    pub fn new(profile: &Profile, native: Arch) -> Result<Self, Conflict> {
        let mut unknown = Vec::new();
        let mut named = Vec::with_capacity(512);
        for (rule, entry) in profile.rules.iter().enumerate() {
            for (name, text) in entry.names.iter().enumerate() {
                match text {
                    Name::Known(call) => named.push((*call, rule)),
                    Name::Unknown(text) => unknown.push(UnknownName {
                        rule,
                        name,
                        text: text.to_string(),
                    }),
                }
            }
        }
        let mut architectures = Vec::with_capacity(1 + profile.architectures.len());
        let mut seen = HashSet::with_capacity(architectures.capacity());
        for arch in std::iter::once(native).chain(profile.architectures.iter().copied()) {
            if seen.insert(arch) {
                architectures.push(ArchRules::new(profile, arch, &named)?);
            }
        }
        Ok(Self {
            default_action: profile.default_action,
            architectures,
            unknown,
        })
    }

    /// What happens to a call: `audit` is the AUDIT_ARCH_ the kernel gives.
    pub fn decide(&self, audit: u32, number: u32, arguments: [u64; 6]) -> Verdict {
        let here = |rules: &&ArchRules| rules.arch.audit() == audit;
        let default = Verdict {
            action: self.default_action,
            reason: Reason::Default,
        };
        let foreign = Verdict {
            action: Action::KillThread,
            reason: Reason::Foreign,
        };
        let spoken = |rules: &&ArchRules| rules.speaks_of(number);
        match self.architectures.iter().filter(here).find(spoken) {
            Some(rules)
                if rules.arch == Arch::X86_64 && rules.newest.is_none() && number >= X32 =>
            {
                // No number of x86_64 at all. If x32 is meant too it is one that nobody speaks of.
                let x32 = self
                    .architectures
                    .iter()
                    .any(|rules| rules.arch == Arch::X32);
                if x32 { default } else { foreign }
            }
            Some(rules) => rules.decide(number, arguments, self.default_action),
            // -1 is what a tracer sets to skip a call: it is no call of the other ABI.
            None if number == u32::MAX && self.architectures.iter().any(|rules| here(&rules)) => {
                default
            }
            // x32 alone takes all numbers that are not x86_64's.
            None if number >= X32
                && self
                    .architectures
                    .iter()
                    .any(|rules| here(&rules) && rules.arch == Arch::X32) =>
            {
                default
            }
            None => foreign,
        }
    }
}

impl ArchRules {
    fn new(profile: &Profile, arch: Arch, named: &[(Syscall, usize)]) -> Result<Self, Conflict> {
        let mut entries = Vec::with_capacity(named.len());
        let folds = fold::Folds::of(arch);
        let mut newest = 0;
        for (call, rule) in named {
            let says_something = profile.rules[*rule].action != profile.default_action;
            let folded = folds.folded(*call);
            if let Some(number) = call.number(arch) {
                // A call that also comes folded does not count: it has no number of its own in libseccomp, from where runc has this rule.
                newest = if folded.is_none() {
                    newest.max(number)
                } else {
                    newest
                };
                if says_something {
                    entries.push(Entry {
                        number,
                        rule: *rule,
                        call: *call,
                        folded: None,
                    });
                }
            }
            if let Some(folded) = folded.filter(|_| says_something) {
                entries.push(Entry {
                    number: folded.number,
                    rule: *rule,
                    call: *call,
                    folded: Some(folded.selector),
                });
            }
        }
        // Stable: the profile's order within a number.
        entries.sort_by_key(|entry| entry.number);
        let mut calls: Vec<CallRules> = Vec::with_capacity(entries.len());
        for entry in &entries {
            if calls.last().is_none_or(|last| last.number != entry.number) {
                calls.push(CallRules {
                    number: entry.number,
                    decision: Decision::Tests(Vec::new()),
                });
            }
            if let Some(call) = calls.last_mut() {
                call.add(profile, arch, entry)?;
            }
        }
        let stub = !profile.default_action.permits() && newest != 0;
        Ok(Self {
            arch,
            calls,
            newest: stub.then_some(newest),
        })
    }

    /// On x86_64 two ABIs share an architecture; bit 30 of the number tells them apart.
    fn speaks_of(&self, number: u32) -> bool {
        match self.arch {
            Arch::X86_64 => number & X32 == 0,
            Arch::X32 => number & X32 != 0,
            _ => true,
        }
    }

    /// What happens to a call of this architecture.
    fn decide(&self, number: u32, arguments: [u64; 6], default: Action) -> Verdict {
        if self.is_new(number) {
            return Verdict {
                action: Action::Errno(ENOSYS),
                reason: Reason::Newer,
            };
        }
        let outcome = self
            .calls
            .binary_search_by_key(&number, |call| call.number)
            .ok()
            .and_then(|at| match &self.calls[at].decision {
                Decision::Always(outcome) => Some(*outcome),
                Decision::Tests(branches) => branches
                    .iter()
                    .find(|branch| branch.holds(arguments, self.arch))
                    .map(|branch| branch.outcome),
            });
        match outcome {
            Some(outcome) => Verdict {
                action: outcome.action,
                reason: Reason::Rule(outcome.rule),
            },
            None => Verdict {
                action: default,
                reason: Reason::Default,
            },
        }
    }

    pub(crate) fn is_new(&self, number: u32) -> bool {
        let setup = matches!(self.arch, Arch::S390 | Arch::S390x) && number == S390_SETUP;
        self.newest.is_some_and(|newest| number > newest || setup)
    }
}

impl Branch {
    fn holds(&self, arguments: [u64; 6], arch: Arch) -> bool {
        self.conditions.iter().all(|condition| {
            condition.holds(arguments[usize::from(condition.argument)], arch.width())
        })
    }
}

/// A rule's word about one number.
struct Entry {
    number: u32,
    rule: usize,
    call: Syscall,
    /// The first argument of `socketcall` or `ipc` that means this call.
    folded: Option<u64>,
}

impl CallRules {
    fn add(&mut self, profile: &Profile, arch: Arch, entry: &Entry) -> Result<(), Conflict> {
        let rule = &profile.rules[entry.rule];
        let outcome = Outcome {
            action: rule.action,
            rule: entry.rule,
        };
        if rule.alternatives() {
            for condition in &rule.conditions {
                self.add_branch(
                    conditions(&[*condition], arch.width(), entry.folded),
                    outcome,
                    arch,
                    entry.call,
                )?;
            }
            return Ok(());
        }
        self.add_branch(
            conditions(&rule.conditions, arch.width(), entry.folded),
            outcome,
            arch,
            entry.call,
        )
    }

    fn add_branch(
        &mut self,
        conditions: Vec<Condition>,
        outcome: Outcome,
        arch: Arch,
        call: Syscall,
    ) -> Result<(), Conflict> {
        let Decision::Tests(branches) = &mut self.decision else {
            return Ok(());
        };
        if conditions.is_empty() {
            self.decision = Decision::Always(outcome);
            return Ok(());
        }
        order::insert(
            branches,
            Branch {
                conditions,
                outcome,
            },
            arch.width(),
        )
        .map_err(|first| Conflict {
            call: call.name().to_owned(),
            arch,
            first: first.rule,
            second: outcome.rule,
            first_action: first.action,
            second_action: outcome.action,
        })
    }
}

/// The conditions as this architecture tests them: cut to its width, by argument, without those that always hold.
fn conditions(of: &[Condition], width: Width, folded: Option<u64>) -> Vec<Condition> {
    let wide = match width {
        Width::Bits64 => u64::MAX,
        Width::Bits32 => u64::from(u32::MAX),
    };
    let mut conditions: Vec<_> = of
        .iter()
        .filter(|condition| folded.is_none() || condition.argument != 0)
        .map(|condition| match condition.operator {
            Operator::MaskedEqual(mask) => {
                let mask = mask & wide;
                Condition {
                    operator: Operator::MaskedEqual(mask),
                    value: condition.value & mask,
                    ..*condition
                }
            }
            _ => Condition {
                value: condition.value & wide,
                ..*condition
            },
        })
        .filter(|condition| condition.operator != Operator::MaskedEqual(0))
        .collect();
    if let Some(selector) = folded {
        conditions.push(Condition {
            argument: 0,
            operator: Operator::Equal,
            value: selector,
        });
    }
    conditions.sort_by_key(|condition| condition.argument);
    conditions
}
