//! A containerd shim spoken to as containerd speaks to it, without containerd and its client in between: for figures of the shim alone.
//!
//! One request at a time and a connection of its own for each user, so that nothing here takes time that would be taken for the shim's. The Task service is
//! that of version 2, which every shim has.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse, DeleteRequest,
    DeleteResponse, ExecProcessRequest, KillRequest, ShutdownRequest, StartRequest, StartResponse,
    WaitRequest, WaitResponse,
};
use containerd_shim_protos::shim::oci;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};
use ttrpc::proto::{Request, Response};

use crate::case::{Done, Failure};
use crate::engine::containerd;

const SERVICE: &str = "containerd.task.v2.Task";
/// ttrpc's header: length, stream, type, flags.
const HEADER: usize = 10;
const REQUEST: u8 = 1;

/// How shims are called.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The shim.
    pub program: PathBuf,
    /// containerd's namespace.
    pub namespace: String,
    /// The cgroup that shims are to join.
    pub cgroup: Option<String>,
    /// What the programs that a shim calls are looked for in.
    pub path: String,
}

/// A shim, and a connection to it.
#[derive(Debug)]
pub struct Shim {
    socket: UnixStream,
    stream: u32,
    namespace: String,
    address: PathBuf,
    /// The stock shim waits for a reader of its log, and ends without one.
    log: Option<fs::File>,
}

/// The fifos of a process: None is /dev/null.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stdio3<'a> {
    /// What it writes. containerd's own shim wants both or neither.
    pub stdout: Option<&'a Path>,
    /// What it complains.
    pub stderr: Option<&'a Path>,
}

impl Caller {
    /// `start` in the bundle, and a connection to what it names.
    pub fn start(&self, bundle: &Path, id: &str) -> Result<Shim, Failure> {
        let log = bundle.join("log");
        if !log.try_exists()? {
            nix::unistd::mkfifo(&log, nix::sys::stat::Mode::from_bits_truncate(0o700))?;
        }
        let reader = fs::OpenOptions::new().read(true).write(true).open(&log)?;
        let stdin = bundle.join("start.options");
        fs::write(&stdin, self.options().write_to_bytes()?)?;
        let output = Command::new(&self.program)
            .args(["-namespace", &self.namespace, "-id", id])
            .args(["-address", containerd::SOCKET, "-publish-binary"])
            .args(["/usr/bin/containerd", "start"])
            .env("PATH", &self.path)
            .env("TTRPC_ADDRESS", format!("{}.ttrpc", containerd::SOCKET))
            .env("GRPC_ADDRESS", containerd::SOCKET)
            .env("NAMESPACE", &self.namespace)
            .env("GOMAXPROCS", "2")
            .env("MAX_SHIM_VERSION", "2")
            .current_dir(bundle)
            .stdin(Stdio::from(fs::File::open(&stdin)?))
            .process_group(0)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Failure::new(format!("start: {error}{said}")));
        }
        let address = match serde_json::from_str::<serde_json::Value>(&said) {
            Ok(json) => json["address"].as_str().unwrap_or_default().to_owned(),
            Err(_) => said,
        };
        let address = address.trim().strip_prefix("unix://").unwrap_or_default();
        let mut shim = Shim::connect(Path::new(address), &self.namespace)?;
        shim.log = Some(reader);
        Ok(shim)
    }

    fn options(&self) -> Any {
        let options = oci::Options {
            shim_cgroup: self.cgroup.clone().unwrap_or_default(),
            ..oci::Options::new()
        };
        Any {
            type_url: "containerd.runc.v1.Options".to_owned(),
            value: options.write_to_bytes().unwrap_or_default(),
            ..Any::new()
        }
    }
}

impl Shim {
    fn connect(address: &Path, namespace: &str) -> Result<Shim, Failure> {
        Ok(Shim {
            socket: UnixStream::connect(address)?,
            stream: 1,
            namespace: namespace.to_owned(),
            address: address.to_owned(),
            log: None,
        })
    }

    /// One more connection to the same shim.
    pub fn again(&self) -> Result<Shim, Failure> {
        Shim::connect(&self.address, &self.namespace)
    }

    /// Calls a method of the Task service, and waits for its answer.
    pub fn call<A: Message>(&mut self, method: &str, message: &impl Message) -> Result<A, Failure> {
        let mut request = Request {
            service: SERVICE.to_owned(),
            method: method.to_owned(),
            payload: message.write_to_bytes()?,
            ..Request::new()
        };
        let mut namespace = ttrpc::proto::KeyValue::new();
        namespace.key = "containerd-namespace-ttrpc".to_owned();
        namespace.value = self.namespace.clone();
        request.metadata.push(namespace);
        let body = request.write_to_bytes()?;
        let mut frame = Vec::with_capacity(HEADER + body.len());
        frame.extend_from_slice(&u32::try_from(body.len())?.to_be_bytes());
        frame.extend_from_slice(&self.stream.to_be_bytes());
        frame.extend_from_slice(&[REQUEST, 0]);
        frame.extend_from_slice(&body);
        self.stream += 2;
        self.socket.write_all(&frame)?;
        let mut header = [0; HEADER];
        self.socket.read_exact(&mut header)?;
        let [a, b, c, d, ..] = header;
        let mut body = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
        self.socket.read_exact(&mut body)?;
        let response = Response::parse_from_bytes(&body)?;
        if let Some(status) = response.status.as_ref()
            && status.code.value() != 0
        {
            return Err(Failure::new(format!("{method}: {}", status.message)));
        }
        Ok(A::parse_from_bytes(&response.payload)?)
    }

    /// Creates the container of a bundle whose rootfs is there already; gives its pid.
    pub fn create(&mut self, bundle: &Path, id: &str, stdio: Stdio3<'_>) -> Result<u32, Failure> {
        let request = CreateTaskRequest {
            id: id.to_owned(),
            bundle: bundle.display().to_string(),
            stdout: text(stdio.stdout),
            stderr: text(stdio.stderr),
            ..CreateTaskRequest::new()
        };
        let response: CreateTaskResponse = self.call("Create", &request)?;
        Ok(response.pid)
    }

    /// Makes an exec known, to be started; `process` is the OCI process as JSON.
    pub fn exec(&mut self, id: &str, exec: &str, process: &str, stdio: Stdio3<'_>) -> Done {
        let request = ExecProcessRequest {
            id: id.to_owned(),
            exec_id: exec.to_owned(),
            stdout: text(stdio.stdout),
            stderr: text(stdio.stderr),
            spec: MessageField::some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
                value: process.as_bytes().to_vec(),
                ..Any::new()
            }),
            ..ExecProcessRequest::new()
        };
        self.call::<protobuf::well_known_types::empty::Empty>("Exec", &request)?;
        Ok(())
    }

    /// Starts a container, or an exec if one is named.
    pub fn start(&mut self, id: &str, exec: &str) -> Done {
        let request = StartRequest {
            id: id.to_owned(),
            exec_id: exec.to_owned(),
            ..StartRequest::new()
        };
        self.call::<StartResponse>("Start", &request)?;
        Ok(())
    }

    /// Waits for the end; gives the exit status.
    pub fn wait(&mut self, id: &str, exec: &str) -> Result<u32, Failure> {
        let request = WaitRequest {
            id: id.to_owned(),
            exec_id: exec.to_owned(),
            ..WaitRequest::new()
        };
        let response: WaitResponse = self.call("Wait", &request)?;
        Ok(response.exit_status)
    }

    /// Deletes a container or an exec that has ended; gives the exit status.
    pub fn delete(&mut self, id: &str, exec: &str) -> Result<u32, Failure> {
        let request = DeleteRequest {
            id: id.to_owned(),
            exec_id: exec.to_owned(),
            ..DeleteRequest::new()
        };
        let response: DeleteResponse = self.call("Delete", &request)?;
        Ok(response.exit_status)
    }

    /// Kills a container's init.
    pub fn kill(&mut self, id: &str) -> Done {
        let request = KillRequest {
            id: id.to_owned(),
            signal: 9,
            ..KillRequest::new()
        };
        self.call::<protobuf::well_known_types::empty::Empty>("Kill", &request)?;
        Ok(())
    }

    /// The shim's own pid.
    pub fn pid(&mut self, id: &str) -> Result<i32, Failure> {
        let request = ConnectRequest {
            id: id.to_owned(),
            ..ConnectRequest::new()
        };
        let response: ConnectResponse = self.call("Connect", &request)?;
        Ok(i32::try_from(response.shim_pid)?)
    }

    /// Ends the shim, which has no container left, and waits until it is gone: it must be a child of this process, of this number.
    pub fn shutdown(mut self, id: &str, pid: i32) -> Done {
        let request = ShutdownRequest {
            id: id.to_owned(),
            ..ShutdownRequest::new()
        };
        // The stock shim may be gone before it has answered.
        let _ = self.call::<protobuf::well_known_types::empty::Empty>("Shutdown", &request);
        waitpid(Pid::from_raw(pid), None)?;
        Ok(())
    }
}

fn text(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string())
        .unwrap_or_default()
}
