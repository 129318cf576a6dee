//! The stage's end of the control socket. Waiting on it is how the stage notices that its parent has died: EOF ends the stage.

use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::fault::{Fault, On, Result};
use crate::message::{Call, Failure, ToParent, ToStage};
use crate::sys;

/// The control socket.
#[derive(Debug)]
pub struct Channel(pub OwnedFd);

impl Channel {
    /// Sends one message, with an fd if there is one.
    pub fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.as_slice();
        if fd.is_some() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Fault::new(Call::Sendmsg, Errno::NOBUFS));
        }
        // NOSIGNAL: a parent that died must not turn into a SIGPIPE, which would look like a failure of the container.
        sendmsg(
            &self.0,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .on(Call::Sendmsg)
        .map(drop)
    }

    /// Asks for something and waits until the parent says `Done`; the fd it came with, if any.
    pub fn ask(&self, question: ToParent, argument: u16) -> Result<Option<OwnedFd>> {
        let [low, high] = argument.to_le_bytes();
        self.send(&[question as u8, low, high], None)?;
        match self.receive()? {
            (ToStage::Done, fd) => Ok(fd),
            _ => Err(Fault::new(Call::Protocol, Errno::PROTO)),
        }
    }

    /// Waits for the parent's next word and the filter that comes with it; how much of `space` that fills. As [`Channel::receive`].
    pub fn receive_filter(&self, space: &mut [u8]) -> Result<(ToStage, usize)> {
        let mut word = [0u8; 1];
        let mut nothing = RecvAncillaryBuffer::new(&mut []);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut word), IoSliceMut::new(space)];
            match recvmsg(&self.0, &mut parts, &mut nothing, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                result => break result.on(Call::Recvmsg)?,
            }
        };
        match (received.bytes.checked_sub(1), ToStage::from_byte(word[0])) {
            (None, _) => sys::exit(1),
            (Some(length), Some(word)) if length > 0 && length.is_multiple_of(8) => {
                Ok((word, length))
            }
            _ => Err(Fault::new(Call::Protocol, Errno::PROTO)),
        }
    }

    /// Waits for the parent's next word. A parent that is gone ends this process: nothing may be left behind by a launch that nobody watches.
    pub fn receive(&self) -> Result<(ToStage, Option<OwnedFd>)> {
        let mut byte = [0u8; 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut byte)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                result => break result.on(Call::Recvmsg)?,
            }
        };
        if received.bytes == 0 {
            sys::exit(1);
        }
        let mut fd = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message {
                fd = fds.next();
            }
        }
        match ToStage::from_byte(byte[0]) {
            Some(word) => Ok((word, fd)),
            None => Err(Fault::new(Call::Protocol, Errno::PROTO)),
        }
    }

    /// Reports a failure, or a note on one that does not matter.
    pub fn report(&self, kind: ToParent, failure: &Failure) -> Result<()> {
        let (bytes, length) = failure.encode(kind);
        self.send(bytes.get(..length).unwrap_or(&bytes), None)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
