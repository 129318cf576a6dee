//! The tasks of a shim: containers, and in each its processes: init and what is executed. Plain data; what happens to them is in the files
//! named after the calls.
//!
//! ```text
//! init:  Creating ─▶ Created ─▶ Starting ─▶ Running ─▶ Exited ─▶ (deleted)
//! exec:              Added ───▶ Starting ─▶ Running ─▶ Exited ─▶ (deleted)
//! ```
//! `Creating` and `Starting` mean that a worker is at it. Each process ends in one place ([`super::exit`]), whatever it was doing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use libcontainer::{Container, Exec, ExitStatus, OomEvents};
use rustix::fd::OwnedFd;

use super::Call;
use super::reactor::Token;
use crate::stdio;

/// A process among all that the shim has had: an exec id may be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub container: Arc<str>,
    /// Empty: init.
    pub exec: Arc<str>,
    pub serial: u64,
}

impl Key {
    pub fn is_init(&self) -> bool {
        self.exec.is_empty()
    }
}

#[derive(Debug)]
pub struct Task {
    pub bundle: PathBuf,
    /// Whether its processes die with init: a pid namespace that was made for it.
    pub own_pid_namespace: bool,
    /// `None` while it is being made.
    pub container: Option<Arc<Container>>,
    pub paused: bool,
    pub init: Process,
    pub execs: HashMap<Arc<str>, Process>,
    pub oom: Option<Oom>,
    /// As many processes killed for want of memory were told.
    pub oom_told: u64,
    /// Whom the pipes of its processes belong to.
    pub io_owner: (u32, u32),
    /// Init has ended; it is told when nothing executed in the container is left.
    pub ending: Option<Exit>,
}

/// The watch for want of memory.
#[derive(Debug)]
pub struct Oom {
    pub events: OomEvents,
    pub token: Token,
}

#[derive(Debug)]
pub struct Process {
    pub key: Key,
    pub stdio: Stdio,
    pub phase: Phase,
    /// While it runs; not for init.
    pub exec: Option<Exec>,
    /// A `Delete` is at it.
    pub deleting: bool,
    /// `Wait`s to be answered.
    pub waiting: Vec<Call>,
    pub streams: Streams,
}

/// What a client asked for, and is told by `State`.
#[derive(Debug, Clone, Default)]
pub struct Stdio {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

#[derive(Debug)]
pub enum Phase {
    /// Init: a worker makes the container.
    Creating,
    /// Init: waits for `Start`.
    Created {
        pid: i32,
        exit: Option<Token>,
    },
    /// An exec: its `process` object, until it is started.
    Added {
        spec: Vec<u8>,
    },
    /// A worker starts it. Init is there already, and may end before `start` returns: then that is told after the start.
    Starting {
        pid: Option<i32>,
        exit: Option<Token>,
        ended: Option<Exit>,
    },
    Running {
        pid: i32,
        exit: Option<Token>,
    },
    Exited(Exit),
}

impl Phase {
    pub fn pid(&self) -> Option<i32> {
        match self {
            Phase::Creating | Phase::Added { .. } => None,
            Phase::Created { pid, .. } | Phase::Running { pid, .. } => Some(*pid),
            Phase::Starting { pid, .. } => *pid,
            Phase::Exited(exit) => Some(exit.pid),
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub pid: i32,
    /// As a shell has it: 128 and the signal.
    pub status: u32,
    pub at: SystemTime,
}

impl Exit {
    /// `status`: `None` where the kernel lost it, which is told as a SIGKILL is.
    pub fn now(pid: i32, status: Option<ExitStatus>) -> Exit {
        let status = status.map_or(137, ExitStatus::code);
        Exit {
            pid,
            status: u32::try_from(status).unwrap_or(255),
            at: SystemTime::now(),
        }
    }
}

/// What goes in and out of a process.
#[derive(Debug, Default)]
pub struct Streams {
    /// The pumps that still run, by their number in the daemon.
    pub inputs: Vec<u64>,
    pub outputs: Vec<Output>,
    /// Keeps the client's stdin fifo from ending until `CloseIO`.
    pub stdin: Option<stdio::StdinKeeper>,
    /// `CloseIO` came before the process was started.
    pub stdin_closed: bool,
    pub terminal: Option<OwnedFd>,
    pub logger: Option<u64>,
    /// It has ended, and what it wrote is not through yet.
    pub held: Option<Exit>,
    /// The `Delete` that waits for the outputs.
    pub draining: Option<Call>,
}

/// A pump from the process.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub number: u64,
    /// The process has ended, and all that it wrote has gone out; another one may hold the pipe.
    pub through: bool,
}

impl Process {
    pub fn new(key: Key, stdio: Stdio, phase: Phase) -> Process {
        Process {
            key,
            stdio,
            phase,
            exec: None,
            deleting: false,
            waiting: Vec::new(),
            streams: Streams::default(),
        }
    }
}

impl Task {
    pub fn process(&mut self, exec: &str) -> Option<&mut Process> {
        if exec.is_empty() {
            Some(&mut self.init)
        } else {
            self.execs.get_mut(exec)
        }
    }

    /// Whether something executed in it runs, or is about to.
    pub fn has_running_execs(&self) -> bool {
        self.execs.values().any(|process| {
            matches!(
                process.phase,
                Phase::Starting { .. } | Phase::Running { .. }
            )
        })
    }
}
