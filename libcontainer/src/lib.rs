//! Turns an OCI bundle into a running container.
#![deny(unsafe_code)]

mod bundle;
pub mod cgroup;
pub mod config;
mod container;
pub mod error;
mod handover;
mod hints;
pub mod hooks;
pub mod host;
mod kernel_file;
mod launch;
mod lifecycle;
mod notify;
pub mod plan;
mod request;
mod runtime;
pub mod state;
mod sys;

pub use bundle::Bundle;
pub use container::{Container, Exec, ExitStatus, State};
pub use error::{Errno, Error, ErrorKind, Pointer, Refused};
pub use lifecycle::explain;
pub use notify::NotifyProxy;
pub use plan::Format;
pub use request::{
    Console, CreateOptions, ExecFlags, ExecProcess, ExecRequest, check_preserved_fds,
};
pub use runtime::{Listed, Runtime};
pub use state::Status;
