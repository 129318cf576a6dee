//! What can go wrong before anything is copied. Copying itself has no errors that matter to a container: see `pump`.

use std::fmt;
use std::path::PathBuf;

use rustix::io::Errno;

/// Which of the three paths of a request is meant; its name in the Task API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Stdin,
    Stdout,
    Stderr,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Stdin => "stdin",
            Field::Stdout => "stdout",
            Field::Stderr => "stderr",
        })
    }
}

/// Why a process got no stdio. Every text names the field of the request, as the client wrote it.
#[derive(Debug)]
pub enum Error {
    /// A URI that this stream cannot be: `stdout: "npipe://x": …`.
    Uri {
        field: Field,
        value: String,
        why: &'static str,
    },
    /// open(2), mkdir(2) or the like on a path.
    Path {
        field: Field,
        call: &'static str,
        path: PathBuf,
        errno: Errno,
    },
    /// A call that names no path.
    Call {
        field: Field,
        call: &'static str,
        errno: Errno,
    },
    /// The program of a `binary://` URI.
    Logger { program: PathBuf, why: NotReady },
    /// A terminal was asked for and none came with the process.
    NoTerminal,
}

/// Why the program of a `binary://` URI does not take the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReady {
    /// It could not be executed.
    Exec(Errno),
    /// It did not close descriptor 5 in this many seconds.
    Timeout(u64),
    /// `binary-v2`: it ended, or closed descriptor 5, without writing to it.
    Silent,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReady::Exec(errno) => write!(f, "execve: {errno}"),
            NotReady::Timeout(seconds) => write!(
                f,
                "is not ready after {seconds} s: it has to close descriptor 5"
            ),
            NotReady::Silent => f.write_str("closed descriptor 5 without writing to it"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Uri { field, value, why } => write!(f, "{field}: {value:?}: {why}"),
            Error::Path {
                field,
                call,
                path,
                errno,
            } => write!(f, "{field}: {call} {}: {errno}", path.display()),
            Error::Call { field, call, errno } => write!(f, "{field}: {call}: {errno}"),
            Error::Logger { program, why } => {
                write!(f, "stdout: logging program {}: {why}", program.display())
            }
            Error::NoTerminal => f.write_str("the process has no terminal to copy"),
        }
    }
}

impl std::error::Error for Error {}
