//! Against the ttrpc crate's own server, and against peers made by hand where a server behaves too well.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use containerd_shim_protos::events::task::TaskExit;
use containerd_shim_protos::{Events, create_events};
use protobuf::well_known_types::empty::Empty;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::*;
use crate::wire::{accept, refusal};

/// A place for a socket, removed in the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let name = format!("garboard-publisher-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Place(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s.ttrpc")
    }

    fn publisher(&self) -> Publisher {
        Publisher::new(Some(self.socket()), "k8s.io".to_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// containerd's end, by the ttrpc crate: what it was sent.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Envelope>>>);

impl Events for Recorder {
    fn forward(&self, _: &ttrpc::TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        self.0.lock().unwrap().push(request.envelope.unwrap());
        Ok(Empty::new())
    }
}

impl Recorder {
    fn serve(&self, path: &Path) -> ttrpc::Server {
        // Left behind by the one before, as containerd's is.
        let _ = std::fs::remove_file(path);
        let mut server = ttrpc::Server::new()
            .bind(&format!("unix://{}", path.display()))
            .unwrap()
            .register_service(create_events(Arc::new(self.clone())));
        server.start().unwrap();
        server
    }

    /// The exit statuses in the order of arrival.
    fn statuses(&self) -> Vec<u32> {
        let envelopes = self.0.lock().unwrap();
        envelopes.iter().map(status).collect()
    }
}

fn exit(status: u32) -> Any {
    let event = TaskExit {
        container_id: "c".into(),
        exit_status: status,
        ..TaskExit::default()
    };
    Any {
        type_url: "containerd.events.TaskExit".into(),
        value: event.write_to_bytes().unwrap(),
        ..Any::default()
    }
}

fn status(envelope: &Envelope) -> u32 {
    assert_eq!(envelope.event.type_url, "containerd.events.TaskExit");
    TaskExit::parse_from_bytes(&envelope.event.value)
        .unwrap()
        .exit_status
}

/// What the daemon's loop does, until `done` or a few seconds have passed.
fn run(publisher: &mut Publisher, mut done: impl FnMut(&mut Publisher) -> bool) {
    let end = Instant::now() + Duration::from_secs(8);
    while !done(publisher) {
        assert!(Instant::now() < end, "{publisher:?}");
        let step = Duration::from_millis(20);
        let ready = match publisher.fd() {
            Some((fd, write)) => {
                let flags = if write {
                    PollFlags::IN | PollFlags::OUT
                } else {
                    PollFlags::IN
                };
                let limit = Timespec::try_from(step).unwrap();
                let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
                rustix::event::poll(&mut fds, Some(&limit)).unwrap() > 0
            }
            None => {
                std::thread::sleep(step);
                false
            }
        };
        if ready {
            publisher.ready();
        }
        publisher.tick(Instant::now());
    }
}

/// A peer by hand: listens, and takes requests one by one.
struct Peer(UnixListener);

impl Peer {
    fn new(path: &Path) -> Peer {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Peer(listener)
    }

    fn accept(&self) -> Connection {
        accept(self.0.as_fd()).unwrap().unwrap()
    }
}

/// The one request that has come: its stream and exit status.
fn received(connection: &mut Connection) -> (u32, u32) {
    let frames = connection.read().unwrap();
    let [Frame::Request { stream, request }] = &frames[..] else {
        panic!("{frames:?}");
    };
    let names = (request.service.as_str(), request.method.as_str());
    assert_eq!(names, (SERVICE, "Forward"));
    assert_eq!(request.timeout_nano, 5_000_000_000);
    let forward = ForwardRequest::parse_from_bytes(&request.payload).unwrap();
    (*stream, status(&forward.envelope))
}

fn answer(connection: &mut Connection, stream: u32, response: Response) {
    connection.queue(Frame::Response { stream, response });
}

#[test]
fn events_arrive_in_order_with_their_time_and_namespace() {
    let place = Place::new("order");
    let recorder = Recorder::default();
    let server = recorder.serve(&place.socket());
    let mut publisher = place.publisher();
    assert!(publisher.is_idle() && publisher.fd().is_none() && publisher.deadline().is_none());
    let before = SystemTime::now();
    for status in 0..300 {
        publisher.publish("/tasks/exit", exit(status));
    }
    let after = SystemTime::now();
    run(&mut publisher, |publisher| publisher.is_idle());
    assert_eq!(recorder.statuses(), (0..300).collect::<Vec<_>>());
    assert_eq!((publisher.bytes, publisher.generation()), (0, 1));
    for envelope in &*recorder.0.lock().unwrap() {
        assert_eq!(envelope.namespace, "k8s.io");
        assert_eq!(envelope.topic, "/tasks/exit");
        // Of publishing, not of sending.
        let time: SystemTime = envelope.timestamp.clone().unwrap().into();
        assert!(before <= time && time <= after);
    }
    server.shutdown();
}

#[test]
fn a_prefix_of_the_address_is_dropped_and_no_address_is_no_events() {
    let place = Place::new("prefix");
    let recorder = Recorder::default();
    let server = recorder.serve(&place.socket());
    let address = format!("unix://{}", place.socket().display());
    let mut publisher = Publisher::new(Some(address.into()), "ns".to_owned());
    publisher.publish("/tasks/exit", exit(1));
    run(&mut publisher, |publisher| publisher.is_idle());
    assert_eq!(recorder.statuses(), [1]);
    server.shutdown();
    for address in [None, Some(PathBuf::new())] {
        let mut publisher = Publisher::new(address, "ns".to_owned());
        publisher.publish("/tasks/exit", exit(1));
        assert!(publisher.is_idle());
    }
}

#[test]
fn containerd_is_away_and_comes() {
    let place = Place::new("away");
    let mut publisher = place.publisher();
    for status in 0..5 {
        publisher.publish("/tasks/exit", exit(status));
    }
    let start = Instant::now();
    let mut looked = 0;
    let mut due = publisher.deadline();
    run(&mut publisher, |publisher| {
        looked += u32::from(publisher.deadline() != due);
        due = publisher.deadline();
        start.elapsed() > Duration::from_secs(2)
    });
    assert!((3..=8).contains(&looked), "looked for it {looked} times");
    assert!(publisher.fd().is_none() && !publisher.is_idle());
    let recorder = Recorder::default();
    let server = recorder.serve(&place.socket());
    run(&mut publisher, |publisher| publisher.is_idle());
    assert_eq!(recorder.statuses(), [0, 1, 2, 3, 4]);
    server.shutdown();
}

/// The servers are shut down, which ends the connection in the middle of whatever is under way.
#[test]
fn containerd_restarts_between_two_events() {
    let place = Place::new("restart");
    let recorder = Recorder::default();
    let mut publisher = place.publisher();
    for round in 0..4 {
        let server = recorder.serve(&place.socket());
        publisher.publish("/tasks/exit", exit(2 * round));
        run(&mut publisher, |publisher| publisher.is_idle());
        server.shutdown();
        // Published before the end was seen.
        publisher.publish("/tasks/exit", exit(2 * round + 1));
    }
    let server = recorder.serve(&place.socket());
    run(&mut publisher, |publisher| publisher.is_idle());
    assert_eq!(recorder.statuses(), (0..8).collect::<Vec<_>>());
    server.shutdown();
}

/// Nobody knows whether it was seen: it comes again, and the later one after it.
#[test]
fn an_event_without_an_answer_is_sent_again_on_the_next_connection() {
    let place = Place::new("again");
    let peer = Peer::new(&place.socket());
    let mut publisher = place.publisher();
    publisher.publish("/tasks/exit", exit(1));
    publisher.publish("/tasks/exit", exit(2));
    let mut first = peer.accept();
    assert_eq!(received(&mut first), (1, 1));
    assert_eq!(first.read(), Ok(vec![]), "one at a time");
    drop(first);
    let generation = publisher.generation();
    publisher.ready();
    assert_eq!(publisher.generation(), generation + 1);
    let mut second = peer.accept();
    assert_eq!(received(&mut second), (1, 1));
    answer(&mut second, 1, Response::default());
    publisher.ready();
    assert_eq!(received(&mut second), (3, 2));
    answer(&mut second, 3, Response::default());
    // The answer counts though the end came with it.
    drop(second);
    publisher.ready();
    assert!(publisher.is_idle());
    publisher.ready();
    assert!(publisher.fd().is_none() && publisher.deadline().is_none());
}

#[test]
fn an_event_that_ends_the_connection_each_time_is_given_up() {
    let place = Place::new("poison");
    let peer = Peer::new(&place.socket());
    let mut publisher = place.publisher();
    publisher.publish("/tasks/exit", exit(1));
    publisher.publish("/tasks/exit", exit(2));
    for _ in 0..TRIES {
        assert_eq!(received(&mut peer.accept()).1, 1);
        publisher.ready();
    }
    assert_eq!(received(&mut peer.accept()).1, 2);
}

/// No second copy while the connection lives; after 25 s the next one has its turn, and late answers are no answers to it.
#[test]
fn an_event_that_is_not_answered_is_given_up_in_time() {
    let place = Place::new("silent");
    let peer = Peer::new(&place.socket());
    let mut publisher = place.publisher();
    let start = Instant::now();
    publisher.publish("/tasks/exit", exit(1));
    publisher.publish("/tasks/exit", exit(2));
    let mut connection = peer.accept();
    assert_eq!(received(&mut connection), (1, 1));
    let mut passed = Duration::ZERO;
    for _ in 0..TRIES {
        let due = publisher.deadline().unwrap();
        publisher.tick(due - Duration::from_millis(1));
        assert_eq!(publisher.deadline(), Some(due), "not before its time");
        assert_eq!(connection.read(), Ok(vec![]));
        publisher.tick(due);
        passed = due - start;
    }
    let seconds = passed.as_secs_f64();
    assert!((24.9..25.5).contains(&seconds), "{seconds}");
    assert_eq!(received(&mut connection), (3, 2));
    answer(&mut connection, 1, Response::default());
    publisher.ready();
    assert!(!publisher.is_idle());
    answer(&mut connection, 3, Response::default());
    publisher.ready();
    assert!(publisher.is_idle());
}

#[test]
fn an_event_that_is_refused_is_tried_again_if_that_can_help() {
    let place = Place::new("refused");
    let peer = Peer::new(&place.socket());
    let mut publisher = place.publisher();
    for status in 1..=3 {
        publisher.publish("/tasks/exit", exit(status));
    }
    let mut connection = peer.accept();
    let (stream, first) = received(&mut connection);
    assert_eq!(first, 1);
    answer(
        &mut connection,
        stream,
        refusal(Code::INVALID_ARGUMENT, "no such topic"),
    );
    publisher.ready();
    // Once for each try, a second between them.
    for _ in 0..TRIES {
        let (stream, second) = received(&mut connection);
        assert_eq!(second, 2);
        answer(&mut connection, stream, refusal(Code::UNAVAILABLE, "later"));
        publisher.ready();
        let due = publisher.deadline().unwrap();
        publisher.tick(due);
    }
    assert_eq!(received(&mut connection).1, 3);
}

#[test]
fn memory_for_events_that_wait_is_bounded() {
    let place = Place::new("bounded");
    let mut publisher = place.publisher();
    for status in 0..20_000 {
        publisher.publish("/tasks/exit", exit(status));
    }
    assert!(publisher.bytes <= WAITING_MAX);
    let kept = u32::try_from(publisher.waiting.len()).unwrap();
    assert!((1_000..20_000).contains(&kept), "{kept}");
    let recorder = Recorder::default();
    let server = recorder.serve(&place.socket());
    run(&mut publisher, |publisher| publisher.is_idle());
    // The latest.
    assert_eq!(
        recorder.statuses(),
        (20_000 - kept..20_000).collect::<Vec<_>>()
    );
    assert_eq!(publisher.waiting.capacity(), 0);
    publisher.publish(
        "/tasks/exit",
        Any {
            value: vec![0; WAITING_MAX],
            ..Any::default()
        },
    );
    assert!(publisher.is_idle());
    server.shutdown();
}
