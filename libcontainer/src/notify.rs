//! Readiness of a container's program, passed on to the host's service manager (sd_notify(3)).
//!
//! The container writes to a socket of its own; all that ever leaves it is the fact of `READY=1`. What we tell the host is in our words:
//! a container cannot name another main process, store fds or set a watchdog of the unit it runs in.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, chmodat, unlinkat};
use rustix::io::{Errno, read};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, recvmsg, sendmsg,
    socket_with,
};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::{Error, ErrorKind, Refused};
use crate::handover;
use crate::kernel_file::retry;

/// The socket's place below the state directory; the container sees the directory as /run/notify.
const SOCKET: &str = "notify/notify.sock";
/// How long a service manager may take to read what we sent: it then does not know the protocol, as runc concludes.
const BARRIER_WAIT: Duration = Duration::from_secs(30);
/// How long its queue may be full.
const SEND_WAIT: Duration = Duration::from_secs(5);

/// Waits for a container's program to be ready, and tells the host.
///
/// Either block in [`NotifyProxy::wait`], or poll [`NotifyProxy::fd`] beside other things and call [`NotifyProxy::handle`] when it is
/// readable. Dropped, it tells nothing more.
#[derive(Debug)]
pub struct NotifyProxy {
    stage: Stage,
    host: PathBuf,
    main_pid: i32,
    /// Init's; `None` when it was gone already.
    init: Option<OwnedFd>,
}

#[derive(Debug)]
enum Stage {
    /// Bound in the state directory.
    Listening(OwnedFd),
    /// At its end when the host has read everything before the barrier.
    Barrier(OwnedFd, Instant),
    Done(OwnedFd),
}

/// The container's socket in its state directory, open to any user of the container.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

impl Listener {
    /// `state`: the container's state directory with `notify/` in it; `path`: the same, for messages.
    pub(crate) fn bind(state: impl AsFd, path: &Path) -> Result<Listener, Error> {
        let refused =
            |call: &'static str| move |errno| Refused::new(call, path.join(SOCKET), errno);
        let socket = datagram_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        match unlinkat(&state, SOCKET, AtFlags::empty()) {
            // Of a start that did not come to its end.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(refused("unlink")(errno).into()),
        }
        // By way of the fd: a state root may be deeper than an address is long, and nothing can be swapped in between.
        let short = format!("/proc/self/fd/{}/{SOCKET}", state.as_fd().as_raw_fd());
        let address = SocketAddrUnix::new(short.as_str()).map_err(refused("bind"))?;
        bind(&socket, &address).map_err(refused("bind"))?;
        // Our umask, which is the host program's, has taken bits away.
        chmodat(&state, SOCKET, Mode::from_raw_mode(0o777), AtFlags::empty())
            .map_err(refused("chmod"))?;
        Ok(Listener(socket))
    }

    /// `host`: the host's NOTIFY_SOCKET, a path or an abstract name after `@`.
    pub(crate) fn proxy(self, host: &Path, pid: i32, init: Option<OwnedFd>) -> NotifyProxy {
        NotifyProxy {
            stage: Stage::Listening(self.0),
            host: host.to_owned(),
            main_pid: pid,
            init,
        }
    }
}

impl NotifyProxy {
    /// The pid that the service manager is told to watch: the container's init, unless said otherwise here, as a command has to that stays
    /// in the foreground and cleans up after init.
    pub fn set_main_pid(&mut self, pid: i32) {
        self.main_pid = pid;
    }

    /// What to poll for reading. Another one after [`NotifyProxy::handle`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.stage {
            Stage::Listening(fd) | Stage::Barrier(fd, _) | Stage::Done(fd) => fd.as_fd(),
        }
    }

    /// Takes what has come, without waiting for more; true when there is nothing left to do, and then the proxy can be dropped. Blocks for
    /// at most 5 s, if the host's queue is full. Errors: Refused when the host's socket takes no message.
    pub fn handle(&mut self) -> Result<bool, Error> {
        match &self.stage {
            Stage::Listening(socket) => {
                if said_ready(socket)? {
                    let barrier = self.tell_host()?;
                    self.stage = Stage::Barrier(barrier, Instant::now() + BARRIER_WAIT);
                }
            }
            Stage::Barrier(pipe, deadline) => match retry(|| read(pipe, &mut [0; 1])) {
                Err(Errno::AGAIN) if Instant::now() < *deadline => {}
                _ => self.finish()?,
            },
            Stage::Done(_) => {}
        }
        Ok(matches!(self.stage, Stage::Done(_)))
    }

    /// Blocks until the program was ready and the host knows, or init has ended. As long as the program takes.
    /// Errors: as [`NotifyProxy::handle`].
    pub fn wait(mut self) -> Result<(), Error> {
        loop {
            if self.handle()? {
                return Ok(());
            }
            let (init, limit) = match &self.stage {
                Stage::Listening(_) => (self.init.as_ref(), None),
                Stage::Barrier(_, deadline) => (
                    None,
                    Some(deadline.saturating_duration_since(Instant::now())),
                ),
                Stage::Done(_) => return Ok(()),
            };
            let limit = limit.map(|limit| Timespec {
                tv_sec: limit.as_secs().cast_signed(),
                tv_nsec: limit.subsec_nanos().into(),
            });
            let mut fds = vec![PollFd::from_borrowed_fd(self.fd(), PollFlags::IN)];
            fds.extend(init.map(|init| PollFd::new(init, PollFlags::IN)));
            retry(|| poll(&mut fds, limit.as_ref()))
                .map_err(|errno| Refused::call("poll(notify socket)", errno))?;
            // What it said last still counts, so its end is looked at only when there is no message.
            let ended = fds.get(1).is_some_and(|init| !init.revents().is_empty());
            if ended && fds[0].revents().is_empty() {
                return Ok(());
            }
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        // Readable at once and for ever, so that no caller waits for more.
        let (ended, _) = pipe()?;
        self.stage = Stage::Done(ended);
        Ok(())
    }

    /// Sends the news, and a barrier: an fd that the host closes when it has read all before it. Returns the other end.
    fn tell_host(&self) -> Result<OwnedFd, Error> {
        let refused =
            |call: &'static str| move |errno| Error::from(Refused::new(call, &self.host, errno));
        let socket = datagram_socket(SocketFlags::CLOEXEC)?;
        set_socket_timeout(&socket, Timeout::Send, Some(SEND_WAIT))
            .map_err(refused("setsockopt(SO_SNDTIMEO)"))?;
        let name = self.host.as_os_str().as_bytes();
        match name.first() {
            Some(b'@') => {
                let address = SocketAddrUnix::new_abstract_name(&name[1..]);
                let address = address.map_err(refused("connect"))?;
                connect(&socket, &address).map_err(refused("connect"))?;
            }
            Some(b'/') => handover::connect_to(&socket, &self.host)?,
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "NOTIFY_SOCKET {}: neither an absolute path nor an abstract name after @",
                        self.host.display()
                    ),
                ));
            }
        }
        let send = |text: &str, fd: Option<BorrowedFd<'_>>| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if fd.is_some() {
                ancillary.push(SendAncillaryMessage::ScmRights(fd.as_slice()));
            }
            let bytes = [IoSlice::new(text.as_bytes())];
            retry(|| sendmsg(&socket, &bytes, &mut ancillary, SendFlags::NOSIGNAL)).map(drop)
        };
        // READY and MAINPID in one message: there is no moment at which the unit is up with the wrong main process.
        let news = format!("READY=1\nMAINPID={}\n", self.main_pid);
        send(&news, None).map_err(refused("sendmsg(READY=1)"))?;
        let (ours, theirs) = pipe()?;
        send("BARRIER=1", Some(theirs.as_fd())).map_err(refused("sendmsg(BARRIER=1)"))?;
        Ok(ours)
    }
}

/// Reads what there is; true when `READY=1` was among it. Fds in a message are closed by the kernel, for want of room for them.
fn said_ready(socket: &OwnedFd) -> Result<bool, Error> {
    let mut bytes = [0; 4096];
    loop {
        let mut nowhere = RecvAncillaryBuffer::default();
        let mut buffer = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(socket, &mut buffer, &mut nowhere, RecvFlags::CMSG_CLOEXEC);
        match received {
            Ok(message) => {
                let text = &bytes[..message.bytes];
                if text
                    .split(|byte| *byte == b'\n')
                    .any(|line| line == b"READY=1")
                {
                    return Ok(true);
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(false),
            Err(errno) => return Err(Refused::call("recvmsg(notify socket)", errno).into()),
        }
    }
}

fn datagram_socket(flags: SocketFlags) -> Result<OwnedFd, Error> {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
        .map_err(|errno| Refused::call("socket(AF_UNIX, SOCK_DGRAM)", errno).into())
}

/// (reading end, writing end)
fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        .map_err(|errno| Refused::call("pipe2", errno).into())
}
