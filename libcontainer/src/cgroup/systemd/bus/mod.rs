//! A D-Bus client for one conversation with systemd: connect, authenticate, call, and wait for a signal.
//!
//! Every read and every write ends at the connection's deadline, whatever the other end does or leaves undone; so does connecting. What it
//! sends is checked ([`wire`]) and bounded. Nothing here starts a thread, touches a signal or leaves an fd behind.

mod address;
mod message;
mod value;
mod wire;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};

use crate::error::{self, Refused};
use crate::kernel_file::retry;

pub use address::{Address, parse as parse_addresses};
pub use message::{Argument, Call, Kind, Message};
pub use value::Value;
pub use wire::Malformed;

/// How much is read at once.
const CHUNK: usize = 4096;
/// The longest line of the authentication (dbus-specification.html "Authentication Protocol" sets no limit, libdbus takes 16 kB).
const LINE_MAX: usize = 1024;
/// How long to wait before connecting again to a socket whose queue is full.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);
/// More signals than this between a call and its answer are not kept.
const KEPT_MAX: usize = 64;

/// Why a conversation came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{address}: no answer in time")]
    Silent { address: Address },
    #[error("{address}: the connection was closed")]
    Closed { address: Address },
    #[error("{address}: not let in: {answer}")]
    Rejected { address: Address, answer: String },
    #[error("{address}: {reason}")]
    Malformed { address: Address, reason: Malformed },
    #[error("there is no address to connect to")]
    NoAddress,
    /// The error that a method answered with.
    #[error("{text} ({name})")]
    Answered { name: String, text: String },
}

impl BusError {
    /// Whether a method answered with the error of this name.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, BusError::Answered { name, .. } if name == wanted)
    }
}

/// One connection, and the moment at which all waiting on it ends.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    address: Address,
    deadline: Instant,
    serial: u32,
    /// What came in and was not looked at yet.
    input: Vec<u8>,
    /// Signals that came while an answer was awaited.
    kept: Vec<Message>,
}

impl Connection {
    /// Connects and authenticates, as the user that the kernel says we are.
    pub fn open(address: &Address, deadline: Instant) -> Result<Connection, BusError> {
        let mut connection = Connection {
            socket: connect_to(address, deadline)?,
            address: address.clone(),
            deadline,
            serial: 0,
            input: Vec::new(),
            kept: Vec::new(),
        };
        connection.authenticate()?;
        Ok(connection)
    }

    /// EXTERNAL without a name: the other end takes the credentials of the socket. So it works from inside a user namespace too, where our
    /// own uid means nothing outside.
    fn authenticate(&mut self) -> Result<(), BusError> {
        self.write(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        // An end older than systemd 246 says OK to the first line already, and again to the second.
        for accepted in [["DATA", "OK "], ["OK ", "OK "]] {
            let answer = self.line()?;
            if !accepted.iter().any(|word| answer.starts_with(word)) {
                let address = self.address.clone();
                return Err(BusError::Rejected { address, answer });
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String, BusError> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.input[..end]).into_owned();
                self.input.drain(..end + 2);
                return Ok(line);
            }
            if self.input.len() > LINE_MAX {
                return Err(self.malformed(Malformed("the answer to AUTH is too long")));
            }
            self.read()?;
        }
    }

    /// Calls a method and waits for its answer, if one is wanted; otherwise the answer is empty.
    pub fn call(&mut self, call: &Call<'_>) -> Result<Option<Message>, BusError> {
        self.serial += 1;
        let serial = self.serial;
        let bytes = call.encode(serial).map_err(|wrong| self.malformed(wrong))?;
        self.write(&bytes)?;
        if !call.answered {
            return Ok(None);
        }
        loop {
            let message = self.receive()?;
            let is_answer = message.reply_serial == Some(serial);
            match message.kind {
                Kind::Return if is_answer => return Ok(Some(message)),
                Kind::Error if is_answer => {
                    return Err(BusError::Answered {
                        text: message.error_text(),
                        name: message.error_name.unwrap_or_default(),
                    });
                }
                Kind::Signal if self.kept.len() < KEPT_MAX => self.kept.push(message),
                _ => {}
            }
        }
    }

    /// The next signal, those that came during a call first.
    pub fn signal(&mut self) -> Result<Message, BusError> {
        if !self.kept.is_empty() {
            return Ok(self.kept.remove(0));
        }
        loop {
            let message = self.receive()?;
            if message.kind == Kind::Signal {
                return Ok(message);
            }
        }
    }

    fn receive(&mut self) -> Result<Message, BusError> {
        let length = loop {
            if let Some(head) = self.input.first_chunk::<{ message::HEAD }>() {
                break message::length(head).map_err(|wrong| self.malformed(wrong))?;
            }
            self.read()?;
        };
        while self.input.len() < length {
            self.read()?;
        }
        let message = Message::decode(&self.input[..length]).map_err(|wrong| self.malformed(wrong));
        self.input.drain(..length);
        message
    }

    /// An answer of another shape than the method has.
    pub fn malformed(&self, reason: Malformed) -> BusError {
        BusError::Malformed {
            address: self.address.clone(),
            reason,
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), BusError> {
        while !bytes.is_empty() {
            match retry(|| send(&self.socket, bytes, SendFlags::NOSIGNAL)) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(errno) => return Err(self.broken("send", errno)),
            }
        }
        Ok(())
    }

    /// Adds at least one byte to the input. An end that sends without pause is cut off at the deadline as well.
    fn read(&mut self) -> Result<(), BusError> {
        let mut chunk = [0; CHUNK];
        loop {
            if Instant::now() >= self.deadline {
                return Err(self.silent());
            }
            match retry(|| recv(&self.socket, &mut chunk[..], RecvFlags::empty())) {
                Ok((_, 0)) => return Err(self.broken("recv", Errno::PIPE)),
                Ok((_, length)) => {
                    self.input.extend_from_slice(&chunk[..length]);
                    return Ok(());
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(errno) => return Err(self.broken("recv", errno)),
            }
        }
    }

    fn wait(&self, events: PollFlags) -> Result<(), BusError> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.silent());
            }
            let timeout = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.socket, events)], Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(self.broken("poll", errno)),
            }
        }
    }

    fn silent(&self) -> BusError {
        BusError::Silent {
            address: self.address.clone(),
        }
    }

    fn broken(&self, call: &str, errno: Errno) -> BusError {
        match errno {
            Errno::PIPE | Errno::CONNRESET => BusError::Closed {
                address: self.address.clone(),
            },
            errno => refused(call, &self.address, errno).into(),
        }
    }
}

fn refused(call: &str, address: &Address, errno: impl Into<error::Errno>) -> Refused {
    match address {
        Address::Path(path) => Refused::new(call, path, errno),
        Address::Abstract(name) => Refused::call(format!("{call}(unix:abstract={name})"), errno),
    }
}

/// A socket connected to `address`. Whoever listens and does not accept keeps nobody past the deadline.
fn connect_to(address: &Address, deadline: Instant) -> Result<OwnedFd, BusError> {
    let failed = |call: &'static str| move |errno: Errno| refused(call, address, errno);
    let place = match address {
        Address::Path(path) => SocketAddrUnix::new(path),
        Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
    };
    let place = place.map_err(failed("connect"))?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(failed("socket(AF_UNIX)"))?;
    loop {
        match retry(|| connect(&socket, &place)) {
            Ok(()) => return Ok(socket),
            // The queue is full, and poll(2) does not tell when it no longer is (unix(7)).
            Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(BACKLOG_PAUSE),
            Err(Errno::AGAIN) => {
                return Err(BusError::Silent {
                    address: address.clone(),
                });
            }
            Err(errno) => return Err(failed("connect")(errno).into()),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
