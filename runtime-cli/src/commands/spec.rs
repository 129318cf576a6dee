//! `garboard spec`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::statfs;

use super::Invocation;
use crate::failure::Failure;
use crate::table::flags;

/// `include/uapi/linux/magic.h`.
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// Writes config.json into the bundle, unless there is one.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let rootless = invocation.matches.is_set(&flags::SPEC_ROOTLESS);
    let owner = rootless.then(|| {
        (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        )
    });
    let path = invocation
        .matches
        .path(&flags::BUNDLE)
        .unwrap_or_else(|| PathBuf::from("."))
        .join("config.json");
    let failed = |why: std::io::Error| match why.kind() {
        ErrorKind::AlreadyExists => Failure::new("File config.json exists. Remove it first"),
        _ => Failure::new(format!(
            "open {}: {}",
            path.display(),
            libcontainer::Errno(why.raw_os_error().unwrap_or_default())
        )),
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o666)
        .open(&path)
        .map_err(failed)?;
    file.write_all(libcontainer::default_spec(owner, cgroup_v2()).as_bytes())
        .map_err(failed)?;
    Ok(0)
}

/// Whether cgroup2 alone is mounted: then a cgroup namespace costs nothing and hides the host's paths.
fn cgroup_v2() -> bool {
    statfs("/sys/fs/cgroup").is_ok_and(|filesystem| filesystem.f_type == CGROUP2_SUPER_MAGIC)
}
