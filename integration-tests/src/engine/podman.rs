//! Podman and Buildah: no daemon, but storage of a case's own, and the lines of `docs/engines.md` as their configuration.
//!
//! As root, or as an ordinary user that only the case's mount namespace knows, with subordinate ids.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use crate::case::{Done, Failure};
use crate::cgroups;
use crate::engine::image::{self, Image};
use crate::engine::{Engine, doc};
use crate::leaks;
use crate::place::{HostMount, patience};
use crate::processes;
use crate::rootfs::Rootfs;
use crate::runtime::{Output, Running};
use crate::terminal::Terminal;

/// How long a call may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The user of the rootless cases: a number that no machine gives away by itself.
const USER: u32 = 52_000;
const NAME: &str = "garboard-test";

/// The image of the container that holds a pod's namespaces.
pub const PAUSE: &str = "localhost/pause:latest";

/// Podman with its storage.
#[derive(Debug)]
pub struct Podman<'e> {
    engine: &'e Engine<'e>,
    config: PathBuf,
    storage: PathBuf,
    home: PathBuf,
    user: bool,
    _mounts: Vec<HostMount>,
}

impl<'e> Podman<'e> {
    /// As root, with the usual image.
    pub fn start(engine: &'e Engine<'e>) -> Result<Podman<'e>, Failure> {
        Podman::with(engine, engine.test.dir.clone(), false, Vec::new())
    }

    /// As an ordinary user, with the usual image.
    pub fn rootless(engine: &'e Engine<'e>) -> Result<Podman<'e>, Failure> {
        let home = engine.test.scratch("home")?;
        let runtime_dir = PathBuf::from(format!("/run/user/{USER}"));
        fs::create_dir_all(&runtime_dir)?;
        for dir in [&home, &runtime_dir] {
            chown(dir, Some(USER), Some(USER))?;
        }
        engine.may_stay(&format!("user/{USER}/containers"));
        engine.may_stay(&format!("user/{USER}/libpod"));
        engine.may_stay(&format!("user/{USER}/netns"));
        let line = format!("{NAME}:x:{USER}:{USER}::{}:/bin/sh\n", home.display());
        let mounts = vec![
            with_line(engine, "/etc/passwd", &line)?,
            with_line(engine, "/etc/group", &format!("{NAME}:x:{USER}:\n"))?,
            with_line(engine, "/etc/subuid", &format!("{NAME}:5200000:65536\n"))?,
            with_line(engine, "/etc/subgid", &format!("{NAME}:5200000:65536\n"))?,
            tun(&home)?,
        ];
        Podman::with(engine, home, true, mounts)
    }

    fn with(
        engine: &'e Engine<'e>,
        home: PathBuf,
        user: bool,
        mounts: Vec<HostMount>,
    ) -> Result<Podman<'e>, Failure> {
        for name in ["containers", "libpod", "netns", "crun"] {
            engine.may_stay(name);
        }
        let dir = engine.test.scratch("podman")?;
        let podman = Podman {
            engine,
            config: dir.join("containers.conf"),
            storage: dir.join("storage.conf"),
            home,
            user,
            _mounts: mounts,
        };
        podman.configure(&dir)?;
        podman.load(&image::busybox(engine.test)?)?;
        let pause = json!({"Entrypoint": ["/bin/sleep", "1000"]});
        let pause = image::build(engine.test, PAUSE, &Rootfs::default(), pause)?;
        podman.load(&pause)?;
        Ok(podman)
    }

    /// The lines of the document, and what a machine without systemd, without the right to raise limits and without a registry needs.
    fn configure(&self, dir: &Path) -> Done {
        let program = [(doc::PROGRAM, self.engine.runtime())];
        let lines = doc::block("Podman and Buildah", "toml", &program)?;
        let engine = format!(
            "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
             infra_image = \"{PAUSE}\"\n"
        );
        let others = format!(
            "\n[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
             \n[network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"{}\"\n",
            self.home.join("networks").display()
        );
        fs::write(
            &self.config,
            lines.replacen("[engine]\n", &engine, 1) + &others,
        )?;
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/containers/storage\"\ngraphroot = \"{}/storage\"\n",
            dir.display()
        );
        Ok(fs::write(&self.storage, storage)?)
    }

    /// Brings an image in.
    pub fn load(&self, image: &Image) -> Done {
        let archive = image.archive.to_string_lossy();
        self.podman(&["load", "--quiet", "--input", &archive])?
            .success()?;
        Ok(())
    }

    /// A program in Podman's surroundings, as its user.
    pub fn program(&self, name: &str) -> Result<Command, Failure> {
        let mut command = self.engine.command(name)?;
        if self.user {
            let found = command.get_program().to_owned();
            let path = self.engine.path();
            command = Command::new("setpriv");
            command
                .args(["--clear-groups", "--inh-caps=-all"])
                .arg(format!("--reuid={USER}"))
                .arg(format!("--regid={USER}"))
                .arg(found)
                .env_clear()
                .env("PATH", path)
                .env("USER", NAME)
                .env("XDG_RUNTIME_DIR", format!("/run/user/{USER}"))
                .stdin(std::process::Stdio::null());
        } else {
            command.env("CONTAINERS_STORAGE_CONF", &self.storage);
        }
        command
            .env("HOME", &self.home)
            .env("CONTAINERS_CONF", &self.config)
            .current_dir(&self.home);
        Ok(command)
    }

    /// `podman` with these words, not yet run.
    pub fn command(&self, words: &[&str]) -> Result<Command, Failure> {
        let mut command = self.program("podman")?;
        command.args(words);
        Ok(command)
    }

    /// `podman` with these words, started.
    pub fn spawn(&self, words: &[&str]) -> Result<Running, Failure> {
        self.engine.test.runtime.spawn(self.command(words)?)
    }

    /// `podman` with these words, to its end.
    pub fn podman(&self, words: &[&str]) -> Result<Output, Failure> {
        self.spawn(words)?.wait(DEADLINE)
    }

    /// `podman` with these words on a terminal of 24 rows and 80 columns.
    pub fn at_terminal(&self, words: &[&str]) -> Result<Terminal, Failure> {
        Terminal::start(&self.command(words)?, 24, 80)
    }

    /// The flag that puts a container or a pod below the case's cgroup. A user has none on cgroup v1.
    pub fn cgroup_parent(&self) -> String {
        format!("--cgroup-parent=/{}", self.engine.test.token)
    }

    /// `podman run FLAGS IMAGE ARGS` with the usual image, to its end.
    pub fn run(&self, flags: &[&str], args: &[&str]) -> Result<Output, Failure> {
        let parent = self.cgroup_parent();
        let mut words = vec!["run"];
        words.extend((!self.user).then_some(parent.as_str()));
        words.extend(flags);
        words.push(image::BUSYBOX);
        words.extend(args);
        self.podman(&words)
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

    /// What `podman exec NAME ARGS` prints, once it has exited with 0.
    pub fn exec(&self, name: &str, args: &[&str]) -> Result<String, Failure> {
        let words = [&["exec", name], args].concat();
        Ok(self.podman(&words)?.success()?.stdout())
    }

    /// What `podman inspect --format` makes of this template.
    pub fn inspect(&self, name: &str, template: &str) -> Result<String, Failure> {
        let out = self.podman(&["inspect", "--format", template, name])?;
        Ok(out.success()?.stdout().trim().to_owned())
    }

    /// The process number of the container's init.
    pub fn pid(&self, name: &str) -> Result<i32, Failure> {
        Ok(self.inspect(name, "{{.State.Pid}}")?.parse()?)
    }

    /// Removes every pod and container, and for a user the process that keeps the user namespace.
    pub fn end(self) -> Done {
        self.podman(&["pod", "rm", "--all", "--force", "--time", "0"])?
            .success()?;
        self.podman(&["rm", "--all", "--force", "--time", "0", "--volumes"])?
            .success()?;
        if self.user {
            self.podman(&["system", "migrate"])?.success()?;
        }
        self.wait_for_the_end()?;
        // Where Podman puts conmon, and does not clean up; and a mount of the storage on itself, which two that end at once leave.
        for top in cgroups::hierarchies()? {
            let _ = fs::remove_dir(top.join(&self.engine.test.token).join("conmon"));
        }
        let own = self.storage.with_file_name("storage").join("overlay");
        if leaks::mount_points()?
            .iter()
            .any(|point| own == Path::new(point))
        {
            umount2(&own, MntFlags::MNT_DETACH)?;
        }
        Ok(())
    }

    /// conmon and the `podman container cleanup` that it starts go on after a container is removed.
    fn wait_for_the_end(&self) -> Done {
        let until = Instant::now() + patience(DEADLINE);
        loop {
            processes::reap();
            let left = processes::descendants();
            let Some(one) = left.first() else {
                return Ok(());
            };
            if Instant::now() > until {
                let line = processes::command_line(one.pid);
                return Err(Failure::new(format!("it never ends: {} {line}", one.comm)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// `/dev/net/tun`, open to everybody as udev has it: slirp4netns needs it.
fn tun(dir: &Path) -> Result<HostMount, Failure> {
    let node = dir.join("tun");
    mknod(&node, SFlag::S_IFCHR, Mode::empty(), makedev(10, 200))?;
    fs::set_permissions(&node, fs::Permissions::from_mode(0o666))?;
    HostMount::over(&node, Path::new("/dev/net/tun"))
}

/// The file with this line at its end, in the case's mount namespace.
fn with_line(engine: &Engine<'_>, file: &str, line: &str) -> Result<HostMount, Failure> {
    let file = Path::new(file);
    let copy = engine
        .test
        .scratch("etc")?
        .join(file.file_name().unwrap_or_default());
    let text = fs::read_to_string(file)?;
    fs::write(&copy, text + line)?;
    HostMount::over(&copy, file)
}
