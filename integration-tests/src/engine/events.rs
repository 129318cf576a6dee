//! containerd's events as `ctr events` prints them, in the order in which containerd published them.

use serde_json::Value;

use crate::case::Failure;
use crate::container::wait_until;
use crate::engine::containerd::Containerd;
use crate::runtime::Running;

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// `/tasks/exit` and the like.
    pub topic: String,
    /// The message; fields with their default value are left out.
    pub message: Value,
}

/// A listener, from the moment it was made.
#[derive(Debug)]
pub struct Events {
    running: Running,
}

impl Events {
    /// Starts listening; what happens from now on is heard.
    pub fn listen(containerd: &Containerd<'_>) -> Result<Events, Failure> {
        let running = containerd.spawn(&["events"])?;
        // The client does not say when it has subscribed: an event of our own does.
        let mut number = 0;
        let token = containerd.token();
        wait_until("events to be heard", || {
            number += 1;
            let label = format!("heard={number}");
            containerd
                .ctr(&["namespaces", "label", &token, &label])?
                .success()?;
            Ok(running.stdout_so_far().contains("heard"))
        })?;
        Ok(Events { running })
    }

    /// The events of tasks so far.
    pub fn of_tasks(&self) -> Result<Vec<Event>, Failure> {
        let text = self.running.stdout_so_far();
        let mut found = Vec::new();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            let Some((before, json)) = line.split_once(" {") else {
                continue;
            };
            let topic = before.rsplit(' ').next().unwrap_or("");
            if topic.starts_with("/tasks/") {
                found.push(Event {
                    topic: topic.to_owned(),
                    message: serde_json::from_str(&format!("{{{json}"))?,
                });
            }
        }
        Ok(found)
    }

    /// The events of one container, in short: `create`, `start`, `exec-added EXEC`, `exec-started EXEC`, `exit ID STATUS`, `oom`, `paused`, `resumed`, `delete ID`.
    pub fn of(&self, container: &str) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        for event in self.of_tasks()? {
            if event.message["container_id"] == container {
                found.push(event.in_short());
            }
        }
        Ok(found)
    }

    /// Waits until a container's event, in short, has come.
    pub fn expect(&self, container: &str, wanted: &str) -> Result<(), Failure> {
        wait_until(&format!("the event {wanted} of {container}"), || {
            Ok(self.of(container)?.iter().any(|one| one == wanted))
        })
    }
}

impl Event {
    fn in_short(&self) -> String {
        let text = |name: &str| self.message[name].as_str().unwrap_or("").to_owned();
        let kind = self.topic.trim_start_matches("/tasks/");
        match kind {
            "exit" => {
                let status = self.message["exit_status"].as_u64().unwrap_or(0);
                format!("exit {} {status}", text("id"))
            }
            "delete" => format!("delete {}", text("id")).trim_end().to_owned(),
            _ => format!("{kind} {}", text("exec_id")).trim_end().to_owned(),
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // It ends by itself if containerd did.
        let _ = self.running.child.kill();
        let _ = self.running.child.wait();
        crate::runtime::hold(self.running.pid(), false);
    }
}
