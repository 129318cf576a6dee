//! `linux.resources`: what a container may use, of which kind, and how much (runtime-spec config-linux.md "Control groups").
//!
//! A field is `None` where nothing was asked for, which engines also write as 0, `""` or false ([`Resources::normalized`]): then the
//! kernel's file is left as it is, which no value would say. Units are the specification's. -1 stands for "no limit" where the specification has it. The types serialize in the specification's own shape: the
//! record keeps them, so that an update which names one half of a pair (quota without period) finds the other.
//!
//! Device rules stand apart ([`super::DeviceRule`]): they are a policy, set as a whole and never updated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::errors::{ConfigError, ConfigErrors};
use super::resource_rules::{self, Report};
use crate::Pointer;

/// Everything of `linux.resources` but the devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Memory,
    #[serde(skip_serializing_if = "is_default")]
    pub cpu: Cpu,
    #[serde(skip_serializing_if = "is_default")]
    pub pids: Pids,
    #[serde(rename = "blockIO", skip_serializing_if = "is_default")]
    pub block_io: BlockIo,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hugepage_limits: Vec<HugepageLimit>,
    #[serde(skip_serializing_if = "is_default")]
    pub network: Network,
    /// By the name of the device.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, Rdma>,
    /// v2: file name → value, written last and as it stands. Names are plain file names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unified: BTreeMap<String, String>,
}

impl Resources {
    /// Whether nothing at all is asked for.
    pub fn is_empty(&self) -> bool {
        is_default(self)
    }

    /// Without the values that ask for nothing, as runc has them: 0 of everything but pids, burst, idle, swappiness and rates; empty
    /// lists; false; a swappiness of -1 as an unsigned number.
    #[must_use]
    pub fn normalized(mut self) -> Resources {
        let memory = &mut self.memory;
        for bytes in [
            &mut memory.limit,
            &mut memory.reservation,
            &mut memory.swap,
            &mut memory.kernel_tcp,
            &mut self.cpu.quota,
            &mut self.cpu.realtime_runtime,
        ] {
            drop_zero(bytes);
        }
        memory.swappiness = memory.swappiness.filter(|value| *value != u64::MAX);
        memory.disable_oom_killer = memory.disable_oom_killer.filter(|disable| *disable);
        for number in [
            &mut self.cpu.shares,
            &mut self.cpu.period,
            &mut self.cpu.realtime_period,
        ] {
            drop_zero(number);
        }
        for list in [&mut self.cpu.cpus, &mut self.cpu.mems] {
            *list = list.take().filter(|list| !list.trim().is_empty());
        }
        let block_io = &mut self.block_io;
        drop_zero(&mut block_io.weight);
        drop_zero(&mut block_io.leaf_weight);
        for device in &mut block_io.weight_device {
            drop_zero(&mut device.weight);
            drop_zero(&mut device.leaf_weight);
        }
        drop_zero(&mut self.network.class_id);
        self
    }

    /// Looks at each value by itself. `at` makes the pointer of a key, given as the members and indices below `resources`.
    pub fn check(&self, at: &dyn Fn(&[&str]) -> Pointer) -> Result<(), ConfigErrors> {
        collect(at, &|report| resource_rules::alone(self, report))
    }

    /// Looks for values that contradict each other, or the version of the cgroups (`unified`: v2). Of a whole only: an update is merged
    /// into what the container has first.
    pub fn check_together(
        &self,
        unified: bool,
        at: &dyn Fn(&[&str]) -> Pointer,
    ) -> Result<(), ConfigErrors> {
        collect(at, &|report| {
            resource_rules::together(self, unified, report)
        })
    }
}

fn collect(
    at: &dyn Fn(&[&str]) -> Pointer,
    rules: &dyn Fn(&mut Report<'_>),
) -> Result<(), ConfigErrors> {
    let mut errors = Vec::new();
    rules(&mut |key, message| {
        errors.push(ConfigError {
            pointer: at(key),
            message,
            unsupported: false,
        });
    });
    ConfigErrors::from_all(errors)
}

fn drop_zero<T: Default + PartialEq>(value: &mut Option<T>) {
    if value.as_ref().is_some_and(is_default) {
        *value = None;
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// In bytes; -1: unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<i64>,
    /// Memory *and* swap, as on v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<i64>,
    /// v1 only.
    #[serde(rename = "kernelTCP", skip_serializing_if = "Option::is_none")]
    pub kernel_tcp: Option<i64>,
    /// v1 only; 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swappiness: Option<u64>,
    /// v1 only.
    #[serde(rename = "disableOOMKiller", skip_serializing_if = "Option::is_none")]
    pub disable_oom_killer: Option<bool>,
    /// A limit below what is in use is refused instead of set.
    #[serde(skip_serializing_if = "is_default")]
    pub check_before_update: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu {
    /// v1's weight, 2 to 262144.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<u64>,
    /// Microseconds a period; negative: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<i64>,
    /// Microseconds that may be used beyond the quota, if saved before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    /// v1 only; microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_runtime: Option<i64>,
    /// v1 only; microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_period: Option<u64>,
    /// A list as in cpuset(7): `0-3,7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mems: Option<String>,
    /// 1: SCHED_IDLE for the whole cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pids {
    /// Negative: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockIo {
    /// 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// v1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<WeightDevice>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_bps_device: Vec<ThrottleDevice>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_bps_device: Vec<ThrottleDevice>,
    #[serde(
        rename = "throttleReadIOPSDevice",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub throttle_read_iops_device: Vec<ThrottleDevice>,
    #[serde(
        rename = "throttleWriteIOPSDevice",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub throttle_write_iops_device: Vec<ThrottleDevice>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WeightDevice {
    pub major: u32,
    pub minor: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// v1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ThrottleDevice {
    pub major: u32,
    pub minor: u32,
    /// Bytes or operations a second; 0 takes the limit off.
    pub rate: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HugepageLimit {
    /// As in the kernel's file names: `2MB`, `1GB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// v1 only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    #[serde(rename = "classID", skip_serializing_if = "Option::is_none")]
    pub class_id: Option<u32>,
    /// (interface, priority)
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priorities: Vec<NetworkPriority>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkPriority {
    pub name: String,
    pub priority: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rdma {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_handles: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_objects: Option<u32>,
}
