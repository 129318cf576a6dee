//! A machine that runs: qemu in software emulation, a directory with its sockets, and the programs of this build on its second disk.
//!
//! What the guest writes to its disks is thrown away with it, so any number of machines share one image.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{Flock, FlockArg};

use super::LAB;
use super::image::{self, Image};
use super::qemu::{self, Launch};
use super::session::{Request, Session};
use crate::case::{Done, Failure};

/// How long a guest may take until it answers; 15 s are usual, and other machines may be busy on the same cores.
const BOOT: Duration = Duration::from_secs(240);
/// The memory, in MiB, of the machine whose state is saved with the image. With another a machine boots.
pub const MEMORY: u32 = 2048;
/// The size of the second disk.
const LAB_BYTES: u64 = 1 << 30;
const SHIM: &str = "containerd-shim-garboard-v2";
/// Names the package, which becomes `/lab/garboard.deb`.
const PACKAGE: &str = "GARBOARD_TEST_DEB";
const IDLE: Duration = Duration::from_secs(3600);

/// What a machine is given.
#[derive(Debug, Clone)]
pub struct Options {
    /// Memory of the guest in MiB.
    pub memory: u32,
    /// The runtime to judge, which becomes `/lab/bin/garboard`.
    pub runtime: PathBuf,
}

/// A machine that this process started. It is killed and its directory is removed when dropped.
#[derive(Debug)]
pub struct Machine {
    /// Where its sockets are.
    pub dir: PathBuf,
    qemu: Child,
    _alive: Flock<File>,
}

/// Where the machine of this name has its directory.
pub fn directory(name: &str) -> Result<PathBuf, Failure> {
    Ok(image::cache()?.join("run").join(name))
}

/// Removes the directories of machines whose keepers were killed. One that is just being made has no lock to look at yet.
fn remove_dead(all: &Path) -> Done {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        if entry.path().join("alive").is_file() && !is_alive(&entry.path()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Whether somebody runs a machine at `dir`.
pub fn is_alive(dir: &Path) -> bool {
    File::options()
        .append(true)
        .open(dir.join("alive"))
        .is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err())
}

impl Machine {
    /// Starts a machine at `dir`, which must not be another one's, and waits until it answers.
    pub fn start(dir: &Path, options: &Options) -> Result<Machine, Failure> {
        let image = image::get()?;
        if is_alive(dir) {
            return Err(Failure::new("the machine runs already"));
        }
        remove_dead(dir.parent().unwrap_or(dir))?;
        if dir.is_dir() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        let alive = File::options()
            .append(true)
            .create(true)
            .open(dir.join("alive"))?;
        let alive =
            Flock::lock(alive, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        let lab = lab_disk(dir, &options.runtime)?;
        let mut machine = Machine {
            dir: dir.to_owned(),
            qemu: Launch {
                dir,
                image: &image,
                lab: &lab,
                memory: options.memory,
                keep_writes: false,
                state: (options.memory == MEMORY).then_some(image.state.as_path()),
            }
            .spawn()?,
            _alive: alive,
        };
        machine.await_answer()?;
        Ok(machine)
    }

    fn await_answer(&mut self) -> Done {
        let until = Instant::now() + BOOT;
        let answered = loop {
            if let Some(status) = self.qemu.try_wait()? {
                break Err(Failure::new(format!("qemu has ended: {status}")));
            }
            if self.dir.join("port0").try_exists()? {
                break Session::open(&self.dir, until).and_then(|session| {
                    // A saved state has the clock of its day.
                    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
                    let now = format!("@{}.{:03}", now.as_secs(), now.subsec_millis());
                    let request = Request::Run {
                        command: ["date", "--set", &now].map(str::to_owned).to_vec(),
                        as_user: false,
                        environment: Vec::new(),
                    };
                    let (mut out, mut err) = (std::io::sink(), std::io::sink());
                    session.call(&request, std::io::empty(), &mut out, &mut err, Some(BOOT))
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        match answered {
            Ok(0) => {
                fs::write(self.dir.join("ready"), "")?;
                Ok(())
            }
            Ok(status) => Err(Failure::new(format!("the guest cannot run date: {status}"))),
            Err(failure) => Err(Failure::new(format!(
                "{failure}\n{}",
                console_tail(&self.dir)
            ))),
        }
    }

    /// Stays until the machine ends, or until nobody has called it for an hour.
    pub fn keep(mut self) -> Done {
        while self.qemu.try_wait()?.is_none() {
            let used = fs::metadata(self.dir.join("used")).and_then(|found| found.modified());
            let idle = used.is_ok_and(|used| {
                SystemTime::now()
                    .duration_since(used)
                    .is_ok_and(|age| age > IDLE)
            });
            if idle && !Session::any_open(&self.dir) {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself; a directory that stays is removed by the next machine of this name.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Ends the machine at `dir`, which another process keeps, by its monitor.
pub fn stop(dir: &Path) -> Done {
    if !is_alive(dir) {
        return Err(Failure::new("no machine runs"));
    }
    qemu::tell(dir, "quit")?;
    let until = Instant::now() + Duration::from_secs(10);
    while is_alive(dir) {
        if Instant::now() > until {
            return Err(Failure::new("the machine does not end"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Boots an image that is being made, in the empty directory `dir`, with a second disk that is empty yet, and saves the state in which it waits for one.
pub fn save(dir: &Path, image: &Image) -> Done {
    let lab = dir.join("lab.img");
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&lab)?
        .set_len(LAB_BYTES)?;
    let mut qemu = Launch {
        dir,
        image,
        lab: &lab,
        memory: MEMORY,
        keep_writes: true,
        state: None,
    }
    .spawn()?;
    let saved = await_ready(dir, &mut qemu).and_then(|()| {
        qemu::tell(dir, "migrate_set_parameter max-bandwidth 10G")?;
        let target = image.state.display();
        qemu::tell(dir, &format!("migrate \"exec:cat > '{target}'\""))?;
        qemu::tell(dir, "quit")
    });
    if saved.is_err() {
        let _ = qemu.kill();
    }
    qemu.wait()?;
    saved.map_err(|failure| Failure::new(format!("{failure}\n{}", console_tail(dir))))
}

fn await_ready(dir: &Path, qemu: &mut Child) -> Done {
    let until = Instant::now() + BOOT;
    while !console_tail(dir).contains(image::READY) {
        if let Some(status) = qemu.try_wait()? {
            return Err(Failure::new(format!("qemu has ended: {status}")));
        }
        if Instant::now() > until {
            return Err(Failure::new("the guest does not come up"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// The last lines of the guest's console, and what qemu says.
pub fn console_tail(dir: &Path) -> String {
    let mut lines = Vec::new();
    for file in ["console.log", "qemu.log"] {
        let text = fs::read(dir.join(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.split_off(lines.len().saturating_sub(30)).join("\n")
}

/// The shim of this runtime: `$GARBOARD_TEST_SHIM`, or the one beside it.
fn shim(runtime: &Path) -> PathBuf {
    std::env::var_os("GARBOARD_TEST_SHIM")
        .map_or_else(|| runtime.with_file_name(SHIM), PathBuf::from)
}

/// A disk with the programs beside this one, the runtime and its shim, and the package to install if there is one. The programs are stripped: the guest
/// copies them often.
fn lab_disk(dir: &Path, runtime: &Path) -> Result<PathBuf, Failure> {
    let staging = dir.join("lab");
    let bin = staging.join("bin");
    fs::create_dir_all(&bin)?;
    let own = std::env::current_exe()?;
    let beside = own.parent().unwrap_or(Path::new("/"));
    for entry in fs::read_dir(beside)?.flatten() {
        let found = fs::metadata(entry.path())?;
        if found.is_file()
            && found.permissions().mode() & 0o111 != 0
            && entry.path().extension().is_none()
        {
            put_program(&entry.path(), &bin.join(entry.file_name()))?;
        }
    }
    for (program, name) in [(runtime.to_owned(), "garboard"), (shim(runtime), SHIM)] {
        if program.is_file() {
            put_program(&program, &bin.join(name))?;
        }
    }
    if let Some(package) = std::env::var_os(PACKAGE) {
        fs::copy(&package, staging.join("garboard.deb"))
            .map_err(|error| Failure::new(format!("{}: {error}", Path::new(&package).display())))?;
    }
    let disk = dir.join("lab.img");
    image::finish(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
            .arg(&staging)
            .arg(&disk)
            .arg(format!("{}", LAB_BYTES / 1024)),
    )?;
    fs::remove_dir_all(staging)?;
    Ok(disk)
}

fn put_program(from: &Path, to: &Path) -> Done {
    if image::finish(Command::new("strip").arg("-o").arg(to).arg(from)).is_err() {
        fs::copy(from, to)?;
    }
    Ok(())
}

/// The file at `path`; a program without what only a debugger wants, made at `copy` if need be.
pub fn stripped(path: &Path, copy: &Path) -> Result<File, Failure> {
    let copy = copy.with_extension(std::process::id().to_string());
    let made = image::finish(Command::new("strip").arg("-o").arg(&copy).arg(path));
    let opened = File::open(if made.is_ok() { &copy } else { path })?;
    // Held by its descriptor.
    let _ = fs::remove_file(&copy);
    Ok(opened)
}

/// Where the guest has a program of the second disk.
pub fn in_lab(program: &str) -> String {
    format!("{LAB}/bin/{program}")
}
