//! The far ends of the sockets that a runtime is told of: the console socket, the pidfd socket, systemd's notify socket.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::case::Failure;

/// A listening socket to which a runtime sends one message with descriptors.
#[derive(Debug)]
pub struct FdSocket {
    listener: UnixListener,
    /// Where it listens.
    pub path: PathBuf,
}

/// What came: the payload and the descriptors.
#[derive(Debug)]
pub struct FdMessage {
    /// The bytes beside the descriptors.
    pub payload: String,
    /// The descriptors.
    pub fds: Vec<OwnedFd>,
}

impl FdSocket {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> Result<FdSocket, Failure> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(FdSocket {
            listener,
            path: path.to_owned(),
        })
    }

    /// Takes one connection and one message, within ten seconds.
    pub fn receive(&self) -> Result<FdMessage, Failure> {
        let until = Instant::now() + crate::place::patience(Duration::from_secs(10));
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1))
                }
                Err(e) => {
                    return Err(Failure::new(format!(
                        "nobody connected to {}: {e}",
                        self.path.display()
                    )));
                }
            }
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(crate::place::patience(Duration::from_secs(10))))?;
        let mut bytes = [0u8; 4096];
        let mut space = nix::cmsg_space!([i32; 8]);
        let (length, raw) = {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let message = recvmsg::<()>(
                stream.as_raw_fd(),
                &mut parts,
                Some(&mut space),
                MsgFlags::MSG_CMSG_CLOEXEC,
            )?;
            let mut raw = Vec::new();
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(fds) = control {
                    raw.extend(fds);
                }
            }
            (message.bytes, raw)
        };
        let fds = raw.into_iter().map(crate::sys::own).collect();
        Ok(FdMessage {
            payload: String::from_utf8_lossy(&bytes[..length]).into_owned(),
            fds,
        })
    }
}

/// systemd's side of `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    /// What `NOTIFY_SOCKET` has to say.
    pub path: PathBuf,
}

impl NotifySocket {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> Result<NotifySocket, Failure> {
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(crate::place::patience(Duration::from_secs(10))))?;
        Ok(NotifySocket {
            socket,
            path: path.to_owned(),
        })
    }

    /// The next datagram, within ten seconds.
    pub fn receive(&self) -> Result<String, Failure> {
        let mut bytes = [0u8; 4096];
        let length = self.socket.recv(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }
}
