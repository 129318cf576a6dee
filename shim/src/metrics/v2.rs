//! The message for a cgroup of v2.

use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PSIData, PSIStats,
    PidsStat, RdmaEntry, RdmaStat,
};
use libcontainer::Statistics;
use libcontainer::statistics::{Counter, Cpu, Io, Memory, Pressure, Rdma, Stall};
use protobuf::MessageField;

/// Nanoseconds of a microsecond.
const MICROSECOND: u64 = 1_000;

pub fn metrics(found: &Statistics) -> Metrics {
    let hugetlb = found.hugetlb.iter().map(|(size, found)| HugeTlbStat {
        current: found.pages.usage,
        max: found.pages.limit.unwrap_or(0),
        pagesize: size.clone(),
        failcnt: found.pages.failures,
        ..HugeTlbStat::default()
    });
    let pids = found.pids.unwrap_or_default();
    Metrics {
        pids: MessageField::some(PidsStat {
            current: pids.current,
            limit: pids.limit,
            ..PidsStat::default()
        }),
        cpu: MessageField::some(cpu(&found.cpu)),
        memory: MessageField::some(memory(&found.memory)),
        rdma: MessageField::some(rdma(&found.rdma)),
        io: MessageField::some(io(&found.io)),
        hugetlb: hugetlb.collect(),
        memory_events: memory_events(&found.memory),
        ..Metrics::default()
    }
}

fn cpu(found: &Cpu) -> CPUStat {
    CPUStat {
        usage_usec: found.usage / MICROSECOND,
        user_usec: found.user / MICROSECOND,
        system_usec: found.kernel / MICROSECOND,
        nr_periods: found.throttling.periods,
        nr_throttled: found.throttling.throttled_periods,
        throttled_usec: found.throttling.throttled_time / MICROSECOND,
        psi: pressure(found.pressure),
        nr_bursts: found.throttling.burst_periods,
        burst_usec: found.throttling.burst_time / MICROSECOND,
        ..CPUStat::default()
    }
}

/// The fields of `memory.stat` have the kernel's names; what a kernel does not count is 0.
fn memory(found: &Memory) -> MemoryStat {
    macro_rules! statistics {
        ($($name:ident)*) => {
            MemoryStat {
                $($name: found.stat.get(stringify!($name)).copied().unwrap_or(0),)*
                ..MemoryStat::default()
            }
        };
    }
    let (usage, swap) = (
        found.usage.unwrap_or_default(),
        found.swap.unwrap_or_default(),
    );
    let limit = |counter: Counter| counter.limit.unwrap_or(0);
    MemoryStat {
        usage: usage.usage,
        usage_limit: limit(usage),
        max_usage: usage.max_usage,
        swap_usage: swap.usage,
        swap_limit: limit(swap),
        swap_max_usage: swap.max_usage,
        psi: pressure(found.pressure),
        ..statistics!(
            anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback anon_thp
            inactive_anon active_anon inactive_file active_file unevictable
            slab_reclaimable slab_unreclaimable
            pgfault pgmajfault workingset_refault workingset_activate workingset_nodereclaim
            pgrefill pgscan pgsteal pgactivate pgdeactivate pglazyfree pglazyfreed
            thp_fault_alloc thp_collapse_alloc
        )
    }
}

/// CRI tells by `oom_kill` whether a container that ended with 137 was killed for want of memory.
fn memory_events(found: &Memory) -> MessageField<MemoryEvents> {
    let events = found.events.map(|found| MemoryEvents {
        low: found.low,
        high: found.high,
        max: found.max,
        oom: found.oom,
        oom_kill: found.oom_kill,
        oom_group_kill: found.oom_group_kill,
        ..MemoryEvents::default()
    });
    MessageField::from_option(events)
}

fn io(found: &Io) -> IOStat {
    let usage = found.devices.iter().map(|device| IOEntry {
        major: device.major,
        minor: device.minor,
        rbytes: device.read_bytes,
        wbytes: device.written_bytes,
        rios: device.reads,
        wios: device.writes,
        ..IOEntry::default()
    });
    IOStat {
        usage: usage.collect(),
        psi: pressure(found.pressure),
        ..IOStat::default()
    }
}

fn rdma(found: &[Rdma]) -> RdmaStat {
    let entry = |device: &Rdma, handles, objects| RdmaEntry {
        device: device.device.clone(),
        hca_handles: handles,
        hca_objects: objects,
        ..RdmaEntry::default()
    };
    let current = |device| entry(device, device.handles, device.objects);
    let limit = |device| entry(device, device.handle_limit, device.object_limit);
    RdmaStat {
        current: found.iter().map(current).collect(),
        limit: found.iter().map(limit).collect(),
        ..RdmaStat::default()
    }
}

fn pressure(found: Option<Pressure>) -> MessageField<PSIStats> {
    let stall = |found: Stall| {
        MessageField::some(PSIData {
            avg10: found.avg10,
            avg60: found.avg60,
            avg300: found.avg300,
            total: found.total,
            ..PSIData::default()
        })
    };
    MessageField::from_option(found.map(|found| PSIStats {
        some: stall(found.some),
        full: stall(found.full),
        ..PSIStats::default()
    }))
}
