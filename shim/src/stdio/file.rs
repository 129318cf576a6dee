//! Output into a file, which may block (a disk, a network file system) and so has a thread of its own.
//!
//! A file that cannot be written loses lines; it does not stop the container. Dropping the descriptor that [`copy_in_thread`] gives stops
//! the thread as soon as its file lets it.

use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::error::{Error, Field};
use super::{call, errno};

/// Of the thread: a buffer lives on the heap.
const STACK: usize = 32 << 10;
const BUFFER: usize = 32 << 10;

/// Copies from `source`, which is non-blocking, to `file` until the source ends. The descriptor given back is readable (its end) then.
pub fn copy_in_thread(source: OwnedFd, file: OwnedFd) -> Result<OwnedFd, Error> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(call(Field::Stdout, "socketpair"))?;
    thread::Builder::new()
        .name("log".to_owned())
        .stack_size(STACK)
        .spawn(move || copy(&source, &file, &theirs))
        .map_err(|error| call(Field::Stdout, "clone")(errno(&error)))?;
    Ok(ours)
}

fn copy(source: &OwnedFd, file: &OwnedFd, stop: &OwnedFd) {
    let mut buffer = vec![0; BUFFER];
    let mut lost = false;
    while to_read(source, stop) {
        match rustix::io::read(source, &mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let written = write_all(file, &buffer[..count]);
                if let (Err(errno), false) = (&written, lost) {
                    log::warn!("output of the container is lost: write: {errno}");
                }
                lost = written.is_err();
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // EIO is how a terminal ends.
            Err(_) => return,
        }
    }
}

/// Waits for output; false: nobody wants it any more. Asked each time, or a loud process would keep the thread for ever.
fn to_read(source: &OwnedFd, stop: &OwnedFd) -> bool {
    let mut ends = [
        PollFd::from_borrowed_fd(source.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
    ];
    match poll(&mut ends, None) {
        Ok(_) => ends[1].revents().is_empty(),
        Err(errno) => errno == Errno::INTR,
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
