//! A block device of a test's own: a file on the case's tmpfs behind a loop device, taken away when dropped.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::case::Failure;

/// An attached loop device.
#[derive(Debug)]
pub struct LoopDevice {
    /// `/dev/loopN`
    pub path: PathBuf,
    /// Its numbers.
    pub number: (u64, u64),
}

impl LoopDevice {
    /// Attaches a new file of this size in `dir`.
    pub fn attach(dir: &Path, bytes: u64) -> Result<LoopDevice, Failure> {
        let file = dir.join("loop.img");
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&file)?
            .set_len(bytes)?;
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&file)
            .output()
            .map_err(|e| Failure::new(format!("losetup (package mount): {e}")))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::skip(format!("losetup: {}", text.trim())));
        }
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let rdev = fs::metadata(&path)?.rdev();
        Ok(LoopDevice {
            path,
            number: (nix::sys::stat::major(rdev), nix::sys::stat::minor(rdev)),
        })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // What is left would hold its file's mount, which the leak check looks at.
        let _ = Command::new("losetup").arg("-d").arg(&self.path).status();
    }
}
