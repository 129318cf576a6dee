//! `linux.resources` on cgroup2: the values of the specification, which are those of v1, in the units and files of cgroup2.
//!
//! In runc's order: pids, memory, io, cpu, cpuset, hugetlb, rdma, and what `unified` says last, so that it has the last word.

use crate::config::{Cpu, Memory, Resources};

use super::block_io::{self, Files};
use super::{Step, Steps, Write};

/// Where `-1` or anything negative is no limit.
const NO_LIMIT: &str = "max";
/// The kernel's own period, in microseconds: cpu.max has no word for "as it was".
const DEFAULT_PERIOD: u64 = 100_000;

pub(super) fn plan(resources: &Resources, steps: &mut Steps) {
    steps.set(
        "pids",
        "pids.max",
        resources.pids.limit.map(pids_max),
        &["pids", "limit"],
    );
    memory(&resources.memory, steps);
    block_io::plan(&resources.block_io, &Files::UNIFIED, steps);
    cpu(&resources.cpu, steps);
    let cpu = &resources.cpu;
    steps.set("cpuset", "cpuset.cpus", cpu.cpus.as_ref(), &["cpu", "cpus"]);
    steps.set("cpuset", "cpuset.mems", cpu.mems.as_ref(), &["cpu", "mems"]);
    hugepages(resources, ["max", "rsvd.max"], steps);
    rdma(resources, steps);
    for (name, value) in &resources.unified {
        unified(name, value, steps);
    }
}

/// 0 would mean "no process at all": runc gives room for one since 1.4.
pub(super) fn pids_max(limit: i64) -> String {
    match limit {
        ..0 => NO_LIMIT.to_owned(),
        0 => "1".to_owned(),
        _ => limit.to_string(),
    }
}

fn bytes(limit: i64) -> String {
    match limit {
        ..0 => NO_LIMIT.to_owned(),
        _ => limit.to_string(),
    }
}

fn memory(memory: &Memory, steps: &mut Steps) {
    let limit = steps.write(
        "memory",
        "memory.max",
        memory.limit.map(bytes),
        &["memory", "limit"],
    );
    if let (true, Some(limit), Some(1..)) =
        (memory.check_before_update, limit.clone(), memory.limit)
    {
        steps.push(Step::NotBelowUsage {
            limit,
            usage: "memory.current".into(),
        });
    }
    let key = match memory.swap {
        Some(_) => ["memory", "swap"],
        None => ["memory", "limit"],
    };
    let swap = steps.write("memory", "memory.swap.max", swap_max(memory), &key);
    steps.steps.extend(swap.map(swap_step));
    steps.steps.extend(limit.map(Step::Write));
    steps.set(
        "memory",
        "memory.low",
        memory.reservation.map(bytes),
        &["memory", "reservation"],
    );
}

/// Where swap is not accounted there is no file: then nothing is limited, and nothing is swapped.
fn swap_step(swap: Write) -> Step {
    match swap.value.as_str() {
        NO_LIMIT | "0" => Step::IfPresent(swap),
        _ => Step::Write(swap),
    }
}

/// v1 limits memory and swap together, cgroup2 swap by itself. Memory without a limit takes the one of swap with it.
fn swap_max(memory: &Memory) -> Option<String> {
    match (memory.swap, memory.limit) {
        (None, Some(..0)) => Some(NO_LIMIT.to_owned()),
        (None, _) => None,
        (Some(..0), _) => Some(NO_LIMIT.to_owned()),
        (Some(swap), Some(limit @ 0..)) => Some((swap - limit).to_string()),
        (Some(swap), _) => Some(swap.to_string()),
    }
}

fn cpu(cpu: &Cpu, steps: &mut Steps) {
    steps.set("cpu", "cpu.idle", cpu.idle, &["cpu", "idle"]);
    // The kernel keeps the weight of an idle cgroup at its least and takes no other.
    if cpu.idle != Some(1) {
        steps.set(
            "cpu",
            "cpu.weight",
            cpu.shares.map(weight),
            &["cpu", "shares"],
        );
    }
    let key = match cpu.quota {
        Some(_) => ["cpu", "quota"],
        None => ["cpu", "period"],
    };
    let max = (cpu.quota.is_some() || cpu.period.is_some()).then(|| {
        let quota = cpu.quota.filter(|quota| *quota > 0);
        let quota = quota.map_or(NO_LIMIT.to_owned(), |quota| quota.to_string());
        format!("{quota} {}", cpu.period.unwrap_or(DEFAULT_PERIOD))
    });
    // A burst is never above the quota.
    steps.any_order([
        steps.write("cpu", "cpu.max.burst", cpu.burst, &["cpu", "burst"]),
        steps.write("cpu", "cpu.max", max, &key),
    ]);
}

/// Shares of v1 as a weight: their least, default and most (2, 1024, 262144) become those of the weight (1, 100, 10000), on a curve that
/// is a parabola of logarithms. As in runc since 1.3.2 and crun since 1.23; the straight line before that made 39 of the default.
fn weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            // Exact: below 2^18.
            let log = f64::from(u32::try_from(shares).unwrap_or(u32::MAX)).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// A limit counts pages when they are faulted in, which kills by SIGBUS; with reservations limited too, the program learns it at mmap(2).
pub(super) fn hugepages(resources: &Resources, files: [&str; 2], steps: &mut Steps) {
    for (index, limit) in resources.hugepage_limits.iter().enumerate() {
        let write = |file: &str| Write {
            controller: "hugetlb".into(),
            file: format!("hugetlb.{}.{file}", limit.page_size).into(),
            value: limit.limit.to_string(),
            at: steps
                .origin
                .pointer(&["hugepageLimits", &index.to_string(), "limit"]),
        };
        let (used, reserved) = (write(files[0]), write(files[1]));
        steps.push(Step::Write(used));
        steps.push(Step::IfPresent(reserved));
    }
}

/// The same file on both versions.
pub(super) fn rdma(resources: &Resources, steps: &mut Steps) {
    for (name, limits) in &resources.rdma {
        let mut value = name.clone();
        for (word, limit) in [
            ("hca_handle", limits.hca_handles),
            ("hca_object", limits.hca_objects),
        ] {
            if let Some(limit) = limit {
                value.push_str(&format!(" {word}={limit}"));
            }
        }
        let asked = (value != *name).then_some(value);
        steps.set("rdma", "rdma.max", asked, &["rdma", name]);
    }
}

/// A control file takes one line a write.
fn unified(name: &str, value: &str, steps: &mut Steps) {
    let controller = match name.split_once('.') {
        Some((controller, _)) if controller != "cgroup" => controller,
        _ => "",
    };
    let mut lines: Vec<_> = value.split('\n').filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        // Clears a list; a write of no bytes would not reach the kernel.
        lines.push("\n");
    }
    for line in lines {
        let write = Write {
            controller: controller.to_owned().into(),
            file: name.to_owned().into(),
            value: line.to_owned(),
            at: steps.origin.pointer(&["unified", name]),
        };
        steps.push(Step::Write(write));
    }
}

pub(super) fn without_effect(resources: &Resources) -> Vec<&'static [&'static str]> {
    let (memory, cpu, block_io) = (&resources.memory, &resources.cpu, &resources.block_io);
    let leaves = |device: &crate::config::WeightDevice| device.leaf_weight.is_some();
    let keys: [(bool, &'static [&'static str]); 8] = [
        (memory.kernel_tcp.is_some(), &["memory", "kernelTCP"]),
        (memory.swappiness.is_some(), &["memory", "swappiness"]),
        (
            memory.disable_oom_killer.is_some(),
            &["memory", "disableOOMKiller"],
        ),
        (cpu.realtime_runtime.is_some(), &["cpu", "realtimeRuntime"]),
        (cpu.realtime_period.is_some(), &["cpu", "realtimePeriod"]),
        (block_io.leaf_weight.is_some(), &["blockIO", "leafWeight"]),
        (
            block_io.weight_device.iter().any(leaves),
            &["blockIO", "weightDevice"],
        ),
        (resources.network != Default::default(), &["network"]),
    ];
    keys.into_iter()
        .filter_map(|(asked, key)| asked.then_some(key))
        .collect()
}
