//! The files of cgroup2.

use crate::error::Refused;
use crate::statistics::{
    Counter, Cpu, Io, Memory, Pids, Pressure, Statistics, Throttling, UNLIMITED,
};

use super::{Directory, Files, Version, format};

/// Everything there is to read.
pub fn read(directories: &[Directory]) -> Result<Statistics, Refused> {
    let mut found = Statistics::empty(Version::V2);
    let Some(directory) = directories.first() else {
        return Ok(found);
    };
    let files = Files(directory);
    found.cpu = cpu(&files)?;
    found.memory = memory(&files)?;
    found.pids = pids(&files)?;
    found.io = Io {
        devices: format::io_stat(&files.text("io.stat")?.unwrap_or_default()),
        pressure: pressure(&files, "io.pressure")?,
        ..Io::default()
    };
    found.hugetlb = files.hugetlb(".current", |name| hugetlb(&files, name))?;
    found.rdma = files.rdma()?;
    Ok(found)
}

/// See [`super::Cgroup::oom_kills`].
pub fn oom_kills(directories: &[Directory]) -> Result<Option<u64>, Refused> {
    let Some(directory) = directories.first() else {
        return Ok(None);
    };
    let events = Files(directory).text("memory.events")?;
    Ok(events.map(|text| format::memory_events(&text).oom_kill))
}

/// The kernel counts microseconds here.
fn cpu(files: &Files<'_>) -> Result<Cpu, Refused> {
    let mut cpu = Cpu {
        pressure: pressure(files, "cpu.pressure")?,
        ..Cpu::default()
    };
    let text = files.text("cpu.stat")?.unwrap_or_default();
    for (key, value) in format::flat(&text) {
        let nanoseconds = value.saturating_mul(1000);
        let Throttling {
            periods,
            throttled_periods,
            throttled_time,
            burst_periods,
            burst_time,
        } = &mut cpu.throttling;
        match key {
            "usage_usec" => cpu.usage = nanoseconds,
            "user_usec" => cpu.user = nanoseconds,
            "system_usec" => cpu.kernel = nanoseconds,
            "nr_periods" => *periods = value,
            "nr_throttled" => *throttled_periods = value,
            "throttled_usec" => *throttled_time = nanoseconds,
            "nr_bursts" => *burst_periods = value,
            "burst_usec" => *burst_time = nanoseconds,
            _ => {}
        }
    }
    Ok(cpu)
}

fn memory(files: &Files<'_>) -> Result<Memory, Refused> {
    let events =
        |file: &str| Ok::<_, Refused>(files.text(file)?.as_deref().map(format::memory_events));
    Ok(Memory {
        usage: counter(files, "memory")?,
        swap: counter(files, "memory.swap")?,
        stat: files.map("memory.stat")?,
        events: events("memory.events")?,
        local_events: events("memory.events.local")?,
        pressure: pressure(files, "memory.pressure")?,
        ..Memory::default()
    })
}

fn counter(files: &Files<'_>, name: &str) -> Result<Option<Counter>, Refused> {
    let Some(usage) = files.number(&format!("{name}.current"))? else {
        return Ok(None);
    };
    Ok(Some(Counter {
        usage,
        max_usage: files.count(&format!("{name}.peak"))?,
        limit: files.number(&format!("{name}.max"))?,
        failures: 0,
    }))
}

/// Failures are not counted apart for reservations: both go into the one `events` file.
fn hugetlb(files: &Files<'_>, name: &str) -> Result<Option<Counter>, Refused> {
    let Some(counter) = counter(files, name)? else {
        return Ok(None);
    };
    let events = files.text(&format!("{name}.events"))?.unwrap_or_default();
    Ok(Some(Counter {
        failures: format::value(&events, "max").unwrap_or(0),
        ..counter
    }))
}

/// Without the controller the processes are counted, or the threads of a threaded cgroup, whose processes its domain lists.
fn pids(files: &Files<'_>) -> Result<Option<Pids>, Refused> {
    if let Some(current) = files.number("pids.current")? {
        let limit = files.number("pids.max")?.unwrap_or(UNLIMITED);
        return Ok(Some(Pids { current, limit }));
    }
    let list = match files.text("cgroup.procs")? {
        Some(list) => Some(list),
        None => files.text("cgroup.threads")?,
    };
    Ok(list.map(|list| Pids {
        current: list.lines().count() as u64,
        limit: UNLIMITED,
    }))
}

fn pressure(files: &Files<'_>, file: &str) -> Result<Option<Pressure>, Refused> {
    Ok(files.text(file)?.as_deref().map(format::pressure))
}
