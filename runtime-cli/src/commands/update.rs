//! `garboard update`.

use std::io::Read;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use libcontainer::{Event, UpdateFlags, UpdateRequest};

use super::Invocation;
use crate::failure::Failure;
use crate::table::{Flag, flags};

/// Changes the container's limits.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    let runtime = invocation.runtime()?.observe(move |_, event| {
        if let Event::Warning { text } = event {
            let mut told = teller.lock().unwrap_or_else(PoisonError::into_inner);
            told.push(text.clone());
        }
    });
    let container = runtime.container(invocation.id()?)?;
    let outcome = container.update(&request(invocation)?);
    invocation.warn(&told.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(outcome.map(|()| 0)?)
}

/// A document leaves the other flags unread, as in runc, but for those that it cannot hold the values of.
fn request(invocation: &Invocation) -> Result<UpdateRequest, Failure> {
    match invocation.matches.path(&flags::RESOURCES) {
        Some(path) => {
            for flag in [&flags::L3_CACHE_SCHEMA, &flags::MEM_BW_SCHEMA] {
                if given(invocation, flag)?.is_some() {
                    let text = format!("--{} cannot be given with --resources", flag.name);
                    return Err(Failure::new(text));
                }
            }
            Ok(UpdateRequest::Document(read(&path)?))
        }
        None => Ok(UpdateRequest::Flags(Box::new(values(invocation)?))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut document = Vec::new();
    let outcome = if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut document).map(drop)
    } else {
        std::fs::read(path).map(|content| document = content)
    };
    match outcome {
        Ok(()) => Ok(document),
        Err(why) => {
            let errno = libcontainer::Errno(why.raw_os_error().unwrap_or_default());
            Err(Failure::new(format!("open {}: {errno}", path.display())))
        }
    }
}

fn values(invocation: &Invocation) -> Result<UpdateFlags, Failure> {
    for flag in [&flags::KERNEL_MEMORY, &flags::KERNEL_MEMORY_TCP] {
        if given(invocation, flag)?.is_some() {
            let text = format!("Setting --{} is ignored and will be removed", flag.name);
            invocation.log.warning(&text);
        }
    }
    let text = |flag| Ok::<_, Failure>(given(invocation, flag)?.map(str::to_owned));
    Ok(UpdateFlags {
        memory: parsed(invocation, &flags::MEMORY, bytes)?,
        memory_reservation: parsed(invocation, &flags::MEMORY_RESERVATION, bytes)?,
        memory_swap: parsed(invocation, &flags::MEMORY_SWAP, bytes)?,
        cpu_shares: parsed(invocation, &flags::CPU_SHARE, number)?,
        cpu_quota: parsed(invocation, &flags::CPU_QUOTA, number)?,
        cpu_period: parsed(invocation, &flags::CPU_PERIOD, number)?,
        cpu_burst: parsed(invocation, &flags::CPU_BURST, number)?,
        cpu_rt_runtime: parsed(invocation, &flags::CPU_RT_RUNTIME, number)?,
        cpu_rt_period: parsed(invocation, &flags::CPU_RT_PERIOD, number)?,
        cpu_idle: parsed(invocation, &flags::CPU_IDLE, number)?,
        cpuset_cpus: text(&flags::CPUSET_CPUS)?,
        cpuset_mems: text(&flags::CPUSET_MEMS)?,
        pids_limit: parsed(invocation, &flags::PIDS_LIMIT, number)?,
        blkio_weight: parsed(invocation, &flags::BLKIO_WEIGHT, number)?,
        l3_cache_schema: text(&flags::L3_CACHE_SCHEMA)?,
        mem_bw_schema: text(&flags::MEM_BW_SCHEMA)?,
    })
}

/// The value of a flag; an empty one counts as absent, which Go programs do not tell apart.
fn given<'a>(invocation: &'a Invocation, flag: &'static Flag) -> Result<Option<&'a str>, Failure> {
    Ok(invocation
        .matches
        .text(flag)?
        .filter(|text| !text.is_empty()))
}

fn parsed<T>(
    invocation: &Invocation,
    flag: &'static Flag,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let Some(text) = given(invocation, flag)? else {
        return Ok(None);
    };
    match parse(text) {
        Some(value) => Ok(Some(value)),
        None => {
            let kind = match flag.placeholder() {
                Some("BYTES") => "size",
                _ => "number",
            };
            let name = flag.name;
            let text = format!("invalid value for {name}: invalid {kind}: '{text}'");
            Err(Failure::new(text))
        }
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// `-1`, or a size as Go's units.RAMInBytes reads it: `64m`, `1.5 GiB`, `1024`.
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.to_ascii_lowercase();
    let body = lower.strip_suffix('b').unwrap_or(&lower);
    let body = body.strip_suffix('i').unwrap_or(body);
    let unit = body.chars().last().and_then(|letter| "kmgtp".find(letter));
    let (digits, shift) = match unit {
        Some(power) => (&body[..body.len() - 1], 10 * (power + 1)),
        None => (body, 0),
    };
    let digits = digits.strip_suffix(' ').unwrap_or(digits);
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match digits.split_once('.') {
        None if plain(digits) => digits.parse::<i64>().ok()?.checked_mul(1 << shift),
        Some((whole, part)) if plain(whole) && plain(part) => {
            let value = digits.parse::<f64>().ok()? * (1u64 << shift) as f64;
            // Past this a fraction of a unit makes no sense, and no machine has it.
            (value < 2f64.powi(62)).then_some(value as i64)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, value) in [
            ("0", 0),
            ("1024", 1024),
            ("1b", 1),
            ("64k", 64 << 10),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("2 GiB", 2 << 30),
            ("1.5g", 3 << 29),
            ("1t", 1 << 40),
            ("-1", -1),
        ] {
            assert_eq!(bytes(text), Some(value), "{text}");
        }
        for text in [
            "",
            "-2",
            "k",
            "1x",
            "1kk",
            "1.g",
            ".5g",
            "1e3",
            "0x10",
            "+1",
            "9999999999p",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
