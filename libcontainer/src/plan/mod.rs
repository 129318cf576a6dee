//! The plan of a launch: everything a create, run or exec will do, decided before anything is touched.
//!
//! Pure: no function below makes a system call or can fail. What only the kernel can tell stands in the plan as a conditional step
//! ([`OnError`]). The order of the steps is `order.rs`'s business, the files beside it each know one subject.

mod call;
mod cgroup_mounts;
mod create;
mod describe;
mod devices;
mod draft;
mod exec;
mod explain;
mod facts;
mod failure;
mod flags;
mod form;
mod hooks;
mod identity;
mod limits;
mod mounts;
mod namespaces;
mod order;
mod process;
mod rootfs;
mod seccomp;
#[cfg(test)]
mod tests;
mod words;

use std::os::fd::RawFd;
use std::path::PathBuf;

use stage::step::{Slot, Step};
pub use stage::wire::OnError;

use crate::config::IdMaps;
use crate::error::Pointer;

pub use explain::{Format, explain};
pub use facts::{
    CreateRequest, ExecRequest, ExecTarget, JoinedFacts, PlanFacts, ProcessFacts, Start,
};
pub use failure::{StepFailed, render, render_note, render_source};
pub use form::{Owned, Text};

/// The slot of the control socket, in every plan.
pub const CONTROL: Slot = 0;

/// A launch, decided.
#[derive(Debug, Clone)]
pub struct LaunchPlan {
    pub kind: LaunchKind,
    pub shape: Shape,
    /// CLONE_NEW* for the stage's own clone.
    pub clone_flags: u64,
    /// The clone alone puts the stage into its cgroup (CLONE_INTO_CGROUP); on a hybrid machine it does so for one hierarchy of several.
    pub into_cgroup: bool,
    /// The stage waits for *go* ([`Step::AwaitGo`] is its first step): it enters v1 hierarchies meanwhile, or somebody puts it into
    /// its unit or its resctrl group.
    pub awaits_go: bool,
    /// What the launch opens before the clone; the index is the [`Slot`].
    pub slots: Vec<SlotSource>,
    /// What the parent clones when the stage asks for it; the index is that of the stage's `WantSource`.
    pub handed: Vec<HandedSource>,
    /// What the stage does.
    pub steps: Vec<Planned>,
    /// The stage asks for id maps ([`Step::NewUser`]).
    pub needs_maps: bool,
    /// The init is a child of the first stage: its pidfd comes with the `Init` message, and the first stage is to be reaped.
    pub forks: bool,
    /// The stage asks for the host-side hooks and network devices ([`Step::HostHooks`]).
    pub host_hooks: bool,
    /// Set by the parent with prlimit(2) when the stage is ready: in a user namespace the stage has no right to raise them. Elsewhere it
    /// sets its own ([`Step::Rlimit`]).
    pub rlimits: Vec<PlannedLimit>,
    /// How many fds from 3 on the program keeps.
    pub preserved: u32,
    /// The seccomp filter of the process.
    pub filter: Option<PlannedFilter>,
}

/// What a launch knows of a seccomp filter before it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedFilter {
    /// SECCOMP_FILTER_FLAG_* (seccomp(2)).
    pub flags: u32,
    /// It notifies: somebody takes the listener.
    pub listens: bool,
    /// It is loaded before the stage is ready, which asks for it ([`Step::TakeFilter`]). Otherwise it comes with the word that commits.
    pub early: bool,
}

/// What is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchKind {
    /// A container's init.
    Create,
    /// A further process in a running container.
    Exec,
}

/// The three ways into namespaces (ARCHITECTURE.md "A create, in order").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// No user namespace, nothing joined: the clone makes everything.
    AtClone,
    /// A new user namespace, which the rest must belong to: the stage unshares.
    NewUser,
    /// Some namespace exists already: the stage joins.
    Joins,
}

/// A step with its reason.
#[derive(Debug, Clone)]
pub struct Planned {
    pub step: Step<Owned>,
    pub on_error: OnError,
    /// Where in the user's input it comes from; for what no key asks for, the closest parent.
    pub at: Pointer,
}

/// A resource limit of the process.
#[derive(Debug, Clone)]
pub struct PlannedLimit {
    /// RLIMIT_* number.
    pub resource: u32,
    /// `RLIMIT_NOFILE`.
    pub name: &'static str,
    pub soft: u64,
    pub hard: u64,
    pub at: Pointer,
}

/// An fd that the stage holds from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotSource {
    /// The stage's end of the control socket.
    Control,
    /// The parent's `/proc`, opened with O_PATH and proven to be procfs.
    Proc,
    /// A detached recursive clone of the rootfs, with this propagation (MS_*; 0: as it is).
    Rootfs {
        path: PathBuf,
        propagation: u64,
        at: Pointer,
    },
    /// A namespace file. `kind` is its CLONE_NEW*.
    Namespace {
        kind: u32,
        path: PathBuf,
        at: Pointer,
    },
    /// The start fifo, opened for reading and writing: the stage's read then waits for the byte of `start`, never for an opener.
    StartFifo,
    /// The pidfd of the container's init.
    InitPidfd,
    /// The reading end of a pipe that hangs up when the parent ends.
    Lifeline,
}

/// A detached clone that the parent makes when the stage asks for it.
#[derive(Debug, Clone)]
pub enum HandedSource {
    /// open_tree(OPEN_TREE_CLONE) of a host path.
    Bind {
        path: PathBuf,
        recursive: bool,
        /// MS_* for the clone, before it is handed over; 0: as it is.
        propagation: u64,
        idmap: Option<IdmapSource>,
        at: Pointer,
    },
}

impl HandedSource {
    /// One place of the configuration asks for the same clone only with the same id map.
    fn is_same(&self, other: &HandedSource) -> bool {
        let HandedSource::Bind {
            path,
            recursive,
            at,
            ..
        } = self;
        let HandedSource::Bind {
            path: other_path,
            recursive: other_recursive,
            at: other_at,
            ..
        } = other;
        (path, recursive, at) == (other_path, other_recursive, other_at)
    }
}

/// The id map of a bind mount.
#[derive(Debug, Clone)]
pub struct IdmapSource {
    /// Empty: those of the container's user namespace.
    pub maps: IdMaps,
    pub recursive: bool,
}

/// CLONE_NEW* of the namespaces that the configuration lists, new or by path.
pub fn listed_namespaces(namespaces: &crate::config::Namespaces) -> u32 {
    namespaces::listed(namespaces)
}

impl LaunchPlan {
    /// `args[0]`.
    fn program(&self) -> String {
        let program = self.steps.iter().find_map(|planned| match &planned.step {
            Step::Arguments { args, .. } => Some(args.0.first()?.to_string_lossy().into_owned()),
            _ => None,
        });
        program.unwrap_or_default()
    }

    /// The buffer the stage reads. `fds` are the numbers that the slots have in the stage, in their order.
    pub fn encode(&self, fds: &[RawFd]) -> Vec<u8> {
        form::encode(&self.steps, self.preserved, fds)
    }
}
