//! Fds 0 to 2 of the container's process.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Gid, OFlags, Uid, fchown};
use rustix::io::Errno;

use crate::fault::{Fault, On, Result};
use crate::message::Call;
use crate::{path, restrict, sys};

/// Puts `fd` on 0, 1 and 2.
pub fn replace(fd: impl AsFd + Copy) -> Result<()> {
    rustix::stdio::dup2_stdin(fd).on(Call::Dup)?;
    rustix::stdio::dup2_stdout(fd).on(Call::Dup)?;
    rustix::stdio::dup2_stderr(fd).on(Call::Dup)
}

/// Which of the three are /dev/null, as a bit mask; remembered, since owners need not be set on it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Nulls(u8);

impl Nulls {
    fn contains(self, number: i32) -> bool {
        (self.0 >> number) & 1 == 1
    }
}

/// Replaces the host's /dev/null by the container's own: through the host's node a container's root could change its mode.
pub fn reopen_null(root: BorrowedFd<'_>) -> Result<Nulls> {
    let mut nulls = Nulls::default();
    for number in 0..3 {
        if restrict::is_null(sys::stdio(number)).unwrap_or(false) {
            nulls.0 |= 1 << number;
        }
    }
    if nulls.0 == 0 {
        return Ok(nulls);
    }
    // NONBLOCK: what we open is only known to be the null device once it is open.
    let null = path::open(
        root,
        c"dev/null",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK,
    )
    .on(Call::Open)?;
    if !restrict::is_null(&null)? {
        return Err(Fault::check(Errno::NODEV));
    }
    if nulls.contains(0) {
        rustix::stdio::dup2_stdin(&null).on(Call::Dup)?;
    }
    if nulls.contains(1) {
        rustix::stdio::dup2_stdout(&null).on(Call::Dup)?;
    }
    if nulls.contains(2) {
        rustix::stdio::dup2_stderr(&null).on(Call::Dup)?;
    }
    Ok(nulls)
}

/// Gives the stdio to the user, who could otherwise not open /dev/stdout again. What cannot be given stays as it is, as with runc.
pub fn own(uid: u32, nulls: Nulls) {
    for number in (0..3).filter(|&number| !nulls.contains(number)) {
        let fd = sys::stdio(number);
        let foreign = path::stat(fd.as_fd()).is_ok_and(|stat| stat.st_uid != uid);
        if foreign && !restrict::is_null(fd).unwrap_or(false) {
            // EPERM, EROFS and the like: a file of somebody else's, which need not become ours.
            let _ = fchown(fd, Some(Uid::from_raw(uid)), None::<Gid>);
        }
    }
}

/// Writes to stderr: the voice of a stage whose parent no longer listens, or of a hook's process before its exec.
pub fn say(parts: &[&[u8]]) {
    for part in parts {
        // Nobody is left to tell if stderr is closed.
        let _ = rustix::io::write(sys::stdio(2), part);
    }
}
