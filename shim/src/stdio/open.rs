//! Opens what a request names, and makes the pipes between that and the process. Nothing is opened before all three fields were read.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::error::{Error, Field};
use super::logger::Logger;
use super::uri::{self, Binary, Target};
use super::{
    Input, Opened, Output, Request, Sink, StdinKeeper, Streams, call, errno, set_nonblocking,
};

/// How long a client is waited for that has made a fifo and does not read it.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// Opens the streams of a process that is to be made. May wait a little: for a disk, for the client to open its end, and up to 30 s for a
/// logging program.
pub fn open(request: &Request<'_>) -> Result<Opened, Error> {
    open_within(request, READER_PATIENCE)
}

/// The same with another patience for clients.
pub(super) fn open_within(
    request: &Request<'_>,
    reader_patience: Duration,
) -> Result<Opened, Error> {
    let stdin = uri::parse(Field::Stdin, request.stdin)?;
    let stdout = uri::parse(Field::Stdout, request.stdout)?;
    let stderr = uri::parse(Field::Stderr, request.stderr)?;
    let mut opening = Opening {
        request,
        reader_patience,
        fds: [None, None, None],
        streams: Streams {
            terminal: request.terminal,
            input: None,
            outputs: Vec::new(),
            logger: None,
        },
    };
    opening.input(stdin)?;
    match stdout {
        // Of a logging program, containerd does not look at what stderr says.
        Target::Binary(binary) => opening.logger(&binary)?,
        stdout => {
            // One pipe for both keeps the lines of a common log in order.
            let common = stdout == stderr && stdout != Target::Null;
            opening.output(Field::Stdout, stdout)?;
            if common {
                let copy = opening.fds[1].as_ref().map(OwnedFd::try_clone).transpose();
                opening.fds[2] =
                    copy.map_err(|error| call(Field::Stderr, "fcntl(F_DUPFD)")(errno(&error)))?;
            } else {
                opening.output(Field::Stderr, stderr)?;
            }
        }
    }
    opening.finish()
}

struct Opening<'a> {
    request: &'a Request<'a>,
    reader_patience: Duration,
    fds: [Option<OwnedFd>; 3],
    streams: Streams,
}

impl Opening<'_> {
    fn input(&mut self, target: Target) -> Result<(), Error> {
        let field = Field::Stdin;
        let path = match target {
            Target::Null => return Ok(()),
            Target::Path(path) => self.request.bundle.join(path),
            Target::File(_) | Target::Binary(_) => {
                return Err(Error::Uri {
                    field,
                    value: self.request.stdin.to_owned(),
                    why: "a fifo is wanted",
                });
            }
        };
        let fifo = open_path(field, &path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        if !is_fifo(field, &fifo)? {
            return Err(Error::Uri {
                field,
                value: self.request.stdin.to_owned(),
                why: "is not a fifo",
            });
        }
        let keeper = StdinKeeper {
            _writer: open_path(field, &path, OFlags::WRONLY | OFlags::NONBLOCK)?,
        };
        let mut pipe = None;
        if !self.request.terminal {
            let (read, write) = self.pipe(field)?;
            set_nonblocking(&write).map_err(call(field, "fcntl(F_SETFL)"))?;
            self.fds[0] = Some(read);
            pipe = Some(write);
        }
        self.streams.input = Some(Input { fifo, keeper, pipe });
        Ok(())
    }

    fn output(&mut self, field: Field, target: Target) -> Result<(), Error> {
        // A terminal has one output.
        if self.request.terminal && field == Field::Stderr {
            return Ok(());
        }
        let sink = match target {
            Target::Null if self.request.terminal => Sink::Nothing,
            Target::Null => return Ok(()),
            Target::Path(path) => {
                let path = self.request.bundle.join(path);
                open_sink(field, &path, self.reader_patience)?
            }
            Target::File(path) => Sink::File(open_log(field, &path)?),
            Target::Binary(_) => {
                return Err(Error::Uri {
                    field,
                    value: self.request.stderr.to_owned(),
                    why: "a logging program is named in stdout, and has both",
                });
            }
        };
        let mut pipe = None;
        if !self.request.terminal {
            let (read, write) = self.pipe(field)?;
            set_nonblocking(&read).map_err(call(field, "fcntl(F_SETFL)"))?;
            self.fds[if field == Field::Stdout { 1 } else { 2 }] = Some(write);
            pipe = Some(read);
        }
        self.streams.outputs.push(Output { pipe, sink });
        Ok(())
    }

    /// The program reads the process's pipes itself, except with a terminal.
    fn logger(&mut self, binary: &Binary) -> Result<(), Error> {
        let (out, stdout) = self.pipe(Field::Stdout)?;
        let (err, stderr) = self.pipe(Field::Stderr)?;
        self.streams.logger = Some(Logger::spawn(
            binary,
            self.request.container,
            self.request.namespace,
            (out, err),
        )?);
        if self.request.terminal {
            set_nonblocking(&stdout).map_err(call(Field::Stdout, "fcntl(F_SETFL)"))?;
            self.streams.outputs.push(Output {
                pipe: None,
                sink: Sink::Pipe(stdout),
            });
        } else {
            self.fds[1] = Some(stdout);
            self.fds[2] = Some(stderr);
        }
        Ok(())
    }

    /// A pipe (its read end, its write end) that whoever is meant may open again through `/proc/self/fd`.
    fn pipe(&self, field: Field) -> Result<(OwnedFd, OwnedFd), Error> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(call(field, "pipe2"))?;
        let (uid, gid) = (self.request.io_uid, self.request.io_gid);
        if (uid, gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::fchown(&read, Some(uid), Some(gid)).map_err(call(field, "fchown"))?;
        }
        Ok((read, write))
    }

    fn finish(mut self) -> Result<Opened, Error> {
        if !self.request.terminal {
            for (fd, field) in self
                .fds
                .iter_mut()
                .zip([Field::Stdin, Field::Stdout, Field::Stderr])
            {
                if fd.is_none() {
                    *fd = Some(null(field)?);
                }
            }
        }
        Ok(Opened {
            fds: self.fds,
            streams: self.streams,
        })
    }
}

fn open_path(field: Field, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty()).map_err(at(field, "open", path))
}

fn null(field: Field) -> Result<OwnedFd, Error> {
    open_path(field, Path::new("/dev/null"), OFlags::RDWR)
}

fn is_fifo(field: Field, fd: &OwnedFd) -> Result<bool, Error> {
    let stat = rustix::fs::fstat(fd).map_err(call(field, "fstat"))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// A fifo, with both ends in one descriptor (Linux's meaning of O_RDWR, fifo(7)): its reader may come, go and come back. Whatever else is
/// there is a file.
fn open_sink(field: Field, path: &Path, reader_patience: Duration) -> Result<Sink, Error> {
    let stat = rustix::fs::stat(path).map_err(at(field, "stat", path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
        return Ok(Sink::File(open_path(
            field,
            path,
            OFlags::WRONLY | OFlags::APPEND,
        )?));
    }
    // Held until both ends are ours: with the last writer an open that waits for one would begin to wait anew.
    let _writer = await_reader(field, path, reader_patience)?;
    let fifo = open_path(field, path, OFlags::RDWR | OFlags::NONBLOCK)?;
    // Its path may have become something else in between.
    if !is_fifo(field, &fifo)? {
        return Ok(Sink::File(fifo));
    }
    Ok(Sink::Pipe(fifo))
}

/// Waits until the client has its end open, and gives an end for writing. containerd's clients open theirs on a thread of its own, while
/// they ask for the process: were the process to end before that thread came to it, what it wrote would be gone with our ends.
/// A client that never comes is not waited for for ever: None.
fn await_reader(field: Field, path: &Path, patience: Duration) -> Result<Option<OwnedFd>, Error> {
    const LONGEST_PAUSE: Duration = Duration::from_millis(20);
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let until = Instant::now() + patience;
    let mut pause = Duration::from_micros(250);
    loop {
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(writer) => return Ok(Some(writer)),
            Err(Errno::NXIO) if Instant::now() >= until => return Ok(None),
            Err(Errno::NXIO) => std::thread::sleep(pause),
            Err(errno) => return Err(at(field, "open", path)(errno)),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn open_log(field: Field, path: &Path) -> Result<OwnedFd, Error> {
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(|error| at(field, "mkdir", parent)(errno(&error)))?;
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)).map_err(at(field, "open", path))
}

fn at(field: Field, call: &'static str, path: &Path) -> impl Fn(Errno) -> Error {
    let path = PathBuf::from(path);
    move |errno| Error::Path {
        field,
        call,
        path: path.clone(),
        errno,
    }
}
