//! What the daemon waits for: descriptors, by epoll, and moments. Each is registered with a value of the caller's that comes back when it is
//! due. Level-triggered, and one registration a descriptor: a pump that waits for its other end is registered anew.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// A registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

/// What a descriptor is waited for. An error or a hang-up of it is due in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    Readable,
    Writable,
    Both,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Interest::Readable => EventFlags::IN,
            Interest::Writable => EventFlags::OUT,
            Interest::Both => EventFlags::IN | EventFlags::OUT,
        }
    }
}

#[derive(Debug)]
pub struct Reactor<T> {
    epoll: OwnedFd,
    sources: HashMap<Token, T>,
    timers: BTreeMap<(Instant, Token), T>,
    last: u64,
}

impl<T: Clone> Reactor<T> {
    pub fn new() -> Result<Reactor<T>, Errno> {
        Ok(Reactor {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            sources: HashMap::new(),
            timers: BTreeMap::new(),
            last: 0,
        })
    }

    fn token(&mut self) -> Token {
        self.last += 1;
        Token(self.last)
    }

    /// `fd` must be removed before it is closed: a copy of it elsewhere would keep it registered.
    pub fn add(&mut self, fd: impl AsFd, interest: Interest, source: T) -> Result<Token, Errno> {
        let token = self.token();
        epoll::add(
            &self.epoll,
            fd,
            EventData::new_u64(token.0),
            interest.flags(),
        )?;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Errors: ENOENT, when `fd` is not the descriptor that was added.
    pub fn change(&mut self, fd: impl AsFd, interest: Interest, token: Token) -> Result<(), Errno> {
        let data = EventData::new_u64(token.0);
        epoll::modify(&self.epoll, fd, data, interest.flags())
    }

    pub fn remove(&mut self, fd: impl AsFd, token: Token) {
        self.sources.remove(&token);
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// For a descriptor that its owner has closed.
    pub fn forget(&mut self, token: Token) {
        self.sources.remove(&token);
    }

    /// Once, at `when` or soon after.
    pub fn at(&mut self, when: Instant, source: T) {
        let token = self.token();
        self.timers.insert((when, token), source);
    }

    /// Blocks until something is due, at the latest at `until`, and appends it to `due`. What was removed meanwhile is not told.
    pub fn wait(&mut self, until: Option<Instant>, due: &mut Vec<(Token, T)>) -> Result<(), Errno> {
        let first = self.timers.first_key_value().map(|((when, _), _)| *when);
        let timeout = match (first, until) {
            (Some(timer), Some(until)) => Some(timer.min(until)),
            (timer, until) => timer.or(until),
        }
        .map(|when| timespec(when.saturating_duration_since(Instant::now())));
        // Few at a time, so that one busy pump after the other gets its turn.
        let mut events = [const { std::mem::MaybeUninit::<Event>::uninit() }; 64];
        let events = match epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        for event in &*events {
            let token = Token(event.data.u64());
            if let Some(source) = self.sources.get(&token) {
                due.push((token, source.clone()));
            }
        }
        let now = Instant::now();
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let ((_, token), source) = entry.remove_entry();
            due.push((token, source));
        }
        Ok(())
    }

    /// Whether it still is registered: something that came earlier in the same round may have removed it.
    pub fn knows(&self, token: Token) -> bool {
        self.sources.contains_key(&token)
    }
}

/// Rounded up to the next millisecond, or a timer would be waited for in vain once more.
fn timespec(duration: Duration) -> Timespec {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000);
    let duration = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX));
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
