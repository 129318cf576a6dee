use std::collections::BTreeMap;

use super::super::unit::Manager;
use super::*;
use crate::config::Cpu;

fn write(file: &'static str, value: &str) -> Step {
    Step::Write(Write {
        controller: file.split('.').next().unwrap().into(),
        file: file.into(),
        value: value.to_owned(),
        at: Pointer::CONFIG.key("linux"),
    })
}

fn shown(properties: &[Property]) -> Vec<String> {
    let show = |property: &Property| {
        let optional = if property.optional { "?" } else { "" };
        format!("{}{optional}={:?}", property.name, property.value)
    };
    properties.iter().map(show).collect()
}

fn v2(writes: &[(&'static str, &str)], resources: &Resources) -> Vec<String> {
    let steps: Vec<_> = writes
        .iter()
        .map(|(file, value)| write(file, value))
        .collect();
    shown(&of_steps(Version::V2, &steps, resources))
}

#[test]
fn every_unit_has_what_runcs_has() {
    let unit = |path| Unit::new(Some(path), "c1", Manager::System).unwrap();
    assert_eq!(
        shown(&of_every_unit(&unit("a.slice:b:c"), Version::V2)),
        [
            "Description=Text(\"libcontainer container c\")",
            "Slice=Text(\"a.slice\")",
            "Delegate=Bool(true)",
            "CollectMode=Text(\"inactive-or-failed\")",
            "MemoryAccounting=Bool(true)",
            "CPUAccounting=Bool(true)",
            "IOAccounting=Bool(true)",
            "TasksAccounting=Bool(true)",
            "DefaultDependencies=Bool(false)",
        ]
    );
    let slice = shown(&of_every_unit(&unit("a.slice:b:a-c.slice"), Version::V1));
    assert_eq!(slice[1], "Wants=Texts([\"a.slice\"])");
    assert_eq!(slice[4], "BlockIOAccounting=Bool(true)");
    assert!(!slice.iter().any(|one| one.starts_with("Delegate")));
}

#[test]
fn files_of_cgroup2_become_properties() {
    let none = Resources::default();
    let max = u64::MAX;
    let table: [(&'static str, &str, Vec<String>); 16] = [
        (
            "memory.max",
            "67108864",
            vec!["MemoryMax=U64(67108864)".into()],
        ),
        ("memory.max", "max", vec![format!("MemoryMax=U64({max})")]),
        ("memory.low", "1", vec!["MemoryLow=U64(1)".into()]),
        ("memory.min", "1", vec!["MemoryMin=U64(1)".into()]),
        ("memory.high", "1", vec!["MemoryHigh=U64(1)".into()]),
        ("memory.swap.max", "0", vec!["MemorySwapMax=U64(0)".into()]),
        ("pids.max", "32", vec!["TasksMax=U64(32)".into()]),
        ("cpu.weight", "100", vec!["CPUWeight=U64(100)".into()]),
        ("cpu.idle", "1", vec!["CPUWeight?=U64(0)".into()]),
        ("cpu.idle", "0", vec![]),
        (
            "cpuset.cpus",
            "0-2,9",
            vec!["AllowedCPUs?=Bytes([7, 2])".into()],
        ),
        (
            "cpuset.mems",
            "0",
            vec!["AllowedMemoryNodes?=Bytes([1])".into()],
        ),
        ("cpuset.cpus", "3-1", vec![]),
        ("cpuset.cpus", "0-4294967295", vec![]),
        ("memory.max", "many", vec![]),
        ("io.weight", "100", vec![]),
    ];
    for (file, value, expected) in table {
        assert_eq!(v2(&[(file, value)], &none), expected, "{file} {value}");
    }
    // The last write holds.
    let both = v2(
        &[("pids.max", "1"), ("memory.max", "9"), ("pids.max", "2")],
        &none,
    );
    assert_eq!(both, ["MemoryMax=U64(9)", "TasksMax=U64(2)"]);
}

#[test]
fn an_idle_cgroup_has_no_weight() {
    let idle = Resources {
        cpu: Cpu {
            idle: Some(1),
            ..Cpu::default()
        },
        ..Resources::default()
    };
    for writes in [
        [("cpu.weight", "100"), ("cpu.idle", "1")],
        [("cpu.idle", "1"), ("cpu.weight", "100")],
    ] {
        assert_eq!(v2(&writes, &idle), ["CPUWeight?=U64(0)"]);
    }
}

#[test]
fn memory_oom_group_is_the_units_policy() {
    let unified = |value: &str| Resources {
        unified: BTreeMap::from([("memory.oom.group".to_owned(), value.to_owned())]),
        ..Resources::default()
    };
    let steps = [("memory.oom.group", "1")];
    assert_eq!(v2(&steps, &unified("1")), ["OOMPolicy?=Text(\"kill\")"]);
    assert_eq!(v2(&steps, &unified("0")), ["OOMPolicy?=Text(\"continue\")"]);
    assert!(v2(&steps, &unified("2")).is_empty());
}

fn cpu(quota: Option<i64>, period: Option<u64>) -> Resources {
    Resources {
        cpu: Cpu {
            quota,
            period,
            ..Cpu::default()
        },
        ..Resources::default()
    }
}

#[test]
fn quotas_are_rounded_up_to_whole_percents() {
    // quota, period asked for, cpu.max planned, a second's share, cpu.max written
    let max = u64::MAX;
    let table = [
        (Some(50_000), None, "50000 100000", 500_000, "50000 100000"),
        (
            Some(50_000),
            Some(100_000),
            "50000 100000",
            500_000,
            "50000 100000",
        ),
        (
            Some(33_333),
            Some(100_000),
            "33333 100000",
            340_000,
            "34000 100000",
        ),
        (Some(1_000), Some(3_000), "1000 3000", 340_000, "1020 3000"),
        (Some(1), None, "1 100000", 10_000, "1000 100000"),
        (Some(1_000), None, "1000 3000", 340_000, "1020 3000"),
        (Some(-1), Some(50_000), "max 50000", max, "max 50000"),
        (Some(-1), None, "max", max, "max"),
        (
            Some(i64::MAX),
            None,
            "9223372036854775807 100000",
            max,
            "9223372036854775807 100000",
        ),
    ];
    for (quota, period, planned, share, written) in table {
        let resources = cpu(quota, period);
        let mut steps = [write("cpu.max", planned)];
        let mut expected = vec![format!("CPUQuotaPerSecUSec=U64({share})")];
        let (_, in_file) = quota_and_period(planned);
        let told = in_file.filter(|&in_file| period.is_some() || in_file != 100_000);
        expected.extend(told.map(|period| format!("CPUQuotaPeriodUSec?=U64({period})")));
        if planned == written || planned.starts_with("max") {
            let properties = of_steps(Version::V2, &steps, &resources);
            assert_eq!(shown(&properties), expected, "{planned}");
        }
        round_quota(&mut steps, &resources);
        if quota != Some(i64::MAX) {
            assert_eq!(steps[0].writes().next().unwrap().value, written);
            let properties = of_steps(Version::V2, &steps, &resources);
            assert_eq!(shown(&properties), expected, "{planned}, rounded");
        }
    }
    let mut unlimited = [write("cpu.cfs_quota_us", "-1")];
    round_quota(&mut unlimited, &cpu(Some(-1), None));
    assert_eq!(unlimited[0].writes().next().unwrap().value, "-1");
    let mut third = [write("cpu.cfs_quota_us", "333")];
    round_quota(&mut third, &cpu(Some(333), Some(1000)));
    assert_eq!(third[0].writes().next().unwrap().value, "340");
}

#[test]
fn files_of_v1_become_properties() {
    let resources = cpu(Some(50_000), Some(100_000));
    let steps = [
        write("memory.limit_in_bytes", "-1"),
        write("cpu.shares", "512"),
        write("cpu.cfs_period_us", "100000"),
        write("cpu.cfs_quota_us", "50000"),
        write("blkio.weight", "500"),
        write("memory.max", "1"),
    ];
    let properties = of_steps(Version::V1, &steps, &resources);
    assert_eq!(
        shown(&properties),
        [
            format!("MemoryLimit=U64({})", u64::MAX),
            "CPUShares=U64(512)".to_owned(),
            "CPUQuotaPerSecUSec=U64(500000)".to_owned(),
            "CPUQuotaPeriodUSec?=U64(100000)".to_owned(),
            "BlockIOWeight=U64(500)".to_owned(),
        ]
    );
    let at = properties[0].at.as_ref().map(Pointer::as_str);
    assert_eq!(at, Some("config.json#/linux"));
}
