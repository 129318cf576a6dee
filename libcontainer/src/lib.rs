//! Turns an OCI bundle into a running container.
#![deny(unsafe_code)]

pub mod cgroup;
pub mod config;
pub mod error;
mod hints;
pub mod hooks;
pub mod host;
mod kernel_file;
pub mod plan;
pub mod state;
mod sys;

pub use error::{Errno, Error, ErrorKind, Pointer, Refused};
