//! ttrpc on a socket that never blocks: frames in, frames out, for the side that serves and the side that calls alike.
//!
//! A [`Connection`] holds at most one frame that has not come whole, at most 4 MiB, and at most [`UNREAD_MAX`] bytes that the peer does not
//! read; an idle one holds no buffer at all. What is wrong with a single frame (too long, not decodable, a stream's number used again) is
//! answered on its stream and the connection lives on, as the Go server does; only a peer that is gone or does not read ends it. Requests
//! and responses alone are known: no service here streams. Source: containerd/ttrpc, PROTOCOL.md.

mod accept;
mod connection;
mod frame;

pub use accept::accept;
pub use connection::{Connection, UNREAD_MAX};
pub use frame::{Frame, refusal};

use rustix::io::Errno;

/// Why a connection is of no more use. All are final; the socket is shut down already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The peer closed it, or is dead.
    Peer,
    /// The peer reads nothing: [`UNREAD_MAX`] bytes wait.
    Unread,
    /// A request of ours is longer than ttrpc allows; responses are replaced by a refusal instead.
    TooLong,
    /// recv(2) or send(2) failed otherwise.
    Failed(Errno),
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Closed::Peer => f.write_str("the peer closed the connection"),
            Closed::Unread => write!(f, "the peer left {UNREAD_MAX} bytes unread"),
            Closed::TooLong => f.write_str("a request is too long for ttrpc"),
            Closed::Failed(errno) => write!(f, "the connection failed: {errno}"),
        }
    }
}

#[cfg(test)]
mod tests;
