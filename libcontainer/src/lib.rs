//! Turns an OCI bundle into a running container, from within any program.
//!
//! A [`Runtime`] is a directory of container state. It creates and runs containers from bundles, and gives out a [`Container`] for each:
//! a handle with a pidfd, to start, execute in, signal, wait for and delete. Everything a command such as runc can do with a container
//! can be done with these handles, also with a container that another program made in the same directory.
//!
//! ```
//! # // A root filesystem of busybox, and a bundle on it. The example runs a real container, so it needs root; else it says so.
//! # use std::{env, fs, os::unix::fs::symlink, path::{Path, PathBuf}, process};
//! # struct Place(PathBuf);
//! # impl Drop for Place {
//! #     fn drop(&mut self) {
//! #         let _ = libcontainer::Runtime::open(&self.0.join("state")).and_then(|runtime| runtime.delete("hello", true));
//! #         fs::remove_dir_all(&self.0).expect("nothing is mounted there");
//! #     }
//! # }
//! # fn place() -> Option<Place> {
//! #     let status = fs::read_to_string("/proc/self/status").ok()?;
//! #     if !status.lines().any(|line| line.starts_with("Uid:\t0\t0\t0")) {
//! #         eprintln!("SKIPPED: the example of the crate documentation needs root");
//! #         return None;
//! #     }
//! #     let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).is_file());
//! #     let Some(busybox) = busybox else {
//! #         eprintln!("SKIPPED: the example of the crate documentation needs busybox-static");
//! #         return None;
//! #     };
//! #     let name = format!("garboard-test-doc-{}", process::id());
//! #     let place = Place(env::temp_dir().join(&name));
//! #     let bin = place.0.join("rootfs/bin");
//! #     fs::create_dir_all(&bin).expect("rootfs");
//! #     for directory in ["proc", "sys", "dev"] {
//! #         fs::create_dir(place.0.join("rootfs").join(directory)).expect("directory of the rootfs");
//! #     }
//! #     fs::copy(busybox, bin.join("busybox")).expect("busybox");
//! #     symlink("busybox", bin.join("sh")).expect("sh");
//! #     let mut config: serde_json::Value = serde_json::from_str(&libcontainer::default_spec(None, false)).expect("JSON");
//! #     config["process"]["terminal"] = false.into();
//! #     config["process"]["args"] = serde_json::json!(["sh", "-c", "exit $(($$ + 6))"]);
//! #     config["linux"]["cgroupsPath"] = format!("/{name}").into();
//! #     fs::write(place.0.join("config.json"), config.to_string()).expect("config.json");
//! #     Some(place)
//! # }
//! # fn main() -> Result<(), libcontainer::Error> {
//! # let Some(place) = place() else { return Ok(()) };
//! # let (root, bundle) = (&place.0.join("state"), &place.0);
//! use libcontainer::{CreateOptions, ExitStatus, Runtime, Status};
//!
//! let runtime = Runtime::open(root)?.observe(|id, event| println!("{id}: {event:?}"));
//! // Whatever is wrong with the bundle is found here. Its program: sh -c 'exit $(($$ + 6))'
//! let container = runtime.create("hello", bundle, &CreateOptions::default())?;
//! assert_eq!(container.state()?.status, Status::Created);
//! container.start()?;
//! assert_eq!(container.wait()?, ExitStatus::Exited(7)); // it is process 1
//! runtime.delete("hello", false)?;
//! # assert_eq!(runtime.list()?.len(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # What a host program may count on
//!
//! - **Nothing is written to stdin, stdout or stderr, and nothing is logged.** Failures are returned as an [`Error`], what was done without
//!   as warnings, and what happens meanwhile is told to an observer ([`Runtime::observe`]). The one exception is not ours: a container
//!   without [`CreateOptions::stdio`] has the caller's stdio.
//! - **No global state changes**: not the working directory, umask, environment, signal mask, signal handlers, limits or credentials, of
//!   the process or of the calling thread. After a call only the fds of the handles it returned are new, all of them close-on-exec. The
//!   environment is read by [`Runtime::open`] (XDG_RUNTIME_DIR), by [`default_root`], for hooks without one of their own, and where systemd
//!   is asked for ([`CgroupManager`]) for the address of its bus.
//! - **Threads**: everything here is `Send` and `Sync`, and any call may be made on any thread at any time. No lock is held that another
//!   thread or a fork could meet; after the clone no code of the host program runs and none of its memory is copied, so a large program
//!   starts a container as quickly as a small one. Two operations on one container, also of two programs, exclude each other by a lock on
//!   its state directory.
//! - **Children**: containers are children of the calling process and are waited for by pidfd. SIGCHLD may be handled or ignored; a program that
//!   ignores it, or waits for any child, may find [`Container::wait`] unable to tell the status on kernels before 6.15.
//! - **Where it blocks**: create, run and exec until the process is set up, which includes hooks, each up to its timeout;
//!   start and delete for their hooks; kill, delete and pause up to 10 s for processes that do not die or freeze; `wait` until the end. Every operation but
//!   `wait` and [`NotifyProxy::wait`] waits up to 10 s for another one on the same container. Nothing else blocks; in an async program
//!   call from a thread that may block.
//! - **A kill at any moment is survived**: what is about to be made is recorded first, and [`Runtime::delete`] with force removes it.
//!
//! # What it needs
//!
//! x86_64, Linux 5.14 with cgroup v1 or v2, and a mounted /proc. Root of the machine; or any user, for a bundle with a user namespace of its own:
//! then `newuidmap` and `newgidmap` (package uidmap) for more ids than the user's own, and a delegated cgroup for limits.
#![deny(unsafe_code)]
#![deny(missing_docs)]
#![deny(rustdoc::broken_intra_doc_links)]

mod bundle;
mod container;
mod error;
mod event;
mod features;
mod handover;
mod hints;
mod hooks;
mod kernel_file;
mod launch;
mod lifecycle;
mod notify;
mod plan;
mod request;
mod runtime;
mod seccomp;
mod sys;

// Public for our own tests only, which look at a cgroup or a record from the outside: no part of the interface.
#[doc(hidden)]
pub mod cgroup;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod host;
#[doc(hidden)]
pub mod intel_rdt;
#[doc(hidden)]
pub mod state;

pub mod statistics;

pub use bundle::Bundle;
pub use cgroup::{OomEvent, OomEvents, Version as CgroupVersion};
pub use config::{ConfigError, default_spec};
pub use container::{Container, Exec, ExitStatus, State};
pub use error::{Errno, Error, ErrorKind, Pointer};
pub use event::Event;
pub use features::features;
pub use lifecycle::explain;
pub use notify::NotifyProxy;
pub use plan::Format;
pub use request::{
    CgroupManager, Console, CreateOptions, ExecFlags, ExecProcess, ExecRequest, UpdateFlags,
    UpdateRequest, check_preserved_fds,
};
pub use runtime::{Listed, Runtime, default_root};
pub use seccomp::{CallListener, SystemCall, seccomp_filters};
pub use state::Status;
pub use statistics::Statistics;
