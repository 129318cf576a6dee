//! Listening to every system call of a container: what a recording of a profile is made from.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::error::{Error, Refused};
use crate::kernel_file::retry;
use crate::sys::{self, Notification};

/// The system calls of a container made with [`crate::CreateOptions::listen_to_calls`]: each waits until it was taken here. A container
/// whose listener is dropped gets ENOSYS for all of them.
#[derive(Debug)]
pub struct CallListener {
    fd: OwnedFd,
}

/// A system call that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemCall {
    /// The thread, in the caller's pid namespace.
    pub pid: i32,
    /// AUDIT_ARCH_* (linux/audit.h).
    pub arch: u32,
    /// As the kernel numbers it on that architecture; for x32 with bit 30.
    pub number: u32,
    /// All six registers, whether or not the call has so many arguments.
    pub arguments: [u64; 6],
}

impl CallListener {
    pub(crate) fn new(fd: OwnedFd) -> CallListener {
        CallListener { fd }
    }

    /// Waits for the next call and lets it be made; `None` when every process of the container has ended. Errors: Refused.
    pub fn next_call(&self) -> Result<Option<SystemCall>, Error> {
        let refused = |call: &'static str| move |errno| Error::from(Refused::call(call, errno));
        loop {
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            retry(|| poll(&mut fds, None)).map_err(refused("poll(seccomp listener)"))?;
            if !fds[0].revents().contains(PollFlags::IN) {
                return Ok(None);
            }
            let call = match sys::receive_notification(&self.fd) {
                Ok(call) => call,
                // A fatal signal was quicker.
                Err(Errno::NOENT | Errno::INTR) => continue,
                Err(errno) => return Err(refused("ioctl(SECCOMP_IOCTL_NOTIF_RECV)")(errno)),
            };
            match sys::continue_call(&self.fd, call.id) {
                Ok(()) => return Ok(Some(call.into())),
                Err(Errno::NOENT | Errno::INTR) => {}
                Err(errno) => return Err(refused("ioctl(SECCOMP_IOCTL_NOTIF_SEND)")(errno)),
            }
        }
    }
}

impl AsFd for CallListener {
    /// Readable when a call waits, hung up when nobody is left who could make one.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Notification> for SystemCall {
    fn from(notification: Notification) -> SystemCall {
        SystemCall {
            pid: i32::try_from(notification.pid).unwrap_or(0),
            arch: notification.arch,
            number: notification.number.cast_unsigned(),
            arguments: notification.arguments,
        }
    }
}
