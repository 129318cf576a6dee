//! The conversation with a stage at work: its requests are answered in the order they come, until it is ready or gives up.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use stage::message::{Failure, ToParent, ToStage};

use super::channel::{self, Message};
use super::{Child, idmap, source, user_namespace};
use crate::config::IdMaps;
use crate::error::{Error, ErrorKind, Refused};
use crate::host::Host;
use crate::plan::{self, LaunchPlan};
use crate::sys::Spawned;

/// What the parent does for a stage that asks.
pub trait Parent {
    /// The id maps of the container's user namespace.
    fn id_maps(&self) -> &IdMaps;

    /// Prestart and createRuntime hooks, and network devices; `pid` is the container's process.
    fn host_hooks(&mut self, pid: i32) -> Result<(), Error>;

    /// Resource limits, once the stage has made its last open.
    fn limits(&mut self, pid: i32) -> Result<(), Error>;

    /// The compiled seccomp filter, whole instructions of eight bytes. Asked for only where the plan has one.
    fn filter(&mut self) -> Result<&[u8], Error> {
        Err(out_of_order())
    }

    /// The listener of a filter that notifies: from now on somebody must answer for the process `pid`.
    fn listener(&mut self, _pid: i32, _listener: OwnedFd) -> Result<(), Error> {
        Err(out_of_order())
    }
}

impl Child<'_> {
    /// Answers until the stage is ready; then everything that config.json can be wrong about has gone right. Returns the pid of the
    /// process that will execute the program. Blocks as long as the stage works (hooks have their own timeouts).
    pub fn supervise(&mut self, host: &Host, parent: &mut dyn Parent) -> Result<i32, Error> {
        // The fork's child may speak before its parent's word of it has come.
        let mut early: Option<Message> = None;
        loop {
            let known = self.init.is_some() || !self.plan.forks;
            let message = match early.take_if(|_| known) {
                Some(message) => message,
                None if early.is_some() => match self.receive_while_first_lives()? {
                    Some(message) => message,
                    None => return Err(self.died()),
                },
                None => match self.receive()? {
                    Some(message) => message,
                    None => return Err(self.died()),
                },
            };
            let kind = message
                .bytes()
                .first()
                .copied()
                .and_then(ToParent::from_byte);
            let waits_for_init = matches!(
                kind,
                Some(
                    ToParent::Ready
                        | ToParent::WantHostHooks
                        | ToParent::WantSource
                        | ToParent::WantFilter
                        | ToParent::Listener
                )
            );
            if waits_for_init && !known {
                early = Some(message);
                continue;
            }
            match kind {
                Some(ToParent::Ready) => {
                    let pid = self.pid()?;
                    parent.limits(pid)?;
                    return Ok(pid);
                }
                Some(ToParent::WantMaps) => {
                    let pid = self.first_pid().ok_or_else(out_of_order)?;
                    idmap::write_maps(host, pid, parent.id_maps())?;
                    self.done(None)?;
                }
                Some(ToParent::WantHostHooks) => {
                    parent.host_hooks(self.pid()?)?;
                    self.done(None)?;
                }
                Some(ToParent::WantFilter) => {
                    let control = self.control()?;
                    channel::send_filter(control, ToStage::Done, parent.filter()?)?;
                }
                Some(ToParent::Listener) => {
                    let pid = self.pid()?;
                    parent.limits(pid)?;
                    parent.listener(pid, self.take_listener(&message)?)?;
                    return Ok(pid);
                }
                Some(ToParent::WantSource) => self.hand_over(host, &message)?,
                Some(ToParent::Init) => self.take_init(message)?,
                Some(ToParent::Console) => self.console = message.fd,
                Some(ToParent::Note) => {
                    if let Some(failure) = Failure::decode(message.bytes()) {
                        self.warnings.push(plan::render_note(self.plan, &failure));
                    }
                }
                Some(ToParent::Failure) => return Err(failure(self.plan, &message)),
                None => return Err(out_of_order()),
            }
        }
    }

    fn receive(&self) -> Result<Option<Message>, Error> {
        channel::receive(self.control()?, &|| self.silent())
    }

    /// For a stage whose child has spoken before its own word of it came: it may have been killed in between, and then that word never
    /// comes, while the child keeps the socket open.
    fn receive_while_first_lives(&self) -> Result<Option<Message>, Error> {
        let (control, first) = (
            self.control()?,
            self.first.as_ref().ok_or_else(out_of_order)?,
        );
        let mut fds = [
            PollFd::from_borrowed_fd(control, PollFlags::IN),
            PollFd::new(&first.pidfd, PollFlags::IN),
        ];
        self.poll(&mut fds)?;
        if fds[0].revents().is_empty() {
            Ok(None)
        } else {
            self.receive()
        }
    }

    /// The process that will execute the program.
    fn pid(&self) -> Result<i32, Error> {
        let process = self.init.as_ref().or(self.first.as_ref());
        process.map(|process| process.pid).ok_or_else(out_of_order)
    }

    fn done(&self, fd: Option<OwnedFd>) -> Result<(), Error> {
        channel::send(
            self.control()?,
            ToStage::Done,
            fd.as_ref().map(OwnedFd::as_fd),
        )
    }

    fn hand_over(&self, host: &Host, message: &Message) -> Result<(), Error> {
        let &[_, low, high] = message.bytes() else {
            return Err(out_of_order());
        };
        let index = usize::from(u16::from_le_bytes([low, high]));
        let wanted = self.plan.handed.get(index).ok_or_else(out_of_order)?;
        let own = self.pid()?;
        let tree = source::open(wanted, |maps| {
            if maps.uid.is_empty() && maps.gid.is_empty() {
                idmap::user_namespace_of(host, own)
            } else {
                user_namespace::make(host, maps)
            }
        })
        .map_err(|error| match error.downcast_ref::<Refused>() {
            Some(refused) => plan::render_source(self.plan, index, refused),
            None => error,
        })?;
        self.done(Some(tree))
    }

    /// The listener, from the stage that loads its filter just now: the stage cannot give it, since the call that would is the filter's
    /// to judge already. Its number is known, and free until then.
    fn take_listener(&mut self, message: &Message) -> Result<OwnedFd, Error> {
        let &[_, a, b, c, d] = message.bytes() else {
            return Err(out_of_order());
        };
        let number = i32::from_le_bytes([a, b, c, d]);
        loop {
            match pidfd_getfd(self.pidfd()?, number, PidfdGetfdFlags::empty()) {
                Ok(listener) => return Ok(listener),
                Err(Errno::BADF) => {}
                Err(errno) => {
                    return Err(Refused::call("pidfd_getfd(seccomp listener)", errno).into());
                }
            }
            let mut fds = [PollFd::from_borrowed_fd(self.control()?, PollFlags::IN)];
            let soon = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000,
            };
            match poll(&mut fds, Some(&soon)) {
                Ok(0) | Err(Errno::INTR) => self.silent()?,
                Err(errno) => return Err(Refused::call("poll", errno).into()),
                // The load was refused, or the stage is gone.
                Ok(_) => match self.receive()? {
                    Some(message) => return Err(failure(self.plan, &message)),
                    None => return Err(self.died()),
                },
            }
        }
    }

    /// The first stage has forked and leaves; CLONE_PARENT made the new process our child.
    fn take_init(&mut self, message: Message) -> Result<(), Error> {
        let &[_, a, b, c, d] = message.bytes() else {
            return Err(out_of_order());
        };
        let pid = i32::try_from(u32::from_le_bytes([a, b, c, d])).map_err(|_| out_of_order())?;
        let pidfd = message.fd.ok_or_else(out_of_order)?;
        self.init = Some(Spawned { pid, pidfd });
        self.await_first()?;
        if let Some(first) = self.first.take() {
            super::wait(&first.pidfd)?;
        }
        Ok(())
    }

    /// EOF before *ready*: the stage was killed, by somebody or by the kernel.
    fn died(&mut self) -> Error {
        let process = self.init.take().or_else(|| self.first.take());
        let status = process.and_then(|process| super::wait(&process.pidfd).ok().flatten());
        let how = match status {
            Some(status) if status.terminating_signal() == Some(9) => {
                "killed by signal 9 (by the OOM killer, if the memory limit is too low)".to_owned()
            }
            Some(status) => match (status.terminating_signal(), status.exit_status()) {
                (Some(signal), _) => format!("killed by signal {signal}"),
                (None, code) => format!("exit status {}", code.unwrap_or(0)),
            },
            None => "status unknown: the host process took it".to_owned(),
        };
        Error::new(
            ErrorKind::Internal,
            format!(
                "unable to start container process: container init died before it was ready: {how}"
            ),
        )
    }
}

/// The error of a Failure message.
pub fn failure(plan: &LaunchPlan, message: &Message) -> Error {
    let first = message
        .bytes()
        .first()
        .copied()
        .and_then(ToParent::from_byte);
    match Failure::decode(message.bytes()) {
        Some(failure) if first == Some(ToParent::Failure) => plan::render(plan, &failure),
        _ => out_of_order(),
    }
}

fn out_of_order() -> Error {
    Error::new(ErrorKind::Internal, "unexpected message from the stage")
}
