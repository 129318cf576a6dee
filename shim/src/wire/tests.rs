//! Over real socket pairs: frames in pieces of every size, and peers that misbehave.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use protobuf::Message;
use rustix::event::{PollFd, PollFlags, Timespec};
use ttrpc::proto::{Code, KeyValue, MESSAGE_LENGTH_MAX, MessageHeader, Request, Response};

use super::*;

/// The connection under test, and the peer's end, which blocks.
fn pair() -> (Connection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Connection::new(ours.into()), theirs)
}

fn request(method: &str, payload: Vec<u8>) -> Request {
    Request {
        service: "containerd.task.v2.Task".into(),
        method: method.into(),
        payload,
        timeout_nano: 5,
        metadata: vec![KeyValue {
            key: "containerd-namespace-ttrpc".into(),
            value: "k8s.io".into(),
            ..KeyValue::default()
        }],
        ..Request::default()
    }
}

/// Bytes of a frame as another implementation writes them: header by hand.
fn bytes(stream: u32, type_: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(stream.to_be_bytes());
    bytes.extend([type_, 0]);
    bytes.extend(payload);
    bytes
}

fn request_bytes(stream: u32, request: &Request) -> Vec<u8> {
    bytes(stream, 1, &request.write_to_bytes().unwrap())
}

/// Waits until the connection is readable, at most a second.
fn readable(connection: &Connection) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(connection.fd(), PollFlags::IN)];
    let limit = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut fds, Some(&limit)).unwrap() == 1
}

/// The next frame that the blocking peer gets.
fn receive(peer: &mut UnixStream) -> (MessageHeader, Vec<u8>) {
    let mut header = [0; 10];
    peer.read_exact(&mut header).unwrap();
    let header = MessageHeader::from(header);
    let mut payload = vec![0; header.length as usize];
    peer.read_exact(&mut payload).unwrap();
    (header, payload)
}

/// The next frame as a response that is an error: its stream, code and message.
fn refused(peer: &mut UnixStream) -> (u32, Code, String) {
    let (header, payload) = receive(peer);
    assert_eq!(header.type_, 2);
    let response = Response::parse_from_bytes(&payload).unwrap();
    let status = response.status.unwrap();
    (
        header.stream_id,
        status.code.enum_value().unwrap(),
        status.message,
    )
}

#[test]
fn nothing_is_read_from_a_silent_peer() {
    let (mut ours, _theirs) = pair();
    assert_eq!(ours.read(), Ok(vec![]));
    assert!(!ours.wants_write());
    assert_eq!(ours.flush(), Ok(()));
}

/// Both ways through the same code, and bytes as the protocol's description has them.
#[test]
fn a_call_and_its_answer() {
    let (mut client, mut server) = {
        let (a, b) = UnixStream::pair().unwrap();
        (Connection::new(a.into()), Connection::new(b.into()))
    };
    let sent = Frame::Request {
        stream: 1,
        request: request("Connect", b"abc".to_vec()),
    };
    client.queue(sent.clone());
    assert_eq!(server.read(), Ok(vec![sent]));
    let answer = Frame::Response {
        stream: 1,
        response: Response {
            payload: vec![1, 2, 3],
            ..Response::default()
        },
    };
    server.queue(answer.clone());
    assert_eq!(client.read(), Ok(vec![answer]));

    let (mut ours, mut peer) = pair();
    ours.queue(Frame::Response {
        stream: 0x0102_0305,
        response: Response {
            payload: vec![7],
            ..Response::default()
        },
    });
    let mut raw = [0; 13];
    peer.read_exact(&mut raw).unwrap();
    assert_eq!(raw, [0, 0, 0, 3, 1, 2, 3, 5, 2, 0, 0x12, 1, 7]);
}

#[test]
fn frames_that_come_a_byte_at_a_time() {
    let (mut ours, mut peer) = pair();
    let requests = [
        request("State", vec![]),
        Request::default(),
        request("Kill", vec![9; 300]),
    ];
    let mut found = Vec::new();
    for (request, stream) in requests.iter().zip([1, 3, 9]) {
        for byte in request_bytes(stream, request) {
            peer.write_all(&[byte]).unwrap();
            found.extend(ours.read().unwrap());
        }
    }
    let expected: Vec<_> = requests
        .into_iter()
        .zip([1, 3, 9])
        .map(|(request, stream)| Frame::Request { stream, request })
        .collect();
    assert_eq!(found, expected);
}

/// Whatever the cuts are: the frames are the same.
#[test]
fn frames_cut_anywhere() {
    let mut stream = Vec::new();
    for (number, length) in (0u32..).zip([0usize, 1, 100, 5_000, 17_000, 3]) {
        stream.extend(request_bytes(
            2 * number + 1,
            &request("Exec", vec![length as u8; length]),
        ));
    }
    for size in [1_000, 1_009, 4_096, 16_384, 16_385, stream.len()] {
        let (mut ours, mut peer) = pair();
        let mut lengths = Vec::new();
        for piece in stream.chunks(size) {
            peer.write_all(piece).unwrap();
            for frame in ours.read().unwrap() {
                let Frame::Request { stream, request } = frame else {
                    panic!("{frame:?}");
                };
                assert_eq!(stream as usize, 2 * lengths.len() + 1);
                lengths.push(request.payload.len());
            }
        }
        assert_eq!(lengths, [0, 1, 100, 5_000, 17_000, 3], "pieces of {size}");
        assert!(ours.held() == (0, 0), "nothing is kept");
    }
}

/// 4 MiB both ways: more than any socket buffer.
#[test]
fn the_longest_message() {
    let whole = request("Create", vec![5; MESSAGE_LENGTH_MAX - 100]);
    let frame = Frame::Request {
        stream: 1,
        request: whole,
    };
    let (mut client, mut server) = {
        let (a, b) = UnixStream::pair().unwrap();
        (Connection::new(a.into()), Connection::new(b.into()))
    };
    client.queue(frame.clone());
    assert!(client.wants_write());
    let mut found = Vec::new();
    while found.is_empty() {
        found = server.read().unwrap();
        client.flush().unwrap();
    }
    assert_eq!(found, [frame]);
    assert!(!client.wants_write());
    assert_eq!((client.held(), server.held()), ((0, 0), (0, 0)));
}

#[test]
fn a_request_that_is_too_long_is_answered_and_the_next_one_served() {
    let (mut ours, mut peer) = pair();
    let writer = std::thread::spawn(move || {
        let length = MESSAGE_LENGTH_MAX + 1;
        peer.write_all(&bytes(1, 1, &vec![0; length])).unwrap();
        peer.write_all(&request_bytes(3, &Request::default()))
            .unwrap();
        peer
    });
    let mut found = Vec::new();
    while found.is_empty() {
        assert!(readable(&ours));
        found = ours.read().unwrap();
        assert!(ours.held().0 < 64 << 10, "it is not stored");
    }
    assert!(matches!(found[..], [Frame::Request { stream: 3, .. }]));
    let (stream, code, message) = refused(&mut writer.join().unwrap());
    assert_eq!((stream, code), (1, Code::RESOURCE_EXHAUSTED));
    assert_eq!(
        message,
        "message length 4194305 exceed maximum message size of 4194304"
    );
}

#[test]
fn a_response_that_is_too_long_is_an_error_for_the_caller() {
    let (mut ours, mut peer) = pair();
    ours.queue(Frame::Response {
        stream: 7,
        response: Response {
            payload: vec![0; MESSAGE_LENGTH_MAX],
            ..Response::default()
        },
    });
    let (stream, code, _) = refused(&mut peer);
    assert_eq!((stream, code), (7, Code::RESOURCE_EXHAUSTED));

    let writer = std::thread::spawn(move || {
        peer.write_all(&bytes(9, 2, &vec![0; MESSAGE_LENGTH_MAX + 1]))
            .unwrap();
        peer
    });
    let mut found = Vec::new();
    while found.is_empty() {
        assert!(readable(&ours));
        found = ours.read().unwrap();
    }
    let [
        Frame::Response {
            stream: 9,
            response,
        },
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert_eq!(
        response.status.code.enum_value(),
        Ok(Code::RESOURCE_EXHAUSTED)
    );
    drop(writer.join());

    ours.queue(Frame::Request {
        stream: 1,
        request: request("Forward", vec![0; MESSAGE_LENGTH_MAX]),
    });
    assert_eq!(ours.read(), Err(Closed::TooLong));
}

#[test]
fn frames_that_are_wrong_are_answered_on_their_stream() {
    let (mut ours, mut peer) = pair();
    for (frame, stream, message) in [
        (
            bytes(2, 1, &[]),
            2,
            "StreamID must be odd for client initiated streams",
        ),
        (
            bytes(0, 1, &[]),
            0,
            "StreamID must be odd for client initiated streams",
        ),
        (bytes(5, 3, b"data"), 5, "StreamID is no longer active"),
        (bytes(5, 1, &[0x0a, 0x7f]), 5, "unmarshal request error: "),
        (
            bytes(5, 1, &[]),
            5,
            "StreamID cannot be re-used and must increment",
        ),
        (
            bytes(3, 1, &[]),
            3,
            "StreamID cannot be re-used and must increment",
        ),
    ] {
        peer.write_all(&frame).unwrap();
        assert_eq!(ours.read(), Ok(vec![]));
        let found = refused(&mut peer);
        assert_eq!((found.0, found.1), (stream, Code::INVALID_ARGUMENT));
        assert!(found.2.starts_with(message), "{}", found.2);
    }
    // Of a version to come.
    peer.write_all(&bytes(7, 4, b"?")).unwrap();
    peer.write_all(&bytes(7, 1, &[])).unwrap();
    assert!(matches!(
        ours.read().unwrap()[..],
        [Frame::Request { stream: 7, .. }]
    ));
    assert!(!ours.wants_write());
}

#[test]
fn an_answer_that_is_no_message_is_an_error_for_the_caller() {
    let (mut ours, mut peer) = pair();
    peer.write_all(&bytes(1, 2, &[0xff])).unwrap();
    let found = ours.read().unwrap();
    let [
        Frame::Response {
            stream: 1,
            response,
        },
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert_eq!(response.status.code.enum_value(), Ok(Code::INTERNAL));
}

/// What came before the end counts; half a frame does not.
#[test]
fn the_peer_closes_in_the_middle_of_a_frame() {
    let (mut ours, mut peer) = pair();
    let whole = request_bytes(1, &request("Shutdown", vec![]));
    peer.write_all(&whole).unwrap();
    peer.write_all(&request_bytes(3, &request("Shutdown", vec![]))[..15])
        .unwrap();
    drop(peer);
    assert!(matches!(
        ours.read().unwrap()[..],
        [Frame::Request { stream: 1, .. }]
    ));
    assert_eq!(ours.read(), Err(Closed::Peer));
    assert_eq!(ours.flush(), Err(Closed::Peer));
    // An answer that nobody waits for any more.
    ours.queue(Frame::Response {
        stream: 1,
        response: Response::default(),
    });
    assert!(!ours.wants_write());
}

/// SIGPIPE would end the shim: the default action is in force here.
#[test]
fn writing_to_a_dead_peer() {
    let (mut ours, peer) = pair();
    drop(peer);
    ours.queue(Frame::Response {
        stream: 1,
        response: Response::default(),
    });
    assert!(readable(&ours));
    assert_eq!(ours.read(), Err(Closed::Peer));
}

/// 16 MiB and no more, then the connection is readable, which is how the loop finds out.
#[test]
fn a_peer_that_never_reads() {
    let (mut ours, mut peer) = pair();
    let answer = |stream| Frame::Response {
        stream,
        response: Response {
            payload: vec![0; 1 << 20],
            ..Response::default()
        },
    };
    for stream in 0..15 {
        ours.queue(answer(stream));
        assert!(ours.wants_write());
    }
    // One that reads late gets all of it, in order.
    let reader = std::thread::spawn(move || {
        for stream in 0..15 {
            assert_eq!(receive(&mut peer).0.stream_id, stream);
        }
        peer
    });
    while ours.wants_write() {
        let mut fds = [PollFd::from_borrowed_fd(ours.fd(), PollFlags::OUT)];
        rustix::event::poll(&mut fds, None).unwrap();
        ours.flush().unwrap();
    }
    let _peer = reader.join().unwrap();
    let mut most = 0;
    for stream in 0..40 {
        ours.queue(answer(stream));
        most = most.max(ours.unread());
    }
    assert!(most > 15 << 20 && most <= UNREAD_MAX, "{most}");
    assert!(readable(&ours));
    assert_eq!(ours.read(), Err(Closed::Unread));
    assert_eq!(ours.held(), (0, 0));
}

#[test]
fn clients_are_accepted_without_waiting() {
    let directory = std::env::temp_dir().join(format!("garboard-wire-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("s");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert!(accept(listener.as_fd()).unwrap().is_none());
    let mut client = UnixStream::connect(&path).unwrap();
    let mut ours = accept(listener.as_fd()).unwrap().unwrap();
    client.write_all(&bytes(1, 1, &[])).unwrap();
    assert_eq!(ours.read().unwrap().len(), 1);
    assert!(
        rustix::io::fcntl_getfd(ours.fd())
            .unwrap()
            .contains(rustix::io::FdFlags::CLOEXEC)
    );
    std::fs::remove_dir_all(&directory).unwrap();
}
