//! The stdin, stdout and stderr of a process, as a client of containerd asks for them: fifos, log files, logging programs, a terminal.
//!
//! [`open`] makes what the process gets as descriptors 0 to 2 and opens what the client named; [`Streams::into_pumps`], once the process
//! is there, gives what copies between the two. Nothing here knows the event loop: a [`Pump`] says what it waits for. A client may go and
//! come back: both ends of its fifos are held, so a dead reader means that a pump waits, and nothing else.
//!
//! Source: containerd, docs of the shim's io and cmd/containerd-shim-runc-v2 for its behaviour.

mod error;
mod file;
mod logger;
mod open;
mod pump;
mod uri;

#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

pub use error::{Error, Field};
pub use logger::{Logger, WORD as LOGGER_WORD, become_logger};
pub use open::open;
pub use pump::{Direction, Progress, Pump};

/// Of a `CreateTaskRequest` or `ExecProcessRequest`, what concerns stdio. A path that is not absolute is meant below the bundle.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub stdin: &'a str,
    pub stdout: &'a str,
    pub stderr: &'a str,
    pub terminal: bool,
    /// Who may open `/dev/stdout` again, inside the container.
    pub io_uid: u32,
    pub io_gid: u32,
    pub container: &'a str,
    pub namespace: &'a str,
    pub bundle: &'a Path,
}

/// What was opened for a process that is still to be made.
#[derive(Debug)]
pub struct Opened {
    /// The process's descriptors 0 to 2; None with a terminal. Close them when the process has them, or no stream will ever end.
    pub fds: [Option<OwnedFd>; 3],
    pub streams: Streams,
}

/// The other ends. Dropping them closes everything and ends a logging program.
#[derive(Debug)]
pub struct Streams {
    terminal: bool,
    input: Option<Input>,
    outputs: Vec<Output>,
    logger: Option<Logger>,
}

/// A fifo to read from.
#[derive(Debug)]
struct Input {
    fifo: OwnedFd,
    keeper: StdinKeeper,
    /// To the process; a terminal's master is that itself.
    pipe: Option<OwnedFd>,
}

#[derive(Debug)]
struct Output {
    /// From the process; a terminal's master is that itself.
    pipe: Option<OwnedFd>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    /// A fifo, non-blocking, both of whose ends are in this one descriptor; or the pipe of a logging program.
    Pipe(OwnedFd),
    /// Something that may block.
    File(OwnedFd),
    /// Nobody wants what a terminal gives, and it has to be read all the same: or the process would stop.
    Nothing,
}

/// Holds the client's stdin fifo open for writing, so that a client that goes away is not the end of stdin. Drop it for `CloseIO`.
#[derive(Debug)]
pub struct StdinKeeper {
    _writer: OwnedFd,
}

/// The streams of a process that is there.
#[derive(Debug)]
pub struct Running {
    /// At most three.
    pub pumps: Vec<Pump>,
    pub stdin: Option<StdinKeeper>,
    /// For its size. When the input pump of a terminal is done, the client closed stdin and went for good: containerd's shim hangs up
    /// then, which is to drop this and the output pump.
    pub terminal: Option<OwnedFd>,
    pub logger: Option<Logger>,
}

impl Streams {
    /// What copies, now that the process was made; with a terminal, `terminal` is its master and becomes non-blocking.
    pub fn into_pumps(self, terminal: Option<OwnedFd>) -> Result<Running, Error> {
        if self.terminal && terminal.is_none() {
            return Err(Error::NoTerminal);
        }
        let terminal = terminal.filter(|_| self.terminal);
        if let Some(master) = &terminal {
            set_nonblocking(master).map_err(call(Field::Stdin, "fcntl(F_SETFL)"))?;
        }
        let master = |field| match &terminal {
            Some(master) => master
                .try_clone()
                .map_err(|error| call(field, "fcntl(F_DUPFD)")(errno(&error))),
            None => Err(Error::NoTerminal),
        };
        let mut pumps = Vec::with_capacity(3);
        let mut stdin = None;
        if let Some(Input { fifo, keeper, pipe }) = self.input {
            stdin = Some(keeper);
            pumps.push(match pipe {
                Some(pipe) => Pump::splice(fifo, pipe, Direction::Input),
                None => Pump::copy(fifo, master(Field::Stdin)?, Direction::Input),
            });
        }
        for Output { pipe, sink } in self.outputs {
            let (from_pipe, source) = match pipe {
                Some(pipe) => (true, pipe),
                None => (false, master(Field::Stdout)?),
            };
            pumps.push(match sink {
                Sink::Pipe(sink) if from_pipe => Pump::splice(source, sink, Direction::Output),
                Sink::Pipe(sink) => Pump::copy(source, sink, Direction::Output),
                Sink::File(file) => Pump::elsewhere(file::copy_in_thread(source, file)?),
                Sink::Nothing => Pump::discard(source),
            });
        }
        Ok(Running {
            pumps,
            stdin,
            terminal,
            logger: self.logger,
        })
    }
}

fn set_nonblocking(fd: &OwnedFd) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
}

fn call(field: Field, call: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Call { field, call, errno }
}

/// The standard library's errors of system calls.
fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
