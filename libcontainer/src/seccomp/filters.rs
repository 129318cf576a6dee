//! Reading the seccomp filters of a process that runs, of a container or not.
//!
//! The kernel shows them to a tracer only (PTRACE_SECCOMP_GET_FILTER, ptrace(2)) and while the process is stopped. It is stopped for the
//! time that takes, tens of microseconds, and goes on whatever becomes of us. What it can notice is what it would notice of SIGSTOP and
//! SIGCONT: one of the few calls that signal(7) lists, such as epoll_wait, may come back with EINTR.

use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::CWD;
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Refused};
use crate::{kernel_file, sys};

/// How long a process may take to stop: one in uninterruptible sleep does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at a process that has not stopped yet.
const PAUSE: Duration = Duration::from_micros(50);

/// The filters of a process (by the number of one of its threads), in the order in which they were loaded. Each is an array of
/// `struct sock_filter` as the kernel has it. Empty: it has none.
///
/// Needs CAP_SYS_ADMIN in the first user namespace, and a caller without a filter. Errors: NotFound: no such process; Refused: not
/// permitted, or it does not stop; Unsupported: a kernel without CONFIG_CHECKPOINT_RESTORE, strict mode.
pub fn seccomp_filters(pid: i32) -> Result<Vec<Vec<u8>>, Error> {
    let status = Status::read(pid)?;
    match status.mode {
        0 => return Ok(Vec::new()),
        2 => {}
        _ => {
            let text = format!(
                "process {pid} is in strict mode (read, write, exit and sigreturn): it has no filter to show"
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    }
    if status.tracer != 0 {
        let text = format!(
            "process {pid} is traced by process {}: it can have but one tracer",
            status.tracer
        );
        return Err(Error::new(ErrorKind::Refused, text));
    }
    // The tracer is a thread: with its end, also an early one, the kernel lets the process go.
    let reading = thread::spawn(move || read(pid));
    reading
        .join()
        .map_err(|_| Error::new(ErrorKind::Internal, "the tracing thread panicked"))?
}

fn read(pid: i32) -> Result<Vec<Vec<u8>>, Error> {
    let refused = |call: &'static str| move |errno| refusal(pid, call, errno);
    sys::seize(pid).map_err(refused("ptrace(PTRACE_SEIZE)"))?;
    sys::interrupt(pid).map_err(refused("ptrace(PTRACE_INTERRUPT)"))?;
    let signal = await_stop(pid)?;
    let mut filters = Vec::new();
    let read = loop {
        match sys::seccomp_filter(pid, filters.len()) {
            Ok(program) => filters.push(program.into_iter().flat_map(u64::to_ne_bytes).collect()),
            Err(Errno::NOENT) => break Ok(filters),
            Err(errno) => break Err(refusal(pid, "ptrace(PTRACE_SECCOMP_GET_FILTER)", errno)),
        }
    };
    // One that was killed meanwhile needs no tracer to let it go.
    match sys::detach(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => read,
        Err(errno) => Err(refusal(pid, "ptrace(PTRACE_DETACH)", errno)),
    }
}

/// The signal that it stopped for.
fn await_stop(pid: i32) -> Result<i32, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match sys::stopped(pid) {
            Ok(Some(signal)) => return Ok(signal),
            Ok(None) if Instant::now() < until => thread::sleep(PAUSE),
            Ok(None) => {
                let text = format!(
                    "process {pid} did not stop within {} s: it is frozen, or waits for a device",
                    PATIENCE.as_secs()
                );
                return Err(Error::new(ErrorKind::Refused, text));
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(refusal(pid, "waitpid", errno)),
        }
    }
}

/// What the kernel's answers mean here.
fn refusal(pid: i32, call: &'static str, errno: Errno) -> Error {
    let hint = match errno {
        Errno::SRCH | Errno::CHILD => return gone(pid),
        Errno::INVAL | Errno::IO => {
            let text =
                "this kernel does not show filters: it is built without CONFIG_CHECKPOINT_RESTORE";
            return Error::new(ErrorKind::Unsupported, text);
        }
        Errno::PERM => "only a process that may trace it (CAP_SYS_PTRACE) is shown its filters",
        Errno::ACCESS => {
            "only a process with CAP_SYS_ADMIN in the first user namespace, and without a filter of its own, is shown filters"
        }
        _ => return Refused::call(call, errno).into(),
    };
    Refused {
        hint: Some(hint.to_owned()),
        ..Refused::call(format!("{call} of process {pid}"), errno)
    }
    .into()
}

fn gone(pid: i32) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no process {pid}"))
}

/// What `/proc/PID/status` says.
struct Status {
    /// 0: no seccomp, 1: strict mode, 2: filters.
    mode: u32,
    /// 0: nobody.
    tracer: i32,
}

impl Status {
    fn read(pid: i32) -> Result<Status, Error> {
        let path = format!("/proc/{pid}/status");
        let bytes = kernel_file::read_all(CWD, path.as_str()).map_err(|errno| match errno {
            Errno::NOENT | Errno::SRCH => gone(pid),
            errno => Refused::new("open", &path, errno).into(),
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|value| value.trim().parse::<u32>().ok())
        };
        Ok(Status {
            mode: field("Seccomp").unwrap_or(0),
            tracer: field("TracerPid").map_or(0, u32::cast_signed),
        })
    }
}
