//! Where a shim sends its events: containerd's ttrpc socket, served here by a few lines that write down what they are told. The ttrpc crate's server would do,
//! but does not close all that it opened, which the check for leaks would find.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use containerd_shim_protos::events::task;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::ttrpc::get_status;
use containerd_shim_protos::ttrpc::proto::{
    Code, MESSAGE_HEADER_LENGTH, MESSAGE_TYPE_RESPONSE, MessageHeader, Request, Response, Status,
};

use crate::case::{Done, Failure};
use crate::container::wait_until;

/// An event in the order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of the container.
    pub container: String,
    /// `create`, `start`, `exec-added EXEC`, `exec-started EXEC`, `exit ID STATUS`, `oom`, `paused`, `resumed`, `delete ID`.
    pub what: String,
    /// Of the process, where the event has one.
    pub pid: u32,
    /// The namespace it was sent for.
    pub namespace: String,
    /// Seconds since 1970, by the shim's clock.
    pub seconds: i64,
}

type Recorded = Arc<Mutex<Vec<Told>>>;

/// The socket and what came.
#[derive(Debug)]
pub struct Endpoint {
    path: PathBuf,
    told: Recorded,
    serving: Option<Serving>,
}

/// What is to be ended.
#[derive(Debug)]
struct Serving {
    ending: Arc<AtomicBool>,
    accepting: JoinHandle<Vec<(UnixStream, JoinHandle<()>)>>,
}

impl Endpoint {
    /// Listens at `path`.
    pub fn start(path: &Path) -> Result<Endpoint, Failure> {
        let mut endpoint = Endpoint {
            path: path.to_owned(),
            told: Recorded::default(),
            serving: None,
        };
        endpoint.start_again()?;
        Ok(endpoint)
    }

    /// Listens again after [`Endpoint::stop`].
    pub fn start_again(&mut self) -> Done {
        let listener = UnixListener::bind(&self.path)?;
        let ending = Arc::new(AtomicBool::new(false));
        let (told, flag) = (Arc::clone(&self.told), Arc::clone(&ending));
        let accepting = std::thread::spawn(move || {
            let mut clients = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                let copy = stream.try_clone();
                if flag.load(Ordering::SeqCst) {
                    break;
                }
                let told = Arc::clone(&told);
                if let Ok(copy) = copy {
                    // An end in the middle of a call is nothing unusual here.
                    let serving = std::thread::spawn(move || drop(serve(stream, &told)));
                    clients.push((copy, serving));
                }
            }
            clients
        });
        self.serving = Some(Serving { ending, accepting });
        Ok(())
    }

    /// Closes the socket and every connection, as the death of containerd does.
    pub fn stop(&mut self) {
        let Some(serving) = self.serving.take() else {
            return;
        };
        serving.ending.store(true, Ordering::SeqCst);
        // It sleeps until somebody comes.
        drop(UnixStream::connect(&self.path));
        for (stream, thread) in serving.accepting.join().unwrap_or_default() {
            // It may have hung up.
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
        // Not there any more is what is wanted.
        let _ = std::fs::remove_file(&self.path);
    }

    /// All so far.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().map(|all| all.clone()).unwrap_or_default()
    }

    /// Those of one container, in short.
    pub fn of(&self, container: &str) -> Vec<String> {
        let all = self.told().into_iter();
        all.filter(|told| told.container == container)
            .map(|told| told.what)
            .collect()
    }

    /// Waits until a container's event, in short, has come.
    pub fn expect(&self, container: &str, wanted: &str) -> Done {
        wait_until(&format!("the event {wanted} of {container}"), || {
            Ok(self.of(container).iter().any(|what| what == wanted))
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers one client until it goes away.
fn serve(mut stream: UnixStream, told: &Recorded) -> Result<(), Failure> {
    loop {
        let mut header = [0; MESSAGE_HEADER_LENGTH];
        stream.read_exact(&mut header)?;
        let mut header = MessageHeader::from(header);
        let mut payload = vec![0; header.length as usize];
        stream.read_exact(&mut payload)?;
        let status = match record(&payload, told) {
            Ok(()) => Status::default(),
            Err(failure) => get_status(Code::INVALID_ARGUMENT, failure.to_string()),
        };
        let response = Response {
            status: MessageField::some(status),
            ..Response::default()
        }
        .write_to_bytes()?;
        header.length = u32::try_from(response.len())?;
        header.type_ = MESSAGE_TYPE_RESPONSE;
        stream.write_all(&[Vec::from(header), response].concat())?;
    }
}

fn record(payload: &[u8], told: &Recorded) -> Done {
    let request = Request::parse_from_bytes(payload)?;
    let names = (request.service.as_str(), request.method.as_str());
    if names != ("containerd.services.events.ttrpc.v1.Events", "Forward") {
        return Err(Failure::new(format!("called is {names:?}")));
    }
    let envelope = ForwardRequest::parse_from_bytes(&request.payload)?.envelope;
    let event = in_short(&envelope)?;
    if let Ok(mut all) = told.lock() {
        all.push(event);
    }
    Ok(())
}

/// What an envelope says. The type's URL has to be the name of the message that goes with the topic.
fn in_short(envelope: &Envelope) -> Result<Told, Failure> {
    let topic = envelope.topic.as_str();
    let (url, value) = (&envelope.event.type_url, envelope.event.value.as_slice());
    macro_rules! decode {
        ($message:ident) => {{
            let name = concat!("containerd.events.", stringify!($message));
            if url != name {
                return Err(Failure::new(format!("{topic} with a {url}")));
            }
            task::$message::parse_from_bytes(value)?
        }};
    }
    let (container, what, pid) = match topic {
        "/tasks/create" => {
            let event = decode!(TaskCreate);
            (event.container_id, "create".to_owned(), event.pid)
        }
        "/tasks/start" => {
            let event = decode!(TaskStart);
            (event.container_id, "start".to_owned(), event.pid)
        }
        "/tasks/exec-added" => {
            let event = decode!(TaskExecAdded);
            (
                event.container_id,
                format!("exec-added {}", event.exec_id),
                0,
            )
        }
        "/tasks/exec-started" => {
            let event = decode!(TaskExecStarted);
            let what = format!("exec-started {}", event.exec_id);
            (event.container_id, what, event.pid)
        }
        "/tasks/exit" => {
            let event = decode!(TaskExit);
            let what = format!("exit {} {}", event.id, event.exit_status);
            if event.exited_at.seconds == 0 {
                return Err(Failure::new(format!("{what} without a time")));
            }
            (event.container_id, what, event.pid)
        }
        "/tasks/oom" => (decode!(TaskOOM).container_id, "oom".to_owned(), 0),
        "/tasks/paused" => (decode!(TaskPaused).container_id, "paused".to_owned(), 0),
        "/tasks/resumed" => (decode!(TaskResumed).container_id, "resumed".to_owned(), 0),
        "/tasks/delete" => {
            let event = decode!(TaskDelete);
            let what = format!("delete {} {}", event.id, event.exit_status);
            (event.container_id, what, event.pid)
        }
        _ => return Err(Failure::new(format!("an unknown topic {topic}"))),
    };
    Ok(Told {
        container,
        what,
        pid,
        namespace: envelope.namespace.clone(),
        seconds: envelope.timestamp.seconds,
    })
}
