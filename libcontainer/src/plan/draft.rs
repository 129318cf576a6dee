//! A plan while it is being written: what the subject files add to.

use stage::step::{Handed, Slot, Step};

use super::form::Owned;
use super::{
    CONTROL, HandedSource, LaunchKind, LaunchPlan, OnError, Planned, ProcessFacts, Shape,
    SlotSource,
};
use crate::config::Process;
use crate::error::Pointer;

/// Where the container's own process stands.
pub(super) const CONTAINER_PROCESS: Pointer = Pointer::fixed("config.json#/process");

/// What create and exec share.
pub(super) struct Draft<'a> {
    pub plan: LaunchPlan,
    pub process: &'a Process,
    /// The container's own process, which says what `process` leaves open; for create they are the same.
    pub container: &'a Process,
    /// Where `process` stands: `config.json#/process`, `process.json#`.
    pub document: Pointer,
    pub facts: ProcessFacts,
}

impl<'a> Draft<'a> {
    pub fn new(
        kind: LaunchKind,
        shape: Shape,
        process: &'a Process,
        container: &'a Process,
        document: Pointer,
        facts: ProcessFacts,
    ) -> Draft<'a> {
        let plan = LaunchPlan {
            kind,
            shape,
            clone_flags: 0,
            into_cgroup: facts.into_cgroup,
            awaits_go: !facts.into_cgroup || facts.intel_rdt,
            slots: vec![SlotSource::Control],
            handed: Vec::new(),
            steps: Vec::with_capacity(64),
            needs_maps: false,
            forks: false,
            host_hooks: false,
            rlimits: Vec::new(),
            preserved: 0,
            filter: None,
        };
        debug_assert_eq!(plan.slots[usize::from(CONTROL)], SlotSource::Control);
        Draft {
            plan,
            process,
            container,
            document,
            facts,
        }
    }

    /// The pointer to a key of the process.
    pub fn at(&self, key: &str) -> Pointer {
        self.document.key(key)
    }

    /// What the process says of `key`, else what the container's own does; with the place it stands at.
    pub fn choose<T>(
        &self,
        key: &str,
        pick: impl Fn(&'a Process) -> Option<T>,
    ) -> (Option<T>, Pointer) {
        match pick(self.process) {
            None if !std::ptr::eq(self.process, self.container) => {
                (pick(self.container), CONTAINER_PROCESS.key(key))
            }
            value => (value, self.document.key(key)),
        }
    }

    /// A step whose failure ends the launch.
    pub fn push(&mut self, at: &Pointer, step: Step<Owned>) {
        self.push_or(at, step, OnError::Fail);
    }

    pub fn push_or(&mut self, at: &Pointer, step: Step<Owned>, on_error: OnError) {
        self.plan.steps.push(Planned {
            step,
            on_error,
            at: at.clone(),
        });
    }

    /// A step, and the one that takes its place when it fails with one of `errnos`.
    pub fn push_instead(
        &mut self,
        at: &Pointer,
        step: Step<Owned>,
        errnos: [u8; 4],
        other: Step<Owned>,
    ) {
        self.push_or(at, step, OnError::Instead(errnos));
        self.push(at, other);
    }

    pub fn slot(&mut self, source: SlotSource) -> Slot {
        self.plan.slots.push(source);
        // At most one slot for each namespace and a handful of others.
        Slot::try_from(self.plan.slots.len() - 1).unwrap_or(Slot::MAX)
    }

    /// The slot of the parent's `/proc`, made at its first use.
    pub fn proc(&mut self) -> Slot {
        match self
            .plan
            .slots
            .iter()
            .position(|slot| *slot == SlotSource::Proc)
        {
            Some(index) => Slot::try_from(index).unwrap_or(Slot::MAX),
            None => self.slot(SlotSource::Proc),
        }
    }

    /// A source that both branches of a conditional step name is one source.
    pub fn handed(&mut self, source: HandedSource) -> Handed {
        let known = self
            .plan
            .handed
            .iter()
            .position(|known| known.is_same(&source));
        let index = known.unwrap_or_else(|| {
            self.plan.handed.push(source);
            self.plan.handed.len() - 1
        });
        // A config.json with 65536 mounts runs into fs.mount-max before this matters.
        Handed::try_from(index).unwrap_or(Handed::MAX)
    }
}
