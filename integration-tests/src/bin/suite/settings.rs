//! The resource settings that are compared with runc's: what engines write, and every field at its edges.

use garboard_integration_tests::loop_device::LoopDevice;
use serde_json::{Value, json};

/// A `linux.resources` object, without its devices.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Named in [`super::values`]' table of differences.
    pub name: &'static str,
    pub resources: Value,
    /// The controllers without which it cannot be tried.
    pub needs: &'static [&'static str],
}

/// A change by `update`: what is there before, and the flags.
#[derive(Debug, Clone)]
pub struct Change {
    pub before: Setting,
    pub flags: &'static [&'static str],
}

const MIB: i64 = 1024 * 1024;

fn one(name: &'static str, needs: &'static [&'static str], resources: Value) -> Setting {
    Setting {
        name,
        resources,
        needs,
    }
}

pub fn memory() -> Vec<Setting> {
    let set = |name, memory: Value| one(name, &["memory"], json!({"memory": memory}));
    vec![
        set("memory: limit", json!({"limit": 512 * MIB})),
        set(
            "memory: not of whole pages",
            json!({"limit": 512 * MIB - 1000, "reservation": 100 * MIB + 1}),
        ),
        set("memory: unlimited", json!({"limit": -1})),
        set(
            "memory: no swap",
            json!({"limit": 64 * MIB, "swap": 64 * MIB}),
        ),
        set(
            "memory: as much swap",
            json!({"limit": 64 * MIB, "swap": 128 * MIB}),
        ),
        set(
            "memory: unlimited swap",
            json!({"limit": 64 * MIB, "swap": -1}),
        ),
        set("memory: all unlimited", json!({"limit": -1, "swap": -1})),
        set("memory: reservation", json!({"reservation": 64 * MIB})),
        set(
            "memory: no reservation",
            json!({"limit": 64 * MIB, "reservation": -1}),
        ),
        set("memory: swappiness", json!({"swappiness": 30})),
        set("memory: no OOM killer", json!({"disableOOMKiller": true})),
        set("memory: TCP", json!({"kernelTCP": 32 * MIB})),
        set(
            "memory: checked",
            json!({"limit": 64 * MIB, "checkBeforeUpdate": true}),
        ),
        set(
            "memory: swap below the limit",
            json!({"limit": 64 * MIB, "swap": 32 * MIB}),
        ),
        set(
            "memory: zeros",
            json!({"limit": 0, "reservation": 0, "swap": 0}),
        ),
    ]
}

pub fn processor() -> Vec<Setting> {
    let cpu = |name, cpu: Value| one(name, &["cpu"], json!({"cpu": cpu}));
    let cpuset = |name, cpu: Value| one(name, &["cpuset"], json!({"cpu": cpu}));
    vec![
        cpu("cpu: default shares", json!({"shares": 1024})),
        cpu("cpu: fewest shares", json!({"shares": 2})),
        cpu("cpu: most shares", json!({"shares": 262_144})),
        cpu("cpu: no shares", json!({"shares": 0})),
        cpu("cpu: quota", json!({"quota": 50_000})),
        cpu(
            "cpu: quota and period",
            json!({"quota": 25_000, "period": 50_000}),
        ),
        cpu("cpu: more than a period", json!({"quota": 400_000})),
        cpu("cpu: period", json!({"period": 200_000})),
        cpu(
            "cpu: unlimited",
            json!({"quota": -1, "period": 100_000, "shares": 512}),
        ),
        cpu(
            "cpu: burst",
            json!({"quota": 50_000, "period": 100_000, "burst": 20_000}),
        ),
        cpu("cpu: idle", json!({"idle": 1})),
        cpu("cpu: zeros", json!({"quota": 0, "period": 0})),
        cpuset("cpuset: one", json!({"cpus": "0", "mems": "0"})),
        cpuset("cpuset: a range", json!({"cpus": "0-1"})),
        cpuset("cpuset: a list", json!({"cpus": "1,0"})),
        cpuset("cpuset: memory nodes", json!({"mems": "0"})),
        cpuset("cpuset: not there", json!({"cpus": "4000"})),
    ]
}

pub fn processes_and_pages() -> Vec<Setting> {
    let pids = |name, limit: i64| one(name, &["pids"], json!({"pids": {"limit": limit}}));
    let huge = |name, limits: Value| one(name, &["hugetlb"], json!({"hugepageLimits": limits}));
    vec![
        pids("pids: 32", 32),
        pids("pids: 1", 1),
        pids("pids: 0", 0),
        pids("pids: unlimited", -1),
        pids("pids: a lot", 4_000_000),
        huge(
            "huge pages: 2 MB",
            json!([{"pageSize": "2MB", "limit": 8 * MIB}]),
        ),
        huge(
            "huge pages: both",
            json!([{"pageSize": "2MB", "limit": 0}, {"pageSize": "1GB", "limit": 1024 * MIB}]),
        ),
        huge(
            "huge pages: not of whole pages",
            json!([{"pageSize": "2MB", "limit": 3 * MIB}]),
        ),
        one("nothing", &[], json!({})),
    ]
}

/// What is said of block devices: `device` is there.
pub fn devices(device: &LoopDevice) -> Vec<Setting> {
    let (major, minor) = device.number;
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let block = |name, value: Value| one(name, &["blkio"], json!({"blockIO": value}));
    vec![
        block(
            "block: bytes read",
            json!({"throttleReadBpsDevice": rate(1_048_576)}),
        ),
        block(
            "block: bytes written",
            json!({"throttleWriteBpsDevice": rate(1_000_001)}),
        ),
        block("block: reads", json!({"throttleReadIOPSDevice": rate(100)})),
        block("block: writes", json!({"throttleWriteIOPSDevice": rate(1)})),
        block(
            "block: all four",
            json!({"throttleReadBpsDevice": rate(2_097_152), "throttleWriteBpsDevice": rate(1_048_576),
                   "throttleReadIOPSDevice": rate(200), "throttleWriteIOPSDevice": rate(100)}),
        ),
        block("block: weight", json!({"weight": 500})),
        block("block: nothing", json!({"weight": 0})),
    ]
}

/// What engines write.
pub fn engines() -> Vec<Setting> {
    vec![
        // docker run --memory=512m --cpus=0.5 --memory-reservation=256m
        one(
            "docker run",
            &["memory", "cpu"],
            json!({"memory": {"limit": 512 * MIB, "reservation": 256 * MIB, "swap": 1024 * MIB},
                   "cpu": {"quota": 50_000, "period": 100_000}, "blockIO": {}}),
        ),
        one(
            "docker run, nothing asked for",
            &["memory", "cpu"],
            json!({"memory": {}, "cpu": {"shares": 0}, "blockIO": {"weight": 0}}),
        ),
        one(
            "podman run",
            &["memory", "cpu", "pids"],
            json!({"memory": {"limit": 256 * MIB, "swap": 512 * MIB}, "cpu": {"shares": 512, "quota": 150_000, "period": 100_000},
                   "pids": {"limit": 2048}}),
        ),
        one(
            "kubelet, guaranteed",
            &["memory", "cpu", "pids"],
            json!({"memory": {"limit": 128 * MIB, "swap": 128 * MIB}, "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
                   "pids": {"limit": -1}}),
        ),
        one(
            "kubelet, best effort",
            &["memory", "cpu"],
            json!({"cpu": {"shares": 2, "period": 100_000}}),
        ),
        one(
            "kubelet, pinned",
            &["memory", "cpu", "cpuset"],
            json!({"memory": {"limit": 1024 * MIB}, "cpu": {"shares": 1024, "quota": 100_000, "period": 100_000, "cpus": "1", "mems": "0"}}),
        ),
        one(
            "unified",
            &["memory", "cpu", "io"],
            json!({"unified": {"memory.high": "33554432", "memory.min": "1048576", "memory.oom.group": "1",
                               "cpu.weight": "77", "pids.max": "99", "cgroup.max.depth": "5"}}),
        ),
        one(
            "unified over fields",
            &["memory", "cpu", "io"],
            json!({"memory": {"limit": 64 * MIB}, "pids": {"limit": 10},
                   "unified": {"memory.max": "134217728", "pids.max": "max"}}),
        ),
    ]
}

/// Updates, by the flags of `update`.
pub fn changes() -> Vec<Change> {
    let change = |name, needs, before: Value, flags| Change {
        before: one(name, needs, before),
        flags,
    };
    let memory = json!({"memory": {"limit": 64 * MIB, "swap": 128 * MIB}});
    let cpu = json!({"cpu": {"quota": 50_000, "period": 100_000, "shares": 512}});
    vec![
        change(
            "update: more memory",
            &["memory"],
            memory.clone(),
            &["--memory", "256m", "--memory-swap", "512m"],
        ),
        change(
            "update: less memory",
            &["memory"],
            memory.clone(),
            &["--memory", "32m", "--memory-swap", "48m"],
        ),
        change(
            "update: reservation",
            &["memory"],
            memory.clone(),
            &["--memory-reservation", "16m"],
        ),
        change(
            "update: unlimited memory",
            &["memory"],
            memory,
            &["--memory", "-1", "--memory-swap", "-1"],
        ),
        change(
            "update: quota",
            &["cpu"],
            cpu.clone(),
            &["--cpu-quota", "70000"],
        ),
        change(
            "update: period",
            &["cpu"],
            cpu.clone(),
            &["--cpu-period", "200000"],
        ),
        change(
            "update: quota and period",
            &["cpu"],
            cpu.clone(),
            &["--cpu-quota", "500000", "--cpu-period", "500000"],
        ),
        change(
            "update: shares",
            &["cpu"],
            cpu.clone(),
            &["--cpu-share", "2048"],
        ),
        change("update: no quota", &["cpu"], cpu, &["--cpu-quota", "-1"]),
        change(
            "update: pids",
            &["pids"],
            json!({"pids": {"limit": 32}}),
            &["--pids-limit", "64"],
        ),
        change(
            "update: cpuset",
            &["cpuset"],
            json!({"cpu": {"cpus": "0-1", "mems": "0"}}),
            &["--cpuset-cpus", "1"],
        ),
        change(
            "update: everything",
            &["memory", "cpu", "pids", "cpuset"],
            json!({}),
            &[
                "--memory",
                "64m",
                "--cpu-share",
                "100",
                "--cpu-quota",
                "10000",
                "--pids-limit",
                "20",
                "--cpuset-cpus",
                "0",
            ],
        ),
    ]
}
