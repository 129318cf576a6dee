//! Kubernetes' door: containerd's CRI plugin, called as the kubelet calls it.
//!
//! The plugin's containerd is [`Containerd`]'s with a configuration of its own: a pause image made here, a bridge network in the case's network namespace, and a
//! runtime handler `garboard` that leads to the case's door; the default handler is Debian's runc.

pub mod client;
pub mod messages;
pub mod stream;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message;
use serde_json::json;

use self::client::Status;
use self::messages::{
    ContainerConfig, ContainerMetadata, ContainerStatus, ContainerStatusRequest,
    ContainerStatusResponse, CreateContainerRequest, ExecSyncRequest, ExecSyncResponse, Id,
    ImageSpec, LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceOption, Nothing, PodSandboxConfig,
    PodSandboxMetadata, PodSandboxStatus, PodSandboxStatusResponse, RunPodSandboxRequest,
    StatusResponse, StopContainerRequest,
};
use crate::case::{Done, Failure};
use crate::container::wait_until;
use crate::engine::containerd::{Containerd, SOCKET};
use crate::engine::image::{self, BUSYBOX};
use crate::engine::{Door, Engine, doc};
use crate::place::{Driver, patience};
use crate::rootfs::Rootfs;

/// The handler that a RuntimeClass names.
pub const HANDLER: &str = "garboard";

const PAUSE: &str = "localhost/pause:latest";
const DEADLINE: Duration = Duration::from_secs(60);

/// A containerd with its CRI plugin, as the kubelet sees it.
#[derive(Debug)]
pub struct Cri<'e> {
    /// The daemon.
    pub containerd: Containerd<'e>,
    logs: PathBuf,
}

/// A pod that runs, and what it was made of.
#[derive(Debug)]
pub struct Pod {
    /// Its id, which is that of its first task too.
    pub id: String,
    config: PodSandboxConfig,
}

/// Calls a method of the runtime service.
pub fn call<Answer: Message + Default>(
    method: &str,
    question: &impl Message,
) -> Result<Answer, Status> {
    client::call(
        Path::new(SOCKET),
        &format!("/runtime.v1.RuntimeService/{method}"),
        question,
        patience(DEADLINE),
    )
}

/// Runs a command in a container to its end, or to the timeout in seconds if that is not 0.
pub fn exec(container: &str, command: &[&str], timeout: i64) -> Result<ExecSyncResponse, Status> {
    let request = ExecSyncRequest {
        container_id: container.to_owned(),
        cmd: command.iter().map(|word| (*word).to_owned()).collect(),
        timeout,
    };
    call("ExecSync", &request)
}

impl<'e> Cri<'e> {
    /// Starts it, with the images, and waits until it says that it is ready.
    pub fn start(engine: &'e Engine<'e>) -> Result<Cri<'e>, Failure> {
        let dir = engine.test.scratch("containerd")?;
        if !Path::new("/usr/lib/cni/bridge").is_file() {
            return Err(Failure::skip("needs containernetworking-plugins"));
        }
        network(&dir)?;
        let containerd = Containerd::with_config(engine, &config(engine, &dir)?)?;
        // The plugin's own directories, one for each pod and container, which are checked by `Pod::end`.
        for own in ["netns", "containerd/io.containerd.grpc.v1.cri"] {
            engine.may_stay(own);
        }
        let cri = Cri {
            containerd,
            logs: engine.test.scratch("pod-logs")?,
        };
        // Init of a shared process namespace has to wait for others' children, as Kubernetes' own does.
        let script = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";
        let pause = json!({"Cmd": ["/bin/sh", "-c", script]});
        let pause = image::build(engine.test, PAUSE, &Rootfs::default(), pause)?;
        for image in [image::busybox(engine.test)?, pause] {
            let archive = image.archive.to_string_lossy().into_owned();
            let mut command = engine.command("ctr")?;
            command.args(["--address", SOCKET, "--namespace", "k8s.io", "images"]);
            command.args(["import", &archive]);
            engine.test.runtime.finish(command)?.success()?;
        }
        cri.await_ready()?;
        Ok(cri)
    }

    fn await_ready(&self) -> Done {
        wait_until("CRI to be ready", || {
            let status: Result<StatusResponse, Status> = call("Status", &Nothing {});
            let conditions = status.map(|status| status.status.unwrap_or_default().conditions);
            Ok(conditions.is_ok_and(|all| all.len() == 2 && all.iter().all(|one| one.status)))
        })
    }

    /// Starts containerd again after it was killed.
    pub fn restart(&mut self) -> Done {
        self.containerd.restart()?;
        self.await_ready()
    }

    /// A pod that was run before, with the configuration of then.
    pub fn pod(&self, id: &str, config: PodSandboxConfig) -> Pod {
        Pod {
            id: id.to_owned(),
            config,
        }
    }

    /// A pod's usual configuration: namespaces of its own but one process namespace for each container, cgroups below the case's token.
    pub fn pod_config(&self, name: &str) -> PodSandboxConfig {
        let token = self.containerd.token();
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("{name}-{token}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: self.logs.join(name).display().to_string(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: match self.containerd.driver() {
                    Driver::Cgroupfs => format!("/{token}"),
                    // Slices of the case's own would stay.
                    Driver::Systemd => "system.slice".to_owned(),
                },
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(NamespaceOption {
                        network: messages::POD,
                        pid: messages::CONTAINER,
                        ipc: messages::POD,
                    }),
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Runs a pod by the case's handler.
    pub fn run(&self, config: PodSandboxConfig) -> Result<Pod, Failure> {
        self.run_by(config, HANDLER)
    }

    /// Runs a pod by this handler.
    pub fn run_by(&self, config: PodSandboxConfig, handler: &str) -> Result<Pod, Failure> {
        fs::create_dir_all(&config.log_directory)?;
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: handler.to_owned(),
        };
        let answer: Id = call("RunPodSandbox", &request).map_err(|status| {
            Failure::new(format!(
                "RunPodSandbox: {status}\n{}",
                self.containerd.said()
            ))
        })?;
        Ok(Pod {
            id: answer.id,
            config,
        })
    }

    /// What a command writes to stdout, which must end with 0.
    pub fn output(&self, container: &str, command: &[&str]) -> Result<String, Failure> {
        let answer = exec(container, command, 0)?;
        if answer.exit_code != 0 {
            return Err(Failure::new(format!("{command:?}: {answer:?}")));
        }
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    /// What is known of a container.
    pub fn status(&self, container: &str) -> Result<ContainerStatus, Failure> {
        let request = ContainerStatusRequest {
            container_id: container.to_owned(),
            verbose: false,
        };
        let answer: ContainerStatusResponse = call("ContainerStatus", &request)?;
        Ok(answer.status.unwrap_or_default())
    }

    /// Waits until a container has ended; what is known of it then.
    pub fn ended(&self, container: &str) -> Result<ContainerStatus, Failure> {
        wait_until("the container to end", || {
            Ok(self.status(container)?.state == messages::EXITED)
        })?;
        self.status(container)
    }

    /// Stops a container, with so many seconds between SIGTERM and SIGKILL.
    pub fn stop(&self, container: &str, grace: i64) -> Done {
        let request = StopContainerRequest {
            container_id: container.to_owned(),
            timeout: grace,
        };
        call::<Nothing>("StopContainer", &request)?;
        Ok(())
    }

    /// The process number of a container's or a pod's init, in the machine's numbers.
    pub fn pid(&self, container: &str) -> Result<i32, Failure> {
        let mut command = self.containerd.engine.command("ctr")?;
        command.args(["--address", SOCKET, "--namespace", "k8s.io", "tasks", "ls"]);
        let out = self.containerd.engine.test.runtime.finish(command)?;
        for line in out.success()?.lines() {
            let mut words = line.split_whitespace();
            if words.next() == Some(container) {
                return Ok(words.next().unwrap_or("").parse()?);
            }
        }
        Err(Failure::new(format!("no task {container}")))
    }
}

impl Pod {
    /// A container's usual configuration: this command in the usual image, namespaces as the pod has them.
    pub fn container_config(&self, name: &str, command: &[&str]) -> ContainerConfig {
        let linux = self.config.linux.clone().unwrap_or_default();
        let context = linux.security_context.unwrap_or_default();
        ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            image: Some(ImageSpec {
                image: BUSYBOX.to_owned(),
            }),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            log_path: format!("{name}.log"),
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources::default()),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: context.namespace_options,
                    ..Default::default()
                }),
            }),
            ..Default::default()
        }
    }

    /// Makes a container and starts it; its id.
    pub fn start(&self, config: ContainerConfig) -> Result<String, Failure> {
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let answer: Id = call("CreateContainer", &request)?;
        call::<Nothing>("StartContainer", &answer)?;
        Ok(answer.id)
    }

    /// Makes and starts a container of this name that runs this command.
    pub fn run(&self, name: &str, command: &[&str]) -> Result<String, Failure> {
        self.start(self.container_config(name, command))
    }

    /// What is known of the pod.
    pub fn status(&self) -> Result<PodSandboxStatus, Failure> {
        let question = Id {
            id: self.id.clone(),
        };
        let answer: PodSandboxStatusResponse = call("PodSandboxStatus", &question)?;
        Ok(answer.status.unwrap_or_default())
    }

    /// A container's log, as the plugin writes it: `TIME stdout F TEXT` for each line. Only the stream and the text are given.
    pub fn log(&self, name: &str) -> Result<Vec<String>, Failure> {
        let path = Path::new(&self.config.log_directory).join(format!("{name}.log"));
        let text = fs::read_to_string(path)?;
        let lines = text.lines().map(|line| {
            let mut words = line.splitn(4, ' ').skip(1);
            let stream = words.next().unwrap_or("");
            format!("{stream} {}", words.nth(1).unwrap_or(""))
        });
        Ok(lines.collect())
    }

    /// Stops the pod with all its containers and removes it; what the plugin keeps of it must be gone.
    pub fn end(self) -> Done {
        let question = Id {
            id: self.id.clone(),
        };
        call::<Nothing>("StopPodSandbox", &question)?;
        call::<Nothing>("RemovePodSandbox", &question)?;
        for kept in ["sandboxes", "containers"] {
            let dir = Path::new("/run/containerd/io.containerd.grpc.v1.cri").join(kept);
            if dir.join(&self.id).is_dir() {
                return Err(Failure::new(format!("{} keeps the pod", dir.display())));
            }
        }
        Ok(())
    }
}

/// The bridge's configuration.
fn network(dir: &Path) -> Done {
    let conf = dir.join("net.d");
    fs::create_dir_all(&conf)?;
    let network = json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "pods0",
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "dataDir": dir.join("leases"),
                "ranges": [[{"subnet": "10.88.0.0/16"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    Ok(fs::write(
        conf.join("10-pods.conflist"),
        network.to_string(),
    )?)
}

/// containerd's configuration. Lowering the score of the OOM killer is not everywhere allowed to root.
fn config(engine: &Engine<'_>, dir: &Path) -> Result<String, Failure> {
    let mut handler = match engine.door {
        Door::Runc | Door::Command => {
            let program = [(doc::PROGRAM, engine.runtime())];
            doc::block("A handler by the command", "toml", &program)?
        }
        Door::Shim => doc::block("A handler by the shim", "toml", &[])?,
    };
    if engine.test.driver == Driver::Systemd {
        handler.push_str(&systemd(engine.door, dir)?);
    }
    Ok(format!(
        "version = 2\nroot = '{0}/root'\nstate = '/run/containerd'\n\
         [plugins.'io.containerd.internal.v1.opt']\npath = '{0}/opt'\n\
         [plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = '{PAUSE}'\nrestrict_oom_score_adj = true\n\
         stream_server_address = '127.0.0.1'\nstream_server_port = '0'\n\
         [plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir = '/usr/lib/cni'\nconf_dir = '{0}/net.d'\n\
         [plugins.'io.containerd.grpc.v1.cri'.containerd]\ndefault_runtime_name = 'runc'\n\
         [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n\
         {handler}",
        dir.display()
    ))
}

/// What a handler's configuration goes on with where systemd makes the cgroups.
fn systemd(door: Door, dir: &Path) -> Result<String, Failure> {
    let option = "SystemdCgroup = true\n";
    if door != Door::Shim {
        return Ok(option.to_owned());
    }
    // containerd 1.6 hands options on by the name of a file alone, unless the runtime is runc's.
    let file = dir.join("shim.toml");
    fs::write(&file, option)?;
    Ok(format!(
        "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.{HANDLER}.options]\nConfigPath = '{}'\n",
        file.display()
    ))
}
