//! A daemon of an engine: started by a case, asked until it answers, ended by its number, and started again as often as a case wants.
//!
//! Only the daemon itself is ended when the guard is dropped. Shims and containers that it left behind are not: the check for leaks has to find them. They are
//! orphans of the case's process then, which ends them when the case is over.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::case::{Done, Failure};
use crate::place::patience;

const START: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(15);

/// A daemon that runs, or that a case has killed.
#[derive(Debug)]
pub struct Daemon {
    command: Command,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Starts the daemon, whose texts go to the end of `log`, and waits until `answers` holds.
    pub fn start(
        command: Command,
        log: &Path,
        answers: impl FnMut() -> Result<bool, Failure>,
    ) -> Result<Daemon, Failure> {
        let mut daemon = Daemon {
            command,
            log: log.to_owned(),
            child: None,
        };
        daemon.start_again(answers)?;
        Ok(daemon)
    }

    /// Starts it anew with the same command, once it has been killed.
    pub fn start_again(&mut self, mut answers: impl FnMut() -> Result<bool, Failure>) -> Done {
        let log: File = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.log)?;
        self.command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = self
            .command
            .spawn()
            .map_err(|e| Failure::new(format!("{:?}: {e}", self.command.get_program())))?;
        crate::runtime::hold(child.id().cast_signed(), true);
        self.child = Some(child);
        let until = Instant::now() + patience(START);
        while !answers()? {
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?;
            if let Some(Some(status)) = ended {
                return Err(Failure::new(format!("{status}: {}", self.said())));
            }
            if Instant::now() > until {
                return Err(Failure::new(format!("no answer: {}", self.said())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The process number; none once it was ended.
    pub fn pid(&self) -> Option<i32> {
        Some(self.child.as_ref()?.id().cast_signed())
    }

    /// Kills it with SIGKILL, as the OOM killer would.
    pub fn kill(&mut self) -> Done {
        self.end(Signal::SIGKILL)
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) -> Done {
        self.end(Signal::SIGTERM)
    }

    /// The end of what it has written to its log, for messages.
    pub fn said(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn end(&mut self, signal: Signal) -> Done {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = child.id().cast_signed();
        kill(Pid::from_raw(pid), signal)?;
        let until = Instant::now() + patience(END);
        while child.try_wait()?.is_none() {
            if Instant::now() > until {
                child.kill()?;
                child.wait()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        crate::runtime::hold(pid, false);
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that is left is found by the leak check.
        let _ = self.end(Signal::SIGTERM);
    }
}
