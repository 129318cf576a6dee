//! The message for cgroups of v1. A controller that is not mounted has no field.

use std::collections::HashMap;

use containerd_shim_protos::cgroups::metrics::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl,
    MemoryStat, Metrics, PidsStat, RdmaEntry, RdmaStat, Throttle,
};
use libcontainer::Statistics;
use libcontainer::statistics::{Counter, Cpu, Io, IoEntry, Memory, Rdma, UNLIMITED};
use protobuf::MessageField;

/// Names of block devices by number.
type Names = HashMap<(u64, u64), String>;

pub fn metrics(found: &Statistics) -> Metrics {
    let hugetlb = found.hugetlb.iter().map(|(size, found)| HugetlbStat {
        usage: found.pages.usage,
        max: found.pages.max_usage,
        failcnt: found.pages.failures,
        pagesize: size.clone(),
        ..HugetlbStat::default()
    });
    let pids = found.pids.map(|found| PidsStat {
        current: found.current,
        limit: match found.limit {
            UNLIMITED => 0,
            limit => limit,
        },
        ..PidsStat::default()
    });
    Metrics {
        hugetlb: hugetlb.collect(),
        pids: MessageField::from_option(pids),
        cpu: MessageField::some(cpu(&found.cpu)),
        memory: memory(&found.memory),
        blkio: block_io(&found.io),
        rdma: rdma(&found.rdma),
        memory_oom_control: oom_control(&found.memory),
        ..Metrics::default()
    }
}

fn cpu(found: &Cpu) -> CPUStat {
    CPUStat {
        usage: MessageField::some(CPUUsage {
            total: found.usage,
            kernel: found.kernel,
            user: found.user,
            per_cpu: found.per_cpu.clone(),
            ..CPUUsage::default()
        }),
        throttling: MessageField::some(Throttle {
            periods: found.throttling.periods,
            throttled_periods: found.throttling.throttled_periods,
            throttled_time: found.throttling.throttled_time,
            ..Throttle::default()
        }),
        ..CPUStat::default()
    }
}

/// Fields of `memory.stat` under the message's names for them, which are not always the kernel's.
fn memory(found: &Memory) -> MessageField<MemoryStat> {
    macro_rules! statistics {
        ($($field:ident = $name:literal)*) => {
            MemoryStat {
                $($field: found.stat.get($name).copied().unwrap_or(0),)*
                ..MemoryStat::default()
            }
        };
    }
    if found.usage.is_none() {
        return MessageField::none();
    }
    MessageField::some(MemoryStat {
        usage: entry(found.usage),
        swap: entry(found.swap),
        kernel: entry(found.kernel),
        kernel_tcp: entry(found.kernel_tcp),
        ..statistics!(
            cache = "cache"
            rss = "rss"
            rss_huge = "rss_huge"
            mapped_file = "mapped_file"
            dirty = "dirty"
            writeback = "writeback"
            pg_pg_in = "pgpgin"
            pg_pg_out = "pgpgout"
            pg_fault = "pgfault"
            pg_maj_fault = "pgmajfault"
            inactive_anon = "inactive_anon"
            active_anon = "active_anon"
            inactive_file = "inactive_file"
            active_file = "active_file"
            unevictable = "unevictable"
            hierarchical_memory_limit = "hierarchical_memory_limit"
            hierarchical_swap_limit = "hierarchical_memsw_limit"
            total_cache = "total_cache"
            total_rss = "total_rss"
            total_rss_huge = "total_rss_huge"
            total_mapped_file = "total_mapped_file"
            total_dirty = "total_dirty"
            total_writeback = "total_writeback"
            total_pg_pg_in = "total_pgpgin"
            total_pg_pg_out = "total_pgpgout"
            total_pg_fault = "total_pgfault"
            total_pg_maj_fault = "total_pgmajfault"
            total_inactive_anon = "total_inactive_anon"
            total_active_anon = "total_active_anon"
            total_inactive_file = "total_inactive_file"
            total_active_file = "total_active_file"
            total_unevictable = "total_unevictable"
        )
    })
}

/// An entry without a counter is there all the same, and empty.
fn entry(counter: Option<Counter>) -> MessageField<MemoryEntry> {
    let counter = counter.unwrap_or_default();
    MessageField::some(MemoryEntry {
        limit: counter.limit.unwrap_or(0),
        usage: counter.usage,
        max: counter.max_usage,
        failcnt: counter.failures,
        ..MemoryEntry::default()
    })
}

fn oom_control(found: &Memory) -> MessageField<MemoryOomControl> {
    MessageField::from_option(found.oom_control.map(|found| MemoryOomControl {
        oom_kill_disable: found.kill_disabled.into(),
        under_oom: found.under_oom.into(),
        oom_kill: found.oom_kill,
        ..MemoryOomControl::default()
    }))
}

/// There whenever a device is: without one it cannot be told from a controller that is not mounted, and would be empty.
fn block_io(found: &Io) -> MessageField<BlkIOStat> {
    let lists = [
        &found.service_bytes,
        &found.serviced,
        &found.queued,
        &found.service_time,
        &found.wait_time,
        &found.merged,
        &found.time,
        &found.sectors,
    ];
    if lists.iter().all(|list| list.is_empty()) {
        return MessageField::none();
    }
    // Without names the numbers still tell which device it is.
    let names = std::fs::read_to_string("/proc/partitions")
        .map(|text| names(&text))
        .unwrap_or_default();
    let [
        service_bytes,
        serviced,
        queued,
        service_time,
        wait_time,
        merged,
        time,
        sectors,
    ] = lists.map(|list| entries(list, &names));
    MessageField::some(BlkIOStat {
        io_service_bytes_recursive: service_bytes,
        io_serviced_recursive: serviced,
        io_queued_recursive: queued,
        io_service_time_recursive: service_time,
        io_wait_time_recursive: wait_time,
        io_merged_recursive: merged,
        io_time_recursive: time,
        sectors_recursive: sectors,
        ..BlkIOStat::default()
    })
}

fn entries(list: &[IoEntry], names: &Names) -> Vec<BlkIOEntry> {
    let entry = |found: &IoEntry| BlkIOEntry {
        op: found.operation.clone(),
        device: names
            .get(&(found.major, found.minor))
            .cloned()
            .unwrap_or_default(),
        major: found.major,
        minor: found.minor,
        value: found.value,
        ..BlkIOEntry::default()
    };
    list.iter().map(entry).collect()
}

/// `/proc/partitions`: under a header and an empty line, `MAJOR MINOR BLOCKS NAME`.
pub(super) fn names(partitions: &str) -> Names {
    let name = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let major = fields.next()?.parse().ok()?;
        let minor = fields.next()?.parse().ok()?;
        Some(((major, minor), format!("/dev/{}", fields.nth(1)?)))
    };
    partitions.lines().filter_map(name).collect()
}

fn rdma(found: &[Rdma]) -> MessageField<RdmaStat> {
    let entry = |device: &Rdma, handles, objects| RdmaEntry {
        device: device.device.clone(),
        hca_handles: handles,
        hca_objects: objects,
        ..RdmaEntry::default()
    };
    let current = |device| entry(device, device.handles, device.objects);
    let limit = |device| entry(device, device.handle_limit, device.object_limit);
    let stat = (!found.is_empty()).then(|| RdmaStat {
        current: found.iter().map(current).collect(),
        limit: found.iter().map(limit).collect(),
        ..RdmaStat::default()
    });
    MessageField::from_option(stat)
}
