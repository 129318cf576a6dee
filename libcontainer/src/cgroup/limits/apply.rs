//! Doing the steps: every write through the descriptor of the container's own directory.

use rustix::fs::CWD;
use rustix::io::Errno;

use crate::config::ConfigErrors;
use crate::error::{Error, Refused};
use crate::kernel_file::{read_record, write_value};

use super::super::directory::Directory;
use super::super::{Place, Version};
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
            Step::EitherOrder(one, other) => match try_set(directories, one)? {
                Ok(()) => set(directories, other)?,
                Err(_) => {
                    set(directories, other)?;
                    set(directories, one)?;
                }
            },
            Step::ReadBack(write) => {
                set(directories, write)?;
                check_kept(directories, write)?;
            }
            Step::NotBelowUsage { limit, usage } => check_usage(directories, limit, usage)?,
        }
    }
    Ok(())
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
    let text = format!(
        "the kernel made {} of {} in {}",
        kept, write.value, write.file
    );
    Err(ConfigErrors::one(write.at.clone(), text).into())
}

fn check_usage(directories: &[Directory], limit: &Write, usage: &str) -> Result<(), Error> {
    let directory = chosen(directories, limit)?;
    let used = read_record(&directory.fd, usage)
        .map_err(|errno| directory.refused("read", usage, errno))?;
    let number = |text: &[u8]| {
        std::str::from_utf8(text.trim_ascii())
            .ok()?
            .parse::<u64>()
            .ok()
    };
    match (number(&used), number(limit.value.as_bytes())) {
        (Some(used), Some(asked)) if used > asked => {
            let text = format!(
                "unable to set memory limit to {asked} (current usage: {used}, checkBeforeUpdate is set)"
            );
            Err(ConfigErrors::one(limit.at.clone(), text).into())
        }
        _ => Ok(()),
    }
}

/// The directory that has the controller's files.
fn chosen<'a>(directories: &'a [Directory], write: &Write) -> Result<&'a Directory, Error> {
    directories
        .iter()
        .find(|directory| has(&directory.place, &write.controller))
        .ok_or_else(|| missing(write))
}

fn has(place: &Place, controller: &str) -> bool {
    place.is_unified() || (place.version == Version::V1 && place.has(controller))
}

fn missing(write: &Write) -> Error {
    let text = format!(
        "cgroup controller \"{}\" is not available here: {} cannot be set (hint: /sys/fs/cgroup/cgroup.controllers and /proc/cgroups \
         list what the kernel has; a parent cgroup may not pass it on)",
        write.controller, write.file
    );
    ConfigErrors::unsupported(write.at.clone(), text).into()
}

fn refused(directories: &[Directory], write: &Write, errno: Errno) -> Error {
    if let Ok(directory) = chosen(directories, write) {
        let call = format!("write({})", write.value);
        return directory
            .refused(&call, &write.file, errno)
            .at(write.at.clone())
            .into();
    }
    missing(write)
}

/// The first controller that a limit needs and no hierarchy here has, as an error: looked for before anything is made. On a unified
/// machine the nearest ancestor that is there tells what can be passed on.
pub fn missing_controllers(places: &[Place], steps: &[Step]) -> Result<(), Error> {
    let mut unified: Option<Vec<u8>> = None;
    for write in steps.iter().flat_map(Step::writes) {
        if write.controller.is_empty() {
            continue;
        }
        let Some(place) = places.iter().find(|place| has(place, &write.controller)) else {
            return Err(missing(write));
        };
        if place.version == Version::V1 {
            continue;
        }
        let available = match &unified {
            Some(available) => available,
            None => {
                let file = place.mount.join("cgroup.controllers");
                let read = read_record(CWD, &file)
                    .map_err(|errno| Error::from(Refused::new("read", file, errno)))?;
                unified.insert(read)
            }
        };
        let listed = available
            .split(u8::is_ascii_whitespace)
            .any(|name| name == write.controller.as_bytes());
        if !listed {
            return Err(missing(write));
        }
    }
    Ok(())
}
