//! What runs inside a container's namespaces between clone and exec.
//!
//! The library decides a launch beforehand, as a flat list of [`step::Step`]s; the program around this crate reads the list from a memfd
//! ([`wire`]) and runs it ([`run`]), talking to its parent over one socket ([`message`]). No heap, no locks, no JSON, no libc: there is
//! nothing here that could deadlock after a clone, and little that a container could turn against us.
//!
//! Both sides share `step`, `wire` and `message`; all else is the program's alone. `unsafe` lives in `sys` only.
#![no_std]
#![deny(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod attributes;
mod bind;
mod channel;
mod console;
mod enter;
mod fault;
mod hook;
mod identity;
pub mod message;
mod mount;
mod node;
mod path;
mod program;
mod restrict;
mod root;
pub mod run;
mod stdio;
pub mod step;
pub mod sys;
pub mod wire;
