//! A container by its id and its bundle, with the runtime's commands as methods.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::case::{Failure, Test};
use crate::cgroups;
use crate::probe::Report;
use crate::runtime::{Output, Running};

/// One container of a case; it need not exist yet.
#[derive(Debug)]
pub struct Container<'t> {
    test: &'t Test,
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
}

impl<'t> Container<'t> {
    pub(crate) fn new(test: &'t Test, id: String, bundle: PathBuf) -> Container<'t> {
        Container { test, id, bundle }
    }

    /// `create`, with more flags if any; not yet run.
    pub fn create_command(&self, flags: &[&str]) -> Command {
        self.launch_command("create", flags)
    }

    /// `run`, with more flags if any; not yet run.
    pub fn run_command(&self, flags: &[&str]) -> Command {
        self.launch_command("run", flags)
    }

    /// `create` or `run`, by its name; not yet run.
    pub fn create_or_run(&self, verb: &str) -> Command {
        self.launch_command(verb, &[])
    }

    fn launch_command(&self, verb: &str, flags: &[&str]) -> Command {
        let mut command = self.test.runtime.command([verb]);
        command
            .arg("--bundle")
            .arg(&self.bundle)
            .args(flags)
            .arg(&self.id);
        command
    }

    /// Runs `create` and wants success; the output is what the container then writes to.
    pub fn create(&self) -> Result<Output, Failure> {
        self.test
            .runtime
            .finish(self.create_command(&[]))?
            .success()
    }

    /// Runs `create` and gives its outcome.
    pub fn try_create(&self) -> Result<Output, Failure> {
        self.test.runtime.finish(self.create_command(&[]))
    }

    /// Runs `run` in the foreground to its end and gives its outcome.
    pub fn run(&self) -> Result<Output, Failure> {
        self.test.runtime.finish(self.run_command(&[]))
    }

    /// Runs `run` and wants exit status 0.
    pub fn run_ok(&self) -> Result<Output, Failure> {
        self.run()?.success()
    }

    /// Runs `run --detach` and wants success.
    pub fn run_detached(&self) -> Result<Output, Failure> {
        self.test
            .runtime
            .finish(self.run_command(&["--detach"]))?
            .success()
    }

    /// Starts `run` in the foreground and does not wait.
    pub fn run_in_background(&self) -> Result<Running, Failure> {
        self.test.runtime.spawn(self.run_command(&[]))
    }

    /// Runs the container, whose process is the probe, and reads what it saw.
    pub fn report(&self) -> Result<Report, Failure> {
        Report::parse(&self.run_ok()?.stdout())
    }

    /// A command on this container: `verb [flags] ID [rest]`.
    pub fn call(&self, verb: &str, flags: &[&str], rest: &[&str]) -> Result<Output, Failure> {
        self.test.runtime.finish(self.command(verb, flags, rest))
    }

    /// The same, not yet run.
    pub fn command(&self, verb: &str, flags: &[&str], rest: &[&str]) -> Command {
        let mut command = self.test.runtime.command([verb]);
        command.args(flags).arg(&self.id).args(rest);
        command
    }

    /// `start`, successfully.
    pub fn start(&self) -> Result<Output, Failure> {
        self.call("start", &[], &[])?.success()
    }

    /// `kill ID SIGNAL`, successfully.
    pub fn kill(&self, signal: &str) -> Result<Output, Failure> {
        self.call("kill", &[], &[signal])?.success()
    }

    /// `delete`, successfully.
    pub fn delete(&self) -> Result<Output, Failure> {
        self.call("delete", &[], &[])?.success()
    }

    /// `delete --force`, successfully.
    pub fn delete_force(&self) -> Result<Output, Failure> {
        self.call("delete", &["--force"], &[])?.success()
    }

    /// `exec` with no flags; its outcome.
    pub fn exec(&self, args: &[&str]) -> Result<Output, Failure> {
        self.call("exec", &[], args)
    }

    /// `exec` of the probe with these flags; what it saw.
    pub fn exec_report(&self, flags: &[&str]) -> Result<Report, Failure> {
        Report::parse(
            &self
                .call("exec", flags, &["/bin/probe"])?
                .success()?
                .stdout(),
        )
    }

    /// The document of `state`.
    pub fn state(&self) -> Result<Value, Failure> {
        self.call("state", &[], &[])?.success()?.json()
    }

    /// The status word of `state`.
    pub fn status(&self) -> Result<String, Failure> {
        Ok(self.state()?["status"].as_str().unwrap_or("").to_owned())
    }

    /// The process number of the container's init.
    pub fn pid(&self) -> Result<i32, Failure> {
        let pid = self.state()?["pid"].as_i64().unwrap_or(0);
        Ok(i32::try_from(pid)?)
    }

    /// Waits until `state` says this status.
    pub fn await_status(&self, wanted: &str) -> Result<(), Failure> {
        wait_until(&format!("status {wanted} of {}", self.id), || {
            Ok(self.status()? == wanted)
        })
    }

    /// Waits until the container is there and `state` says this status.
    pub fn await_status_or_absent(&self, wanted: &str) -> Result<(), Failure> {
        wait_until(&format!("status {wanted} of {}", self.id), || {
            let out = self.call("state", &[], &[])?;
            Ok(out.code() == 0 && out.json()?["status"] == wanted)
        })
    }

    /// The directories of the container's cgroup: one on v2, one for each hierarchy on v1.
    pub fn cgroups(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut found = cgroups::named(&self.id)?;
        // A cgroup that the container has made for itself lies below.
        found.retain(|dir| {
            dir.file_name()
                .is_some_and(|name| name.to_string_lossy().contains(&self.id))
        });
        Ok(found)
    }

    /// Where a file of the container's cgroup is, in whichever hierarchy has it.
    pub fn control_file(&self, name: &str) -> Result<PathBuf, Failure> {
        let mut dirs = self.cgroups()?;
        // The hybrid layout has a `cpu.stat` in both kinds of hierarchy, and only v1's tells of limits.
        dirs.sort_by_key(|dir| dir.starts_with("/sys/fs/cgroup/unified"));
        let found = dirs
            .iter()
            .map(|dir| dir.join(name))
            .find(|path| std::fs::metadata(path).is_ok());
        found.ok_or_else(|| Failure::new(format!("no {name} in {dirs:?}")))
    }

    /// What a file of the container's cgroup holds, without the last newline.
    pub fn control(&self, name: &str) -> Result<String, Failure> {
        let path = self.control_file(name)?;
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        Ok(text.trim_end().to_owned())
    }

    /// The number in a line `KEY NUMBER` of a file of the container's cgroup; 0 if there is no such line.
    pub fn counter(&self, file: &str, key: &str) -> Result<u64, Failure> {
        let text = self.control(file)?;
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        Ok(found.map_or(Ok(0), |number| number.trim().parse())?)
    }

    /// Where a file of the container's root is on the host.
    pub fn path(&self, below: &str) -> PathBuf {
        self.bundle
            .join("rootfs")
            .join(below.trim_start_matches('/'))
    }
}

/// Waits, ten seconds at most, until `condition` holds.
pub fn wait_until(
    what: &str,
    mut condition: impl FnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let until = Instant::now() + crate::place::patience(Duration::from_secs(10));
    while !condition()? {
        if Instant::now() > until {
            return Err(Failure::new(format!("waited in vain for {what}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
