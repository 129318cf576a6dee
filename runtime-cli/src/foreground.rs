//! Waiting for a container's process in the foreground: signals go in, streams go both ways, the exit status comes out.
//!
//! Every signal is blocked and read from a signalfd, so there is no handler and no moment at which one is lost. One poll(2) waits for
//! signals, for the end of the process (its pidfd) and for the streams.

use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, OwnedFd};

use libcontainer::{ExitStatus, NotifyProxy};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::streams::Streams;
use crate::terminal::{self, HostTerminal};

/// A process that can be waited for.
pub trait Process {
    /// Readable when the process has ended.
    fn pidfd(&self) -> BorrowedFd<'_>;
    /// Its pid in our namespace.
    fn pid(&self) -> i32;
    /// Sends a signal; a process that has ended needs none.
    fn signal(&self, number: i32);
    /// How it ended; not called before the pidfd says that it did.
    fn wait(&self) -> Result<ExitStatus, libcontainer::Error>;
}

/// Signals that come to the command from now on wait to be forwarded.
#[derive(Debug)]
pub struct Signals(
    /// Open until the command ends: the kernel closes it then.
    ManuallyDrop<SignalFd>,
);

impl Signals {
    /// Blocks everything that can be blocked. To be called before the process is made, so that no signal falls between.
    pub fn block() -> Result<Signals, Errno> {
        Signals::block_set(SigSet::all())
    }

    /// The same for a command that is no subreaper: it has no other child to hear of.
    pub fn block_but_children() -> Result<Signals, Errno> {
        let mut set = SigSet::all();
        set.remove(Signal::SIGCHLD);
        Signals::block_set(set)
    }

    fn block_set(all: SigSet) -> Result<Signals, Errno> {
        all.thread_block().map_err(errno)?;
        SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map(|fd| Signals(ManuallyDrop::new(fd)))
            .map_err(errno)
    }

    fn next(&self) -> Option<siginfo> {
        self.0.read_signal().ok().flatten()
    }
}

/// Lets orphans of the container become our children instead of the system's, and reaps them while waiting.
pub fn become_subreaper() -> Result<(), Errno> {
    // Any pid means "yes" (PR_SET_CHILD_SUBREAPER(2const)), so ours need not be asked for.
    rustix::process::set_child_subreaper(Some(Pid::INIT))
}

/// The exit code of a command whose process ended so: a signal counts from 128, as in shells.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = match status {
        ExitStatus::Exited(code) => code,
        ExitStatus::Signaled(signal) => 128 + signal,
    };
    // Both are within a byte: wait(2) gives eight bits of status, and signals end at 64.
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The container's terminal while it is copied.
#[derive(Debug)]
struct Console {
    master: OwnedFd,
    host: Option<HostTerminal>,
}

/// What is waited for.
#[derive(Debug)]
pub struct Foreground {
    signals: Signals,
    streams: Streams,
    console: Option<Console>,
    notify: Option<NotifyProxy>,
}

impl Foreground {
    /// For a process whose streams are pipes, or the command's own.
    pub fn piped(signals: Signals, streams: Streams) -> Foreground {
        Foreground {
            signals,
            streams,
            console: None,
            notify: None,
        }
    }

    /// For a process with a terminal, given its master end. Standard input, if it is a terminal, is raw until the end.
    pub fn terminal(signals: Signals, master: OwnedFd) -> Result<Foreground, Errno> {
        let streams = Streams::terminal(rustix::io::fcntl_dupfd_cloexec(&master, 3)?)?;
        terminal::prepare(&master);
        let console = Console {
            master,
            host: HostTerminal::raw(),
        };
        let foreground = Foreground {
            signals,
            streams,
            console: Some(console),
            notify: None,
        };
        foreground.resize();
        Ok(foreground)
    }

    /// Passes readiness on while waiting. The unit's main process is this command, which lives longer than the container.
    pub fn pass_on(&mut self, notify: Option<NotifyProxy>) {
        self.notify = notify.map(|mut proxy| {
            proxy.set_main_pid(rustix::process::getpid().as_raw_nonzero().get());
            proxy
        });
    }

    /// Waits for the end of `process`, calls `ended` (which removes what would keep the streams open), and copies the rest of the output.
    pub fn wait<T>(
        mut self,
        process: &impl Process,
        ended: impl FnOnce() -> T,
    ) -> Result<(ExitStatus, T), WaitError> {
        let status = loop {
            let woken = self.poll(Some(process.pidfd()))?;
            if woken.ended {
                break process.wait().map_err(WaitError::Process)?;
            }
            if woken.signal {
                while let Some(info) = self.signals.next() {
                    self.handle(&info, process);
                }
            }
        };
        if let Some(input) = &mut self.streams.input {
            input.stop();
        }
        let outcome = ended();
        self.drain()?;
        Ok((status, outcome))
    }

    /// Copies until every output is at its end. A signal that would end a program ends this wait, because the process it was meant for
    /// is gone while somebody else may keep a stream open for ever.
    fn drain(&mut self) -> Result<(), WaitError> {
        while self.streams.outputs.iter().any(|output| !output.is_done()) {
            if self.poll(None)?.signal {
                while let Some(info) = self.signals.next() {
                    let ends = [
                        Signal::SIGTERM,
                        Signal::SIGINT,
                        Signal::SIGHUP,
                        Signal::SIGQUIT,
                    ];
                    if ends.iter().any(|signal| *signal as u32 == info.ssi_signo) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn handle(&self, info: &siginfo, process: &impl Process) {
        let Ok(number) = i32::try_from(info.ssi_signo) else {
            return;
        };
        let from_ourselves =
            i32::try_from(info.ssi_pid).is_ok_and(|pid| pid == std::process::id().cast_signed());
        match Signal::try_from(number) {
            Ok(Signal::SIGCHLD) => reap_others(process.pid()),
            Ok(Signal::SIGURG) => {} // Go's scheduler sends it to itself, and runc's users are used to its being swallowed.
            Ok(Signal::SIGWINCH) if self.console.is_some() => self.resize(),
            // Our own write into a closed stream raised it.
            Ok(Signal::SIGPIPE) if from_ourselves => {}
            _ => process.signal(number),
        }
    }

    fn resize(&self) {
        if let Some(Console {
            master,
            host: Some(host),
        }) = &self.console
        {
            host.copy_size(master);
        }
    }

    /// One wait, and the copying that it allows.
    fn poll(&mut self, pidfd: Option<BorrowedFd<'_>>) -> Result<Woken, WaitError> {
        let mut fds = Vec::with_capacity(8);
        fds.push(PollFd::new(&*self.signals.0, PollFlags::IN));
        fds.extend(pidfd.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let notify = fds.len();
        let proxy = self.notify.as_ref().map(NotifyProxy::fd);
        fds.extend(proxy.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let fixed = fds.len();
        let mut counts = [0; 3];
        for (copy, count) in self
            .streams
            .input
            .iter()
            .chain(&self.streams.outputs)
            .zip(&mut counts)
        {
            let before = fds.len();
            fds.extend(copy.poll_fds());
            *count = fds.len() - before;
        }
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => {
                return Ok(Woken {
                    signal: false,
                    ended: false,
                });
            }
            Err(errno) => return Err(WaitError::Poll(errno)),
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        if fixed > notify && !ready[notify].is_empty() {
            // A service manager that cannot be told is no reason to let the container go: it runs.
            let told = self.notify.as_mut().map(NotifyProxy::handle);
            if !matches!(told, Some(Ok(false))) {
                self.notify = None;
            }
        }
        let mut rest = &ready[fixed..];
        for (copy, count) in self.streams.copies().zip(counts) {
            let (its, others) = rest.split_at(count);
            copy.advance(its.iter().copied());
            rest = others;
        }
        Ok(Woken {
            signal: !ready[0].is_empty(),
            ended: pidfd.is_some() && !ready[1].is_empty(),
        })
    }
}

/// What poll(2) came back for besides the streams.
#[derive(Debug, Clone, Copy)]
struct Woken {
    signal: bool,
    ended: bool,
}

/// Why the end of the process cannot be told.
#[derive(Debug)]
pub enum WaitError {
    /// poll(2) failed.
    Poll(Errno),
    /// The library could not tell.
    Process(libcontainer::Error),
}

impl std::fmt::Display for WaitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WaitError::Poll(errno) => write!(f, "poll: {}", libcontainer::Errno::from(*errno)),
            WaitError::Process(error) => error.fmt(f),
        }
    }
}

/// Reaps the orphans we adopted, but leaves `ours` for the library: its status must not be lost.
fn reap_others(ours: i32) {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, peek) {
        match status.pid() {
            Some(pid) if pid.as_raw() != ours => drop(waitpid(pid, Some(WaitPidFlag::WNOHANG))), // an orphan's status is nobody's
            _ => return,
        }
    }
}

fn errno(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
