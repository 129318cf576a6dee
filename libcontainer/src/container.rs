//! Handles: a container, a process executed in one, and what the library tells of them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::cgroup::OomEvents;
use crate::error::{Error, ErrorKind, Refused};
use crate::event::{Event, Observer};
use crate::host::Host;
use crate::launch;
use crate::lifecycle;
use crate::notify::NotifyProxy;
use crate::request::{ExecRequest, UpdateRequest};
use crate::seccomp::CallListener;
use crate::state::{Entry, Status};
use crate::statistics::Statistics;
use crate::sys;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// exit(2) with this status.
    Exited(i32),
    /// Killed by this signal.
    Signaled(i32),
}

impl ExitStatus {
    /// What a shell says: the status, or 128 and the signal.
    pub fn code(self) -> i32 {
        match self {
            ExitStatus::Exited(code) => code,
            ExitStatus::Signaled(signal) => 128 + signal,
        }
    }
}

/// A container at one moment, as `state` prints it (runtime-spec runtime.md "State", and runc's additions).
#[derive(Debug, Clone)]
pub struct State {
    /// The `ociVersion` of its config.json.
    pub oci_version: String,
    /// Its name in the state root.
    pub id: String,
    /// 0 when stopped.
    pub pid: i32,
    /// What it is doing.
    pub status: Status,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// The root filesystem's directory, absolute.
    pub rootfs: PathBuf,
    /// RFC 3339 in UTC.
    pub created: String,
    /// Those of its config.json.
    pub annotations: BTreeMap<String, String>,
    /// Whose container it is.
    pub owner_uid: u32,
}

/// A container. The handle does not keep it alive: it exists until it is deleted.
#[derive(Debug)]
pub struct Container {
    pub(crate) entry: Entry,
    pub(crate) pid: i32,
    /// `None`: init is gone, or never was.
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) console: Option<OwnedFd>,
    pub(crate) notify: Option<NotifyProxy>,
    pub(crate) calls: Option<CallListener>,
    pub(crate) warnings: Vec<String>,
    pub(crate) observer: Observer,
    /// What is known of the machine since the handle was made.
    pub(crate) host: Host,
}

impl Container {
    /// Its name in the state root.
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// Init's pid in the caller's pid namespace; 0 when it is gone.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Init's pidfd; readable when init has ended.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// What was done without, a sentence each: unknown capabilities, best-effort steps.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The master of init's terminal, if [`crate::Console::Master`] was asked for; the first call has it.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// The state now.
    pub fn state(&self) -> Result<State, Error> {
        lifecycle::state(&self.entry, &self.host)
    }

    /// Lets a created container go on to its program, then runs the poststart hooks. Blocks for the hooks.
    /// Errors: WrongStatus with runc's texts; Refused when a hook fails (init is killed then).
    pub fn start(&self) -> Result<(), Error> {
        lifecycle::start(&self.entry, &self.host, None, &self.observer).map(drop)
    }

    /// The same for a container created with [`crate::CreateOptions::notify_socket`]: its own socket is bound before its program runs, and
    /// the proxy returned passes its readiness on to `host`, an absolute path or an abstract name after `@`. `None`: it was created
    /// without. Blocks and fails as [`Container::start`].
    pub fn start_notifying(&self, host: &Path) -> Result<Option<NotifyProxy>, Error> {
        lifecycle::start(&self.entry, &self.host, Some(host), &self.observer)
    }

    /// The proxy of a container that was run, not created, with [`crate::CreateOptions::notify_socket`]; the first call has it.
    pub fn take_notify(&mut self) -> Option<NotifyProxy> {
        self.notify.take()
    }

    /// The calls of a container made with [`crate::CreateOptions::listen_to_calls`]; the first call has them.
    pub fn take_call_listener(&mut self) -> Option<CallListener> {
        self.calls.take()
    }

    /// Sends `signal` to init. SIGKILL to a container without a pid namespace of its own kills every process in its cgroup.
    /// `all`: a container that has stopped is no error. Blocks up to 10 s, and only for the processes of that cgroup.
    /// Errors: WrongStatus `container not running`; InvalidConfig when there is no such signal.
    pub fn kill(&self, signal: i32, all: bool) -> Result<(), Error> {
        if lifecycle::kill(&self.entry, &self.host, signal, all)? {
            self.observer.tell(self.id(), Event::Signaled { signal });
        }
        Ok(())
    }

    /// Freezes every process of a container that is created or running, and returns when all stand still. What was begun is taken back
    /// when that cannot be had within 10 s: a process that sleeps uninterruptibly cannot be frozen.
    /// Errors: WrongStatus `container not running`; Unsupported where there is no freezer; Internal after the 10 s; Refused.
    pub fn pause(&self) -> Result<(), Error> {
        lifecycle::pause(&self.entry, &self.host)?;
        self.observer.tell(self.id(), Event::Paused);
        Ok(())
    }

    /// Lets a paused container go on. Cgroups that it froze by itself, below its own, stay frozen.
    /// Errors: WrongStatus `container not paused`, or when a cgroup above the container's is frozen; Internal after 10 s; Refused.
    pub fn resume(&self) -> Result<(), Error> {
        lifecycle::resume(&self.entry, &self.host)?;
        self.observer.tell(self.id(), Event::Resumed);
        Ok(())
    }

    /// Changes limits of a container that is created, running or paused, without stopping anything; what the request does not name stays.
    /// Where it fails the former limits are in force again; when not all could be put back, the observer is told a warning.
    /// Errors: InvalidConfig and Unsupported with everything that is wrong in the request, before anything is touched; WrongStatus
    /// `container not running`; Refused with the limit that the kernel did not take.
    pub fn update(&self, request: &UpdateRequest) -> Result<(), Error> {
        lifecycle::update(&self.entry, &self.host, request, &self.observer)?;
        self.observer.tell(self.id(), Event::Updated);
        Ok(())
    }

    /// Executes a further process. Returns, and blocks until, its program was executed; an error within seconds where a freeze keeps it
    /// from that. Errors: WrongStatus with runc's texts; InvalidConfig with every fault of the request; Refused.
    pub fn exec(&self, request: ExecRequest) -> Result<Exec, Error> {
        let exec = lifecycle::exec(&self.entry, self.pidfd.as_ref(), &self.host, request)?;
        self.observer
            .tell(self.id(), Event::Executed { pid: exec.pid });
        self.observer.warn(self.id(), &exec.warnings);
        Ok(exec)
    }

    /// Blocks until init has ended. Errors: Unsupported when its status cannot be had: init is no child of this process (or the host
    /// program took the status) and the kernel is older than 6.15.
    pub fn wait(&self) -> Result<ExitStatus, Error> {
        match &self.pidfd {
            Some(pidfd) => wait(pidfd),
            None => Err(Error::new(ErrorKind::WrongStatus, "container not running")),
        }
    }

    /// Removes the container, killing it first if it still runs, as [`crate::Runtime::delete`] with force; quicker, since what the handle
    /// knows need not be read again. Blocks up to 10 s for processes that do not die.
    pub fn delete(&self) -> Result<(), Error> {
        let init = self.pidfd.as_ref();
        lifecycle::delete_held(&self.entry, init, &self.host, &self.observer)
    }

    /// Every process of the container, in the caller's pid namespace; `None` when its cgroup is gone.
    pub fn processes(&self) -> Result<Option<Vec<i32>>, Error> {
        lifecycle::processes(&self.entry)
    }

    /// What it uses now. Everything is 0 or absent for a container without a cgroup (rootless). Errors: NotFound when its cgroup is
    /// gone; Refused.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        lifecycle::statistics(&self.entry)
    }

    /// Begins to watch for want of memory; what happened before is not told. The handle may be dropped meanwhile.
    /// Errors: Unsupported without a memory controller; NotFound when the cgroup is gone; Refused (v1 needs the right to write to it).
    pub fn oom_events(&self) -> Result<OomEvents, Error> {
        lifecycle::oom_events(&self.entry, self.pidfd.as_ref())
    }

    /// How many of its processes were killed for want of memory, those of cgroups below its own included. To be asked for after a process
    /// has ended and before the delete: unlike [`Container::oom_events`] it cannot come late. `None`: no memory controller, or the cgroup
    /// is gone.
    pub fn oom_kills(&self) -> Result<Option<u64>, Error> {
        lifecycle::oom_kills(&self.entry)
    }
}

/// A process executed in a container.
#[derive(Debug)]
pub struct Exec {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) console: Option<OwnedFd>,
    pub(crate) warnings: Vec<String>,
}

impl Exec {
    /// Its pid in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable when the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// As for [`Container::warnings`].
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The terminal's master; the first call has it.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// Sends `signal`. Errors: WrongStatus when the process has ended.
    pub fn kill(&self, signal: i32) -> Result<(), Error> {
        if lifecycle::send(self.pidfd.as_fd(), signal)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::WrongStatus, "process not running"))
    }

    /// Blocks until the process has ended; errors as [`Container::wait`].
    pub fn wait(&self) -> Result<ExitStatus, Error> {
        wait(&self.pidfd)
    }
}

fn wait(pidfd: &OwnedFd) -> Result<ExitStatus, Error> {
    // A child, if it is one and nobody is quicker; in any other case its end shows on the pidfd, and only the kernel knows the status.
    if let Some(status) = launch::wait(pidfd)? {
        return Ok(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitStatus::Exited(code),
            (None, signal) => ExitStatus::Signaled(signal.unwrap_or(0)),
        });
    }
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    loop {
        match poll(&mut fds, None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Refused::call("poll(pidfd)", errno).into()),
        }
    }
    match status_once_reaped(pidfd) {
        Ok(status) if status & 0x7f == 0 => Ok(ExitStatus::Exited((status >> 8) & 0xff)),
        Ok(status) => Ok(ExitStatus::Signaled(status & 0x7f)),
        Err(_) => Err(Error::new(
            ErrorKind::Unsupported,
            "the exit status is lost: the process is not ours to wait for, or this program ignores SIGCHLD or waits for any child, \
             and the kernel is older than 6.15 (PIDFD_GET_INFO)",
        )),
    }
}

/// The kernel tells of the end before it has reaped the process, and keeps the status only from then on. Whoever reaps it (the kernel
/// itself where SIGCHLD is ignored, or another thread) is about to: a process that nobody reaps has no status to be had.
fn status_once_reaped(pidfd: &OwnedFd) -> Result<i32, Errno> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match sys::exit_status_of_reaped(pidfd) {
            Err(Errno::AGAIN | Errno::SRCH) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_micros(100));
            }
            status => return status,
        }
    }
}
