//! Waiting for a process that enters an existing container: somebody may freeze the container meanwhile, and we must not wait for ever.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
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

    /// Waits for the end of the first stage, which has forked and leaves: even there it may be frozen.
    pub(super) fn await_first(&self) -> Result<(), Error> {
        match (&self.patience, &self.first) {
            (Some(_), Some(first)) => self.poll(&mut [PollFd::new(&first.pidfd, PollFlags::IN)]),
            _ => Ok(()),
        }
    }

    /// Waits until one of `fds` has something to say; asks again and again whether to wait on.
    pub(super) fn poll(&self, fds: &mut [PollFd<'_>]) -> Result<(), Error> {
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK_EVERY.subsec_nanos().into(),
        };
        loop {
            match poll(fds, Some(&limit)) {
                Ok(0) => self.silent()?,
                Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(Refused::call("poll", errno).into()),
            }
        }
    }

    /// Whether to wait on for a stage that has said nothing for a while.
    pub(super) fn silent(&self) -> Result<(), Error> {
        match &self.patience {
            Some(patience) => patience.check(&self.pids()),
            None => Ok(()),
        }
    }

    /// All that runs of this launch.
    pub(super) fn pids(&self) -> Vec<i32> {
        let processes = self.init.iter().chain(&self.first);
        processes.map(|process| process.pid).collect()
    }
}

impl Patience {
    /// Called when the stage has been silent for a while: Ok means wait on. A frozen v1 cgroup would keep its processes, `pids`, even from
    /// dying, so they are moved out of it first.
    pub fn check(&self, pids: &[i32]) -> Result<(), Error> {
        let cgroup = Cgroup::open(&self.places, &self.token)?;
        if !cgroup.frozen()? {
            return Ok(());
        }
        cgroup.evict(pids)?;
        Err(Error::new(
            ErrorKind::WrongStatus,
            "container's cgroup unexpectedly frozen: the process could not be executed",
        ))
    }
}
