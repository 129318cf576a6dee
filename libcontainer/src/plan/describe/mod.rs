//! One sentence for each step, as `explain` prints it.

mod files;
mod mounts;
mod process;

use stage::step::Step;

use super::form::{Owned, Text};
use super::words::{namespaces, number_list};
use super::{LaunchPlan, SlotSource};

pub(super) use files::{device, point_name};
pub(super) use mounts::superblock;

/// What a step does, in the imperative.
pub(super) fn describe(plan: &LaunchPlan, step: &Step<Owned>) -> String {
    joining(plan, step)
        .or_else(|| preparing(step))
        .or_else(|| mounts::rooting(plan, step))
        .or_else(|| mounts::filesystem(step))
        .or_else(|| mounts::bound(plan, step))
        .or_else(|| files::filling(step))
        .or_else(|| files::running(step))
        .or_else(|| process::settling(step))
        .or_else(|| process::scheduling(step))
        .or_else(|| process::becoming(step))
        .or_else(|| process::ending(step))
        .unwrap_or_else(|| step.name().to_owned())
}

/// A container path as its processes see it.
pub(super) fn inside(path: &Text) -> String {
    let path = path.show();
    match path.starts_with('/') {
        true => path.into_owned(),
        false => format!("/{path}"),
    }
}

pub(super) fn slot(plan: &LaunchPlan, slot: u8) -> String {
    match plan.slots.get(usize::from(slot)) {
        Some(SlotSource::Control) => "the control socket".to_owned(),
        Some(SlotSource::Proc) => "the parent's /proc".to_owned(),
        Some(SlotSource::Rootfs { path, .. }) => format!("the rootfs {}", path.display()),
        Some(SlotSource::Namespace { path, .. }) => path.display().to_string(),
        Some(SlotSource::StartFifo) => "the start fifo".to_owned(),
        Some(SlotSource::InitPidfd) => "init's pidfd".to_owned(),
        Some(SlotSource::Lifeline) => "the pipe that hangs up when the parent ends".to_owned(),
        None => format!("slot {slot}"),
    }
}

fn joining(plan: &LaunchPlan, step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::AwaitGo {} => {
            "enter our cgroup, or wait until the parent has placed us there".to_owned()
        }
        Step::Join { namespace, kind } => {
            format!(
                "join the {} namespace {}",
                namespaces(*kind),
                slot(plan, *namespace)
            )
        }
        Step::JoinInit { kinds, .. } => format!("join init's namespaces: {}", namespaces(*kinds)),
        Step::NewUser {} => "unshare the user namespace; the parent writes its id maps".to_owned(),
        Step::BecomeRoot {} => "become root of the user namespace".to_owned(),
        Step::Unshare { kinds } => format!("unshare namespaces: {}", namespaces(*kinds)),
        Step::Fork {} => "go on as a child, which is in the pid namespace".to_owned(),
        Step::TimeOffsets { text, .. } => {
            format!(
                "set the time offsets: {}",
                text.show().trim_end().replace('\n', ", ")
            )
        }
        Step::EnterNewTime { .. } => "enter the time namespace".to_owned(),
        Step::CloseSlot { slot: closed } => format!("close {}", slot(plan, *closed)),
        Step::Dumpable {} => {
            "let the runtime's user look into us again: it joins our namespaces for exec".to_owned()
        }
        Step::Undumpable {} => {
            "become non-dumpable: nobody in a shared namespace looks into us".to_owned()
        }
        _ => return None,
    })
}

fn preparing(step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::NewSession {} => "start a session of our own".to_owned(),
        Step::OomScoreAdj { value, .. } => format!("set oom_score_adj to {}", value.show()),
        Step::Affinity { mask } if mask.0.iter().all(|word| *word == u64::MAX) => {
            "run on every CPU".to_owned()
        }
        Step::Affinity { mask } => format!("run on CPUs {}", number_list(&mask.0)),
        Step::LoopbackUp {} => "bring lo up".to_owned(),
        Step::HostHooks {} => {
            "wait while the parent moves network devices and runs prestart and createRuntime hooks"
                .to_owned()
        }
        Step::SessionKeyring { name, permissions } => {
            let name = name.show();
            match permissions {
                0 => format!("join the session keyring {name}"),
                0x8 => format!("join the session keyring {name}; let others search it"),
                _ => format!("join the session keyring {name}; let its owner search it"),
            }
        }
        _ => return None,
    })
}
