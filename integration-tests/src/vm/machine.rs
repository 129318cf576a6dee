//! A machine that runs: qemu in software emulation, a directory with its sockets, and the programs of this build on its second disk.
//!
//! What the guest writes to its disks is thrown away with it, so any number of machines share one image.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{Flock, FlockArg};

use super::image::{self, Image};
use super::session::{Request, Session};
use super::{LAB, PORT_NAME, PORTS};
use crate::case::{Done, Failure};

/// How long a guest may take until it answers; 15 s are usual, and other machines may be busy on the same cores.
const BOOT: Duration = Duration::from_secs(240);
const IDLE: Duration = Duration::from_secs(3600);

const KERNEL: &str = "root=/dev/vda rw console=ttyS0 quiet loglevel=4 systemd.show_status=0 mitigations=off apparmor=1 security=apparmor \
    random.trust_cpu=on panic=-1";

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
            qemu: qemu(dir, &image, &lab, options.memory)?,
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
                    let request = Request::Run {
                        command: vec!["true".to_owned()],
                        as_user: false,
                        environment: Vec::new(),
                    };
                    let (mut out, mut err) = (std::io::sink(), std::io::sink());
                    session.call(&request, std::io::empty(), &mut out, &mut err, Some(until))
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        match answered {
            Ok(0) => {
                fs::write(self.dir.join("ready"), "")?;
                Ok(())
            }
            Ok(status) => Err(Failure::new(format!("the guest cannot run true: {status}"))),
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
    let mut monitor = UnixStream::connect(dir.join("monitor"))?;
    monitor.set_read_timeout(Some(Duration::from_secs(10)))?;
    monitor.write_all(b"quit\n")?;
    // It reads nothing from one who has gone already.
    let _ = monitor.read_to_end(&mut Vec::new());
    let until = Instant::now() + Duration::from_secs(10);
    while is_alive(dir) {
        if Instant::now() > until {
            return Err(Failure::new("the machine does not end"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The last lines of the guest's console.
pub fn console_tail(dir: &Path) -> String {
    let text = fs::read(dir.join("console.log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// A disk with the programs beside this one, and the runtime. They are stripped: the guest copies them often.
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
    if runtime.is_file() {
        put_program(runtime, &bin.join("garboard"))?;
    }
    let disk = dir.join("lab.img");
    image::finish(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
            .arg(&staging)
            .arg(&disk)
            .arg("1G"),
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

fn qemu(dir: &Path, image: &Image, lab: &Path, memory: u32) -> Result<Child, Failure> {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-machine", "q35", "-cpu", "max", "-smp", "2"])
        .args(["-accel", "tcg,thread=multi,tb-size=256"])
        .args(["-m", &format!("{memory}M")])
        .args(["-display", "none", "-vga", "none"])
        .arg("-kernel")
        .arg(&image.kernel)
        .arg("-initrd")
        .arg(&image.initrd)
        .args(["-append", KERNEL])
        .args(["-serial", &format!("file:{}/console.log", dir.display())])
        .args([
            "-monitor",
            &format!("unix:{}/monitor,server=on,wait=off", dir.display()),
        ])
        .args(["-device", "virtio-rng-pci"]);
    for (number, disk) in [&image.disk, &lab.to_owned()].into_iter().enumerate() {
        command
            .args([
                "-drive",
                &format!(
                    "id=disk{number},file={},if=none,format=raw,snapshot=on,cache=unsafe",
                    disk.display()
                ),
            ])
            .args(["-device", &format!("virtio-blk-pci,drive=disk{number}")]);
    }
    command.args([
        "-device",
        &format!("virtio-serial-pci,max_ports={}", PORTS + 1),
    ]);
    for port in 0..PORTS {
        command
            .args([
                "-chardev",
                &format!(
                    "socket,id=port{port},path={}/port{port},server=on,wait=off",
                    dir.display()
                ),
            ])
            .args([
                "-device",
                &format!("virtserialport,chardev=port{port},name={PORT_NAME}{port}"),
            ]);
    }
    let log = File::options()
        .append(true)
        .create(true)
        .open(dir.join("console.log"))?;
    command
        // Where qemu puts what the guest writes to its disks.
        .env("TMPDIR", dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    crate::sys::die_with_parent(&mut command);
    command.spawn().map_err(|error| {
        Failure::new(format!(
            "qemu-system-x86_64: {error}: `make packages` installs it"
        ))
    })
}

/// Where the guest has a program of the second disk.
pub fn in_lab(program: &str) -> String {
    format!("{LAB}/bin/{program}")
}
