//! The Task API of a containerd shim, without containerd: the shim is called as containerd calls it, and spoken to by the ttrpc crate's client. So
//! what goes wrong is the shim's, and cases can say what no containerd ever would. For figures there is [`shim`](super::shim), which is leaner.

mod endpoint;
mod task;

use std::cell::RefCell;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use containerd_shim_protos::api::{ConnectRequest, ConnectResponse, Empty, ShutdownRequest};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::{self, Client, Code};

pub use self::endpoint::{Endpoint, Told};
pub use self::task::{Process, Task, json_any};
use crate::bundle::Bundle;
use crate::case::{Done, Failure};
use crate::engine::{Door, Engine, task as tasks};
use crate::place::patience;

/// What containerd calls its sockets; nobody listens at the first.
pub const GRPC: &str = "/run/containerd/containerd.sock";
/// Where events go.
pub const TTRPC: &str = "/run/containerd/containerd.sock.ttrpc";

/// The service that all know.
pub const V2: &str = "containerd.task.v2.Task";
/// The same under its newer name.
pub const V3: &str = "containerd.task.v3.Task";

/// How long a call may take that waits for nobody.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What stands in containerd's place.
#[derive(Debug)]
pub struct Containerd<'e> {
    /// Where it runs.
    pub engine: &'e Engine<'e>,
    /// The events that came.
    pub endpoint: Endpoint,
    /// The ends of the shims' logs, without which the stock shim does not start. Nobody reads them.
    logs: RefCell<Vec<File>>,
}

/// What a shim answered that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status of the answer; none if there was no answer.
    pub code: Option<Code>,
    /// What it says.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

/// What `start` or `delete` printed.
#[derive(Debug)]
pub struct Printed {
    /// Its exit status.
    pub code: Option<i32>,
    /// On stdout.
    pub stdout: Vec<u8>,
    /// On stderr, which containerd reads as part of the same reply.
    pub stderr: String,
}

impl<'e> Containerd<'e> {
    /// Listens for events at the usual place.
    pub fn start(engine: &'e Engine<'e>) -> Result<Containerd<'e>, Failure> {
        std::fs::create_dir_all("/run/containerd")?;
        engine.may_stay("containerd/containerd.sock.ttrpc");
        Ok(Containerd {
            engine,
            endpoint: Endpoint::start(Path::new(TTRPC))?,
            logs: RefCell::default(),
        })
    }

    /// The namespace of all containers of this case.
    pub fn namespace(&self) -> &str {
        &self.engine.test.token
    }

    /// Writes a container's bundle, with the fifo for the shim's log in it.
    pub fn bundle(&self, id: &str, bundle: &Bundle) -> Result<PathBuf, Failure> {
        let mut bundle = bundle.clone();
        let path = format!("/{}/{id}-{0}", self.namespace());
        if let Some(linux) = bundle.config["linux"].as_object_mut() {
            linux.entry("cgroupsPath").or_insert_with(|| path.into());
        }
        let dir = self.engine.test.dir.join("bundles").join(id);
        bundle.write(&dir)?;
        let log = dir.join("log");
        nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRWXU)?;
        let both = OpenOptions::new().read(true).write(true).open(&log)?;
        self.logs.borrow_mut().push(both);
        Ok(dir)
    }

    /// A call of the shim as containerd makes it, without the word.
    pub fn command(&self, id: &str, bundle: &Path) -> Command {
        let program = match self.engine.door {
            Door::Runc | Door::Command => Path::new("/usr/bin/containerd-shim-runc-v2").to_owned(),
            Door::Shim => self.engine.bin.join("containerd-shim-garboard-v2"),
        };
        let mut command = Command::new(program);
        command
            .args(["-namespace", self.namespace(), "-address", GRPC])
            .args(["-publish-binary", "/bin/false", "-id", id])
            .current_dir(bundle)
            .process_group(0)
            .env_clear()
            .env("PATH", self.engine.path())
            .env("TTRPC_ADDRESS", TTRPC)
            .env("GRPC_ADDRESS", GRPC)
            .env("NAMESPACE", self.namespace());
        command
    }

    /// Calls `start` with this on its stdin.
    pub fn call_start(&self, id: &str, bundle: &Path, stdin: &[u8]) -> Result<Printed, Failure> {
        let mut command = self.command(id, bundle);
        command.env("MAX_SHIM_VERSION", "2").arg("start");
        print(command, stdin)
    }

    /// Calls `delete`, as after the death of a shim.
    pub fn call_delete(&self, id: &str, bundle: &Path) -> Result<Printed, Failure> {
        let mut command = self.command(id, bundle);
        command.arg("-bundle").arg(bundle).arg("delete");
        print(command, &[])
    }

    /// Starts the shim of this bundle with default options, and connects.
    pub fn shim(&self, id: &str, bundle: &Path) -> Result<Shim, Failure> {
        Shim::connect(&self.call_start(id, bundle, &[])?.address()?)
    }

    /// Writes the bundle, starts a shim for it and creates the task.
    pub fn task(&self, id: &str, bundle: &Bundle) -> Result<Task, Failure> {
        let bundle = self.bundle(id, bundle)?;
        let shim = self.shim(id, &bundle)?;
        let task = Task::new(shim, id, &bundle);
        task.create()?;
        Ok(task)
    }

    /// The same, and started: a sleeper.
    pub fn sleeper(&self, id: &str) -> Result<Task, Failure> {
        let task = self.task(id, &Bundle::sleeper())?;
        task.init().start()?;
        Ok(task)
    }

    /// Waits until no shim of this case is there.
    pub fn shims_are_gone(&self) -> Done {
        tasks::wait_and_reap("the shims to be gone", || Ok(tasks::shims().is_empty()))
    }
}

/// Runs a command to the end of its output, which a shim that kept it open would never reach.
pub fn print(mut command: Command, stdin: &[u8]) -> Result<Printed, Failure> {
    use std::io::Write;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    crate::runtime::hold(child.id().cast_signed(), true);
    let pid = child.id().cast_signed();
    if let Some(mut input) = child.stdin.take() {
        // It may not care.
        let _ = input.write_all(stdin);
    }
    let output = child.wait_with_output();
    crate::runtime::hold(pid, false);
    let output = output?;
    Ok(Printed {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

impl Printed {
    /// The address in a reply of either form.
    pub fn address(&self) -> Result<String, Failure> {
        let wrong = || Failure::new(format!("no address: {self:?}"));
        if self.code != Some(0) || !self.stderr.is_empty() {
            return Err(wrong());
        }
        let text = std::str::from_utf8(&self.stdout)?;
        let address = match serde_json::from_str::<serde_json::Value>(text) {
            Ok(reply) => reply["address"].as_str().unwrap_or("").to_owned(),
            Err(_) => text.to_owned(),
        };
        address
            .starts_with("unix:///")
            .then_some(address)
            .ok_or_else(wrong)
    }
}

/// A connection to a shim.
#[derive(Clone)]
pub struct Shim {
    /// `unix://` and a path.
    pub address: String,
    service: &'static str,
    client: Client,
}

impl fmt::Debug for Shim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shim({})", self.address)
    }
}

impl Shim {
    /// Connects, speaking version 2.
    pub fn connect(address: &str) -> Result<Shim, Failure> {
        Ok(Shim {
            address: address.to_owned(),
            service: V2,
            client: Client::connect(address)?,
        })
    }

    /// The same connection with another service's name.
    #[must_use]
    pub fn speaking(&self, service: &'static str) -> Shim {
        Shim {
            service,
            ..self.clone()
        }
    }

    /// Calls a method.
    pub fn call<R: Message>(&self, method: &str, message: &impl Message) -> Result<R, Refused> {
        self.call_within(DEADLINE, method, message)
    }

    /// Calls a method that may take that long.
    pub fn call_within<R: Message>(
        &self,
        limit: Duration,
        method: &str,
        message: &impl Message,
    ) -> Result<R, Refused> {
        let lost = |error: &dyn fmt::Display| Refused {
            code: None,
            message: format!("{method}: {error}"),
        };
        let limit = patience(limit);
        let request = ttrpc::Request {
            service: self.service.to_owned(),
            method: method.to_owned(),
            payload: message.write_to_bytes().map_err(|error| lost(&error))?,
            timeout_nano: i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX),
            ..ttrpc::Request::default()
        };
        match self.client.request(request) {
            Ok(response) => R::parse_from_bytes(&response.payload).map_err(|error| lost(&error)),
            Err(ttrpc::Error::RpcStatus(status)) => Err(Refused {
                code: status.code.enum_value().ok(),
                message: status.message,
            }),
            Err(error) => Err(lost(&error)),
        }
    }

    /// The shim's own number, and the task's.
    pub fn pids(&self, id: &str) -> Result<(i32, i32), Failure> {
        let request = ConnectRequest {
            id: id.to_owned(),
            ..ConnectRequest::default()
        };
        let found: ConnectResponse = self.call("Connect", &request)?;
        Ok((found.shim_pid.cast_signed(), found.task_pid.cast_signed()))
    }

    /// Asks it to end, which it does unless it has tasks. It may be gone before it has answered.
    pub fn shutdown(&self, id: &str) -> Done {
        let request = ShutdownRequest {
            id: id.to_owned(),
            ..ShutdownRequest::default()
        };
        match self.call::<Empty>("Shutdown", &request) {
            Ok(_) | Err(Refused { code: None, .. }) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        PathBuf::from(self.address.trim_start_matches("unix://"))
    }
}

/// Wants a refusal with this status.
#[track_caller]
pub fn refused<T: fmt::Debug>(outcome: Result<T, Refused>, code: Code) -> String {
    match outcome {
        Err(refused) if refused.code == Some(code) => refused.message,
        other => panic!("not {code:?} but {other:?}"),
    }
}
