//! The socket of a shim: its address, and whose it is.
//!
//! A group of containers has one address, so that the second `start` of a pod finds the shim of the first. What is at an address is
//! looked at and changed under a lock on the directory: of two `start`s at the same moment one makes the socket and the other finds it,
//! and nobody takes a socket that is about to be listened on for a dead one. A socket listens from before the lock is given back.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, fchmod, flock, fstat, openat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sha2::{Digest, Sha256};

/// Where containerd's own shim has its sockets too: short, since an address has little room.
pub const DIRECTORY: &str = "/run/containerd/s";
/// The address of a socket, in bytes, that every containerd connects to.
const LONGEST: usize = 106;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A long directory.
    #[error("socket {}: an address is at most {LONGEST} bytes", .0.display())]
    TooLong(PathBuf),
    /// Somebody else could put a socket of theirs there.
    #[error("socket directory {}: somebody else may write to it", .0.display())]
    Writable(PathBuf),
    /// The kernel said no.
    #[error("{call} {}: {errno}", path.display())]
    Refused {
        /// What was tried.
        call: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
}

fn refused(call: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Refused {
        call,
        path: path.to_owned(),
        errno,
    }
}

/// Who listens at an address.
#[derive(Debug)]
pub enum Claim {
    /// We do from now on. Non-blocking.
    Ours(OwnedFd),
    /// The shim of another container of the group.
    Theirs,
}

/// The socket of a group of containers, in `directory`: containerd's rule (pkg/shim, SocketAddress), so that two containerds on one
/// machine are kept apart. `containerd` is its gRPC address.
pub fn path(directory: &Path, containerd: &str, namespace: &str, group: &str) -> PathBuf {
    let text = clean(&format!("{containerd}/{namespace}/{group}"));
    let hash = Sha256::digest(text.as_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    directory.join(hex)
}

/// As Go's path/filepath.Join leaves a path.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let rooted = path.starts_with('/');
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            Component::ParentDir if rooted => {}
            Component::ParentDir => parts.push(".."),
            Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let joined = parts.join("/");
    if rooted { format!("/{joined}") } else { joined }
}

/// Listens at `path`, unless somebody does. What a killed shim left there is replaced.
pub fn claim(path: &Path) -> Result<Claim, Error> {
    let address = address(path)?;
    let _lock = make_and_lock(directory(path))?;
    match listens(&address).map_err(refused("connect to", path))? {
        Some(true) => return Ok(Claim::Theirs),
        Some(false) => unlinkat(CWD, path, AtFlags::empty()).map_err(refused("remove", path))?,
        None => {}
    }
    let socket = socket().map_err(refused("make a socket for", path))?;
    // The mode that bind gives to the file: nobody else may connect from the first moment on.
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(refused("fchmod", path))?;
    rustix::net::bind(&socket, &address).map_err(refused("bind", path))?;
    // As many as the kernel allows (net.core.somaxconn).
    rustix::net::listen(&socket, i32::MAX).map_err(refused("listen at", path))?;
    Ok(Claim::Ours(socket))
}

/// Removes the socket if nobody listens there. A missing one is no error.
pub fn remove_dead(path: &Path) -> Result<(), Error> {
    let _lock = match lock(directory(path)) {
        Err(Error::Refused {
            errno: Errno::NOENT,
            ..
        }) => return Ok(()),
        lock => lock?,
    };
    match listens(&address(path)?).map_err(refused("connect to", path))? {
        Some(false) => unlinkat(CWD, path, AtFlags::empty()).map_err(refused("remove", path)),
        Some(true) | None => Ok(()),
    }
}

/// Removes a socket that the caller listens at: from then on no `start` finds it. Whoever was quicker waits in the backlog.
pub fn remove_own(path: &Path) -> Result<(), Error> {
    let _lock = lock(directory(path))?;
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(refused("remove", path)(errno)),
    }
}

/// The directory of the socket, locked while the fd is open.
fn lock(directory: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, directory, flags, Mode::empty()).map_err(refused("open", directory))?;
    let stat = fstat(&fd).map_err(refused("fstat", directory))?;
    if stat.st_mode & 0o022 != 0 || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Error::Writable(directory.to_owned()));
    }
    flock(&fd, FlockOperation::LockExclusive).map_err(refused("flock", directory))?;
    Ok(fd)
}

/// The same, and makes it (0700) if need be.
fn make_and_lock(directory: &Path) -> Result<OwnedFd, Error> {
    match lock(directory) {
        Err(Error::Refused {
            errno: Errno::NOENT,
            ..
        }) => {
            // Why that fails shows when it is opened.
            let _ = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory);
            lock(directory)
        }
        lock => lock,
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Whether somebody listens at an address; None if there is nothing at all.
fn listens(address: &SocketAddrUnix) -> Result<Option<bool>, Errno> {
    match rustix::net::connect(&socket()?, address) {
        // EAGAIN: so many connect that its backlog is full.
        Ok(()) | Err(Errno::AGAIN) => Ok(Some(true)),
        Err(Errno::CONNREFUSED) => Ok(Some(false)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn address(path: &Path) -> Result<SocketAddrUnix, Error> {
    let long = || Error::TooLong(path.to_owned());
    if path.as_os_str().len() > LONGEST {
        return Err(long());
    }
    SocketAddrUnix::new(path).map_err(|_| long())
}

#[cfg(test)]
mod tests;
