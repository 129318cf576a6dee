//! `garboard exec`.

use std::os::fd::BorrowedFd;
use std::path::Path;

use libcontainer::{Console, Exec, ExecFlags, ExecProcess, ExecRequest, ExitStatus};

use super::Invocation;
use crate::apparmor;
use crate::failure::{Failure, NOT_EXECUTED};
use crate::foreground::{self, Foreground, Process, Signals};
use crate::streams::Streams;
use crate::table::flags;

/// Runs one more process in the container.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    exec(invocation).map_err(|failure| failure.within("exec failed", NOT_EXECUTED))
}

fn exec(invocation: &Invocation) -> Result<u8, Failure> {
    let matches = &invocation.matches;
    let detach = matches.is_set(&flags::DETACH);
    let console = match matches.path(&flags::CONSOLE_SOCKET) {
        Some(socket) => Console::Socket(socket),
        None if detach => Console::None,
        None => Console::Master,
    };
    let mut request = ExecRequest::new(process(invocation)?);
    request.console = console;
    request.pid_file = matches.path(&flags::PID_FILE);
    request.pidfd_socket = matches.path(&flags::PIDFD_SOCKET);
    request.preserve_fds = matches.number(&flags::PRESERVE_FDS)?;
    // Now, while nothing of our own is open in the place of a missing one.
    libcontainer::check_preserved_fds(request.preserve_fds)?;
    request.cgroup = matches.texts(&flags::CGROUP)?;
    request.ignore_paused = matches.is_set(&flags::IGNORE_PAUSED);
    let container = invocation.container()?;
    if detach {
        let exec = container.exec(request)?;
        invocation.warn(exec.warnings());
        return Ok(0);
    }
    let signals = Signals::block_but_children()?;
    let mut streams = Streams::pipes()?;
    request.stdio = std::mem::take(&mut streams.given);
    let mut exec = container.exec(request)?;
    invocation.warn(exec.warnings());
    let foreground = match exec.take_console() {
        Some(master) => Foreground::terminal(signals, master)?,
        None => Foreground::piped(signals, streams),
    };
    let waited = foreground.wait(&exec, || ());
    let (status, ()) = waited.map_err(|why| Failure::new(why.to_string()))?;
    // The command ends here, and the kernel closes what they hold in no system call of ours.
    std::mem::forget((exec, container));
    Ok(foreground::exit_code(status))
}

/// The process as `--process` or the flags describe it.
fn process(invocation: &Invocation) -> Result<ExecProcess, Failure> {
    let matches = &invocation.matches;
    if let Some(path) = matches.path(&flags::PROCESS) {
        return Ok(ExecProcess::Document(read(&path)?));
    }
    if matches.positionals.len() < 2 {
        return Err(Failure::new("args must not be empty"));
    }
    let args = (1..matches.positionals.len())
        .map(|index| Ok(matches.positional(index)?.to_owned()))
        .collect::<Result<_, Failure>>()?;
    Ok(ExecProcess::Flags(ExecFlags {
        args,
        cwd: matches.text(&flags::CWD)?.map(str::to_owned),
        env: matches.texts(&flags::ENV)?,
        user: matches.text(&flags::USER)?.map(user).transpose()?,
        additional_gids: matches.numbers(&flags::ADDITIONAL_GIDS)?,
        capabilities: matches.texts(&flags::CAP)?,
        no_new_privileges: matches.is_set(&flags::NO_NEW_PRIVS),
        apparmor: matches.text(&flags::APPARMOR)?.map(str::to_owned),
        process_label: matches.text(&flags::PROCESS_LABEL)?.map(str::to_owned),
        terminal: matches.is_set(&flags::TTY),
    }))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|why| {
        let errno = libcontainer::Errno(why.raw_os_error().unwrap_or_default());
        Failure::new(format!("open {}: {errno}", path.display()))
    })
}

/// `UID[:GID]`.
fn user(text: &str) -> Result<(u32, Option<u32>), Failure> {
    let id = |what: &str, text: &str| {
        text.parse()
            .map_err(|_| Failure::new(format!("parsing {text:?} as {what}: not a number")))
    };
    match text.split_once(':') {
        None => Ok((id("uid", text)?, None)),
        Some((uid, gid)) => Ok((id("uid", uid)?, Some(id("gid", gid)?))),
    }
}

impl Process for Exec {
    fn pidfd(&self) -> BorrowedFd<'_> {
        Exec::pidfd(self)
    }

    fn pid(&self) -> i32 {
        Exec::pid(self)
    }

    fn signal(&self, number: i32) {
        let _ = apparmor::send_as_unconfined(|| self.kill(number)); // a process that has ended needs no signal
    }

    fn wait(&self) -> Result<ExitStatus, libcontainer::Error> {
        Exec::wait(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        assert!(matches!(user("1000"), Ok((1000, None))));
        assert!(matches!(user("0:5"), Ok((0, Some(5)))));
        for text in ["", "root", "1:", ":1", "1:2:3", "-1", "4294967296"] {
            assert!(user(text).is_err(), "{text}");
        }
    }
}
