//! The end of a process, and the order in which containerd hears of it:
//!
//! - what it wrote has gone out, unless nobody takes it: half a second is enough to tell a slow reader from a dead one;
//! - a start that is under way is told first;
//! - want of memory is told before the end that it brought;
//! - init's end is the last of its container: what was executed in it ends before. Where init took no pid namespace with it, the rest is
//!   killed.
//!
//! Each end is told once: the registration of the pidfd is gone before anything else happens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use containerd_shim_protos::events::task::{TaskExit, TaskOOM};
use libcontainer::OomEvent;

use super::control::{timestamp, unsigned, waited};
use super::task::{Exit, Key, Phase};
use super::{Daemon, Source};

/// How long the end of a process waits for the reader of its output.
const OUTPUT: Duration = Duration::from_millis(500);
/// 128 and SIGKILL.
const KILLED: u32 = 137;

impl Daemon {
    /// Its pidfd is readable.
    pub(super) fn exited(&mut self, key: &Key) {
        let Some(exit) = self.reap(key) else { return };
        let Some(process) = self.process(key) else {
            return;
        };
        if let Phase::Starting { ended, .. } = &mut process.phase {
            *ended = Some(exit);
            return;
        }
        self.ended(key, exit);
    }

    /// Takes its status. `None`: that was done before.
    fn reap(&mut self, key: &Key) -> Option<Exit> {
        let task = self.tasks.get_mut(&key.container)?;
        let container = task.container.clone()?;
        let process = task
            .process(&key.exec)
            .filter(|process| process.key.serial == key.serial)?;
        let (pid, token) = match &mut process.phase {
            Phase::Created { pid, exit } | Phase::Running { pid, exit } => (*pid, exit.take()?),
            Phase::Starting {
                pid: Some(pid),
                exit,
                ..
            } => (*pid, exit.take()?),
            _ => return None,
        };
        let status = match &process.exec {
            Some(exec) => {
                self.reactor.remove(exec.pidfd(), token);
                exec.wait()
            }
            None => {
                self.reactor.remove(container.pidfd()?, token);
                container.wait()
            }
        };
        let status = status.inspect_err(|error| log::error!("pid {pid}: {error}"));
        Some(Exit::now(pid, status.ok()))
    }

    pub(super) fn ended(&mut self, key: &Key, exit: Exit) {
        if !key.is_init() {
            self.tell(key, exit);
            self.tell_init_if_last(&key.container);
            return;
        }
        let Some(task) = self.tasks.get_mut(&key.container) else {
            return;
        };
        task.ending = Some(exit);
        if !task.own_pid_namespace
            && let Some(container) = task.container.clone()
        {
            self.kill_rest(container);
        }
        self.tell_init_if_last(&key.container);
    }

    /// If init has ended and nothing executed beside it is left.
    pub(super) fn tell_init_if_last(&mut self, container: &Arc<str>) {
        let Some(task) = self.tasks.get_mut(container) else {
            return;
        };
        if task.has_running_execs() {
            return;
        }
        if let Some(exit) = task.ending.take() {
            let key = task.init.key.clone();
            self.tell(&key, exit);
        }
    }

    fn tell(&mut self, key: &Key, exit: Exit) {
        if self.is_through(key) {
            return self.tell_now(key, exit);
        }
        if let Some(process) = self.process(key) {
            process.streams.held = Some(exit);
            self.reactor
                .at(Instant::now() + OUTPUT, Source::HeldTimer(key.clone()));
        }
    }

    /// Its output is through, or has had its time.
    pub(super) fn tell_held(&mut self, key: &Key) {
        if let Some(process) = self.process(key)
            && let Some(exit) = process.streams.held.take()
        {
            self.tell_now(key, exit);
            self.tell_init_if_last(&key.container);
        }
    }

    fn tell_now(&mut self, key: &Key, exit: Exit) {
        if key.is_init() || exit.status == KILLED {
            self.tell_late_kills(key);
        }
        let Some(process) = self.process(key) else {
            return;
        };
        process.phase = Phase::Exited(exit);
        process.exec = None;
        let waiting = std::mem::take(&mut process.waiting);
        let id = if key.is_init() {
            &key.container
        } else {
            &key.exec
        };
        let mut event = TaskExit::new();
        event.container_id = key.container.to_string();
        event.id = id.to_string();
        event.pid = unsigned(exit.pid);
        event.exit_status = exit.status;
        event.exited_at = timestamp(exit.at);
        self.event("/tasks/exit", "TaskExit", &event);
        for call in waiting {
            self.answer(call, &waited(exit));
        }
    }

    /// The watch may have more to say.
    pub(super) fn out_of_memory(&mut self, key: &Key) {
        loop {
            let Some(task) = self
                .tasks
                .get_mut(&key.container)
                .filter(|task| task.init.key.serial == key.serial)
            else {
                return;
            };
            let Some(oom) = &mut task.oom else { return };
            match oom.events.next_event() {
                Ok(Some(OomEvent::OutOfMemory { kills })) => {
                    // On v1 the kill at hand may not be counted yet.
                    task.oom_told = kills.max(task.oom_told + 1);
                    self.tell_oom(key);
                }
                Ok(None) => return,
                Ok(Some(OomEvent::Ended)) => return self.unwatch_memory(key),
                Err(error) => {
                    log::error!("{}: {error}", key.container);
                    return self.unwatch_memory(key);
                }
            }
        }
    }

    pub(super) fn unwatch_memory(&mut self, key: &Key) {
        if let Some(task) = self.tasks.get_mut(&key.container)
            && let Some(oom) = task.oom.take()
        {
            self.reactor.remove(&oom.events, oom.token);
        }
    }

    /// The kernel counts a kill before the process has ended, but signals it whenever it likes.
    fn tell_late_kills(&mut self, key: &Key) {
        let Some(task) = self.tasks.get_mut(&key.container) else {
            return;
        };
        let kills = task
            .container
            .as_ref()
            .and_then(|container| container.oom_kills().ok().flatten())
            .unwrap_or(0);
        if kills > task.oom_told {
            task.oom_told = kills;
            self.tell_oom(key);
        }
    }

    fn tell_oom(&mut self, key: &Key) {
        let mut event = TaskOOM::new();
        event.container_id = key.container.to_string();
        self.event("/tasks/oom", "TaskOOM", &event);
    }
}
