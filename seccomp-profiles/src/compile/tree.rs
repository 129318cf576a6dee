//! The numbers of one architecture: ranges with one fate each, in a balanced tree.
//!
//! Balanced by what the ranges hold: one that holds many of the numbers that are in use is reached sooner.

use super::arguments;
use super::assemble::{Assembler, Place};
use crate::action::{Action, ENOSYS};
use crate::arch::Arch;
use crate::program::{JUMP_EQUAL, JUMP_GREATER_OR_EQUAL, NUMBER_OFFSET};
use crate::rules::{ArchRules, Decision, Ruleset, X32};

/// Numbers from here to the next range have this fate.
#[derive(Clone, Copy)]
struct Range {
    start: u32,
    place: Place,
}

/// A range, or one with a single other number inside: then one comparison does what would take two.
#[derive(Clone, Copy)]
struct Leaf {
    start: u32,
    place: Place,
    except: Option<(u32, Place)>,
    weight: u32,
}

/// Below this are the numbers that are in use on most architectures: programs', and those the kernel walks a new filter for, one by one.
const IN_USE: u32 = 512;

/// What a number in use weighs against the range itself: one that holds none is still to be found.
const WEIGHT: u32 = 4;

/// The code for one AUDIT_ARCH_: where to go once the architecture is known.
pub(super) fn numbers(ruleset: &Ruleset, audit: u32, assembler: &mut Assembler) -> Place {
    let mut ranges = Ranges {
        ranges: Vec::with_capacity(256),
        default: Place::Return(ruleset.default_action.to_return()),
    };
    let find = |arch: Arch| {
        ruleset
            .architectures
            .iter()
            .find(|rules| rules.arch == arch)
    };
    if audit == Arch::X86_64.audit() {
        let (wide, x32) = (find(Arch::X86_64), find(Arch::X32));
        let default = ranges.default;
        let killed = Place::Return(Action::KillThread.to_return());
        ranges.quarter(0, wide, killed, assembler);
        ranges.quarter(1, x32, killed, assembler);
        match (wide, x32) {
            (Some(ArchRules { newest: None, .. }), None) => ranges.push(2 * X32, killed),
            _ => ranges.quarter(2, wide, default, assembler),
        }
        ranges.quarter(3, x32, killed, assembler);
        if x32.is_none() {
            // What a tracer sets to skip a call is no call of an ABI the profile does not know.
            ranges.push(u32::MAX, default);
        }
    } else if let Some(rules) = ruleset
        .architectures
        .iter()
        .find(|rules| rules.arch.audit() == audit)
    {
        ranges.fill(rules, 0, u32::MAX, assembler);
    }
    let leaves = leaves(&ranges.ranges);
    let tree = tree(&leaves, assembler);
    assembler.load(NUMBER_OFFSET, tree)
}

struct Ranges {
    ranges: Vec<Range>,
    default: Place,
}

impl Ranges {
    fn push(&mut self, start: u32, place: Place) {
        match self.ranges.last_mut() {
            Some(last) if last.start == start => last.place = place,
            Some(last) if last.place == place => return,
            _ => return self.ranges.push(Range { start, place }),
        }
        // A range that was overwritten may now be like the one before.
        if let [.., before, last] = self.ranges.as_slice()
            && before.place == last.place
        {
            self.ranges.pop();
        }
    }

    /// x86_64 and x32 by turns: bits 30 and 31 of the number make four quarters.
    fn quarter(
        &mut self,
        quarter: u32,
        rules: Option<&ArchRules>,
        otherwise: Place,
        assembler: &mut Assembler,
    ) {
        let start = quarter * X32;
        match rules {
            Some(rules) => self.fill(rules, start, start + (X32 - 1), assembler),
            None => self.push(start, otherwise),
        }
    }

    /// The fates of all numbers between two, both included.
    fn fill(&mut self, rules: &ArchRules, first: u32, last: u32, assembler: &mut Assembler) {
        let newer = Place::Return(Action::Errno(ENOSYS).to_return());
        let gap = |number: u32, default: Place| if rules.is_new(number) { newer } else { default };
        self.push(first, gap(first, self.default));
        if rules.is_new(first) {
            // setup on s390 is new by itself.
            self.push(first + 1, gap(first + 1, self.default));
        }
        let from = rules.calls.partition_point(|call| call.number < first);
        let mut next = first;
        for call in rules.calls[from..]
            .iter()
            .take_while(|call| call.number <= last)
            .filter(|call| !rules.is_new(call.number))
        {
            if next > first && next < call.number {
                self.push(next, gap(next, self.default));
            }
            let place = match &call.decision {
                Decision::Always(outcome) => Place::Return(outcome.action.to_return()),
                Decision::Tests(branches) => {
                    arguments::tests(branches, rules.arch, self.default, assembler)
                }
            };
            self.push(call.number, place);
            next = call.number.saturating_add(1);
        }
        if next > first && next <= last {
            self.push(next, gap(next, self.default));
        }
        if let Some(newest) = rules.newest.filter(|newest| (first..last).contains(newest)) {
            self.push(newest + 1, newer);
        }
    }
}

fn leaves(ranges: &[Range]) -> Vec<Leaf> {
    let mut leaves = Vec::with_capacity(ranges.len());
    let mut rest = ranges;
    while let [range, after @ ..] = rest {
        let mut leaf = Leaf {
            start: range.start,
            place: range.place,
            except: None,
            weight: 0,
        };
        rest = after;
        if let [one, back, after @ ..] = rest
            && one.start + 1 == back.start
            && back.place == range.place
        {
            leaf.except = Some((one.start, one.place));
            rest = after;
        }
        let end = rest.first().map_or(IN_USE, |next| next.start.min(IN_USE));
        leaf.weight = 1 + WEIGHT * (end - leaf.start.min(IN_USE));
        leaves.push(leaf);
    }
    leaves
}

fn tree(leaves: &[Leaf], assembler: &mut Assembler) -> Place {
    match leaves {
        [] => Place::Return(Action::KillProcess.to_return()), // cannot be: the first range starts at 0
        [
            Leaf {
                place,
                except: None,
                ..
            },
        ] => *place,
        [
            Leaf {
                place,
                except: Some((number, other)),
                ..
            },
        ] => assembler.branch(JUMP_EQUAL, *number, *other, *place),
        _ => {
            let (low, high) = leaves.split_at(middle(leaves));
            let from = high[0].start;
            let high = tree(high, assembler);
            let low = tree(low, assembler);
            assembler.branch(JUMP_GREATER_OR_EQUAL, from, high, low)
        }
    }
}

/// Where both halves weigh about the same: at least one leaf before it and one after.
fn middle(leaves: &[Leaf]) -> usize {
    let total: u32 = leaves.iter().map(|leaf| leaf.weight).sum();
    let mut before = 0;
    let mut at = 0;
    // A leaf goes to the half in which most of it lies.
    while at < leaves.len() - 1 && 2 * before + leaves[at].weight <= total {
        before += leaves[at].weight;
        at += 1;
    }
    at.max(1)
}
