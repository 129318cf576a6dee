//! The process that `start` leaves behind: the same program without a word, with the listening socket as its stdin.
//!
//! What it is to inherit (OOM score, cgroup, core scheduling cookie) is set on `start` itself, which ends at once anyway: so there is no
//! moment at which the shim is without it, and nothing that can fail once the shim is there.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::process::getppid;
use rustix::thread::CoreSchedulingScope;

use super::request::Request;
use super::{Error, cgroup};
use crate::arguments::Task;
use crate::options::Options;

/// The largest oom_score_adj (proc(5)).
const OOM_MAX: i32 = 1000;

/// Starts it. It runs from then on by itself.
pub fn spawn(
    task: &Task,
    request: &Request,
    options: &Options,
    listener: OwnedFd,
) -> Result<Child, Error> {
    if let Some(path) = &options.shim_cgroup {
        cgroup::join(path)?;
    }
    if std::env::var_os("SCHED_CORE").is_some_and(|value| !value.is_empty()) {
        // Of the process group, which the shim leaves; the cookie stays with it.
        let own = rustix::process::getpid();
        rustix::thread::create_core_scheduling_cookie(own, CoreSchedulingScope::ProcessGroup)
            .map_err(Error::CoreScheduling)?;
    }
    be_killed_before_containerd();
    let log = || log().map_or_else(Stdio::null, Stdio::from);
    let mut command = Command::new(own_path());
    command
        .args(["-namespace", &task.namespace, "-id", &task.id])
        .args(["-address", &task.address])
        // One arena for all threads: each of its own would cost a page and more.
        .env("MALLOC_ARENA_MAX", "1")
        // It belongs to containerd; the library would hand it to containers.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::from(listener))
        .stdout(log())
        .stderr(log())
        .process_group(0);
    if request.debug {
        command.arg("-debug");
    }
    if let Some(address) = &request.events {
        command.env("TTRPC_ADDRESS", address);
    }
    command.spawn().map_err(Error::Spawn)
}

/// By its name, which then is what ps shows; an updated package has taken the name away.
fn own_path() -> std::path::PathBuf {
    let itself = Path::new("/proc/self/exe");
    match std::env::current_exe() {
        Ok(path) if !path.as_os_str().as_encoded_bytes().ends_with(b" (deleted)") => path,
        _ => itself.to_owned(),
    }
}

/// One more than containerd's score, so that containerd outlives the shim when memory runs out. Where it cannot be set the shim has
/// containerd's own.
fn be_killed_before_containerd() {
    let Some(parent) = getppid() else { return };
    let path = format!("/proc/{}/oom_score_adj", parent.as_raw_nonzero());
    let read = || -> Option<i32> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    if let Some(score) = read() {
        let score = (score + 1).min(OOM_MAX).to_string();
        let _ = std::fs::write("/proc/self/oom_score_adj", score); // see above
    }
}

/// The bundle's `log`, a fifo that containerd reads. Both ends are opened, without waiting: a containerd that is gone neither holds the
/// shim up nor ends it, and one that comes back reads on.
fn log() -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(CWD, "log", flags, Mode::empty()).ok()?;
    let kind = FileType::from_raw_mode(fstat(&fd).ok()?.st_mode);
    (kind == FileType::Fifo).then_some(fd)
}
