//! The id maps of a user namespace, written by the parent when the stage has unshared one.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, write};

use crate::config::{IdMap, IdMaps};
use crate::error::{Error, ErrorKind, Pointer, Refused};
use crate::host::Host;

/// Writes `setgroups`, `uid_map` and `gid_map` of `pid`. Without the privilege to write more than our own id, newuidmap(1) and newgidmap(1)
/// do it, by what /etc/subuid and /etc/subgid allow.
pub fn write_maps(host: &Host, pid: i32, maps: &IdMaps) -> Result<(), Error> {
    if host.euid() == 0 {
        write_proc(host, pid, "gid_map", &text(&maps.gid), "gidMappings")?;
        return write_proc(host, pid, "uid_map", &text(&maps.uid), "uidMappings");
    }
    if own_id_only(&maps.gid, rustix::process::getegid().as_raw()) {
        // The kernel lets an unprivileged process write a gid map only once setgroups is off for good (CVE-2014-8989).
        write_proc(host, pid, "setgroups", "deny", "gidMappings")?;
        write_proc(host, pid, "gid_map", &text(&maps.gid), "gidMappings")?;
    } else {
        run_helper("newgidmap", pid, &maps.gid, "gidMappings")?;
    }
    if own_id_only(&maps.uid, host.euid()) {
        write_proc(host, pid, "uid_map", &text(&maps.uid), "uidMappings")
    } else {
        run_helper("newuidmap", pid, &maps.uid, "uidMappings")
    }
}

fn own_id_only(maps: &[IdMap], id: u32) -> bool {
    matches!(maps, [map] if map.size == 1 && map.host == id)
}

fn text(maps: &[IdMap]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        let _ = writeln!(text, "{} {} {}", map.container, map.host, map.size); // writing to a String cannot fail
        text
    })
}

fn write_proc(host: &Host, pid: i32, file: &str, content: &str, key: &str) -> Result<(), Error> {
    let path = format!("{pid}/{file}");
    let refused = |call, errno: Errno| {
        Refused::new(call, format!("/proc/{path}"), errno).at(Pointer::CONFIG.key("linux").key(key))
    };
    let file = openat(
        host.proc_dir()?,
        path.as_str(),
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| refused("open", errno))?;
    // One write: the kernel takes a map once and whole.
    write(&file, content.as_bytes()).map_err(|errno| refused("write", errno))?;
    Ok(())
}

fn run_helper(program: &str, pid: i32, maps: &[IdMap], key: &str) -> Result<(), Error> {
    let at = Pointer::CONFIG.key("linux").key(key);
    let mut command = Command::new(program);
    command
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for map in maps {
        command.args([
            map.container.to_string(),
            map.host.to_string(),
            map.size.to_string(),
        ]);
    }
    let output = command.output().map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(0);
        Refused {
            pointer: Some(at.clone()),
            call: format!("exec {program}"),
            path: None,
            errno: crate::error::Errno(errno),
            hint: None,
        }
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(
        ErrorKind::Refused,
        format!(
            "{at}: {program} failed ({}): {}",
            output.status,
            said.trim()
        ),
    ))
}

/// The user namespace that `pid` is in.
pub fn user_namespace_of(host: &Host, pid: i32) -> Result<OwnedFd, Error> {
    let path = format!("{pid}/ns/user");
    openat(
        host.proc_dir()?,
        path.as_str(),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| Refused::new("open", format!("/proc/{path}"), errno).into())
}
