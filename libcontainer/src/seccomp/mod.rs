//! The seccomp filter of a container's processes: compiled here, loaded by the stage as its last act, its listener given to the agent.
//!
//! A container's filter is compiled once, while its first stage mounts, and kept in the record: an exec sends what is there. The agent of a
//! profile that notifies gets the listener before `start`, with the *container process state* (runtime-spec config-linux.md "seccomp"),
//! in one message; a process whose agent cannot be reached does not come to be.

mod filters;
mod listener;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::{self, Agent, ConfigErrors};
use crate::error::{Error, ErrorKind, Pointer};
use crate::handover;
use crate::plan::PlannedFilter;
use crate::state::{Record, StateDocument, Status};

pub use filters::seccomp_filters;
pub use listener::{CallListener, SystemCall};

const SECCOMP: Pointer = Pointer::fixed("config.json#/linux/seccomp");

/// Where the agent's socket stands.
const LISTENER_PATH: Pointer = Pointer::fixed("config.json#/linux/seccomp/listenerPath");

/// A compiled filter, as the record keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// SECCOMP_FILTER_FLAG_* (seccomp(2)).
    pub flags: u32,
    /// `struct sock_filter` each, as the eight bytes of a number in the machine's order.
    pub program: Vec<u64>,
    /// Where the filter notifies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
}

impl Filter {
    /// Compiles a profile. Pure. Errors: InvalidConfig when the filter is larger than the kernel takes.
    pub fn compile(seccomp: &config::Seccomp) -> Result<Filter, Error> {
        let compiled = seccomp_profiles::compile(&seccomp.profile)
            .map_err(|error| Error::from(ConfigErrors::one(SECCOMP, error.to_string())))?;
        let program = compiled
            .program
            .instructions
            .iter()
            .map(|instruction| u64::from_ne_bytes(instruction.to_bytes()))
            .collect();
        Ok(Filter {
            flags: seccomp.flags,
            program,
            agent: seccomp.agent.clone(),
        })
    }

    /// What a plan must know.
    pub fn planned(&self) -> PlannedFilter {
        PlannedFilter {
            flags: self.flags,
            listens: self.agent.is_some(),
            early: self.agent.is_some(),
        }
    }

    /// The instructions as the kernel reads them.
    pub fn bytes(&self) -> Vec<u8> {
        self.program
            .iter()
            .flat_map(|instruction| instruction.to_ne_bytes())
            .collect()
    }
}

/// The *container process state* of runtime-spec 1.3.
#[derive(Serialize)]
struct ProcessState<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a StateDocument<'a>,
}

/// Gives the agent at `path` the listener of a process. Errors: Refused when nobody accepts in time.
fn give(path: &Path, listener: &OwnedFd, state: &ProcessState<'_>) -> Result<(), Error> {
    // Fails only for a path that is not UTF-8, which no record can hold.
    let document = serde_json::to_vec(state).unwrap_or_default();
    handover::send(path, &document, listener.as_fd(), Some(&LISTENER_PATH))
}

/// What a launch answers to a stage that asks for its filter, and does with the listener.
#[derive(Debug)]
pub struct Answer<'a> {
    filter: Option<&'a Filter>,
    record: &'a Record,
    status: Status,
    bytes: Vec<u8>,
    /// The listener, where the caller itself is the agent.
    calls: Option<CallListener>,
}

impl<'a> Answer<'a> {
    /// `status`: the container's, as the agent is told.
    pub fn new(filter: Option<&'a Filter>, record: &'a Record, status: Status) -> Answer<'a> {
        Answer {
            filter,
            record,
            status,
            bytes: filter.map(Filter::bytes).unwrap_or_default(),
            calls: None,
        }
    }

    pub fn bytes(&self) -> Result<&[u8], Error> {
        match self.filter {
            Some(_) => Ok(&self.bytes),
            None => Err(unplanned()),
        }
    }

    /// What goes with the word that commits, whole instructions; empty where there is no filter.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The listener of a filter whose agent is the caller.
    pub fn take_calls(&mut self) -> Option<CallListener> {
        self.calls.take()
    }

    /// The listener of the process `pid` goes to the agent.
    pub fn give(&mut self, pid: i32, listener: OwnedFd) -> Result<(), Error> {
        match self.filter.and_then(|filter| filter.agent.as_ref()) {
            Some(Agent::Socket { path, metadata }) => {
                let init = match self.status {
                    Status::Creating => pid,
                    _ => self.record.init_process_pid,
                };
                let container = StateDocument {
                    root: None,
                    ..StateDocument::new(self.record, self.status, Some(init))
                };
                let state = ProcessState {
                    oci_version: &self.record.oci_version,
                    fds: ["seccompFd"],
                    pid,
                    metadata,
                    state: &container,
                };
                give(path, &listener, &state)
            }
            Some(Agent::Caller) => {
                self.calls = Some(CallListener::new(listener));
                Ok(())
            }
            None => Err(unplanned()),
        }
    }
}

fn unplanned() -> Error {
    Error::new(ErrorKind::Internal, "a filter that the plan does not have")
}
