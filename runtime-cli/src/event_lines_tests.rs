//! Lines that runc 1.1.5 printed, and what it cannot show.

use libcontainer::statistics::{
    CacheInfo, CacheOccupancy, MemoryBandwidth, MemoryBandwidthInfo, Throttling,
};

use super::*;

fn empty(version: CgroupVersion) -> Statistics {
    Statistics {
        version,
        cpu: Cpu::default(),
        cpuset: None,
        memory: Memory::default(),
        pids: None,
        io: Io::default(),
        hugetlb: BTreeMap::new(),
        rdma: Vec::new(),
        intel_rdt: None,
    }
}

fn sized(usage: u64, max_usage: u64, limit: u64) -> Option<Counter> {
    Some(Counter {
        usage,
        max_usage,
        limit: Some(limit),
        failures: 0,
    })
}

#[test]
fn want_of_memory_has_no_data() {
    assert_eq!(oom("a<b"), "{\"type\":\"oom\",\"id\":\"a\\u003cb\"}\n");
}

#[test]
fn a_reading_of_v1() {
    const PAGES: u64 = 9_223_372_036_854_771_712;
    let mut reading = empty(CgroupVersion::V1);
    reading.cpu = Cpu {
        usage: 9_539_764,
        per_cpu: vec![7_151_687, 2_388_077],
        per_cpu_kernel: vec![4_000_000, 0],
        per_cpu_user: vec![4_000_000, 0],
        ..Cpu::default()
    };
    reading.cpuset = Some(Cpuset {
        cpus: vec![0, 1],
        mems: vec![0],
        sched_load_balance: 1,
        sched_relax_domain_level: -1,
        ..Cpuset::default()
    });
    reading.memory = Memory {
        usage: sized(1_003_520, 2_781_184, PAGES),
        swap: sized(737_280, 2_781_184, PAGES),
        kernel: sized(434_176, 606_208, PAGES),
        kernel_tcp: sized(0, 0, PAGES),
        stat: [
            ("rss", 53_248),
            ("cache", 0),
            ("hierarchical_memory_limit", PAGES),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into(),
        ..Memory::default()
    };
    reading.pids = Some(Pids {
        current: 1,
        limit: UNLIMITED,
    });
    let expected = "{\"type\":\"stats\",\"id\":\"x1\",\"data\":{\
        \"cpu\":{\"usage\":{\"total\":9539764,\"percpu\":[7151687,2388077],\"percpu_kernel\":[4000000,0],\"percpu_user\":[4000000,0],\"kernel\":0,\
        \"user\":0},\"throttling\":{}},\
        \"cpuset\":{\"cpus\":[0,1],\"cpu_exclusive\":0,\"mems\":[0],\"mem_hardwall\":0,\"mem_exclusive\":0,\"memory_migrate\":0,\
        \"memory_spread_page\":0,\"memory_spread_slab\":0,\"memory_pressure\":0,\"sched_load_balance\":1,\"sched_relax_domain_level\":-1},\
        \"memory\":{\"usage\":{\"limit\":9223372036854771712,\"usage\":1003520,\"max\":2781184,\"failcnt\":0},\
        \"swap\":{\"limit\":9223372036854771712,\"usage\":737280,\"max\":2781184,\"failcnt\":0},\
        \"kernel\":{\"limit\":9223372036854771712,\"usage\":434176,\"max\":606208,\"failcnt\":0},\
        \"kernelTCP\":{\"limit\":9223372036854771712,\"failcnt\":0},\
        \"raw\":{\"cache\":0,\"hierarchical_memory_limit\":9223372036854771712,\"rss\":53248}},\
        \"pids\":{\"current\":1},\"blkio\":{},\"hugetlb\":{},\"intel_rdt\":{},\"network_interfaces\":null}}\n";
    assert_eq!(stats("x1", &reading), expected);
}

#[test]
fn a_reading_of_v2_without_controllers() {
    let mut reading = empty(CgroupVersion::V2);
    reading.cpu = Cpu {
        usage: 6_534_000,
        kernel: 3_267_000,
        user: 3_267_000,
        ..Cpu::default()
    };
    reading.pids = Some(Pids {
        current: 1,
        limit: UNLIMITED,
    });
    reading.hugetlb = ["1GB", "2MB"]
        .map(|size| (size.to_owned(), Hugetlb::default()))
        .into();
    let expected = "{\"type\":\"stats\",\"id\":\"x1\",\"data\":{\
        \"cpu\":{\"usage\":{\"total\":6534000,\"kernel\":3267000,\"user\":3267000},\"throttling\":{}},\
        \"cpuset\":{\"cpu_exclusive\":0,\"mem_hardwall\":0,\"mem_exclusive\":0,\"memory_migrate\":0,\"memory_spread_page\":0,\
        \"memory_spread_slab\":0,\"memory_pressure\":0,\"sched_load_balance\":0,\"sched_relax_domain_level\":0},\
        \"memory\":{\"usage\":{\"limit\":0,\"failcnt\":0},\"swap\":{\"limit\":0,\"failcnt\":0},\"kernel\":{\"limit\":0,\"failcnt\":0},\
        \"kernelTCP\":{\"limit\":0,\"failcnt\":0}},\
        \"pids\":{\"current\":1},\"blkio\":{},\"hugetlb\":{\"1GB\":{\"failcnt\":0},\"2MB\":{\"failcnt\":0}},\"intel_rdt\":{},\
        \"network_interfaces\":null}}\n";
    assert_eq!(stats("x1", &reading), expected);
}

fn part(reading: &Statistics, key: &str) -> String {
    let line = stats("c", reading);
    let begin = line.find(&format!("\"{key}\":")).expect("the key");
    line[begin..].to_owned()
}

#[test]
fn v2_is_turned_into_the_shape_of_v1() {
    let mut reading = empty(CgroupVersion::V2);
    reading.cpu.throttling = Throttling {
        periods: 5,
        throttled_periods: 4,
        throttled_time: 3000,
        burst_periods: 9,
        burst_time: 9,
    };
    let stall = Stall {
        avg10: 0.0,
        avg60: 0.12,
        avg300: 12.5,
        total: 7,
    };
    reading.cpu.pressure = Some(Pressure {
        some: stall,
        full: Stall::default(),
    });
    reading.memory.usage = sized(1000, 1500, 4000);
    reading.memory.swap = sized(10, 20, 100);
    reading.memory.stat = [("anon".to_owned(), 600), ("file".to_owned(), 400)].into();
    reading.pids = Some(Pids {
        current: 2,
        limit: 32,
    });
    reading.io.devices = vec![IoDevice {
        major: 254,
        read_bytes: 4096,
        reads: 1,
        ..IoDevice::default()
    }];
    for (key, expected) in [
        (
            "throttling",
            "\"throttling\":{\"periods\":5,\"throttledPeriods\":4,\"throttledTime\":3000},\
             \"psi\":{\"some\":{\"avg10\":0,\"avg60\":0.12,\"avg300\":12.5,\"total\":7},\"full\":{\"avg10\":0,\"avg60\":0,\"avg300\":0,\"total\":0}}},",
        ),
        (
            "memory",
            "\"memory\":{\"cache\":400,\"usage\":{\"limit\":4000,\"usage\":1000,\"max\":1500,\"failcnt\":0},\
             \"swap\":{\"limit\":4100,\"usage\":1010,\"failcnt\":0},\"kernel\":{\"limit\":0,\"failcnt\":0},\"kernelTCP\":{\"limit\":0,\"failcnt\":0},\
             \"raw\":{\"anon\":600,\"file\":400}},",
        ),
        ("pids", "\"pids\":{\"current\":2,\"limit\":32},"),
        (
            "blkio",
            "\"blkio\":{\"ioServiceBytesRecursive\":[{\"major\":254,\"op\":\"Read\",\"value\":4096},{\"major\":254,\"op\":\"Write\"}],\
             \"ioServicedRecursive\":[{\"major\":254,\"op\":\"Read\",\"value\":1},{\"major\":254,\"op\":\"Write\"}]},",
        ),
    ] {
        let found = part(&reading, key);
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn no_limit_plus_any_limit_is_no_limit() {
    for (memory, swap) in [(UNLIMITED, 100), (100, UNLIMITED), (UNLIMITED, UNLIMITED)] {
        let mut reading = empty(CgroupVersion::V2);
        reading.memory.usage = sized(1, 0, memory);
        reading.memory.swap = sized(1, 0, swap);
        let found = part(&reading, "swap");
        assert!(
            found.starts_with("\"swap\":{\"limit\":18446744073709551615,\"usage\":2,"),
            "{found}"
        );
    }
    // A kernel without swap accounting.
    let mut reading = empty(CgroupVersion::V2);
    reading.memory.usage = sized(5, 0, 50);
    assert!(part(&reading, "swap").starts_with("\"swap\":{\"limit\":50,\"usage\":5,"));
}

#[test]
fn reservations_of_huge_pages_on_v1() {
    let mut reading = empty(CgroupVersion::V1);
    let hugetlb = Hugetlb {
        pages: Counter {
            usage: 2,
            ..Counter::default()
        },
        reserved: Some(Counter {
            usage: 4,
            max_usage: 6,
            limit: None,
            failures: 1,
        }),
    };
    reading.hugetlb = [("2MB".to_owned(), hugetlb)].into();
    let found = part(&reading, "hugetlb");
    assert!(
        found.starts_with("\"hugetlb\":{\"2MB\":{\"usage\":4,\"max\":6,\"failcnt\":1}},"),
        "{found}"
    );
}

#[test]
fn resctrl() {
    let mut reading = empty(CgroupVersion::V2);
    let traffic = |total| MemoryBandwidth {
        mbm_total_bytes: total,
        mbm_local_bytes: 0,
    };
    reading.intel_rdt = Some(IntelRdt {
        l3_cache_info: Some(CacheInfo {
            cbm_mask: "7ff".into(),
            min_cbm_bits: 1,
            num_closids: 16,
        }),
        l3_cache_schema_root: "L3:0=7ff".into(),
        l3_cache_schema: "L3:0=7f".into(),
        mem_bw_info: Some(MemoryBandwidthInfo {
            bandwidth_gran: 10,
            delay_linear: 1,
            min_bandwidth: 10,
            num_closids: 8,
        }),
        mem_bw_schema_root: "MB:0=100".into(),
        mem_bw_schema: "MB:0=70".into(),
        mbm_stats: vec![traffic(9), traffic(0)],
        cmt_stats: vec![CacheOccupancy { llc_occupancy: 123 }],
    });
    let expected = "\"intel_rdt\":{\"l3_cache_info\":{\"cbm_mask\":\"7ff\",\"min_cbm_bits\":1,\"num_closids\":16},\
        \"l3_cache_schema_root\":\"L3:0=7ff\",\"l3_cache_schema\":\"L3:0=7f\",\
        \"mem_bw_info\":{\"bandwidth_gran\":10,\"delay_linear\":1,\"min_bandwidth\":10,\"num_closids\":8},\
        \"mem_bw_schema_root\":\"MB:0=100\",\"mem_bw_schema\":\"MB:0=70\",\
        \"mbm_stats\":[{\"mbm_total_bytes\":9},{}],\"cmt_stats\":[{\"llc_occupancy\":123}]},";
    let found = part(&reading, "intel_rdt");
    assert!(found.starts_with(expected), "{found}");
}
