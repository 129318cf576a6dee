//! update: other limits for a container that lives.
//!
//! Only what the request names is written, with the other half of a pair where the kernel or a conversion wants both (quota and period,
//! memory and swap). In this order, under the container's lock:
//!
//! 1. The record gets what the files say now (`undo`).
//! 2. The files are written.
//! 3. The record gets the new limits and loses `undo`, both in one rename.
//!
//! A failure in 2 or 3 puts the files back. A kill leaves `undo` behind, and the next update begins with it: so the record's `resources`
//! are always those of the last update that succeeded, and nothing of one that did not is left once another was made.

use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::cgroup::limits::{self, Origin};
use crate::config::{self, Resources, SchemaLine};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Observer};
use crate::host::Host;
use crate::intel_rdt;
use crate::request::UpdateRequest;
use crate::state::{Entry, Record, Status};

use super::cgroup_of;

/// How long an update waits for another command that works on the container.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Changes the limits. Errors: InvalidConfig and Unsupported with what is wrong in the request, before anything is touched; WrongStatus;
/// Refused, with the former limits in force again. A warning goes to the observer where they are not.
pub fn update(
    entry: &Entry,
    host: &Host,
    request: &UpdateRequest,
    observer: &Observer,
) -> Result<(), Error> {
    let (resources, origin, schemata) = asked(request)?;
    entry.lock(Instant::now() + LOCK_WAIT)?;
    let done = update_locked(entry, host, (&resources, origin), schemata, observer);
    entry.unlock();
    done
}

fn asked(request: &UpdateRequest) -> Result<(Resources, Origin, Vec<SchemaLine>), Error> {
    match request {
        UpdateRequest::Document(bytes) => {
            let resources = config::resources_document(bytes)?;
            Ok((resources, Origin::Document, Vec::new()))
        }
        UpdateRequest::Flags(flags) => {
            let resources = flags.resources().normalized();
            resources.check(&|key| Origin::Flags.pointer(key))?;
            let (cache, bandwidth) = (&flags.l3_cache_schema, &flags.mem_bw_schema);
            let schemata = config::rdt_flags(cache.as_deref(), bandwidth.as_deref())?;
            Ok((resources, Origin::Flags, schemata))
        }
    }
}

fn update_locked(
    entry: &Entry,
    host: &Host,
    (asked, origin): (&Resources, Origin),
    schemata: Vec<SchemaLine>,
    observer: &Observer,
) -> Result<(), Error> {
    let stopped = || Error::new(ErrorKind::WrongStatus, "container not running");
    let mut record = entry.fresh_record()?.ok_or_else(stopped)?;
    if entry.status(host)? == Status::Stopped {
        return Err(stopped());
    }
    let cgroup = cgroup_of(&record)?;
    let merged = merge(&record.resources, asked);
    let written = with_other_halves(asked, &merged);
    // The whole is planned too: values may contradict others that the request does not name.
    limits::plan(cgroup.version(), &merged, origin)?;
    let steps = limits::plan(cgroup.version(), &written, origin)?;
    let mut rdt = match schemata.is_empty() {
        true => None,
        false => Some(intel_rdt::Update::plan(
            &record.id,
            record.intel_rdt.as_ref(),
            schemata,
            host,
        )?),
    };
    if steps.is_empty() && record.undo.is_empty() && rdt.is_none() {
        return Ok(());
    }
    cgroup.check_marked()?;
    limits::check_machine(&record.cgroups, &written, &steps, origin)?;
    if !record.undo.is_empty() {
        put_back(&cgroup, &mut record, observer);
    }
    record.undo = cgroup.save_limits(&steps);
    let without_group = record.intel_rdt.is_none();
    if let Some(rdt) = &rdt {
        // A group that is about to be made goes with the container, whatever becomes of this update.
        record.set_intel_rdt(Some(&rdt.placement));
    }
    entry.save(&record)?;
    let mut new = record.clone();
    new.resources = merged;
    new.undo = Vec::new();
    let done = cgroup
        .update_limits(&steps, &written)
        .and_then(|()| match &mut rdt {
            Some(rdt) => rdt.apply(|| cgroup.processes()),
            None => Ok(()),
        })
        .and_then(|()| entry.save(&new));
    if let Err(error) = done {
        put_back(&cgroup, &mut record, observer);
        drop(rdt);
        if without_group {
            record.set_intel_rdt(None);
        }
        // Should this fail as well, the next update puts back once more, which changes nothing.
        let _ = entry.save(&record);
        return Err(error);
    }
    if let Some(rdt) = rdt {
        rdt.commit();
    }
    Ok(())
}

/// Best effort: a device may be gone that had a limit. What could not be put back is told, and given up.
fn put_back(cgroup: &Cgroup, record: &mut Record, observer: &Observer) {
    if let Err(error) = cgroup.restore_limits(&std::mem::take(&mut record.undo)) {
        let text = format!(
            "Setting back cgroup configs failed due to error: {error}, your state.json and actual configs might be inconsistent."
        );
        observer.tell(&record.id, Event::Warning { text });
    }
}

/// What the container has after the update.
fn merge(stored: &Resources, asked: &Resources) -> Resources {
    let mut all = stored.clone();
    fn take<T: Clone>(into: &mut Option<T>, from: &Option<T>) {
        if from.is_some() {
            into.clone_from(from);
        }
    }
    let (memory, cpu, block_io) = (&asked.memory, &asked.cpu, &asked.block_io);
    take(&mut all.memory.limit, &memory.limit);
    take(&mut all.memory.reservation, &memory.reservation);
    take(&mut all.memory.swap, &memory.swap);
    if memory.limit == Some(-1) && memory.swap.is_none() {
        // No limit of memory takes that of swap with it, as on v1.
        all.memory.swap = None;
    }
    take(&mut all.memory.kernel_tcp, &memory.kernel_tcp);
    take(&mut all.memory.swappiness, &memory.swappiness);
    take(
        &mut all.memory.disable_oom_killer,
        &memory.disable_oom_killer,
    );
    all.memory.check_before_update |= memory.check_before_update;
    take(&mut all.cpu.shares, &cpu.shares);
    take(&mut all.cpu.quota, &cpu.quota);
    take(&mut all.cpu.burst, &cpu.burst);
    take(&mut all.cpu.period, &cpu.period);
    take(&mut all.cpu.realtime_runtime, &cpu.realtime_runtime);
    take(&mut all.cpu.realtime_period, &cpu.realtime_period);
    take(&mut all.cpu.cpus, &cpu.cpus);
    take(&mut all.cpu.mems, &cpu.mems);
    take(&mut all.cpu.idle, &cpu.idle);
    take(&mut all.pids.limit, &asked.pids.limit);
    take(&mut all.block_io.weight, &block_io.weight);
    take(&mut all.block_io.leaf_weight, &block_io.leaf_weight);
    put_all(
        &mut all.block_io.weight_device,
        &block_io.weight_device,
        |one, other| (one.major, one.minor) == (other.major, other.minor),
    );
    for (into, from) in [
        (
            &mut all.block_io.throttle_read_bps_device,
            &block_io.throttle_read_bps_device,
        ),
        (
            &mut all.block_io.throttle_write_bps_device,
            &block_io.throttle_write_bps_device,
        ),
        (
            &mut all.block_io.throttle_read_iops_device,
            &block_io.throttle_read_iops_device,
        ),
        (
            &mut all.block_io.throttle_write_iops_device,
            &block_io.throttle_write_iops_device,
        ),
    ] {
        put_all(into, from, |one, other| {
            (one.major, one.minor) == (other.major, other.minor)
        });
    }
    put_all(
        &mut all.hugepage_limits,
        &asked.hugepage_limits,
        |one, other| one.page_size == other.page_size,
    );
    take(&mut all.network.class_id, &asked.network.class_id);
    put_all(
        &mut all.network.priorities,
        &asked.network.priorities,
        |one, other| one.name == other.name,
    );
    all.rdma.extend(asked.rdma.clone());
    all.unified.extend(asked.unified.clone());
    all
}

/// Each of `from` in the place of the same one in `into`, or behind all.
fn put_all<T: Clone>(into: &mut Vec<T>, from: &[T], same: impl Fn(&T, &T) -> bool) {
    for one in from {
        match into.iter_mut().find(|other| same(one, other)) {
            Some(other) => other.clone_from(one),
            None => into.push(one.clone()),
        }
    }
}

/// What is written: the request, and of what the container has the values that the kernel or a conversion needs beside it.
fn with_other_halves(asked: &Resources, merged: &Resources) -> Resources {
    let mut written = asked.clone();
    if asked.memory.limit.is_some() || asked.memory.swap.is_some() {
        written.memory.limit = merged.memory.limit;
        written.memory.swap = merged.memory.swap;
        written.memory.check_before_update = merged.memory.check_before_update;
    }
    if asked.cpu.quota.is_some() || asked.cpu.period.is_some() {
        written.cpu.quota = merged.cpu.quota;
        written.cpu.period = merged.cpu.period;
    }
    if asked.cpu.realtime_runtime.is_some() || asked.cpu.realtime_period.is_some() {
        written.cpu.realtime_runtime = merged.cpu.realtime_runtime;
        written.cpu.realtime_period = merged.cpu.realtime_period;
    }
    if asked.cpu.idle == Some(0) {
        // A cgroup that was idle begins with the default weight again.
        written.cpu.shares = merged.cpu.shares;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resources(value: Value) -> Resources {
        serde_json::from_value(value).expect("resources")
    }

    /// (stored, asked, the container's then, what is written)
    #[test]
    fn a_request_is_merged_and_completed() {
        let table = [
            (json!({}), json!({}), json!({}), json!({})),
            (
                json!({"cpu": {"period": 50000, "shares": 7}, "pids": {"limit": 9}}),
                json!({"cpu": {"quota": 10000}}),
                json!({"cpu": {"period": 50000, "quota": 10000, "shares": 7}, "pids": {"limit": 9}}),
                json!({"cpu": {"period": 50000, "quota": 10000}}),
            ),
            (
                json!({"memory": {"limit": 10, "swap": 30, "reservation": 5}}),
                json!({"memory": {"limit": 20}}),
                json!({"memory": {"limit": 20, "swap": 30, "reservation": 5}}),
                json!({"memory": {"limit": 20, "swap": 30}}),
            ),
            (
                json!({"memory": {"limit": 10, "swap": 30}}),
                json!({"memory": {"limit": -1}}),
                json!({"memory": {"limit": -1}}),
                json!({"memory": {"limit": -1}}),
            ),
            (
                json!({"memory": {"limit": 10, "checkBeforeUpdate": true}}),
                json!({"pids": {"limit": -1}}),
                json!({"memory": {"limit": 10, "checkBeforeUpdate": true}, "pids": {"limit": -1}}),
                json!({"pids": {"limit": -1}}),
            ),
            (
                json!({"cpu": {"shares": 512, "idle": 1}}),
                json!({"cpu": {"idle": 0}}),
                json!({"cpu": {"shares": 512, "idle": 0}}),
                json!({"cpu": {"shares": 512, "idle": 0}}),
            ),
            (
                json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]}, "unified": {"a": "1"}}),
                json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2}, {"major": 8, "minor": 16, "rate": 3}]},
                       "unified": {"b": "2"}}),
                json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2}, {"major": 8, "minor": 16, "rate": 3}]},
                       "unified": {"a": "1", "b": "2"}}),
                json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2}, {"major": 8, "minor": 16, "rate": 3}]},
                       "unified": {"b": "2"}}),
            ),
        ];
        for (stored, asked, after, written) in table {
            let asked = resources(asked);
            let merged = merge(&resources(stored), &asked);
            assert_eq!(merged, resources(after));
            assert_eq!(with_other_halves(&asked, &merged), resources(written));
        }
    }
}
