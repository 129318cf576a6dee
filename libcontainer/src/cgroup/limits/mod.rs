//! Limits as a plan: which value goes into which file of the cgroup, in which order, and which key of the input is to blame.
//!
//! Planning is pure: [`unified`] and [`legacy`] turn [`Resources`] into [`Step`]s for cgroup2 and for v1 hierarchies, conversions and
//! rounding included (docs/compatibility.md "Resources"); `explain` shows them. What only the kernel can tell stands in the step, as in a
//! launch: the order of two values that check each other, a file that older kernels lack. [`apply`] does them, and names the field, the
//! file, the value and the kernel's reason when one is refused.

mod apply;
mod legacy;
mod unified;

use std::borrow::Cow;

use crate::Pointer;
use crate::config::Resources;

pub(super) use apply::{apply, missing_controllers};

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
    /// Two limits that the kernel checks against each other, as they stand at that moment: when the first is refused, the other goes first.
    EitherOrder(Write, Write),
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
pub fn plan(version: Version, resources: &Resources, origin: Origin) -> Vec<Step> {
    match version {
        Version::V1 => legacy::plan(resources, origin),
        Version::V2 => unified::plan(resources, origin),
    }
}

impl Step {
    /// The same, to change their values.
    pub fn writes_mut(&mut self) -> impl Iterator<Item = &mut Write> {
        let (some, rest): (&mut [Write], [Option<&mut Write>; 2]) = match self {
            Step::Write(write) | Step::IfPresent(write) | Step::ReadBack(write) => {
                (&mut [], [Some(write), None])
            }
            Step::NotBelowUsage { limit, .. } => (&mut [], [Some(limit), None]),
            Step::EitherOrder(one, other) => (&mut [], [Some(one), Some(other)]),
            Step::FirstPresent(writes) => (writes, [None, None]),
        };
        some.iter_mut().chain(rest.into_iter().flatten())
    }

    /// The writes that the step may do.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        let (some, rest): (&[Write], [Option<&Write>; 2]) = match self {
            Step::Write(write) | Step::IfPresent(write) | Step::ReadBack(write) => {
                (&[], [Some(write), None])
            }
            Step::NotBelowUsage { limit, .. } => (&[], [Some(limit), None]),
            Step::EitherOrder(one, other) => (&[], [Some(one), Some(other)]),
            Step::FirstPresent(writes) => (writes, [None, None]),
        };
        some.iter().chain(rest.into_iter().flatten())
    }
}

impl Origin {
    /// The pointer of a key given below `linux.resources`, as `memory/limit`.
    pub fn pointer(self, key: &str) -> Pointer {
        let path = |document: Pointer| key.split('/').fold(document, |at, part| at.key(part));
        match self {
            Origin::Config => path(Pointer::CONFIG.key("linux").key("resources")),
            Origin::Document => path(Pointer::RESOURCES),
            Origin::Flags => flag(key).map_or_else(|| path(Pointer::RESOURCES), Pointer::fixed),
        }
    }
}

/// The flag of `update` that sets a key.
fn flag(key: &str) -> Option<&'static str> {
    Some(match key {
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
