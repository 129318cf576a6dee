//! Seccomp from outside: profiles to put into bundles, what the probe's calls came to, and an agent that answers a filter that notifies.

use std::io::{IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use seccomp_profiles::{Arch, Syscall};
use serde_json::{Value, json};

use crate::case::Failure;
use crate::runtime::Output;
use crate::{processes, sys};

/// What the probe says of a call that did not come back.
pub const BLOCKED: i32 = -1000;

/// The number of a system call here.
pub fn number(name: &str) -> u32 {
    let native = Arch::native().expect("an architecture with a table");
    let call = Syscall::named(name).and_then(|call| call.number(native));
    call.unwrap_or_else(|| panic!("no system call {name}"))
}

/// A profile that allows everything but `rules`: (names, action).
pub fn allow_but(rules: &[(&[&str], &str)]) -> Value {
    profile("SCMP_ACT_ALLOW", rules)
}

/// A profile of the native architecture.
pub fn profile(default: &str, rules: &[(&[&str], &str)]) -> Value {
    let rules: Vec<Value> = rules
        .iter()
        .map(|(names, action)| json!({"names": names, "action": action}))
        .collect();
    json!({"defaultAction": default, "syscalls": rules})
}

/// What `probe calls` printed: one number a call.
pub fn outcomes(output: &Output) -> Result<Vec<i32>, Failure> {
    let text = output.stdout();
    let line: Value = serde_json::from_str(text.lines().last().unwrap_or(""))
        .map_err(|e| Failure::new(format!("the probe said {text:?}: {e}")))?;
    Ok(serde_json::from_value(line["calls"].clone())?)
}

/// The filters in force in a process, and the mode: (`Seccomp`, `Seccomp_filters`) less this process's own filters.
pub fn filters(pid: i32) -> Result<(String, i64), Failure> {
    let field = |pid, name: &str| {
        processes::status_field(pid, name)
            .ok_or_else(|| Failure::new(format!("no {name} of process {pid}")))
    };
    let count = |pid| -> Result<i64, Failure> { Ok(field(pid, "Seccomp_filters")?.parse()?) };
    let own = count(std::process::id().cast_signed())?;
    Ok((field(pid, "Seccomp")?, count(pid)? - own))
}

/// A message that came to the agent.
#[derive(Debug, Clone)]
pub struct Given {
    /// The document.
    pub document: Value,
    /// How many descriptors came with it.
    pub descriptors: usize,
    /// What came after it on the same connection.
    pub rest: Vec<u8>,
}

#[derive(Debug, Default)]
struct Seen {
    given: Vec<Given>,
    calls: Vec<(i32, u32)>,
    trouble: Vec<String>,
}

/// An agent: takes listeners at its socket, and lets every call go on but those it was told to refuse.
#[derive(Debug)]
pub struct Agent {
    /// Where it listens.
    pub path: PathBuf,
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Listens at `path`; the calls in `refused` get the errno.
    pub fn listen(path: &Path, refused: &[(&str, i32)]) -> Result<Agent, Failure> {
        let socket = UnixListener::bind(path)?;
        socket.set_nonblocking(true)?;
        let refused: Vec<(u32, i32)> = refused
            .iter()
            .map(|(name, errno)| (number(name), *errno))
            .collect();
        let seen = Arc::<Mutex<Seen>>::default();
        let over = Arc::<AtomicBool>::default();
        let work = Work {
            seen: Arc::clone(&seen),
            over: Arc::clone(&over),
            refused,
        };
        let thread = std::thread::spawn(move || work.accept(&socket));
        Ok(Agent {
            path: path.to_owned(),
            seen,
            over,
            thread: Some(thread),
        })
    }

    /// The messages so far. Errors: what went wrong in the agent.
    pub fn given(&self) -> Result<Vec<Given>, Failure> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.trouble.is_empty() {
            Ok(seen.given.clone())
        } else {
            Err(Failure::new(seen.trouble.join("; ")))
        }
    }

    /// The calls so far, as (process, number).
    pub fn calls(&self) -> Vec<(i32, u32)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.calls.clone()
    }

    /// Whether it was asked about this call.
    pub fn was_asked(&self, name: &str) -> bool {
        self.calls().iter().any(|(_, call)| *call == number(name))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of its has been printed.
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Work {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    refused: Vec<(u32, i32)>,
}

impl Work {
    fn accept(&self, socket: &UnixListener) {
        let mut threads = Vec::new();
        while self.waits(socket.as_fd()) {
            let Ok((stream, _)) = socket.accept() else {
                continue;
            };
            match take(&stream) {
                Ok((given, listener)) => {
                    let mut at = 0;
                    self.note(|seen| {
                        at = seen.given.len();
                        seen.given.push(given);
                    });
                    let work = self.clone();
                    threads.push(std::thread::spawn(move || work.answer(&listener)));
                    let work = self.clone();
                    threads.push(std::thread::spawn(move || work.hear_out(&stream, at)));
                }
                Err(failure) => self.note(|seen| seen.trouble.push(failure.to_string())),
            }
        }
        for thread in threads {
            // A panic of its has been printed.
            let _ = thread.join();
        }
    }

    fn answer(&self, listener: &OwnedFd) {
        while self.waits(listener.as_fd()) {
            // Nobody is left: a hang-up, which poll gives at once each time.
            let Ok((id, pid, call)) = sys::next_notification(listener) else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            let call = call.cast_unsigned();
            let refused = self.refused.iter().find(|(refused, _)| *refused == call);
            self.note(|seen| seen.calls.push((pid, call)));
            // The process may have been killed meanwhile.
            let _ = sys::answer_notification(listener, id, refused.map(|(_, errno)| *errno));
        }
    }

    /// Whatever else comes on the connection of message number `at`.
    fn hear_out(&self, mut stream: &UnixStream, at: usize) {
        let mut bytes = [0; 64];
        while self.waits(stream.as_fd()) {
            match stream.read(&mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    self.note(|seen| seen.given[at].rest.extend_from_slice(&bytes[..length]));
                }
            }
        }
    }

    /// Waits for something to come; false once the case is over, or the other end hung up.
    fn waits(&self, fd: std::os::fd::BorrowedFd<'_>) -> bool {
        while !self.over.load(Ordering::Relaxed) {
            let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
            let found = poll(&mut fds, PollTimeout::from(20_u8)).unwrap_or(0);
            let events = fds[0].revents().unwrap_or(PollFlags::empty());
            if found > 0 && events.contains(PollFlags::POLLIN) {
                return true;
            }
            if events.contains(PollFlags::POLLHUP) {
                return false;
            }
        }
        false
    }

    fn note(&self, what: impl FnOnce(&mut Seen)) {
        what(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// One message with a listener.
fn take(stream: &UnixStream) -> Result<(Given, OwnedFd), Failure> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(crate::place::patience(Duration::from_secs(10))))?;
    let mut bytes = vec![0; 65536];
    let mut space = nix::cmsg_space!([i32; 8]);
    let (length, raw) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let mut raw = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                raw.extend(fds);
            }
        }
        (message.bytes, raw)
    };
    let mut fds: Vec<OwnedFd> = raw.into_iter().map(sys::own).collect();
    let given = Given {
        document: serde_json::from_slice(&bytes[..length])?,
        descriptors: fds.len(),
        rest: Vec::new(),
    };
    let listener = fds
        .pop()
        .ok_or_else(|| Failure::new("a message without a descriptor"))?;
    Ok((given, listener))
}
