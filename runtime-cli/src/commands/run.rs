//! `garboard run`.

use std::os::fd::BorrowedFd;
use std::path::Path;

use libcontainer::{Container, CreateOptions, ExitStatus, Runtime};

use super::{Invocation, launch};
use crate::apparmor;
use crate::failure::{FAILED, Failure};
use crate::foreground::{self, Foreground, Process, Signals};
use crate::streams::Streams;
use crate::table::flags;
use crate::terminal::HostTerminal;

/// Makes the container, starts it and, in the foreground, waits for its end.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let started = if invocation.matches.is_set(&flags::DETACH) {
        detached(invocation)
    } else {
        in_foreground(invocation)
    };
    started.map_err(|failure| failure.within("garboard run failed", FAILED))
}

fn detached(invocation: &Invocation) -> Result<u8, Failure> {
    let options = launch::options(invocation, launch::Attachment::Detached)?;
    let mut container =
        invocation
            .runtime()?
            .run(invocation.id()?, &launch::bundle(invocation), &options)?;
    invocation.warn(container.warnings());
    if let Some(proxy) = container.take_notify() {
        proxy.wait()?;
    }
    Ok(0)
}

fn in_foreground(invocation: &Invocation) -> Result<u8, Failure> {
    let options = launch::options(invocation, launch::Attachment::Foreground)?;
    let (id, bundle) = (invocation.id()?, launch::bundle(invocation));
    attend(invocation, id, &bundle, options, |_| {})
}

/// Runs a container from its creation to its end, with our streams or terminal. `made` is called before its program runs or just after.
pub fn attend(
    invocation: &Invocation,
    id: &str,
    bundle: &Path,
    mut options: CreateOptions,
    made: impl FnOnce(&mut Container),
) -> Result<u8, Failure> {
    let runtime = invocation.runtime()?;
    if !invocation.matches.is_set(&flags::NO_SUBREAPER) {
        foreground::become_subreaper()?;
    }
    let signals = Signals::block()?;
    let mut streams = Streams::pipes()?;
    options.stdio = std::mem::take(&mut streams.given);
    // Streams that are all /dev/null need no look at the terminal.
    let starting = if streams.input.is_some() && HostTerminal::is_likely() {
        Starting::AfterTerminal
    } else {
        Starting::AtOnce
    };
    let mut container = match starting {
        Starting::AtOnce => runtime.run(id, bundle, &options)?,
        Starting::AfterTerminal => runtime.create(id, bundle, &options)?,
    };
    made(&mut container);
    let undo = DeleteOnFailure {
        runtime: &runtime,
        id,
    };
    invocation.warn(container.warnings());
    let notify = options.notify_socket.take();
    drop(options); // the container's ends of the pipes: while we hold them, its streams never end
    let mut foreground = match container.take_console() {
        Some(master) => Foreground::terminal(signals, master)?,
        None => Foreground::piped(signals, streams),
    };
    foreground.pass_on(match (starting, notify) {
        (Starting::AtOnce, _) => container.take_notify(),
        (Starting::AfterTerminal, Some(host)) => container.start_notifying(&host)?,
        (Starting::AfterTerminal, None) => {
            container.start()?;
            None
        }
    });
    let keep = invocation.matches.is_set(&flags::KEEP);
    let init = Init::of(&container)?;
    let waited = foreground.wait(&init, || if keep { Ok(()) } else { container.delete() });
    let (status, deleted) = waited.map_err(|why| Failure::new(why.to_string()))?;
    std::mem::forget(undo);
    if let Err(why) = deleted {
        // The container did run: its status is the answer, and what remains is told.
        invocation.log.error(&why.to_string());
    }
    // The command ends here, and the kernel closes what they hold in no system call of ours.
    std::mem::forget((container, runtime));
    Ok(foreground::exit_code(status))
}

/// When the user's program starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Starting {
    /// As part of the launch.
    AtOnce,
    /// When its terminal has the size of ours, or its first screen would be drawn for no size at all.
    AfterTerminal,
}

/// Takes the container away when waiting for it failed.
#[derive(Debug)]
struct DeleteOnFailure<'a> {
    runtime: &'a Runtime,
    id: &'a str,
}

impl Drop for DeleteOnFailure<'_> {
    fn drop(&mut self) {
        let _ = self.runtime.delete(self.id, true); // the failure that brought us here is told instead
    }
}

/// The container's init while it is waited for.
#[derive(Debug)]
struct Init<'a> {
    container: &'a Container,
    pidfd: BorrowedFd<'a>,
}

impl<'a> Init<'a> {
    fn of(container: &'a Container) -> Result<Init<'a>, Failure> {
        let pidfd = container
            .pidfd()
            .ok_or_else(|| Failure::new("container not running"))?;
        Ok(Init { container, pidfd })
    }
}

impl Process for Init<'_> {
    fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd
    }

    fn pid(&self) -> i32 {
        self.container.pid()
    }

    fn signal(&self, number: i32) {
        let _ = apparmor::send_as_unconfined(|| self.container.kill(number, true)); // a process that has ended needs no signal
    }

    fn wait(&self) -> Result<ExitStatus, libcontainer::Error> {
        self.container.wait()
    }
}
