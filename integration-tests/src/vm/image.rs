//! The disk of the machine: made by mmdebstrap and mke2fs once for each recipe, in the user's cache, and only read afterwards.
//!
//! The recipe is what stands in this file: [`PACKAGES`] and [`FILES`]. When it changes, so does the directory's name, and a new disk is made; one
//! that nobody has used for two weeks is removed. Nothing is installed over: add a package here and run again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};

use super::{USER, machine, qemu};
use crate::case::{Done, Failure};

/// What is installed beside Debian's required packages: first what boots, then what tests use, then the engines.
const PACKAGES: &[&str] = &[
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "kmod",
    "iproute2",
    "procps",
    "util-linux",
    "apparmor",
    "busybox-static",
    "crun",
    "e2fsprogs",
    "hyperfine",
    "jq",
    "runc",
    "strace",
    "uidmap",
    "aardvark-dns",
    "buildah",
    "conmon",
    "containerd",
    "containernetworking-plugins",
    "docker.io",
    "fuse-overlayfs",
    "iptables",
    "netavark",
    "podman",
    "slirp4netns",
];

/// Units of the engines that a boot would start: the cases start them, so that the others do not wait for them.
const ENGINE_UNITS: &str = "containerd.service docker.service docker.socket podman.service podman.socket podman-restart.service \
    podman-auto-update.timer";

/// Written after the packages are there: path and text.
const FILES: &[(&str, &str)] = &[
    ("etc/hostname", "lab\n"),
    ("etc/hosts", "127.0.0.1 localhost lab\n"),
    // A fixed one: an empty one would make each boot the first.
    ("etc/machine-id", "6761726f626172642d746573742d766d\n"),
    ("etc/modules-load.d/lab.conf", "loop\noverlay\ntun\nfuse\n"),
    // Nothing else is waited for by name, and drivers for what is emulated but not used take seconds to load.
    (
        "etc/systemd/system/systemd-udev-trigger.service.d/lab.conf",
        "[Service]\nExecStart=\nExecStart=-/bin/udevadm trigger --action=add --subsystem-match=block --subsystem-match=misc --subsystem-match=net\n",
    ),
    (
        "etc/systemd/journald.conf.d/lab.conf",
        "[Journal]\nStorage=volatile\n",
    ),
    // What the ordinary user's manager may hand on: as the documentation of rootless engines asks for.
    (
        "etc/systemd/system/user@.service.d/delegate.conf",
        "[Service]\nDelegate=cpu cpuset io memory pids\n",
    ),
    ("var/lib/systemd/linger/tester", ""),
    (
        "etc/systemd/system/lab.service",
        "[Unit]\nDescription=Runs what the host asks for\nAfter=dbus.service systemd-user-sessions.service\n\
         [Service]\nExecStart=/bin/sh /usr/local/sbin/lab\n\
         Delegate=yes\nOOMPolicy=continue\nTasksMax=infinity\nLimitNOFILE=65536\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\n",
    ),
    ("usr/local/sbin/lab", LAB_SCRIPT),
];

/// What a machine that has come up and waits for its second disk says on its console.
pub(super) const READY: &str = "the guest waits for its disk";

/// A machine that boots with its programs starts the agent at once; one whose state is to be saved waits until everything is up, and then for the
/// disk, which it looks at anew each time.
const LAB_SCRIPT: &str = r#"mkdir -p /lab
if ! mount -t ext4 /dev/vdb /lab 2>/dev/null; then
	systemctl is-system-running --wait
	until [ -e /run/user/1000/systemd/private ]; do sleep 0.2; done
	su -s /bin/sh tester -c 'XDG_RUNTIME_DIR=/run/user/1000 systemctl --user is-system-running --wait'
	sync
	echo 3 >/proc/sys/vm/drop_caches
	echo the guest waits for its disk
	until blockdev --flushbufs /dev/vdb && mount -t ext4 /dev/vdb /lab 2>/dev/null; do sleep 0.05; done
fi
exec /lab/bin/vm agent
"#;

/// Links made in `etc/systemd/system`: what is started, and what would only slow the boot down.
const LINKS: &[(&str, &str)] = &[
    (
        "multi-user.target.wants/lab.service",
        "/etc/systemd/system/lab.service",
    ),
    ("tmp.mount", "/usr/share/systemd/tmp.mount"),
    (
        "local-fs.target.wants/tmp.mount",
        "/usr/share/systemd/tmp.mount",
    ),
    ("default.target", "/lib/systemd/system/multi-user.target"),
    ("apparmor.service", "/dev/null"),
    ("apt-daily.timer", "/dev/null"),
    ("apt-daily-upgrade.timer", "/dev/null"),
    ("dpkg-db-backup.timer", "/dev/null"),
    ("e2scrub_all.timer", "/dev/null"),
    ("e2scrub_reap.service", "/dev/null"),
    ("fstrim.timer", "/dev/null"),
    ("getty@tty1.service", "/dev/null"),
    ("serial-getty@ttyS0.service", "/dev/null"),
    ("modprobe@.service", "/dev/null"),
    ("sys-kernel-debug.mount", "/dev/null"),
    ("sys-kernel-tracing.mount", "/dev/null"),
    ("systemd-random-seed.service", "/dev/null"),
    ("systemd-remount-fs.service", "/dev/null"),
    ("systemd-sysusers.service", "/dev/null"),
    ("systemd-update-utmp-runlevel.service", "/dev/null"),
    ("systemd-update-utmp.service", "/dev/null"),
    ("systemd-pstore.service", "/dev/null"),
];

/// The drivers without which there is no root filesystem: an initrd with nothing else boots faster.
const INITRD: &str = "mkdir -p \"$1/etc/initramfs-tools/conf.d\" && echo MODULES=list >\"$1/etc/initramfs-tools/conf.d/lab\" && \
    printf 'virtio_pci\\nvirtio_blk\\nvirtio_console\\n' >\"$1/etc/initramfs-tools/modules\"";

const UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// A disk that boots.
#[derive(Debug)]
pub struct Image {
    /// An ext4 filesystem, not to be written to.
    pub disk: PathBuf,
    /// Its kernel.
    pub kernel: PathBuf,
    /// Its initrd.
    pub initrd: PathBuf,
    /// A machine that has come up from it.
    pub state: PathBuf,
}

impl Image {
    fn at(dir: &Path) -> Image {
        Image {
            disk: dir.join("disk.img"),
            kernel: dir.join("vmlinuz"),
            initrd: dir.join("initrd.img"),
            state: dir.join("state"),
        }
    }
}

/// The user's cache of this project: `$XDG_CACHE_HOME/garboard`, or `~/.cache/garboard`.
pub fn cache() -> Result<PathBuf, Failure> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => PathBuf::from(home).join(".cache"),
        _ => return Err(Failure::new("neither XDG_CACHE_HOME nor HOME is set")),
    };
    let dir = base.join("garboard");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The image of this recipe. If there is none yet it is made, which takes two minutes or three and wants root.
pub fn get() -> Result<Image, Failure> {
    let cache = cache()?;
    let dir = cache.join(format!("vm-{:016x}", recipe()?));
    if !dir.is_dir() {
        let lock = File::options()
            .append(true)
            .create(true)
            .open(cache.join("vm.lock"))?;
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        // Somebody else may have made it meanwhile.
        if !dir.is_dir() {
            eprintln!("vm: making the image {}", dir.display());
            let new = cache.join("vm.new");
            if new.is_dir() {
                fs::remove_dir_all(&new)?;
            }
            fs::create_dir(&new)?;
            build(&new)?;
            fs::rename(&new, &dir)?;
        }
        remove_unused(&cache)?;
    }
    fs::write(dir.join("used"), "")?;
    Ok(Image::at(&dir))
}

/// A number that is another one for any other recipe.
fn recipe() -> Result<u64, Failure> {
    let mut text = format!(
        "1 {PACKAGES:?} {INITRD} {ENGINE_UNITS} {}",
        qemu::version()?
    );
    text.extend(
        FILES
            .iter()
            .chain(LINKS)
            .flat_map(|(path, text)| [*path, *text]),
    );
    Ok(number(text.as_bytes()))
}

/// FNV-1a: the same from build to build, and not for secrets.
pub fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn build(dir: &Path) -> Done {
    let root = dir.join("root");
    // In a mount namespace of its own: what it mounts ends with it, even if it is killed.
    finish(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"])
            .arg(format!("--include={}", PACKAGES.join(",")))
            .arg("--dpkgopt=path-exclude=/usr/share/man/*")
            .arg("--dpkgopt=path-exclude=/usr/share/locale/*")
            .arg(format!("--essential-hook={INITRD}"))
            .arg(format!(
                "--customize-hook=chroot \"$1\" useradd --create-home --shell /bin/bash --uid 1000 {USER}"
            ))
            .arg(format!(
                "--customize-hook=chroot \"$1\" systemctl --quiet disable {ENGINE_UNITS} && \
                 chroot \"$1\" systemctl --quiet --global disable podman.socket podman-restart.service podman-auto-update.timer podman.service"
            ))
            .arg("bookworm")
            .arg(&root)
            .env("TMPDIR", dir),
    )?;
    for (path, text) in FILES {
        let path = root.join(path);
        make_parent(&path)?;
        fs::write(path, text)?;
    }
    for (path, target) in LINKS {
        let path = root.join("etc/systemd/system").join(path);
        make_parent(&path)?;
        if fs::symlink_metadata(&path).is_ok() {
            fs::remove_file(&path)?;
        }
        std::os::unix::fs::symlink(target, path)?;
    }
    for entry in fs::read_dir(root.join("boot"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for wanted in ["vmlinuz", "initrd.img"] {
            if name.starts_with(&format!("{wanted}-")) {
                fs::copy(&path, dir.join(wanted))?;
            }
        }
    }
    finish(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
            .arg(&root)
            .arg(dir.join("disk.img"))
            .arg("4G"),
    )?;
    fs::remove_dir_all(root)?;
    let boot = dir.join("boot");
    fs::create_dir(&boot)?;
    machine::save(&boot, &Image::at(dir))?;
    fs::remove_dir_all(boot)?;
    Ok(())
}

fn make_parent(path: &Path) -> Done {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(())
}

/// Runs a program to its end; its messages are the failure.
pub(super) fn finish(command: &mut Command) -> Done {
    let name = command.get_program().to_string_lossy().into_owned();
    crate::sys::die_with_parent(command);
    let out = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("{name}: {error}: `make packages` installs it")))?;
    if out.status.success() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{name}: {}: {}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    )))
}

fn remove_unused(cache: &Path) -> Done {
    for entry in fs::read_dir(cache)?.flatten() {
        let used = fs::metadata(entry.path().join("used")).and_then(|found| found.modified());
        if entry.file_name().to_string_lossy().starts_with("vm-")
            && used.is_ok_and(|used| {
                SystemTime::now()
                    .duration_since(used)
                    .is_ok_and(|age| age > UNUSED)
            })
        {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
