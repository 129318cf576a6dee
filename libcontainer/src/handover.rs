//! Fds that engines want from us over a socket of theirs: the terminal's master and pidfds (docs/compatibility.md "Sockets and
//! descriptors").
//!
//! One message: a payload that names what comes, and exactly one fd. go-runc and conmon check both.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};

use crate::error::{Error, Pointer, Refused};
use crate::request::Console;
use crate::state::write_pid_file;

/// How long the engine may take to accept.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a caller asked to be given of a process that is ready.
#[derive(Debug)]
pub struct Outputs<'a> {
    pub console: &'a Console,
    pub pidfd_socket: Option<&'a Path>,
    /// What runc calls the process there: `standard` (init) or `setns` (exec).
    pub pidfd_payload: &'a [u8],
    pub pid_file: Option<&'a Path>,
}

impl Outputs<'_> {
    /// Console and pidfd, then the pid file: whoever sees it may count on everything before it.
    pub fn give(
        &self,
        master: Option<BorrowedFd<'_>>,
        pidfd: BorrowedFd<'_>,
        pid: i32,
    ) -> Result<(), Error> {
        if let (Console::Socket(path), Some(master)) = (self.console, master) {
            send(path, &terminal_name(master)?, master, None)?;
        }
        if let Some(path) = self.pidfd_socket {
            send(path, self.pidfd_payload, pidfd, None)?;
        }
        match self.pid_file {
            Some(path) => write_pid_file(path, pid),
            None => Ok(()),
        }
    }
}

/// Sends `fd` with `payload` to the stream socket at `path`, which the input names at `at`.
pub fn send(
    path: &Path,
    payload: &[u8],
    fd: BorrowedFd<'_>,
    at: Option<&Pointer>,
) -> Result<(), Error> {
    send_to(path, payload, fd).map_err(|refused| match at {
        Some(at) => refused.at(at.clone()).into(),
        None => refused.into(),
    })
}

fn send_to(path: &Path, payload: &[u8], fd: BorrowedFd<'_>) -> Result<(), Refused> {
    let refused = |call: &'static str| move |errno| Refused::new(call, path, errno);
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(refused("socket(AF_UNIX)"))?;
    // Nobody may accept: with a full backlog connect(2) would wait for ever.
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))
        .map_err(refused("setsockopt(SO_SNDTIMEO)"))?;
    connect_to(&socket, path)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(
        socket.as_fd(),
        &[IoSlice::new(payload)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )
    .map_err(refused("sendmsg(SCM_RIGHTS)"))?;
    Ok(())
}

/// Connects to the socket at `path`, which may be longer than an address.
pub fn connect_to(socket: impl AsFd, path: &Path) -> Result<(), Refused> {
    let refused = |call: &'static str| move |errno| Refused::new(call, path, errno);
    let directory;
    let address = match SocketAddrUnix::new(path) {
        Ok(address) => address,
        // Longer than 107 bytes: by way of its directory's fd, as crun does.
        Err(_) => {
            directory = open_parent(path).map_err(refused("open"))?;
            let name = path.file_name().unwrap_or_default();
            let short = Path::new("/proc/self/fd")
                .join(rustix::fd::AsRawFd::as_raw_fd(&directory).to_string())
                .join(name);
            SocketAddrUnix::new(&short).map_err(refused("connect"))?
        }
    };
    connect(socket, &address).map_err(refused("connect"))
}

fn open_parent(path: &Path) -> rustix::io::Result<rustix::fd::OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let parent = path.parent().unwrap_or(Path::new("/"));
    openat(
        CWD,
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The name of the terminal whose master `fd` is, as the container sees it: `/dev/pts/0`.
fn terminal_name(master: BorrowedFd<'_>) -> Result<Vec<u8>, Error> {
    let name = rustix::pty::ptsname(master, Vec::new())
        .map_err(|errno| Refused::call("ioctl(TIOCGPTN)", errno))?;
    Ok(name.into_bytes())
}
