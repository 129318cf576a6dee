//! `garboard seccomp`: what a profile means, for those who write one, and what the filters of a process do.
//!
//! A FILE is a `linux.seccomp` object or a whole config.json, `-` is the standard input.

mod profile;
mod record;
mod show;

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use seccomp_profiles::{Arch, Profile};

use super::Invocation;
use crate::arguments::UsageError;
use crate::failure::Failure;
use crate::table::flags;

/// One of the tools, by its name.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    match invocation.matches.positional(0)? {
        "check" => profile::check(&read(invocation, 1)?),
        "explain" => profile::explain(&valid(&read(invocation, 1)?)?, &question(invocation)?),
        "diff" => profile::diff(
            &valid(&read(invocation, 1)?)?,
            &valid(&read(invocation, 2)?)?,
        ),
        "record" => record::record(invocation),
        "show" => show::show(invocation, &question(invocation)?),
        other => Err(UsageError(format!(
            "nothing is called {other:?}; there are check, explain, diff, record and show"
        ))
        .into()),
    }
}

/// What `explain` or `show` was asked.
struct Question {
    arch: Arch,
    /// Without one: an overview of all calls.
    call: Option<String>,
    arguments: [u64; 6],
}

fn question(invocation: &Invocation) -> Result<Question, Failure> {
    let matches = &invocation.matches;
    let arch = match matches.text(&flags::SECCOMP_ARCH)? {
        None => native()?,
        Some(name) => Arch::named(name)
            .or_else(|| Arch::named(&format!("SCMP_ARCH_{}", name.to_uppercase())))
            .ok_or_else(|| Failure::new(format!("unknown architecture {name:?}")))?,
    };
    let mut arguments = [0; 6];
    if let Some(list) = matches.text(&flags::SECCOMP_ARGS)? {
        let words = list.split(',').collect::<Vec<_>>();
        if words.len() > arguments.len() {
            return Err(Failure::new("a system call has at most 6 arguments"));
        }
        for (place, word) in arguments.iter_mut().zip(words) {
            *place = number(word.trim())
                .ok_or_else(|| Failure::new(format!("{word:?} is not a number")))?;
        }
    }
    Ok(Question {
        arch,
        call: matches.text(&flags::SECCOMP_SYSCALL)?.map(str::to_owned),
        arguments,
    })
}

/// Decimal, hexadecimal with 0x, octal with 0 as in C, or negative.
fn number(word: &str) -> Option<u64> {
    if let Some(digits) = word.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = word.strip_prefix('0').filter(|digits| !digits.is_empty()) {
        return u64::from_str_radix(digits, 8).ok();
    }
    match word.parse::<u64>() {
        Ok(value) => Some(value),
        Err(_) => word.parse::<i64>().ok().map(i64::cast_unsigned),
    }
}

fn native() -> Result<Arch, Failure> {
    Arch::native()
        .ok_or_else(|| Failure::new("this machine's architecture has no table of system calls"))
}

/// The profile in the file that argument `index` names.
fn read(invocation: &Invocation, index: usize) -> Result<Value, Failure> {
    read_file(invocation.matches.positional(index)?)
}

fn read_file(name: &str) -> Result<Value, Failure> {
    let why = |error: &dyn std::fmt::Display| Failure::new(format!("{name}: {error}"));
    let bytes = if name == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| why(&error))?;
        bytes
    } else {
        std::fs::read(Path::new(name)).map_err(|error| why(&error))?
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| why(&error))?;
    // A config.json is told by what only it has.
    if value.get("ociVersion").is_none() {
        return Ok(value);
    }
    match value.pointer("/linux/seccomp") {
        Some(profile) if !profile.is_null() => Ok(profile.clone()),
        _ => Err(Failure::new(format!("{name}: /linux/seccomp is not there"))),
    }
}

fn valid(value: &Value) -> Result<Profile, Failure> {
    Profile::from_value(value).map_err(|invalid| Failure::new(invalid.to_string()))
}
