//! Judges an OCI runtime from outside: it is given a binary, and nothing here knows how that binary works.
//!
//! Every case runs in a process of its own, in a private mount namespace with a tmpfs for bundles and state, and ends with a check that nothing
//! is left on the machine. A case asserts from inside the container (with the [`probe`] program) and from outside (`/proc`, cgroupfs,
//! `mountinfo`). The same cases run against any runtime, so that a wrong test shows as a failure of all of them.

pub mod bundle;
pub mod case;
pub mod cgroups;
pub mod container;
pub mod engine;
pub mod guest;
pub mod hung;
pub mod leaks;
pub mod loop_device;
pub mod needs;
pub mod place;
pub mod probe;
pub mod processes;
pub mod resources;
pub mod rootfs;
pub mod runner;
pub mod runtime;
pub mod seccomp;
pub mod sockets;
pub mod sys;
pub mod terminal;
pub mod tracer;
pub mod vm;
