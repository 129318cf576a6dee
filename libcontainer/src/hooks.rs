//! Runs the hooks of the host: prestart, createRuntime, poststart and poststop.
//!
//! A hook gets the state on standard input, `/` as its directory, and the environment its configuration gives it (or ours, when it gives
//! none): nothing of the container's (R17). Its output is read all the time, so that it never blocks, and the first 64 KiB of each
//! stream are kept for the error. Past its timeout it is killed. Nothing of the calling process is changed: no handler, no mask, no wait for
//! any other child. A host program that reaps every child, or ignores SIGCHLD, may take the exit status; then the hook counts as failed.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use crate::config::Hook;
use crate::error::{Error, ErrorKind, Pointer};
use crate::kernel_file::retry;
use crate::sys::{HookProgram, spawn_hook};

/// How much of each output stream is kept for the error message.
const KEPT: usize = 64 * 1024;
/// What a pipe holds (pipe(7)).
const PIPE: usize = 64 * 1024;

/// The kinds of hook that run on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    Prestart,
    CreateRuntime,
    Poststart,
    Poststop,
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HookKind::Prestart => "prestart",
            HookKind::CreateRuntime => "createRuntime",
            HookKind::Poststart => "poststart",
            HookKind::Poststop => "poststop",
        })
    }
}

/// A hook failed. The text is runc's.
#[derive(Debug, thiserror::Error)]
#[error("error running {kind} hook #{index}: {failure}")]
pub struct HookError {
    pub kind: HookKind,
    /// Its place in the list of its kind.
    pub index: usize,
    pub failure: HookFailure,
}

impl HookError {
    /// Its place in config.json.
    pub fn pointer(&self) -> Pointer {
        let hooks = Pointer::CONFIG.key("hooks");
        hooks.key(&self.kind.to_string()).index(self.index)
    }
}

/// How a hook failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookFailure {
    #[error(
        "{end}, stdout: {}, stderr: {}",
        String::from_utf8_lossy(stdout),
        String::from_utf8_lossy(stderr)
    )]
    Ended {
        end: HookEnd,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    },
    #[error("hook ran past specified timeout of {:.1}s", limit.as_secs_f64())]
    Timeout { limit: Duration },
    /// The errno is given by its name: engines take the phrase "no such file or directory" for a missing container command.
    #[error("cannot execute {path}: {}", errno_name(*errno))]
    Spawn { path: String, errno: Errno },
    #[error("{call}: {errno}")]
    Kernel {
        call: &'static str,
        errno: crate::Errno,
    },
}

/// How the process of a hook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookEnd {
    Exited(i32),
    Killed(i32),
    /// The host process, or its ignoring SIGCHLD, took the status.
    Unknown,
}

impl fmt::Display for HookEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookEnd::Exited(code) => write!(f, "exit status {code}"),
            HookEnd::Killed(signal) => write!(f, "signal {signal}"),
            HookEnd::Unknown => f.write_str(
                "exit status unknown: the host process reaps children that are not its own",
            ),
        }
    }
}

fn errno_name(errno: Errno) -> String {
    match errno {
        Errno::NOENT => "ENOENT".to_owned(),
        Errno::ACCESS => "EACCES".to_owned(),
        Errno::PERM => "EPERM".to_owned(),
        Errno::NOTDIR => "ENOTDIR".to_owned(),
        Errno::NOEXEC => "ENOEXEC".to_owned(),
        other => format!("errno {}", other.raw_os_error()),
    }
}

/// Runs the hooks one after the other; the first that fails ends it. `state` is the state as JSON. Blocks until they have ended.
pub fn run_all(kind: HookKind, hooks: &[Hook], state: &[u8]) -> Result<(), Error> {
    for (index, hook) in hooks.iter().enumerate() {
        run(hook, state).map_err(|failure| {
            Error::new(
                ErrorKind::Refused,
                HookError {
                    kind,
                    index,
                    failure,
                },
            )
        })?;
    }
    Ok(())
}

/// Runs one hook to its end.
pub fn run(hook: &Hook, state: &[u8]) -> Result<(), HookFailure> {
    let limit = hook
        .timeout_s
        .map(|seconds| Duration::from_secs(seconds.into()));
    let deadline = limit.map(|limit| Instant::now() + limit);
    let (stdout, stdout_write) = capture()?;
    let (stderr, stderr_write) = capture()?;
    let process = spawn(hook, &state_file(state)?, &stdout_write, &stderr_write)?;
    // Our copies of the write ends: the end of file shows when the hook and its children have closed theirs.
    drop((stdout_write, stderr_write));
    let mut streams = [stdout, stderr];
    if !process.watch(&mut streams, deadline)? {
        process.kill()?;
        // The status of a process that we killed says nothing; it must only not be left behind.
        let _ = process.reap();
        return Err(HookFailure::Timeout {
            limit: limit.unwrap_or_default(),
        });
    }
    let end = process.reap()?;
    for stream in &mut streams {
        stream.drain()?;
    }
    let [stdout, stderr] = streams.map(|stream| stream.kept);
    if end == HookEnd::Exited(0) {
        Ok(())
    } else {
        Err(HookFailure::Ended {
            end,
            stdout,
            stderr,
        })
    }
}

fn kernel(call: &'static str) -> impl Fn(Errno) -> HookFailure {
    move |errno| HookFailure::Kernel {
        call,
        errno: errno.into(),
    }
}

fn io(call: &'static str) -> impl Fn(std::io::Error) -> HookFailure {
    move |error| HookFailure::Kernel {
        call,
        errno: crate::Errno(error.raw_os_error().unwrap_or_default()),
    }
}

/// The state as a file at its start: unlike a pipe it takes any length at once, and a hook that does not read it raises no SIGPIPE.
fn state_file(state: &[u8]) -> Result<OwnedFd, HookFailure> {
    let flags = MemfdFlags::CLOEXEC;
    // Where vm.memfd_noexec is 2 the flag is demanded; before Linux 6.3 it is unknown.
    let fd = match memfd_create(c"garboard-state", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(c"garboard-state", flags),
        other => other,
    }
    .map_err(kernel("memfd_create"))?;
    let mut file = File::from(fd);
    file.write_all(state).map_err(io("write"))?;
    file.rewind().map_err(io("lseek"))?;
    Ok(file.into())
}

/// Starts the hook.
fn spawn(
    hook: &Hook,
    stdin: &OwnedFd,
    stdout: &OwnedFd,
    stderr: &OwnedFd,
) -> Result<Process, HookFailure> {
    let inherited: Vec<CString>;
    let env = match &hook.env {
        Some(env) => env,
        None => {
            inherited = environment();
            &inherited
        }
    };
    let path = std::slice::from_ref(&hook.path);
    let pid = spawn_hook(&HookProgram {
        path: &hook.path,
        args: if hook.args.is_empty() {
            path
        } else {
            &hook.args
        },
        env,
        stdio: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
    })
    .map_err(|errno| HookFailure::Spawn {
        path: hook.path.to_string_lossy().into_owned(),
        errno,
    })?;
    // A host that reaps everything may have done so already.
    let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    Ok(Process { pidfd })
}

/// The environment of this program, as a child gets it.
pub fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter_map(|(key, value)| {
            let mut text = key.into_vec();
            text.push(b'=');
            text.extend(value.into_vec());
            CString::new(text).ok()
        })
        .collect()
}

/// The process of a hook.
struct Process {
    pidfd: Option<OwnedFd>,
}

impl Process {
    /// Reads the output until the process has ended, or (`false`) the deadline has come. A grandchild that keeps the output open is not
    /// waited for.
    fn watch(
        &self,
        streams: &mut [Stream; 2],
        deadline: Option<Instant>,
    ) -> Result<bool, HookFailure> {
        loop {
            let timeout =
                match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                    Some(left) if left.is_zero() => return Ok(false),
                    Some(left) => Some(Timespec {
                        tv_sec: left.as_secs().cast_signed(),
                        tv_nsec: left.subsec_nanos().into(),
                    }),
                    None => None,
                };
            let Some(pidfd) = &self.pidfd else {
                return Ok(true);
            };
            let mut watched = vec![PollFd::new(pidfd, PollFlags::IN)];
            watched.extend(
                streams
                    .iter()
                    .filter_map(|stream| stream.fd.as_ref())
                    .map(|fd| PollFd::new(fd, PollFlags::IN)),
            );
            retry(|| poll(&mut watched, timeout.as_ref())).map_err(kernel("poll"))?;
            let ended = !watched[0].revents().is_empty();
            drop(watched);
            for stream in streams.iter_mut() {
                stream.drain()?;
            }
            if ended {
                return Ok(true);
            }
        }
    }

    fn kill(&self) -> Result<(), HookFailure> {
        match self
            .pidfd
            .as_ref()
            .map(|pidfd| pidfd_send_signal(pidfd, Signal::KILL))
        {
            Some(Err(errno)) if errno != Errno::SRCH => Err(kernel("pidfd_send_signal")(errno)),
            _ => Ok(()),
        }
    }

    fn reap(&self) -> Result<HookEnd, HookFailure> {
        let Some(pidfd) = &self.pidfd else {
            return Ok(HookEnd::Unknown);
        };
        match retry(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)) {
            Ok(Some(status)) => Ok(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => HookEnd::Exited(code),
                (_, Some(signal)) => HookEnd::Killed(signal),
                _ => HookEnd::Unknown,
            }),
            Ok(None) | Err(Errno::CHILD) => Ok(HookEnd::Unknown),
            Err(errno) => Err(kernel("waitid")(errno)),
        }
    }
}

/// A pipe for one output stream: our end, and the hook's.
fn capture() -> Result<(Stream, OwnedFd), HookFailure> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(kernel("pipe2"))?;
    // Only our end: the hook's own output must block as usual.
    fcntl_setfl(&read, OFlags::NONBLOCK).map_err(kernel("fcntl(F_SETFL)"))?;
    Ok((
        Stream {
            fd: Some(read),
            kept: Vec::new(),
        },
        write,
    ))
}

/// One output stream of a running hook.
struct Stream {
    /// `None` after its end.
    fd: Option<OwnedFd>,
    kept: Vec<u8>,
}

impl Stream {
    /// Reads what is there, but no more than a full pipe: a writer without end must not keep us from the deadline.
    fn drain(&mut self) -> Result<(), HookFailure> {
        let mut chunk = [0u8; 4096];
        for _ in 0..PIPE / chunk.len() {
            let Some(fd) = &self.fd else { break };
            match retry(|| read(fd, &mut chunk[..])) {
                Ok(0) => self.fd = None,
                Ok(length) => {
                    let room = KEPT.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&chunk[..length.min(room)]);
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(kernel("read")(errno)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "hooks_tests.rs"]
mod tests;
