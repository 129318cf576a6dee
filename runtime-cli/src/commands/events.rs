//! `garboard events`.
//!
//! One thread and one poll: the container, the next reading, and standard output. A line is written in pieces that a pipe with room takes
//! without blocking. So a slow reader costs readings, which are left out while it has not taken the last, and never the end of the stream
//! or its memory; notices of the OOM killer wait for it.

use std::time::{Duration, Instant};

use libcontainer::{Container, ErrorKind, OomEvent, OomEvents, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::stdout;

use super::Invocation;
use crate::event_lines;
use crate::failure::{FAILED, Failure};
use crate::output;
use crate::table::flags;

/// Seconds between two readings.
const INTERVAL: Duration = Duration::from_secs(5);
/// A pipe that is ready for writing takes this much at once (PIPE_BUF, pipe(7)).
const PIECE: usize = 4096;
/// So much may wait for the reader: some thousand notices.
const BACKLOG: usize = 128 * 1024;

/// Prints the container's statistics once, or again and again with a line for every want of memory, until the container has ended.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let container = invocation.container()?;
    let interval = match invocation.matches.duration(&flags::INTERVAL)? {
        None => INTERVAL,
        Some(nanoseconds) => u64::try_from(nanoseconds)
            .ok()
            .filter(|nanoseconds| *nanoseconds > 0)
            .map(Duration::from_nanos)
            .ok_or_else(|| Failure::new("duration interval must be greater than 0"))?,
    };
    if container.state()?.status == Status::Stopped {
        return Err(Failure::new(format!(
            "container with id {} is not running",
            container.id()
        )));
    }
    if invocation.matches.is_set(&flags::STATS) {
        let statistics = container.statistics()?;
        output::print(&event_lines::stats(container.id(), &statistics))?;
    } else {
        let events = container.oom_events()?;
        Stream::new(&container, interval).run(events)?;
    }
    Ok(0)
}

struct Stream<'a> {
    container: &'a Container,
    interval: Duration,
    /// `None`: beyond what the clock can count to.
    next: Option<Instant>,
    /// What the reader has not taken yet.
    pending: Vec<u8>,
}

/// What [`Stream::wait`] saw.
#[derive(Debug, PartialEq, Eq)]
enum Reader {
    Busy,
    Ready,
    Gone,
}

impl Stream<'_> {
    fn new(container: &Container, interval: Duration) -> Stream<'_> {
        Stream {
            container,
            interval,
            next: Instant::now().checked_add(interval),
            pending: Vec::new(),
        }
    }

    /// Goes on until the container has ended and the reader has everything, or the reader has gone.
    fn run(mut self, events: OomEvents) -> Result<(), Failure> {
        let mut events = Some(events);
        loop {
            events = match events {
                Some(events) => self.take(events)?,
                None => None,
            };
            if events.is_some() {
                self.read_when_due()?;
            } else if self.pending.is_empty() {
                return Ok(());
            }
            match self.wait(events.as_ref())? {
                Reader::Gone => return Ok(()),
                Reader::Ready => self.write()?,
                Reader::Busy => {}
            }
        }
    }

    /// Takes down what has happened. The watch is given back unless the container has ended.
    fn take(&mut self, mut events: OomEvents) -> Result<Option<OomEvents>, Failure> {
        while let Some(event) = events.next_event()? {
            match event {
                OomEvent::Ended => return Ok(None),
                OomEvent::OutOfMemory { .. } if self.pending.len() < BACKLOG => {
                    let line = event_lines::oom(self.container.id());
                    self.pending.extend_from_slice(line.as_bytes());
                }
                OomEvent::OutOfMemory { .. } => {}
            }
        }
        Ok(Some(events))
    }

    fn read_when_due(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let Some(due) = self.next.filter(|due| *due <= now) else {
            return Ok(());
        };
        // In step with the first; of those that were slept through, one is made up for.
        let following = due.checked_add(self.interval);
        self.next = match following {
            Some(following) if following <= now => now.checked_add(self.interval),
            following => following,
        };
        if !self.pending.is_empty() {
            return Ok(());
        }
        match self.container.statistics() {
            Ok(statistics) => {
                let line = event_lines::stats(self.container.id(), &statistics);
                self.pending.extend_from_slice(line.as_bytes());
                Ok(())
            }
            // It has just ended, which the watch will tell.
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
            Err(why) => Err(why.into()),
        }
    }

    /// Sleeps until something happens, the next reading is due, or standard output takes what is pending.
    fn wait(&self, events: Option<&OomEvents>) -> Result<Reader, Failure> {
        let wanted = if self.pending.is_empty() {
            PollFlags::empty()
        } else {
            PollFlags::OUT
        };
        let stdout = stdout();
        let mut fds = vec![PollFd::from_borrowed_fd(stdout, wanted)];
        fds.extend(events.map(|events| PollFd::new(events, PollFlags::IN)));
        let timeout = events.and(self.next).map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::from(errno).within("poll", FAILED)),
        }
        let seen = fds[0].revents();
        Ok(
            if seen.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
                Reader::Gone
            } else if seen.contains(PollFlags::OUT) {
                Reader::Ready
            } else {
                Reader::Busy
            },
        )
    }

    fn write(&mut self) -> Result<(), Failure> {
        let piece = &self.pending[..self.pending.len().min(PIECE)];
        match rustix::io::write(stdout(), piece) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The reader has gone: the next poll says so.
            Err(Errno::PIPE) => self.pending.clear(),
            Err(errno) => {
                return Err(Failure::from(errno).within("write to standard output", FAILED));
            }
        }
        Ok(())
    }
}
