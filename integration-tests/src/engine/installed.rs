//! The package on a whole system: the guest's own, with engines that its systemd starts from their units, as on a user's machine.
//!
//! Nothing is private here. The package goes into the guest's root filesystem, the engines have their usual directories and sockets, and commands run in
//! the mount namespace of the guest's init. So such cases do not run beside others (`--jobs 1`), and what they have made is taken away by
//! [`Installed`]'s drop; what an engine keeps for itself below `/var/lib` goes with the guest.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::case::{Done, Failure, Test};
use crate::cgroups;
use crate::engine::image;
use crate::place::Place;
use crate::runtime::{Output, Running};
use crate::vm::USER;

/// Where the guest finds the package: see [`machine`](crate::vm::machine).
const PACKAGE: &str = "/lab/garboard.deb";
/// Longer than any one call of an engine takes there, times what the guest is given anyway.
const DEADLINE: Duration = Duration::from_secs(60);

/// The package, installed.
#[derive(Debug)]
pub struct Installed<'t> {
    test: &'t Test,
    /// A directory that the whole system sees.
    pub dir: PathBuf,
    mounts: Vec<String>,
    units: RefCell<Vec<String>>,
    files: RefCell<Vec<PathBuf>>,
}

impl<'t> Installed<'t> {
    /// Installs it, manual pages included, which the guest's dpkg is told to leave out.
    pub fn new(test: &'t Test) -> Result<Installed<'t>, Failure> {
        test.only_at(Place::Vm)?;
        if !Path::new(PACKAGE).is_file() {
            return Err(Failure::skip("needs the package: GARBOARD_TEST_DEB"));
        }
        let dir = Path::new("/var/tmp").join(&test.token);
        fs::create_dir_all(&dir)?;
        let installed = Installed {
            test,
            dir,
            mounts: mounts_of_init()?,
            units: RefCell::default(),
            files: RefCell::default(),
        };
        installed.dpkg("--install")?;
        Ok(installed)
    }

    /// `dpkg ACTION`, of the file or of the package.
    pub fn dpkg(&self, action: &str) -> Done {
        let what = if action == "--install" {
            PACKAGE
        } else {
            "garboard"
        };
        self.root(&["dpkg", "--path-include=/usr/share/man/*", action, what])?;
        Ok(())
    }

    /// What a command says that root runs and that must not fail, without the last newline.
    pub fn root(&self, words: &[&str]) -> Result<String, Failure> {
        said(self.spawn(on_the_system(words))?.wait(DEADLINE)?)
    }

    /// The same as the guest's ordinary user, with a session's environment.
    pub fn user(&self, words: &[&str]) -> Result<String, Failure> {
        let become_user = [
            "setpriv",
            "--reuid",
            USER,
            "--regid",
            USER,
            "--init-groups",
            "--",
        ];
        let mut command = on_the_system(&[&become_user, words].concat());
        command
            .env("HOME", format!("/home/{USER}"))
            .env("USER", USER)
            .env("XDG_RUNTIME_DIR", "/run/user/1000")
            .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus");
        said(self.spawn(command)?.wait(DEADLINE)?)
    }

    /// A command that root runs, to its end, however it ends.
    pub fn try_root(&self, words: &[&str]) -> Result<Output, Failure> {
        self.spawn(on_the_system(words))?.wait(DEADLINE)
    }

    fn spawn(&self, command: Command) -> Result<Running, Failure> {
        self.test.runtime.spawn(command)
    }

    /// Starts a unit, which is stopped at the end.
    pub fn start(&self, unit: &str) -> Done {
        self.units.borrow_mut().push(unit.to_owned());
        let status = self.try_root(&["systemctl", "start", unit])?;
        if status.code() == 0 {
            return Ok(());
        }
        let log = self.root(&["journalctl", "--unit", unit, "--lines=20", "--no-pager"])?;
        Err(Failure::new(format!("{unit} does not start:\n{log}")))
    }

    /// Writes a file of the system's configuration, which is removed at the end.
    pub fn configure(&self, path: &str, text: &str) -> Done {
        let path = PathBuf::from(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        self.files.borrow_mut().push(path);
        Ok(())
    }

    /// An archive with the usual image, for everybody to read.
    pub fn image(&self) -> Result<String, Failure> {
        let path = self.dir.join("busybox.tar");
        fs::copy(image::busybox(self.test)?.archive, &path)?;
        Ok(path.to_string_lossy().into_owned())
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        // Whatever fails here goes with the guest; a mount that stays is found by the runner.
        for unit in self.units.take().iter().rev() {
            let _ = self.try_root(&["systemctl", "stop", unit]);
        }
        for path in self.files.take() {
            let _ = fs::remove_file(path);
        }
        let _ = self.dpkg("--purge");
        for point in mounts_of_init().into_iter().flatten().rev() {
            if !self.mounts.contains(&point) {
                let _ = self.try_root(&["umount", "--lazy", &point]);
            }
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// In the mount namespace of the guest's init.
fn on_the_system(words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args(["--target", "1", "--mount", "--"])
        .args(words)
        .current_dir("/")
        .env_clear()
        .env("HOME", "/root")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(Stdio::null());
    command
}

fn said(output: Output) -> Result<String, Failure> {
    Ok(output.success()?.stdout().trim_end().to_owned())
}

fn mounts_of_init() -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string("/proc/1/mountinfo")?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points.map(str::to_owned).collect())
}

/// The cgroup of a process as `/proc` names it, and what a file of it says, without the newline.
pub fn control(pid: i32, file: &str) -> Result<(String, String), Failure> {
    let path = cgroups::of_process(pid, "")?.to_string_lossy().into_owned();
    let file = Path::new("/sys/fs/cgroup")
        .join(path.trim_start_matches('/'))
        .join(file);
    let text = fs::read_to_string(&file)
        .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    Ok((path, text.trim_end().to_owned()))
}
