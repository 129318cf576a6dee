//! Docker Engine and its client: a dockerd of a case's own, configured by the lines of `docs/engines.md`, with a containerd that it starts itself.
//!
//! The default runtime is the door's. For the shim, dockerd finds it under the name of runc's, the only one that Docker 20.10 asks for.
//! Containers' cgroups are below the case's token. [`Docker::end`] takes everything away by the client and wants the machine as it was.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use serde_json::{Value, json};

use crate::case::{Done, Failure};
use crate::engine::daemon::Daemon;
use crate::engine::image::{self, Image};
use crate::engine::{Door, Engine, doc, shim_program};
use crate::leaks;
use crate::place::patience;
use crate::processes;
use crate::runtime::{Output, Running};
use crate::terminal::Terminal;

/// Where dockerd listens.
pub const SOCKET: &str = "unix:///run/docker.sock";

/// How long a call of the client may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How long something that dockerd does by itself may take: a restart, a health check.
const PATIENCE: Duration = Duration::from_secs(20);

/// What dockerd leaves in `/run`: sockets and directories of its own. Containers are looked for separately, in [`TASKS`].
const OWN_FILES: [&str; 5] = [
    "docker/containerd",
    "docker/netns",
    "docker/swarm",
    "docker/libnetwork",
    "docker/plugins",
];

/// Where dockerd's containerd keeps the bundle of each container.
const TASKS: &str = "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby";

/// A dockerd of a case's own.
#[derive(Debug)]
pub struct Docker<'e> {
    engine: &'e Engine<'e>,
    daemon: Daemon,
}

impl<'e> Docker<'e> {
    /// Starts it with the usual image.
    pub fn start(engine: &'e Engine<'e>) -> Result<Docker<'e>, Failure> {
        Docker::with_settings(engine, &json!({}))
    }

    /// Starts it with the usual image and more settings of `daemon.json`, by their names.
    pub fn with_settings(engine: &'e Engine<'e>, settings: &Value) -> Result<Docker<'e>, Failure> {
        let dir = engine.test.scratch("docker")?;
        let program = [(doc::PROGRAM, engine.runtime())];
        let mut config: Value = serde_json::from_str(&doc::block("Docker", "json", &program)?)?;
        config["data-root"] = dir.join("data").display().to_string().into();
        config["cgroup-parent"] = format!("/{}", engine.test.token).into();
        config["hosts"] = json!([SOCKET]);
        for (name, value) in settings.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        let file = dir.join("daemon.json");
        fs::write(&file, config.to_string())?;
        for name in OWN_FILES {
            engine.may_stay(name);
        }
        // Another client may come first in PATH.
        let client = engine.bin.join("docker");
        match symlink("/usr/bin/docker", client) {
            // A second daemon of the same case.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
        if engine.door == Door::Shim {
            let shim = shim_program(engine.test)?;
            let places = [
                (doc::SHIM, shim.as_path()),
                ("/usr/local/sbin", &engine.bin),
            ];
            let mut shell = Command::new("sh");
            shell.args(["-ec", &doc::block("Docker", "sh", &places)?]);
            engine.test.runtime.finish(shell)?.success()?;
        }
        let mut command = engine.command("dockerd")?;
        command.arg("--config-file").arg(file);
        let log = engine.test.dir.join("dockerd.log");
        let daemon = Daemon::start(command, &log, || answers(engine))?;
        let docker = Docker { engine, daemon };
        docker.load(&image::busybox(engine.test)?)?;
        Ok(docker)
    }

    /// The daemon, to be killed.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Starts it again after it was killed.
    pub fn restart(&mut self) -> Done {
        let engine = self.engine;
        self.daemon.start_again(|| answers(engine))
    }

    /// Brings an image in.
    pub fn load(&self, image: &Image) -> Done {
        let archive = image.archive.to_string_lossy();
        self.docker(&["load", "--quiet", "--input", &archive])?
            .success()?;
        fs::remove_file(&image.archive)?;
        Ok(())
    }

    /// The client with these words, not yet run.
    pub fn command(&self, words: &[&str]) -> Result<Command, Failure> {
        let mut command = client(self.engine)?;
        command.args(words);
        Ok(command)
    }

    /// The client with these words, run to its end.
    pub fn docker(&self, words: &[&str]) -> Result<Output, Failure> {
        self.spawn(words)?.wait(DEADLINE)
    }

    /// The client with these words, started.
    pub fn spawn(&self, words: &[&str]) -> Result<Running, Failure> {
        self.engine.test.runtime.spawn(self.command(words)?)
    }

    /// The client with these words on a terminal of 24 rows and 80 columns.
    pub fn at_terminal(&self, words: &[&str]) -> Result<Terminal, Failure> {
        Terminal::start(&self.command(words)?, 24, 80)
    }

    /// `docker run FLAGS IMAGE ARGS` with the usual image, to its end.
    pub fn run(&self, flags: &[&str], args: &[&str]) -> Result<Output, Failure> {
        self.docker(&[&["run"], flags, &[image::BUSYBOX], args].concat())
    }

    /// The same with `--rm`; what it prints, once it has exited with 0.
    pub fn prints(&self, flags: &[&str], args: &[&str]) -> Result<String, Failure> {
        let flags = [&["--rm"], flags].concat();
        Ok(self.run(&flags, args)?.success()?.stdout())
    }

    /// The same with `--detach` and this name.
    pub fn run_in_background(&self, name: &str, flags: &[&str], args: &[&str]) -> Done {
        let flags = [&["--detach", "--name", name], flags].concat();
        self.run(&flags, args)?.success()?;
        Ok(())
    }

    /// What `docker exec ID ARGS` prints, once it has exited with 0.
    pub fn exec(&self, name: &str, args: &[&str]) -> Result<String, Failure> {
        let words = [&["exec", name], args].concat();
        Ok(self.docker(&words)?.success()?.stdout())
    }

    /// What `docker inspect --format` makes of this template.
    pub fn inspect(&self, name: &str, template: &str) -> Result<String, Failure> {
        let out = self.docker(&["inspect", "--format", template, name])?;
        Ok(out.success()?.stdout().trim().to_owned())
    }

    /// Waits until `docker inspect --format` makes this of the template.
    pub fn wait_until(&self, name: &str, template: &str, wanted: &str) -> Done {
        let until = Instant::now() + patience(PATIENCE);
        loop {
            let found = self.inspect(name, template)?;
            if found == wanted {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Failure::new(format!(
                    "{name}: {template} is {found:?} and never became {wanted:?}"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process number of the container's init.
    pub fn pid(&self, name: &str) -> Result<i32, Failure> {
        Ok(self.inspect(name, "{{.State.Pid}}")?.parse()?)
    }

    /// The program that looks after the container: the parent of its init.
    pub fn shim_of(&self, name: &str) -> Result<PathBuf, Failure> {
        let parent = processes::stat(self.pid(name)?).map_or(0, |stat| stat.parent);
        Ok(fs::read_link(format!("/proc/{parent}/exe"))?)
    }

    /// A file of the container's cgroup, trimmed: `controller` is its hierarchy on cgroup v1.
    pub fn cgroup_file(&self, name: &str, controller: &str, file: &str) -> Result<String, Failure> {
        let id = self.inspect(name, "{{.Id}}")?;
        let path = PathBuf::from("/sys/fs/cgroup")
            .join(controller)
            .join(&self.engine.test.token)
            .join(id)
            .join(file);
        let text = fs::read_to_string(&path)
            .map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        Ok(text.trim().to_owned())
    }

    /// Removes every container by force and ends the daemon; fails if a container left something.
    pub fn end(self) -> Done {
        let ids = self.docker(&["ps", "--all", "--quiet"])?.success()?.lines();
        if !ids.is_empty() {
            let mut words = vec!["rm", "--force", "--volumes"];
            words.extend(ids.iter().map(String::as_str));
            self.docker(&words)?.success()?;
        }
        drop(self.daemon);
        let left: Vec<PathBuf> = fs::read_dir(TASKS)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        if !left.is_empty() {
            return Err(Failure::new(format!("left by containers: {left:?}")));
        }
        // The namespace of containers with the host's network, which dockerd keeps for the next one, and what one that was killed had mounted for itself.
        let data = self.engine.test.dir.join("docker/data");
        for point in leaks::mount_points()?.iter().rev().map(Path::new) {
            if point == Path::new("/run/docker/netns/default") || point == data {
                umount2(point, MntFlags::MNT_DETACH)?;
            }
        }
        Ok(())
    }
}

fn client(engine: &Engine<'_>) -> Result<Command, Failure> {
    let mut command = engine.command("docker")?;
    // The settings of whoever runs the tests stay out.
    command
        .arg("--config")
        .arg(engine.test.dir.join("docker-client"))
        .args(["--host", SOCKET]);
    Ok(command)
}

fn answers(engine: &Engine<'_>) -> Result<bool, Failure> {
    let mut command = client(engine)?;
    command.arg("version");
    Ok(engine.test.runtime.finish(command)?.code() == 0)
}
