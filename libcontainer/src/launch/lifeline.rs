//! What ends a process of ours that cannot notice our end by itself.
//!
//! A stage that has loaded a filter that notifies waits, with its very next call, for an agent that we have not told of it yet. If we are
//! killed in between it would wait for ever: it holds its own listener. So it has the kernel kill it (fcntl(2) F_SETSIG, O_ASYNC) when a
//! pipe hangs up of which we alone have the writing end. Our end closes it, whatever it comes by; the end of one of our threads does not,
//! as it would with PR_SET_PDEATHSIG.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::{Error, Refused};

/// Dropped before [`Lifeline::let_go`] it ends the process that hangs on it.
#[derive(Debug)]
pub struct Lifeline {
    reading: OwnedFd,
    _writing: OwnedFd,
}

impl Lifeline {
    pub fn new() -> Result<Lifeline, Error> {
        let (reading, writing) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Refused::call("pipe2", errno))?;
        Ok(Lifeline {
            reading,
            _writing: writing,
        })
    }

    /// The process has executed its program, which is none of ours. The program has no copy of the reading end, but the kernel may still
    /// be at closing it: so what it asked of the kernel is taken back by ours, the same open file.
    pub fn let_go(self) -> Result<(), Error> {
        fcntl_setfl(&self.reading, OFlags::empty())
            .map_err(|errno| Refused::call("fcntl(F_SETFL)", errno).into())
    }
}

impl AsFd for Lifeline {
    /// What the stage is given.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reading.as_fd()
    }
}
