//! The container engines above a runtime: daemons of Debian's on directories and sockets of a case's own, with the runtime put in by one of its doors.
//!
//! An engine's case runs where every case does, in a process of its own that is the parent of every orphan, with a private mount namespace. On top of
//! that [`Engine::enter`] gives it a private `/run`, so that sockets and state at fixed paths are its own too, and a private network namespace. Engines that run
//! on the machine are neither used nor disturbed. What a case leaves is found as for every case, and by [`Engine::check`] in `/run`.

pub mod containerd;
pub mod cri;
pub mod daemon;
pub mod doc;
pub mod docker;
pub mod events;
pub mod image;
pub mod installed;
pub mod podman;
pub mod shim;
pub mod task;
pub mod task_api;

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use crate::case::{Done, Failure, Test};
use crate::place::HostMount;

/// What else an init system keeps in `/run` and is talked to by: shown in the private one.
const KEPT: [&str; 3] = ["systemd", "dbus", "udev"];

/// The way by which a runtime gets under an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Debian's runc by the stock shim or conmon: shows that a test is right.
    Runc,
    /// The runtime's command in runc's place.
    Command,
    /// The runtime's own containerd shim.
    Shim,
}

impl Door {
    /// As in the names of cases.
    pub const fn name(self) -> &'static str {
        match self {
            Door::Runc => "runc",
            Door::Command => "command",
            Door::Shim => "shim",
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Makes a list of cases from functions of the calling module that take an [`Engine`]: each by each of the doors named (`Runc`, `Command`, `Shim`).
/// A case is called `DOOR::MODULE::FUNCTION`.
#[macro_export]
macro_rules! engine_cases {
    ([$($door:ident),*] $functions:tt) => {
        [$($crate::engine_cases!(@ $door $functions)),*].concat()
    };
    (@ $door:ident ($($function:ident),* $(,)?)) => {
        vec![$($crate::case::Case {
            name: format!(
                "{}::{}::{}",
                $crate::engine::Door::$door,
                module_path!().rsplit("::").next().unwrap_or(""),
                stringify!($function)
            ),
            run: |t| $crate::engine::run(t, $crate::engine::Door::$door, $function),
        }),*]
    };
}

/// Runs one case and looks at what it left.
pub fn run(test: &Test, door: Door, case: fn(&Engine<'_>) -> Done) -> Done {
    let engine = Engine::enter(test, door)?;
    case(&engine)?;
    engine.check()
}

/// Surroundings in which engines run.
#[derive(Debug)]
pub struct Engine<'t> {
    /// The case: its directory and its token are used for all that is made.
    pub test: &'t Test,
    /// The way by which the runtime gets in.
    pub door: Door,
    /// A directory that is the first on [`Engine::path`].
    pub bin: PathBuf,
    may_stay: RefCell<Vec<String>>,
    _mounts: Vec<HostMount>,
}

impl<'t> Engine<'t> {
    /// Gives the calling process its own `/run` and its own network, in which only the loopback device is.
    pub fn enter(test: &'t Test, door: Door) -> Result<Engine<'t>, Failure> {
        let run = test.dir.join("run");
        let mut mounts = vec![HostMount::tmpfs(&run)?];
        for name in KEPT {
            let source = Path::new("/run").join(name);
            if source.is_dir() {
                mounts.push(HostMount::bind(&source, &run.join(name))?);
            }
        }
        fs::create_dir_all(run.join("lock"))?;
        mounts.push(HostMount::bind(&run, Path::new("/run"))?);
        mounts.reverse();
        unshare(CloneFlags::CLONE_NEWNET)?;
        test.runtime
            .finish(busybox(["ifconfig", "lo", "127.0.0.1", "up"]))?
            .success()?;
        let bin = test.scratch("bin")?;
        if door == Door::Shim {
            let shim = shim_program(test)?;
            std::os::unix::fs::symlink(shim, bin.join("containerd-shim-garboard-v2"))?;
        }
        Ok(Engine {
            test,
            door,
            bin,
            may_stay: RefCell::new(KEPT.map(str::to_owned).to_vec()),
            _mounts: mounts,
        })
    }

    /// The runtime's command that this door leads to.
    pub fn runtime(&self) -> &Path {
        match self.door {
            Door::Runc => Path::new("/usr/sbin/runc"),
            Door::Command | Door::Shim => &self.test.runtime.program,
        }
    }

    /// What `PATH` is for an engine: programs of the case come before those of the machine.
    pub fn path(&self) -> String {
        format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.bin.display()
        )
    }

    /// A command in an engine's environment; skips the case if the machine has no such program.
    pub fn command(&self, program: &str) -> Result<Command, Failure> {
        let path = self.path();
        let found = path
            .split(':')
            .map(|dir| Path::new(dir).join(program))
            .find(|path| path.is_file())
            .ok_or_else(|| Failure::skip(format!("needs the program {program}")))?;
        let mut command = Command::new(found);
        command
            .env("PATH", path)
            .env("HOME", &self.test.dir)
            .stdin(std::process::Stdio::null());
        for name in ["DOCKER_HOST", "CONTAINERD_ADDRESS", "CONTAINERD_NAMESPACE"] {
            command.env_remove(name);
        }
        Ok(command)
    }

    /// Says that an engine itself leaves what is called so below `/run`: a path relative to it, which stands for all below it too.
    pub fn may_stay(&self, path: &str) {
        self.may_stay.borrow_mut().push(path.to_owned());
    }

    /// Fails if a file is left in `/run`, or a directory that an engine did not make for itself: one that bears the name of a container lies
    /// deeper than the third level, in every engine.
    pub fn check(&self) -> Done {
        let mut left = Vec::new();
        self.look(Path::new("/run"), 0, &mut left)?;
        if left.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("left in /run: {}", left.join(", "))))
    }

    fn look(&self, dir: &Path, depth: usize, left: &mut Vec<String>) -> Done {
        for entry in fs::read_dir(dir)?.flatten() {
            let path = entry.path();
            let below = path.strip_prefix("/run").unwrap_or(&path);
            if self
                .may_stay
                .borrow()
                .iter()
                .any(|name| below.starts_with(name))
            {
                continue;
            }
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_dir || depth >= 3 {
                left.push(path.display().to_string());
            } else {
                self.look(&path, depth + 1, left)?;
            }
        }
        Ok(())
    }
}

fn busybox<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new("/bin/busybox");
    command.args(args);
    command
}

/// The shim to judge: `$GARBOARD_TEST_SHIM`, or `containerd-shim-garboard-v2` beside the runtime's command.
pub fn shim_program(test: &Test) -> Result<PathBuf, Failure> {
    let program = match std::env::var_os("GARBOARD_TEST_SHIM") {
        Some(path) => PathBuf::from(path),
        None => test
            .runtime
            .program
            .with_file_name("containerd-shim-garboard-v2"),
    };
    if program.is_file() {
        Ok(std::path::absolute(program)?)
    } else {
        Err(Failure::new(format!(
            "no shim at {}: build it, or set GARBOARD_TEST_SHIM",
            program.display()
        )))
    }
}
