//! Hooks that run inside the container: createContainer before pivot_root, startContainer after `start`.

use core::ffi::CStr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, SeekFrom, memfd_create, seek};
use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Signal, WaitId, WaitIdOptions, chdir, getpid, pidfd_send_signal, umask, waitid,
};
use rustix::time::{ClockId, clock_gettime};

use crate::fault::{Fault, On, Result};
use crate::message::{Call, DETAIL_MAX};
use crate::sys::{self, Forked};
use crate::wire::List;
use crate::{program, stdio};

/// A hook to run.
pub struct Hook<'p> {
    pub path: &'p CStr,
    pub args: List<'p>,
    pub env: List<'p>,
    pub timeout_s: u32,
    pub state: &'p CStr,
    pub pid_at: u32,
    /// For a hook that runs while ours is empty; `None`: it keeps ours.
    pub umask: Option<Mode>,
}

/// The first bytes a hook wrote to its stdout and stderr, for the error message.
#[derive(Debug)]
pub struct Output {
    pub bytes: [u8; DETAIL_MAX],
    pub length: usize,
}

impl Output {
    pub const fn new() -> Output {
        Output {
            bytes: [0; DETAIL_MAX],
            length: 0,
        }
    }

    fn push(&mut self, part: &[u8]) {
        for byte in part {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = *byte;
                self.length = self.length.saturating_add(1);
            }
        }
    }
}

/// `errno` of a fault of [`Call::HookExit`] when the time was up.
pub const TIMED_OUT: i32 = -1;

/// Runs the hook to its end; anything but exit status 0 is a fault.
pub fn run(hook: &Hook<'_>, output: &mut Output) -> Result<()> {
    let state = state_file(hook)?;
    let (out_read, out_write) = pipe_with(PipeFlags::CLOEXEC).on(Call::Pipe)?;
    let arguments = program::table(hook.args)?;
    let environment = program::table(hook.env)?;
    let (pidfd, deadline) = match sys::fork(0).on(Call::Clone3)? {
        Forked::Child => child(hook, &state, &out_write, arguments, environment),
        Forked::Parent(_, pidfd) => (pidfd, Deadline::new(hook.timeout_s)),
    };
    drop(out_write);
    output.length = 0;
    let timed_out = watch(&pidfd, &out_read, deadline, output)?;
    let status = loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            result => break result.on(Call::Wait)?,
        }
    };
    let status = status.ok_or(Fault::new(Call::Wait, Errno::CHILD))?;
    match (timed_out, status.exit_status(), status.terminating_signal()) {
        (true, ..) => Err(Fault {
            call: Call::HookExit,
            errno: TIMED_OUT,
            argument: u64::from(hook.timeout_s),
        }),
        (false, Some(0), _) => Ok(()),
        // As wait(2) codes them: the status in the second byte, a signal in the first.
        (false, Some(code), _) => Err(Fault {
            call: Call::HookExit,
            errno: code << 8,
            argument: 0,
        }),
        (false, None, signal) => Err(Fault {
            call: Call::HookExit,
            errno: signal.unwrap_or(0),
            argument: 0,
        }),
    }
}

/// The state JSON as a file, with our pid printed into the room left for it: only here is it known.
fn state_file(hook: &Hook<'_>) -> Result<OwnedFd> {
    let file = memfd_create(c"state", MemfdFlags::CLOEXEC).on(Call::Open)?;
    let text = hook.state.to_bytes();
    let (before, rest) = text
        .split_at_checked(hook.pid_at as usize)
        .ok_or(Fault::check(Errno::INVAL))?;
    let room = rest.iter().take_while(|&&byte| byte == b' ').count();
    let mut digits = [b' '; 10];
    let mut pid = u32::try_from(getpid().as_raw_nonzero().get()).unwrap_or(0);
    for place in digits.iter_mut().rev() {
        *place = b'0'.saturating_add(u8::try_from(pid % 10).unwrap_or(0));
        pid /= 10;
        if pid == 0 {
            break;
        }
    }
    if room < digits.len() {
        return Err(Fault::check(Errno::INVAL));
    }
    for part in [before, &digits, rest.get(digits.len()..).unwrap_or(&[])] {
        let mut part = part;
        while !part.is_empty() {
            let written = write(&file, part).on(Call::Write)?;
            part = part.get(written..).unwrap_or(&[]);
        }
    }
    seek(&file, SeekFrom::Start(0)).on(Call::Read)?;
    Ok(file)
}

/// The hook's own process, up to exec. Its cwd is `/`, never a directory of the image's choice (CVE-2025-23266).
fn child(
    hook: &Hook<'_>,
    state: &OwnedFd,
    out: &OwnedFd,
    arguments: program::Table,
    environment: program::Table,
) -> ! {
    if let Some(mask) = hook.umask {
        umask(mask);
    }
    let set = rustix::stdio::dup2_stdin(state)
        .on(Call::Dup)
        .and_then(|()| {
            rustix::stdio::dup2_stdout(out).on(Call::Dup)?;
            rustix::stdio::dup2_stderr(out).on(Call::Dup)?;
            chdir(c"/").on(Call::Chdir)?;
            sys::close_range(3, u32::MAX, sys::Closing::OnExec).on(Call::CloseRange)
        });
    if set.is_ok() {
        let errno = sys::execve(hook.path, arguments, environment);
        stdio::say(&[
            b"exec ",
            hook.path.to_bytes(),
            b": ",
            program::text(errno).as_bytes(),
            b"\n",
        ]);
    }
    sys::exit(127)
}

/// When a hook has to be done: nanoseconds of the monotonic clock.
struct Deadline(Option<i64>);

const SECOND: i64 = 1_000_000_000;

impl Deadline {
    fn new(timeout_s: u32) -> Deadline {
        let limit = i64::from(timeout_s).saturating_mul(SECOND);
        Deadline((timeout_s > 0).then(|| now().saturating_add(limit)))
    }

    /// The time left, in nanoseconds; `None`: for ever.
    fn left(&self) -> Option<i64> {
        self.0.map(|end| end.saturating_sub(now()).max(0))
    }
}

fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec
        .saturating_mul(SECOND)
        .saturating_add(now.tv_nsec)
}

/// What is read after the hook's end at most: as much as a pipe holds (pipe(7)), since a grandchild may write without end.
const PIPE: usize = 64 * 1024;

/// Collects output until the hook has exited; kills it when its time is up. A grandchild that keeps the pipe open does not keep us.
fn watch(pidfd: &OwnedFd, out: &OwnedFd, deadline: Deadline, output: &mut Output) -> Result<bool> {
    let mut buffer = [0u8; 512];
    let mut open = true;
    let mut rest = PIPE;
    loop {
        let left = deadline.left();
        let timeout = left.map(|left| Timespec {
            tv_sec: left.checked_div(SECOND).unwrap_or(0),
            tv_nsec: left.checked_rem(SECOND).unwrap_or(0),
        });
        let mut fds = [
            PollFd::new(pidfd, PollFlags::IN),
            PollFd::new(out, PollFlags::IN),
        ];
        let [exit, _] = &mut fds;
        let watched = if open {
            &mut fds[..]
        } else {
            core::slice::from_mut(exit)
        };
        match poll(watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Fault::new(Call::Poll, errno)),
        }
        let exited = fds.first().is_some_and(|fd| !fd.revents().is_empty());
        let readable = open && fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        // Also for a hook that always has something to say.
        if left == Some(0) && !exited {
            pidfd_send_signal(pidfd, Signal::KILL).on(Call::Wait)?;
            return Ok(true);
        }
        if exited && (!readable || rest == 0) {
            return Ok(false);
        }
        if readable {
            let length = read(out, &mut buffer).on(Call::Read)?;
            open = length > 0;
            output.push(buffer.get(..length).unwrap_or(&[]));
            if exited {
                rest = rest.saturating_sub(length);
            }
        }
    }
}
