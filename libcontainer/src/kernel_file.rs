//! Small files of the kernel (procfs, cgroupfs) read and written whole, in the fewest system calls.
//!
//! `std::fs::read` asks for the size first, which these files do not know, and then reads past the end; a start makes dozens of such
//! accesses. Every path is taken below a directory the caller holds or vouches for; nothing here creates a file.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, read, write};
use rustix::path::Arg;

/// More than any file that the kernel produces as one record (`/proc/PID/stat`, `/proc/PID/cgroup`, `cgroup.events`) holds here.
const RECORD: usize = 4096;

/// The content of a file that the kernel hands out as one record of less than a page: open, one read, close.
pub fn read_record(dir: impl AsFd, path: impl Arg) -> Result<Vec<u8>, Errno> {
    let file = open_for_reading(dir, path)?;
    let mut record = [0; RECORD];
    let length = retry(|| read(&file, &mut record[..]))?;
    Ok(record[..length].to_vec())
}

/// The content of a file of any length, such as `cgroup.procs` or `mountinfo`.
pub fn read_all(dir: impl AsFd, path: impl Arg) -> Result<Vec<u8>, Errno> {
    read_to_end(&open_for_reading(dir, path)?)
}

fn read_to_end(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut content = Vec::new();
    // On the stack, which has been touched already: a fresh page of the heap costs as much as a system call.
    let mut chunk = [0; RECORD];
    loop {
        match retry(|| read(file, &mut chunk[..]))? {
            0 => return Ok(content),
            length => content.extend_from_slice(&chunk[..length]),
        }
    }
}

/// Writes `value` in one call, as control files demand.
pub fn write_value(dir: impl AsFd, path: impl Arg, value: &[u8]) -> Result<(), Errno> {
    let file = openat(
        dir,
        path,
        OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    retry(|| write(&file, value)).map(drop)
}

/// The same of a file that somebody may have put a fifo or a link in the place of: neither is waited for or followed.
pub fn read_plain(dir: impl AsFd, path: impl Arg) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    read_to_end(&openat(dir, path, flags, Mode::empty())?)
}

fn open_for_reading(dir: impl AsFd, path: impl Arg) -> Result<OwnedFd, Errno> {
    openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Runs `call` again when a signal of the host process interrupted it.
pub fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
