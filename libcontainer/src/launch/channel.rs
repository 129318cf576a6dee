//! The parent's end of the control socket; the messages are in [`stage::message`].

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use stage::message::{MESSAGE_MAX, ToStage};

use crate::error::{Error, Refused};

/// A message of the stage's.
#[derive(Debug)]
pub struct Message {
    pub bytes: [u8; MESSAGE_MAX],
    pub length: usize,
    pub fd: Option<OwnedFd>,
}

impl Message {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// (ours, the stage's)
pub fn pair() -> Result<(OwnedFd, OwnedFd), Error> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| Refused::call("socketpair(AF_UNIX, SOCK_SEQPACKET)", errno).into())
}

/// Sends a word, with an fd if there is one. A stage that has died is found at the next receive, not here.
pub fn send(
    control: BorrowedFd<'_>,
    word: ToStage,
    fd: Option<BorrowedFd<'_>>,
) -> Result<(), Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if fd.is_some() {
        ancillary.push(SendAncillaryMessage::ScmRights(fd.as_slice()));
    }
    match sendmsg(
        control,
        &[IoSlice::new(&[word as u8])],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    ) {
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(Refused::call("sendmsg(control socket)", errno).into()),
    }
}

/// Sends a word with the filter: whole instructions of eight bytes.
pub fn send_filter(control: BorrowedFd<'_>, word: ToStage, filter: &[u8]) -> Result<(), Error> {
    let word = [word as u8];
    let parts = [IoSlice::new(&word), IoSlice::new(filter)];
    let mut nothing = SendAncillaryBuffer::new(&mut []);
    match sendmsg(control, &parts, &mut nothing, SendFlags::NOSIGNAL) {
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(Refused::call("sendmsg(control socket, filter)", errno).into()),
    }
}

/// The next message; `None`: the other side is gone, or has executed its program. Where the socket has a timeout, `silent` is asked at
/// each of them whether to wait on.
pub fn receive(
    control: BorrowedFd<'_>,
    silent: &dyn Fn() -> Result<(), Error>,
) -> Result<Option<Message>, Error> {
    let mut message = Message {
        bytes: [0; MESSAGE_MAX],
        length: 0,
        fd: None,
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut buffer = [IoSliceMut::new(&mut message.bytes)];
        match recvmsg(
            control,
            &mut buffer,
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => silent()?,
            Err(Errno::CONNRESET) => return Ok(None),
            result => {
                break result.map_err(|errno| Refused::call("recvmsg(control socket)", errno))?;
            }
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    message.length = received.bytes;
    for item in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = item {
            message.fd = fds.next();
        }
    }
    Ok(Some(message))
}
