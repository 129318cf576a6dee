//! What a unit is told: its properties, from the same planned writes that go to the cgroup's files.
//!
//! systemd writes the files of a cgroup itself, at the start and again at every `daemon-reload`: what it does not know it may undo. So each
//! planned write ([`Step`]) of a file that a property stands for becomes that property (docs/compatibility.md "systemd units"); the writes
//! follow nevertheless. Values come from one place, the plan, and cannot differ. Pure.

use crate::config::Resources;
use crate::error::Pointer;

use super::super::limits::{Step, Write};
use super::super::path::Version;
use super::bus::Value;
use super::unit::{Unit, UnitKind};

/// systemd takes CPU quotas in whole percents of a second.
const QUOTA_STEP_US: u64 = 10_000;
/// The kernel's default (sched-bwc.rst).
const DEFAULT_PERIOD_US: u64 = 100_000;
const SECOND_US: u64 = 1_000_000;

/// One property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    pub name: String,
    pub value: Value,
    /// Not every systemd that we support knows it, and the file says the same: without it is better than not at all.
    pub optional: bool,
    /// The key that asks for it.
    pub at: Option<Pointer>,
}

impl Property {
    pub fn new(name: &str, value: impl Into<Value>) -> Property {
        Property {
            name: name.to_owned(),
            value: value.into(),
            optional: false,
            at: None,
        }
    }
}

/// What every container's unit has, whatever was asked for. The processes are added when they are there.
pub fn of_every_unit(unit: &Unit, version: Version) -> Vec<Property> {
    let io = match version {
        Version::V1 => "BlockIOAccounting",
        Version::V2 => "IOAccounting",
    };
    let description = format!("libcontainer container {}", unit.container);
    let mut properties = vec![Property::new("Description", description.as_str())];
    match unit.kind {
        UnitKind::Scope => properties.extend([
            Property::new("Slice", unit.slice.as_str()),
            Property::new("Delegate", Value::Bool(true)),
            // A unit that failed (its processes were OOM-killed) would stay until somebody resets it.
            Property::new("CollectMode", "inactive-or-failed"),
        ]),
        UnitKind::Slice => {
            properties.push(Property::new(
                "Wants",
                Value::Texts(vec![unit.slice.clone()]),
            ));
        }
    }
    for accounting in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
        properties.push(Property::new(accounting, Value::Bool(true)));
    }
    properties.push(Property::new("DefaultDependencies", Value::Bool(false)));
    properties
}

/// The properties that say what `steps` write. `resources`: what the steps were planned from.
pub fn of_steps(version: Version, steps: &[Step], resources: &Resources) -> Vec<Property> {
    let mut properties: Vec<Property> = Vec::new();
    let writes: Vec<_> = steps.iter().flat_map(Step::writes).collect();
    for write in &writes {
        for mut property in of_write(version, write, &writes, resources) {
            property.at = Some(write.at.clone());
            // As with the writes, the last one holds. A weight beside an idle cgroup's says nothing.
            properties.retain(|other| other.name != property.name);
            properties.push(property);
        }
    }
    if version == Version::V2 {
        properties.extend(oom_policy(resources));
    }
    properties
}

fn of_write(
    version: Version,
    write: &Write,
    all: &[&Write],
    resources: &Resources,
) -> Vec<Property> {
    let value = write.value.trim();
    let one = |name: &str| {
        let number = limit(value).map(Value::U64);
        number
            .map(|number| Property::new(name, number))
            .into_iter()
            .collect()
    };
    let optional = |name: &str, value: Option<Value>| {
        let property = value.map(|value| Property {
            optional: true,
            ..Property::new(name, value)
        });
        property.into_iter().collect()
    };
    match (version, write.file.as_ref()) {
        (_, "pids.max") => one("TasksMax"),
        (_, "cpuset.cpus") => optional("AllowedCPUs", cpuset(value)),
        (_, "cpuset.mems") => optional("AllowedMemoryNodes", cpuset(value)),
        (Version::V2, "memory.max") => one("MemoryMax"),
        (Version::V2, "memory.high") => one("MemoryHigh"),
        (Version::V2, "memory.low") => one("MemoryLow"),
        (Version::V2, "memory.min") => one("MemoryMin"),
        (Version::V2, "memory.swap.max") => one("MemorySwapMax"),
        (Version::V2, "cpu.weight") if !is_idle(resources) => one("CPUWeight"),
        // A weight of 0 is systemd's word for cpu.idle, since 252. There is none for "not idle", which is the default.
        (Version::V2, "cpu.idle") if value == "1" => optional("CPUWeight", Some(Value::U64(0))),
        (Version::V2, "cpu.max") => {
            let (quota, period) = quota_and_period(value);
            // The plan writes the default where nobody has asked for a period.
            let asked = resources.cpu.period.is_some()
                || resources.unified.contains_key("cpu.max")
                || period != Some(DEFAULT_PERIOD_US);
            quota_properties(quota, period.filter(|_| asked))
        }
        (Version::V1, "memory.limit_in_bytes") => one("MemoryLimit"),
        (Version::V1, "cpu.shares") => one("CPUShares"),
        (Version::V1, "blkio.weight") => one("BlockIOWeight"),
        (Version::V1, "cpu.cfs_quota_us" | "cpu.cfs_period_us") => {
            let of = |file: &str| {
                let mut writes = all.iter();
                writes.find(|write| write.file == file)?.value.parse().ok()
            };
            let period = of("cpu.cfs_period_us").and_then(positive);
            quota_properties(of("cpu.cfs_quota_us").and_then(positive), period)
        }
        _ => Vec::new(),
    }
}

fn is_idle(resources: &Resources) -> bool {
    let unified = resources.unified.get("cpu.idle");
    resources.cpu.idle == Some(1) || unified.is_some_and(|value| value.trim() == "1")
}

/// `memory.oom.group` has its property on the unit's own policy for what the OOM killer did (scopes have it since systemd 253).
fn oom_policy(resources: &Resources) -> Option<Property> {
    let policy = match resources.unified.get("memory.oom.group")?.trim() {
        "0" => "continue",
        "1" => "kill",
        _ => return None,
    };
    Some(Property {
        optional: true,
        ..Property::new("OOMPolicy", policy)
    })
}

/// The number in a control file; "no limit" is systemd's infinity. `None` for what the kernel will refuse.
fn limit(value: &str) -> Option<u64> {
    match value {
        "max" | "-1" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn positive(quota: i64) -> Option<u64> {
    u64::try_from(quota).ok().filter(|&quota| quota > 0)
}

/// Of `cpu.max`: no quota is no limit.
fn quota_and_period(value: &str) -> (Option<u64>, Option<u64>) {
    let mut parts = value.split_ascii_whitespace();
    let mut number = || parts.next()?.parse().ok();
    (number(), number())
}

fn quota_properties(quota: Option<u64>, period: Option<u64>) -> Vec<Property> {
    let per_second = quota.map_or(u64::MAX, |quota| {
        per_second(quota, period.unwrap_or(DEFAULT_PERIOD_US))
    });
    let mut properties = vec![Property::new("CPUQuotaPerSecUSec", Value::U64(per_second))];
    properties.extend(period.map(|period| Property {
        optional: true,
        ..Property::new("CPUQuotaPeriodUSec", Value::U64(period))
    }));
    properties
}

/// Microseconds a second, rounded up to what systemd can say.
fn per_second(quota: u64, period: u64) -> u64 {
    let exact = u128::from(quota) * u128::from(SECOND_US) / u128::from(period.max(1));
    let rounded = exact.next_multiple_of(u128::from(QUOTA_STEP_US));
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

/// Makes the quota in `steps` the one that systemd will write, so that file and property say the same.
pub fn round_quota(steps: &mut [Step], resources: &Resources) {
    for step in steps {
        for write in step.writes_mut() {
            match write.file.as_ref() {
                "cpu.max" => {
                    let (quota, period) = quota_and_period(&write.value);
                    let Some(quota) = quota else { continue };
                    let rounded = rounded(quota, period.unwrap_or(DEFAULT_PERIOD_US));
                    write.value = match period {
                        Some(period) => format!("{rounded} {period}"),
                        None => rounded.to_string(),
                    };
                }
                "cpu.cfs_quota_us" => {
                    let period = resources.cpu.period.unwrap_or(DEFAULT_PERIOD_US);
                    if let Some(quota) = write.value.parse().ok().and_then(positive) {
                        write.value = rounded(quota, period).to_string();
                    }
                }
                _ => {}
            }
        }
    }
}

fn rounded(quota: u64, period: u64) -> u64 {
    let exact = u128::from(quota) * u128::from(SECOND_US) / u128::from(period.max(1));
    if exact.is_multiple_of(u128::from(QUOTA_STEP_US)) {
        return quota;
    }
    let rounded =
        u128::from(per_second(quota, period)) * u128::from(period) / u128::from(SECOND_US);
    u64::try_from(rounded).unwrap_or(quota)
}

/// A list as in cpuset(7) as systemd's bytes: bit n of byte m stands for number 8 m + n. `None` for what the kernel will refuse.
fn cpuset(list: &str) -> Option<Value> {
    /// Far above any machine's, so that a number of a few digits takes no memory.
    const NUMBERS_MAX: usize = 1 << 16;
    let mut bytes: Vec<u8> = Vec::new();
    // An empty list takes the restriction off, for systemd too.
    if list.is_empty() {
        return Some(Value::Bytes(bytes));
    }
    for range in list.split(',').map(str::trim) {
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (first.trim().parse().ok()?, last.trim().parse().ok()?),
            None => {
                let only: usize = range.parse().ok()?;
                (only, only)
            }
        };
        if first > last || last >= NUMBERS_MAX {
            return None;
        }
        bytes.resize(bytes.len().max(last / 8 + 1), 0);
        for number in first..=last {
            bytes[number / 8] |= 1 << (number % 8);
        }
    }
    Some(Value::Bytes(bytes))
}

#[cfg(test)]
#[path = "properties_tests.rs"]
mod tests;
