//! Runs the runtime's command: arguments in, exit status and texts out, with a deadline around every call.
//!
//! The output goes to files, not pipes: a detached container keeps the command's own descriptors, and a pipe would never end.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::case::Failure;
use crate::place::{Driver, patience};
use crate::processes;

/// How long a command may take before it counts as hung.
pub const DEADLINE: Duration = Duration::from_secs(20);

static CALLS: AtomicU32 = AtomicU32::new(0);
/// Commands that somebody holds: their statuses are not for [`reap_orphans`].
static HELD: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// The binary that is judged, and where its state goes.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The binary.
    pub program: PathBuf,
    /// What `--root` names.
    pub root: PathBuf,
    /// Where outputs are kept.
    pub logs: PathBuf,
    /// Who makes the cgroups: with systemd, every command gets `--systemd-cgroup`.
    pub driver: Driver,
}

/// What a command left: its status and its texts.
#[derive(Debug)]
pub struct Output {
    status: Option<ExitStatus>,
    command: String,
    out: PathBuf,
    err: PathBuf,
}

/// A command that has been started and not yet waited for.
#[derive(Debug)]
pub struct Running {
    /// The process; its stdin is there if it was asked for.
    pub child: Child,
    command: String,
    out: PathBuf,
    err: PathBuf,
}

impl Runtime {
    /// A runtime whose state and logs are below `dir`.
    pub fn new(program: &Path, dir: &Path) -> Runtime {
        Runtime {
            program: program.to_owned(),
            root: dir.join("state"),
            logs: dir.join("logs"),
            driver: Driver::Cgroupfs,
        }
    }

    /// Whether this is Debian's runc, which differs from the spec in ways that the cases name.
    pub fn is_runc(&self) -> bool {
        self.program.file_name().is_some_and(|name| name == "runc")
    }

    /// A command of the runtime with `--root`, to be changed before it is run: see [`Runtime::finish`].
    pub fn command<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(&self.program);
        if self.driver == Driver::Systemd {
            command.arg("--systemd-cgroup");
        }
        command
            .arg("--root")
            .arg(&self.root)
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// The same command, run by a shell after `preparation`: to be called with ignored signals, open descriptors, a strange umask.
    pub fn from_shell(&self, preparation: &str, command: &Command) -> Command {
        let mut shell = Command::new("/bin/busybox");
        shell.args(["sh", "-c", &format!("{preparation}; exec \"$@\""), "sh"]);
        shell
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        shell
    }

    /// Runs a command to its end.
    pub fn call<I, S>(&self, args: I) -> Result<Output, Failure>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.finish(self.command(args))
    }

    /// Runs a prepared command to its end.
    pub fn finish(&self, command: Command) -> Result<Output, Failure> {
        self.spawn(command)?.wait(DEADLINE)
    }

    /// Starts a prepared command. It leads a process group of its own, so that a hung one can be ended with its children.
    pub fn spawn(&self, mut command: Command) -> Result<Running, Failure> {
        fs::create_dir_all(&self.logs)?;
        let number = CALLS.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (
            self.logs.join(format!("{number}.out")),
            self.logs.join(format!("{number}.err")),
        );
        command.stdout(new_file(&out)?).stderr(new_file(&err)?);
        let text = describe(&command);
        let child = command
            .process_group(0)
            .spawn()
            .map_err(|e| Failure::new(format!("{text}: {e}")))?;
        hold(child.id().cast_signed(), true);
        Ok(Running {
            child,
            command: text,
            out,
            err,
        })
    }
}

impl Running {
    /// Waits for the end; a command that misses the deadline is killed and the case fails.
    pub fn wait(mut self, deadline: Duration) -> Result<Output, Failure> {
        drop(self.child.stdin.take());
        let deadline = patience(deadline);
        let until = Instant::now() + deadline;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            reap_orphans();
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                let errors = fs::read_to_string(&self.err).unwrap_or_default();
                return Err(Failure::new(format!(
                    "hung for {deadline:?}: {} (stderr: {errors})",
                    self.command
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        hold(self.pid(), false);
        Ok(Output {
            status: Some(status),
            command: self.command,
            out: self.out,
            err: self.err,
        })
    }

    /// Says that the caller has taken the child's status itself.
    pub fn forget(self) {
        hold(self.pid(), false);
    }

    /// The process number of the command.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What it has written to stdout so far.
    pub fn stdout_so_far(&self) -> String {
        lossy(&self.out)
    }
}

impl Output {
    /// The exit status as a shell would show it: 128 + the signal for a killed process.
    pub fn code(&self) -> i32 {
        self.status.map_or(-1, |status| {
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
        })
    }

    /// What is in stdout now: a container that still runs may add to it.
    pub fn stdout(&self) -> String {
        lossy(&self.out)
    }

    /// The file that stdout was written to.
    pub fn stdout_file(&self) -> &Path {
        &self.out
    }

    /// What is in stderr now.
    pub fn stderr(&self) -> String {
        lossy(&self.err)
    }

    /// The lines of stdout.
    pub fn lines(&self) -> Vec<String> {
        self.stdout().lines().map(str::to_owned).collect()
    }

    /// Stdout read as JSON.
    pub fn json(&self) -> Result<Value, Failure> {
        serde_json::from_str(&self.stdout()).map_err(|e| {
            Failure::new(format!(
                "{}: not JSON: {e}: {}",
                self.command,
                self.stdout()
            ))
        })
    }

    /// Fails unless the command exited with 0.
    pub fn success(self) -> Result<Output, Failure> {
        self.exits_with(0)
    }

    /// Fails unless the command exited with this status.
    pub fn exits_with(self, code: i32) -> Result<Output, Failure> {
        if self.code() == code {
            return Ok(self);
        }
        Err(Failure::new(format!(
            "{}: exit status {} is not {code}; stdout {:?}, stderr {:?}",
            self.command,
            self.code(),
            self.stdout(),
            self.stderr()
        )))
    }

    /// Fails unless the command failed and its stderr holds `text`.
    pub fn fails_with(self, text: &str) -> Result<Output, Failure> {
        // The text form of runc's log escapes quotes.
        let said = self.stderr().replace("\\\"", "\"");
        if self.code() != 0 && said.contains(text) {
            return Ok(self);
        }
        Err(Failure::new(format!(
            "{}: wanted an error with {text:?}; exit status {}, stderr {:?}",
            self.command,
            self.code(),
            self.stderr()
        )))
    }
}

/// Says that somebody else waits for this child, or no longer does.
pub(crate) fn hold(pid: i32, held: bool) {
    let mut set = HELD
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if held {
        set.insert(pid);
    } else {
        set.remove(&pid);
    }
}

/// Takes the status of the orphans that came to this process, as a shim does: init of a pid namespace does not end before what was
/// exec'ed into it has been waited for.
pub(crate) fn reap_orphans() {
    let held = HELD
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    processes::reap_children_but(&held);
}

fn new_file(path: &Path) -> Result<fs::File, Failure> {
    Ok(fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create_new(true)
        .open(path)?)
}

fn lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn describe(command: &Command) -> String {
    let words: Vec<OsString> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_owned)
        .collect();
    words
        .iter()
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
