//! From rules to a program.
//!
//! The layout, from the top: the architecture is compared, the native one first; then the number of the call walks down a balanced tree, whose
//! leaves are ranges of numbers with one fate, those of many numbers near the top; where arguments matter, a leaf goes on to their tests. The kernel walks a new filter once for
//! each number to learn which calls are always allowed, so a shallow tree makes not only calls but also loading cheap.

mod arguments;
mod assemble;
mod tree;

use crate::action::Action;
use crate::arch::Arch;
use crate::profile::Profile;
use crate::program::{ARCH_OFFSET, JUMP_EQUAL, MOST_INSTRUCTIONS, Program};
use crate::rules::{Conflict, Ruleset, UnknownName};
use assemble::{Assembler, Place};

/// A profile as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    pub program: Program,
    /// Names in the profile that no architecture has a call for: they say nothing.
    pub unknown: Vec<UnknownName>,
}

/// Why a valid profile has no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error("the profile takes {instructions} instructions: the kernel takes {MOST_INSTRUCTIONS}")]
    TooLarge { instructions: usize },
    #[error("this machine's architecture has no table of system calls")]
    UnknownMachine,
}

/// Compiles a profile for the machine this program was built for.
/// Errors: rules that contradict each other; more instructions than the kernel takes.
pub fn compile(profile: &Profile) -> Result<Compiled, Error> {
    compile_for(profile, Arch::native().ok_or(Error::UnknownMachine)?)
}

/// Compiles a profile for a machine whose native architecture this is. Errors: as [`compile`].
pub fn compile_for(profile: &Profile, native: Arch) -> Result<Compiled, Error> {
    let ruleset = Ruleset::new(profile, native)?;
    Ok(Compiled {
        program: lay_out(&ruleset)?,
        unknown: ruleset.unknown,
    })
}

/// The program that decides as [`Ruleset::decide`] does. Errors: [`Error::TooLarge`].
pub fn lay_out(ruleset: &Ruleset) -> Result<Program, Error> {
    let mut assembler = Assembler::new();
    let mut rest = Place::Return(Action::KillThread.to_return());
    let mut audits: Vec<u32> = Vec::with_capacity(ruleset.architectures.len());
    for rules in &ruleset.architectures {
        if !audits.contains(&rules.arch.audit()) {
            audits.push(rules.arch.audit());
        }
    }
    for audit in audits.iter().rev() {
        let numbers = tree::numbers(ruleset, *audit, &mut assembler);
        rest = assembler.branch(JUMP_EQUAL, *audit, numbers, rest);
    }
    let start = assembler.load(ARCH_OFFSET, rest);
    let program = assembler.finish(start);
    match program.len() {
        ..=MOST_INSTRUCTIONS => Ok(program),
        instructions => Err(Error::TooLarge { instructions }),
    }
}
