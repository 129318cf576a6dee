//! Tables: what each key becomes on either version.

use serde_json::{Value, json};

use super::*;
use crate::config::resources_document;

fn planned(version: Version, document: Value) -> Vec<Step> {
    let resources = resources_document(document.to_string().as_bytes()).expect("valid");
    plan(version, &resources, Origin::Document).expect("limits that agree")
}

/// `file=value`, with a mark for how: `?` if present, `!` read back, `~` any order, `|` the first present, `<` not below usage.
fn short(steps: &[Step]) -> Vec<String> {
    let mut all = Vec::new();
    for step in steps {
        let mark = match step {
            Step::Write(_) => "",
            Step::IfPresent(_) => "?",
            Step::ReadBack(_) => "!",
            Step::AnyOrder(_) => "~",
            Step::FirstPresent(_) => "|",
            Step::NotBelowUsage { .. } => "<",
        };
        for write in step.writes() {
            all.push(format!("{}={}{mark}", write.file, write.value));
        }
    }
    all
}

#[test]
fn conversions() {
    // (resources, on v2, on v1)
    let table: &[(Value, &[&str], &[&str])] = &[
        (json!({}), &[], &[]),
        // What engines write for "nothing".
        (
            json!({"memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": false, "swappiness": u64::MAX},
                "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": "", "realtimePeriod": 0, "realtimeRuntime": 0},
                "blockIO": {"weight": 0, "leafWeight": 0, "weightDevice": []}, "pids": {}, "network": {"classID": 0}}),
            &[],
            &[],
        ),
        (
            json!({"memory": {"limit": 67108864}}),
            &["memory.max=67108864"],
            &["memory.limit_in_bytes=67108864"],
        ),
        (
            json!({"memory": {"limit": 67108864, "swap": 134217728}}),
            &["memory.swap.max=67108864", "memory.max=67108864"],
            &[
                "memory.limit_in_bytes=67108864~",
                "memory.memsw.limit_in_bytes=134217728~",
            ],
        ),
        (
            json!({"memory": {"limit": 4096, "swap": 4096}}),
            &["memory.swap.max=0?", "memory.max=4096"],
            &[
                "memory.limit_in_bytes=4096~",
                "memory.memsw.limit_in_bytes=4096~",
            ],
        ),
        (
            json!({"memory": {"limit": 4096, "swap": -1}}),
            &["memory.swap.max=max?", "memory.max=4096"],
            &[
                "memory.limit_in_bytes=4096~",
                "memory.memsw.limit_in_bytes=-1~",
            ],
        ),
        (
            json!({"memory": {"limit": -1}}),
            &["memory.swap.max=max?", "memory.max=max"],
            &[
                "memory.memsw.limit_in_bytes=-1?",
                "memory.limit_in_bytes=-1",
            ],
        ),
        (
            json!({"memory": {"swap": -1}}),
            &["memory.swap.max=max?"],
            &["memory.memsw.limit_in_bytes=-1"],
        ),
        (
            json!({"memory": {"reservation": 4096, "kernel": 1, "kernelTCP": 8192, "swappiness": 0, "disableOOMKiller": true, "useHierarchy": true}}),
            &["memory.low=4096"],
            &[
                "memory.soft_limit_in_bytes=4096",
                "memory.kmem.tcp.limit_in_bytes=8192",
                "memory.oom_control=1",
                "memory.swappiness=0",
            ],
        ),
        (
            json!({"memory": {"reservation": -1}}),
            &["memory.low=max"],
            &["memory.soft_limit_in_bytes=-1"],
        ),
        (
            json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}}),
            &["memory.max=4096<", "memory.max=4096"],
            &["memory.limit_in_bytes=4096"],
        ),
        (
            json!({"cpu": {"shares": 512, "cpus": "0-1", "mems": "0"}}),
            &["cpu.weight=59", "cpuset.cpus=0-1", "cpuset.mems=0"],
            &["cpuset.cpus=0-1", "cpuset.mems=0", "cpu.shares=512!"],
        ),
        (
            json!({"cpu": {"quota": 50000}}),
            &["cpu.max=50000 100000"],
            &["cpu.cfs_quota_us=50000"],
        ),
        (
            json!({"cpu": {"quota": -5}}),
            &["cpu.max=max 100000"],
            &["cpu.cfs_quota_us=-1"],
        ),
        (
            json!({"cpu": {"period": 20000}}),
            &["cpu.max=max 20000"],
            &["cpu.cfs_period_us=20000"],
        ),
        (
            json!({"cpu": {"quota": 50000, "period": 20000, "burst": 1000, "idle": 0}}),
            &["cpu.idle=0", "cpu.max.burst=1000~", "cpu.max=50000 20000~"],
            &[
                "cpu.idle=0",
                "cpu.cfs_period_us=20000~",
                "cpu.cfs_burst_us=1000~",
                "cpu.cfs_quota_us=50000~",
            ],
        ),
        (
            json!({"cpu": {"burst": 0}}),
            &["cpu.max.burst=0"],
            &["cpu.cfs_burst_us=0"],
        ),
        (
            json!({"cpu": {"idle": 1, "shares": 1024}}),
            &["cpu.idle=1"],
            &["cpu.idle=1"],
        ),
        (
            json!({"cpu": {"realtimeRuntime": 95000, "realtimePeriod": 100000}}),
            &[],
            &["cpu.rt_period_us=100000~", "cpu.rt_runtime_us=95000~"],
        ),
        (
            json!({"pids": {"limit": 100}}),
            &["pids.max=100"],
            &["pids.max=100"],
        ),
        (
            json!({"pids": {"limit": 0}}),
            &["pids.max=1"],
            &["pids.max=1"],
        ),
        (
            json!({"pids": {"limit": -1}}),
            &["pids.max=max"],
            &["pids.max=max"],
        ),
        (
            json!({"blockIO": {"weight": 100, "leafWeight": 200}}),
            &["io.bfq.weight=100|", "io.weight=910|"],
            &[
                "blkio.weight=100|",
                "blkio.bfq.weight=100|",
                "blkio.leaf_weight=200",
            ],
        ),
        (
            json!({"blockIO": {"weightDevice": [{"major": 7, "minor": 1, "weight": 1000, "leafWeight": 10}, {"major": 7, "minor": 2}]}}),
            &["io.bfq.weight=7:1 1000|", "io.weight=7:1 10000|"],
            &[
                "blkio.weight_device=7:1 1000|",
                "blkio.bfq.weight_device=7:1 1000|",
                "blkio.leaf_weight_device=7:1 10",
            ],
        ),
        (
            json!({"blockIO": {
                "throttleReadBpsDevice": [{"major": 7, "minor": 0, "rate": 1}, {"major": 7, "minor": 1, "rate": 0}],
                "throttleWriteBpsDevice": [{"major": 7, "minor": 0, "rate": 2}],
                "throttleReadIOPSDevice": [{"major": 7, "minor": 0, "rate": 3}],
                "throttleWriteIOPSDevice": [{"major": 7, "minor": 0, "rate": 4}]}}),
            &[
                "io.max=7:0 rbps=1",
                "io.max=7:1 rbps=max",
                "io.max=7:0 wbps=2",
                "io.max=7:0 riops=3",
                "io.max=7:0 wiops=4",
            ],
            &[
                "blkio.throttle.read_bps_device=7:0 1",
                "blkio.throttle.read_bps_device=7:1 0",
                "blkio.throttle.write_bps_device=7:0 2",
                "blkio.throttle.read_iops_device=7:0 3",
                "blkio.throttle.write_iops_device=7:0 4",
            ],
        ),
        (
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}),
            &["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304?"],
            &[
                "hugetlb.2MB.limit_in_bytes=4194304",
                "hugetlb.2MB.rsvd.limit_in_bytes=4194304?",
            ],
        ),
        (
            json!({"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]}}),
            &[],
            &["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 500"],
        ),
        (
            json!({"rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 4}, "mlx5_1": {"hcaObjects": 5}, "none": {}}}),
            &[
                "rdma.max=mlx5_0 hca_handle=3 hca_object=4",
                "rdma.max=mlx5_1 hca_object=5",
            ],
            &[
                "rdma.max=mlx5_0 hca_handle=3 hca_object=4",
                "rdma.max=mlx5_1 hca_object=5",
            ],
        ),
    ];
    for (document, on_v2, on_v1) in table {
        assert_eq!(
            short(&planned(Version::V2, document.clone())),
            *on_v2,
            "v2: {document}"
        );
        assert_eq!(
            short(&planned(Version::V1, document.clone())),
            *on_v1,
            "v1: {document}"
        );
    }
}

#[test]
fn unified_is_last_and_a_line_a_write() {
    let steps = planned(
        Version::V2,
        json!({"unified": {"memory.high": "1", "io.max": "7:0 rbps=1\n7:1 rbps=2\n", "cgroup.max.depth": "2", "cpuset.cpus": ""},
            "rdma": {"x": {"hcaHandles": 1}}}),
    );
    assert_eq!(
        short(&steps),
        [
            "rdma.max=x hca_handle=1",
            "cgroup.max.depth=2",
            "cpuset.cpus=\n",
            "io.max=7:0 rbps=1",
            "io.max=7:1 rbps=2",
            "memory.high=1",
        ]
    );
    let of = |file: &str| {
        let writes = steps.iter().flat_map(Step::writes);
        writes
            .filter(|write| write.file == file)
            .map(|write| (write.controller.to_string(), write.at.to_string()))
            .next()
    };
    assert_eq!(of("cgroup.max.depth").unwrap().0, "");
    assert_eq!(
        of("memory.high").unwrap(),
        (
            "memory".to_owned(),
            "resources.json#/unified/memory.high".to_owned()
        )
    );
}

#[test]
fn shares_become_weights_on_the_curve() {
    for (shares, weight) in [
        (1, 1),
        (2, 1),
        (3, 2),
        (10, 4),
        (100, 17),
        (512, 59),
        (1024, 100),
        (1025, 101),
        (2048, 174),
        (10_240, 639),
        (262_143, 10_000),
        (262_144, 10_000),
        (u64::MAX, 10_000),
    ] {
        let steps = planned(Version::V2, json!({"cpu": {"shares": shares}}));
        assert_eq!(short(&steps), [format!("cpu.weight={weight}")], "{shares}");
    }
}

#[test]
fn values_that_contradict_each_other() {
    // (resources, on v2, on v1)
    let table: &[(Value, &str, &str)] = &[
        (
            json!({"memory": {"swap": 1}}),
            "memory/swap: unable to set swap limit without memory limit",
            "memory/swap: unable to set swap limit without memory limit",
        ),
        (
            json!({"memory": {"limit": 2, "swap": 1}}),
            "memory/swap: memory+swap limit should be >= memory limit",
            "memory/swap: memory+swap limit should be >= memory limit",
        ),
        (
            json!({"memory": {"limit": -1, "swap": 1}}),
            "",
            "memory/swap: memory+swap limit should be >= memory limit",
        ),
        (
            json!({"cpu": {"quota": 2000, "burst": 2001}}),
            "cpu/burst: 2001 microseconds are more than the quota of 2000",
            "cpu/burst: 2001 microseconds are more than the quota of 2000",
        ),
        (json!({"cpu": {"quota": -1, "burst": 2001}}), "", ""),
        (
            json!({"cpu": {"shares": 1}}),
            "",
            "cpu/shares: the minimum allowed cpu-shares is 2",
        ),
        (
            json!({"cpu": {"shares": 262145}}),
            "",
            "cpu/shares: the maximum allowed cpu-shares is 262144",
        ),
        (
            json!({"cpu": {"realtimeRuntime": 11, "realtimePeriod": 10}}),
            "",
            "cpu/realtimeRuntime: 11 microseconds are more than the period of 10",
        ),
        (
            json!({"unified": {"memory.high": "1"}}),
            "",
            "unified: invalid configuration: cannot use unified on cgroup v1",
        ),
    ];
    for (document, on_v2, on_v1) in table {
        let resources = resources_document(document.to_string().as_bytes()).expect("valid");
        for (version, expected) in [(Version::V2, on_v2), (Version::V1, on_v1)] {
            let said = plan(version, &resources, Origin::Document)
                .err()
                .map(|error| error.to_string());
            let expected = (!expected.is_empty()).then(|| format!("resources.json#/{expected}"));
            assert_eq!(said, expected, "{version:?}: {document}");
        }
    }
}

#[test]
fn flags_are_named_as_they_were_given() {
    let resources =
        resources_document(br#"{"memory":{"limit":1,"swap":2},"unified":{"io.max":"x"}}"#)
            .expect("valid");
    let steps = plan(Version::V2, &resources, Origin::Flags).expect("limits that agree");
    let at = steps
        .iter()
        .flat_map(Step::writes)
        .map(|write| write.at.as_str())
        .collect::<Vec<_>>();
    assert_eq!(
        at,
        [
            "--memory-swap",
            "--memory",
            "resources.json#/unified/io.max"
        ]
    );
}

#[test]
fn what_only_v1_has_is_named_on_v2() {
    let document = json!({"memory": {"swappiness": 1, "disableOOMKiller": false}, "network": {"classID": 1}, "cpu": {"shares": 2}});
    let resources = resources_document(document.to_string().as_bytes()).expect("valid");
    let named = |version| {
        let named = without_effect(version, &resources, Origin::Document);
        named.iter().map(Pointer::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        named(Version::V2),
        [
            "resources.json#/memory/swappiness",
            "resources.json#/network"
        ]
    );
    assert_eq!(named(Version::V1), [""; 0]);
}
