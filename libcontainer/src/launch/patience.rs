//! Waiting for a process that enters an existing container: somebody may freeze the container meanwhile, and we must not wait for ever.

use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::Child;
use crate::cgroup::{Cgroup, Place};
use crate::error::{Error, ErrorKind, Refused};
use crate::state::Record;

/// How often a silent stage's cgroup is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The cgroup whose freezing ends the wait.
#[derive(Debug)]
pub struct Patience {
    places: Vec<Place>,
    token: String,
}

impl Child<'_> {
    /// From now on a wait for the stage ends with an error when the container of `record` is frozen.
    pub fn set_patience(&mut self, record: &Record) -> Result<(), Error> {
        set_socket_timeout(self.control()?, Timeout::Recv, Some(LOOK_EVERY))
            .map_err(|errno| Refused::call("setsockopt(SO_RCVTIMEO)", errno))?;
        self.patience = Some(Patience {
            places: record.cgroups.clone(),
            token: record.token.as_str().to_owned(),
        });
        Ok(())
    }
}

impl Patience {
    /// Called when the stage has been silent for a while: Ok means wait on. A frozen v1 cgroup would keep `pid` even from dying, so it is
    /// moved out of it first.
    pub fn check(&self, pid: Option<i32>) -> Result<(), Error> {
        let cgroup = Cgroup::open(&self.places, &self.token)?;
        if !cgroup.frozen()? {
            return Ok(());
        }
        if let Some(pid) = pid {
            cgroup.evict(pid)?;
        }
        Err(Error::new(
            ErrorKind::WrongStatus,
            "container's cgroup unexpectedly frozen: the process could not be executed",
        ))
    }
}
