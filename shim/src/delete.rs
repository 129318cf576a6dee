//! The word `delete`: removes what is left of a container whose shim is dead, or cannot be spoken to.
//!
//! All it needs lies in the bundle and in the state root. It may be called at any time and again: what is gone already is no error. A
//! part that fails does not keep the others from being done; containerd logs what is written to stderr, and goes on.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use containerd_shim_protos::api::DeleteResponse;
use libcontainer::{ErrorKind, Runtime};
use protobuf::well_known_types::timestamp::Timestamp;
use protobuf::{Message, MessageField};

use crate::arguments::Task;
use crate::mounts;
use crate::options::Options;
use crate::socket;

/// Of a process that SIGKILL ended: nobody knows better, the shim that waited for it is gone.
const KILLED: u32 = 128 + 9;

/// What was done.
#[derive(Debug)]
pub struct Deleted {
    /// The bytes of a `DeleteResponse`.
    pub reply: Vec<u8>,
    /// What could not be done, a line each.
    pub warnings: Vec<String>,
}

/// Does it.
pub fn run(task: &Task) -> Deleted {
    let bundle = task.bundle.as_deref().unwrap_or(Path::new("."));
    let mut warnings = Vec::new();
    let mut note = |what: &str, error: &dyn std::fmt::Display| {
        warnings.push(format!("{what}: {error}"));
    };
    let options = Options::load(bundle)
        .inspect_err(|error| note("options", error))
        .ok()
        .flatten()
        .map_or_else(|| Options::default_of(&task.namespace), Ok);
    let pid = match options {
        Ok(options) => remove(&options.root, &task.id)
            .inspect_err(|error| note("container", error))
            .unwrap_or_default(),
        Err(error) => {
            note("options", &error);
            0
        }
    };
    if let Err(error) = mounts::unmount_all(&bundle.join("rootfs")) {
        note("unmount", &error);
    }
    if let Some(path) = address(bundle)
        && let Err(error) = socket::remove_dead(&path)
    {
        note("socket", &error);
    }
    Deleted {
        reply: reply(pid),
        warnings,
    }
}

/// The container, with whatever runs in it. What it says is init's pid, 0 if it was gone.
fn remove(root: &Path, id: &str) -> Result<u32, libcontainer::Error> {
    let runtime = match Runtime::open_existing(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        runtime => runtime?,
    };
    // For the reply only: a container that cannot be read is deleted nevertheless.
    let pid = runtime.container(id).map(|container| container.pid());
    runtime.delete(id, true)?;
    Ok(pid
        .ok()
        .and_then(|pid| pid.try_into().ok())
        .unwrap_or_default())
}

/// Where the shim of this bundle listened.
fn address(bundle: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(bundle.join("address")).ok()?;
    text.strip_prefix("unix://").map(PathBuf::from)
}

fn reply(pid: u32) -> Vec<u8> {
    // A clock before 1970 is as wrong as no time at all.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let response = DeleteResponse {
        pid,
        exit_status: KILLED,
        exited_at: MessageField::some(Timestamp {
            seconds: now.as_secs() as i64,
            nanos: now.subsec_nanos() as i32,
            ..Timestamp::new()
        }),
        ..DeleteResponse::new()
    };
    response
        .write_to_bytes()
        .expect("a message of three small fields encodes")
}
