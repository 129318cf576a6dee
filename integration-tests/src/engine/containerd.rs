//! containerd with its client `ctr`: a daemon at its usual place in the case's own `/run`, images and all else in the case's directory.
//!
//! Containers are in a namespace named after the case's token, so that their cgroups, which lie below that name, bear it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::case::{Done, Failure};
use crate::engine::daemon::Daemon;
use crate::engine::image::{self, Image};
use crate::engine::{Door, Engine};
use crate::place::Driver;
use crate::runtime::{Output, Running};

/// Where containerd listens, which is also where `ctr` and others look for it.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// The name of the runtime whose shim is `containerd-shim-garboard-v2`.
pub const SHIM_RUNTIME: &str = "io.containerd.garboard.v2";

/// How long a call of `ctr` may take that does not wait for a container.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A containerd of a case's own.
#[derive(Debug)]
pub struct Containerd<'e> {
    /// Where it runs.
    pub engine: &'e Engine<'e>,
    daemon: Daemon,
}

impl<'e> Containerd<'e> {
    /// Starts it with the usual image and without the CRI plugin.
    pub fn start(engine: &'e Engine<'e>) -> Result<Containerd<'e>, Failure> {
        let dir = engine.test.scratch("containerd")?;
        let config = format!(
            "version = 2\nroot = '{0}/root'\nstate = '/run/containerd'\n\
             disabled_plugins = ['io.containerd.grpc.v1.cri']\n\
             [plugins.'io.containerd.internal.v1.opt']\n  path = '{0}/opt'\n",
            dir.display()
        );
        let containerd = Containerd::with_config(engine, &config)?;
        containerd.import(&image::busybox(engine.test)?)?;
        Ok(containerd)
    }

    /// Starts it with this configuration, which must name `/run/containerd` as its state directory, and with no image.
    pub fn with_config(engine: &'e Engine<'e>, config: &str) -> Result<Containerd<'e>, Failure> {
        let dir = engine.test.scratch("containerd")?;
        let file = dir.join("config.toml");
        std::fs::write(&file, config)?;
        // The fifos are ctr's, which forgets those of a process that it does not wait for.
        for own in ["containerd.sock", "containerd.sock.ttrpc", "fifo"] {
            engine.may_stay(&format!("containerd/{own}"));
        }
        let mut command = engine.command("containerd")?;
        command.arg("--config").arg(file);
        let daemon = Daemon::start(command, &log(engine), || answers(engine))?;
        Ok(Containerd { engine, daemon })
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

    /// Who makes the cgroups.
    pub fn driver(&self) -> Driver {
        self.engine.test.driver
    }

    /// The end of containerd's log, for messages.
    pub fn said(&self) -> String {
        self.daemon.said()
    }

    /// Brings an image in and unpacks it.
    pub fn import(&self, image: &Image) -> Done {
        let archive = image.archive.to_string_lossy();
        self.ctr(&["images", "import", &archive])?.success()?;
        Ok(())
    }

    /// `ctr` with these words in the case's namespace, not yet run.
    pub fn command(&self, words: &[&str]) -> Result<Command, Failure> {
        let mut command = self.engine.command("ctr")?;
        command
            .args(["--address", SOCKET, "--namespace", &self.engine.test.token])
            .args(words);
        Ok(command)
    }

    /// `ctr` with these words, run to its end.
    pub fn ctr(&self, words: &[&str]) -> Result<Output, Failure> {
        self.spawn(words)?.wait(DEADLINE)
    }

    /// `ctr` with these words, started.
    pub fn spawn(&self, words: &[&str]) -> Result<Running, Failure> {
        self.engine.test.runtime.spawn(self.command(words)?)
    }

    /// The words of `ctr run FLAGS IMAGE ID ARGS` by the case's door, with the usual image.
    pub fn run_words(&self, flags: &[&str], id: &str, args: &[&str]) -> Vec<String> {
        let mut words = vec!["run".to_owned()];
        words.extend(self.door_flags());
        words.extend(flags.iter().map(|flag| (*flag).to_owned()));
        words.extend([image::BUSYBOX.to_owned(), id.to_owned()]);
        words.extend(args.iter().map(|arg| (*arg).to_owned()));
        words
    }

    /// `ctr run FLAGS IMAGE ID ARGS` by the case's door, to its end.
    pub fn run(&self, flags: &[&str], id: &str, args: &[&str]) -> Result<Output, Failure> {
        self.run_in_background(flags, id, args)?.wait(DEADLINE)
    }

    /// The same, started.
    pub fn run_in_background(
        &self,
        flags: &[&str],
        id: &str,
        args: &[&str],
    ) -> Result<Running, Failure> {
        let words = self.run_words(flags, id, args);
        self.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The flags of `ctr run` and `ctr containers create` that take the case's door.
    pub fn door_flags(&self) -> Vec<String> {
        match self.engine.door {
            Door::Runc | Door::Command => vec![
                "--runc-binary".to_owned(),
                self.engine.runtime().display().to_string(),
            ],
            Door::Shim => vec!["--runtime".to_owned(), SHIM_RUNTIME.to_owned()],
        }
    }

    /// The word that all names of this case bear, which is the namespace too.
    pub fn token(&self) -> String {
        self.engine.test.token.clone()
    }

    /// The directory of a task: bundle, log, address.
    pub fn bundle(&self, id: &str) -> PathBuf {
        Path::new("/run/containerd/io.containerd.runtime.v2.task")
            .join(&self.engine.test.token)
            .join(id)
    }
}

/// The value of `--mount` that shows a directory of the machine at `/host`.
pub fn bind_at_host(dir: &Path) -> String {
    format!("type=bind,src={},dst=/host,options=rbind:rw", dir.display())
}

fn log(engine: &Engine<'_>) -> PathBuf {
    engine.test.dir.join("containerd.log")
}

/// The socket is there before containerd serves, and after it was killed.
fn answers(engine: &Engine<'_>) -> Result<bool, Failure> {
    let mut command = engine.command("ctr")?;
    command.args(["--address", SOCKET, "--connect-timeout", "1s", "version"]);
    Ok(engine.test.runtime.finish(command)?.code() == 0)
}
