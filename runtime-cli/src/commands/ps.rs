//! `garboard ps`.

use std::ffi::OsString;
use std::process::Command;

use super::Invocation;
use crate::failure::Failure;
use crate::output;
use crate::table::flags;

/// Prints the processes of the container's cgroup.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let pids = invocation.container()?.processes()?;
    let json = match invocation.matches.text(&flags::FORMAT)?.unwrap_or("table") {
        "table" => false,
        "json" => true,
        _ => return Err(Failure::new("invalid format option")),
    };
    let text = if json {
        output::pids(pids.as_deref())
    } else {
        output::ps_table(
            &host_ps(&invocation.matches.positionals[1..])?,
            &pids.unwrap_or_default(),
        )
        .map_err(Failure::new)?
    };
    output::print(&text)?;
    Ok(0)
}

/// What the host's ps(1) prints.
fn host_ps(arguments: &[OsString]) -> Result<String, Failure> {
    let mut ps = Command::new("ps");
    if arguments.is_empty() {
        ps.arg("-ef");
    } else {
        ps.args(arguments);
    }
    let output = ps
        .output()
        .map_err(|why| Failure::new(format!("exec: \"ps\": {why}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(Failure::new(format!(
        "ps: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
