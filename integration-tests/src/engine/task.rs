//! One container of containerd's that has a task: what `ctr tasks` does with it, and what the machine shows of it.

use std::path::PathBuf;

use serde_json::Value;

use crate::case::{Done, Failure};
use crate::cgroups;
use crate::container::wait_until;
use crate::engine::containerd::{Containerd, DEADLINE};
use crate::processes;
use crate::runtime::{Output, Running};

/// A container by its id. It need not have a task, nor be there.
#[derive(Debug)]
pub struct Task<'c> {
    containerd: &'c Containerd<'c>,
    /// Its id.
    pub id: String,
}

impl<'e> Containerd<'e> {
    /// `ctr run --detach FLAGS IMAGE ID ARGS` by the case's door.
    pub fn detached(
        &'e self,
        flags: &[&str],
        id: &str,
        args: &[&str],
    ) -> Result<Task<'e>, Failure> {
        let mut all = vec!["--detach"];
        all.extend(flags);
        self.run(&all, id, args)?.success()?;
        Ok(self.task(id))
    }

    /// The container of this id.
    pub fn task(&'e self, id: &str) -> Task<'e> {
        Task {
            containerd: self,
            id: id.to_owned(),
        }
    }

    /// Every task there is: id, process number and status, such as `RUNNING`.
    pub fn tasks(&self) -> Result<Vec<(String, i32, String)>, Failure> {
        let lines = self.ctr(&["tasks", "ls"])?.success()?.lines();
        let mut found = Vec::new();
        for line in lines.iter().skip(1) {
            let mut words = line.split_whitespace();
            let (Some(id), Some(pid), Some(status)) = (words.next(), words.next(), words.next())
            else {
                return Err(Failure::new(format!("tasks ls: {line:?}")));
            };
            found.push((id.to_owned(), pid.parse()?, status.to_owned()));
        }
        Ok(found)
    }
}

impl Task<'_> {
    /// What `tasks ls` says: the process number of init and the status; none if there is no task.
    pub fn listed(&self) -> Result<Option<(i32, String)>, Failure> {
        let tasks = self.containerd.tasks()?;
        Ok(tasks
            .into_iter()
            .find(|(id, ..)| *id == self.id)
            .map(|(_, pid, status)| (pid, status)))
    }

    /// The status, which is `NONE` without a task.
    pub fn status(&self) -> Result<String, Failure> {
        Ok(self
            .listed()?
            .map_or_else(|| "NONE".to_owned(), |(_, status)| status))
    }

    /// The process number of init.
    pub fn pid(&self) -> Result<i32, Failure> {
        let listed = self.listed()?;
        let (pid, _) = listed.ok_or_else(|| Failure::new(format!("no task {}", self.id)))?;
        Ok(pid)
    }

    /// Waits until this is the status.
    pub fn await_status(&self, wanted: &str) -> Done {
        wait_until(&format!("{wanted} of {}", self.id), || {
            Ok(self.status()? == wanted)
        })
    }

    /// `ctr tasks VERB FLAGS ID`, which must succeed.
    pub fn call(&self, verb: &str, flags: &[&str]) -> Result<Output, Failure> {
        self.try_call(verb, flags)?.success()
    }

    /// `ctr tasks VERB FLAGS ID`.
    pub fn try_call(&self, verb: &str, flags: &[&str]) -> Result<Output, Failure> {
        let mut words = vec!["tasks", verb];
        words.extend(flags);
        words.push(&self.id);
        self.containerd.ctr(&words)
    }

    /// `ctr tasks exec --exec-id EXEC FLAGS ID ARGS`.
    pub fn exec(&self, exec: &str, flags: &[&str], args: &[&str]) -> Result<Output, Failure> {
        self.exec_in_background(exec, flags, args)?.wait(DEADLINE)
    }

    /// The same, started.
    pub fn exec_in_background(
        &self,
        exec: &str,
        flags: &[&str],
        args: &[&str],
    ) -> Result<Running, Failure> {
        let words = self.exec_words(exec, flags, args);
        self.containerd
            .spawn(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The words of `ctr tasks exec`.
    pub fn exec_words(&self, exec: &str, flags: &[&str], args: &[&str]) -> Vec<String> {
        let mut words = vec!["tasks", "exec", "--exec-id", exec];
        words.extend(flags);
        words.push(&self.id);
        words.extend(args);
        words.into_iter().map(str::to_owned).collect()
    }

    /// What `tasks metrics` says, in JSON.
    pub fn metrics(&self) -> Result<Value, Failure> {
        self.call("metrics", &["--format", "json"])?.json()
    }

    /// Deletes a task that has ended, which gives its exit status, and its container.
    pub fn delete(self) -> Result<i32, Failure> {
        let said = self.call("delete", &[])?.stderr();
        self.remove_container()?;
        exit_code(&said)
    }

    /// Kills the task, waits for its end, and deletes it and its container.
    pub fn end(self) -> Done {
        self.call("kill", &["--signal", "KILL"])?;
        self.await_status("STOPPED")?;
        match self.delete()? {
            137 => Ok(()),
            other => Err(Failure::new(format!("a killed task ended with {other}"))),
        }
    }

    /// Deletes the container, which has no task.
    pub fn remove_container(&self) -> Done {
        self.containerd
            .ctr(&["containers", "rm", &self.id])?
            .success()?;
        Ok(())
    }

    /// The directories of the container's cgroup: one on v2, one for each hierarchy on v1.
    pub fn cgroups(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut found = cgroups::named(&self.containerd.token())?;
        found.retain(|dir| dir.ends_with(&self.id));
        Ok(found)
    }

    /// What the first file of this name in the container's cgroups holds.
    pub fn control(&self, name: &str) -> Result<String, Failure> {
        let found = self.cgroups()?;
        let text = found
            .iter()
            .find_map(|dir| std::fs::read_to_string(dir.join(name)).ok());
        text.map(|text| text.trim_end().to_owned())
            .ok_or_else(|| Failure::new(format!("no {name} in {found:?}")))
    }
}

/// The exit status of a process in what `tasks delete` says, which is nothing for 0.
fn exit_code(said: &str) -> Result<i32, Failure> {
    if said.is_empty() {
        return Ok(0);
    }
    let (_, after) = said
        .split_once("exit code ")
        .ok_or_else(|| Failure::new(format!("tasks delete: {said}")))?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}

/// Waits until `condition` holds, and takes the statuses of orphans meanwhile, as a machine's init does.
pub fn wait_and_reap(what: &str, mut condition: impl FnMut() -> Result<bool, Failure>) -> Done {
    wait_until(what, || {
        crate::runtime::reap_orphans();
        condition()
    })
}

/// The shims that descend from this process, by their numbers: daemons, and no short-lived calls.
pub fn shims() -> Vec<i32> {
    let mut found: Vec<i32> = processes::descendants()
        .into_iter()
        .filter(|one| {
            let line = processes::command_line(one.pid);
            one.state != 'Z'
                && line.contains("containerd-shim-")
                && line.contains(" -id ")
                && !line.ends_with(" start")
                && !line.ends_with(" delete")
        })
        .map(|one| one.pid)
        .collect();
    found.sort_unstable();
    found
}
