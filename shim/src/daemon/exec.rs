//! `Exec`, which only remembers a process, and `Start`, for init and for what is executed.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use containerd_shim_protos::events::task::{TaskExecAdded, TaskExecStarted, TaskStart};
use containerd_shim_protos::protobuf::well_known_types::empty::Empty;
use containerd_shim_protos::shim::shim::{ExecProcessRequest, StartRequest, StartResponse};
use libcontainer::{Console, Container, Error, Exec, ExecProcess, ExecRequest};
use serde::Deserialize;

use super::control::unsigned;
use super::failure::Failure;
use super::reactor::{Interest, Token};
use super::task::{Key, Phase, Process, Stdio};
use super::workers::Patience;
use super::{Call, Daemon, Source};
use crate::stdio;

impl Daemon {
    pub(super) fn exec(&mut self, request: ExecProcessRequest) -> Result<Empty, Failure> {
        let serial = self.number();
        let (task, _) = self.task(&request.id)?;
        if task.process(&request.exec_id).is_some() {
            let text = format!("id {}", request.exec_id);
            return Err(Failure::already_exists(text));
        }
        if task.ending.is_some() || matches!(task.init.phase, Phase::Exited(_)) {
            return Err(not_running(&request.id));
        }
        let key = Key {
            container: Arc::clone(&task.init.key.container),
            exec: request.exec_id.as_str().into(),
            serial,
        };
        let spec = request.spec.into_option().unwrap_or_default().value;
        let phase = Phase::Added {
            spec: with_terminal(spec, request.terminal)?,
        };
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        task.execs
            .insert(Arc::clone(&key.exec), Process::new(key, stdio, phase));
        let mut event = TaskExecAdded::new();
        event.container_id = request.id;
        event.exec_id = request.exec_id;
        self.event("/tasks/exec-added", "TaskExecAdded", &event);
        Ok(Empty::default())
    }

    pub(super) fn start(&mut self, call: Call, request: StartRequest) -> Result<(), Failure> {
        let (process, container) = self.process_of(&request.id, &request.exec_id)?;
        let key = process.key.clone();
        match &process.phase {
            Phase::Created { pid, exit } => {
                process.phase = Phase::Starting {
                    pid: Some(*pid),
                    exit: *exit,
                    ended: None,
                };
                self.workers.run(Patience::Slow, move || {
                    let started = container.start();
                    move |daemon: &mut Daemon| daemon.started(call, &key, started)
                });
                Ok(())
            }
            Phase::Added { .. } => self.start_exec(call, &key),
            Phase::Exited(_) => Err(Failure::precondition("cannot start a stopped process")),
            _ => Err(Failure::precondition("cannot start a running process")),
        }
    }

    fn started(&mut self, call: Call, key: &Key, result: Result<(), Error>) {
        let Some(process) = self.process(key) else {
            return;
        };
        let Phase::Starting { pid, exit, ended } = process.phase else {
            return;
        };
        let pid = pid.unwrap_or(0);
        // A failed start leaves a container that is created, or one that is about to end: a failed poststart hook kills it.
        process.phase = match result {
            Ok(()) => Phase::Running { pid, exit },
            Err(_) => Phase::Created { pid, exit },
        };
        match result {
            Ok(()) => {
                let mut event = TaskStart::new();
                event.container_id = key.container.to_string();
                event.pid = unsigned(pid);
                self.event("/tasks/start", "TaskStart", &event);
                self.answer(call, &start_response(pid));
            }
            Err(error) => self.answer_failure(call, Failure::operation("start", &error)),
        }
        if let Some(ended) = ended {
            self.ended(key, ended);
        }
    }

    fn start_exec(&mut self, call: Call, key: &Key) -> Result<(), Failure> {
        let namespace = Arc::clone(&self.namespace);
        let (task, container) = self.task(&key.container)?;
        if task.ending.is_some() || matches!(task.init.phase, Phase::Exited(_)) {
            return Err(not_running(&key.container));
        }
        let bundle = task.bundle.clone();
        let io_owner = task.io_owner;
        let Some(process) = task.process(&key.exec) else {
            return Err(Failure::not_found(format!(
                "process {} not found",
                key.exec
            )));
        };
        let phase = Phase::Starting {
            pid: None,
            exit: None,
            ended: None,
        };
        let Phase::Added { spec } = std::mem::replace(&mut process.phase, phase) else {
            return Err(Failure::precondition("cannot start a running process"));
        };
        let job = ExecJob {
            container,
            namespace,
            bundle,
            stdio: process.stdio.clone(),
            io_owner,
        };
        let key = key.clone();
        self.workers.run(Patience::Quick, move || {
            let executed = job.run(spec.clone());
            move |daemon: &mut Daemon| daemon.executed(call, &key, spec, executed)
        });
        Ok(())
    }

    fn executed(
        &mut self,
        call: Call,
        key: &Key,
        spec: Vec<u8>,
        executed: Result<(Exec, stdio::Running), Failure>,
    ) {
        match executed {
            Ok((exec, running)) => {
                let pid = exec.pid();
                let token = self.watch(exec.pidfd(), key);
                if let Some(process) = self.process(key) {
                    process.phase = Phase::Running { pid, exit: token };
                    process.exec = Some(exec);
                }
                self.attach(key, running);
                let mut event = TaskExecStarted::new();
                event.container_id = key.container.to_string();
                event.exec_id = key.exec.to_string();
                event.pid = unsigned(pid);
                self.event("/tasks/exec-started", "TaskExecStarted", &event);
                self.answer(call, &start_response(pid));
                // It came too late for the signal that ended the others.
                if let Ok((task, container)) = self.task(&key.container)
                    && task.ending.is_some()
                    && !task.own_pid_namespace
                {
                    self.kill_rest(container);
                }
            }
            Err(failure) => {
                if let Some(process) = self.process(key) {
                    process.phase = Phase::Added { spec };
                }
                self.answer_failure(call, failure);
                // Init may have ended meanwhile, and waited for this one.
                self.tell_init_if_last(&key.container);
            }
        }
    }

    /// Its end will be heard of. `None`: out of memory for one more registration; then `Wait` never returns, which is logged.
    pub(super) fn watch(&mut self, pidfd: impl AsFd, key: &Key) -> Option<Token> {
        self.reactor
            .add(pidfd, Interest::Readable, Source::Exit(key.clone()))
            .inspect_err(|errno| log::error!("epoll_ctl(pidfd): {errno}"))
            .ok()
    }
}

/// What a worker needs to execute a process.
struct ExecJob {
    container: Arc<Container>,
    namespace: Arc<str>,
    bundle: PathBuf,
    stdio: Stdio,
    io_owner: (u32, u32),
}

impl ExecJob {
    fn run(self, spec: Vec<u8>) -> Result<(Exec, stdio::Running), Failure> {
        let opened = stdio::open(&stdio::Request {
            stdin: &self.stdio.stdin,
            stdout: &self.stdio.stdout,
            stderr: &self.stdio.stderr,
            terminal: self.stdio.terminal,
            io_uid: self.io_owner.0,
            io_gid: self.io_owner.1,
            container: self.container.id(),
            namespace: &self.namespace,
            bundle: &self.bundle,
        })
        .map_err(Failure::unknown)?;
        let mut request = ExecRequest::new(ExecProcess::Document(spec));
        request.stdio = opened.fds;
        if self.stdio.terminal {
            request.console = Console::Master;
        }
        let mut exec = self
            .container
            .exec(request)
            .map_err(|error| Failure::operation("exec", &error))?;
        match opened.streams.into_pumps(exec.take_console()) {
            Ok(running) => Ok((exec, running)),
            Err(error) => {
                // It ends, and is reaped here, since nobody will hear of it.
                let _ = exec.kill(9).and_then(|()| exec.wait());
                Err(Failure::unknown(error))
            }
        }
    }
}

fn not_running(id: &str) -> Failure {
    Failure::precondition(format!("container {id} init process is not running"))
}

fn start_response(pid: i32) -> StartResponse {
    StartResponse {
        pid: unsigned(pid),
        ..StartResponse::default()
    }
}

#[derive(Deserialize)]
struct Terminal {
    #[serde(default)]
    terminal: bool,
}

/// The request decides whether there is a terminal, whatever the document says.
fn with_terminal(spec: Vec<u8>, terminal: bool) -> Result<Vec<u8>, Failure> {
    let wrong = |error: serde_json::Error| Failure::invalid(format!("spec: {error}"));
    let document: Terminal = serde_json::from_slice(&spec).map_err(wrong)?;
    if document.terminal == terminal {
        return Ok(spec);
    }
    let mut document: serde_json::Value = serde_json::from_slice(&spec).map_err(wrong)?;
    document["terminal"] = terminal.into();
    serde_json::to_vec(&document).map_err(wrong)
}
