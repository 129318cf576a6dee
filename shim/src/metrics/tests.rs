//! Every field of both messages, from statistics in which every value is another one.

use std::collections::BTreeMap;

use containerd_shim_protos::{cgroups, cgroups_v2};
use libcontainer::statistics::{
    Counter, Cpu, Hugetlb, Io, IoDevice, IoEntry, Memory, MemoryEvents, OomControl, Pids, Pressure,
    Rdma, Stall, Throttling, UNLIMITED,
};

use super::*;

fn counter(base: u64) -> Counter {
    Counter {
        usage: base,
        max_usage: base + 1,
        limit: Some(base + 2),
        failures: base + 3,
    }
}

fn pressure(base: u32) -> Option<Pressure> {
    let stall = |base: u32| Stall {
        avg10: f64::from(base) + 0.25,
        avg60: f64::from(base) + 0.5,
        avg300: f64::from(base) + 0.75,
        total: base.into(),
    };
    Some(Pressure {
        some: stall(base),
        full: stall(base + 1),
    })
}

/// With those lines of `memory.stat`: each has its place in the list as value, from 1.
fn statistics(version: CgroupVersion, memory_stat: &str) -> Statistics {
    let names = memory_stat.split_ascii_whitespace().map(str::to_owned);
    let entry = |operation: &str, value| IoEntry {
        major: 8,
        minor: 0,
        operation: operation.to_owned(),
        value,
    };
    Statistics {
        version,
        cpu: Cpu {
            usage: 123_456_789,
            user: 100_000_000,
            kernel: 23_456_789,
            per_cpu: vec![100, 200],
            per_cpu_user: vec![1],
            per_cpu_kernel: vec![2],
            throttling: Throttling {
                periods: 31,
                throttled_periods: 32,
                throttled_time: 33_000,
                burst_periods: 34,
                burst_time: 35_000,
            },
            pressure: pressure(10),
        },
        cpuset: None,
        memory: Memory {
            usage: Some(counter(1_000)),
            swap: Some(counter(2_000)),
            kernel: Some(counter(3_000)),
            kernel_tcp: Some(counter(4_000)),
            stat: names.zip(1..).collect(),
            events: Some(MemoryEvents {
                low: 41,
                high: 42,
                max: 43,
                oom: 44,
                oom_kill: 45,
                oom_group_kill: 46,
            }),
            local_events: None,
            oom_control: Some(OomControl {
                kill_disabled: true,
                under_oom: false,
                oom_kill: 47,
            }),
            pressure: pressure(20),
        },
        pids: Some(Pids {
            current: 51,
            limit: UNLIMITED,
        }),
        io: Io {
            devices: vec![IoDevice {
                major: 254,
                minor: 3,
                read_bytes: 61,
                written_bytes: 62,
                reads: 63,
                writes: 64,
                discarded_bytes: 65,
                discards: 66,
            }],
            service_bytes: vec![entry("Read", 71), entry("Total", 70)],
            serviced: vec![entry("Write", 72)],
            queued: vec![entry("Sync", 73)],
            service_time: vec![entry("Async", 74)],
            wait_time: vec![entry("Discard", 75)],
            merged: vec![entry("Read", 76)],
            time: vec![entry("", 77)],
            sectors: vec![entry("", 78)],
            pressure: pressure(30),
        },
        hugetlb: BTreeMap::from([(
            "2MB".to_owned(),
            Hugetlb {
                pages: counter(5_000),
                reserved: None,
            },
        )]),
        rdma: vec![Rdma {
            device: "mlx5_0".to_owned(),
            handles: 81,
            handle_limit: 82,
            objects: 83,
            object_limit: u32::MAX,
        }],
        intel_rdt: None,
    }
}

/// All fields of a message as text, one a line, the way `protoc --decode` shows them.
fn text(message: &dyn protobuf::MessageDyn) -> String {
    protobuf::text_format::print_to_string_pretty(message)
        .lines()
        .map(|line| line.trim_start().to_owned() + "\n")
        .collect()
}

const V2_STAT: &str = "anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback \
    anon_thp inactive_anon active_anon inactive_file active_file unevictable slab_reclaimable \
    slab_unreclaimable pgfault pgmajfault workingset_refault workingset_activate \
    workingset_nodereclaim pgrefill pgscan pgsteal pgactivate pgdeactivate pglazyfree pglazyfreed \
    thp_fault_alloc thp_collapse_alloc";

#[test]
fn every_field_of_v2() {
    let found = any(&statistics(CgroupVersion::V2, V2_STAT));
    assert_eq!(found.type_url, "io.containerd.cgroups.v2.Metrics");
    let metrics = cgroups_v2::metrics::Metrics::parse_from_bytes(&found.value).unwrap();
    // The numbers of the message are those of its definition: the lines of memory.stat are the fields 1 to 31.
    let memory: String = V2_STAT
        .split_ascii_whitespace()
        .zip(1..)
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    let psi = |base: u32| {
        let stall = |name, base| {
            format!(
                "{name} {{\navg10: {base}.25\navg60: {base}.5\navg300: {base}.75\ntotal: {base}\n}}\n"
            )
        };
        format!(
            "psi {{\n{}{}}}\n",
            stall("some", base),
            stall("full", base + 1)
        )
    };
    let expected = format!(
        "pids {{\ncurrent: 51\nlimit: 18446744073709551615\n}}\n\
        cpu {{\nusage_usec: 123456\nuser_usec: 100000\nsystem_usec: 23456\n\
        nr_periods: 31\nnr_throttled: 32\nthrottled_usec: 33\n{}nr_bursts: 34\nburst_usec: 35\n}}\n\
        memory {{\n{memory}usage: 1000\nusage_limit: 1002\nswap_usage: 2000\nswap_limit: 2002\n\
        max_usage: 1001\nswap_max_usage: 2001\n{}}}\n\
        rdma {{\ncurrent {{\ndevice: \"mlx5_0\"\nhca_handles: 81\nhca_objects: 83\n}}\n\
        limit {{\ndevice: \"mlx5_0\"\nhca_handles: 82\nhca_objects: 4294967295\n}}\n}}\n\
        io {{\nusage {{\nmajor: 254\nminor: 3\nrbytes: 61\nwbytes: 62\nrios: 63\nwios: 64\n}}\n{}}}\n\
        hugetlb {{\ncurrent: 5000\nmax: 5002\npagesize: \"2MB\"\nfailcnt: 5003\n}}\n\
        memory_events {{\nlow: 41\nhigh: 42\nmax: 43\noom: 44\noom_kill: 45\noom_group_kill: 46\n}}\n",
        psi(10),
        psi(20),
        psi(30)
    );
    assert_eq!(text(&metrics), expected);
}

/// In the order of the message's fields.
const V1_STAT: &str = "cache rss rss_huge mapped_file dirty writeback pgpgin pgpgout pgfault \
    pgmajfault inactive_anon active_anon inactive_file active_file unevictable \
    hierarchical_memory_limit hierarchical_memsw_limit total_cache total_rss total_rss_huge \
    total_mapped_file total_dirty total_writeback total_pgpgin total_pgpgout total_pgfault \
    total_pgmajfault total_inactive_anon total_active_anon total_inactive_file total_active_file \
    total_unevictable";

#[test]
fn every_field_of_v1() {
    let found = any(&statistics(CgroupVersion::V1, V1_STAT));
    assert_eq!(found.type_url, "io.containerd.cgroups.v1.Metrics");
    let mut metrics = cgroups::metrics::Metrics::parse_from_bytes(&found.value).unwrap();
    // The names of this machine's disks are another test's matter.
    let blkio = metrics.blkio.as_mut().unwrap();
    for entry in blkio.io_service_bytes_recursive.iter_mut() {
        entry.device.clear();
    }
    assert_eq!(blkio.io_service_bytes_recursive.len(), 2);
    let blkio = metrics.blkio.take().unwrap();
    let memory: String = V1_STAT
        .replace("hierarchical_memsw", "hierarchical_swap")
        .split_ascii_whitespace()
        .zip(1..)
        .map(|(name, value)| {
            // pgmajfault, of the kernel, is pg_maj_fault here.
            let name = ["pgpgin", "pgpgout", "pgmajfault", "pgfault"]
                .iter()
                .zip(["pg_pg_in", "pg_pg_out", "pg_maj_fault", "pg_fault"])
                .fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
            format!("{name}: {value}\n")
        })
        .collect();
    let entry = |name: &str, base: u64| {
        let (max, limit, failures) = (base + 1, base + 2, base + 3);
        format!("{name} {{\nlimit: {limit}\nusage: {base}\nmax: {max}\nfailcnt: {failures}\n}}\n")
    };
    let entries = entry("usage", 1_000)
        + &entry("swap", 2_000)
        + &entry("kernel", 3_000)
        + &entry("kernel_tcp", 4_000);
    let expected = format!(
        "hugetlb {{\nusage: 5000\nmax: 5001\nfailcnt: 5003\npagesize: \"2MB\"\n}}\n\
        pids {{\ncurrent: 51\n}}\n\
        cpu {{\nusage {{\ntotal: 123456789\nkernel: 23456789\nuser: 100000000\nper_cpu: 100\nper_cpu: 200\n}}\n\
        throttling {{\nperiods: 31\nthrottled_periods: 32\nthrottled_time: 33000\n}}\n}}\n\
        memory {{\n{memory}{entries}}}\n\
        rdma {{\ncurrent {{\ndevice: \"mlx5_0\"\nhca_handles: 81\nhca_objects: 83\n}}\n\
        limit {{\ndevice: \"mlx5_0\"\nhca_handles: 82\nhca_objects: 4294967295\n}}\n}}\n\
        memory_oom_control {{\noom_kill_disable: 1\noom_kill: 47\n}}\n"
    );
    assert_eq!(text(&metrics), expected);
    let lists = [
        (&blkio.io_service_bytes_recursive, "Read", 71),
        (&blkio.io_serviced_recursive, "Write", 72),
        (&blkio.io_queued_recursive, "Sync", 73),
        (&blkio.io_service_time_recursive, "Async", 74),
        (&blkio.io_wait_time_recursive, "Discard", 75),
        (&blkio.io_merged_recursive, "Read", 76),
        (&blkio.io_time_recursive, "", 77),
        (&blkio.sectors_recursive, "", 78),
    ];
    for (list, operation, value) in lists {
        let first = &list[0];
        assert_eq!((first.op.as_str(), first.value), (operation, value));
        assert_eq!((first.major, first.minor), (8, 0));
    }
}

#[test]
fn names_of_block_devices() {
    let text = "major minor  #blocks  name\n\n 254        0   16777216 vda\n   7        0       4096 loop0\nx\n";
    let names = v1::names(text);
    assert_eq!(names.len(), 2);
    assert_eq!(names[&(254, 0)], "/dev/vda");
    assert_eq!(names[&(7, 0)], "/dev/loop0");
}

/// What is not there on v1 has no field; v2 has its fields in any case, as containerd fills them.
#[test]
fn a_machine_without_controllers() {
    let nothing = |version| Statistics {
        version,
        cpu: Cpu::default(),
        cpuset: None,
        memory: Memory::default(),
        pids: None,
        io: Io::default(),
        hugetlb: BTreeMap::new(),
        rdma: Vec::new(),
        intel_rdt: None,
    };
    let found = any(&nothing(CgroupVersion::V1));
    let metrics = cgroups::metrics::Metrics::parse_from_bytes(&found.value).unwrap();
    assert_eq!(text(&metrics), "cpu {\nusage {\n}\nthrottling {\n}\n}\n");
    let found = any(&nothing(CgroupVersion::V2));
    let metrics = cgroups_v2::metrics::Metrics::parse_from_bytes(&found.value).unwrap();
    assert_eq!(
        text(&metrics),
        "pids {\n}\ncpu {\n}\nmemory {\n}\nrdma {\n}\nio {\n}\n"
    );
}
