//! Watches a container for want of memory: a descriptor to poll, and a call that says what has happened. No thread, nothing that blocks.
//!
//! On cgroup2 the kernel wakes pollers of `memory.events` and `cgroup.events` at each change. Those are watched themselves, not by inotify: a
//! machine has few inotify instances, and the files' descriptors cannot come to mean another cgroup. On v1 `memory.oom_control` signals an
//! eventfd, before it kills; the end shows in the cgroup2 tree of a hybrid machine, and elsewhere on init.
//!
//! One epoll instance stands in front of them, so that an event loop sees one descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, pread, read};

use crate::error::{Error, ErrorKind, Refused};
use crate::kernel_file::retry;

use super::{Directory, Version, format, legacy};

/// What has happened to a container that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomEvent {
    /// It ran out of memory. `kills`: how many processes have been killed for it so far; on v1 the one at hand may not be counted yet.
    OutOfMemory {
        /// As [`crate::Container::oom_kills`].
        kills: u64,
    },
    /// Its last process has ended. Nothing comes after it.
    Ended,
}

/// A container that is watched; see [`crate::Container::oom_events`].
#[derive(Debug)]
pub struct OomEvents {
    epoll: OwnedFd,
    memory: Memory,
    end: End,
    /// [`OomEvent::Ended`] was told.
    over: bool,
}

/// Where want of memory shows.
#[derive(Debug)]
enum Memory {
    /// v2: `memory.events`, and its `oom_kill` when it was last read.
    Counted { events: OwnedFd, kills: u64 },
    /// v1: the eventfd, and `memory.oom_control`.
    Signaled { eventfd: OwnedFd, control: OwnedFd },
}

/// Where the end shows.
#[derive(Debug)]
enum End {
    /// `cgroup.events`.
    Emptied(OwnedFd),
    /// Init's pidfd; `None` if it has ended already.
    Init(Option<OwnedFd>),
}

impl OomEvents {
    pub(super) fn new(
        version: Version,
        directories: &[Directory],
        init: Option<BorrowedFd<'_>>,
    ) -> Result<OomEvents, Error> {
        let memory = match version {
            Version::V2 => counted(directories)?,
            Version::V1 => signaled(directories)?,
        };
        let end = end(directories, init)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| Refused::call("epoll_create1", errno))?;
        let sources = match &memory {
            Memory::Counted { events, .. } => (Some(events), epoll::EventFlags::PRI),
            Memory::Signaled { eventfd, .. } => (Some(eventfd), epoll::EventFlags::IN),
        };
        let ends = match &end {
            End::Emptied(events) => (Some(events), epoll::EventFlags::PRI),
            End::Init(pidfd) => (pidfd.as_ref(), epoll::EventFlags::IN),
        };
        for (fd, flags) in [sources, ends] {
            let Some(fd) = fd else { continue };
            epoll::add(&epoll, fd, epoll::EventData::new_u64(0), flags)
                .map_err(|errno| Refused::call("epoll_ctl", errno))?;
        }
        Ok(OomEvents {
            epoll,
            memory,
            end,
            over: false,
        })
    }

    /// What has happened since the last call; `None`: nothing. Never blocks. Call it once before the first poll, and after each until it
    /// says `None`. Want of memory is told before the end that it brings. Errors: Refused.
    pub fn next_event(&mut self) -> Result<Option<OomEvent>, Error> {
        if self.over {
            return Ok(None);
        }
        // Asked for first: what made the container end has been counted before it did.
        let ended = self.end.has_come()?;
        if let Some(kills) = self.memory.changed()? {
            return Ok(Some(OomEvent::OutOfMemory { kills }));
        }
        self.over = ended;
        Ok(ended.then_some(OomEvent::Ended))
    }
}

/// Readable when [`OomEvents::next_event`] has something to say.
impl AsFd for OomEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Memory {
    /// The kills so far, if memory has run out since the last call.
    fn changed(&mut self) -> Result<Option<u64>, Refused> {
        match self {
            Memory::Counted { events, kills } => {
                let now = match content(events, "memory.events")? {
                    Some(text) => format::memory_events(&text).oom_kill,
                    None => *kills,
                };
                let more = now > *kills;
                *kills = now;
                Ok(more.then_some(now))
            }
            Memory::Signaled { eventfd, control } => {
                let mut count = [0; 8];
                match retry(|| read(&*eventfd, &mut count)) {
                    Ok(_) => {}
                    Err(Errno::AGAIN) => return Ok(None),
                    Err(errno) => return Err(Refused::call("read(eventfd)", errno)),
                }
                match content(control, "memory.oom_control")? {
                    Some(text) => Ok(Some(format::oom_control(&text).oom_kill)),
                    // The removal of the cgroup is signaled too.
                    None => Ok((u64::from_ne_bytes(count) > 1).then_some(0)),
                }
            }
        }
    }
}

impl End {
    fn has_come(&self) -> Result<bool, Refused> {
        match self {
            End::Emptied(events) => {
                let text = content(events, "cgroup.events")?;
                Ok(text.and_then(|text| format::value(&text, "populated")) != Some(1))
            }
            End::Init(None) => Ok(true),
            End::Init(Some(pidfd)) => {
                let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
                let ready = retry(|| poll(&mut fds, Some(&Timespec::default())));
                ready
                    .map(|ready| ready > 0)
                    .map_err(|errno| Refused::call("poll(pidfd)", errno))
            }
        }
    }
}

fn counted(directories: &[Directory]) -> Result<Memory, Error> {
    let directory = directories.first().ok_or_else(no_cgroup)?;
    let events = open(directory, "memory.events")?
        .ok_or_else(|| no_controller("unable to add inotify watch: no such file or directory"))?;
    let text = content(&events, "memory.events")?.unwrap_or_default();
    let kills = format::memory_events(&text).oom_kill;
    Ok(Memory::Counted { events, kills })
}

fn signaled(directories: &[Directory]) -> Result<Memory, Error> {
    if directories.is_empty() {
        return Err(no_cgroup());
    }
    let missing = || no_controller("memory controller missing");
    let directory = legacy::find(directories, "memory").ok_or_else(missing)?;
    let control = open(directory, "memory.oom_control")?.ok_or_else(missing)?;
    let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| Refused::call("eventfd2", errno))?;
    let registration = format!("{} {}", eventfd.as_raw_fd(), control.as_raw_fd());
    directory.write("cgroup.event_control", registration.as_bytes())?;
    Ok(Memory::Signaled { eventfd, control })
}

fn end(directories: &[Directory], init: Option<BorrowedFd<'_>>) -> Result<End, Error> {
    let unified = directories
        .iter()
        .find(|directory| directory.place.version == Version::V2);
    if let Some(directory) = unified
        && let Some(events) = open(directory, "cgroup.events")?
    {
        return Ok(End::Emptied(events));
    }
    let pidfd = init.map(|init| init.try_clone_to_owned()).transpose();
    Ok(End::Init(pidfd.map_err(|error| {
        Refused::call(
            "fcntl(F_DUPFD_CLOEXEC)",
            Errno::from_io_error(&error).unwrap_or(Errno::BADF),
        )
    })?))
}

/// runc's words, for whoever searches for them.
fn no_controller(words: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "{words} (hint: the cgroup has no memory controller, so want of memory cannot be seen)"
        ),
    )
}

fn no_cgroup() -> Error {
    Error::new(ErrorKind::Unsupported, "the container has no cgroup")
}

fn open(directory: &Directory, file: &str) -> Result<Option<OwnedFd>, Refused> {
    match openat(
        &directory.fd,
        file,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(errno) => Err(directory.refused("openat", file, errno)),
    }
}

/// The content of an open file, read from its beginning, which makes it quiet until the next change; `None` when its cgroup has gone.
fn content(file: &OwnedFd, name: &str) -> Result<Option<String>, Refused> {
    let mut buffer = [0; 512];
    match retry(|| pread(file, &mut buffer[..], 0)) {
        Ok(length) => Ok(Some(
            String::from_utf8_lossy(&buffer[..length]).into_owned(),
        )),
        Err(Errno::NODEV) => Ok(None),
        Err(errno) => Err(Refused::new("pread", name, errno)),
    }
}
