//! Into the namespaces: which the clone makes, which the stage unshares or joins, and in what order their owners allow.

use stage::step::Step;

use super::create::{Create, linux};
use super::draft::Draft;
use super::exec::Exec;
use super::flags::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME,
    CLONE_NEWUSER, CLONE_NEWUTS,
};
use super::form::Text;
use super::{PlanFacts, Shape, SlotSource};
use crate::config::{Namespace, Namespaces, TimeOffset};

/// Which of the three ways in.
pub(super) fn shape(namespaces: &Namespaces, facts: &PlanFacts) -> Shape {
    let joins = kinds(namespaces).any(|(_, namespace)| matches!(namespace, Namespace::Path(..)));
    match &namespaces.user {
        Namespace::New => Shape::NewUser,
        Namespace::Path(..) if !facts.joined.same_user => Shape::Joins,
        _ if joins => Shape::Joins,
        _ => Shape::AtClone,
    }
}

/// All but the user namespace. The mount namespace is last: joining one changes our root.
fn kinds(namespaces: &Namespaces) -> impl Iterator<Item = (u32, &Namespace)> {
    [
        (CLONE_NEWPID, &namespaces.pid),
        (CLONE_NEWNET, &namespaces.network),
        (CLONE_NEWIPC, &namespaces.ipc),
        (CLONE_NEWUTS, &namespaces.uts),
        (CLONE_NEWCGROUP, &namespaces.cgroup),
        (CLONE_NEWTIME, &namespaces.time),
        (CLONE_NEWNS, &namespaces.mount),
    ]
    .into_iter()
}

/// CLONE_NEW* of what the configuration lists, the user namespace included: what a later exec joins. A mount namespace is always there.
pub(super) fn listed(namespaces: &Namespaces) -> u32 {
    let user = match namespaces.user {
        Namespace::Host => 0,
        _ => CLONE_NEWUSER,
    };
    kinds(namespaces)
        .filter(|(_, namespace)| !matches!(namespace, Namespace::Host))
        .fold(user | CLONE_NEWNS, |flags, (kind, _)| flags | kind)
}

/// CLONE_NEW* of what is to be made.
fn made(namespaces: &Namespaces) -> u32 {
    let made = kinds(namespaces)
        .filter(|(_, namespace)| matches!(namespace, Namespace::New))
        .fold(0, |flags, (kind, _)| flags | kind);
    // Nothing is ever mounted in the host's mount namespace, whatever the configuration leaves out.
    match namespaces.mount {
        Namespace::Path(..) => made,
        _ => made | CLONE_NEWNS,
    }
}

/// Where the clone cannot place us where our limits are, we wait until the parent has.
pub(super) fn await_cgroup(draft: &mut Draft<'_>) {
    if draft.plan.awaits_go {
        let key = match draft.plan.into_cgroup {
            true => "intelRdt",
            false => "cgroupsPath",
        };
        draft.push(&linux(key), Step::AwaitGo {});
    }
}

/// Everything between the stage's start and the container's namespaces.
pub(super) fn enter(c: &mut Create<'_>) {
    let namespaces = &c.config.namespaces;
    match c.draft.plan.shape {
        Shape::NewUser => new_user(c),
        Shape::Joins if joins_user(c) => joined_user(c),
        Shape::AtClone | Shape::Joins => {
            let mut made = made(namespaces);
            // A time namespace's offsets are written from outside it; a cgroup namespace's root is the cgroup we are in.
            let mut later = CLONE_NEWTIME;
            if !c.draft.plan.into_cgroup {
                later |= CLONE_NEWCGROUP;
            }
            c.draft.plan.clone_flags = u64::from(made & !later);
            made &= later;
            new_time(c, made);
            undumpable(c);
            join(c, u32::MAX);
            unshare(c, made & !CLONE_NEWTIME);
            fork(c, matches!(namespaces.pid, Namespace::Path(..)));
        }
    }
}

/// Whether the stage ends up in another user namespace than ours.
pub(super) fn enters_user(c: &Create<'_>) -> bool {
    c.draft.plan.shape == Shape::NewUser || joins_user(c)
}

fn joins_user(c: &Create<'_>) -> bool {
    matches!(c.config.namespaces.user, Namespace::Path(..)) && !c.facts.joined.same_user
}

/// Shape (b). Namespaces that exist already cannot belong to the new user namespace: joined before it.
fn new_user(c: &mut Create<'_>) {
    let at = linux("namespaces");
    let made = made(&c.config.namespaces);
    join(c, u32::MAX);
    // Still dumpable: the uid_map of a non-dumpable process belongs to the host's root.
    c.draft.push(&at, Step::NewUser {});
    c.draft.plan.needs_maps = true;
    // The offsets' file is ours only while we are dumpable and have not changed our uid.
    new_time(c, made);
    undumpable(c);
    c.draft.push(&at, Step::BecomeRoot {});
    unshare(c, made & !CLONE_NEWTIME);
    let pid = &c.config.namespaces.pid;
    fork(c, !matches!(pid, Namespace::Host));
}

/// Shape (c) with a user namespace: what it does not own comes before it, what it owns after it.
fn joined_user(c: &mut Create<'_>) {
    let made = made(&c.config.namespaces);
    // Before it: root of that namespace could look into us.
    undumpable(c);
    join(c, c.facts.joined.foreign);
    if let Namespace::Path(path, index) = &c.config.namespaces.user {
        join_one(c, CLONE_NEWUSER, path, *index);
    }
    new_time(c, made);
    c.draft.push(&linux("namespaces"), Step::BecomeRoot {});
    join(c, !c.facts.joined.foreign);
    unshare(c, made & !CLONE_NEWTIME);
    let pid = &c.config.namespaces.pid;
    fork(c, !matches!(pid, Namespace::Host));
}

/// Joins the namespaces given by path whose kind is among `among`.
fn join(c: &mut Create<'_>, among: u32) {
    for (kind, namespace) in kinds(&c.config.namespaces) {
        if let Namespace::Path(path, index) = namespace
            && kind & among != 0
        {
            join_one(c, kind, path, *index);
        }
    }
}

fn join_one(c: &mut Create<'_>, kind: u32, path: &std::path::Path, index: usize) {
    let at = linux("namespaces").index(index);
    let source = SlotSource::Namespace {
        kind,
        path: path.to_owned(),
        at: at.clone(),
    };
    let namespace = c.draft.slot(source);
    c.draft.push(&at, Step::Join { namespace, kind });
    // R5: whoever shares the namespace finds nothing of the host's in our table.
    c.draft.push(&at, Step::CloseSlot { slot: namespace });
}

fn unshare(c: &mut Create<'_>, kinds: u32) {
    if kinds != 0 {
        c.draft.push(&linux("namespaces"), Step::Unshare { kinds });
    }
}

/// The time namespace is unshared by itself: its offsets can be written only until a process is in it.
fn new_time(c: &mut Create<'_>, made: u32) {
    if made & CLONE_NEWTIME == 0 {
        return;
    }
    unshare(c, CLONE_NEWTIME);
    if !c.config.time_offsets.is_empty() {
        let proc = c.draft.proc();
        let text = Text::new(offsets(&c.config.time_offsets));
        c.draft
            .push(&linux("timeOffsets"), Step::TimeOffsets { proc, text });
    }
}

/// One line for each clock, as proc_pid_timens_offsets(5) has it.
fn offsets(offsets: &[TimeOffset]) -> String {
    offsets
        .iter()
        .map(|offset| {
            format!(
                "{} {} {}\n",
                offset.clock, offset.seconds, offset.nanoseconds
            )
        })
        .collect()
}

fn undumpable(c: &mut Create<'_>) {
    c.draft.push(&linux("namespaces"), Step::Undumpable {});
}

/// Into the pid namespace, which takes a child; else into the time namespace, which a child would have been born into.
fn fork(c: &mut Create<'_>, needed: bool) {
    let at = linux("namespaces");
    if needed {
        c.draft.push(&at, Step::Fork {});
        c.draft.plan.forks = true;
    } else if matches!(c.config.namespaces.time, Namespace::New) {
        let proc = c.draft.proc();
        c.draft.push(&at, Step::EnterNewTime { proc });
    }
}

/// A session of its own, so that no terminal of the caller's can be reached (R13).
pub(super) fn new_session(draft: &mut Draft<'_>) {
    let at = draft.document.clone();
    draft.push(&at, Step::NewSession {});
}

pub(super) fn loopback(c: &mut Create<'_>) {
    if matches!(c.config.namespaces.network, Namespace::New) {
        c.draft.push(&linux("namespaces"), Step::LoopbackUp {});
    }
}

/// exec: all of init's namespaces at once, through its pidfd.
pub(super) fn enter_init(e: &mut Exec<'_>) {
    let at = linux("namespaces");
    let kinds = e.target.namespaces;
    e.draft.push(&at, Step::Undumpable {});
    if kinds == 0 {
        return;
    }
    let init = e.draft.slot(SlotSource::InitPidfd);
    e.draft.push(&at, Step::JoinInit { init, kinds });
    e.draft.push(&at, Step::CloseSlot { slot: init });
    if kinds & CLONE_NEWUSER != 0 {
        e.draft.push(&at, Step::BecomeRoot {});
    }
    if kinds & CLONE_NEWPID != 0 {
        e.draft.push(&at, Step::Fork {});
        e.draft.plan.forks = true;
    }
}
