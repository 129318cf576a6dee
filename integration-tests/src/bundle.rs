//! Builds bundles: a `config.json` kept as JSON, so that a case can say anything, wrong things included, and a rootfs beside it.
//!
//! The start is the document that `runc spec` writes, without a terminal and with a cgroup path of the test's own.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::case::Failure;
use crate::rootfs::Rootfs;

/// A `config.json` in the making.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The document as it will be written.
    pub config: Value,
    /// What the root filesystem gets beside busybox and the probe.
    pub rootfs: Rootfs,
}

impl Default for Bundle {
    fn default() -> Bundle {
        Bundle {
            config: default_config(),
            rootfs: Rootfs::default(),
        }
    }
}

impl Bundle {
    /// The default bundle with these arguments.
    pub fn args<'a>(args: impl IntoIterator<Item = &'a str>) -> Bundle {
        let args: Vec<&str> = args.into_iter().collect();
        Bundle::default().set("/process/args", json!(args))
    }

    /// The default bundle running a busybox shell script.
    pub fn shell(script: &str) -> Bundle {
        Bundle::args(["sh", "-c", script])
    }

    /// The default bundle running the probe, which prints what it sees as JSON.
    pub fn probe() -> Bundle {
        Bundle::args(["/bin/probe"])
    }

    /// The default bundle running a process that waits for a signal.
    pub fn sleeper() -> Bundle {
        Bundle::args(["sleep", "1000"])
    }

    /// Puts `value` at an RFC 6901 pointer, making the objects on the way. `-` as the last part appends to an array.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: Value) -> Bundle {
        put(&mut self.config, pointer, value);
        self
    }

    /// Takes the member or the element at `pointer` out, if it is there.
    #[must_use]
    pub fn without(mut self, pointer: &str) -> Bundle {
        take(&mut self.config, pointer);
        self
    }

    /// Appends to `/mounts`.
    #[must_use]
    pub fn mount(
        self,
        kind: &str,
        source: impl AsRef<Path>,
        destination: &str,
        options: &[&str],
    ) -> Bundle {
        let mount = json!({"type": kind, "source": source.as_ref(), "destination": destination, "options": options});
        self.set("/mounts/-", mount)
    }

    /// Appends a bind mount.
    #[must_use]
    pub fn bind(self, source: impl AsRef<Path>, destination: &str, options: &[&str]) -> Bundle {
        let mut all = vec!["bind"];
        all.extend(options);
        self.mount("bind", source, destination, &all)
    }

    /// Takes the mount at `destination` out.
    #[must_use]
    pub fn without_mount(mut self, destination: &str) -> Bundle {
        if let Some(mounts) = self.config["mounts"].as_array_mut() {
            mounts.retain(|mount| mount["destination"] != destination);
        }
        self
    }

    /// Makes the root filesystem writable.
    #[must_use]
    pub fn writable(self) -> Bundle {
        self.set("/root/readonly", json!(false))
    }

    /// Adds a namespace, or replaces the one of this type.
    #[must_use]
    pub fn namespace(self, kind: &str, path: Option<&Path>) -> Bundle {
        let entry = match path {
            Some(path) => json!({"type": kind, "path": path}),
            None => json!({"type": kind}),
        };
        self.without_namespace(kind)
            .set("/linux/namespaces/-", entry)
    }

    /// Takes the namespace of this type out: the container then shares the caller's.
    #[must_use]
    pub fn without_namespace(mut self, kind: &str) -> Bundle {
        if let Some(all) = self.config["linux"]["namespaces"].as_array_mut() {
            all.retain(|entry| entry["type"] != kind);
        }
        self
    }

    /// A new user namespace with root mapped to `host` and `size` ids.
    #[must_use]
    pub fn user_namespace(self, host: u32, size: u32) -> Bundle {
        let map = json!([{"containerID": 0, "hostID": host, "size": size}]);
        self.namespace("user", None)
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map)
    }

    /// Changes the rootfs.
    #[must_use]
    pub fn root(mut self, change: impl FnOnce(Rootfs) -> Rootfs) -> Bundle {
        self.rootfs = change(self.rootfs);
        self
    }

    /// Gives the container exactly these capabilities in the bounding, effective and permitted sets.
    #[must_use]
    pub fn capabilities(self, names: &[&str]) -> Bundle {
        self.set(
            "/process/capabilities",
            json!({"bounding": names, "effective": names, "permitted": names}),
        )
    }

    /// As an ordinary user can run it: in a user namespace with the calling user as root and its subordinate ids above, unless the bundle says otherwise.
    pub fn for_user(self) -> Result<Bundle, Failure> {
        let namespaces = self.config["linux"]["namespaces"].as_array();
        if namespaces.is_some_and(|all| all.iter().any(|one| one["type"] == "user")) {
            return Ok(self);
        }
        let map = |own: u32, file: &str| -> Result<Value, Failure> {
            let text = std::fs::read_to_string(file)?;
            let mut fields = text.lines().next().unwrap_or("").split(':').skip(1);
            let mut next = || fields.next().and_then(|field| field.parse::<u32>().ok());
            let range = next().zip(next());
            let (first, size) = range.ok_or_else(|| Failure::new(format!("no range in {file}")))?;
            Ok(
                json!([{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": first, "size": size}]),
            )
        };
        let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
        Ok(self
            .namespace("user", None)
            .set("/linux/uidMappings", map(uid.as_raw(), "/etc/subuid")?)
            .set("/linux/gidMappings", map(gid.as_raw(), "/etc/subgid")?))
    }

    /// Writes the bundle into `dir`, which is made. Returns `dir`.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, Failure> {
        std::fs::create_dir_all(dir)?;
        self.rootfs.build(&dir.join("rootfs"))?;
        std::fs::write(
            dir.join("config.json"),
            serde_json::to_vec_pretty(&self.config)?,
        )?;
        Ok(dir.to_owned())
    }
}

/// Puts `value` at `pointer` in `document`.
pub fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut at = document;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if at.is_null() {
            *at = if part == "-" { json!([]) } else { json!({}) };
        }
        at = match at {
            Value::Array(list) => {
                let index = part.parse().unwrap_or(list.len());
                if index >= list.len() {
                    list.push(Value::Null);
                }
                let index = index.min(list.len() - 1);
                &mut list[index]
            }
            other => &mut other[part],
        };
    }
    *at = value;
}

/// Takes what stands at `pointer` out of `document`.
pub fn take(document: &mut Value, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else {
        return;
    };
    match document.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.remove(last)),
        Some(Value::Array(list)) => {
            if let Ok(index) = last.parse::<usize>()
                && index < list.len()
            {
                list.remove(index);
            }
        }
        _ => {}
    }
}

/// The document of `runc spec`, by hand, but with no terminal.
pub fn default_config() -> Value {
    let kept = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": kept, "effective": kept, "permitted": kept},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "garboard",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                            "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_put_where_the_pointer_says() {
        let bundle = Bundle::default()
            .set("/linux/sysctl/net.ipv4.ip_forward", json!("1"))
            .set("/mounts/-", json!({"destination": "/x"}));
        assert_eq!(bundle.config["linux"]["sysctl"]["net.ipv4.ip_forward"], "1");
        assert_eq!(bundle.config["mounts"][7]["destination"], "/x");
        assert_eq!(
            bundle.without("/mounts/7").config["mounts"]
                .as_array()
                .map(Vec::len),
            Some(7)
        );
    }
}
