//! Doing the steps: every write through the descriptor of the container's own directory.

use rustix::io::Errno;

use crate::config::ConfigErrors;
use crate::error::Error;
use crate::hints;
use crate::host::parse_number;
use crate::kernel_file::{read_record, write_value};

use super::super::Version;
use super::super::directory::Directory;
use super::machine::{has, lists, missing};
use super::{Step, Write};

/// Does `steps` in order. Errors: Refused with the key's pointer; what was written before stays.
pub fn apply(directories: &[Directory], steps: &[Step]) -> Result<(), Error> {
    for step in steps {
        match step {
            Step::Write(write) => set(directories, write)?,
            Step::IfPresent(write) => match try_set(directories, write)? {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(refused(directories, write, errno)),
            },
            Step::FirstPresent(writes) => first_present(directories, writes)?,
            Step::AnyOrder(writes) => any_order(directories, writes)?,
            Step::ReadBack(write) => {
                set(directories, write)?;
                check_kept(directories, write)?;
            }
            Step::NotBelowUsage { limit, usage } => check_usage(directories, limit, usage)?,
        }
    }
    Ok(())
}

/// Ends when all are set, or when a round gets none of the rest any further.
fn any_order(directories: &[Directory], writes: &[Write]) -> Result<(), Error> {
    let mut rest = writes.iter().collect::<Vec<_>>();
    loop {
        let mut refusals = Vec::new();
        for write in &rest {
            if let Err(errno) = try_set(directories, write)? {
                refusals.push((*write, errno));
            }
        }
        match refusals.first() {
            None => return Ok(()),
            Some((write, errno)) if refusals.len() == rest.len() => {
                return Err(refused(directories, write, *errno));
            }
            Some(_) => rest = refusals.into_iter().map(|(write, _)| write).collect(),
        }
    }
}

fn first_present(directories: &[Directory], writes: &[Write]) -> Result<(), Error> {
    let mut absent = None;
    for write in writes {
        match try_set(directories, write)? {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) => absent = Some(write),
            Err(errno) => return Err(refused(directories, write, errno)),
        }
    }
    match absent {
        Some(write) => Err(refused(directories, write, Errno::NOENT)),
        None => Ok(()),
    }
}

fn set(directories: &[Directory], write: &Write) -> Result<(), Error> {
    try_set(directories, write)?.map_err(|errno| refused(directories, write, errno))
}

/// The outer error: no directory of the container has the controller.
fn try_set(directories: &[Directory], write: &Write) -> Result<Result<(), Errno>, Error> {
    let directory = chosen(directories, write)?;
    Ok(write_value(
        &directory.fd,
        write.file.as_ref(),
        write.value.as_bytes(),
    ))
}

fn check_kept(directories: &[Directory], write: &Write) -> Result<(), Error> {
    let directory = chosen(directories, write)?;
    let kept = read_record(&directory.fd, write.file.as_ref())
        .map_err(|errno| directory.refused("read", &write.file, errno))?;
    let kept = String::from_utf8_lossy(kept.trim_ascii()).into_owned();
    if kept == write.value {
        return Ok(());
    }
    let which = match (number(kept.as_bytes()), number(write.value.as_bytes())) {
        (Some(kept), Some(asked)) if kept > asked => "minimum",
        _ => "maximum",
    };
    let name = write.file.replace('.', "-");
    let text = format!("the {which} allowed {name} is {kept}");
    Err(ConfigErrors::one(write.at.clone(), text).into())
}

/// Best effort, as a usage that cannot be read is no reason to refuse.
fn check_usage(directories: &[Directory], limit: &Write, usage: &str) -> Result<(), Error> {
    let directory = chosen(directories, limit)?;
    let used = read_number(directory, usage);
    match (used, number(limit.value.as_bytes())) {
        (Some(used), Some(asked)) if used >= asked => {
            let text = format!("rejecting memory limit {asked} <= usage {used}");
            Err(ConfigErrors::one(limit.at.clone(), text).into())
        }
        _ => Ok(()),
    }
}

fn read_number(directory: &Directory, file: &str) -> Option<u64> {
    number(&read_record(&directory.fd, file).ok()?)
}

fn number(text: &[u8]) -> Option<u64> {
    parse_number(text.trim_ascii())
}

/// The directory that has the controller's files.
fn chosen<'a>(directories: &'a [Directory], write: &Write) -> Result<&'a Directory, Error> {
    directories
        .iter()
        .find(|directory| has(&directory.place, &write.controller))
        .ok_or_else(|| missing(write))
}

fn refused(directories: &[Directory], write: &Write, errno: Errno) -> Error {
    let Ok(directory) = chosen(directories, write) else {
        return missing(write);
    };
    if errno == Errno::NOENT {
        return no_file(directory, write);
    }
    let call = format!("write({})", write.value.trim_end());
    let mut refused = directory
        .refused(&call, &write.file, errno)
        .at(write.at.clone());
    refused.hint = hint(directory, write, errno);
    refused.into()
}

/// Without the words of ENOENT, which engines take for a program that is missing.
fn no_file(directory: &Directory, write: &Write) -> Error {
    let unified = directory.place.is_unified() && !write.controller.is_empty();
    let passed_on = || {
        read_record(&directory.fd, "cgroup.controllers")
            .is_ok_and(|list| lists(&list, &write.controller))
    };
    if unified && !passed_on() {
        return missing(write);
    }
    let hint = hints::absent_limit(&write.file);
    let text = format!(
        "cannot set {} to {}: {} has no such file (hint: {hint})",
        write.file,
        write.value.trim_end(),
        directory.place.host_path().display(),
    );
    ConfigErrors::unsupported(write.at.clone(), text).into()
}

/// What the files around say about the refusal, or the table.
fn hint(directory: &Directory, write: &Write, errno: Errno) -> Option<String> {
    match (write.file.as_ref(), errno) {
        // runc's text.
        ("memory.limit_in_bytes", Errno::BUSY) => {
            let usage = read_number(directory, "memory.usage_in_bytes")?;
            let peak = read_number(directory, "memory.max_usage_in_bytes")?;
            Some(format!(
                "unable to set memory limit to {} (current usage: {usage}, peak usage: {peak})",
                write.value
            ))
        }
        (file @ ("cpuset.cpus" | "cpuset.mems"), Errno::INVAL | Errno::RANGE | Errno::ACCESS) => {
            let parent = match directory.place.version {
                Version::V1 => format!("../{file}"),
                Version::V2 => format!("../{file}.effective"),
            };
            let has = read_record(&directory.fd, parent.as_str()).ok()?;
            Some(format!(
                "the parent cgroup has {}",
                String::from_utf8_lossy(has.trim_ascii())
            ))
        }
        (file, errno) => hints::limit(file, errno.into()).map(str::to_owned),
    }
}
