//! What only cgroup v2 can do: `cgroup.kill`, `cgroup.freeze`, controllers enabled from above, a device policy as an eBPF program.
//!
//! Nothing here writes `cgroup.procs`: that waits for an RCU grace period (7 ms when starts are spaced).

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread};

use crate::config::DeviceRule;
use crate::error::{Error, Refused};
use crate::host::Host;
use crate::kernel_file::{read_record, retry, write_value};
use crate::sys;

use super::directory::Directory;
use super::{Place, device, frozen_above, not_frozen, not_thawed, survivors};

/// Enables every controller of every ancestor for the new cgroup, as runc does and cAdvisor expects. Best effort: a parent with processes
/// of its own refuses, and what a limit needs will be missed when the limit is written.
pub(super) fn enable_controllers(place: &Place, directory: &OwnedFd) {
    // The usual case, seen without walking: the parent passes on all that it has.
    let parent = place
        .mount
        .join(place.path.parent().unwrap_or(Path::new("")));
    let available = read_record(CWD, parent.join("cgroup.controllers"));
    let passed_on = read_record(directory, c"cgroup.controllers");
    let (Ok(available), Ok(passed_on)) = (available, passed_on) else {
        return;
    };
    let at_the_root = parent == place.mount
        || read_record(CWD, place.mount.join("cgroup.controllers"))
            .is_ok_and(|root| root == available);
    if at_the_root && available == passed_on {
        return;
    }
    let mut ancestors = place.path.ancestors().skip(1).collect::<Vec<_>>();
    ancestors.reverse();
    for ancestor in ancestors {
        enable_in(&place.mount.join(ancestor));
    }
}

fn enable_in(ancestor: &Path) {
    let read = |file: &str| read_record(CWD, ancestor.join(file)).unwrap_or_default();
    let (available, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let enabled = words(&enabled);
    let missing = words(&available)
        .into_iter()
        .filter(|name| !enabled.contains(name))
        .map(|name| format!("+{name}"))
        .collect::<Vec<_>>();
    if missing.is_empty() {
        return;
    }
    // A cgroup with processes of its own passes nothing on but cpu and pids; and those would make it a threaded domain, below which no
    // container can be made. The root of the hierarchy, which has no type, passes on whatever is in it.
    if !read("cgroup.type").is_empty() && !read("cgroup.procs").is_empty() {
        return;
    }
    let file = ancestor.join("cgroup.subtree_control");
    // All at once is one write; one that cannot be enabled (cpu with realtime threads) refuses them all, so then each for itself.
    if write_value(CWD, &file, missing.join(" ").as_bytes()).is_err() {
        for name in missing {
            let _ = write_value(CWD, &file, name.as_bytes());
        }
    }
}

fn words(list: &[u8]) -> Vec<&str> {
    std::str::from_utf8(list)
        .unwrap_or("")
        .split_ascii_whitespace()
        .collect()
}

/// Kills all processes at and below `directory` at once and waits for the last to go. A frozen cgroup needs no thaw.
pub(super) fn kill(directory: &Directory, host: &Host, deadline: Instant) -> Result<(), Error> {
    match write_value(&directory.fd, c"cgroup.kill", b"1") {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        Err(errno) => return Err(directory.refused("write(1)", "cgroup.kill", errno).into()),
    }
    if wait_for(directory, "populated", false, deadline)
        .map_err(|errno| directory.refused("poll", "cgroup.events", errno))?
    {
        return Ok(());
    }
    let mut pids = Vec::new();
    directory.add_processes(&mut pids)?;
    Err(survivors(host, &directory.place.host_path(), pids))
}

/// Whether a flag of `cgroup.events` came to be `wanted` before the deadline; true too when the cgroup has gone. The kernel wakes pollers
/// at every change.
fn wait_for(
    directory: &Directory,
    flag: &str,
    wanted: bool,
    deadline: Instant,
) -> Result<bool, Errno> {
    let events = match openat(
        &directory.fd,
        c"cgroup.events",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(true),
        other => other?,
    };
    let mut buffer = [0u8; 256];
    loop {
        match retry(|| pread(&events, &mut buffer[..], 0)) {
            Ok(length) if event(&buffer[..length], flag) == Some(wanted) => return Ok(true),
            Err(Errno::NODEV) => return Ok(true),
            other => drop(other?),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        retry(|| poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout)))?;
    }
}

/// One flag of `cgroup.events`.
fn event(content: &[u8], name: &str) -> Option<bool> {
    let line = std::str::from_utf8(content)
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line == "1")
}

/// Frozen by itself, on the way there, or frozen with an ancestor.
pub(super) fn frozen(directory: &Directory) -> Result<bool, Refused> {
    let gone = |errno| matches!(errno, Errno::NOENT | Errno::NODEV);
    match read_record(&directory.fd, c"cgroup.freeze") {
        Ok(value) if value.starts_with(b"1") => return Ok(true),
        Err(errno) if gone(errno) => return Ok(false),
        Err(errno) => return Err(directory.refused("read", "cgroup.freeze", errno)),
        Ok(_) => {}
    }
    match read_record(&directory.fd, c"cgroup.events") {
        Ok(events) => Ok(event(&events, "frozen") == Some(true)),
        Err(errno) if gone(errno) => Ok(false),
        Err(errno) => Err(directory.refused("read", "cgroup.events", errno)),
    }
}

/// Freezes the cgroup with all below it and waits for the kernel's word; thaws it again when that does not come before `deadline` (a
/// process that sleeps uninterruptibly cannot be frozen).
pub(super) fn freeze(directory: &Directory, deadline: Instant) -> Result<(), Error> {
    let set = |value: &str| {
        write_value(&directory.fd, c"cgroup.freeze", value.as_bytes())
            .map_err(|errno| directory.refused(&format!("write({value})"), "cgroup.freeze", errno))
    };
    set("1")?;
    let frozen = wait_for(directory, "frozen", true, deadline)
        .map_err(|errno| directory.refused("poll", "cgroup.events", errno).into());
    match frozen {
        Ok(true) => Ok(()),
        failed => {
            // Never left half frozen. The first error is the one to tell.
            let _ = set("0");
            failed.and_then(|_| Err(not_frozen(&directory.place)))
        }
    }
}

/// Takes our own freeze back and waits for the kernel's word; what the container froze below by itself stays.
/// Errors: WrongStatus when an ancestor keeps it frozen; Internal after the deadline.
pub(super) fn thaw(directory: &Directory, deadline: Instant) -> Result<(), Error> {
    match write_value(&directory.fd, c"cgroup.freeze", b"0") {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        Err(errno) => return Err(directory.refused("write(0)", "cgroup.freeze", errno).into()),
    }
    let place = &directory.place;
    let above = place.path.ancestors().skip(1).any(|ancestor| {
        read_record(CWD, place.mount.join(ancestor).join("cgroup.freeze"))
            .is_ok_and(|value| value.starts_with(b"1"))
    });
    if above {
        return Err(frozen_above(place));
    }
    match wait_for(directory, "frozen", false, deadline) {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_thawed(place)),
        Err(errno) => Err(directory.refused("poll", "cgroup.events", errno).into()),
    }
}

/// Loads and attaches the device program. It lives as long as the cgroup: the descriptor may be closed.
pub(super) fn set_devices(directory: &Directory, rules: &[DeviceRule]) -> Result<(), Refused> {
    let program = device::program(rules);
    let path = || directory.place.host_path();
    let fd = sys::bpf_load_cgroup_device(&program)
        .map_err(|errno| Refused::new("bpf(BPF_PROG_LOAD, device policy)", path(), errno))?;
    sys::bpf_attach_cgroup_device(&directory.fd, &fd)
        .map_err(|errno| Refused::new("bpf(BPF_PROG_ATTACH, device policy)", path(), errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_cgroup_events() {
        assert_eq!(event(b"populated 1\nfrozen 0\n", "populated"), Some(true));
        assert_eq!(event(b"populated 1\nfrozen 0\n", "frozen"), Some(false));
        assert_eq!(event(b"populated 1\n", "frozen"), None);
    }
}
