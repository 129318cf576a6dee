//! show: the filters that a process has, as the kernel has them, and what they do together.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use libcontainer::ErrorKind;
use seccomp_profiles::interpret::Call;
use seccomp_profiles::tools::{self, Listing, Outcome};
use seccomp_profiles::{Action, Arch, Program, Syscall};

use super::{Question, native};
use crate::commands::Invocation;
use crate::failure::Failure;
use crate::output;

/// A number that no system call has, of this kernel or of the next ones.
const NO_CALL: u32 = 100_000;

/// With --syscall the answer about one call, else everything.
pub fn show(invocation: &Invocation, question: &Question) -> Result<u8, Failure> {
    let pid = process(invocation, invocation.matches.positional(1)?)?;
    let filters = filters(pid)?;
    let text = match &question.call {
        Some(name) => one(&filters, question, name)?,
        None => all(pid, &filters, question.arch)?,
    };
    output::print(&text)?;
    Ok(0)
}

/// The process that is meant: by its number, or the init of a container by its id.
fn process(invocation: &Invocation, word: &str) -> Result<i32, Failure> {
    let number = word.parse::<i32>().ok().filter(|number| *number > 0);
    let container = invocation.runtime()?.container(word);
    match (number, container) {
        (Some(number), Ok(_)) if is_process(number) => Err(Failure::new(format!(
            "{number} is a process and also the id of a container"
        ))),
        (_, Ok(container)) => match container.state()?.pid {
            pid if pid > 0 => Ok(pid),
            _ => Err(Failure::new("container not running")),
        },
        (Some(number), Err(error)) if error.kind() == ErrorKind::NotFound => Ok(number),
        (None, Err(error)) if error.kind() == ErrorKind::NotFound => Err(Failure::new(format!(
            "{word:?} is neither the number of a process nor the id of a container"
        ))),
        (_, Err(error)) => Err(error.into()),
    }
}

fn is_process(number: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{number}/stat")).is_ok()
}

fn filters(pid: i32) -> Result<Vec<Program>, Failure> {
    let filters = libcontainer::seccomp_filters(pid)?;
    if filters.is_empty() {
        return Err(Failure::new(format!(
            "process {pid} has no seccomp filter: all its calls are made"
        )));
    }
    // The kernel's instructions are eight bytes each.
    Ok(filters
        .iter()
        .filter_map(|bytes| Program::from_bytes(bytes))
        .collect())
}

fn one(filters: &[Program], question: &Question, name: &str) -> Result<String, Failure> {
    let call = Syscall::named(name)
        .ok_or_else(|| Failure::new(format!("no architecture has a system call {name:?}")))?;
    let arch = question.arch;
    let Some(number) = call.number(arch) else {
        return Err(Failure::new(format!("{arch} has no system call {name}")));
    };
    let asked = Call {
        number,
        arch: arch.audit(),
        arguments: question.arguments,
        ..Call::default()
    };
    let action = tools::decide(filters, &asked, arch.big_endian());
    Ok(format!("{name} ({arch}, number {number}): {action}\n"))
}

fn all(pid: i32, filters: &[Program], arch: Arch) -> Result<String, Failure> {
    let native = native()?;
    let mut text = format!("process {pid}, filters: {}\n", filters.len());
    // Writing to a String cannot fail.
    for (at, filter) in filters.iter().enumerate() {
        let _ = write!(
            text,
            "\nfilter {}, instructions: {}\n{}",
            at + 1,
            filter.len(),
            Listing::new(filter, native)
        );
    }
    let _ = write!(text, "\n{arch}, all filters together\n");
    let mut groups: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
    for outcome in tools::outcomes(filters, arch) {
        let group = groups.entry(outcome.action.to_string()).or_default();
        group.push(outcome);
    }
    for (action, outcomes) in groups {
        let _ = writeln!(text, "{action}: {}", outcomes.len());
        for outcome in outcomes {
            let _ = writeln!(text, "  {}{}", outcome.call.name(), others(&outcome));
        }
    }
    let asked = |number, audit| {
        let call = Call {
            number,
            arch: audit,
            ..Call::default()
        };
        tools::decide(filters, &call, native.big_endian())
    };
    let _ = writeln!(text, "any other number: {}", asked(NO_CALL, arch.audit()));
    let _ = writeln!(text, "any other architecture: {}", asked(0, 0));
    Ok(text)
}

/// What other arguments may give than those that are all 0.
fn others(outcome: &Outcome) -> String {
    let mut others: Vec<_> = outcome.others.iter().map(Action::to_string).collect();
    if !outcome.all {
        others.push("more than were looked into".to_owned());
    }
    if others.is_empty() {
        return String::new();
    }
    format!(" (other arguments: {})", others.join(", "))
}
