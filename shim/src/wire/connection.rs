//! A socket, what came of a frame that is not whole yet, and what the peer has not read yet.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use protobuf::Message;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use ttrpc::proto::{
    Code, MESSAGE_HEADER_LENGTH, MESSAGE_LENGTH_MAX, MESSAGE_TYPE_DATA, MESSAGE_TYPE_REQUEST,
    MESSAGE_TYPE_RESPONSE, MessageHeader, Request, Response,
};

use super::frame::too_long;
use super::{Closed, Frame, refusal};

/// Bytes that may wait for a peer to read them. More than any client leaves that reads at all: four of the longest messages.
pub const UNREAD_MAX: usize = 16 << 20;

/// Bytes of one recv(2): most calls fit, and a buffer on the stack costs nothing.
const CHUNK: usize = 16 << 10;

/// How often [`Connection::read`] asks for more before the others get their turn.
const CHUNKS: usize = 16;

/// Sent bytes are dropped from the front of the queue when that many have come together.
const SENT_MAX: usize = 256 << 10;

/// One client of ours, or us as the client of another. Watch [`Connection::fd`] level-triggered: a call may leave bytes for the next.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// The start of a frame, shorter than the frame.
    partial: Vec<u8>,
    /// A frame that is too long, and how much of it is still to come.
    skipping: Option<(MessageHeader, usize)>,
    /// The last stream that the peer opened.
    last_stream: u32,
    outgoing: Vec<u8>,
    /// Of `outgoing`, what the kernel has.
    sent: usize,
    closed: Option<Closed>,
}

impl Connection {
    /// On a connected stream socket. It may block otherwise: every call here is told not to.
    pub fn new(socket: OwnedFd) -> Connection {
        Connection {
            socket,
            partial: Vec::new(),
            skipping: None,
            last_stream: 0,
            outgoing: Vec::new(),
            sent: 0,
            closed: None,
        }
    }

    /// To be waited for: readable always, writable while [`Connection::wants_write`]. It becomes readable when the connection ends, for
    /// whatever reason.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The frames that have come whole, perhaps none. Never blocks.
    ///
    /// Errors: the end of the connection, once all that came before it was taken.
    pub fn read(&mut self) -> Result<Vec<Frame>, Closed> {
        let mut frames = Vec::new();
        let mut chunk = [0; CHUNK];
        for _ in 0..CHUNKS {
            if self.closed.is_some() {
                break;
            }
            match rustix::net::recv(&self.socket, &mut chunk, RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(Errno::CONNRESET) => self.close(Closed::Peer),
                Ok((length, _)) => {
                    self.take(&chunk[..length], &mut frames);
                    if length < CHUNK {
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => self.close(Closed::Failed(errno)),
            }
        }
        match self.closed {
            Some(closed) if frames.is_empty() => Err(closed),
            _ => Ok(frames),
        }
    }

    /// Sends a frame, or as much as the peer takes now; the rest goes with [`Connection::flush`]. On a connection that has ended it is
    /// lost, and [`Connection::read`] says so.
    pub fn queue(&mut self, frame: Frame) {
        if self.closed.is_some() {
            return;
        }
        let bytes = match frame.encode() {
            Ok(bytes) => bytes,
            Err(closed) => return self.close(closed),
        };
        if self.wants_write() {
            self.outgoing.extend_from_slice(&bytes);
        } else {
            self.outgoing = bytes;
            self.sent = 0;
        }
        // An end is found again by whoever reads.
        let _ = self.flush();
        if self.outgoing.len() - self.sent > UNREAD_MAX {
            self.close(Closed::Unread);
        }
    }

    /// Sends what waits, as much as the peer takes. Never blocks.
    ///
    /// Errors: the end of the connection.
    pub fn flush(&mut self) -> Result<(), Closed> {
        while self.closed.is_none() && self.wants_write() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, &self.outgoing[self.sent..], flags) {
                Ok(length) => self.sent += length,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => self.close(Closed::Peer),
                Err(errno) => self.close(Closed::Failed(errno)),
            }
        }
        if !self.wants_write() {
            // Not `clear`: an idle connection costs no memory.
            self.outgoing = Vec::new();
            self.sent = 0;
        } else if self.sent > SENT_MAX {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
        self.closed.map_or(Ok(()), Err)
    }

    /// Whether something waits to be sent.
    pub fn wants_write(&self) -> bool {
        self.sent < self.outgoing.len()
    }

    /// Memory held for what came in part, and for what waits to be sent.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.partial.capacity(), self.outgoing.capacity())
    }

    /// Bytes that wait to be sent.
    #[cfg(test)]
    pub(super) fn unread(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// For good. The descriptor stays until we are dropped, so that nobody watches another's under its number.
    fn close(&mut self, why: Closed) {
        self.closed = Some(why);
        self.partial = Vec::new();
        self.skipping = None;
        self.outgoing = Vec::new();
        self.sent = 0;
        // It may be shut down already; either way it is readable now.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    /// Bytes that came, after those that are kept from before.
    fn take(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) {
        if self.partial.is_empty() {
            let taken = self.split(bytes, frames);
            if self.closed.is_none() {
                self.partial = bytes[taken..].to_vec();
            }
            return;
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let taken = self.split(&partial, frames);
        if self.closed.is_some() || taken == partial.len() {
            return;
        }
        if taken > 0 {
            partial = partial[taken..].to_vec();
        }
        self.partial = partial;
    }

    /// Takes whole frames from the front of `bytes`; the answer is how many bytes they were.
    fn split(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> usize {
        let mut taken = 0;
        while self.closed.is_none() {
            let rest = &bytes[taken..];
            if let Some((header, left)) = self.skipping {
                let now = left.min(rest.len());
                taken += now;
                self.skipping = (now < left).then_some((header, left - now));
                if self.skipping.is_some() {
                    break;
                }
                self.refuse_length(header, frames);
                continue;
            }
            if rest.len() < MESSAGE_HEADER_LENGTH {
                break;
            }
            let header = MessageHeader::from(rest);
            let end = MESSAGE_HEADER_LENGTH + header.length as usize;
            if header.length as usize > MESSAGE_LENGTH_MAX {
                self.skipping = Some((header, header.length as usize));
                taken += MESSAGE_HEADER_LENGTH;
            } else if rest.len() < end {
                break;
            } else {
                taken += end;
                self.frame(header, &rest[MESSAGE_HEADER_LENGTH..end], frames);
            }
        }
        taken
    }

    /// One whole frame. Types that are not known are for versions to come, and passed over.
    fn frame(&mut self, header: MessageHeader, payload: &[u8], frames: &mut Vec<Frame>) {
        let stream = header.stream_id;
        match header.type_ {
            MESSAGE_TYPE_REQUEST => match self.request(stream, payload) {
                Ok(request) => frames.push(Frame::Request { stream, request }),
                Err(why) => self.refuse(stream, Code::INVALID_ARGUMENT, &why),
            },
            MESSAGE_TYPE_RESPONSE => {
                let response = Response::parse_from_bytes(payload).unwrap_or_else(|error| {
                    refusal(Code::INTERNAL, format!("unmarshal response error: {error}"))
                });
                frames.push(Frame::Response { stream, response });
            }
            MESSAGE_TYPE_DATA => self.refuse(
                stream,
                Code::INVALID_ARGUMENT,
                "StreamID is no longer active",
            ),
            _ => {}
        }
    }

    /// The peer's call, or what is wrong with it, in the words of the Go server.
    fn request(&mut self, stream: u32, payload: &[u8]) -> Result<Request, String> {
        if stream.is_multiple_of(2) {
            return Err("StreamID must be odd for client initiated streams".to_owned());
        }
        if stream <= self.last_stream {
            return Err("StreamID cannot be re-used and must increment".to_owned());
        }
        self.last_stream = stream;
        Request::parse_from_bytes(payload)
            .map_err(|error| format!("unmarshal request error: {error}"))
    }

    /// After a frame that was too long: its sender must not wait for an answer, nor we for one.
    fn refuse_length(&mut self, header: MessageHeader, frames: &mut Vec<Frame>) {
        let stream = header.stream_id;
        let response = too_long(header.length.into());
        match header.type_ {
            MESSAGE_TYPE_RESPONSE => frames.push(Frame::Response { stream, response }),
            MESSAGE_TYPE_REQUEST | MESSAGE_TYPE_DATA => {
                self.queue(Frame::Response { stream, response });
            }
            _ => {}
        }
    }

    fn refuse(&mut self, stream: u32, code: Code, why: &str) {
        let response = refusal(code, why);
        self.queue(Frame::Response { stream, response });
    }
}
