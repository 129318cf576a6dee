//! The rules of what a process gets of the processors and the disks: scheduler, I/O priority, CPU affinity.

use crate::config::errors::{Findings, Place, quoted};
use crate::config::names::{self, lookup};
use crate::config::{ExecCpuAffinity, Scheduler, raw};

/// NR_CPUS of the largest distribution kernels.
const MOST_CPUS: u32 = 8192;
/// `linux/ioprio.h`.
const IOPRIO_CLASS_SHIFT: u16 = 13;

pub(super) fn scheduler(
    raw: &raw::Scheduler<'_>,
    at: &Place<'_>,
    found: &mut Findings,
) -> Option<Scheduler> {
    let name = raw.policy.as_deref().unwrap_or_default();
    let policy = lookup(names::SCHED_POLICIES, name);
    if policy.is_none() {
        let message = if name.is_empty() {
            "scheduler policy is required".to_owned()
        } else {
            format!("unknown scheduler policy {}", quoted(name))
        };
        found.error(&at.key("policy"), message);
    }
    let flags = scheduler_flags(raw, &at.key("flags"), found);
    let policy = policy?;
    let (nice, priority) = (
        raw.nice.unwrap_or_default(),
        raw.priority.unwrap_or_default(),
    );
    if matches!(policy, names::SCHED_OTHER | names::SCHED_BATCH) && !(-20..=19).contains(&nice) {
        found.error(
            &at.key("nice"),
            format!("invalid scheduler.nice: {nice} is not between -20 and 19"),
        );
    }
    let realtime = matches!(policy, names::SCHED_FIFO | names::SCHED_RR);
    if priority != 0 && !realtime {
        found.error(
            &at.key("priority"),
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        );
    } else if realtime && !(1..=99).contains(&priority) {
        found.error(
            &at.key("priority"),
            format!("{priority} is not between 1 and 99"),
        );
    }
    let times = [raw.runtime, raw.deadline, raw.period].map(Option::unwrap_or_default);
    if policy != names::SCHED_DEADLINE && times != [0; 3] {
        found.error(
            at,
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        );
    }
    let [runtime, deadline, period] = times;
    Some(Scheduler {
        policy,
        flags,
        nice,
        priority: u32::try_from(priority).unwrap_or_default(),
        runtime,
        deadline,
        period,
    })
}

fn scheduler_flags(raw: &raw::Scheduler<'_>, at: &Place<'_>, found: &mut Findings) -> u64 {
    let mut flags = 0;
    for (index, flag) in raw.flags.as_deref().unwrap_or_default().iter().enumerate() {
        match lookup(names::SCHED_FLAGS, flag) {
            Some(bit) => flags |= bit,
            None => found.error(
                &at.index(index),
                format!("unknown scheduler flag {}", quoted(flag)),
            ),
        }
    }
    flags
}

pub(super) fn io_priority(
    raw: &raw::IoPriority<'_>,
    at: &Place<'_>,
    found: &mut Findings,
) -> Option<u16> {
    let name = raw.class.as_deref().unwrap_or_default();
    let class = lookup(names::IO_CLASSES, name)
        .ok_or_else(|| format!("invalid ioPriority.Class: {}", quoted(name)));
    let class = found.check(&at.key("class"), class);
    let priority = raw.priority.unwrap_or_default();
    let level = u16::try_from(priority).ok().filter(|level| *level <= 7);
    let level = found.check(
        &at.key("priority"),
        level.ok_or_else(|| format!("invalid ioPriority.Priority: {priority}")),
    );
    Some(class? << IOPRIO_CLASS_SHIFT | level?)
}

pub(super) fn exec_cpu_affinity(
    raw: &raw::ExecCpuAffinity<'_>,
    at: &Place<'_>,
    found: &mut Findings,
) -> ExecCpuAffinity {
    let mut mask = |name, list: &Option<raw::Text<'_>>| {
        let list = list.as_deref().filter(|list| !list.is_empty())?;
        let words = names::number_list(list, MOST_CPUS).filter(|words| !words.is_empty());
        let words = found.check(
            &at.key(name),
            words.ok_or_else(|| format!("{} is no list of CPUs such as 0-3,7", quoted(list))),
        )?;
        Some(words.into_iter().flat_map(u64::to_le_bytes).collect())
    };
    ExecCpuAffinity {
        initial: mask("initial", &raw.initial),
        last: mask("final", &raw.last),
    }
}
