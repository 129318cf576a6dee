//! Turns an OCI bundle into a running container.
#![deny(unsafe_code)]

pub mod config;
pub mod error;
mod hints;
pub mod plan;

pub use error::{Errno, Error, ErrorKind, Pointer, Refused};
