//! `linux.resources` without the devices: from JSON to its value, and the rules of [`crate::config::Resources`] applied to it.

use super::linux::{MOST, device_number};
use crate::config::errors::{Findings, Place};
use crate::config::{
    BlockIo, Cpu, HostFacts, HugepageLimit, Memory, Network, NetworkPriority, Pids, Rdma,
    Resources, ThrottleDevice, WeightDevice, raw,
};

/// The value, each of its members checked by itself.
pub fn resources(raw: &raw::Resources<'_>, at: &Place<'_>, found: &mut Findings) -> Resources {
    let resources = Resources {
        memory: raw.memory.as_ref().map(memory).unwrap_or_default(),
        cpu: raw.cpu.as_ref().map(cpu).unwrap_or_default(),
        pids: Pids {
            limit: raw.pids.as_ref().and_then(|pids| pids.limit),
        },
        block_io: raw
            .block_io
            .as_ref()
            .map(|raw| block_io(raw, &at.key("blockIO"), found))
            .unwrap_or_default(),
        hugepage_limits: list(raw.hugepage_limits.as_deref(), |raw| HugepageLimit {
            page_size: text(raw.page_size.as_ref()).unwrap_or_default(),
            limit: raw.limit.unwrap_or_default(),
        }),
        network: raw.network.as_ref().map(network).unwrap_or_default(),
        rdma: members(raw.rdma.as_deref(), |raw| Rdma {
            hca_handles: raw.hca_handles,
            hca_objects: raw.hca_objects,
        }),
        unified: members(raw.unified.as_deref(), |value| value.to_string()),
    }
    .normalized();
    found.add(resources.check(&|key| pointer(at, key)));
    resources
}

/// The rules about values together. They judge nothing where a value has been found wrong: it may be the one that is missing.
pub(super) fn together(
    resources: &Resources,
    at: &Place<'_>,
    facts: &HostFacts,
    found: &mut Findings,
) {
    let base = at.pointer();
    let wrong = |error: &crate::config::ConfigError| {
        let pointer = error.pointer.as_str();
        pointer.starts_with(base.as_str()) || base.as_str().starts_with(pointer)
    };
    if !found.errors.iter().any(wrong) {
        found.add(resources.check_together(facts.cgroup_v2, &|key| pointer(at, key)));
    }
}

fn pointer(at: &Place<'_>, key: &[&str]) -> crate::Pointer {
    key.iter().fold(at.pointer(), |at, member| at.key(member))
}

fn text(raw: Option<&raw::Text<'_>>) -> Option<String> {
    raw.map(|text| text.to_string())
}

fn list<R, T>(raw: Option<&[R]>, element: impl Fn(&R) -> T) -> Vec<T> {
    raw.unwrap_or_default().iter().map(element).collect()
}

fn members<R, T>(
    raw: Option<&std::collections::BTreeMap<raw::Text<'_>, R>>,
    member: impl Fn(&R) -> T,
) -> std::collections::BTreeMap<String, T> {
    raw.into_iter()
        .flatten()
        .map(|(name, raw)| (name.to_string(), member(raw)))
        .collect()
}

fn memory(raw: &raw::Memory) -> Memory {
    Memory {
        limit: raw.limit,
        reservation: raw.reservation,
        swap: raw.swap,
        kernel_tcp: raw.kernel_tcp,
        swappiness: raw.swappiness,
        disable_oom_killer: raw.disable_oom_killer,
        check_before_update: raw.check_before_update.unwrap_or_default(),
    }
}

fn cpu(raw: &raw::Cpu<'_>) -> Cpu {
    Cpu {
        shares: raw.shares,
        quota: raw.quota,
        burst: raw.burst,
        period: raw.period,
        realtime_runtime: raw.realtime_runtime,
        realtime_period: raw.realtime_period,
        cpus: text(raw.cpus.as_ref()),
        mems: text(raw.mems.as_ref()),
        idle: raw.idle,
    }
}

fn block_io(raw: &raw::BlockIo, at: &Place<'_>, found: &mut Findings) -> BlockIo {
    let mut throttle = |key: &str, raw: Option<&[raw::ThrottleDevice]>| {
        let at = at.key(key);
        let devices = raw.unwrap_or_default().iter().enumerate();
        devices
            .map(|(index, raw)| {
                let (major, minor) = device(raw.major, raw.minor, &at.index(index), found);
                let rate = raw.rate.unwrap_or_default();
                ThrottleDevice { major, minor, rate }
            })
            .collect()
    };
    BlockIo {
        throttle_read_bps_device: throttle(
            "throttleReadBpsDevice",
            raw.throttle_read_bps_device.as_deref(),
        ),
        throttle_write_bps_device: throttle(
            "throttleWriteBpsDevice",
            raw.throttle_write_bps_device.as_deref(),
        ),
        throttle_read_iops_device: throttle(
            "throttleReadIOPSDevice",
            raw.throttle_read_iops_device.as_deref(),
        ),
        throttle_write_iops_device: throttle(
            "throttleWriteIOPSDevice",
            raw.throttle_write_iops_device.as_deref(),
        ),
        weight: raw.weight,
        leaf_weight: raw.leaf_weight,
        weight_device: weights(raw, &at.key("weightDevice"), found),
    }
}

fn weights(raw: &raw::BlockIo, at: &Place<'_>, found: &mut Findings) -> Vec<WeightDevice> {
    let devices = raw.weight_device.as_deref().unwrap_or_default();
    devices
        .iter()
        .enumerate()
        .map(|(index, raw)| {
            let (major, minor) = device(raw.major, raw.minor, &at.index(index), found);
            WeightDevice {
                major,
                minor,
                weight: raw.weight,
                leaf_weight: raw.leaf_weight,
            }
        })
        .collect()
}

/// A wrong number stays in its place as 0: the list keeps its indices.
fn device(
    major: Option<i64>,
    minor: Option<i64>,
    at: &Place<'_>,
    found: &mut Findings,
) -> (u32, u32) {
    let mut number = |name, value: Option<i64>, most| {
        device_number(value.unwrap_or_default(), most, &at.key(name), found).unwrap_or_default()
    };
    (
        number("major", major, MOST.0),
        number("minor", minor, MOST.1),
    )
}

fn network(raw: &raw::Network<'_>) -> Network {
    Network {
        class_id: raw.class_id,
        priorities: list(raw.priorities.as_deref(), |raw| NetworkPriority {
            name: text(raw.name.as_ref()).unwrap_or_default(),
            priority: raw.priority.unwrap_or_default(),
        }),
    }
}
