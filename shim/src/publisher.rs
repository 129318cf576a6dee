//! Events to containerd, over its ttrpc socket: each at most a few times, in the order in which they were published, one at a time.
//!
//! Nothing here blocks or fails for the caller. While containerd is away events wait, [`WAITING_MAX`] bytes of them, and the oldest are
//! given up first: containerd asks for the state of every task when it comes back. An event is sent again only when the connection ended
//! before its answer came, so that containerd gets one twice only if it died between the two; one that containerd refuses, or does not
//! answer, is given up after [`TRIES`] times [`ANSWER_LIMIT`]. Source: containerd's pkg/shim/publisher.go for the figures; unlike it, an
//! event that fails is never overtaken by a later one.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use protobuf::well_known_types::any::Any;
use protobuf::{EnumOrUnknown, Message, MessageField};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use ttrpc::proto::{Code, KeyValue, Request, Response};

use crate::wire::{Connection, Frame};

/// As containerd's shim.
const TRIES: u32 = 5;

/// As containerd's shim: an answer is waited for that long, and after [`TRIES`] of these no longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Before an event that was refused is sent again, and the longest pause before containerd is looked for again.
const RETRY: Duration = Duration::from_secs(1);

/// The first pause before containerd is looked for again. It doubles up to [`RETRY`].
const RECONNECT: Duration = Duration::from_millis(50);

/// Memory for events that wait: some 1,500.
const WAITING_MAX: usize = 512 << 10;

const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";

/// An event that containerd has not confirmed.
#[derive(Debug)]
struct Event {
    topic: &'static str,
    /// The message of the call, with its time in it.
    payload: Vec<u8>,
    /// Times that it was sent, or that it was waited for in vain.
    tries: u32,
}

/// What is done about the first event.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// To be sent, at that time or later.
    Due(Instant),
    /// Sent on this stream and all later ones; looked at again at that time.
    Sent { first: u32, until: Instant },
}

/// The queue and the connection.
#[derive(Debug)]
pub struct Publisher {
    address: Option<PathBuf>,
    namespace: String,
    waiting: VecDeque<Event>,
    /// Of all payloads that wait.
    bytes: usize,
    stage: Stage,
    connection: Option<Connection>,
    generation: u64,
    /// The next that we open.
    stream: u32,
    /// Before containerd is looked for again.
    pause: Duration,
}

impl Publisher {
    /// `address` is `TTRPC_ADDRESS`, a path, perhaps with `unix://` before it; without one events go nowhere. Connects when there is
    /// something to send.
    pub fn new(address: Option<PathBuf>, namespace: String) -> Publisher {
        let address = address.map(|path| match path.to_str() {
            Some(text) => PathBuf::from(text.strip_prefix("unix://").unwrap_or(text)),
            None => path,
        });
        Publisher {
            address: address.filter(|path| !path.as_os_str().is_empty()),
            namespace,
            waiting: VecDeque::new(),
            bytes: 0,
            stage: Stage::Due(Instant::now()),
            connection: None,
            generation: 0,
            stream: 1,
            pause: RECONNECT,
        }
    }

    /// Queues an event, as of now, and sends what can be sent at once.
    pub fn publish(&mut self, topic: &'static str, event: Any) {
        if self.address.is_none() {
            return;
        }
        let request = ForwardRequest {
            envelope: MessageField::some(Envelope {
                timestamp: MessageField::some(SystemTime::now().into()),
                namespace: self.namespace.clone(),
                topic: topic.to_owned(),
                event: MessageField::some(event),
                ..Envelope::default()
            }),
            ..ForwardRequest::default()
        };
        let payload = match request.write_to_bytes() {
            Ok(payload) if payload.len() <= WAITING_MAX => payload,
            // No event is that long; one that were would push out all others.
            _ => return ::log::error!("event {topic} cannot be sent: it is too long"),
        };
        self.bytes += payload.len();
        self.waiting.push_back(Event {
            topic,
            payload,
            tries: 0,
        });
        while self.bytes > WAITING_MAX {
            self.give_up("too many events wait");
        }
        self.tick(Instant::now());
    }

    /// What to watch, and whether for writing too. It is another one whenever [`Publisher::generation`] has changed.
    pub fn fd(&self) -> Option<(BorrowedFd<'_>, bool)> {
        let connection = self.connection.as_ref()?;
        Some((connection.fd(), connection.wants_write()))
    }

    /// Counts connections: a new one may have the number of the old one's descriptor, which epoll has forgotten by then.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The descriptor can be read from or written to.
    pub fn ready(&mut self) {
        self.exchange(Instant::now());
        self.tick(Instant::now());
    }

    /// When [`Publisher::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|_| match self.stage {
            Stage::Due(at) => at,
            Stage::Sent { until, .. } => until,
        })
    }

    /// Does what is due at that time.
    pub fn tick(&mut self, now: Instant) {
        while let Some(event) = self.waiting.front_mut() {
            match self.stage {
                Stage::Due(at) | Stage::Sent { until: at, .. } if at > now => return,
                Stage::Due(_) if self.connection.is_none() => self.connect(now),
                Stage::Due(_) => self.send(now),
                Stage::Sent { first, .. } => {
                    // The request is with containerd already: a second one would be a second event.
                    event.tries += 1;
                    let until = now + ANSWER_LIMIT;
                    self.stage = Stage::Sent { first, until };
                    if event.tries > TRIES {
                        self.give_up("containerd does not answer");
                    }
                }
            }
        }
    }

    /// Nothing waits to be sent or confirmed.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    fn connect(&mut self, now: Instant) {
        match self.address.as_deref().map(connect) {
            Some(Ok(connection)) => {
                self.connection = Some(connection);
                self.generation += 1;
                self.stream = 1;
                self.pause = RECONNECT;
            }
            // Away, or so busy that its backlog is full.
            Some(Err(_)) | None => {
                self.stage = Stage::Due(now + self.pause);
                self.pause = RETRY.min(self.pause * 2);
            }
        }
    }

    fn send(&mut self, now: Instant) {
        let (Some(event), Some(connection)) = (self.waiting.front_mut(), &mut self.connection)
        else {
            return;
        };
        event.tries += 1;
        let request = Request {
            service: SERVICE.to_owned(),
            method: "Forward".to_owned(),
            payload: event.payload.clone(),
            timeout_nano: ANSWER_LIMIT.as_nanos() as i64,
            metadata: vec![KeyValue {
                key: "containerd-namespace-ttrpc".to_owned(),
                value: self.namespace.clone(),
                ..KeyValue::default()
            }],
            ..Request::default()
        };
        let first = self.stream;
        self.stream += 2;
        self.stage = Stage::Sent {
            first,
            until: now + ANSWER_LIMIT,
        };
        connection.queue(Frame::Request {
            stream: first,
            request,
        });
    }

    /// Moves bytes both ways, and acts on the answers.
    fn exchange(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let frames = connection.flush().and_then(|()| connection.read());
        match frames {
            Ok(frames) => {
                for frame in frames {
                    if let Frame::Response { stream, response } = frame {
                        self.answered(stream, &response, now);
                    }
                }
            }
            Err(_) => {
                // It ends with every restart of containerd; what was under way is sent again.
                self.connection = None;
                if let Stage::Sent { .. } = self.stage {
                    self.stage = Stage::Due(now);
                    self.again("the connection ended before the answer");
                }
            }
        }
    }

    fn answered(&mut self, stream: u32, response: &Response, now: Instant) {
        match self.stage {
            Stage::Sent { first, .. } if stream >= first => {}
            // Of an event that was given up.
            _ => return,
        }
        let code = response
            .status
            .as_ref()
            .map_or(EnumOrUnknown::new(Code::OK), |status| status.code);
        match code.enum_value() {
            Ok(Code::OK) => self.done(now),
            // It would be refused again.
            Ok(Code::INVALID_ARGUMENT | Code::UNIMPLEMENTED) => {
                self.give_up(&response.status.message);
            }
            _ => {
                self.stage = Stage::Due(now + RETRY);
                self.again(&response.status.message);
            }
        }
    }

    /// The first event is to be sent again, unless that has been done often enough.
    fn again(&mut self, why: &str) {
        if self
            .waiting
            .front()
            .is_some_and(|event| event.tries >= TRIES)
        {
            self.give_up(why);
        }
    }

    fn give_up(&mut self, why: &str) {
        if let Some(event) = self.waiting.front() {
            ::log::warn!("event {} is lost: {why}", event.topic);
        }
        self.done(Instant::now());
    }

    /// On to the next event.
    fn done(&mut self, now: Instant) {
        if let Some(event) = self.waiting.pop_front() {
            self.bytes -= event.payload.len();
        }
        if self.waiting.is_empty() {
            // What a storm made it grow to.
            self.waiting = VecDeque::new();
        }
        self.stage = Stage::Due(now);
    }
}

/// Connects without waiting: on a Unix socket that works at once or not at all.
fn connect(path: &Path) -> Result<Connection, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(Connection::new(socket))
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
