use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use super::message::Argument;
use super::wire::{Reader, Writer};
use super::*;

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let name = format!("garboard-test-bus-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn socket(&self) -> Address {
        Address::Path(self.0.join("bus"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(300)
}

/// xorshift: the same bytes at each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

const EVERY_VALUE: &[fn() -> Value] = &[
    || Value::Bool(true),
    || Value::Byte(7),
    || Value::I16(-2),
    || Value::U16(65535),
    || Value::I32(-3),
    || Value::U32(4),
    || Value::I64(i64::MIN),
    || Value::U64(u64::MAX),
    || Value::F64(0.5),
    || "text".into(),
    || Value::Texts(vec!["a".to_owned(), "bcd".to_owned()]),
    || Value::Texts(vec![]),
    || Value::Bytes(vec![1, 2, 3]),
    || Value::Numbers(vec![1, 2, 3]),
    || Value::Pairs(vec![("/dev/null".to_owned(), "rwm".to_owned())]),
    || Value::Pairs(vec![]),
];

fn properties() -> Vec<(String, Value)> {
    let values = EVERY_VALUE.iter().enumerate();
    values
        .map(|(n, value)| (format!("P{n}"), value()))
        .collect()
}

fn start<'a>(arguments: &'a [Argument<'a>]) -> Call<'a> {
    Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member: "StartTransientUnit",
        arguments,
        answered: true,
    }
}

#[test]
fn what_is_written_is_read_back() {
    let properties = properties();
    let arguments = [
        Argument::Text("a.scope"),
        Argument::Text("replace"),
        Argument::Properties(&properties),
        Argument::NoUnits,
    ];
    let bytes = start(&arguments).encode(9).unwrap();
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.kind, Kind::Call);
    assert_eq!(message.member.as_deref(), Some("StartTransientUnit"));
    assert_eq!(message.path.as_deref(), Some("/org/freedesktop/systemd1"));
    let mut body = message.body("ssa(sv)a(sa(sv))").unwrap();
    assert_eq!(body.text(), Ok("a.scope"));
    assert_eq!(body.text(), Ok("replace"));
    let end = body.array(8).unwrap();
    for (name, value) in &properties {
        body.align(8).unwrap();
        assert_eq!(body.text().unwrap(), name);
        // The variant, once to look at its signature and once as a whole.
        assert_eq!(body.clone().signature().unwrap(), value.signature());
        body.skip("v").unwrap();
    }
    assert_eq!(body.position(), end);
    assert_eq!(body.array(8).map(|end| end == body.position()), Ok(true));
    assert!(message.body("ss").is_err(), "the signature is checked");
}

#[test]
fn a_call_is_these_bytes() {
    let hello = Call {
        destination: "a.b",
        path: "/",
        interface: "a.c",
        member: "Hi",
        arguments: &[Argument::Bool(true)],
        answered: false,
    };
    let expected = b"l\x01\x01\x01\x04\0\0\0\x05\0\0\0\x47\0\0\0\
        \x01\x01o\0\x01\0\0\0/\0\0\0\0\0\0\0\
        \x02\x01s\0\x03\0\0\0a.c\0\0\0\0\0\
        \x03\x01s\0\x02\0\0\0Hi\0\0\0\0\0\0\
        \x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0\
        \x08\x01g\0\x01b\0\0\
        \x01\0\0\0";
    assert_eq!(hello.encode(5).unwrap(), expected);
}

#[test]
fn the_other_byte_order_is_read_too() {
    let bytes =
        b"B\x02\0\x01\0\0\0\x0c\0\0\0\x01\0\0\0\x10\x05\x01u\0\0\0\0\x07\x08\x01g\0\x02su\0\
        \0\0\0\x01a\0\0\0\0\0\0\x05";
    let message = Message::decode(bytes).unwrap();
    assert_eq!(message.reply_serial, Some(7));
    let mut body = message.body("su").unwrap();
    assert_eq!((body.text(), body.u32()), (Ok("a"), Ok(5)));
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let properties = properties();
    let arguments = [Argument::Text("a"), Argument::Properties(&properties)];
    let valid = start(&arguments).encode(1).unwrap();
    let mut understood = 0;
    for round in 0..200_000 {
        let mut bytes = if round % 2 == 0 {
            valid.clone()
        } else {
            let length = random.below(120);
            random.bytes(length)
        };
        for _ in 0..random.below(4) {
            let place = random.below(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(place) {
                *byte = random.next().to_le_bytes()[0];
            }
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len() + 1));
        }
        if let Ok(message) = Message::decode(&bytes) {
            understood += 1;
            let _ = message.error_text();
            let signature = message.signature.clone();
            if let Ok(mut body) = message.body(&signature) {
                let _ = body.skip(&signature);
            }
        }
        let signature: String = (0..random.below(12))
            .map(|_| char::from(b"ybnqiuxtdhsogva(){}z"[random.below(20)]))
            .collect();
        let _ = Reader::new(&bytes, round % 3 == 0).skip(&signature);
    }
    assert!(understood > 10_000, "{understood}");
}

#[test]
fn a_value_in_a_value_without_end_is_refused() {
    let mut writer = Writer::default();
    for _ in 0..100 {
        writer.signature("v");
    }
    let bytes = writer.finish().unwrap();
    let refused = Reader::new(&bytes, false).skip("v");
    assert_eq!(refused, Err(Malformed("a value is nested too deeply")));
    assert!(Reader::new(&[], false).skip(&"(".repeat(300)).is_err());
    assert_eq!(
        Reader::new(&[0; 4096], false).skip(&"a".repeat(200)),
        Err(Malformed("a signature is not valid"))
    );
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let nul = [Argument::Text("a\0b")];
    assert!(start(&nul).encode(1).is_err());
    let long = "x".repeat(5 << 20);
    assert!(start(&[Argument::Text(&long)]).encode(1).is_err());
}

/// What the other end of a connection does.
type End = fn(UnixStream);

/// An end that does what `act` does with the first connection.
fn server(scratch: &Scratch, act: impl FnOnce(UnixStream) + Send + 'static) -> JoinHandle<()> {
    let listener = UnixListener::bind(scratch.0.join("bus")).unwrap();
    std::thread::spawn(move || act(listener.accept().unwrap().0))
}

fn let_in(stream: &mut UnixStream) {
    let mut said = [0; 64];
    let length = stream.read(&mut said).unwrap();
    assert_eq!(&said[..length], b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
    stream
        .write_all(b"DATA\r\nOK 00112233445566778899aabbccddeeff\r\n")
        .unwrap();
}

/// What a call to a server comes to, and how long it took.
fn outcome(scratch: &Scratch) -> (BusError, Duration) {
    let begun = Instant::now();
    let error = Connection::open(&scratch.socket(), soon())
        .and_then(|mut connection| connection.call(&start(&[])))
        .unwrap_err();
    (error, begun.elapsed())
}

#[test]
fn an_end_that_never_answers_keeps_nobody() {
    let mute = |mut stream: UnixStream| drop(stream.read_to_end(&mut Vec::new()));
    let after_auth = |mut stream: UnixStream| {
        let_in(&mut stream);
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let in_a_message = |mut stream: UnixStream| {
        let_in(&mut stream);
        stream.write_all(b"l\x02\0\x01\x10\0\0\0").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let in_a_line = |mut stream: UnixStream| {
        stream.write_all(b"DATA\r\nOK").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let signals_for_ever = |mut stream: UnixStream| {
        let_in(&mut stream);
        let signal = b"l\x04\x01\x01\0\0\0\0\x05\0\0\0\0\0\0\0".repeat(64);
        while stream.write_all(&signal).is_ok() {}
    };
    let ends: [(&str, End); 5] = [
        ("mute", mute),
        ("after-auth", after_auth),
        ("in-a-message", in_a_message),
        ("in-a-line", in_a_line),
        ("signals-for-ever", signals_for_ever),
    ];
    for (name, end) in ends {
        let scratch = Scratch::new(name);
        let server = server(&scratch, end);
        let (error, took) = outcome(&scratch);
        assert!(matches!(error, BusError::Silent { .. }), "{name}: {error}");
        assert!(
            took >= Duration::from_millis(290) && took < Duration::from_secs(3),
            "{name}: {took:?}"
        );
        server.join().unwrap();
    }
}

#[test]
fn a_full_queue_and_a_full_buffer_keep_nobody() {
    let scratch = Scratch::new("full");
    let listener = UnixListener::bind(scratch.0.join("bus")).unwrap();
    // Nobody accepts. The queue is as long as the listener asked for, 128 or 4096: what it takes waits for its AUTH line, the rest for a place.
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(scratch.0.join("bus")).unwrap();
    let (error, took) = outcome(&scratch);
    assert!(matches!(error, BusError::Silent { .. }), "{error}");
    assert!(took < Duration::from_secs(3));
    drop(listener);

    let scratch = Scratch::new("deaf");
    let deaf = server(&scratch, |mut stream| {
        let_in(&mut stream);
        std::thread::sleep(Duration::from_millis(600));
    });
    let mut connection = Connection::open(&scratch.socket(), soon()).unwrap();
    let long = "x".repeat(3 << 20);
    let error = connection
        .call(&start(&[Argument::Text(&long)]))
        .unwrap_err();
    assert!(matches!(error, BusError::Silent { .. }), "{error}");
    deaf.join().unwrap();
}

#[test]
fn an_end_that_says_nonsense_is_an_error_at_once() {
    let closes = |stream: UnixStream| drop(stream);
    let rejects = |mut stream: UnixStream| {
        stream.write_all(b"REJECTED EXTERNAL\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let babbles = |mut stream: UnixStream| {
        while stream.write_all(&[b'x'; 512]).is_ok() {}
    };
    let lies = |mut stream: UnixStream| {
        let_in(&mut stream);
        stream
            .write_all(b"l\x02\0\x01\xff\xff\xff\xff\x01\0\0\0\xff\xff\xff\xff")
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let ends: [(&str, End, &str); 4] = [
        ("closes", closes, "the connection was closed"),
        ("rejects", rejects, "not let in: REJECTED EXTERNAL"),
        ("babbles", babbles, "the answer to AUTH is too long"),
        ("lies", lies, "the message is too long"),
    ];
    for (name, end, text) in ends {
        let scratch = Scratch::new(name);
        let server = server(&scratch, end);
        let (error, took) = outcome(&scratch);
        let path = scratch.0.join("bus");
        assert_eq!(
            error.to_string(),
            format!("unix:path={}: {text}", path.display())
        );
        assert!(took < Duration::from_millis(250), "{name}: {took:?}");
        server.join().unwrap();
    }
    let scratch = Scratch::new("nobody");
    let (error, _) = outcome(&scratch);
    assert!(
        error
            .to_string()
            .ends_with("bus: no such file or directory"),
        "{error}"
    );
}

/// A dbus-daemon of our own: no bus of the machine is touched.
struct Daemon(Child);

impl Daemon {
    fn start(directory: &Path) -> Option<Daemon> {
        let config = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig><listen>unix:path={}/bus</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>",
            directory.display()
        );
        let file = directory.join("config");
        std::fs::write(&file, config).unwrap();
        let child = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", file.display()))
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("SKIPPED: needs dbus-daemon (Debian's dbus)");
            return None;
        };
        // It listens once it says where.
        let mut said = [0; 64];
        let length = child.stdout.take().unwrap().read(&mut said).unwrap();
        assert!(said[..length].starts_with(b"unix:path="));
        Some(Daemon(child))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_real_bus_is_spoken_to() {
    let scratch = Scratch::new("real");
    let Some(_daemon) = Daemon::start(&scratch.0) else {
        return;
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut connection = Connection::open(&scratch.socket(), deadline).unwrap();
    let bus = |member, arguments| Call {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member,
        arguments,
        answered: true,
    };
    let hello = connection.call(&bus("Hello", &[])).unwrap().unwrap();
    let name = hello.body("s").unwrap().text().unwrap().to_owned();
    assert!(name.starts_with(':'), "{name}");
    // The bus says NameAcquired between Hello and its next answer: kept for whoever asks for signals.
    let rule = [Argument::Text("type='signal',member='NameOwnerChanged'")];
    connection
        .call(&Call {
            answered: false,
            ..bus("AddMatch", &rule)
        })
        .unwrap();
    let owner = [Argument::Text(&name)];
    let owner = connection
        .call(&bus("GetNameOwner", &owner))
        .unwrap()
        .unwrap();
    assert_eq!(owner.body("s").unwrap().text(), Ok(name.as_str()));
    assert_eq!(
        connection.signal().unwrap().member.as_deref(),
        Some("NameAcquired")
    );

    let mut other = Connection::open(&scratch.socket(), deadline).unwrap();
    other.call(&bus("Hello", &[])).unwrap();
    let signal = connection.signal().unwrap();
    assert_eq!(signal.member.as_deref(), Some("NameOwnerChanged"));
    assert_eq!(signal.sender.as_deref(), Some("org.freedesktop.DBus"));

    // systemd is not on this bus.
    let error = connection.call(&start(&[])).unwrap_err();
    assert!(
        error.is("org.freedesktop.DBus.Error.ServiceUnknown"),
        "{error}"
    );
}
