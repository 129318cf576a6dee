//! One direction of one stream, copied a step at a time by whoever owns the event loop.
//!
//! Guarantees: [`Pump::advance`] never waits and never fails; bytes keep their order and none is lost while both ends live; the next
//! reader of a fifo goes on where the last one stopped. From a pipe to a pipe nothing is copied at all: splice(2) moves the pages. There
//! is a buffer only for what a terminal gave and its reader did not take yet.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::{SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, splice};

/// So much a call, so that one loud container does not keep the loop from the others.
const STEP: usize = 1 << 20;
/// What a pipe holds by default (pipe(7)); so much at once means that its writer is faster than this.
const FULL: usize = 64 << 10;
/// After a megabyte in full pipes they are made four times as large, which is twice as fast. Not before: pages that pipes may hold count
/// against their user, and beyond `pipe-user-pages-soft` the containers' own pipes would shrink to two pages.
const TIMES_FULL: u8 = 16;
const CAPACITY: usize = 256 << 10;
/// A terminal gives at most this much at once (`N_TTY_BUF_SIZE`).
const CHUNK: usize = 4096;

/// Which way the bytes go, seen from the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the process: nobody waits for it when the process has ended.
    Input,
    /// From the process: its exit is complete when this is done.
    Output,
}

/// What a pump waits for. It holds for level- and edge-triggered epoll: the end named was found not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing: call again when others had their turn.
    More,
    /// Call again when `source()` is readable or hung up.
    Source,
    /// Call again when `sink()` is writable or in error.
    Sink,
    /// Nothing will come any more. Drop the pump: its reader sees the end of the file then.
    Done,
}

/// Both ends of a stream, open until it is dropped. An end may share its open file description with another descriptor (a terminal's
/// ends do), so what was registered with epoll has to be taken out of it by hand before.
#[derive(Debug)]
pub struct Pump {
    source: OwnedFd,
    /// None: another thread has it, or there is none.
    sink: Option<OwnedFd>,
    direction: Direction,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// Both ends are pipes. How often the source was full, until the pipes were enlarged.
    Splice(u8),
    /// At least one is a terminal. What was read and is not written yet.
    Copy(Vec<u8>),
    /// There is no sink, or it is gone: a container does not stop because its log did.
    Discard,
    /// A thread of its own has both ends; the source here says when it is done.
    Elsewhere,
}

impl Pump {
    /// Both ends are pipes or fifos.
    pub(super) fn splice(source: OwnedFd, sink: OwnedFd, direction: Direction) -> Pump {
        Pump {
            source,
            sink: Some(sink),
            direction,
            work: Work::Splice(0),
        }
    }

    /// Both ends are non-blocking.
    pub(super) fn copy(source: OwnedFd, sink: OwnedFd, direction: Direction) -> Pump {
        Pump {
            source,
            sink: Some(sink),
            direction,
            work: Work::Copy(Vec::new()),
        }
    }

    /// Something else copies: `done` gives nothing and ends when it has, and is closed to stop it.
    pub(super) fn elsewhere(done: OwnedFd) -> Pump {
        Pump {
            work: Work::Elsewhere,
            ..Pump::discard(done)
        }
    }

    /// Reads and forgets `source`, which is non-blocking.
    pub(super) fn discard(source: OwnedFd) -> Pump {
        Pump {
            source,
            sink: None,
            direction: Direction::Output,
            work: Work::Discard,
        }
    }

    pub fn source(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    /// The end to watch after [`Progress::Sink`].
    pub fn sink(&self) -> BorrowedFd<'_> {
        self.sink.as_ref().unwrap_or(&self.source).as_fd()
    }

    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether it is elsewhere that bytes are copied: then waiting for the source does not mean that all that was written is through.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self.work, Work::Elsewhere)
    }

    /// Whether there is output in the client's fifo that it has not taken yet.
    pub fn is_unread(&self) -> bool {
        match (&self.sink, self.direction) {
            // What else is not a pipe knows nothing of it.
            (Some(sink), Direction::Output) => ioctl_fionread(sink).is_ok_and(|bytes| bytes > 0),
            _ => false,
        }
    }

    /// To be called when all has been written: lets go of our own reading end, which was held for clients that come back. Says whether
    /// anybody else has one. The sink must not be registered with epoll.
    pub fn has_reader(&mut self) -> bool {
        let Some(sink) = &self.sink else { return false };
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = format!("/proc/self/fd/{}", sink.as_raw_fd());
        let writer = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(writer) => writer,
            Err(Errno::NXIO) => return false,
            // No descriptor left, for one: as if there was a reader.
            Err(_) => return true,
        };
        let mut ends = [PollFd::new(&writer, PollFlags::OUT)];
        self.sink = None;
        let _ = poll(&mut ends, Some(&Timespec::default()));
        let [end] = ends.map(|end| end.revents());
        self.sink = Some(writer);
        !end.contains(PollFlags::ERR)
    }

    /// Copies what can be copied now, about a megabyte at most.
    pub fn advance(&mut self) -> Progress {
        let source = self.source.as_fd();
        let Some(sink) = &self.sink else {
            return drain(source);
        };
        let progress = match &mut self.work {
            Work::Splice(full) => move_pages(source, sink.as_fd(), full),
            Work::Copy(left) => copy(source, sink.as_fd(), left),
            Work::Discard | Work::Elsewhere => Ok(drain(source)),
        };
        match (progress, self.direction) {
            (Ok(progress), _) => progress,
            (Err(SinkGone), Direction::Input) => Progress::Done,
            (Err(SinkGone), Direction::Output) => {
                self.work = Work::Discard;
                Progress::More
            }
        }
    }
}

/// The sink takes nothing any more: its last reader closed it.
struct SinkGone;

fn move_pages(
    source: BorrowedFd<'_>,
    sink: BorrowedFd<'_>,
    full: &mut u8,
) -> Result<Progress, SinkGone> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let mut moved = 0;
    while moved < STEP {
        match splice(source, None, sink, None, STEP - moved, flags) {
            Ok(0) => return Ok(Progress::Done),
            Ok(count) => {
                moved += count;
                if count >= FULL && *full < TIMES_FULL {
                    *full += 1;
                    if *full == TIMES_FULL {
                        enlarge(source, sink);
                    }
                }
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => return Ok(who_waits(source, sink)),
            Err(_) => return Err(SinkGone),
        }
        // One line a turn is the common case: asking both ends is one call, being refused and asking then would be two.
        match who_waits(source, sink) {
            Progress::More => {}
            waits => return Ok(waits),
        }
    }
    Ok(Progress::More)
}

/// It may be refused, and then the stream is slower, no more.
fn enlarge(source: BorrowedFd<'_>, sink: BorrowedFd<'_>) {
    for pipe in [source, sink] {
        // A client may have made it larger.
        if fcntl_getpipe_size(pipe).is_ok_and(|size| size < CAPACITY) {
            let _ = fcntl_setpipe_size(pipe, CAPACITY);
        }
    }
}

/// Which end is not ready, which splice(2) does not say.
fn who_waits(source: BorrowedFd<'_>, sink: BorrowedFd<'_>) -> Progress {
    let mut ends = [
        PollFd::from_borrowed_fd(source, PollFlags::IN),
        PollFd::from_borrowed_fd(sink, PollFlags::OUT),
    ];
    // Cannot fail with two valid descriptors; if it did, another turn would find out.
    let _ = poll(&mut ends, Some(&Timespec::default()));
    let [source, sink] = ends.map(|end| !end.revents().is_empty());
    match (source, sink) {
        (false, _) => Progress::Source,
        (true, false) => Progress::Sink,
        (true, true) => Progress::More,
    }
}

fn copy(
    source: BorrowedFd<'_>,
    sink: BorrowedFd<'_>,
    left: &mut Vec<u8>,
) -> Result<Progress, SinkGone> {
    let mut buffer = [0; CHUNK];
    let mut copied = 0;
    while copied < STEP {
        if !left.is_empty() {
            let written = write(sink, left)?;
            left.drain(..written);
            if !left.is_empty() {
                return Ok(Progress::Sink);
            }
            // An idle terminal keeps no buffer.
            *left = Vec::new();
        }
        let count = match rustix::io::read(source, &mut buffer) {
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => return Ok(Progress::Source),
            // A terminal ends so when its last other end is closed.
            Err(_) => 0,
        };
        if count == 0 {
            return Ok(Progress::Done);
        }
        copied += count;
        let written = write(sink, &buffer[..count])?;
        left.extend_from_slice(&buffer[written..count]);
    }
    Ok(Progress::More)
}

/// Writes until the sink is full, and says how much that was.
fn write(sink: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, SinkGone> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::write(sink, &bytes[written..]) {
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(_) => return Err(SinkGone),
        }
    }
    Ok(written)
}

fn drain(source: BorrowedFd<'_>) -> Progress {
    let mut buffer = [0; CHUNK];
    for _ in 0..STEP / CHUNK {
        match rustix::io::read(source, &mut buffer) {
            Ok(0) => return Progress::Done,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Progress::Source,
            Err(_) => return Progress::Done,
        }
    }
    Progress::More
}
