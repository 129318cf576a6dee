//! What runc makes of a profile: libseccomp driven as runc drives it, and in front of it what runc itself decides about numbers that are newer
//! than the profile (its sources: libcontainer/seccomp/seccomp_linux.go and patchbpf).

use std::ffi::c_int;

use seccomp_profiles::interpret::{Call, run};
use seccomp_profiles::{Action, Arch, Profile, Program};

use crate::sys::{self, Errno, Filter, Refusal};

const X32: u32 = 0x4000_0000;

/// BPF_JMP | BPF_JA
const JUMP: u16 = 0x05;
/// BPF_RET | BPF_K
const RETURN: u16 = 0x06;

pub struct Runc {
    pub program: Program,
    /// For each architecture the largest number named; empty if the default action is permissive.
    newest: Vec<(Arch, u32)>,
    big_endian: bool,
}

/// A filter with the rules in it, for `architectures`; the first is taken as native.
pub fn filter(profile: &Profile, architectures: &[Arch]) -> Result<Filter, Errno> {
    let names = profile
        .rules
        .iter()
        .map(|rule| rule.names.len())
        .sum::<usize>();
    filter_with(
        profile,
        architectures,
        if names > 32 {
            Layout::Tree
        } else {
            Layout::List
        },
    )
}

/// How libseccomp arranges the calls: runc takes the tree (SCMP_FLTATR_CTL_OPTIMIZE 2) for more than 32 rules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    List,
    Tree,
}

pub fn filter_with(
    profile: &Profile,
    architectures: &[Arch],
    layout: Layout,
) -> Result<Filter, Errno> {
    let default = profile.default_action.to_return();
    let filter = Filter::new(default);
    if architectures[0] != Arch::X86_64 {
        filter.remove_arch(Arch::X86_64)?;
        filter.add_arch(architectures[0])?;
    }
    for arch in architectures.iter().skip(1) {
        filter.add_arch(*arch)?;
    }
    if layout == Layout::Tree {
        filter.optimize()?;
    }
    filter.without_no_new_privileges()?;
    for rule in &profile.rules {
        for name in &rule.names {
            let action = rule.action.to_return();
            let Some(number) = sys::number(name).filter(|_| action != default) else {
                continue;
            };
            if rule.alternatives() {
                for condition in &rule.conditions {
                    filter.add_rule(action, number, &[*condition])?;
                }
            } else {
                filter.add_rule(action, number, &rule.conditions)?;
            }
        }
    }
    Ok(filter)
}

impl Runc {
    pub fn new(profile: &Profile, architectures: &[Arch]) -> Result<Self, Refusal> {
        let program = sys::apart(|| Ok(filter(profile, architectures)?.export()))?;
        let permissive = matches!(
            profile.default_action,
            Action::Allow | Action::Log | Action::Trace(_)
        );
        let largest = |arch: Arch| {
            let names = profile.rules.iter().flat_map(|rule| &rule.names);
            let numbers = names.filter_map(|name| sys::number_on(arch, name));
            numbers
                .max()
                .filter(|number: &c_int| *number > 0)
                .map(|number| (arch, number as u32))
        };
        let newest = if permissive {
            Vec::new()
        } else {
            architectures.iter().copied().filter_map(largest).collect()
        };
        Ok(Self {
            program: in_order(program, architectures[0], profile),
            newest,
            big_endian: architectures[0].big_endian(),
        })
    }

    pub fn decide(&self, call: &Call) -> Action {
        if self.is_new(call) {
            return Action::Errno(38);
        }
        Action::from_return(run(&self.program, call, self.big_endian).unwrap().value)
    }

    fn is_new(&self, call: &Call) -> bool {
        self.newest
            .iter()
            .filter(|(arch, _)| arch.audit() == call.arch)
            .any(|(arch, newest)| match arch {
                Arch::X86_64 => call.number & X32 == 0 && call.number > *newest,
                Arch::X32 => call.number & X32 != 0 && call.number > *newest,
                Arch::S390 | Arch::S390x => call.number == 0 || call.number > *newest,
                _ => call.number > *newest,
            })
    }
}

/// libseccomp exports in the byte order of the filter's architectures; but some distances and returns it leaves in this machine's order, which
/// nobody noticed, as nobody runs such a filter on another machine. Which order was meant is plain: the other makes no sense.
fn in_order(mut program: Program, arch: Arch, profile: &Profile) -> Program {
    if !arch.big_endian() {
        return program;
    }
    let actions = profile
        .rules
        .iter()
        .map(|rule| rule.action)
        .chain([profile.default_action, Action::KillThread]);
    let returns: Vec<_> = actions.map(Action::to_return).collect();
    let length = program.len() as u32;
    for instruction in &mut program.instructions {
        instruction.code = instruction.code.swap_bytes();
        let meant = match instruction.code {
            JUMP => instruction.k.swap_bytes() < length,
            RETURN => returns.contains(&instruction.k.swap_bytes()),
            _ => true,
        };
        if meant {
            instruction.k = instruction.k.swap_bytes();
        }
    }
    program
}
