//! Bundles on a busybox root filesystem, in a temporary directory that is removed with all that the test has left in it.

#![allow(
    dead_code,
    reason = "each test binary uses its own part of this module"
)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use libcontainer::Runtime;
use serde_json::{Value, json};

/// The programs that the root filesystem has, all of them busybox.
const APPLETS: &[&str] = &[
    "sh", "true", "false", "sleep", "ls", "cat", "ip", "readlink", "exec",
];

/// A temporary directory with a root filesystem, a state root and any number of bundles.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    bundles: AtomicUsize,
}

impl Place {
    /// Makes the directory. `name` tells the tests of one process apart.
    pub fn new(name: &str) -> Place {
        let path =
            std::env::temp_dir().join(format!("garboard-test-{name}-{}", std::process::id()));
        let bin = path.join("rootfs/bin");
        fs::create_dir_all(&bin).expect("root filesystem");
        for directory in ["proc", "sys", "dev", "tmp", "etc", "run"] {
            fs::create_dir(path.join("rootfs").join(directory)).expect("directory of the rootfs");
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| fs::metadata(path).is_ok())
            .expect("busybox-static is installed");
        fs::copy(busybox, bin.join("busybox")).expect("copy of busybox");
        for applet in APPLETS {
            symlink("busybox", bin.join(applet)).expect("link to busybox");
        }
        Place {
            path,
            bundles: AtomicUsize::new(0),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state root; the library makes it.
    pub fn root(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Writes a bundle with this configuration and returns its directory.
    pub fn bundle(&self, config: &Value) -> PathBuf {
        let number = self.bundles.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("bundle-{number}"));
        fs::create_dir(&path).expect("bundle");
        fs::write(path.join("config.json"), config.to_string()).expect("config.json");
        path
    }

    /// The default configuration with these arguments, and a cgroup named after `name` and this process.
    pub fn config(&self, name: &str, args: &[&str]) -> Value {
        json!({
            "ociVersion": "1.3.0",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": args,
                "env": ["PATH=/bin"],
                "cwd": "/",
                "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
                "noNewPrivileges": true
            },
            "root": {"path": self.path.join("rootfs"), "readonly": true},
            "hostname": "garboard",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
            ],
            "linux": {
                "cgroupsPath": cgroup_path(name),
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
                "maskedPaths": ["/proc/kcore", "/proc/keys"],
                "readonlyPaths": ["/proc/sys"]
            }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // After a failure there may be containers; what goes wrong here is less than what went wrong before.
        if let Ok(runtime) = Runtime::open_existing(&self.root()) {
            for (id, _) in runtime.list().unwrap_or_default() {
                let _ = runtime.delete(&id, true);
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}

/// `/garboard-test-…`, unlike any other process's.
pub fn cgroup_path(name: &str) -> String {
    format!("/garboard-test-{}-{name}", std::process::id())
}

/// Every cgroup directory of this process's with a name that begins so, in all hierarchies.
pub fn left_cgroups(name: &str) -> Vec<PathBuf> {
    let prefix = OsString::from(&cgroup_path(name)[1..]);
    let mut left = Vec::new();
    let mut look = |directory: &Path| {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name
                .as_encoded_bytes()
                .starts_with(prefix.as_encoded_bytes())
            {
                left.push(entry.path());
            }
        }
    };
    look(Path::new("/sys/fs/cgroup"));
    for hierarchy in fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
    {
        look(&hierarchy.path());
    }
    left
}
