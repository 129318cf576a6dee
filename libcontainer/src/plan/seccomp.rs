//! The seccomp filter of a process: where in the launch it is taken, and where it is loaded.

use stage::step::Step;

use super::create::Create;
use super::draft::Draft;
use super::{LaunchKind, PlannedFilter, SlotSource, Start, identity};
use crate::config::{self, Namespace};
use crate::error::Pointer;

/// CAP_SYS_ADMIN (linux/capability.h).
const SYS_ADMIN: u64 = 1 << 21;
/// SECCOMP_FILTER_FLAG_NEW_LISTENER (linux/seccomp.h).
const NEW_LISTENER: u32 = 1 << 3;

impl PlannedFilter {
    /// What the configuration says of it.
    pub(super) fn of(seccomp: &config::Seccomp) -> PlannedFilter {
        PlannedFilter {
            flags: seccomp.flags,
            listens: seccomp.agent.is_some(),
            early: seccomp.agent.is_some(),
        }
    }
}

/// The filter is compiled by the parent while the stage works. It waits for none of it where it can: the word that commits brings it.
pub(super) fn take(draft: &mut Draft<'_>, early: bool) {
    if let Some(filter) = &mut draft.plan.filter {
        filter.early |= early;
        // The kernel judges some flags only together with the one that asks for a listener.
        let flags = filter.flags | if filter.listens { NEW_LISTENER } else { 0 };
        let step = match filter.early {
            true => Step::TakeFilter { flags },
            false => Step::ExpectFilter { flags },
        };
        draft.push(&AT, step);
    }
}

/// A filter that notifies. An exec that waits for its agent would stay in the container if we were killed before the agent has the
/// listener; a create's init goes with its container.
pub(super) fn listen(draft: &mut Draft<'_>) {
    if let Some(filter) = draft.plan.filter.filter(|filter| filter.listens) {
        if draft.plan.kind == LaunchKind::Exec {
            let lifeline = draft.slot(SlotSource::Lifeline);
            draft.push(&AT, Step::DieWithParent { lifeline });
        }
        let (effective, permitted, inheritable) = raised(draft);
        let step = Step::Listen {
            flags: filter.flags,
            effective,
            permitted,
            inheritable,
            preserved: draft.plan.preserved,
        };
        draft.push(&AT, step);
    }
}

/// Any other.
pub(super) fn load(draft: &mut Draft<'_>) {
    if let Some(filter) = draft.plan.filter.filter(|filter| !filter.listens) {
        let (effective, permitted, inheritable) = raised(draft);
        let step = Step::Seccomp {
            flags: filter.flags,
            effective,
            permitted,
            inheritable,
            preserved: draft.plan.preserved,
        };
        draft.push(&AT, step);
    }
}

/// Whether processes of others can see the stage wait for its start with CAP_SYS_ADMIN: in a pid namespace that is not the container's own,
/// one with CAP_SYS_PTRACE could take it over. In a user namespace the memory is the parent namespace's (`mm->user_ns`) and out of reach.
pub(super) fn waits_among_strangers(c: &Create<'_>) -> bool {
    let namespaces = &c.config.namespaces;
    keeps_admin(&c.draft)
        && namespaces.pid != Namespace::New
        && namespaces.user == Namespace::Host
        && matches!(c.request.start, Start::AwaitFifo)
}

/// There the filter is loaded before the wait, and the capabilities are the program's from then on, as with runc: the profile must allow the
/// few calls that are left (capset, sendmsg, recvmsg, close_range, read).
pub(super) fn load_before_strangers(c: &mut Create<'_>) {
    if waits_among_strangers(c) {
        load(&mut c.draft);
        identity::set_capabilities(&mut c.draft, 0);
    }
}

/// Whether CAP_SYS_ADMIN must outlive the change to the process's own capabilities: without no-new-privileges the kernel loads no filter
/// for others. execve computes the permitted and effective sets anew from the bounding, inheritable and ambient ones (capabilities(7)), so
/// the program never has it.
pub(super) fn keeps_admin(draft: &Draft<'_>) -> bool {
    draft.plan.filter.is_some() && !draft.process.no_new_privileges
}

/// What is permitted beyond the process's own sets until the load.
pub(super) fn kept(draft: &Draft<'_>) -> u64 {
    if keeps_admin(draft) { SYS_ADMIN } else { 0 }
}

/// The sets for the load: effective, permitted, inheritable.
fn raised(draft: &Draft<'_>) -> (u64, u64, u64) {
    if !keeps_admin(draft) {
        return (0, 0, 0);
    }
    let (capabilities, _) = draft.choose("capabilities", |process| process.capabilities);
    let sets = capabilities.unwrap_or_default();
    (
        sets.effective | SYS_ADMIN,
        sets.permitted | SYS_ADMIN,
        sets.inheritable,
    )
}

/// The container's filter is every process's, also of those executed later.
const AT: Pointer = Pointer::fixed("config.json#/linux/seccomp");
