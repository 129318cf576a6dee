//! Copying between the command's standard streams and the container's.
//!
//! The container never gets the command's own streams in the foreground, because a process inside could otherwise reopen what the caller
//! holds; `/dev/null`, which gives nothing away, is handed on as it is. A copy holds at most one buffer: while it is full nothing more is
//! read, so a slow reader slows the container down, and while there is nothing to do the command sleeps in poll(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// What one read takes.
const BUFFER: usize = 16 * 1024;

/// What one write into something that may block gives: after POLLOUT a pipe takes PIPE_BUF bytes at once (pipe(7)). Our ends of the
/// caller's streams must stay blocking, because O_NONBLOCK would be shared with whoever else holds them.
const PIPE_BUF: usize = 4096;

/// The device number of `/dev/null` (Documentation/admin-guide/devices.txt).
const NULL_DEVICE: (u32, u32) = (1, 3);

/// One end of a copy.
#[derive(Debug)]
pub enum End {
    /// Ours; closed when the copy ends, so that the container notices.
    Own(OwnedFd),
    /// Standard input, output or error of the command.
    Standard(BorrowedFd<'static>),
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            End::Own(fd) => fd.as_fd(),
            End::Standard(fd) => fd.as_fd(),
        }
    }
}

/// What a copy waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The buffer is empty.
    Reading,
    /// These bytes of the buffer are not written yet.
    Writing { from: usize, to: usize },
    /// The end of the file came, or one side is gone.
    Done,
}

/// One direction.
#[derive(Debug)]
pub struct Copy {
    /// `None` once done: dropping the ends is what tells the container.
    ends: Option<(End, End)>,
    buffer: Vec<u8>,
    /// What one write may give.
    at_once: usize,
    state: State,
}

impl Copy {
    /// A copy of everything that comes out of `source` into `sink`, a pipe or a terminal.
    pub fn new(source: End, sink: End) -> Copy {
        Copy::at_once(source, sink, PIPE_BUF)
    }

    /// The same into a file of this kind.
    fn into_file(source: End, sink: End, kind: &rustix::fs::Stat) -> Copy {
        let regular = FileType::from_raw_mode(kind.st_mode) == FileType::RegularFile;
        Copy::at_once(source, sink, if regular { BUFFER } else { PIPE_BUF })
    }

    fn at_once(source: End, sink: End, at_once: usize) -> Copy {
        Copy {
            ends: Some((source, sink)),
            buffer: Vec::new(),
            at_once,
            state: State::Reading,
        }
    }

    /// Nothing is left to copy.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Stops, whatever is left.
    pub fn stop(&mut self) {
        self.state = State::Done;
        self.ends = None;
    }

    /// What to wait for: the source or the sink, and always the loss of the sink (poll reports POLLERR unasked).
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let (read, write) = match self.state {
            State::Reading => (PollFlags::IN, PollFlags::empty()),
            State::Writing { .. } => (PollFlags::empty(), PollFlags::OUT),
            State::Done => (PollFlags::empty(), PollFlags::empty()),
        };
        let source = self
            .ends
            .as_ref()
            .filter(|_| !read.is_empty())
            .map(|(source, _)| PollFd::from_borrowed_fd(source.as_fd(), read));
        let sink = self
            .ends
            .as_ref()
            .map(|(_, sink)| PollFd::from_borrowed_fd(sink.as_fd(), write));
        source.into_iter().chain(sink)
    }

    /// Does what `ready`, the answer to [`Copy::poll_fds`], allows without blocking.
    pub fn advance(&mut self, mut ready: impl Iterator<Item = PollFlags>) {
        let Some((source, sink)) = &self.ends else {
            return;
        };
        let lost = PollFlags::ERR | PollFlags::NVAL;
        let next = match self.state {
            State::Reading => {
                let (from_source, from_sink) = (
                    ready.next().unwrap_or(PollFlags::empty()),
                    ready.next().unwrap_or(PollFlags::empty()),
                );
                if from_sink.intersects(lost) {
                    State::Done
                } else if from_source.is_empty() {
                    State::Reading
                } else {
                    self.buffer.resize(BUFFER, 0);
                    read(source, &mut self.buffer)
                }
            }
            State::Writing { from, to } => match ready.next() {
                Some(flags) if flags.intersects(lost) => State::Done,
                Some(flags) if flags.contains(PollFlags::OUT) => {
                    write(sink, &self.buffer, from, to.min(from + self.at_once), to)
                }
                _ => self.state,
            },
            State::Done => State::Done,
        };
        match next {
            State::Done => self.stop(),
            next => self.state = next,
        }
    }
}

fn read(source: &End, buffer: &mut [u8]) -> State {
    match rustix::io::read(source, buffer) {
        // EIO: the last holder of a terminal's other side is gone (pty(7)); any other error ends the stream as well.
        Ok(0) => State::Done,
        Ok(count) => State::Writing { from: 0, to: count },
        Err(Errno::INTR | Errno::AGAIN) => State::Reading,
        Err(_) => State::Done,
    }
}

fn write(sink: &End, buffer: &[u8], from: usize, until: usize, to: usize) -> State {
    match rustix::io::write(sink, &buffer[from..until]) {
        Ok(count) if from + count == to => State::Reading,
        Ok(count) => State::Writing {
            from: from + count,
            to,
        },
        Err(Errno::INTR | Errno::AGAIN) => State::Writing { from, to },
        Err(_) => State::Done,
    }
}

/// The three standard streams of a process in the foreground.
#[derive(Debug)]
pub struct Streams {
    /// What the process gets; `None` for the command's own.
    pub given: [Option<OwnedFd>; 3],
    /// Into the process; taken away when it has ended.
    pub input: Option<Copy>,
    /// Out of the process; drained to the end of the file.
    pub outputs: Vec<Copy>,
}

impl Streams {
    /// Pipes for each standard stream of the command that is not `/dev/null`.
    pub fn pipes() -> Result<Streams, Errno> {
        let mut streams = Streams {
            given: [None, None, None],
            input: None,
            outputs: Vec::new(),
        };
        let standard = [
            rustix::stdio::stdin(),
            rustix::stdio::stdout(),
            rustix::stdio::stderr(),
        ];
        for (number, fd) in standard.into_iter().enumerate() {
            let kind = rustix::fs::fstat(fd)?;
            if is_null_device(&kind) {
                continue;
            }
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
            if number == 0 {
                streams.given[number] = Some(reader);
                streams.input = Some(Copy::new(End::Standard(fd), End::Own(writer)));
            } else {
                streams.given[number] = Some(writer);
                streams
                    .outputs
                    .push(Copy::into_file(End::Own(reader), End::Standard(fd), &kind));
            }
        }
        Ok(streams)
    }

    /// The two directions of a terminal, whose master end is `master`.
    pub fn terminal(master: OwnedFd) -> Result<Streams, Errno> {
        let second = rustix::io::fcntl_dupfd_cloexec(&master, 3)?;
        Ok(Streams {
            given: [None, None, None],
            input: Some(Copy::new(
                End::Standard(rustix::stdio::stdin()),
                End::Own(second),
            )),
            outputs: vec![Copy::new(
                End::Own(master),
                End::Standard(rustix::stdio::stdout()),
            )],
        })
    }

    /// Every copy, the input first.
    pub fn copies(&mut self) -> impl Iterator<Item = &mut Copy> {
        self.input.iter_mut().chain(&mut self.outputs)
    }
}

fn is_null_device(stat: &Stat) -> bool {
    let device = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && device == NULL_DEVICE
}

#[cfg(test)]
mod tests {
    use rustix::event::{Timespec, poll};

    use super::*;

    /// Runs the copy until it sleeps, and says how often poll(2) woke it.
    fn settle(copy: &mut Copy) -> usize {
        let mut wakeups = 0;
        loop {
            let mut fds: Vec<PollFd<'_>> = copy.poll_fds().collect();
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            if fds.is_empty() || poll(&mut fds, Some(&timeout)).expect("poll") == 0 {
                return wakeups;
            }
            let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            drop(fds);
            copy.advance(ready.into_iter());
            wakeups += 1;
            assert!(wakeups < 100_000, "a busy loop");
        }
    }

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("pipe")
    }

    fn fill(writer: &OwnedFd) -> usize {
        let mut total = 0;
        while let Ok(count) = rustix::io::write(writer, &[b'x'; 4096]) {
            total += count;
        }
        total
    }

    fn drain(reader: &OwnedFd) -> usize {
        let (mut total, mut buffer) = (0, [0; 65536]);
        while let Ok(count @ 1..) = rustix::io::read(reader, &mut buffer) {
            total += count;
        }
        total
    }

    #[test]
    fn a_full_sink_stops_the_reading_and_nothing_is_lost() {
        let ((source_reader, source_writer), (sink_reader, sink_writer)) = (pipe(), pipe());
        let mut copy = Copy::new(End::Own(source_reader), End::Own(sink_writer));
        let (mut sent, mut received) = (0, 0);
        for _ in 0..20 {
            let mut held = 0;
            loop {
                let more = fill(&source_writer);
                settle(&mut copy);
                held += more;
                assert!(
                    held <= 2 * 65536 + BUFFER,
                    "still reading although nobody takes the bytes"
                );
                if more == 0 {
                    break;
                }
            }
            sent += held;
            received += drain(&sink_reader);
            settle(&mut copy);
            received += drain(&sink_reader);
        }
        drop(source_writer);
        while !copy.is_done() {
            settle(&mut copy);
            received += drain(&sink_reader);
        }
        assert_eq!(received, sent);
    }

    #[test]
    fn the_end_of_the_source_closes_the_sink() {
        let ((source_reader, source_writer), (sink_reader, sink_writer)) = (pipe(), pipe());
        let mut copy = Copy::new(End::Own(source_reader), End::Own(sink_writer));
        rustix::io::write(&source_writer, b"last").expect("write");
        drop(source_writer);
        settle(&mut copy);
        assert!(copy.is_done());
        let mut buffer = [0; 8];
        assert_eq!(rustix::io::read(&sink_reader, &mut buffer), Ok(4));
        assert_eq!(
            rustix::io::read(&sink_reader, &mut buffer),
            Ok(0),
            "the end of the file"
        );
    }

    #[test]
    fn a_lost_sink_ends_an_idle_copy() {
        let ((source_reader, source_writer), (sink_reader, sink_writer)) = (pipe(), pipe());
        let mut copy = Copy::new(End::Own(source_reader), End::Own(sink_writer));
        settle(&mut copy);
        drop(sink_reader);
        settle(&mut copy);
        assert!(copy.is_done());
        assert_eq!(
            rustix::io::write(&source_writer, b"x"),
            Err(Errno::PIPE),
            "the writer hears of it"
        );
    }

    #[test]
    fn only_the_null_device_is_the_null_device() {
        let stat = |path: &str| rustix::fs::stat(path).expect(path);
        assert!(is_null_device(&stat("/dev/null")));
        assert!(!is_null_device(&stat("/dev/zero")));
        assert!(!is_null_device(&stat("/dev")));
    }
}
