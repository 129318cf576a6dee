//! What the process may use: processors, scheduling, memory policy, resource limits.

use stage::step::Step;

use super::create::{Create, linux};
use super::draft::{CONTAINER_PROCESS, Draft};
use super::flags::{EINVAL, EPERM};
use super::form::{Numbers, Text};
use super::{OnError, PlannedLimit};
use crate::config::Rlimit;

/// CONFIG_NR_CPUS is at most 8192; the kernel cuts the mask to what there is and to our cgroup's set.
pub(super) fn all_cpus(draft: &mut Draft<'_>) {
    let at = draft.document.clone();
    let mask = Numbers(vec![u64::MAX; 8192 / 64]);
    draft.push_or(
        &at,
        Step::Affinity { mask },
        OnError::Ignore([EPERM, EINVAL, 0, 0]),
    );
}

/// exec: `execCPUAffinity.initial`, else every CPU.
pub(super) fn first_affinity(draft: &mut Draft<'_>) {
    let (affinity, at) = draft.choose("execCPUAffinity", |process| {
        process.exec_cpu_affinity.as_ref()
    });
    match affinity.and_then(|affinity| affinity.initial.as_deref()) {
        // The clone has put us into the container's cpuset already, which may hold none of these CPUs.
        Some(mask) => draft.push_or(
            &at.key("initial"),
            Step::Affinity { mask: words(mask) },
            OnError::Ignore([EINVAL, 0, 0, 0]),
        ),
        None => all_cpus(draft),
    }
}

/// exec: `execCPUAffinity.final`.
pub(super) fn last_affinity(draft: &mut Draft<'_>) {
    let (affinity, at) = draft.choose("execCPUAffinity", |process| {
        process.exec_cpu_affinity.as_ref()
    });
    if let Some(mask) = affinity.and_then(|affinity| affinity.last.as_deref()) {
        draft.push(&at.key("final"), Step::Affinity { mask: words(mask) });
    }
}

fn words(mask: &[u8]) -> Numbers {
    let word = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    Numbers(mask.chunks(8).map(word).collect())
}

/// Always the container's: runc ignores that of a process.json.
pub(super) fn oom_score_adj(draft: &mut Draft<'_>) {
    if let Some(value) = draft.container.oom_score_adj {
        let proc = draft.proc();
        let value = Text::new(value.to_string());
        draft.push(
            &CONTAINER_PROCESS.key("oomScoreAdj"),
            Step::OomScoreAdj { proc, value },
        );
    }
}

pub(super) fn scheduler(draft: &mut Draft<'_>) {
    let (scheduler, at) = draft.choose("scheduler", |process| process.scheduler);
    if let Some(s) = scheduler {
        let step = Step::Scheduler {
            policy: s.policy,
            flags: s.flags,
            nice: s.nice,
            priority: s.priority,
            runtime: s.runtime,
            deadline: s.deadline,
            period: s.period,
        };
        draft.push(&at, step);
    }
}

pub(super) fn io_priority(draft: &mut Draft<'_>) {
    let (priority, at) = draft.choose("ioPriority", |process| process.io_priority);
    if let Some(value) = priority {
        draft.push(
            &at,
            Step::IoPriority {
                value: u32::from(value),
            },
        );
    }
}

/// The stage lowers and raises its own while it is root. In a user namespace that is no root that may raise: there the parent does it
/// when the stage is ready. (Elsewhere the parent could not: once the user has changed it needs CAP_SYS_RESOURCE even to lower.)
pub(super) fn rlimits(draft: &mut Draft<'_>, in_user_namespace: bool) {
    let (rlimits, at) = draft.choose("rlimits", |process| {
        Some(process.rlimits.as_slice()).filter(|rlimits| !rlimits.is_empty())
    });
    for (index, limit) in rlimits.unwrap_or_default().iter().enumerate() {
        let Rlimit {
            resource,
            name,
            soft,
            hard,
        } = *limit;
        let at = at.index(index);
        if in_user_namespace {
            draft.plan.rlimits.push(PlannedLimit {
                resource,
                name,
                soft,
                hard,
                at,
            });
        } else {
            draft.push(
                &at,
                Step::Rlimit {
                    resource,
                    soft,
                    hard,
                },
            );
        }
    }
}

pub(super) fn memory_policy(c: &mut Create<'_>) {
    if let Some(policy) = &c.config.memory_policy {
        let step = Step::MemoryPolicy {
            mode: policy.mode,
            nodes: Numbers(policy.nodes.clone()),
        };
        c.draft.push(&linux("memoryPolicy"), step);
    }
}

pub(super) fn personality(c: &mut Create<'_>) {
    if let Some(value) = c.config.personality {
        c.draft
            .push(&linux("personality"), Step::Personality { value });
    }
}
