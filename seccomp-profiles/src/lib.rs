//! Compiles OCI seccomp profiles (the `linux.seccomp` object of a runtime configuration) into BPF for the kernel. Pure Rust, no libseccomp.
//!
//! ```
//! use seccomp_profiles::{Profile, compile};
//!
//! let profile = serde_json::json!({
//!     "defaultAction": "SCMP_ACT_ERRNO",
//!     "syscalls": [{ "names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW" }]
//! });
//! let profile = Profile::from_value(&profile)?;
//! let compiled = compile(&profile)?;
//! assert!(compiled.unknown.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The way of a profile: [`profile`] turns JSON into types and names every fault by its pointer; [`rules`] says what the profile means on
//! each architecture, with runc's and libseccomp's precedence; [`mod@compile`] lays that out as a [`Program`]: per architecture a balanced tree
//! over the numbers. [`interpret`] runs a program, [`verify`] checks it as the kernel would, [`flags`] are what it is loaded with.
//!
//! Nothing here touches the machine it runs on, but for the one call of the module `load`, which the feature of that name brings.

#![cfg_attr(not(feature = "load"), forbid(unsafe_code))]
#![deny(unsafe_code)]

pub mod action;
pub mod arch;
pub mod cache;
pub mod compile;
pub mod flags;
pub mod interpret;
#[cfg(feature = "load")]
pub mod load;
pub mod profile;
pub mod profiles;
pub mod program;
pub mod rules;
pub mod tables;
pub mod tools;
pub mod verify;

pub use action::Action;
pub use arch::Arch;
pub use compile::{Compiled, compile, compile_for};
pub use flags::Flags;
pub use profile::Profile;
pub use program::Program;
pub use rules::Ruleset;
pub use tables::Syscall;
