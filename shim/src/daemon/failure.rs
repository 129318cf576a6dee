//! Why a call failed, as ttrpc says it: a code of google.rpc and a text. Engines look at the code, and for some failures at the text (see
//! docs/compatibility.md): those of runc come from the library unchanged.

use std::fmt;

use libcontainer::{Error, ErrorKind};
use ttrpc::proto::{Code, Status};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub message: String,
}

impl Failure {
    fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
        }
    }

    pub fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(Code::NOT_FOUND, message)
    }

    pub fn already_exists(message: impl Into<String>) -> Failure {
        Failure::new(Code::ALREADY_EXISTS, message)
    }

    pub fn precondition(message: impl Into<String>) -> Failure {
        Failure::new(Code::FAILED_PRECONDITION, message)
    }

    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(Code::INVALID_ARGUMENT, message)
    }

    pub fn unimplemented(message: impl Into<String>) -> Failure {
        Failure::new(Code::UNIMPLEMENTED, message)
    }

    /// Everything else: containerd's clients have no code for it.
    pub fn unknown(message: impl fmt::Display) -> Failure {
        Failure::new(Code::UNKNOWN, message.to_string())
    }

    /// A failed operation on a container, in the words of containerd's own shim, which clients show to their users.
    pub fn operation(name: &str, error: &Error) -> Failure {
        let code = match error.kind() {
            ErrorKind::AlreadyExists => Code::ALREADY_EXISTS,
            _ => Code::UNKNOWN,
        };
        Failure::new(code, format!("OCI runtime {name} failed: {error}"))
    }

    /// A signal that met nobody: clients tolerate NotFound, since a process may always end by itself first.
    pub fn kill(error: &Error) -> Failure {
        match error.kind() {
            ErrorKind::WrongStatus => Failure::not_found("process already finished"),
            ErrorKind::NotFound => Failure::not_found("no such container"),
            _ => Failure::unknown(error),
        }
    }

    pub fn into_status(self) -> Status {
        Status {
            code: self.code.into(),
            message: self.message,
            ..Status::default()
        }
    }
}
