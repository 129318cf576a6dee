//! `Create`: the rootfs is mounted, the container made up to the point where only `Start` is missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_shim_protos::events::task::{TaskCreate, TaskIO};
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::shim::shim::{CreateTaskRequest, CreateTaskResponse};
use libcontainer::{CgroupManager, Console, Container, CreateOptions, OomEvents, Runtime};
use serde::Deserialize;

use super::control::unsigned;
use super::failure::Failure;
use super::reactor::Interest;
use super::task::{Key, Oom, Phase, Process, Stdio, Task};
use super::workers::Patience;
use super::{Call, Daemon, Source};
use crate::options::Options;
use crate::{mounts, stdio};

/// A container, and what the daemon is to watch of it.
struct Made {
    container: Container,
    own_pid_namespace: bool,
    running: stdio::Running,
    oom: Option<OomEvents>,
    io_owner: (u32, u32),
}

impl Daemon {
    pub(super) fn create(&mut self, call: Call, request: CreateTaskRequest) -> Result<(), Failure> {
        if !request.checkpoint.is_empty() {
            let text = "checkpoint: restore is not implemented by garboard yet";
            return Err(Failure::unimplemented(text));
        }
        if self.tasks.contains_key(request.id.as_str()) {
            let text = format!("container {} already exists", request.id);
            return Err(Failure::already_exists(text));
        }
        if self.ending.is_some() {
            return Err(Failure::precondition("the shim is shutting down"));
        }
        let key = Key {
            container: request.id.as_str().into(),
            exec: "".into(),
            serial: self.number(),
        };
        let stdio = Stdio {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let task = Task {
            bundle: PathBuf::from(&request.bundle),
            own_pid_namespace: false,
            container: None,
            paused: false,
            init: Process::new(key.clone(), stdio, Phase::Creating),
            execs: Default::default(),
            oom: None,
            oom_told: 0,
            io_owner: (0, 0),
            ending: None,
        };
        self.tasks.insert(Arc::clone(&key.container), task);
        let namespace = Arc::clone(&self.namespace);
        self.workers.run(Patience::Slow, move || {
            let made = make(&namespace, &request);
            move |daemon: &mut Daemon| match made {
                Ok(made) => daemon.created(call, &key, request, made),
                Err(failure) => {
                    daemon.tasks.remove(&key.container);
                    daemon.answer_failure(call, failure);
                }
            }
        });
        Ok(())
    }

    fn created(&mut self, call: Call, key: &Key, request: CreateTaskRequest, made: Made) {
        let pid = made.container.pid();
        let container = Arc::new(made.container);
        let exit = container.pidfd().and_then(|pidfd| self.watch(pidfd, key));
        let oom = made.oom.and_then(|events| {
            let added = self
                .reactor
                .add(&events, Interest::Readable, Source::Oom(key.clone()));
            Some(Oom {
                token: added.ok()?,
                events,
            })
        });
        if let Some(task) = self.tasks.get_mut(&key.container) {
            task.own_pid_namespace = made.own_pid_namespace;
            task.container = Some(container);
            task.oom = oom;
            task.io_owner = made.io_owner;
            task.init.phase = Phase::Created { pid, exit };
        }
        self.attach(key, made.running);
        let mut event = TaskCreate::new();
        event.container_id.clone_from(&request.id);
        event.bundle = request.bundle;
        event.rootfs = request.rootfs;
        event.io = MessageField::some(TaskIO {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
            ..TaskIO::default()
        });
        event.pid = unsigned(pid);
        self.event("/tasks/create", "TaskCreate", &event);
        let response = CreateTaskResponse {
            pid: unsigned(pid),
            ..CreateTaskResponse::default()
        };
        self.answer(call, &response);
        // It was begun before the first round in which it is watched.
        self.out_of_memory(key);
    }
}

/// On a worker. What fails leaves nothing mounted.
fn make(namespace: &str, request: &CreateTaskRequest) -> Result<Made, Failure> {
    let bundle = Path::new(&request.bundle);
    let options =
        Options::from_any(request.options.as_ref(), namespace).map_err(Failure::unknown)?;
    // `delete` finds by it what is left when this process is killed.
    options.save(bundle).map_err(Failure::unknown)?;
    let mounted = Mounted::new(request, bundle)?;
    let opened = stdio::open(&stdio::Request {
        stdin: &request.stdin,
        stdout: &request.stdout,
        stderr: &request.stderr,
        terminal: request.terminal,
        io_uid: options.io_uid,
        io_gid: options.io_gid,
        container: &request.id,
        namespace,
        bundle,
    })
    .map_err(Failure::unknown)?;
    let runtime = Runtime::open(&options.root).map_err(Failure::unknown)?;
    let create = CreateOptions {
        cgroup_manager: if options.systemd_cgroup {
            CgroupManager::SYSTEMD
        } else {
            CgroupManager::Cgroupfs
        },
        stdio: opened.fds,
        console: if request.terminal {
            Console::Master
        } else {
            Console::None
        },
        pid_file: Some(bundle.join("init.pid")),
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        ..CreateOptions::default()
    };
    let mut container = runtime
        .create(&request.id, bundle, &create)
        .map_err(|error| Failure::operation("create", &error))?;
    // The container alone holds its ends of the pipes from here on, or they would never end.
    drop(create);
    for warning in container.warnings() {
        log::warn!("{}: {warning}", request.id);
    }
    let running = match opened.streams.into_pumps(container.take_console()) {
        Ok(running) => running,
        Err(error) => {
            if let Err(error) = container.delete() {
                log::error!("delete of {}: {error}", request.id);
            }
            return Err(Failure::unknown(error));
        }
    };
    // A kernel without the memory controller has nothing to watch; the container is none the worse.
    let oom = container
        .oom_events()
        .inspect_err(|error| log::debug!("{}: {error}", request.id))
        .ok();
    mounted.keep();
    Ok(Made {
        own_pid_namespace: own_pid_namespace(bundle),
        container,
        running,
        oom,
        io_owner: (options.io_uid, options.io_gid),
    })
}

/// The rootfs, unmounted again unless it is kept.
struct Mounted(Option<PathBuf>);

impl Mounted {
    fn new(request: &CreateTaskRequest, bundle: &Path) -> Result<Mounted, Failure> {
        // An engine that mounts by itself, as Docker does, sends none, and names the place in config.json.
        if request.rootfs.is_empty() {
            return Ok(Mounted(None));
        }
        let target = bundle.join("rootfs");
        mounts::mount_all(&request.rootfs, &target)
            .map_err(|error| Failure::unknown(format_args!("rootfs: {error}")))?;
        Ok(Mounted(Some(target)))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(target) = self.0.take()
            && let Err(error) = mounts::unmount_all(&target)
        {
            log::error!("{}: {error}", target.display());
        }
    }
}

/// Of config.json, which the library has read and found right.
#[derive(Deserialize)]
struct Spec {
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Vec<Namespace>,
}

#[derive(Deserialize)]
struct Namespace {
    r#type: String,
    path: Option<String>,
}

fn own_pid_namespace(bundle: &Path) -> bool {
    let text = std::fs::read(bundle.join("config.json")).unwrap_or_default();
    serde_json::from_slice::<Spec>(&text)
        .ok()
        .and_then(|spec| spec.linux)
        .is_some_and(|linux| {
            linux
                .namespaces
                .iter()
                .any(|one| one.r#type == "pid" && one.path.as_deref().unwrap_or("").is_empty())
        })
}
