//! The calls that look at a task or steer it; none of them begins or ends one.

use std::sync::Arc;
use std::time::SystemTime;

use containerd_shim_protos::events::task::{TaskPaused, TaskResumed};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::empty::Empty;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{EnumOrUnknown, Message, MessageField};
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::shim::shim::{
    CloseIORequest, ConnectRequest, ConnectResponse, KillRequest, PauseRequest, PidsRequest,
    PidsResponse, ResizePtyRequest, ResumeRequest, ShutdownRequest, StateRequest, StateResponse,
    StatsRequest, StatsResponse, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::types::task::{ProcessInfo, Status};
use libcontainer::{Container, ErrorKind, UpdateRequest};
use rustix::termios::{Winsize, tcsetwinsize};

use super::failure::Failure;
use super::task::{Exit, Phase, Process, Task};
use super::workers::Patience;
use super::{Call, Daemon};
use crate::metrics;

const SIGKILL: i32 = 9;

impl Daemon {
    /// A task that is there: one that is still being made is not, for a client.
    pub(super) fn task(&mut self, id: &str) -> Result<(&mut Task, Arc<Container>), Failure> {
        let found = self.tasks.get_mut(id).and_then(|task| {
            let container = Arc::clone(task.container.as_ref()?);
            Some((task, container))
        });
        found.ok_or_else(|| Failure::not_found(format!("container {id} not created")))
    }

    pub(super) fn process_of(
        &mut self,
        id: &str,
        exec: &str,
    ) -> Result<(&mut Process, Arc<Container>), Failure> {
        let (task, container) = self.task(id)?;
        match task.process(exec) {
            Some(process) => Ok((process, container)),
            None => Err(Failure::not_found(format!("process {exec} not found"))),
        }
    }

    pub(super) fn state(&mut self, request: StateRequest) -> Result<StateResponse, Failure> {
        let (task, _) = self.task(&request.id)?;
        let (paused, bundle) = (task.paused, task.bundle.display().to_string());
        let (process, _) = self.process_of(&request.id, &request.exec_id)?;
        let status = match &process.phase {
            Phase::Exited(_) => Status::STOPPED,
            Phase::Running { .. } if paused && process.key.is_init() => Status::PAUSED,
            Phase::Running { .. } => Status::RUNNING,
            _ => Status::CREATED,
        };
        let mut response = StateResponse {
            id: request.id,
            exec_id: request.exec_id,
            bundle,
            pid: unsigned(process.phase.pid().unwrap_or(0)),
            status: EnumOrUnknown::new(status),
            stdin: process.stdio.stdin.clone(),
            stdout: process.stdio.stdout.clone(),
            stderr: process.stdio.stderr.clone(),
            terminal: process.stdio.terminal,
            ..StateResponse::default()
        };
        if let Phase::Exited(exit) = process.phase {
            response.exit_status = exit.status;
            response.exited_at = timestamp(exit.at);
        }
        Ok(response)
    }

    pub(super) fn wait(&mut self, call: Call, request: WaitRequest) -> Result<(), Failure> {
        let (process, _) = self.process_of(&request.id, &request.exec_id)?;
        match process.phase {
            Phase::Exited(exit) => self.answer(call, &waited(exit)),
            _ => process.waiting.push(call),
        }
        Ok(())
    }

    pub(super) fn connect(&mut self, request: ConnectRequest) -> Result<ConnectResponse, Failure> {
        // An unknown container is no error: after a restart containerd asks who is here before anything else.
        let pid = match self.task(&request.id) {
            Ok((task, _)) => task.init.phase.pid().unwrap_or(0),
            Err(_) => 0,
        };
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: unsigned(pid),
            ..ConnectResponse::default()
        })
    }

    /// While there are containers it is ignored, `now` or not, as by containerd's own shim: the other containers of the pod are not the
    /// caller's to end.
    pub(super) fn shutdown(&mut self, _: ShutdownRequest) -> Result<Empty, Failure> {
        if self.tasks.is_empty() {
            // Not when all is done: a `start` may come between, which makes a socket of its own there.
            self.leave_socket();
            self.end();
        }
        Ok(Empty::default())
    }

    pub(super) fn resize(&mut self, request: ResizePtyRequest) -> Result<Empty, Failure> {
        let (process, _) = self.process_of(&request.id, &request.exec_id)?;
        let side = |cells: u32| u16::try_from(cells).unwrap_or(u16::MAX);
        let size = Winsize {
            ws_row: side(request.height),
            ws_col: side(request.width),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // What has no terminal, not yet or no more, has no size.
        if let Some(terminal) = &process.streams.terminal {
            tcsetwinsize(terminal, size)
                .map_err(|errno| Failure::unknown(format_args!("ioctl(TIOCSWINSZ): {errno}")))?;
        }
        Ok(Empty::default())
    }

    pub(super) fn close_io(&mut self, request: CloseIORequest) -> Result<Empty, Failure> {
        let (process, _) = self.process_of(&request.id, &request.exec_id)?;
        if request.stdin {
            process.streams.stdin = None;
            process.streams.stdin_closed = true;
        }
        Ok(Empty::default())
    }

    pub(super) fn kill(&mut self, call: Call, request: KillRequest) -> Result<(), Failure> {
        // Numbers of signals are small; others are refused by the library with a text.
        let signal = i32::try_from(request.signal).unwrap_or(i32::MAX);
        let (process, container) = self.process_of(&request.id, &request.exec_id)?;
        match &process.phase {
            Phase::Exited(_) => return Err(Failure::not_found("process already finished")),
            _ if process.key.is_init() => {}
            Phase::Running { .. } => {
                let sent = process.exec.as_ref().map(|exec| exec.kill(signal));
                if let Some(Err(error)) = sent {
                    return Err(Failure::kill(&error));
                }
                self.answer(call, &Empty::default());
                return Ok(());
            }
            _ => return Err(Failure::precondition("process not created")),
        }
        let all = request.all;
        self.workers.run(Patience::Quick, move || {
            let killed = container.kill(signal, all);
            move |daemon: &mut Daemon| match killed {
                Ok(()) => daemon.answer(call, &Empty::default()),
                Err(error) => daemon.answer_failure(call, Failure::kill(&error)),
            }
        });
        Ok(())
    }

    /// Everything that is left of a container whose init has ended, and whose processes did not end with it.
    pub(super) fn kill_rest(&self, container: Arc<Container>) {
        self.workers.run(Patience::Quick, move || {
            let killed = container.kill(SIGKILL, true);
            move |_: &mut Daemon| {
                if let Err(error) = killed
                    && !matches!(error.kind(), ErrorKind::WrongStatus | ErrorKind::NotFound)
                {
                    log::error!("what is left of {}: {error}", container.id());
                }
            }
        });
    }

    pub(super) fn pause(&mut self, call: Call, request: PauseRequest) -> Result<(), Failure> {
        let (_, container) = self.task(&request.id)?;
        self.workers.run(Patience::Quick, move || {
            let result = container.pause();
            move |daemon: &mut Daemon| match result {
                Ok(()) => {
                    daemon.set_paused(&request.id, true);
                    let mut event = TaskPaused::new();
                    event.container_id = request.id;
                    daemon.event("/tasks/paused", "TaskPaused", &event);
                    daemon.answer(call, &Empty::default());
                }
                Err(error) => daemon.answer_failure(call, Failure::operation("pause", &error)),
            }
        });
        Ok(())
    }

    pub(super) fn resume(&mut self, call: Call, request: ResumeRequest) -> Result<(), Failure> {
        let (_, container) = self.task(&request.id)?;
        self.workers.run(Patience::Quick, move || {
            let result = container.resume();
            move |daemon: &mut Daemon| match result {
                Ok(()) => {
                    daemon.set_paused(&request.id, false);
                    let mut event = TaskResumed::new();
                    event.container_id = request.id;
                    daemon.event("/tasks/resumed", "TaskResumed", &event);
                    daemon.answer(call, &Empty::default());
                }
                Err(error) => daemon.answer_failure(call, Failure::operation("resume", &error)),
            }
        });
        Ok(())
    }

    fn set_paused(&mut self, id: &str, paused: bool) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.paused = paused;
        }
    }

    pub(super) fn update(&mut self, call: Call, request: UpdateTaskRequest) -> Result<(), Failure> {
        let (_, container) = self.task(&request.id)?;
        let Some(resources) = request.resources.into_option() else {
            return Err(Failure::invalid("resources: missing"));
        };
        self.workers.run(Patience::Quick, move || {
            let result = container.update(&UpdateRequest::Document(resources.value));
            move |daemon: &mut Daemon| match result {
                Ok(()) => daemon.answer(call, &Empty::default()),
                Err(error) => daemon.answer_failure(call, Failure::operation("update", &error)),
            }
        });
        Ok(())
    }

    pub(super) fn pids(&mut self, call: Call, request: PidsRequest) -> Result<(), Failure> {
        let (task, container) = self.task(&request.id)?;
        let execs: Vec<(i32, Arc<str>)> = task
            .execs
            .iter()
            // The number of one that has ended may be another's by now.
            .filter(|(_, process)| !matches!(process.phase, Phase::Exited(_)))
            .filter_map(|(id, process)| Some((process.phase.pid()?, Arc::clone(id))))
            .collect();
        self.workers.run(Patience::Quick, move || {
            let answer = container.processes().map(|pids| {
                let processes = pids.unwrap_or_default().into_iter().map(|pid| {
                    let exec = execs.iter().find(|(known, _)| *known == pid);
                    process_info(pid, exec.map(|(_, id)| &**id))
                });
                PidsResponse {
                    processes: processes.collect(),
                    ..PidsResponse::default()
                }
            });
            move |daemon: &mut Daemon| match answer {
                Ok(response) => daemon.answer(call, &response),
                Err(error) => daemon.answer_failure(call, Failure::unknown(error)),
            }
        });
        Ok(())
    }

    pub(super) fn stats(&mut self, call: Call, request: StatsRequest) -> Result<(), Failure> {
        let (_, container) = self.task(&request.id)?;
        self.workers.run(Patience::Quick, move || {
            let answer = container.statistics().map(|statistics| StatsResponse {
                stats: MessageField::some(metrics::any(&statistics)),
                ..StatsResponse::default()
            });
            move |daemon: &mut Daemon| match answer {
                Ok(response) => daemon.answer(call, &response),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    daemon.answer_failure(call, Failure::not_found(error.to_string()));
                }
                Err(error) => daemon.answer_failure(call, Failure::unknown(error)),
            }
        });
        Ok(())
    }
}

/// `docker top` finds by it which processes were executed.
fn process_info(pid: i32, exec: Option<&str>) -> ProcessInfo {
    let details = exec.and_then(|exec_id| {
        let details = ProcessDetails {
            exec_id: exec_id.to_owned(),
            ..ProcessDetails::default()
        };
        Some(Any {
            type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
            value: details.write_to_bytes().ok()?,
            ..Any::default()
        })
    });
    ProcessInfo {
        pid: unsigned(pid),
        info: details.into(),
        ..ProcessInfo::default()
    }
}

/// Pids are never negative.
pub(super) fn unsigned(pid: i32) -> u32 {
    u32::try_from(pid).unwrap_or(0)
}

pub(super) fn timestamp(at: SystemTime) -> MessageField<Timestamp> {
    MessageField::some(at.into())
}

pub(super) fn waited(exit: Exit) -> WaitResponse {
    WaitResponse {
        exit_status: exit.status,
        exited_at: timestamp(exit.at),
        ..WaitResponse::default()
    }
}
