//! Limits as a plan: which value goes into which file of the cgroup, in which order, and which key of the input is to blame.
//!
//! Planning is pure: [`unified`] and [`legacy`] turn [`Resources`] into [`Step`]s for cgroup2 and for v1 hierarchies, conversions and
//! rounding included (docs/compatibility.md "Resources"); `explain` shows them. What only the kernel can tell stands in the step, as in a
//! launch: the order of two values that check each other, a file that older kernels lack. [`apply`] does them, and names the field, the
//! file, the value and the kernel's reason when one is refused.

mod apply;
mod block_io;
mod describe;
mod legacy;
mod machine;
mod saved;
mod unified;

use std::borrow::Cow;

use crate::Pointer;
use crate::config::{ConfigErrors, Resources};
use crate::error::Refused;

pub(super) use apply::apply;
pub use machine::{check as check_machine, check_delegated};
pub use saved::SavedLimit;
pub(super) use saved::{restoring, save};

use super::Version;

/// One value for one file of the container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// `memory`, `cpu`, `io` …: on v1 it chooses the hierarchy, on v2 it must be enabled. Empty for `cgroup.*` files.
    pub controller: Cow<'static, str>,
    /// `memory.max`
    pub file: Cow<'static, str>,
    pub value: String,
    /// The key that asks for it.
    pub at: Pointer,
}

/// What is done for one or two keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Write(Write),
    /// Not every kernel has the file: without it nothing is written.
    IfPresent(Write),
    /// The first whose file is there. Errors name the last.
    FirstPresent(Vec<Write>),
    /// Limits that the kernel checks against each other, as they stand at that moment: one that is refused is tried again after the
    /// others, as long as that gets any further.
    AnyOrder(Vec<Write>),
    /// The value is read back: the kernel clamps it silently, and a clamped one is an error (v1 `cpu.shares`).
    ReadBack(Write),
    /// A limit below what is in use is refused before anything is written (`checkBeforeUpdate`): `usage` is the file to compare with.
    NotBelowUsage {
        limit: Write,
        usage: Cow<'static, str>,
    },
}

/// Where resources were written down, for the pointers of their errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `config.json#/linux/resources/…`
    Config,
    /// The document given to `update --resources`: `resources.json#/…`
    Document,
    /// Flags of `update`: `--memory`.
    Flags,
}

/// The steps for a hierarchy of this version. On a hybrid machine the v1 hierarchies have the controllers.
/// Errors: values that contradict each other or the version. `resources` is a whole: of an update what it makes of the container's.
pub fn plan(
    version: Version,
    resources: &Resources,
    origin: Origin,
) -> Result<Vec<Step>, ConfigErrors> {
    resources.check_together(version == Version::V2, &|key| origin.pointer(key))?;
    let mut steps = Steps {
        steps: Vec::new(),
        origin,
    };
    match version {
        Version::V1 => legacy::plan(resources, &mut steps),
        Version::V2 => unified::plan(resources, &mut steps),
    }
    Ok(steps.steps)
}

/// What is asked for and has no effect on cgroup2, because only v1 has it. runc passes over the same in silence.
pub fn without_effect(version: Version, resources: &Resources, origin: Origin) -> Vec<Pointer> {
    match version {
        Version::V1 => Vec::new(),
        Version::V2 => unified::without_effect(resources)
            .into_iter()
            .map(|key| origin.pointer(key))
            .collect(),
    }
}

/// A cgroup that this user may not make is done without unless there are limits: then the first of them is what asks for it.
pub(super) fn blame(mut refused: Refused, steps: &[Step]) -> Refused {
    if let Some(write) = steps.iter().flat_map(Step::writes).next() {
        refused.pointer = Some(write.at.clone());
        refused.hint = Some(
            "limits need a cgroup that this user may make: below one that is delegated (systemd-run --user --scope -p Delegate=yes), \
             as linux.cgroupsPath names it; without limits none is needed"
                .to_owned(),
        );
    }
    refused
}

/// Steps that are being planned.
struct Steps {
    steps: Vec<Step>,
    origin: Origin,
}

impl Steps {
    fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Plans `value`, if there is one.
    fn set(
        &mut self,
        controller: &'static str,
        file: &'static str,
        value: Option<impl ToString>,
        key: &[&str],
    ) {
        let write = self.write(controller, file, value, key);
        self.steps.extend(write.map(Step::Write));
    }

    fn write(
        &self,
        controller: &'static str,
        file: &'static str,
        value: Option<impl ToString>,
        key: &[&str],
    ) -> Option<Write> {
        value.map(|value| Write {
            controller: controller.into(),
            file: file.into(),
            value: value.to_string(),
            at: self.origin.pointer(key),
        })
    }

    /// Plans writes that check each other; a single one is a plain write.
    fn any_order<const N: usize>(&mut self, writes: [Option<Write>; N]) {
        let mut writes: Vec<_> = writes.into_iter().flatten().collect();
        match writes.len() {
            0 => {}
            1 => self.steps.extend(writes.pop().map(Step::Write)),
            _ => self.push(Step::AnyOrder(writes)),
        }
    }
}

impl Step {
    /// The same, to change their values.
    pub fn writes_mut(&mut self) -> impl Iterator<Item = &mut Write> {
        let (some, rest): (&mut [Write], Option<&mut Write>) = match self {
            Step::Write(write) | Step::IfPresent(write) | Step::ReadBack(write) => {
                (&mut [], Some(write))
            }
            Step::NotBelowUsage { limit, .. } => (&mut [], Some(limit)),
            Step::AnyOrder(writes) | Step::FirstPresent(writes) => (writes, None),
        };
        some.iter_mut().chain(rest)
    }

    /// The writes that the step may do.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        let (some, rest): (&[Write], Option<&Write>) = match self {
            Step::Write(write) | Step::IfPresent(write) | Step::ReadBack(write) => {
                (&[], Some(write))
            }
            Step::NotBelowUsage { limit, .. } => (&[], Some(limit)),
            Step::AnyOrder(writes) | Step::FirstPresent(writes) => (writes, None),
        };
        some.iter().chain(rest)
    }
}

impl Origin {
    /// The pointer of a key, given as the members and indices below `linux.resources`: `["memory", "limit"]`.
    pub fn pointer(self, key: &[&str]) -> Pointer {
        let below = |document: Pointer| key.iter().fold(document, |at, member| at.key(member));
        match self {
            Origin::Config => below(Pointer::CONFIG.key("linux").key("resources")),
            Origin::Document => below(Pointer::RESOURCES),
            Origin::Flags => flag(key).map_or_else(|| below(Pointer::RESOURCES), Pointer::fixed),
        }
    }
}

/// The flag of `update` that sets a key.
fn flag(key: &[&str]) -> Option<&'static str> {
    Some(match key.join("/").as_str() {
        "memory/limit" => "--memory",
        "memory/reservation" => "--memory-reservation",
        "memory/swap" => "--memory-swap",
        "cpu/shares" => "--cpu-share",
        "cpu/quota" => "--cpu-quota",
        "cpu/period" => "--cpu-period",
        "cpu/burst" => "--cpu-burst",
        "cpu/realtimePeriod" => "--cpu-rt-period",
        "cpu/realtimeRuntime" => "--cpu-rt-runtime",
        "cpu/cpus" => "--cpuset-cpus",
        "cpu/mems" => "--cpuset-mems",
        "cpu/idle" => "--cpu-idle",
        "pids/limit" => "--pids-limit",
        "blockIO/weight" => "--blkio-weight",
        _ => return None,
    })
}

#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;
