//! `linux.resources` on v1 hierarchies, whose values the specification has: little is converted, much depends on its order.

use crate::config::{Cpu, Memory, Resources};

use super::block_io::{self, Files};
use super::unified::{hugepages, pids_max, rdma};
use super::{Step, Steps};

pub(super) fn plan(resources: &Resources, steps: &mut Steps) {
    let cpu = &resources.cpu;
    steps.set("cpuset", "cpuset.cpus", cpu.cpus.as_ref(), &["cpu", "cpus"]);
    steps.set("cpuset", "cpuset.mems", cpu.mems.as_ref(), &["cpu", "mems"]);
    memory(&resources.memory, steps);
    self::cpu(cpu, steps);
    steps.set(
        "pids",
        "pids.max",
        resources.pids.limit.map(pids_max),
        &["pids", "limit"],
    );
    block_io::plan(&resources.block_io, &Files::LEGACY, steps);
    hugepages(resources, ["limit_in_bytes", "rsvd.limit_in_bytes"], steps);
    network(resources, steps);
    rdma(resources, steps);
}

fn memory(memory: &Memory, steps: &mut Steps) {
    let limit = steps.write(
        "memory",
        "memory.limit_in_bytes",
        memory.limit,
        &["memory", "limit"],
    );
    let both =
        |key: [&str; 2], value| steps.write("memory", "memory.memsw.limit_in_bytes", value, &key);
    if memory.limit == Some(-1) && memory.swap.is_none() {
        // No limit of memory means none of both, where swap is accounted; it goes first, as it may not be below the other.
        let both = both(["memory", "limit"], Some(-1));
        steps.steps.extend(both.map(Step::IfPresent));
        steps.steps.extend(limit.map(Step::Write));
    } else {
        let both = both(["memory", "swap"], memory.swap);
        steps.any_order([limit, both]);
    }
    for (file, value, key) in [
        (
            "memory.soft_limit_in_bytes",
            memory.reservation,
            "reservation",
        ),
        (
            "memory.kmem.tcp.limit_in_bytes",
            memory.kernel_tcp,
            "kernelTCP",
        ),
    ] {
        steps.set("memory", file, value, &["memory", key]);
    }
    let disabled = (memory.disable_oom_killer == Some(true)).then_some(1);
    let key = ["memory", "disableOOMKiller"];
    steps.set("memory", "memory.oom_control", disabled, &key);
    let key = ["memory", "swappiness"];
    steps.set("memory", "memory.swappiness", memory.swappiness, &key);
}

fn cpu(cpu: &Cpu, steps: &mut Steps) {
    let key = ["cpu", "idle"];
    steps.set("cpu", "cpu.idle", cpu.idle, &key);
    // The kernel keeps the shares of an idle cgroup at their least and takes no other.
    if cpu.idle != Some(1) {
        let shares = steps.write("cpu", "cpu.shares", cpu.shares, &["cpu", "shares"]);
        steps.steps.extend(shares.map(Step::ReadBack));
    }
    // A quota of any period may not be above the parent's, and a burst not above the quota.
    let quota = cpu.quota.map(|quota| quota.max(-1));
    steps.any_order([
        steps.write("cpu", "cpu.cfs_period_us", cpu.period, &["cpu", "period"]),
        steps.write("cpu", "cpu.cfs_burst_us", cpu.burst, &["cpu", "burst"]),
        steps.write("cpu", "cpu.cfs_quota_us", quota, &["cpu", "quota"]),
    ]);
    let (period, runtime) = (cpu.realtime_period, cpu.realtime_runtime);
    let keys = [["cpu", "realtimePeriod"], ["cpu", "realtimeRuntime"]];
    steps.any_order([
        steps.write("cpu", "cpu.rt_period_us", period, &keys[0]),
        steps.write("cpu", "cpu.rt_runtime_us", runtime, &keys[1]),
    ]);
}

fn network(resources: &Resources, steps: &mut Steps) {
    let network = &resources.network;
    let key = ["network", "classID"];
    steps.set("net_cls", "net_cls.classid", network.class_id, &key);
    for (index, priority) in network.priorities.iter().enumerate() {
        let value = format!("{} {}", priority.name, priority.priority);
        let key = ["network", "priorities", &index.to_string()];
        steps.set("net_prio", "net_prio.ifpriomap", Some(value), &key);
    }
}
