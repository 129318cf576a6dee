//! Who may talk to us.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::Connection;

/// The next client that waits on a listening socket, if one does. Clients of another user or group are hung up on: the mode of the
/// socket keeps them out, and so does containerd's shim once more, in case that someone changed the mode.
///
/// Errors: those of accept4(2). `EMFILE` and `ENFILE` leave the client waiting: do not ask again at once.
pub fn accept(listener: BorrowedFd<'_>) -> Result<Option<Connection>, Errno> {
    let ours = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    loop {
        let socket = match rustix::net::accept_with(
            listener,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        ) {
            Ok(socket) => socket,
            Err(Errno::AGAIN) => return Ok(None),
            // It hung up before its turn came.
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            Err(errno) => return Err(errno),
        };
        // A peer in a pid namespace above ours has no pid here, and its credentials cannot be had: the mode has let it in.
        let theirs = rustix::net::sockopt::socket_peercred(&socket)
            .map_or(ours, |peer| (peer.uid.as_raw(), peer.gid.as_raw()));
        if theirs == ours {
            return Ok(Some(Connection::new(socket)));
        }
    }
}
