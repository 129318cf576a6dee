//! The word `start`: makes sure that a shim serves the group of a container, and tells containerd where.
//!
//! containerd calls it in the bundle's directory and takes all it prints, on stdout and stderr, for the reply: so it prints the reply or
//! one line that says why there is none. The socket listens before the shim behind it is started; containerd may connect at once, and
//! is served when the shim is up. If it does not come up, containerd's connection fails and `delete` is called.

mod cgroup;
mod daemon;
mod group;
mod request;

use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use self::request::Request;
use crate::arguments::Task;
use crate::options::{self, Options};
use crate::socket::{self, Claim};

/// Why no shim was started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What containerd wrote.
    #[error("read standard input: {0}")]
    Input(std::io::Error),
    /// The options of the runtime.
    #[error(transparent)]
    Options(#[from] options::Error),
    /// The bundle.
    #[error("config.json: {0}")]
    Config(std::io::Error),
    /// The socket.
    #[error(transparent)]
    Socket(#[from] socket::Error),
    /// The cgroup that the shim is to join.
    #[error("shim cgroup {}: {why}", path.display())]
    Cgroup {
        /// As in the options.
        path: PathBuf,
        /// Why it cannot be joined.
        why: String,
    },
    /// The program itself, a second time.
    #[error("start the shim: {0}")]
    Spawn(std::io::Error),
    /// Core scheduling was asked for by containerd's configuration.
    #[error("core scheduling: {0}")]
    CoreScheduling(Errno),
    /// The file by which containerd finds the shim again.
    #[error("write the address into the bundle: {0}")]
    Address(Errno),
    /// Nobody hears where the shim is.
    #[error("write to standard output: {0}")]
    Reply(std::io::Error),
}

/// Does it, in the working directory. On success the reply has been printed.
pub fn run(task: &Task) -> Result<(), Error> {
    let request = Request::read(task).map_err(Error::Input)?;
    // Wrong options are told here, before there is a shim.
    let options = Options::from_any(request.options.as_ref(), &task.namespace)?;
    let group = group::of_bundle(Path::new("."), &task.id).map_err(Error::Config)?;
    let directory = request.socket_directory();
    let path = socket::path(directory, &task.address, &task.namespace, &group);
    let address = format!("unix://{}", path.display());
    let reply = request.reply.text(&address);
    match socket::claim(&path)? {
        Claim::Theirs => {
            write_address(&address).map_err(Error::Address)?;
            print(&reply)
        }
        Claim::Ours(listener) => {
            let abandoned = Abandoned(&path);
            write_address(&address).map_err(Error::Address)?;
            let mut child = daemon::spawn(task, &request, &options, listener)?;
            print(&reply).inspect_err(|_| {
                // Nobody will ever connect to it.
                let _ = child.kill();
            })?;
            std::mem::forget(abandoned);
            Ok(())
        }
    }
}

/// A socket that nobody serves, unless it is forgotten.
struct Abandoned<'a>(&'a Path);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let _ = socket::remove_own(self.0); // what led here is what is told
    }
}

/// containerd up to 1.7 finds the shim by this file when it was restarted. A kill in the middle leaves no half of one.
fn write_address(address: &str) -> Result<(), Errno> {
    const NEW: &str = ".address";
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let create = || openat(CWD, NEW, flags, Mode::from_raw_mode(0o600));
    let file = match create() {
        // Of a start that was killed in the middle.
        Err(Errno::EXIST) => {
            unlinkat(CWD, NEW, AtFlags::empty())?;
            create()
        }
        file => file,
    }?;
    std::fs::File::from(file)
        .write_all(address.as_bytes())
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    renameat(CWD, NEW, CWD, "address")
}

fn print(reply: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(reply.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Error::Reply)
}
