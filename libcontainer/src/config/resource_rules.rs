//! The rules of `linux.resources`: which values the kernel can take at all, and which of them contradict each other.
//!
//! They hold for a bundle, for the document of an update and for its flags alike, so they know values and names of keys only, and report to
//! whoever can tell where a key was written down. What depends on the machine (a CPU, a device, a limit of the parent's) is the kernel's
//! to say. Sources: runtime-spec config-linux.md, the kernel's admin-guide/cgroup-v1 and cgroup-v2, cpuset(7), and runc for its texts.

use std::ops::RangeInclusive;

use super::errors::quoted;
use super::names::is_interface_name;
use super::resources::{BlockIo, Cpu, HugepageLimit, Memory, Network, Rdma, Resources};

/// Takes the key below `resources`, a member or index each, and what is wrong with its value.
pub(super) type Report<'r> = dyn FnMut(&[&str], String) + 'r;

/// Block I/O weights, of the specification.
const WEIGHTS: RangeInclusive<u16> = 10..=1000;
/// `min_cfs_quota_period` and `max_cfs_quota_period` of the kernel, in microseconds.
const PERIODS: RangeInclusive<u64> = 1_000..=1_000_000;
/// The same smallest value for a quota; the largest is its MAX_BW.
const QUOTAS: RangeInclusive<i64> = 1_000..=(1 << 44) - 1;
/// PID_MAX_LIMIT on 64-bit machines.
const MOST_PIDS: i64 = 4_194_304;
/// What cgroup v1 makes of smaller and of larger shares.
const SHARES: RangeInclusive<u64> = 2..=262_144;
/// The files of every cgroup that limit something. The others of `cgroup.*` move, stop or kill processes, or are the runtime's own.
const OF_EVERY_CGROUP: &[&str] = &[
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "cgroup.pressure",
];

/// What is wrong with one value by itself.
pub(super) fn alone(resources: &Resources, report: &mut Report<'_>) {
    memory(&resources.memory, report);
    cpu(&resources.cpu, report);
    if resources.pids.limit.is_some_and(|limit| limit > MOST_PIDS) {
        report(
            &["pids", "limit"],
            format!("more than the {MOST_PIDS} processes that Linux can have; -1 is no limit"),
        );
    }
    block_io(&resources.block_io, report);
    for (index, limit) in resources.hugepage_limits.iter().enumerate() {
        hugepage(limit, &index.to_string(), report);
    }
    network(&resources.network, report);
    for (name, limits) in &resources.rdma {
        rdma(name, limits, report);
    }
    for (name, value) in &resources.unified {
        unified(name, value, report);
    }
}

fn memory(memory: &Memory, report: &mut Report<'_>) {
    for (key, value) in [
        ("limit", memory.limit),
        ("reservation", memory.reservation),
        ("swap", memory.swap),
        ("kernelTCP", memory.kernel_tcp),
    ] {
        if let Some(value) = value.filter(|value| *value < -1) {
            report(
                &["memory", key],
                format!("{value} is neither a number of bytes nor -1 for no limit"),
            );
        }
    }
    if let Some(value) = memory.swappiness.filter(|value| *value > 100) {
        report(
            &["memory", "swappiness"],
            format!("invalid memory swappiness value: {value} (valid range is 0-100)"),
        );
    }
}

fn cpu(cpu: &Cpu, report: &mut Report<'_>) {
    if let Some(quota) = cpu
        .quota
        .filter(|quota| *quota > 0 && !QUOTAS.contains(quota))
    {
        let text = format!(
            "{quota} is not between {} and {} microseconds; -1 is no limit",
            QUOTAS.start(),
            QUOTAS.end()
        );
        report(&["cpu", "quota"], text);
    }
    if let Some(period) = cpu.period.filter(|period| !PERIODS.contains(period)) {
        let text = format!(
            "{period} is not between {} and {} microseconds",
            PERIODS.start(),
            PERIODS.end()
        );
        report(&["cpu", "period"], text);
    }
    if let Some(burst) = cpu
        .burst
        .filter(|burst| *burst > QUOTAS.end().cast_unsigned())
    {
        report(
            &["cpu", "burst"],
            format!(
                "{burst} is more than the {} microseconds that Linux can save",
                QUOTAS.end()
            ),
        );
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime < -1) {
        report(
            &["cpu", "realtimeRuntime"],
            format!("{runtime} is neither a number of microseconds nor -1 for no limit"),
        );
    }
    if let Some(idle) = cpu.idle.filter(|idle| !matches!(idle, 0 | 1)) {
        report(&["cpu", "idle"], format!("{idle} is neither 0 nor 1"));
    }
    for (key, list, what) in [
        ("cpus", &cpu.cpus, "CPUs"),
        ("mems", &cpu.mems, "memory nodes"),
    ] {
        if let Some(list) = list.as_deref().filter(|list| !is_list(list)) {
            report(
                &["cpu", key],
                format!("{} is no list of {what} such as 0-3,7", quoted(list)),
            );
        }
    }
}

/// The list format of cpuset(7), with the steps and names of the kernel's `bitmap_parselist`: `0-3,7`, `0-31:2/8`, `all`.
fn is_list(text: &str) -> bool {
    let mut parts = text
        .split(|separator: char| separator == ',' || separator.is_ascii_whitespace())
        .filter(|part| !part.is_empty())
        .peekable();
    parts.peek().is_some() && parts.all(is_region)
}

fn is_region(part: &str) -> bool {
    if part == "all" {
        return true;
    }
    let (range, step) = match part.split_once(':') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let step_fits = step.is_none_or(|step| {
        step.split_once('/')
            .and_then(|(used, group)| Some((number(used)?, number(group)?)))
            .is_some_and(|(used, group)| group > 0 && used <= group)
    });
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    step_fits
        && number(first)
            .zip(number(last))
            .is_some_and(|(first, last)| first <= last)
}

/// A decimal number, or `N` for the last one there is.
fn number(text: &str) -> Option<u32> {
    if text == "N" {
        return Some(u32::MAX);
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn block_io(block_io: &BlockIo, report: &mut Report<'_>) {
    let mut weight = |key: &[&str], value: Option<u16>| {
        if let Some(value) = value.filter(|value| !WEIGHTS.contains(value)) {
            let text = format!(
                "{value} is not between {} and {}",
                WEIGHTS.start(),
                WEIGHTS.end()
            );
            report(key, text);
        }
    };
    weight(&["blockIO", "weight"], block_io.weight);
    weight(&["blockIO", "leafWeight"], block_io.leaf_weight);
    for (index, device) in block_io.weight_device.iter().enumerate() {
        let index = index.to_string();
        let above = ["blockIO", "weightDevice", index.as_str()];
        weight(&[&above[..], &["weight"]].concat(), device.weight);
        weight(&[&above[..], &["leafWeight"]].concat(), device.leaf_weight);
    }
}

fn hugepage(limit: &HugepageLimit, index: &str, report: &mut Report<'_>) {
    let size = limit.page_size.as_str();
    let digits = ["KB", "MB", "GB"]
        .iter()
        .find_map(|unit| size.strip_suffix(unit))
        .unwrap_or_default();
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || digits.starts_with('0') || !plain {
        report(
            &["hugepageLimits", index, "pageSize"],
            format!(
                "{} is no size of huge pages such as 2MB or 1GB",
                quoted(size)
            ),
        );
    }
}

fn network(network: &Network, report: &mut Report<'_>) {
    for (index, priority) in network.priorities.iter().enumerate() {
        if !is_interface_name(&priority.name) {
            report(
                &["network", "priorities", &index.to_string(), "name"],
                format!("invalid network device name {}", quoted(&priority.name)),
            );
        }
    }
}

fn rdma(name: &str, limits: &Rdma, report: &mut Report<'_>) {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    if name.is_empty() || !name.bytes().all(plain) {
        report(
            &["rdma", name],
            format!("invalid name of an RDMA device: {}", quoted(name)),
        );
    }
    for (key, value) in [
        ("hcaHandles", limits.hca_handles),
        ("hcaObjects", limits.hca_objects),
    ] {
        if value.is_some_and(|value| i32::try_from(value).is_err()) {
            report(
                &["rdma", name, key],
                format!("more than the {} that Linux counts to", i32::MAX),
            );
        }
    }
}

fn unified(name: &str, value: &str, report: &mut Report<'_>) {
    let at = ["unified", name];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let shown = quoted(name);
    if name.contains('/') {
        report(
            &at,
            format!("unified resource {shown} must be a file name (no slashes)"),
        );
    } else if name
        .split_once('.')
        .is_none_or(|(controller, parameter)| controller.is_empty() || parameter.is_empty())
    {
        report(
            &at,
            format!("unified resource {shown} must be in the form CONTROLLER.PARAMETER"),
        );
    } else if !name.bytes().all(plain) || name.contains("..") {
        report(
            &at,
            format!("unified resource {shown} is no name of a control file"),
        );
    } else if name.starts_with("cgroup.") && !OF_EVERY_CGROUP.contains(&name) {
        let text = format!(
            "unified resource {shown} can't be set: it is no limit, and the runtime needs it for itself"
        );
        report(&at, text);
    }
    if value.contains('\0') {
        report(&at, "the value contains a NUL byte".to_owned());
    }
}

/// What is wrong with values together: of a whole, so of an update only once it is merged into what the container has.
/// `unified`: for cgroup v2.
pub(super) fn together(resources: &Resources, unified: bool, report: &mut Report<'_>) {
    swap(&resources.memory, unified, report);
    let cpu = &resources.cpu;
    if let (Some(quota @ 1..), Some(burst)) = (cpu.quota, cpu.burst)
        && burst > quota.cast_unsigned()
    {
        report(
            &["cpu", "burst"],
            format!("{burst} microseconds are more than the quota of {quota}"),
        );
    }
    if unified {
        return;
    }
    if let (Some(runtime @ 1..), Some(period)) = (cpu.realtime_runtime, cpu.realtime_period)
        && runtime.cast_unsigned() > period
    {
        report(
            &["cpu", "realtimeRuntime"],
            format!("{runtime} microseconds are more than the period of {period}"),
        );
    }
    match cpu.shares {
        Some(shares) if shares < *SHARES.start() => report(
            &["cpu", "shares"],
            format!("the minimum allowed cpu-shares is {}", SHARES.start()),
        ),
        Some(shares) if shares > *SHARES.end() => report(
            &["cpu", "shares"],
            format!("the maximum allowed cpu-shares is {}", SHARES.end()),
        ),
        _ => {}
    }
    if !resources.unified.is_empty() {
        report(
            &["unified"],
            "invalid configuration: cannot use unified on cgroup v1".to_owned(),
        );
    }
}

/// The swap limit is one of memory and swap together: it says nothing without the one, and cannot be below it.
fn swap(memory: &Memory, unified: bool, report: &mut Report<'_>) {
    let Some(swap @ 1..) = memory.swap else {
        return;
    };
    let text = match memory.limit {
        None => "unable to set swap limit without memory limit",
        // v2 limits swap by itself, so this is possible there; for the sum of v1 it is not.
        Some(..0) if unified => return,
        Some(limit) if (0..=swap).contains(&limit) => return,
        Some(_) => "memory+swap limit should be >= memory limit",
    };
    report(&["memory", "swap"], text.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_what_the_kernel_takes() {
        for list in [
            "0", "0-3,7", "0, 2", "0-31:2/8", "all", "N", "4-N", "0,,1", "00",
        ] {
            assert!(is_list(list), "{list}");
        }
        for list in [
            "",
            ",",
            "a",
            "-1",
            "1-",
            "3-1",
            "0-3:",
            "0-3:2",
            "0-3:3/2",
            "0-3:0/0",
            "1.5",
            "+1",
            "0x1",
            "0\0",
            "4294967296",
            "0;1",
        ] {
            assert!(!is_list(list), "{list:?}");
        }
    }

    fn faults(resources: &Resources) -> Vec<String> {
        let mut found = Vec::new();
        alone(resources, &mut |key, text| {
            found.push(format!("{}: {text}", key.join("/")))
        });
        found
    }

    #[test]
    fn names_of_unified_are_files_that_limit() {
        let with = |name: &str| Resources {
            unified: [(name.to_owned(), "1".to_owned())].into(),
            ..Resources::default()
        };
        for name in [
            "memory.high",
            "hugetlb.2MB.rsvd.max",
            "io.bfq.weight",
            "cgroup.max.depth",
            "new_thing.max",
        ] {
            assert_eq!(faults(&with(name)), [""; 0]);
        }
        for (name, text) in [
            ("", "must be in the form CONTROLLER.PARAMETER"),
            ("memory", "must be in the form CONTROLLER.PARAMETER"),
            ("memory.", "must be in the form CONTROLLER.PARAMETER"),
            (".", "must be in the form CONTROLLER.PARAMETER"),
            ("..", "must be in the form CONTROLLER.PARAMETER"),
            ("memory/high", "must be a file name (no slashes)"),
            ("../memory.high", "must be a file name (no slashes)"),
            ("memory.hi gh", "is no name of a control file"),
            ("memory.high\n", "is no name of a control file"),
            ("memory.\0", "is no name of a control file"),
            ("a...b", "is no name of a control file"),
            ("cgroup.procs", "can't be set: it is no limit"),
            ("cgroup.threads", "can't be set: it is no limit"),
            ("cgroup.kill", "can't be set: it is no limit"),
            ("cgroup.type", "can't be set: it is no limit"),
            ("cgroup.subtree_control", "can't be set: it is no limit"),
        ] {
            let found = faults(&with(name));
            assert!(
                found.len() == 1
                    && found[0].contains(&format!("unified resource {} {text}", quoted(name))),
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_ends_of_ranges_are_inside() {
        let mut resources = Resources::default();
        for (quota, period, burst, weight, pids) in [
            (1_000, 1_000, 0, 10, 0),
            ((1 << 44) - 1, 1_000_000, (1 << 44) - 1, 1000, MOST_PIDS),
            (-1, 1_000, 0, 10, -1),
        ] {
            resources.cpu.quota = Some(quota);
            resources.cpu.period = Some(period);
            resources.cpu.burst = Some(burst);
            resources.block_io.weight = Some(weight);
            resources.pids.limit = Some(pids);
            assert_eq!(faults(&resources), [""; 0]);
        }
        resources.cpu.quota = Some(999);
        resources.cpu.period = Some(1_000_001);
        resources.cpu.burst = Some(1 << 44);
        resources.block_io.weight = Some(9);
        resources.pids.limit = Some(MOST_PIDS + 1);
        assert_eq!(
            faults(&resources),
            [
                "cpu/quota: 999 is not between 1000 and 17592186044415 microseconds; -1 is no limit",
                "cpu/period: 1000001 is not between 1000 and 1000000 microseconds",
                "cpu/burst: 17592186044416 is more than the 17592186044415 microseconds that Linux can save",
                "pids/limit: more than the 4194304 processes that Linux can have; -1 is no limit",
                "blockIO/weight: 9 is not between 10 and 1000",
            ]
        );
    }
}
