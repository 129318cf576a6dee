//! The long life of a shim: it serves containerd's Task API for the containers of one pod.
//!
//! ```text
//!  containerd ── ttrpc ──▶ Client ─▶ service ─▶ task state ──▶ Publisher ── ttrpc ──▶ containerd
//!                                      │  ▲
//!                                 jobs ▼  │ outcomes
//!                                    Workers ─▶ libcontainer: create, start, exec, kill, delete
//!  fifos ◀── Pumper ──▶ pipes and terminals of the processes      pidfds ──▶ exit
//! ```
//! One thread owns all of it but the streams and never blocks; it sleeps in [`Reactor::wait`]. What may block, which is every call of the library that
//! changes something, is a job for the [`Workers`]. So a hook that takes ten seconds delays the call that runs it and nothing else, and
//! nothing here is locked. Containers are made by this process, so it is their parent: an exit is a readable pidfd, no process can be
//! taken for another, and no reaper is needed.
//!
//! Events leave in the order in which they are published, through one queue; a call is answered after the event it causes was queued.
//! How they are ordered among each other stands in [`exit`].

mod control;
mod create;
mod delete;
mod exec;
mod exit;
mod failure;
mod forgotten;
mod pumper;
mod pumps;
mod reactor;
mod service;
mod task;
mod workers;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, getsockname};

use crate::publisher::Publisher;
use crate::stdio::Logger;
use crate::wire::{self, Connection};
use pumper::Pumper;
use reactor::{Interest, Reactor, Token};
use task::{Key, Process, Task};
use workers::Workers;

/// What `start` hands over.
#[derive(Debug)]
pub struct Config {
    /// containerd's namespace, which parts its users from each other.
    pub namespace: String,
    /// Where events go; `None`: nowhere.
    pub events: Option<PathBuf>,
}

/// Why the daemon could not begin, or had to end.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {errno}")]
pub struct Error {
    call: &'static str,
    errno: Errno,
}

fn failed(call: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error { call, errno }
}

/// A call that is to be answered: on which connection, and as which of its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    client: u64,
    stream: u32,
}

/// What the reactor tells of.
#[derive(Debug, Clone)]
enum Source {
    Listener,
    Signals,
    Outcomes,
    Publisher,
    PublisherTimer,
    Client(u64),
    Exit(Key),
    Oom(Key),
    /// The end of a process, or its `Delete`, has waited long enough for output that nobody reads.
    HeldTimer(Key),
    DeleteTimer(Key),
    Logger(u64),
    LoggerTimer(u64),
    IdleTimer,
    Retry,
}

#[derive(Debug)]
struct Client {
    connection: Connection,
    token: Token,
    writing: bool,
}

#[derive(Debug)]
struct Daemon {
    namespace: Arc<str>,
    /// `None` once it was left: what is there then belongs to another shim.
    socket: Option<PathBuf>,
    reactor: Reactor<Source>,
    workers: Workers<Daemon>,
    listener: OwnedFd,
    listening: Token,
    signals: SignalFd,
    clients: HashMap<u64, Client>,
    tasks: HashMap<Arc<str>, Task>,
    /// Whose a stream is.
    pumps: HashMap<u64, Key>,
    pumper: Option<Pumper>,
    loggers: HashMap<u64, (Logger, Token)>,
    publisher: Publisher,
    /// With the publisher's count of its sockets.
    publishing: Option<(Token, u64)>,
    /// When the publisher wants its turn, as the reactor was told.
    publisher_timer: Option<Instant>,
    /// Of clients, processes, pumps and loggers.
    last_number: u64,
    idleness: forgotten::Idleness,
    ending: Option<Instant>,
}

/// How long the last events may take to leave.
const FAREWELL: Duration = Duration::from_secs(5);

/// The socket that `start` has bound and made listen, taken from stdin, which becomes /dev/null: nothing that is started here later may
/// read from it.
fn listener() -> Result<(OwnedFd, PathBuf), Error> {
    let stdin = rustix::stdio::stdin();
    let listener = rustix::io::fcntl_dupfd_cloexec(stdin, 3).map_err(failed("fcntl(F_DUPFD)"))?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open(/dev/null)"))?;
    rustix::stdio::dup2_stdin(&null).map_err(failed("dup2"))?;
    rustix::io::ioctl_fionbio(&listener, true).map_err(failed("ioctl(FIONBIO)"))?;
    let address = getsockname(&listener).map_err(failed("getsockname(stdin)"))?;
    let address = SocketAddrUnix::try_from(address).map_err(failed("getsockname(stdin)"))?;
    let path = address
        .path_bytes()
        .ok_or_else(|| failed("getsockname(stdin)")(Errno::INVAL))?;
    Ok((listener, PathBuf::from(OsStr::from_bytes(path))))
}

/// Serves until containerd says `Shutdown` and no container is left, or a SIGTERM comes.
pub fn run(config: Config) -> Result<(), Error> {
    let mut daemon = Daemon::new(config)?;
    let mut due = Vec::new();
    loop {
        let until = daemon.settle();
        if let Some(deadline) = daemon.ending
            && (daemon.publisher.is_idle() && daemon.all_answered() || Instant::now() >= deadline)
        {
            break;
        }
        daemon
            .reactor
            .wait(until, &mut due)
            .map_err(failed("epoll_wait"))?;
        for (token, source) in due.drain(..) {
            daemon.happened(token, source);
        }
    }
    daemon.leave_socket();
    Ok(())
}

impl Daemon {
    fn new(config: Config) -> Result<Daemon, Error> {
        // Workers inherit the mask; containers do not, the library sees to that.
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1] {
            mask.add(signal);
        }
        let os = |errno: nix::errno::Errno| Errno::from_raw_os_error(errno as i32);
        mask.thread_block()
            .map_err(|errno| failed("sigprocmask")(os(errno)))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|errno| failed("signalfd")(os(errno)))?;
        let workers = Workers::new().map_err(failed("eventfd"))?;
        let mut reactor = Reactor::new().map_err(failed("epoll_create1"))?;
        let (listener, socket) = listener()?;
        let add = failed("epoll_ctl");
        let listening = reactor
            .add(&listener, Interest::Readable, Source::Listener)
            .map_err(&add)?;
        reactor
            .add(&signals, Interest::Readable, Source::Signals)
            .map_err(&add)?;
        reactor
            .add(workers.wake(), Interest::Readable, Source::Outcomes)
            .map_err(&add)?;
        Ok(Daemon {
            publisher: Publisher::new(config.events, config.namespace.clone()),
            namespace: config.namespace.into(),
            socket: Some(socket),
            reactor,
            workers,
            listener,
            listening,
            signals,
            clients: HashMap::new(),
            tasks: HashMap::new(),
            pumps: HashMap::new(),
            pumper: None,
            loggers: HashMap::new(),
            publishing: None,
            publisher_timer: None,
            last_number: 0,
            idleness: forgotten::Idleness::default(),
            ending: None,
        })
    }

    /// Whoever starts the next container of this pod finds nobody here from now on, and starts a new shim, at the same address.
    fn leave_socket(&mut self) {
        if let Some(path) = self.socket.take()
            && let Err(error) = crate::socket::remove_own(&path)
        {
            log::warn!("{error}");
        }
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn happened(&mut self, token: Token, source: Source) {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.signaled(),
            Source::Outcomes => {
                for outcome in self.workers.outcomes() {
                    outcome(self);
                }
            }
            Source::Publisher => {
                if self.publishing.is_some_and(|(known, _)| known == token) {
                    self.publisher.ready();
                }
            }
            Source::PublisherTimer => {
                self.publisher_timer = None;
                self.publisher.tick(Instant::now());
            }
            Source::Client(number) => self.client_ready(number),
            Source::Exit(key) => {
                if self.reactor.knows(token) {
                    self.exited(&key);
                }
            }
            Source::Oom(key) => self.out_of_memory(&key),
            Source::HeldTimer(key) => self.tell_held(&key),
            Source::DeleteTimer(key) => self.drained_or_not(&key),
            Source::Logger(number) => self.logger_ended(number),
            Source::LoggerTimer(number) => self.logger_overdue(number),
            Source::IdleTimer => self.look_whether_forgotten(),
            Source::Retry => self.listen_again(),
        }
    }

    fn accept(&mut self) {
        loop {
            match wire::accept(self.listener.as_fd()) {
                Ok(Some(connection)) => self.welcome(connection),
                Ok(None) => return,
                Err(errno) => {
                    // Out of descriptors or memory: what is served goes on, and new clients wait in the backlog.
                    log::warn!("accept: {errno}");
                    self.reactor.remove(&self.listener, self.listening);
                    let later = Instant::now() + Duration::from_millis(200);
                    self.reactor.at(later, Source::Retry);
                    return;
                }
            }
        }
    }

    fn listen_again(&mut self) {
        match self
            .reactor
            .add(&self.listener, Interest::Readable, Source::Listener)
        {
            Ok(token) => self.listening = token,
            Err(_) => {
                let later = Instant::now() + Duration::from_millis(200);
                self.reactor.at(later, Source::Retry);
            }
        }
    }

    fn welcome(&mut self, connection: Connection) {
        let number = self.number();
        let source = Source::Client(number);
        match self
            .reactor
            .add(connection.fd(), Interest::Readable, source)
        {
            Ok(token) => {
                let client = Client {
                    connection,
                    token,
                    writing: false,
                };
                self.clients.insert(number, client);
            }
            Err(errno) => log::warn!("epoll_ctl: {errno}"),
        }
    }

    fn signaled(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if i32::try_from(info.ssi_signo) == Ok(Signal::SIGUSR1 as i32) {
                self.tell_state();
            } else {
                log::info!("signal {}: ending", info.ssi_signo);
                self.end();
            }
        }
    }

    /// What containerd's own shim does with SIGUSR1 for whoever looks for a fault.
    fn tell_state(&self) {
        for (id, task) in &self.tasks {
            log::info!(
                "task {id}: init {:?}, {} execs",
                task.init.phase,
                task.execs.len()
            );
        }
        log::info!(
            "{} clients, {} pumps, {} loggers",
            self.clients.len(),
            self.pumps.len(),
            self.loggers.len()
        );
    }

    /// The containers stay; whoever wants them away deletes them first.
    fn end(&mut self) {
        self.ending.get_or_insert(Instant::now() + FAREWELL);
    }

    fn all_answered(&self) -> bool {
        !self
            .clients
            .values()
            .any(|client| client.connection.wants_write())
    }

    /// Registers what the last round left to be waited for: answers that did not fit, and the publisher's socket, which comes and goes.
    /// Returns when the loop must come round at the latest.
    fn settle(&mut self) -> Option<Instant> {
        self.settle_publisher();
        self.watch_idleness();
        for client in self.clients.values_mut() {
            let writing = client.connection.wants_write();
            if writing != client.writing {
                client.writing = writing;
                let interest = if writing {
                    Interest::Both
                } else {
                    Interest::Readable
                };
                // It is registered as long as it is known.
                let _ = self
                    .reactor
                    .change(client.connection.fd(), interest, client.token);
            }
        }
        self.ending
    }

    /// The publisher opens and closes its socket by itself; a closed one has left the epoll instance.
    fn settle_publisher(&mut self) {
        let generation = self.publisher.generation();
        if let Some((token, known)) = self.publishing
            && (known != generation || self.publisher.fd().is_none())
        {
            self.reactor.forget(token);
            self.publishing = None;
        }
        if let Some((fd, writing)) = self.publisher.fd() {
            let interest = if writing {
                Interest::Both
            } else {
                Interest::Readable
            };
            match self.publishing {
                // It is registered as long as it is known.
                Some((token, _)) => drop(self.reactor.change(fd, interest, token)),
                // Without it the deadline of the event brings the next turn.
                None => {
                    let added = self.reactor.add(fd, interest, Source::Publisher);
                    self.publishing = added.ok().map(|token| (token, generation));
                }
            }
        }
        self.settle_publisher_timer();
    }

    fn settle_publisher_timer(&mut self) {
        let deadline = self.publisher.deadline();
        if let Some(when) = deadline
            && self.publisher_timer.is_none_or(|known| when < known)
        {
            self.publisher_timer = Some(when);
            self.reactor.at(when, Source::PublisherTimer);
        }
    }

    fn event(&mut self, topic: &'static str, name: &str, event: &impl Message) {
        match event.write_to_bytes() {
            Ok(value) => {
                let any = Any {
                    type_url: format!("containerd.events.{name}"),
                    value,
                    ..Any::default()
                };
                self.publisher.publish(topic, any);
            }
            Err(error) => log::error!("{topic}: {error}"),
        }
    }

    fn process(&mut self, key: &Key) -> Option<&mut Process> {
        self.tasks
            .get_mut(&key.container)?
            .process(&key.exec)
            .filter(|process| process.key.serial == key.serial)
    }
}
