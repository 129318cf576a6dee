//! exec: a further process in a container that is created or running.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stage::message::ToStage;

use crate::cgroup::Cgroup;
use crate::config::IdMaps;
use crate::container::Exec;
use crate::error::{Error, ErrorKind, Pointer, Refused};
use crate::handover::Outputs;
use crate::host::Host;
use crate::intel_rdt::Group;
use crate::kernel_file::retry;
use crate::launch::{self, Child, Joined, Parent};
use crate::plan::{self, ExecTarget, LaunchPlan, PlannedLimit, ProcessFacts};
use crate::request::{Console, ExecRequest, check_preserved_fds};
use crate::seccomp::{Answer, Filter};
use crate::state::{Entry, Phase, Record, Status};

use super::exec_process::{container_process, process};
use super::{cgroup_of, create};

/// Executes the process. `held`: the pidfd of init that the caller has. Errors: WrongStatus with runc's texts; InvalidConfig; Refused.
pub fn exec(
    entry: &Entry,
    held: Option<&OwnedFd>,
    host: &Host,
    request: ExecRequest,
) -> Result<Exec, Error> {
    let stopped = || wrong_status("cannot exec in a stopped container");
    let record = entry.record().ok_or_else(stopped)?;
    let init = held.ok_or_else(stopped)?;
    if record.phase != Phase::Created || has_ended(init)? {
        return Err(stopped());
    }
    let cgroup = cgroup_of(record)?;
    if !request.ignore_paused && cgroup.frozen()? {
        return Err(wrong_status(
            "cannot exec in a paused container (use --ignore-paused to override)",
        ));
    }
    let (process, warnings) = process(record, host, &request.process)?;
    request.console.check(process.terminal)?;
    check_preserved_fds(request.preserve_fds)?;

    let mut place = ExecPlace::open(&cgroup, &request.cgroup)?.for_unit(record, host)?;
    if let Some(placement) = &record.intel_rdt {
        place.rdt = Group::open(placement)?;
    }
    let container = container_process(record);
    let target = ExecTarget {
        id: &record.id,
        namespaces: record.namespaces,
        container: &container,
        keyring: record.keyring,
        filter: record.seccomp.as_ref().map(Filter::planned),
    };
    let facts = host.facts()?;
    let plan = LaunchPlan::exec(
        &process,
        target,
        &plan::ExecRequest {
            document: Pointer::PROCESS,
            preserve_fds: request.preserve_fds,
        },
        ProcessFacts {
            last_cap: u8::try_from(facts.last_cap).unwrap_or(63),
            keep_groups: facts.unprivileged,
            into_cgroup: place.directory.is_some(),
            intel_rdt: place.rdt.is_some(),
        },
    );
    let mut launched = launch(host, record, &request, &plan, init, place)?;
    launched.warnings.splice(0..0, warnings);
    Ok(launched)
}

fn launch(
    host: &Host,
    record: &Record,
    request: &ExecRequest,
    plan: &LaunchPlan,
    init: &OwnedFd,
    place: ExecPlace,
) -> Result<Exec, Error> {
    let joined = Joined::default();
    let spawn = |directory: Option<&OwnedFd>| {
        Child::spawn(
            plan,
            &launch::Start {
                host,
                cgroup: directory.map(AsFd::as_fd),
                freezing: launch::Freezing::Possible,
                stdio: [0, 1, 2]
                    .map(|number: usize| request.stdio[number].as_ref().map(AsFd::as_fd)),
                fifo: None,
                init: Some(init.as_fd()),
                joined: &joined,
            },
        )
    };
    let mut place = place;
    let target = place.directory.as_ref().or(place.tree.as_ref());
    let mut child = match spawn(target) {
        // The container has made sub-cgroups: nothing may be in the top one then, so the process goes where init is (runc does the same).
        Err(error) if place.fallback && is_busy(&error) => {
            let cgroup = cgroup_of(record)?;
            spawn(Some(&cgroup.directory_of(host, record.init_process_pid)?))?
        }
        Err(error) if place.tree.is_some() && is_busy(&error) => {
            place.tree = None;
            spawn(None)?
        }
        child => child?,
    };
    if plan.awaits_go {
        if let Some(pid) = child.first_pid() {
            if !plan.into_cgroup {
                place.enter(record, pid, |tasks| child.enter(tasks))?;
            }
            place
                .rdt
                .as_ref()
                .map_or(Ok(()), |group| group.enter(pid))?;
        }
        child.go()?;
    }
    child.set_patience(record)?;
    let mut answers = Answers {
        limits: &plan.rlimits,
        filter: Answer::new(record.seccomp.as_ref(), record, Status::Running),
    };
    let pid = child.supervise(host, &mut answers)?;
    let outputs = Outputs {
        console: &request.console,
        pidfd_socket: request.pidfd_socket.as_deref(),
        pidfd_payload: b"setns",
        pid_file: request.pid_file.as_deref(),
    };
    outputs.give(child.console(), child.pidfd()?, pid)?;
    let mut launched = child.commit(ToStage::Commit, &answers.filter.take_bytes())?;
    launched.await_exec(plan)?;
    let console = launched
        .console
        .filter(|_| request.console == Console::Master);
    Ok(Exec {
        pid: launched.pid,
        pidfd: launched.pidfd,
        console,
        warnings: launched.warnings,
    })
}

struct Answers<'a> {
    limits: &'a [PlannedLimit],
    filter: Answer<'a>,
}

impl Parent for Answers<'_> {
    fn filter(&mut self) -> Result<&[u8], Error> {
        self.filter.bytes()
    }

    fn listener(&mut self, pid: i32, listener: OwnedFd) -> Result<(), Error> {
        self.filter.give(pid, listener)
    }

    fn id_maps(&self) -> &IdMaps {
        const NONE: &IdMaps = &IdMaps {
            uid: Vec::new(),
            gid: Vec::new(),
        };
        NONE
    }

    fn host_hooks(&mut self, _: i32) -> Result<(), Error> {
        Ok(())
    }

    fn limits(&mut self, pid: i32) -> Result<(), Error> {
        create::set_limits(pid, self.limits)
    }
}

/// Where in the container's cgroup the process goes.
struct ExecPlace {
    /// To clone into (v2).
    directory: Option<OwnedFd>,
    /// To clone into on a hybrid machine, before the v1 hierarchies are entered.
    tree: Option<OwnedFd>,
    /// Whether init's cgroup will do when this one may hold no process.
    fallback: bool,
    /// v1: the path below the container's directory of each hierarchy (`None`: the controllers not named by any).
    below: Vec<(Option<String>, String)>,
    /// The container's group in resctrl.
    rdt: Option<Group>,
    /// Only systemd can move it in.
    by_unit: bool,
}

impl ExecPlace {
    fn open(cgroup: &Cgroup, asked: &[String]) -> Result<ExecPlace, Error> {
        let below = asked
            .iter()
            .map(|text| parse_cgroup(text))
            .collect::<Result<Vec<_>, _>>()?;
        let copy = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned()
                .map_err(|error| Error::new(ErrorKind::Internal, error))
        };
        let Some(top) = cgroup.directory() else {
            let tree = cgroup.tree().filter(|_| below.is_empty());
            return Ok(ExecPlace {
                directory: None,
                tree: tree.map(copy).transpose()?,
                fallback: false,
                below,
                rdt: None,
                by_unit: false,
            });
        };
        let directory = match below.as_slice() {
            [] => copy(top)?,
            [(None, path)] => cgroup.open_below(path)?,
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    "--cgroup: on cgroup v2 exactly one path, without controllers, may be given",
                ));
            }
        };
        Ok(ExecPlace {
            directory: Some(directory),
            tree: None,
            fallback: below.is_empty(),
            below,
            rdt: None,
            by_unit: false,
        })
    }

    /// A user's systemd moves the process where the user may not clone into the cgroup.
    fn for_unit(mut self, record: &Record, host: &Host) -> Result<ExecPlace, Error> {
        if let (Some(unit), [only], Some(_)) =
            (&record.unit, record.cgroups.as_slice(), &self.directory)
            && !unit.may_clone_into(only, host)?
        {
            self.directory = None;
            self.by_unit = true;
        }
        Ok(self)
    }

    /// Moves the waiting process in.
    fn enter(
        &self,
        record: &Record,
        pid: i32,
        enter: impl Fn(BorrowedFd<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match &record.unit {
            Some(unit) if self.by_unit => {
                let below = self.below.first().map_or("", |(_, path)| path);
                unit.attach(below, pid)
            }
            _ => cgroup_of(record)?.place(pid, self.tree.is_some(), &self.below, enter),
        }
    }
}

/// `[CONTROLLER[,CONTROLLER]:]PATH`; the path must stay below the container's cgroup.
fn parse_cgroup(text: &str) -> Result<(Option<String>, String), Error> {
    let (controllers, path) = match text.split_once(':') {
        Some((controllers, path)) => (Some(controllers.to_owned()), path),
        None => (None, text),
    };
    let path = path.trim_matches('/');
    if path.split('/').any(|part| part == "..") || path.contains('\0') {
        return Err(Error::new(
            ErrorKind::InvalidConfig,
            format!("--cgroup: {text:?} is not a sub cgroup path"),
        ));
    }
    Ok((controllers, path.to_owned()))
}

/// Whether the process of a pidfd has ended, reaped or not.
fn has_ended(pidfd: &OwnedFd) -> Result<bool, Error> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    retry(|| poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)))
        .map(|ready| ready > 0)
        .map_err(|errno| Refused::call("poll(pidfd)", errno).into())
}

fn is_busy(error: &Error) -> bool {
    error
        .downcast_ref::<Refused>()
        .is_some_and(|refused| refused.errno.0 == rustix::io::Errno::BUSY.raw_os_error())
}

fn wrong_status(text: &str) -> Error {
    Error::new(ErrorKind::WrongStatus, text)
}
