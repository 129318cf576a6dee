//! Builds root filesystems: busybox under its usual names, the probe, the usual empty directories, and what a case adds.
//!
//! Everything is made new on the case's tmpfs: a case may wreck its rootfs, and no image has to be fetched.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::case::Failure;

const BUSYBOX: &str = "/bin/busybox";

const APPLETS: &[&str] = &[
    "awk", "basename", "cat", "chgrp", "chmod", "chown", "cp", "cut", "date", "dd", "df",
    "dirname", "dmesg", "echo", "env", "false", "find", "grep", "head", "hexdump", "hostname",
    "id", "ifconfig", "ip", "kill", "ln", "ls", "mkdir", "mkfifo", "mknod", "mount", "mv", "nc",
    "nice", "nproc", "od", "ping", "printf", "ps", "pwd", "readlink", "renice", "rm", "rmdir",
    "sed", "seq", "setsid", "sh", "sleep", "sort", "stat", "stty", "sync", "tail", "tee", "test",
    "time", "timeout", "top", "touch", "tr", "true", "tty", "umount", "uname", "unlink", "usleep",
    "wc", "which", "whoami", "xargs", "yes",
];

const DIRECTORIES: &[&str] = &[
    "bin", "dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "var",
];

#[derive(Debug, Clone)]
enum Addition {
    File {
        path: String,
        content: Vec<u8>,
        mode: u32,
    },
    Dir {
        path: String,
        mode: u32,
    },
    Link {
        path: String,
        target: String,
    },
    Gone {
        path: String,
    },
    Owner {
        path: String,
        uid: u32,
        gid: u32,
    },
}

/// What a root filesystem holds.
#[derive(Debug, Clone, Default)]
pub struct Rootfs {
    additions: Vec<Addition>,
    bare: bool,
}

impl Rootfs {
    /// Leaves out everything that would be there by default.
    #[must_use]
    pub fn bare(mut self) -> Rootfs {
        self.bare = true;
        self
    }

    /// Adds a file; `path` is relative to the rootfs.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Rootfs {
        self.additions.push(Addition::File {
            path: path.into(),
            content: content.as_ref().to_vec(),
            mode,
        });
        self
    }

    /// Adds a directory.
    #[must_use]
    pub fn dir(mut self, path: &str, mode: u32) -> Rootfs {
        self.additions.push(Addition::Dir {
            path: path.into(),
            mode,
        });
        self
    }

    /// Adds a symlink, in place of what is there.
    #[must_use]
    pub fn link(mut self, path: &str, target: impl AsRef<str>) -> Rootfs {
        self.additions.push(Addition::Link {
            path: path.into(),
            target: target.as_ref().into(),
        });
        self
    }

    /// Removes what is at `path`.
    #[must_use]
    pub fn gone(mut self, path: &str) -> Rootfs {
        self.additions.push(Addition::Gone { path: path.into() });
        self
    }

    /// Gives a path to a user and a group.
    #[must_use]
    pub fn owner(mut self, path: &str, uid: u32, gid: u32) -> Rootfs {
        self.additions.push(Addition::Owner {
            path: path.into(),
            uid,
            gid,
        });
        self
    }

    /// Makes the root filesystem at `root`.
    pub fn build(&self, root: &Path) -> Result<(), Failure> {
        fs::create_dir_all(root)?;
        if !self.bare {
            for dir in DIRECTORIES {
                fs::create_dir_all(root.join(dir))?;
            }
            fs::copy(BUSYBOX, root.join("bin/busybox"))
                .map_err(|e| Failure::new(format!("{BUSYBOX} (package busybox-static): {e}")))?;
            for applet in APPLETS {
                symlink("busybox", root.join("bin").join(applet))?;
            }
            fs::copy(probe_program()?, root.join("bin/probe"))?;
            fs::write(
                root.join("etc/passwd"),
                "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
            )?;
            fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n")?;
            fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        }
        self.additions
            .iter()
            .try_for_each(|addition| addition.make(root))
    }
}

impl Addition {
    fn make(&self, root: &Path) -> Result<(), Failure> {
        match self {
            Addition::File {
                path,
                content,
                mode,
            } => {
                let path = ready(root, path)?;
                fs::write(&path, content)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
            }
            Addition::Dir { path, mode } => {
                let path = root.join(path);
                fs::create_dir_all(&path)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
            }
            Addition::Link { path, target } => {
                let path = ready(root, path)?;
                remove(&path)?;
                symlink(target, path)?;
            }
            Addition::Gone { path } => remove(&root.join(path))?,
            Addition::Owner { path, uid, gid } => {
                std::os::unix::fs::lchown(root.join(path), Some(*uid), Some(*gid))?
            }
        }
        Ok(())
    }
}

/// Finds the probe, which is built beside the program that runs.
pub fn probe_program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    Ok(own.with_file_name("probe"))
}

fn ready(root: &Path, path: &str) -> Result<PathBuf, Failure> {
    let path = root.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(path)
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => Ok(fs::remove_dir_all(path)?),
        Ok(_) => Ok(fs::remove_file(path)?),
    }
}
