//! check, explain and diff: a profile is read, nothing is run.

use std::fmt::Write as _;

use serde_json::Value;

use seccomp_profiles::tools;
use seccomp_profiles::{Profile, Syscall, compile};

use super::{Question, native};
use crate::failure::Failure;
use crate::output;

/// Errors first, then warnings; exit code 1 if a runtime would refuse the profile.
pub fn check(value: &Value) -> Result<u8, Failure> {
    let report = tools::check(value, native()?);
    let mut text = String::new();
    // Writing to a String cannot fail.
    for fault in &report.faults {
        let _ = writeln!(text, "error: {fault}");
    }
    if let Some(conflict) = &report.conflict {
        let _ = writeln!(text, "error: {conflict}");
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    if report.is_valid() {
        let profile = super::valid(value)?;
        match compile(&profile) {
            Ok(compiled) => {
                let _ = writeln!(text, "{} instructions", compiled.program.len());
            }
            Err(error) => {
                let _ = writeln!(text, "error: {error}");
                output::print(&text)?;
                return Ok(1);
            }
        }
    }
    output::print(&text)?;
    Ok(u8::from(!report.is_valid()))
}

/// One call, or all of them by what happens to them.
pub fn explain(profile: &Profile, question: &Question) -> Result<u8, Failure> {
    let failure = |error: seccomp_profiles::rules::Conflict| Failure::new(error.to_string());
    let Some(name) = &question.call else {
        let groups = tools::overview(profile, native()?, question.arch).map_err(failure)?;
        let mut text = format!("{}\n", question.arch);
        for (action, calls) in groups {
            let _ = writeln!(text, "{action}: {}", calls.len());
            for call in calls {
                let _ = writeln!(text, "  {call}");
            }
        }
        output::print(&text)?;
        return Ok(0);
    };
    let call = Syscall::named(name)
        .ok_or_else(|| Failure::new(format!("no architecture has a system call {name:?}")))?;
    let explanation = tools::explain(
        profile,
        native()?,
        &tools::Question {
            arch: question.arch,
            call,
            arguments: question.arguments,
        },
    )
    .map_err(failure)?;
    output::print(&format!("{explanation}\n"))?;
    Ok(0)
}

/// One line a difference; exit code 1 if there is any, as diff(1).
pub fn diff(first: &Profile, second: &Profile) -> Result<u8, Failure> {
    let differences =
        tools::diff(first, second, native()?).map_err(|error| Failure::new(error.to_string()))?;
    let lines: String = differences
        .iter()
        .map(|difference| format!("{difference}\n"))
        .collect();
    output::print(&lines)?;
    Ok(u8::from(!differences.is_empty()))
}
