//! The files of v1 hierarchies.

use crate::error::Refused;
use crate::statistics::{Counter, Cpu, Cpuset, Io, IoEntry, Memory, Pids, Statistics, UNLIMITED};

use super::{Directory, Files, Version, format, text};

/// cpuacct.stat counts in USER_HZ, which is 100 on every architecture we run on.
const TICK: u64 = 10_000_000;

/// Everything there is to read.
pub fn read(directories: &[Directory]) -> Result<Statistics, Refused> {
    let mut found = Statistics::empty(Version::V1);
    if let Some(files) = files(directories, "cpu") {
        throttling(&files, &mut found.cpu)?;
    }
    if let Some(files) = files(directories, "cpuacct") {
        cpu(&files, &mut found.cpu)?;
    }
    if let Some(files) = files(directories, "cpuset") {
        found.cpuset = Some(cpuset(&files)?);
    }
    if let Some(files) = files(directories, "memory") {
        found.memory = memory(&files)?;
    }
    if let Some(files) = files(directories, "pids") {
        found.pids = pids(&files)?;
    }
    if let Some(files) = files(directories, "blkio") {
        found.io = io(&files)?;
    }
    if let Some(files) = files(directories, "hugetlb") {
        found.hugetlb = files.hugetlb(".usage_in_bytes", |name| counter(&files, name))?;
    }
    if let Some(files) = files(directories, "rdma") {
        found.rdma = files.rdma()?;
    }
    Ok(found)
}

/// See [`super::Cgroup::oom_kills`]. v1 counts a kill in the victim's cgroup alone, so those below are added up.
pub fn oom_kills(directories: &[Directory]) -> Result<Option<u64>, Refused> {
    let Some(directory) = find(directories, "memory") else {
        return Ok(None);
    };
    let mut kills = None;
    let mut failed = None;
    let walked = directory.for_each(&mut |fd| match text(fd, "memory.oom_control") {
        Ok(Some(text)) => {
            let more = format::oom_control(&text).oom_kill;
            kills = Some(kills.unwrap_or(0u64).saturating_add(more));
        }
        Ok(None) => {}
        Err(errno) => failed = Some(directory.refused("read", "memory.oom_control", errno)),
    });
    match failed {
        Some(refused) => Err(refused),
        None => walked.map(|()| kills),
    }
}

/// The container's directory in the hierarchy that has `controller`.
pub fn find<'a>(directories: &'a [Directory], controller: &str) -> Option<&'a Directory> {
    directories
        .iter()
        .find(|directory| directory.place.version == Version::V1 && directory.place.has(controller))
}

fn files<'a>(directories: &'a [Directory], controller: &str) -> Option<Files<'a>> {
    find(directories, controller).map(Files)
}

fn throttling(files: &Files<'_>, cpu: &mut Cpu) -> Result<(), Refused> {
    let stat = files.map("cpu.stat")?;
    let of = |key: &str| stat.get(key).copied().unwrap_or(0);
    let throttling = &mut cpu.throttling;
    throttling.periods = of("nr_periods");
    throttling.throttled_periods = of("nr_throttled");
    throttling.throttled_time = of("throttled_time");
    throttling.burst_periods = of("nr_bursts");
    throttling.burst_time = of("burst_time");
    Ok(())
}

fn cpu(files: &Files<'_>, cpu: &mut Cpu) -> Result<(), Refused> {
    let stat = files.map("cpuacct.stat")?;
    let ticks = |key: &str| stat.get(key).map_or(0, |ticks| ticks.saturating_mul(TICK));
    cpu.user = ticks("user");
    cpu.kernel = ticks("system");
    cpu.usage = files.count("cpuacct.usage")?;
    cpu.per_cpu = format::numbers(&files.text("cpuacct.usage_percpu")?.unwrap_or_default());
    let modes = files.text("cpuacct.usage_all")?.unwrap_or_default();
    (cpu.per_cpu_user, cpu.per_cpu_kernel) = format::usage_all(&modes);
    Ok(())
}

fn cpuset(files: &Files<'_>) -> Result<Cpuset, Refused> {
    // Android mounts the hierarchy so that its files have no prefix.
    let prefix = match files.text("cpuset.cpus")? {
        Some(_) => "cpuset.",
        None => "",
    };
    let name = |file: &str| format!("{prefix}{file}");
    let list =
        |file: &str| Ok::<_, Refused>(format::list(&files.text(&name(file))?.unwrap_or_default()));
    let flag = |file: &str| files.count(&name(file));
    // The one number that may be negative, and means it.
    let level = files.text(&name("sched_relax_domain_level"))?;
    Ok(Cpuset {
        cpus: list("cpus")?,
        cpu_exclusive: flag("cpu_exclusive")?,
        mems: list("mems")?,
        mem_hardwall: flag("mem_hardwall")?,
        mem_exclusive: flag("mem_exclusive")?,
        memory_migrate: flag("memory_migrate")?,
        memory_spread_page: flag("memory_spread_page")?,
        memory_spread_slab: flag("memory_spread_slab")?,
        memory_pressure: flag("memory_pressure")?,
        sched_load_balance: flag("sched_load_balance")?,
        sched_relax_domain_level: level.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
    })
}

fn memory(files: &Files<'_>) -> Result<Memory, Refused> {
    Ok(Memory {
        usage: counter(files, "memory")?,
        swap: counter(files, "memory.memsw")?,
        kernel: counter(files, "memory.kmem")?,
        kernel_tcp: counter(files, "memory.kmem.tcp")?,
        stat: files.map("memory.stat")?,
        oom_control: files
            .text("memory.oom_control")?
            .as_deref()
            .map(format::oom_control),
        ..Memory::default()
    })
}

fn counter(files: &Files<'_>, name: &str) -> Result<Option<Counter>, Refused> {
    let Some(usage) = files.number(&format!("{name}.usage_in_bytes"))? else {
        return Ok(None);
    };
    Ok(Some(Counter {
        usage,
        max_usage: files.count(&format!("{name}.max_usage_in_bytes"))?,
        // Kernel memory has lost its own limit in 5.16.
        limit: files.number(&format!("{name}.limit_in_bytes"))?,
        failures: files.count(&format!("{name}.failcnt"))?,
    }))
}

fn pids(files: &Files<'_>) -> Result<Option<Pids>, Refused> {
    let Some(current) = files.number("pids.current")? else {
        return Ok(None);
    };
    let limit = files.number("pids.max")?.unwrap_or(UNLIMITED);
    Ok(Some(Pids { current, limit }))
}

type Target = fn(&mut Io) -> &mut Vec<IoEntry>;

const SERVICED: Target = |io| &mut io.serviced;
const SERVICE_BYTES: Target = |io| &mut io.service_bytes;
const ALL: [(&str, Target); 8] = [
    ("sectors_recursive", |io| &mut io.sectors),
    ("io_service_time_recursive", |io| &mut io.service_time),
    ("io_wait_time_recursive", |io| &mut io.wait_time),
    ("io_merged_recursive", |io| &mut io.merged),
    ("io_queued_recursive", |io| &mut io.queued),
    ("time_recursive", |io| &mut io.time),
    ("io_serviced_recursive", SERVICED),
    ("io_service_bytes_recursive", SERVICE_BYTES),
];
const RECURSIVE: [(&str, Target); 2] = [
    ("io_serviced_recursive", SERVICED),
    ("io_service_bytes_recursive", SERVICE_BYTES),
];
const OWN: [(&str, Target); 2] = [
    ("io_serviced", SERVICED),
    ("io_service_bytes", SERVICE_BYTES),
];
/// Who counts what, in runc's order: BFQ with debugging compiled in, without, CFQ (up to 4.20), and the throttling policy, which sees what
/// no scheduler does (recursively since 4.12).
const GROUPS: [(&str, &[(&str, Target)]); 5] = [
    ("blkio.bfq.", &ALL),
    ("blkio.bfq.", &RECURSIVE),
    ("blkio.", &ALL),
    ("blkio.throttle.", &RECURSIVE),
    ("blkio.throttle.", &OWN),
];

/// The first group whose first file says something.
fn io(files: &Files<'_>) -> Result<Io, Refused> {
    let mut io = Io::default();
    for (prefix, group) in GROUPS {
        for (index, (file, target)) in group.iter().enumerate() {
            let text = files.text(&format!("{prefix}{file}"))?;
            let entries = format::blkio(&text.unwrap_or_default());
            if index == 0 && entries.is_empty() {
                break;
            }
            *target(&mut io) = entries;
        }
        if io != Io::default() {
            break;
        }
    }
    Ok(io)
}
