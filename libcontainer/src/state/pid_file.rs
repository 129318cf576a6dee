//! The file that tells an engine the pid of init: complete the moment it has its name, for conmon and the shim read it at once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, open, renameat, unlinkat};
use rustix::io::{Errno, write};

use crate::error::{Error, ErrorKind, Refused};
use crate::kernel_file::retry;

/// The name the file has until it is complete: `.NAME` beside it. It belongs into the intent.
/// Errors: InvalidConfig for a path that names no file.
pub fn temporary_pid_file(path: &Path) -> Result<PathBuf, Error> {
    let name = path.file_name().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidConfig,
            format!("--pid-file {} names no file", path.display()),
        )
    })?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    Ok(path.with_file_name(hidden))
}

/// Writes `pid` in decimal, without a newline, and gives the file its name. Mode 0666 less the umask, as runc.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<(), Error> {
    let temporary = temporary_pid_file(path)?;
    let refused = |call: &'static str, errno| Error::from(Refused::new(call, &temporary, errno));
    let exclusive = || {
        open(
            &temporary,
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o666),
        )
    };
    let file = match exclusive() {
        // Left by a create that was killed. Removing the name touches nothing that it may point to.
        Err(Errno::EXIST) => unlinkat(CWD, &temporary, AtFlags::empty()).and_then(|()| exclusive()),
        other => other,
    }
    .map_err(|errno| refused("open(O_CREAT|O_EXCL)", errno))?;
    let text = pid.to_string();
    let written = retry(|| write(&file, text.as_bytes())).and_then(|length| {
        if length == text.len() {
            Ok(())
        } else {
            Err(Errno::NOSPC)
        }
    });
    let renamed = written.and_then(|()| renameat(CWD, &temporary, CWD, path));
    renamed.map_err(|errno| {
        // Best effort: the error is what matters, and delete removes the name too.
        let _ = unlinkat(CWD, &temporary, AtFlags::empty());
        Refused::new("write of the pid file", path, errno).into()
    })
}
