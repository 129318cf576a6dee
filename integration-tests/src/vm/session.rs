//! The host's end of a call: it takes a free port of a machine, says what is wanted, carries bytes both ways and returns the status.
//!
//! A port serves one call at a time, and the host sees to that with a lock beside the socket. A caller that dies takes its command with it.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use super::PORTS;
use super::wire::{Frame, Kind};
use crate::case::Failure;

/// What the guest is asked to do.
#[derive(Debug, Clone)]
pub enum Request {
    /// Run this command.
    Run {
        /// The program and its arguments.
        command: Vec<String>,
        /// As the ordinary user, below that user's systemd manager, and not as root.
        as_user: bool,
        /// Added to the environment.
        environment: Vec<(String, String)>,
    },
    /// Write a file; its bytes follow.
    Write {
        /// Where to.
        path: String,
        /// Its mode, such as 0o755.
        mode: u32,
    },
}

impl Request {
    /// As it goes over the wire.
    pub fn to_json(&self) -> Value {
        match self {
            Request::Run {
                command,
                as_user,
                environment,
            } => json!({"run": command, "user": as_user, "environment": environment}),
            Request::Write { path, mode } => json!({"write": path, "mode": mode}),
        }
    }

    /// As it came over the wire.
    pub fn from_json(text: &[u8]) -> Result<Request, Failure> {
        let value: Value = serde_json::from_slice(text)?;
        if let Some(path) = value["write"].as_str() {
            return Ok(Request::Write {
                path: path.to_owned(),
                mode: serde_json::from_value(value["mode"].clone())?,
            });
        }
        Ok(Request::Run {
            command: serde_json::from_value(value["run"].clone())?,
            as_user: value["user"] == true,
            environment: serde_json::from_value(value["environment"].clone())?,
        })
    }
}

/// A port of a machine that is this process's own for one call.
#[derive(Debug)]
pub struct Session {
    number: u32,
    stream: UnixStream,
    _port: Flock<File>,
}

impl Session {
    /// Takes a free port of the machine at `dir`, waiting at most until `until` for one.
    pub fn open(dir: &Path, until: Instant) -> Result<Session, Failure> {
        // Says that the machine is in use.
        std::fs::write(dir.join("used"), "")?;
        loop {
            for port in 0..PORTS {
                let Some(lock) = lock_port(dir, port)? else {
                    continue;
                };
                let stream = UnixStream::connect(dir.join(format!("port{port}")))?;
                let mut random = [0; 4];
                File::open("/dev/urandom")?.read_exact(&mut random)?;
                return Ok(Session {
                    number: u32::from_le_bytes(random),
                    stream,
                    _port: lock,
                });
            }
            if Instant::now() > until {
                return Err(Failure::new("every port of the machine is taken"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Whether any port of the machine at `dir` is taken.
    pub fn any_open(dir: &Path) -> bool {
        (0..PORTS).any(|port| matches!(lock_port(dir, port), Ok(None)))
    }

    /// Carries the call out: `input` is given to it, `output` and `errors` are what it says. Its status, or a failure if nothing comes for as long as `silence`.
    pub fn call(
        self,
        request: &Request,
        mut input: impl Read + Send + 'static,
        output: &mut dyn Write,
        errors: &mut dyn Write,
        silence: Option<Duration>,
    ) -> Result<i32, Failure> {
        let number = self.number;
        let mut to = self.stream.try_clone()?;
        let request = request.to_json().to_string().into_bytes();
        send(&mut to, number, Kind::Open, request)?;
        // Not waited for: a terminal that nobody types at never ends.
        std::thread::spawn(move || {
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(count @ 1..) = input.read(&mut buffer) {
                send(&mut to, number, Kind::Input, buffer[..count].to_vec())?;
            }
            send(&mut to, number, Kind::InputEnd, Vec::new())
        });
        let (sender, receiver) = mpsc::channel();
        let mut from = BufReader::new(self.stream.try_clone()?);
        std::thread::spawn(move || {
            while let Ok(Some(frame)) = Frame::receive(&mut from) {
                if sender.send(frame).is_err() {
                    break;
                }
            }
        });
        loop {
            let patience = silence.unwrap_or(Duration::from_secs(1 << 20));
            let frame = receiver
                .recv_timeout(patience)
                .map_err(|error| match error {
                    mpsc::RecvTimeoutError::Timeout => {
                        Failure::new(format!("the guest has said nothing for {patience:?}"))
                    }
                    mpsc::RecvTimeoutError::Disconnected => Failure::new("the machine has ended"),
                })?;
            if frame.session != number {
                continue;
            }
            match frame.kind {
                Kind::Output => output.write_all(&frame.payload)?,
                Kind::Errors => errors.write_all(&frame.payload)?,
                Kind::Exit => {
                    let _ = self.stream.shutdown(std::net::Shutdown::Both);
                    let status = frame.payload.try_into().unwrap_or([255, 0, 0, 0]);
                    return Ok(i32::from_le_bytes(status));
                }
                Kind::Open | Kind::Input | Kind::InputEnd => {}
            }
        }
    }
}

fn lock_port(dir: &Path, port: u32) -> Result<Option<Flock<File>>, Failure> {
    let lock = File::options()
        .append(true)
        .create(true)
        .open(dir.join(format!("port{port}.lock")))?;
    Ok(Flock::lock(lock, FlockArg::LockExclusiveNonblock).ok())
}

fn send(
    to: &mut UnixStream,
    session: u32,
    kind: Kind,
    payload: Vec<u8>,
) -> Result<(), std::io::Error> {
    Frame {
        session,
        kind,
        payload,
    }
    .send(to)
}
