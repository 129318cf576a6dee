//! Somebody at a terminal: a command started on a pty of its own as a login shell would be, what is typed, and what then shows.
//!
//! Everything has a deadline. What is typed is echoed, so an expected text must not be in the typed one.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};

use crate::case::Failure;
use crate::place::patience;
use crate::sys;

const PATIENCE: Duration = Duration::from_secs(15);

/// A command and the master of the terminal that it runs on.
#[derive(Debug)]
pub struct Terminal {
    master: std::fs::File,
    child: Child,
    /// What has shown and was not expected yet.
    unread: String,
}

impl Terminal {
    /// Starts `command` as the leader of a session whose controlling terminal has this size.
    pub fn start(command: &Command, rows: u16, columns: u16) -> Result<Terminal, Failure> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None)?;
        // A hung case must not hang in a read.
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        sys::keep_over_exec(pty.master.as_raw_fd(), false)?;
        let mut session = Command::new("setsid");
        session
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            session.current_dir(dir);
        }
        session
            .stdin(Stdio::from(pty.slave.try_clone()?))
            .stdout(Stdio::from(pty.slave.try_clone()?))
            .stderr(Stdio::from(pty.slave));
        let child = session.spawn()?;
        Ok(Terminal {
            master: std::fs::File::from(pty.master),
            child,
            unread: String::new(),
        })
    }

    /// Types a line and the return key.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.keys(format!("{text}\r").as_bytes())
    }

    /// Types these bytes: `\x03` is what ctrl and c send.
    pub fn keys(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.master.write_all(bytes)?)
    }

    /// Waits until `text` shows; it and what came before it are then read.
    pub fn expect(&mut self, text: &str) -> Result<(), Failure> {
        if self.shows(text, patience(PATIENCE))? {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{text:?} never showed; this did: {:?}",
            self.unread
        )))
    }

    /// Whether `text` shows within `time`; everything up to it is read then.
    pub fn shows(&mut self, text: &str, time: Duration) -> Result<bool, Failure> {
        let until = Instant::now() + time;
        loop {
            if let Some(at) = self.unread.find(text) {
                self.unread.drain(..at + text.len());
                return Ok(true);
            }
            if !self.read_some(until)? {
                return Ok(false);
            }
        }
    }

    /// Changes the size, as somebody does who pulls at a window's corner.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), Failure> {
        Ok(sys::set_terminal_size(
            self.master.as_raw_fd(),
            rows,
            columns,
        )?)
    }

    /// Waits for the command to end; its exit status and what was not read yet.
    pub fn end(mut self) -> Result<(Option<i32>, String), Failure> {
        let until = Instant::now() + patience(PATIENCE);
        loop {
            if let Some(status) = self.child.try_wait()? {
                while self.read_some(Instant::now())? {}
                return Ok((status.code(), std::mem::take(&mut self.unread)));
            }
            // A full terminal would keep the command from ending.
            self.read_some(Instant::now() + Duration::from_millis(10))?;
            if Instant::now() > until {
                return Err(Failure::new(format!(
                    "the command on the terminal hangs after {:?}",
                    self.unread
                )));
            }
        }
    }

    /// Reads what there is, or comes until then. False: nothing came, or the terminal is closed.
    fn read_some(&mut self, until: Instant) -> Result<bool, Failure> {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        poll(
            &mut [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)],
            timeout,
        )?;
        let mut bytes = [0u8; 4096];
        match self.master.read(&mut bytes) {
            Ok(count) => {
                self.unread
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
                // Of the whole: the two may come apart.
                self.unread = self.unread.replace("\r\n", "\n");
                Ok(count > 0)
            }
            // EIO is how a terminal ends.
            Err(e) if e.kind() == ErrorKind::WouldBlock || e.raw_os_error() == Some(libc::EIO) => {
                if e.kind() != ErrorKind::WouldBlock {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(false)
            }
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Only a case that failed leaves one running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
