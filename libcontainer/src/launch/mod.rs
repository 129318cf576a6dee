//! From a plan to a process: the stage is written to a memfd, cloned into its namespaces and cgroup, and answered until it is ready.
//!
//! ```text
//! Child::spawn ──▶ clone3(VM | VFORK | INTO_CGROUP) ──▶ stage (runs the plan)
//!     │                                                   │
//!     └─▶ Child::supervise ◀── requests over a socket ────┘ … Ready
//!             │
//!             └─▶ Child::commit ──▶ the stage waits for `start`, or executes
//! ```
//! A [`Child`] is a guard: dropped before its commit it is killed and reaped, and with it goes all that lives in its namespaces.

mod channel;
mod idmap;
mod lifeline;
mod namespaces;
mod netdevice;
mod netlink;
mod patience;
mod program;
mod source;
mod supervise;
mod user_namespace;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::process::{Signal, WaitIdStatus, pidfd_send_signal};

use crate::error::{Error, ErrorKind, Refused};
use crate::host::Host;
use crate::plan::{LaunchPlan, SlotSource};
use crate::sys::{self, Spawn, SpawnError, Spawned, Wait};

use lifeline::Lifeline;
pub use namespaces::Joined;
use patience::Patience;

pub use netdevice::move_net_devices;
pub use supervise::Parent;

/// How long a process that enters an existing container may take to its exec of the stage: far more than it ever needs, unless the
/// container is frozen.
const ENTER_DEADLINE: Duration = Duration::from_secs(3);

/// What the stage is started with besides the plan.
#[derive(Debug)]
pub struct Start<'a> {
    pub host: &'a Host,
    /// The cgroup to clone into: v2's, or on a hybrid machine the one in the cgroup2 tree.
    pub cgroup: Option<BorrowedFd<'a>>,
    pub freezing: Freezing,
    /// What becomes fds 0 to 2; `None`: the caller's own.
    pub stdio: [Option<BorrowedFd<'a>>; 3],
    /// Both ends of the start fifo, if the plan waits for it.
    pub fifo: Option<BorrowedFd<'a>>,
    /// The container's init, for exec.
    pub init: Option<BorrowedFd<'a>>,
    /// The namespaces given by path, opened.
    pub joined: &'a Joined,
}

/// Whether somebody else may freeze the cgroup that is cloned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freezing {
    /// It is new, and below none that can be frozen.
    Impossible,
    /// It holds a container already, or lies below a cgroup of somebody else's (a pod's).
    Possible,
}

/// A stage at work. Killed and reaped on drop until [`Child::commit`].
#[derive(Debug)]
pub struct Child<'p> {
    plan: &'p LaunchPlan,
    control: Option<OwnedFd>,
    /// The process that was cloned.
    first: Option<Spawned>,
    /// The process that goes on, when the first one forks.
    init: Option<Spawned>,
    console: Option<OwnedFd>,
    warnings: Vec<String>,
    /// For exec: what ends a wait that could last for ever.
    patience: Option<Patience>,
    /// What ends the stage with us where it could not notice our end.
    lifeline: Option<Lifeline>,
    /// Killed and reaped on drop.
    armed: bool,
}

/// A process that was launched: the container's init, or an exec's.
#[derive(Debug)]
pub struct Launched {
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// The terminal's master, if the plan made one.
    pub console: Option<OwnedFd>,
    /// Best-effort steps that failed.
    pub warnings: Vec<String>,
    patience: Option<Patience>,
    lifeline: Option<Lifeline>,
    /// Open until the program was executed or the process has ended.
    control: OwnedFd,
}

impl<'p> Child<'p> {
    /// Writes stage and plan, opens the slots and clones. On a machine where the plan does not clone into the cgroup the stage now waits
    /// for [`Child::go`]; nothing of the container has happened yet.
    pub fn spawn(plan: &'p LaunchPlan, start: &Start<'_>) -> Result<Child<'p>, Error> {
        let (control, theirs) = channel::pair()?;
        let owned = open_slots(plan)?;
        let hangs = plan.slots.contains(&SlotSource::Lifeline);
        let lifeline = hangs.then(Lifeline::new).transpose()?;
        let mut fds: Vec<RawFd> = Vec::with_capacity(plan.slots.len());
        let mut opened = owned.iter();
        for slot in &plan.slots {
            fds.push(match slot {
                SlotSource::Control => theirs.as_raw_fd(),
                SlotSource::Proc => start.host.proc_dir()?.as_raw_fd(),
                SlotSource::StartFifo => borrowed(start.fifo)?.as_raw_fd(),
                SlotSource::InitPidfd => borrowed(start.init)?.as_raw_fd(),
                SlotSource::Lifeline => borrowed(lifeline.as_ref().map(AsFd::as_fd))?.as_raw_fd(),
                SlotSource::Namespace { kind, .. } => start.joined.namespace(*kind)?.as_raw_fd(),
                SlotSource::Rootfs { .. } => opened.next().ok_or_else(lost_slot)?.as_raw_fd(),
            });
        }
        let encoded = plan.encode(&fds);
        let plan_file = program::plan_file(&encoded)?;
        let stage = program::stage_file()?;
        let numbers = format!(
            "{} {} {}",
            theirs.as_raw_fd(),
            plan_file.as_raw_fd(),
            encoded.len()
        );
        let numbers = CString::new(numbers).expect("digits and spaces hold no NUL");
        fds.push(plan_file.as_raw_fd());
        let spawned = sys::spawn(&Spawn {
            namespaces: plan.clone_flags,
            cgroup: start.cgroup,
            program: stage.as_fd(),
            numbers: &numbers,
            kept: &fds,
            stdio: start.stdio.map(|fd| fd.map_or(-1, |fd| fd.as_raw_fd())),
            preserved: plan.preserved,
            wait: match start.freezing {
                Freezing::Impossible => Wait::Vfork,
                Freezing::Possible => Wait::Deadline(ENTER_DEADLINE),
            },
        })
        .map_err(|error| spawn_error(error, plan))?;
        Ok(Child {
            plan,
            control: Some(control),
            first: Some(spawned),
            init: None,
            console: None,
            warnings: Vec::new(),
            patience: None,
            lifeline,
            armed: true,
        })
    }

    /// The cloned process, in the caller's pid namespace.
    pub fn first_pid(&self) -> Option<i32> {
        self.first.as_ref().map(|first| first.pid)
    }

    /// Has the waiting stage write itself into `tasks`, the list of a v1 cgroup.
    pub fn enter(&self, tasks: BorrowedFd<'_>) -> Result<(), Error> {
        channel::send(self.control()?, stage::message::ToStage::Enter, Some(tasks))
    }

    /// The process is in its cgroup now: the stage may begin.
    pub fn go(&self) -> Result<(), Error> {
        channel::send(self.control()?, stage::message::ToStage::Go, None)
    }

    /// The terminal's master, once the stage has made one.
    pub fn console(&self) -> Option<BorrowedFd<'_>> {
        self.console.as_ref().map(OwnedFd::as_fd)
    }

    /// The pidfd of the process that will execute the program.
    pub fn pidfd(&self) -> Result<BorrowedFd<'_>, Error> {
        let process = self.init.as_ref().or(self.first.as_ref());
        process
            .map(|process| process.pidfd.as_fd())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a launch without a process"))
    }

    fn control(&self) -> Result<BorrowedFd<'_>, Error> {
        let control = self.control.as_ref().map(OwnedFd::as_fd);
        control.ok_or_else(|| Error::new(ErrorKind::Internal, "the control socket is closed"))
    }

    /// The last word to a stage that is ready, and with it the seccomp filter if it has none yet. From here on the process lives on its own.
    pub fn commit(
        mut self,
        word: stage::message::ToStage,
        filter: &[u8],
    ) -> Result<Launched, Error> {
        match self.plan.filter {
            Some(planned) if !planned.early => channel::send_filter(self.control()?, word, filter)?,
            _ => channel::send(self.control()?, word, None)?,
        }
        self.armed = false;
        let launched = self.init.take().or_else(|| self.first.take());
        let (Some(spawned), Some(control)) = (launched, self.control.take()) else {
            return Err(Error::new(
                ErrorKind::Internal,
                "a launch without a process",
            ));
        };
        Ok(Launched {
            pid: spawned.pid,
            pidfd: spawned.pidfd,
            console: self.console.take(),
            warnings: std::mem::take(&mut self.warnings),
            patience: self.patience.take(),
            lifeline: self.lifeline.take(),
            control,
        })
    }
}

impl Launched {
    /// Waits until the program was executed, the process has ended, or the stage reports why it could not execute (exec only: what fails
    /// after a container's start is said on its own stderr).
    pub fn await_exec(&mut self, plan: &LaunchPlan) -> Result<(), Error> {
        let silent = || {
            self.patience
                .as_ref()
                .map_or(Ok(()), |patience| patience.check(&[self.pid]))
        };
        let received = channel::receive(self.control.as_fd(), &silent).inspect_err(|_| {
            // It may have died by itself.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        })?;
        match received {
            None => self.lifeline.take().map_or(Ok(()), Lifeline::let_go),
            Some(message) => Err(supervise::failure(plan, &message)),
        }
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        for process in [self.init.take(), self.first.take()].into_iter().flatten() {
            // It may be dead already, and a host program that ignores SIGCHLD has no status for us: either way it is gone afterwards.
            let _ = pidfd_send_signal(&process.pidfd, Signal::KILL);
            let _ = sys::reap(&process.pidfd);
        }
    }
}

/// Waits for the end of a child of ours. `None` when the host program took its status (SIGCHLD ignored, or a waitpid(-1) loop).
pub fn wait(pidfd: &OwnedFd) -> Result<Option<WaitIdStatus>, Error> {
    match sys::reap(pidfd) {
        Ok(status) => Ok(status),
        Err(rustix::io::Errno::CHILD) => Ok(None),
        Err(errno) => Err(Refused::call("waitid(P_PIDFD)", errno).into()),
    }
}

fn open_slots(plan: &LaunchPlan) -> Result<Vec<OwnedFd>, Error> {
    plan.slots
        .iter()
        .filter_map(|slot| match slot {
            SlotSource::Rootfs {
                path,
                propagation,
                at,
            } => Some(source::clone_tree(path, true, *propagation, at)),
            _ => None,
        })
        .collect()
}

fn borrowed(fd: Option<BorrowedFd<'_>>) -> Result<BorrowedFd<'_>, Error> {
    fd.ok_or_else(lost_slot)
}

fn lost_slot() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the plan wants an fd that was not opened",
    )
}

fn spawn_error(error: SpawnError, plan: &LaunchPlan) -> Error {
    match error {
        SpawnError::Clone(errno) => Refused::call(
            format!("clone3({})", namespaces::names(plan.clone_flags)),
            errno,
        )
        .into(),
        SpawnError::Exec(errno) => Refused::call("execveat(the stage)", errno).into(),
        SpawnError::Deadline => Error::new(
            ErrorKind::WrongStatus,
            "container's cgroup unexpectedly frozen: the process did not start within 3 s",
        ),
    }
}
