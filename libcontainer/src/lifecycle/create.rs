//! create and run: validate, plan, record the intent, act, record the result. Each thing acquired is a guard until the last line.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, mkdirat};
use stage::message::ToStage;

use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, CgroupPlan, UnitPlan, delegate};
use crate::config::{Config, ConfigErrors, IdMaps, Seccomp, SysctlScope};
use crate::container::Container;
use crate::error::{Error, Pointer, Refused};
use crate::event::{Event, Observer};
use crate::handover::Outputs;
use crate::hooks::{self, HookKind};
use crate::host::Host;
use crate::intel_rdt::{Group, RdtPlan};
use crate::launch::{self, Child, Joined, Launched, Parent};
use crate::notify::{Listener, NotifyProxy};
use crate::plan::{CreateRequest, LaunchPlan, PlanFacts, PlannedLimit, ProcessFacts, Start};
use crate::request::{CgroupManager, Console, CreateOptions, check_preserved_fds};
use crate::runtime::Runtime;
use crate::seccomp::{Answer, Filter};
use crate::state::{Claim, ContainerId, Entry, ProcessId, Record, StateDocument, Status};
use crate::sys;

use super::delete::delete_locked;
use super::intent::intent;

/// Creates the container; with [`Start::AtOnce`] starts it too. ARCHITECTURE.md has the launch in order.
pub fn create(
    runtime: &Runtime,
    id: &str,
    bundle: &Path,
    options: &CreateOptions,
    start: Start,
) -> Result<Container, Error> {
    let host = Host::new();
    let id = ContainerId::parse(id)?;
    let bundle = Bundle::open(bundle)?;
    let mut config = bundle.parse(&host)?;
    if options.listen_to_calls {
        config.seccomp = Some(Seccomp::listening());
    }
    check_request(&config, options)?;
    let joined = Joined::open(&config.namespaces)?;
    check_joined(&config, &joined, &host)?;
    let cgroup_plan = match options.cgroup_manager {
        CgroupManager::Cgroupfs => CgroupPlan::new(&config.cgroup, id.as_str(), &host)?,
        CgroupManager::Systemd { patience } => {
            UnitPlan::cgroup(&config, id.as_str(), &host, patience)?
        }
    };
    let rdt = config.intel_rdt.as_ref();
    let rdt_plan = rdt
        .map(|rdt| RdtPlan::new(rdt, id.as_str(), &host))
        .transpose()?;
    let mut record = intent(&id, &host, &bundle, &config, &cgroup_plan, options)?;
    record.set_intel_rdt(rdt_plan.as_ref().map(|plan| &plan.placement));

    let create = Create {
        id: &id,
        host: &host,
        config: &config,
        options,
        joined: &joined,
        cgroup_plan: &cgroup_plan,
        bundle: &bundle,
        observer: &runtime.observer,
    };
    let claim = runtime.store.claim(&record)?;
    create.tell(Event::IntentRecorded);
    let undone = record.clone();
    let launched = create.launch(claim, record, rdt_plan, start);
    let container = launched.inspect_err(|_| {
        create.tell(Event::Undone);
        // Best effort: the caller gets the error of the create. All the container had is gone by now, as poststop demands.
        let state = StateDocument::new(&undone, Status::Stopped, None).to_json();
        let _ = hooks::run_all(HookKind::Poststop, &config.hooks.poststop, &state);
    })?;
    if start == Start::AtOnce {
        super::start::poststart(&container.entry, &host).inspect_err(|_| {
            // Best effort again. The program has run: this is the end of a container, so its poststop hooks are the record's.
            let init = container.pidfd.as_ref();
            let _ = delete_locked(&container.entry, init, &host, &runtime.observer);
        })?;
    }
    container.entry.unlock();
    Ok(container)
}

struct Create<'a> {
    id: &'a ContainerId,
    host: &'a Host,
    config: &'a Config,
    options: &'a CreateOptions,
    joined: &'a Joined,
    cgroup_plan: &'a CgroupPlan,
    bundle: &'a Bundle,
    observer: &'a Observer,
}

impl Create<'_> {
    fn tell(&self, event: Event) {
        self.observer.tell(self.id.as_str(), event);
    }

    /// Everything with a side effect. The guards are dropped in the reverse of their order here: process, resctrl group, cgroup, state
    /// directory.
    fn launch(
        &self,
        mut claim: Claim,
        mut record: Record,
        rdt_plan: Option<RdtPlan>,
        start: Start,
    ) -> Result<Container, Error> {
        let fifo = match start {
            Start::AwaitFifo => Some(claim.make_fifo()?),
            Start::AtOnce => None,
        };
        let plan = self.plan(&claim, start)?;
        let mut cgroup = Cgroup::create(self.cgroup_plan, record.token.as_str())?;
        if !cgroup.is_none() {
            self.tell(Event::CgroupMade);
        }
        let as_unit = self.cgroup_plan.unit.is_some();
        // Why it is refused is looked into only then.
        let told = |cgroup: &Cgroup, error| cgroup.not_a_domain().unwrap_or(error);
        if !as_unit {
            let limited = cgroup.set_limits(&self.cgroup_plan.limits);
            limited.map_err(|error| told(&cgroup, error))?;
        }
        let mut rdt = rdt_plan.map(Group::create).transpose()?;
        // The stage does not wait for us before it runs hooks, and nothing of the container runs outside its limits. On v1 the policy is
        // many writes, of which the first denies everything: a stage that makes a device meanwhile would be refused.
        let devices_first = !self.config.hooks.create_container.is_empty() || !plan.into_cgroup;
        if devices_first && !as_unit {
            cgroup.set_devices(&self.config.cgroup.device_rules)?;
        }
        let spawned = self.spawn(&plan, &cgroup, fifo.as_ref());
        let mut child = spawned.map_err(|error| told(&cgroup, error))?;
        if plan.awaits_go {
            let groups = (&mut cgroup, rdt.as_ref());
            self.place(&plan, &child, groups, record.token.as_str())?;
        }
        if let Some(owner) = delegate::owner(self.config) {
            cgroup.delegate(owner)?;
        }
        if let Some(pid) = child.first_pid() {
            self.tell(Event::Launched { pid });
        }
        if !devices_first {
            // One call, while the stage mounts on the other core.
            cgroup.set_devices(&self.config.cgroup.device_rules)?;
        }
        // While the stage mounts.
        let filter = match &self.config.seccomp {
            Some(seccomp) => Some(Filter::compile(seccomp)?),
            None => None,
        };
        let mut answers = Answers {
            host: self.host,
            config: self.config,
            record: &record,
            limits: &plan.rlimits,
            filter: Answer::new(filter.as_ref(), &record, Status::Creating),
        };
        let pid = child.supervise(self.host, &mut answers)?;
        self.tell(Event::Ready { pid });

        let started = self.host.process(pid)?.map_or(0, |stat| stat.start_time);
        let calls = answers.filter.take_calls();
        let bytes = answers.filter.take_bytes();
        record.seccomp = filter.filter(|_| calls.is_none());
        record.set_created(ProcessId {
            pid,
            start: started,
        });
        claim.update(record)?;
        self.hand_over(&child, pid)?;
        let word = match start {
            Start::AwaitFifo => ToStage::Commit,
            Start::AtOnce => ToStage::Start,
        };
        let notify = self.notify_proxy(&claim, &child, pid, start)?;
        let launched = child.commit(word, &bytes)?;
        cgroup.commit();
        if let Some(group) = &mut rdt {
            group.commit();
        }
        let mut container = self.container(claim.commit(), launched);
        container.notify = notify;
        container.calls = calls;
        self.observer.warn(self.id.as_str(), &container.warnings);
        self.tell(match start {
            Start::AwaitFifo => Event::Created,
            Start::AtOnce => Event::Started,
        });
        Ok(container)
    }

    fn plan(&self, claim: &Claim, start: Start) -> Result<LaunchPlan, Error> {
        let notify_dir = match self.options.notify_socket {
            Some(_) => Some(make_notify_directory(claim)?),
            None => None,
        };
        let config = self.config;
        let wants_env = config
            .hooks
            .create_container
            .iter()
            .any(|hook| hook.env.is_none());
        let request = CreateRequest {
            id: claim.id().to_owned(),
            bundle: self.bundle.path().to_path_buf(),
            no_pivot: self.options.no_pivot,
            no_new_keyring: self.options.no_new_keyring,
            listen_fds: self.options.listen_fds,
            preserve_fds: self.options.preserve_fds,
            notify_dir,
            start,
            host_env: if wants_env {
                hooks::environment()
            } else {
                Vec::new()
            },
        };
        Ok(LaunchPlan::create(config, &request, &self.facts()?))
    }

    fn facts(&self) -> Result<PlanFacts, Error> {
        plan_facts(self.host, self.config, self.cgroup_plan, self.joined)
    }

    fn spawn<'p>(
        &self,
        plan: &'p LaunchPlan,
        cgroup: &Cgroup,
        fifo: Option<&OwnedFd>,
    ) -> Result<Child<'p>, Error> {
        let stdio = &self.options.stdio;
        let child = Child::spawn(
            plan,
            &launch::Start {
                host: self.host,
                cgroup: cgroup.directory().or_else(|| cgroup.tree()),
                freezing: if self.cgroup_plan.is_below_another() {
                    launch::Freezing::Possible
                } else {
                    launch::Freezing::Impossible
                },
                stdio: [0, 1, 2].map(|number: usize| stdio[number].as_ref().map(AsFd::as_fd)),
                fifo: fifo.map(AsFd::as_fd),
                init: None,
                joined: self.joined,
            },
        )?;
        Ok(child)
    }

    /// Puts the waiting stage into its cgroup, unless it was cloned into it, and into its resctrl group, and lets it go.
    fn place(
        &self,
        plan: &LaunchPlan,
        child: &Child<'_>,
        (cgroup, rdt): (&mut Cgroup, Option<&Group>),
        token: &str,
    ) -> Result<(), Error> {
        let Some(pid) = child.first_pid() else {
            return child.go();
        };
        match &self.cgroup_plan.unit {
            Some(unit) => cgroup.enter_unit(self.cgroup_plan, unit, token, pid)?,
            None if plan.into_cgroup => {}
            None => cgroup.place(pid, true, &[], |tasks| child.enter(tasks))?,
        }
        if self.cgroup_plan.unit.is_some() {
            self.tell(Event::CgroupMade);
            cgroup.set_limits(&self.cgroup_plan.limits)?;
            cgroup.set_devices(&self.config.cgroup.device_rules)?;
        }
        rdt.map_or(Ok(()), |group| group.enter(pid))?;
        child.go()
    }

    /// Console and pidfd, then the pid file: whoever sees it may count on everything before it.
    fn hand_over(&self, child: &Child<'_>, pid: i32) -> Result<(), Error> {
        let outputs = Outputs {
            console: &self.options.console,
            pidfd_socket: self.options.pidfd_socket.as_deref(),
            pidfd_payload: b"standard",
            pid_file: self.options.pid_file.as_deref(),
        };
        outputs.give(child.console(), child.pidfd()?, pid)
    }

    fn container(&self, entry: Entry, launched: Launched) -> Container {
        let mut warnings = self.config.warnings.clone();
        warnings.extend(launched.warnings);
        let console = launched
            .console
            .filter(|_| self.options.console == Console::Master);
        Container {
            entry,
            pid: launched.pid,
            pidfd: Some(launched.pidfd),
            console,
            notify: None,
            calls: None,
            warnings,
            observer: self.observer.clone(),
            host: Host::new(),
        }
    }

    /// Where nobody calls start, the socket is there before the program is.
    fn notify_proxy(
        &self,
        claim: &Claim,
        child: &Child<'_>,
        pid: i32,
        start: Start,
    ) -> Result<Option<NotifyProxy>, Error> {
        let Some(host) = self
            .options
            .notify_socket
            .as_ref()
            .filter(|_| start == Start::AtOnce)
        else {
            return Ok(None);
        };
        let listener = Listener::bind(claim.directory(), claim.path())?;
        let init = rustix::io::fcntl_dupfd_cloexec(child.pidfd()?, 3)
            .map_err(|errno| Refused::call("fcntl(F_DUPFD_CLOEXEC)", errno))?;
        Ok(Some(listener.proxy(host, pid, Some(init))))
    }
}

/// Facts for the plan of a container, also of one that is only explained.
pub fn plan_facts(
    host: &Host,
    config: &Config,
    cgroup_plan: &CgroupPlan,
    joined: &Joined,
) -> Result<PlanFacts, Error> {
    let facts = host.facts()?;
    Ok(PlanFacts {
        process: ProcessFacts {
            last_cap: u8::try_from(facts.last_cap).unwrap_or(63),
            keep_groups: facts.unprivileged,
            into_cgroup: cgroup_plan.is_cloned_into(),
            intel_rdt: config.intel_rdt.is_some(),
        },
        privileged: host.has_sys_admin()?,
        in_userns: host.in_user_namespace()?,
        cgroup: cgroup_plan.mounts(host)?,
        selinux: config.mount_label.is_some() && host.selinux_enabled(),
        kcore: host.has_kcore(),
        joined: joined.facts,
    })
}

/// What can be said about a request before anything is touched.
fn check_request(config: &Config, options: &CreateOptions) -> Result<(), Error> {
    options.console.check(config.process.terminal)?;
    check_preserved_fds(options.listen_fds.saturating_add(options.preserve_fds))
}

/// What validation could not know: whether a namespace given by path is the runtime's own, and what maps a user namespace has.
fn check_joined(config: &Config, joined: &Joined, host: &Host) -> Result<(), Error> {
    for sysctl in &config.sysctl {
        let kind = match sysctl.scope {
            SysctlScope::Ipc => 0x0800_0000,
            SysctlScope::Network => 0x4000_0000,
            SysctlScope::Uts => 0x0400_0000,
            SysctlScope::User => 0x1000_0000,
        };
        if joined.is_own(kind)? {
            let at = Pointer::CONFIG.key("linux").key("sysctl").key(&sysctl.key);
            let key = &sysctl.key;
            let text = format!("sysctl {key:?} is not in a separate kernel namespace");
            return Err(ConfigErrors::one(at, text).into());
        }
    }
    joined.check_maps(host, &config.id_maps)
}

/// `notify/` in the state directory, which the container sees as /run/notify.
fn make_notify_directory(claim: &Claim) -> Result<std::path::PathBuf, Error> {
    let path = claim.path().join("notify");
    mkdirat(claim.directory(), c"notify", Mode::from_raw_mode(0o755))
        .map_err(|errno| Refused::new("mkdir", &path, errno))?;
    Ok(path)
}

/// What a create does for its stage.
struct Answers<'a> {
    host: &'a Host,
    config: &'a Config,
    record: &'a Record,
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
        &self.config.id_maps
    }

    fn host_hooks(&mut self, pid: i32) -> Result<(), Error> {
        launch::move_net_devices(self.host, pid, &self.config.net_devices)?;
        let state = StateDocument::new(self.record, Status::Creating, Some(pid)).to_json();
        hooks::run_all(HookKind::Prestart, &self.config.hooks.prestart, &state)?;
        hooks::run_all(
            HookKind::CreateRuntime,
            &self.config.hooks.create_runtime,
            &state,
        )
    }

    fn limits(&mut self, pid: i32) -> Result<(), Error> {
        set_limits(pid, self.limits)
    }
}

/// The resource limits of a stage that is ready.
pub fn set_limits(pid: i32, limits: &[PlannedLimit]) -> Result<(), Error> {
    for limit in limits {
        sys::set_rlimit(pid, limit.resource, limit.soft, limit.hard).map_err(|errno| {
            Refused::call(
                format!(
                    "prlimit({}, soft {}, hard {})",
                    limit.name, limit.soft, limit.hard
                ),
                errno,
            )
            .at(limit.at.clone())
        })?;
    }
    Ok(())
}
