//! The life of a container on one screen: which events are possible in which status, and what follows.
//!
//! ```text
//! creating ──ready──▶ created ──start──▶ running ◀─resume──pause─▶ paused
//!                        └────────────────exit──────────────────────┴──▶ stopped
//! ```
//!
//! A created container may be paused too; resumed, it is created again.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A create is under way.
    Creating,
    /// Init waits for start.
    Created,
    /// Init executes its program.
    Running,
    /// Its cgroup is frozen. Not in the OCI list, but every engine expects it.
    Paused,
    /// Init has exited, whether or not anything is left to delete.
    Stopped,
}

/// What can happen to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Ready,
    Start,
    Pause,
    Resume,
    Exit,
}

/// The event is not possible in this status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct WrongStatus {
    pub status: Status,
    pub event: Event,
}

impl WrongStatus {
    /// runc's words, which engines search for.
    fn text(&self) -> String {
        match (self.event, self.status) {
            (Event::Start, Status::Stopped) => {
                "cannot start a container that has stopped".to_owned()
            }
            (Event::Start, Status::Paused) => {
                "cannot start a container in the paused state".to_owned()
            }
            (Event::Start, _) => "cannot start an already running container".to_owned(),
            (Event::Pause, _) => "container not running".to_owned(),
            (Event::Resume, _) => "container not paused".to_owned(),
            (event, status) => format!("{event:?} of a container that is {status}"),
        }
    }
}

impl From<WrongStatus> for Error {
    fn from(wrong: WrongStatus) -> Error {
        Error::new(ErrorKind::WrongStatus, wrong)
    }
}

impl Status {
    /// The status after `event`. Of a container that was paused before it was started, a resume makes a created one again.
    pub fn after(self, event: Event) -> Result<Status, WrongStatus> {
        use {Event as E, Status as S};
        match (self, event) {
            (S::Creating, E::Ready) => Ok(S::Created),
            (S::Created, E::Start) | (S::Paused, E::Resume) => Ok(S::Running),
            (S::Created | S::Running, E::Pause) => Ok(S::Paused),
            (S::Creating | S::Created | S::Running | S::Paused, E::Exit) => Ok(S::Stopped),
            (status, event) => Err(WrongStatus { status, event }),
        }
    }

    /// As the OCI runtime spec and `state` print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_status_and_event() {
        use Event::{Exit, Pause, Ready, Resume, Start};
        use Status::{Created, Creating, Paused, Running, Stopped};
        let possible = [
            (Creating, Ready, Created),
            (Created, Start, Running),
            (Running, Pause, Paused),
            (Created, Pause, Paused),
            (Paused, Resume, Running),
            (Creating, Exit, Stopped),
            (Created, Exit, Stopped),
            (Running, Exit, Stopped),
            (Paused, Exit, Stopped),
        ];
        for status in [Creating, Created, Running, Paused, Stopped] {
            for event in [Ready, Start, Pause, Resume, Exit] {
                let expected = possible
                    .iter()
                    .find(|(from, by, _)| (*from, *by) == (status, event))
                    .map(|(_, _, to)| *to);
                assert_eq!(status.after(event).ok(), expected, "{status} {event:?}");
            }
        }
        assert_eq!(
            Stopped.after(Start).unwrap_err().to_string(),
            "cannot start a container that has stopped"
        );
        assert_eq!(
            Running.after(Start).unwrap_err().to_string(),
            "cannot start an already running container"
        );
        assert_eq!(
            Running.after(Resume).unwrap_err().to_string(),
            "container not paused"
        );
    }
}
