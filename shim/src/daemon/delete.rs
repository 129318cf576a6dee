//! `Delete`, of what has ended or never began. It waits until the output of the process has gone out, ten seconds at most: a client that
//! stopped reading, or a process in the background that holds the pipe, must not keep the container.

use std::time::{Duration, Instant};

use containerd_shim_protos::events::task::TaskDelete;
use containerd_shim_protos::shim::shim::{DeleteRequest, DeleteResponse};

use super::control::{timestamp, unsigned};
use super::failure::Failure;
use super::task::{Key, Phase};
use super::workers::Patience;
use super::{Call, Daemon, Source};
use crate::mounts;

/// As containerd's own shim.
const OUTPUT: Duration = Duration::from_secs(10);

impl Daemon {
    pub(super) fn delete(&mut self, call: Call, request: DeleteRequest) -> Result<(), Failure> {
        let (process, _) = self.process_of(&request.id, &request.exec_id)?;
        if process.deleting {
            return Err(Failure::precondition("it is being deleted already"));
        }
        match process.phase {
            Phase::Exited(_) | Phase::Created { .. } | Phase::Added { .. } => {}
            _ => return Err(Failure::unknown("cannot delete a running process")),
        }
        process.deleting = true;
        let key = process.key.clone();
        if matches!(process.phase, Phase::Exited(_)) && !process.streams.outputs.is_empty() {
            process.streams.draining = Some(call);
            self.reactor
                .at(Instant::now() + OUTPUT, Source::DeleteTimer(key));
            return Ok(());
        }
        self.remove(call, &key);
        Ok(())
    }

    /// All has gone out, or it has been waited for long enough.
    pub(super) fn drained_or_not(&mut self, key: &Key) {
        if let Some(process) = self.process(key)
            && let Some(call) = process.streams.draining.take()
        {
            self.remove(call, key);
        }
    }

    fn remove(&mut self, call: Call, key: &Key) {
        if !key.is_init() {
            let response = self.deleted(key);
            self.answer(call, &response);
            if let Some(task) = self.tasks.get_mut(&key.container) {
                task.execs.remove(&key.exec);
            }
            return;
        }
        let Ok((task, container)) = self.task(&key.container) else {
            return;
        };
        let rootfs = task.bundle.join("rootfs");
        let key = key.clone();
        self.workers.run(Patience::Slow, move || {
            let deleted = container
                .delete()
                .map_err(|error| Failure::operation("delete", &error));
            // Whatever of the container could not be removed, nothing uses its files any more.
            let unmounted = mounts::unmount_all(&rootfs)
                .map_err(|error| Failure::unknown(format_args!("rootfs: {error}")));
            move |daemon: &mut Daemon| match deleted.and(unmounted) {
                Ok(()) => daemon.removed(call, &key),
                Err(failure) => {
                    if let Some(process) = daemon.process(&key) {
                        process.deleting = false;
                    }
                    daemon.answer_failure(call, failure);
                }
            }
        });
    }

    fn removed(&mut self, call: Call, key: &Key) {
        // Of a container that was only created, the delete was the end.
        self.exited(key);
        self.tell_held(key);
        let response = self.deleted(key);
        self.unwatch_memory(key);
        let execs = self
            .tasks
            .get(&key.container)
            .map_or_else(Vec::new, |task| {
                task.execs.values().map(|exec| exec.key.clone()).collect()
            });
        for exec in execs {
            self.detach(&exec);
        }
        self.tasks.remove(&key.container);
        let mut event = TaskDelete::new();
        event.container_id = key.container.to_string();
        event.pid = response.pid;
        event.exit_status = response.exit_status;
        event.exited_at.clone_from(&response.exited_at);
        self.event("/tasks/delete", "TaskDelete", &event);
        self.answer(call, &response);
    }

    /// What a client is told of a process that is no more, whose streams end here.
    fn deleted(&mut self, key: &Key) -> DeleteResponse {
        self.detach(key);
        let mut response = DeleteResponse::default();
        if let Some(Phase::Exited(exit)) = self.process(key).map(|process| &process.phase) {
            response.pid = unsigned(exit.pid);
            response.exit_status = exit.status;
            response.exited_at = timestamp(exit.at);
        }
        response
    }
}
