//! The text formats of cgroup files. A line that is not of the expected form is passed over: newer kernels add lines, and a reading that
//! lacks one value is worth more than none. Nothing here fails or panics, whatever the bytes are.

use crate::statistics::{IoDevice, IoEntry, MemoryEvents, OomControl, Pressure, Stall, UNLIMITED};

/// A number; `max` is [`UNLIMITED`]. Some counters of v1 dip below zero for a moment: that reads as 0.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    if text == "max" {
        return Some(UNLIMITED);
    }
    match text.strip_prefix('-') {
        Some(digits) => {
            (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(0)
        }
        None => text.parse().ok(),
    }
}

/// `KEY VALUE` lines.
pub fn flat(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, number(value)?))
    })
}

/// The value of one key of a flat file.
pub fn value(text: &str, wanted: &str) -> Option<u64> {
    flat(text)
        .find(|(key, _)| *key == wanted)
        .map(|(_, value)| value)
}

/// The numbers of a file of one line, or several.
pub fn numbers(text: &str) -> Vec<u64> {
    text.split_ascii_whitespace().filter_map(number).collect()
}

/// `0-3,7` as single numbers.
pub fn list(text: &str) -> Vec<u16> {
    let mut found = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            found.extend(first..=last);
        }
    }
    found
}

/// `cpuacct.usage_all`: under a header, a line `CPU USER KERNEL` for each processor. The answer is the two columns.
pub fn usage_all(text: &str) -> (Vec<u64>, Vec<u64>) {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            Some((number(fields.next()?)?, number(fields.next()?)?))
        })
        .unzip()
}

/// A `*.pressure` file.
pub fn pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("some", rest)) => pressure.some = stall(rest),
            Some(("full", rest)) => pressure.full = stall(rest),
            _ => {}
        }
    }
    pressure
}

fn stall(text: &str) -> Stall {
    let mut stall = Stall::default();
    // Not a number, or infinite: no JSON could hold it.
    let percent = |text: &str| {
        text.parse::<f64>()
            .ok()
            .filter(|value| value.is_finite())
            .unwrap_or(0.0)
    };
    for (key, value) in pairs(text) {
        match key {
            "avg10" => stall.avg10 = percent(value),
            "avg60" => stall.avg60 = percent(value),
            "avg300" => stall.avg300 = percent(value),
            "total" => stall.total = number(value).unwrap_or(0),
            _ => {}
        }
    }
    stall
}

/// `KEY=VALUE` words.
pub fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
}

/// `io.stat`. A device that the line says nothing of is left out.
pub fn io_stat(text: &str) -> Vec<IoDevice> {
    let device = |line: &str| {
        let (device, rest) = line.trim().split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let mut device = IoDevice {
            major: number(major)?,
            minor: number(minor)?,
            ..IoDevice::default()
        };
        for (key, value) in pairs(rest) {
            let field = match key {
                "rbytes" => &mut device.read_bytes,
                "wbytes" => &mut device.written_bytes,
                "rios" => &mut device.reads,
                "wios" => &mut device.writes,
                "dbytes" => &mut device.discarded_bytes,
                "dios" => &mut device.discards,
                _ => continue,
            };
            *field = number(value).unwrap_or(0);
        }
        Some(device)
    };
    text.lines().filter_map(device).collect()
}

/// A blkio file of v1: `MAJOR:MINOR [OPERATION] VALUE` lines, and at the end a sum, which is passed over.
pub fn blkio(text: &str) -> Vec<IoEntry> {
    let entry = |line: &str| {
        let mut fields = line.split([' ', ':']).filter(|field| !field.is_empty());
        let (major, minor) = (number(fields.next()?)?, number(fields.next()?)?);
        let (third, fourth) = (fields.next()?, fields.next());
        let (operation, value) = match fourth {
            Some(value) => (third, value),
            None => ("", third),
        };
        Some(IoEntry {
            major,
            minor,
            operation: operation.to_owned(),
            value: number(value)?,
        })
    };
    text.lines().filter_map(entry).collect()
}

/// `memory.events` and `memory.events.local`.
pub fn memory_events(text: &str) -> MemoryEvents {
    let mut events = MemoryEvents::default();
    for (key, value) in flat(text) {
        match key {
            "low" => events.low = value,
            "high" => events.high = value,
            "max" => events.max = value,
            "oom" => events.oom = value,
            "oom_kill" => events.oom_kill = value,
            "oom_group_kill" => events.oom_group_kill = value,
            _ => {}
        }
    }
    events
}

/// `memory.oom_control`.
pub fn oom_control(text: &str) -> OomControl {
    OomControl {
        kill_disabled: value(text, "oom_kill_disable") == Some(1),
        under_oom: value(text, "under_oom") == Some(1),
        oom_kill: value(text, "oom_kill").unwrap_or(0),
    }
}

/// The lines of `rdma.current` and `rdma.max`: (device, handles, objects).
pub fn rdma(text: &str) -> Vec<(&str, u32, u32)> {
    text.lines().filter_map(rdma_device).collect()
}

fn rdma_device(line: &str) -> Option<(&str, u32, u32)> {
    let (device, rest) = line.split_once(' ')?;
    let count = |wanted: &str| {
        let (_, value) = pairs(rest).find(|(key, _)| *key == wanted)?;
        number(value).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
    };
    Some((
        device,
        count("hca_handle").unwrap_or(0),
        count("hca_object").unwrap_or(0),
    ))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
