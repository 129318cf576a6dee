//! The lines of `events`: one JSON object each, its keys and their order, what is left out and what is 0 as runc's types encode.
//!
//! The shape is that of cgroup v1; what cgroup2 counts otherwise is turned into it here, as runc does: swap with memory in it, `io.stat` as
//! operations. The library has the values themselves.

use std::collections::BTreeMap;

use libcontainer::statistics::{
    Counter, Cpu, Cpuset, Hugetlb, IntelRdt, Io, IoDevice, IoEntry, Memory, Pids, Pressure, Stall,
    UNLIMITED,
};
use libcontainer::{CgroupVersion, Statistics};

use crate::json::Object;

/// A line that says that memory has run out.
pub fn oom(id: &str) -> String {
    event("oom", id, |_| {})
}

/// A line with a reading.
pub fn stats(id: &str, stats: &Statistics) -> String {
    event("stats", id, |event| {
        event.object("data", |data| all(data, stats))
    })
}

fn event(kind: &str, id: &str, rest: impl FnOnce(&mut Object<'_>)) -> String {
    let mut out = String::with_capacity(4096);
    let mut event = Object::open(&mut out, None);
    event.string("type", kind);
    event.string("id", id);
    rest(&mut event);
    event.close();
    out.push('\n');
    out
}

fn all(data: &mut Object<'_>, stats: &Statistics) {
    data.object("cpu", |object| cpu(object, &stats.cpu));
    let none = Cpuset::default();
    data.object("cpuset", |object| {
        cpuset(object, stats.cpuset.as_ref().unwrap_or(&none))
    });
    data.object("memory", |object| {
        memory(object, &stats.memory, stats.version)
    });
    data.object("pids", |object| {
        pids(object, stats.pids.unwrap_or_default())
    });
    data.object("blkio", |object| blkio(object, &stats.io));
    data.object("hugetlb", |object| {
        hugetlb(object, &stats.hugetlb, stats.version)
    });
    let none = IntelRdt::default();
    data.object("intel_rdt", |object| {
        intel_rdt(object, stats.intel_rdt.as_ref().unwrap_or(&none))
    });
    // Of interfaces that the runtime made: it makes none.
    data.null("network_interfaces");
}

fn cpu(object: &mut Object<'_>, cpu: &Cpu) {
    object.object("usage", |usage| {
        usage.nonzero("total", cpu.usage);
        usage.numbers("percpu", &cpu.per_cpu);
        usage.numbers("percpu_kernel", &cpu.per_cpu_kernel);
        usage.numbers("percpu_user", &cpu.per_cpu_user);
        usage.number("kernel", cpu.kernel);
        usage.number("user", cpu.user);
    });
    object.object("throttling", |throttling| {
        throttling.nonzero("periods", cpu.throttling.periods);
        throttling.nonzero("throttledPeriods", cpu.throttling.throttled_periods);
        throttling.nonzero("throttledTime", cpu.throttling.throttled_time);
    });
    psi(object, cpu.pressure);
}

fn psi(object: &mut Object<'_>, pressure: Option<Pressure>) {
    let stall = |stall: Stall| {
        move |object: &mut Object<'_>| {
            object.number("avg10", stall.avg10);
            object.number("avg60", stall.avg60);
            object.number("avg300", stall.avg300);
            object.number("total", stall.total);
        }
    };
    if let Some(pressure) = pressure {
        object.object("psi", |object| {
            object.object("some", stall(pressure.some));
            object.object("full", stall(pressure.full));
        });
    }
}

fn cpuset(object: &mut Object<'_>, set: &Cpuset) {
    object.numbers("cpus", &set.cpus);
    object.number("cpu_exclusive", set.cpu_exclusive);
    object.numbers("mems", &set.mems);
    object.number("mem_hardwall", set.mem_hardwall);
    object.number("mem_exclusive", set.mem_exclusive);
    object.number("memory_migrate", set.memory_migrate);
    object.number("memory_spread_page", set.memory_spread_page);
    object.number("memory_spread_slab", set.memory_spread_slab);
    object.number("memory_pressure", set.memory_pressure);
    object.number("sched_load_balance", set.sched_load_balance);
    object.number("sched_relax_domain_level", set.sched_relax_domain_level);
}

fn memory(object: &mut Object<'_>, memory: &Memory, version: CgroupVersion) {
    let (cached, swap) = match version {
        CgroupVersion::V1 => ("cache", memory.swap),
        CgroupVersion::V2 => (
            "file",
            memory.usage.map(|usage| with_swap(usage, memory.swap)),
        ),
    };
    object.nonzero("cache", memory.stat.get(cached).copied().unwrap_or(0));
    counter(object, "usage", memory.usage);
    counter(object, "swap", swap);
    counter(object, "kernel", memory.kernel);
    counter(object, "kernelTCP", memory.kernel_tcp);
    if !memory.stat.is_empty() {
        object.object("raw", |raw| {
            for (key, value) in &memory.stat {
                raw.number(key, value);
            }
        });
    }
    psi(object, memory.pressure);
}

/// Memory and swap together, as v1 counts. The highest of both at once is not known.
fn with_swap(memory: Counter, swap: Option<Counter>) -> Counter {
    let swap = swap.unwrap_or_default();
    let limits = [memory.limit, swap.limit].map(Option::unwrap_or_default);
    Counter {
        usage: memory.usage.saturating_add(swap.usage),
        max_usage: 0,
        limit: Some(limits[0].saturating_add(limits[1])),
        failures: 0,
    }
}

fn counter(object: &mut Object<'_>, key: &str, counter: Option<Counter>) {
    let counter = counter.unwrap_or_default();
    object.object(key, |object| {
        object.number("limit", counter.limit.unwrap_or(0));
        object.nonzero("usage", counter.usage);
        object.nonzero("max", counter.max_usage);
        object.number("failcnt", counter.failures);
    });
}

fn pids(object: &mut Object<'_>, pids: Pids) {
    object.nonzero("current", pids.current);
    let limit = Some(pids.limit).filter(|limit| *limit != UNLIMITED);
    object.nonzero("limit", limit.unwrap_or(0));
}

fn blkio(object: &mut Object<'_>, io: &Io) {
    let bytes = operations(&io.devices, |device| {
        [device.read_bytes, device.written_bytes]
    });
    let requests = operations(&io.devices, |device| [device.reads, device.writes]);
    let lists: [(&str, [&[IoEntry]; 2]); 8] = [
        ("ioServiceBytesRecursive", [&io.service_bytes, &bytes]),
        ("ioServicedRecursive", [&io.serviced, &requests]),
        ("ioQueueRecursive", [&io.queued, &[]]),
        ("ioServiceTimeRecursive", [&io.service_time, &[]]),
        ("ioWaitTimeRecursive", [&io.wait_time, &[]]),
        ("ioMergedRecursive", [&io.merged, &[]]),
        ("ioTimeRecursive", [&io.time, &[]]),
        ("sectorsRecursive", [&io.sectors, &[]]),
    ];
    for (key, lists) in lists {
        object.objects(key, lists.concat().iter(), |object, entry| {
            object.nonzero("major", entry.major);
            object.nonzero("minor", entry.minor);
            object.nonempty("op", &entry.operation);
            object.nonzero("value", entry.value);
        });
    }
    psi(object, io.pressure);
}

/// Two values of each device of cgroup2 as v1's `Read` and `Write`.
fn operations(devices: &[IoDevice], values: impl Fn(&IoDevice) -> [u64; 2]) -> Vec<IoEntry> {
    let entries = |device: &IoDevice| {
        let [read, write] = values(device);
        [("Read", read), ("Write", write)].map(|(operation, value)| IoEntry {
            major: device.major,
            minor: device.minor,
            operation: operation.to_owned(),
            value,
        })
    };
    devices.iter().flat_map(entries).collect()
}

/// runc shows reservations where the kernel counts them like pages, as v1 does.
fn hugetlb(object: &mut Object<'_>, sizes: &BTreeMap<String, Hugetlb>, version: CgroupVersion) {
    for (size, hugetlb) in sizes {
        let counter = match version {
            CgroupVersion::V1 => hugetlb.reserved.unwrap_or(hugetlb.pages),
            CgroupVersion::V2 => hugetlb.pages,
        };
        object.object(size, |object| {
            object.nonzero("usage", counter.usage);
            object.nonzero("max", counter.max_usage);
            object.number("failcnt", counter.failures);
        });
    }
}

fn intel_rdt(object: &mut Object<'_>, rdt: &IntelRdt) {
    if let Some(l3) = &rdt.l3_cache_info {
        object.object("l3_cache_info", |object| {
            object.nonempty("cbm_mask", &l3.cbm_mask);
            object.nonzero("min_cbm_bits", l3.min_cbm_bits);
            object.nonzero("num_closids", l3.num_closids);
        });
    }
    object.nonempty("l3_cache_schema_root", &rdt.l3_cache_schema_root);
    object.nonempty("l3_cache_schema", &rdt.l3_cache_schema);
    if let Some(bandwidth) = &rdt.mem_bw_info {
        object.object("mem_bw_info", |object| {
            object.nonzero("bandwidth_gran", bandwidth.bandwidth_gran);
            object.nonzero("delay_linear", bandwidth.delay_linear);
            object.nonzero("min_bandwidth", bandwidth.min_bandwidth);
            object.nonzero("num_closids", bandwidth.num_closids);
        });
    }
    object.nonempty("mem_bw_schema_root", &rdt.mem_bw_schema_root);
    object.nonempty("mem_bw_schema", &rdt.mem_bw_schema);
    object.objects("mbm_stats", rdt.mbm_stats.iter(), |object, node| {
        object.nonzero("mbm_total_bytes", node.mbm_total_bytes);
        object.nonzero("mbm_local_bytes", node.mbm_local_bytes);
    });
    object.objects("cmt_stats", rdt.cmt_stats.iter(), |object, node| {
        object.nonzero("llc_occupancy", node.llc_occupancy);
    });
}

#[cfg(test)]
#[path = "event_lines_tests.rs"]
mod tests;
