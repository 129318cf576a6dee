//! A task by its id, with the methods of its shim.

use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::api::{
    CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, Empty,
    ExecProcessRequest, KillRequest, PidsRequest, PidsResponse, StartRequest, StartResponse,
    StateRequest, StateResponse, Status, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use serde_json::{Value, json};

use super::{Refused, Shim};
use crate::case::Done;
use crate::place::patience;

/// What SIGKILL leaves.
const KILLED: u32 = 137;

/// A container and the way to its shim.
#[derive(Debug, Clone)]
pub struct Task {
    /// The way.
    pub shim: Shim,
    /// The container's id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
}

/// Init, or an exec.
#[derive(Debug, Clone)]
pub struct Process<'t> {
    task: &'t Task,
    exec: String,
}

impl Task {
    /// Nothing is done.
    pub fn new(shim: Shim, id: &str, bundle: &Path) -> Task {
        Task {
            shim,
            id: id.to_owned(),
            bundle: bundle.to_owned(),
        }
    }

    /// The request of [`Task::create`]: the rootfs is in the bundle, nothing is read or written.
    pub fn create_request(&self) -> CreateTaskRequest {
        CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle.display().to_string(),
            ..CreateTaskRequest::default()
        }
    }

    /// `Create`; the answer is init's number.
    pub fn create(&self) -> Result<u32, Refused> {
        self.create_with(&self.create_request())
    }

    /// `Create` with this request.
    pub fn create_with(&self, request: &CreateTaskRequest) -> Result<u32, Refused> {
        let created: CreateTaskResponse = self.shim.call("Create", request)?;
        Ok(created.pid)
    }

    /// Its init.
    pub fn init(&self) -> Process<'_> {
        self.process("")
    }

    /// An exec of this id.
    pub fn process(&self, exec: &str) -> Process<'_> {
        Process {
            task: self,
            exec: exec.to_owned(),
        }
    }

    /// The request of `Exec` for a process with these arguments and no stdio.
    pub fn exec_request(&self, exec: &str, args: &[&str]) -> ExecProcessRequest {
        let spec = json!({
            "args": args,
            "cwd": "/",
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "user": {"uid": 0, "gid": 0},
        });
        ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            spec: json_any(
                "types.containerd.io/opencontainers/runtime-spec/1/Process",
                &spec,
            ),
            ..ExecProcessRequest::default()
        }
    }

    /// `Exec`, which only stores the process.
    pub fn exec(&self, exec: &str, args: &[&str]) -> Result<Process<'_>, Refused> {
        self.exec_with(&self.exec_request(exec, args))
    }

    /// `Exec` with this request.
    pub fn exec_with(&self, request: &ExecProcessRequest) -> Result<Process<'_>, Refused> {
        self.shim.call::<Empty>("Exec", request)?;
        Ok(self.process(&request.exec_id))
    }

    /// `Exec`, `Start`, `Wait` and `Delete`; the answer is the exit status.
    pub fn exec_to_the_end(&self, exec: &str, args: &[&str]) -> Result<u32, Refused> {
        let process = self.exec(exec, args)?;
        process.start()?;
        let status = process.wait()?;
        process.delete()?;
        Ok(status)
    }

    /// A method whose request has nothing but the id.
    pub fn plain<R: Message>(&self, method: &str) -> Result<R, Refused> {
        // Field 1 is the id in all of them.
        let request = StateRequest {
            id: self.id.clone(),
            ..StateRequest::default()
        };
        self.shim.call(method, &request)
    }

    /// `Pids`: the number and the exec of each process of the container, exec empty if there is none.
    pub fn pids(&self) -> Result<Vec<(u32, String)>, Refused> {
        use containerd_shim_protos::shim::oci::ProcessDetails;
        let request = PidsRequest {
            id: self.id.clone(),
            ..PidsRequest::default()
        };
        let found: PidsResponse = self.shim.call("Pids", &request)?;
        let exec = |info: &Any| {
            assert_eq!(info.type_url, "containerd.runc.v1.ProcessDetails");
            ProcessDetails::parse_from_bytes(&info.value)
                .map(|details| details.exec_id)
                .unwrap_or_default()
        };
        Ok(found
            .processes
            .iter()
            .map(|one| (one.pid, one.info.as_ref().map(exec).unwrap_or_default()))
            .collect())
    }

    /// Kills init, waits, deletes the task and ends the shim.
    pub fn end(&self) -> Done {
        let init = self.init();
        init.kill(9)?;
        assert_eq!(init.wait()?, KILLED);
        init.delete()?;
        self.shim.shutdown(&self.id)
    }
}

impl Process<'_> {
    /// `Start`; the answer is the process's number.
    pub fn start(&self) -> Result<u32, Refused> {
        let request = StartRequest {
            id: self.task.id.clone(),
            exec_id: self.exec.clone(),
            ..StartRequest::default()
        };
        let started: StartResponse = self.task.shim.call("Start", &request)?;
        Ok(started.pid)
    }

    /// `Wait`; the answer is the exit status.
    pub fn wait(&self) -> Result<u32, Refused> {
        let request = WaitRequest {
            id: self.task.id.clone(),
            exec_id: self.exec.clone(),
            ..WaitRequest::default()
        };
        let limit = patience(Duration::from_secs(60));
        let ended: WaitResponse = self.task.shim.call_within(limit, "Wait", &request)?;
        assert!(ended.exited_at.seconds > 0, "{ended:?}");
        Ok(ended.exit_status)
    }

    /// `State`.
    pub fn state(&self) -> Result<StateResponse, Refused> {
        let request = StateRequest {
            id: self.task.id.clone(),
            exec_id: self.exec.clone(),
            ..StateRequest::default()
        };
        self.task.shim.call("State", &request)
    }

    /// The status in `State`.
    pub fn status(&self) -> Result<Status, Refused> {
        Ok(self.state()?.status.enum_value_or_default())
    }

    /// `Kill` with this signal.
    pub fn kill(&self, signal: u32) -> Result<(), Refused> {
        let request = KillRequest {
            id: self.task.id.clone(),
            exec_id: self.exec.clone(),
            signal,
            ..KillRequest::default()
        };
        self.task.shim.call::<Empty>("Kill", &request).map(drop)
    }

    /// `Delete`.
    pub fn delete(&self) -> Result<DeleteResponse, Refused> {
        let request = DeleteRequest {
            id: self.task.id.clone(),
            exec_id: self.exec.clone(),
            ..DeleteRequest::default()
        };
        self.task.shim.call("Delete", &request)
    }
}

/// A JSON document as containerd packs it.
pub fn json_any(url: &str, value: &Value) -> MessageField<Any> {
    MessageField::some(Any {
        type_url: url.to_owned(),
        value: value.to_string().into_bytes(),
        ..Any::default()
    })
}
