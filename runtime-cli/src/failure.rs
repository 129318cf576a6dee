//! How a command fails: with the usage, or with a message and an exit code.

use crate::arguments::UsageError;

/// The exit code of everything but what is listed below.
pub const FAILED: u8 = 1;
/// No such command (urfave/cli's code, which runc has from it).
pub const UNKNOWN_COMMAND: u8 = 3;
/// `exec` could not start its process: every code below may be the process's own.
pub const NOT_EXECUTED: u8 = 255;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong: the usage is printed too.
    Usage(UsageError),
    /// Anything else.
    Failed {
        /// One line, in the words that engines search for.
        message: String,
        /// The exit code.
        code: u8,
    },
}

impl Failure {
    /// A failure with the usual exit code.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure::Failed {
            message: message.into(),
            code: FAILED,
        }
    }

    /// The same with `context: ` in front of the message, and the exit code `code`.
    pub fn within(self, context: &str, code: u8) -> Failure {
        match self {
            Failure::Usage(error) => Failure::Usage(error),
            Failure::Failed { message, .. } => Failure::Failed {
                message: format!("{context}: {message}"),
                code,
            },
        }
    }
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Failure {
        Failure::Usage(error)
    }
}

impl From<libcontainer::Error> for Failure {
    fn from(error: libcontainer::Error) -> Failure {
        Failure::new(error.to_string())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Failure {
        Failure::new(libcontainer::Errno::from(errno).to_string())
    }
}
