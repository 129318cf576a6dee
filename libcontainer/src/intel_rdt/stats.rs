//! What `events` shows of a container's group: `intel_rdt` (docs/compatibility.md "events"), with runc's names.

use rustix::fs::Dir;
use serde::Serialize;

use crate::error::Error;

use super::group::monitoring_path;
use super::{Placement, Resctrl};

/// The `intel_rdt` object. What the machine does not have is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    /// The line of the default group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    /// The line of the container's group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<MemoryBandwidthInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// One for each cache, in the order of `mon_data`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mbm_stats: Vec<MemoryBandwidth>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmt_stats: Vec<CacheOccupancy>,
}

/// `info/L3`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CacheInfo {
    /// Hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cbm_mask: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub min_cbm_bits: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_closids: u64,
}

/// `info/MB`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemoryBandwidthInfo {
    #[serde(skip_serializing_if = "is_zero")]
    pub bandwidth_gran: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub delay_linear: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub min_bandwidth: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_closids: u64,
}

/// Bytes since the group was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemoryBandwidth {
    #[serde(skip_serializing_if = "is_zero")]
    pub mbm_total_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub mbm_local_bytes: u64,
}

/// Bytes of a cache in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CacheOccupancy {
    pub llc_occupancy: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde calls it with"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The statistics of a recorded group; `None` when it has gone. Errors: Refused.
pub fn stats(placement: &Placement) -> Result<Option<Stats>, Error> {
    match Resctrl::reopen(&placement.root)? {
        Some(resctrl) if resctrl.has_group(&placement.group)? => of(&resctrl, placement).map(Some),
        _ => Ok(None),
    }
}

pub(super) fn of(resctrl: &Resctrl, placement: &Placement) -> Result<Stats, Error> {
    let group = &placement.group;
    let read = |path: &str| {
        resctrl
            .read(path)
            .map_err(|errno| resctrl.refused("read", path, errno))
    };
    let root = read("schemata")?;
    let own = read(&below(group, "schemata"))?;
    let mut stats = Stats::default();
    if resctrl.directory("info/L3").is_ok() {
        stats.l3_cache_info = Some(CacheInfo {
            cbm_mask: read("info/L3/cbm_mask")?,
            min_cbm_bits: number(resctrl, "info/L3/min_cbm_bits"),
            num_closids: number(resctrl, "info/L3/num_closids"),
        });
        stats.l3_cache_schema_root = line(&root, "L3");
        stats.l3_cache_schema = line(&own, "L3");
    }
    if resctrl.directory("info/MB").is_ok() {
        stats.mem_bw_info = Some(MemoryBandwidthInfo {
            bandwidth_gran: number(resctrl, "info/MB/bandwidth_gran"),
            delay_linear: number(resctrl, "info/MB/delay_linear"),
            min_bandwidth: number(resctrl, "info/MB/min_bandwidth"),
            num_closids: number(resctrl, "info/MB/num_closids"),
        });
        stats.mem_bw_schema_root = line(&root, "MB");
        stats.mem_bw_schema = line(&own, "MB");
    }
    let monitored = match &placement.monitoring {
        Some(name) => monitoring_path(group, name),
        None => group.clone(),
    };
    monitoring(resctrl, &below(&monitored, "mon_data"), &mut stats);
    Ok(stats)
}

/// `mon_data/mon_L3_00/llc_occupancy` and its like. A counter that is "Unavailable" counts as nothing.
fn monitoring(resctrl: &Resctrl, mon_data: &str, stats: &mut Stats) {
    let features = resctrl.read("info/L3_MON/mon_features").unwrap_or_default();
    let has = |name: &str| features.lines().any(|feature| feature == name);
    let (occupancy, total, local) = (
        has("llc_occupancy"),
        has("mbm_total_bytes"),
        has("mbm_local_bytes"),
    );
    if !(occupancy || total || local) {
        return;
    }
    for cache in caches(resctrl, mon_data) {
        let read = |name: &str| number(resctrl, &format!("{mon_data}/{cache}/{name}"));
        if occupancy {
            let llc_occupancy = read("llc_occupancy");
            stats.cmt_stats.push(CacheOccupancy { llc_occupancy });
        }
        if total || local {
            stats.mbm_stats.push(MemoryBandwidth {
                mbm_total_bytes: read("mbm_total_bytes"),
                mbm_local_bytes: read("mbm_local_bytes"),
            });
        }
    }
}

/// The names of the directories of L3 caches, in order.
fn caches(resctrl: &Resctrl, mon_data: &str) -> Vec<String> {
    let Ok(entries) = resctrl.directory(mon_data).and_then(Dir::new) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| name.starts_with("mon_L3_"))
        .collect();
    names.sort();
    names
}

fn number(resctrl: &Resctrl, path: &str) -> u64 {
    resctrl
        .read(path)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

fn line(schemata: &str, resource: &str) -> String {
    schemata
        .lines()
        .map(str::trim)
        .find(|line| line.split(':').next() == Some(resource))
        .unwrap_or_default()
        .to_owned()
}

fn below(group: &str, path: &str) -> String {
    match group {
        "" => path.to_owned(),
        group => format!("{group}/{path}"),
    }
}
