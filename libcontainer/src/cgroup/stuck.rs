//! The errors for processes that do not do what the cgroup was told: die, stand still, go on.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};
use crate::host::Host;

use super::Place;

/// Processes outlived the deadline of [`Cgroup::kill_all`] or [`Cgroup::remove`].
#[derive(Debug, thiserror::Error)]
#[error("cgroup {} {}", path.display(), left(processes))]
pub struct Survivors {
    pub path: PathBuf,
    /// (pid, name)
    pub processes: Vec<(i32, String)>,
}

fn left(processes: &[(i32, String)]) -> String {
    if processes.is_empty() {
        return "is not gone in time (hint: it has very many sub-cgroups, or a process that is just ending; deleting goes on where it \
                stopped)"
            .to_owned();
    }
    let list = processes
        .iter()
        .map(|(pid, name)| format!("{pid} ({name})"))
        .collect::<Vec<_>>()
        .join(", ");
    format!("still has processes: {list}")
}

/// The error for processes that outlived a deadline.
pub(super) fn survivors(host: &Host, path: &Path, pids: Vec<i32>) -> Error {
    let processes = pids
        .into_iter()
        .map(|pid| (pid, host.process_name(pid)))
        .collect();
    Error::new(
        ErrorKind::Internal,
        Survivors {
            path: path.to_path_buf(),
            processes,
        },
    )
}

/// The error for processes that did not freeze before a deadline.
pub(super) fn not_frozen(place: &Place) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!(
            "unable to freeze {}: a process does not stop in time (hint: one that sleeps uninterruptibly, in a hung mount for example, \
             cannot be frozen); thawed again",
            place.host_path().display()
        ),
    )
}

/// The error for a container that stays frozen with a cgroup above its own.
pub(super) fn frozen_above(place: &Place) -> Error {
    Error::new(
        ErrorKind::WrongStatus,
        format!(
            "{} is thawed, but a cgroup above it is frozen",
            place.host_path().display()
        ),
    )
}

/// The error for processes that did not run again before a deadline.
pub(super) fn not_thawed(place: &Place) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!(
            "unable to thaw {}: the kernel still calls it frozen",
            place.host_path().display()
        ),
    )
}
