//! The command line of qemu and its monitor: one set of devices for every machine, so that a saved state fits each of them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::image::Image;
use super::{PORT_NAME, PORTS};
use crate::case::{Done, Failure};

const PROGRAM: &str = "qemu-system-x86_64";
const KERNEL: &str = "root=/dev/vda rw console=ttyS0 quiet loglevel=4 systemd.show_status=0 mitigations=off apparmor=1 security=apparmor \
    random.trust_cpu=on panic=-1";

/// What differs from machine to machine.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Where the sockets, the console and what the guest writes go.
    pub dir: &'a Path,
    /// The root disk and what boots it.
    pub image: &'a Image,
    /// The second disk.
    pub lab: &'a Path,
    /// Memory of the guest in MiB.
    pub memory: u32,
    /// Write to the root disk itself: only while the image is being made.
    pub keep_writes: bool,
    /// Go on from this state instead of booting.
    pub state: Option<&'a Path>,
}

/// What `qemu --version` says first: a saved state is for one version.
pub fn version() -> Result<String, Failure> {
    let out = Command::new(PROGRAM)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(missing)?;
    let text = String::from_utf8_lossy(&out.stdout);
    Ok(text.lines().next().unwrap_or("").to_owned())
}

fn missing(error: std::io::Error) -> Failure {
    Failure::new(format!("{PROGRAM}: {error}: `make packages` installs it"))
}

impl Launch<'_> {
    /// Starts qemu, which ends when the calling thread does.
    pub fn spawn(&self) -> Result<Child, Failure> {
        let dir = self.dir.display();
        let mut command = Command::new(PROGRAM);
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-machine", "q35", "-cpu", "max", "-smp", "2"])
            .args(["-accel", "tcg,thread=multi,tb-size=256"])
            .args(["-m", &format!("{}M", self.memory)])
            .args(["-display", "none", "-vga", "none"])
            .arg("-kernel")
            .arg(&self.image.kernel)
            .arg("-initrd")
            .arg(&self.image.initrd)
            .args(["-append", KERNEL])
            .args(["-serial", &format!("file:{dir}/console.log")])
            .args([
                "-monitor",
                &format!("unix:{dir}/monitor,server=on,wait=off"),
            ])
            .args(["-device", "virtio-rng-pci"]);
        let disks = [
            (self.image.disk.as_path(), self.keep_writes),
            (self.lab, false),
        ];
        for (number, (disk, keep)) in disks.into_iter().enumerate() {
            let (disk, snapshot) = (disk.display(), if keep { "off" } else { "on" });
            let drive = format!(
                "id=disk{number},file={disk},if=none,format=raw,snapshot={snapshot},cache=unsafe"
            );
            command
                .args(["-drive", &drive])
                .args(["-device", &format!("virtio-blk-pci,drive=disk{number}")]);
        }
        let serial = format!("virtio-serial-pci,max_ports={}", PORTS + 1);
        command.args(["-device", &serial]);
        for port in 0..PORTS {
            let socket = format!("socket,id=port{port},path={dir}/port{port},server=on,wait=off");
            let device = format!("virtserialport,chardev=port{port},name={PORT_NAME}{port}");
            command
                .args(["-chardev", &socket])
                .args(["-device", &device]);
        }
        if let Some(state) = self.state {
            command.args(["-incoming", &format!("exec:cat '{}'", state.display())]);
        }
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.dir.join("qemu.log"))?;
        command
            // Where qemu puts what the guest writes to its disks.
            .env("TMPDIR", self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        crate::sys::die_with_parent(&mut command);
        command.spawn().map_err(missing)
    }
}

/// Gives the monitor of the machine at `dir` a line and waits for qemu's end, or for the next prompt.
pub fn tell(dir: &Path, line: &str) -> Done {
    const PROMPT: &[u8] = b"(qemu) ";
    let mut monitor = UnixStream::connect(dir.join("monitor"))?;
    monitor.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut said = Vec::new();
    // Its greeting ends with a prompt; it reads nothing from one who has gone already.
    for text in ["", &format!("{line}\n")] {
        monitor.write_all(text.as_bytes())?;
        said.clear();
        let mut buffer = [0; 4096];
        while !said.ends_with(PROMPT) {
            match monitor.read(&mut buffer)? {
                0 => return Ok(()),
                count => said.extend(&buffer[..count]),
            }
        }
    }
    let said = String::from_utf8_lossy(&said);
    match said.lines().find(|line| line.contains("rror")) {
        Some(error) => Err(Failure::new(format!("qemu: {line}: {error}"))),
        None => Ok(()),
    }
}
