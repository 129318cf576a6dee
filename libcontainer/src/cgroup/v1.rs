//! What is special on v1 hierarchies: killing needs the freezer, devices have their own controller, a new cpuset is empty.
//!
//! Whatever freezes here thaws again on every way out, panics included: a process left in the refrigerator cannot die.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::config::DeviceRule;
use crate::error::{Error, ErrorKind, Refused};
use crate::host::Host;
use crate::kernel_file::{read_record, write_value};

use super::directory::Directory;
use super::{Place, device, frozen_above, not_frozen, not_thawed, survivors};

/// How long to wait for the freezer: it only keeps a fork bomb from outrunning us, and another round follows.
const FREEZE_LIMIT: Duration = Duration::from_millis(100);
/// Who is still there after this long gets another signal: the pid of one that died may be that of another by now.
const SIGNAL_AGAIN: Duration = Duration::from_millis(500);
/// Pidfds held at once while killing, if so many descriptors are to be had: between two batches the lists are read again.
const BATCH: usize = 256;
/// Descriptors that stay free for reading the lists meanwhile.
const SPARE: usize = 16;

/// Kills every process in `directories`, all of one container and all marked, and waits for the last to go. The directory in the cgroup2
/// tree of a hybrid machine is one of them.
pub(super) fn kill(
    directories: &[&Directory],
    host: &Host,
    deadline: Instant,
) -> Result<(), Error> {
    let freezer = directories
        .iter()
        .find(|directory| directory.place.has("freezer"));
    let mut pause = Duration::from_micros(200);
    let mut signalled = BTreeSet::new();
    let mut again = Instant::now();
    while let Some(pids) = first_processes(directories)? {
        // While the killed die there is nothing to freeze, which would only keep them from it.
        if !pids.is_subset(&signalled) || Instant::now() >= again {
            let _frozen = freezer.map(|directory| Frozen::new(directory));
            signalled = signal(directories)?;
            again = Instant::now() + SIGNAL_AGAIN;
        }
        if Instant::now() >= deadline {
            let mut left = Vec::new();
            for directory in directories {
                directory.add_processes(&mut left)?;
            }
            left.sort_unstable();
            left.dedup();
            return Err(survivors(host, &directories[0].place.host_path(), left));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    Ok(())
}

/// Those of the first hierarchy that has any: usually all have the same.
fn first_processes(directories: &[&Directory]) -> Result<Option<BTreeSet<i32>>, Refused> {
    for directory in directories {
        let pids = processes(directory)?;
        if !pids.is_empty() {
            return Ok(Some(pids));
        }
    }
    Ok(None)
}

/// Sends SIGKILL to all, and says to whom. A pid may die and be given anew between our reading the list and opening it, so the list is
/// read again before the signal goes to what was opened.
fn signal(directories: &[&Directory]) -> Result<BTreeSet<i32>, Error> {
    let mut signalled = BTreeSet::new();
    for directory in directories {
        let pids = processes(directory)?;
        if pids.contains(&own_pid()) {
            return Err(Error::new(
                ErrorKind::Internal,
                "refusing to kill: this process is in the container's cgroup",
            ));
        }
        let new = pids.difference(&signalled).copied().collect::<Vec<_>>();
        let mut rest = new.as_slice();
        while !rest.is_empty() {
            let (opened, tried) = open_batch(rest);
            rest = &rest[tried..];
            let still_in = processes(directory)?;
            for (pid, pidfd) in opened.iter().filter(|(pid, _)| still_in.contains(pid)) {
                match pidfd_send_signal(pidfd, Signal::KILL) {
                    Ok(()) | Err(Errno::SRCH) => signalled.insert(*pid),
                    Err(errno) => {
                        return Err(Refused::call("pidfd_send_signal(SIGKILL)", errno).into());
                    }
                };
            }
        }
    }
    Ok(signalled)
}

/// Pidfds of the first of `pids`, and how many were tried, always one at least. Those that have ended are left out; an embedder may have
/// few descriptors to spare, and then the batch is short.
fn open_batch(pids: &[i32]) -> (Vec<(i32, OwnedFd)>, usize) {
    let mut opened = Vec::new();
    for (tried, &pid) in pids.iter().take(BATCH).enumerate() {
        let Some(named) = Pid::from_raw(pid) else {
            continue;
        };
        match pidfd_open(named, PidfdFlags::empty()) {
            Ok(pidfd) => opened.push((pid, pidfd)),
            Err(Errno::MFILE | Errno::NFILE) if tried > 0 => {
                // What is closed again is not lost: another round of the kill follows.
                opened.truncate(opened.len().saturating_sub(SPARE).max(1));
                return (opened, tried);
            }
            Err(_) => {}
        }
    }
    (opened, pids.len().min(BATCH))
}

fn processes(directory: &Directory) -> Result<BTreeSet<i32>, Refused> {
    let mut pids = Vec::new();
    directory.add_processes(&mut pids)?;
    Ok(pids.into_iter().collect())
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// A freezer cgroup that is thawed on drop.
struct Frozen<'a>(&'a Directory);

impl Frozen<'_> {
    fn new(directory: &Directory) -> Frozen<'_> {
        let frozen = Frozen(directory);
        let limit = Instant::now() + FREEZE_LIMIT;
        // A task that forks while we freeze may need a second write (cgroup-v1/freezer-subsystem). Not reaching FROZEN is no failure.
        while write_value(&directory.fd, c"freezer.state", b"FROZEN").is_ok() {
            let state = read_record(&directory.fd, c"freezer.state").unwrap_or_default();
            if state.starts_with(b"FROZEN") || Instant::now() >= limit {
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        frozen
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // A cgroup that has gone has nothing left to thaw.
        let _ = release(self.0);
    }
}

/// Freezes the cgroup with all below it and waits until the kernel says so; thaws it again when that does not come before `deadline`.
pub(super) fn freeze(directory: &Directory, deadline: Instant) -> Result<(), Error> {
    // A process that forks while we freeze may need another write (cgroup-v1/freezer-subsystem).
    loop {
        let state = write_value(&directory.fd, c"freezer.state", b"FROZEN")
            .and_then(|()| read_record(&directory.fd, c"freezer.state"));
        match state {
            Ok(state) if state.starts_with(b"FROZEN") => return Ok(()),
            Ok(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            failed => {
                // Never left half frozen. The first error is the one to tell.
                let _ = set_thawed(directory);
                return match failed {
                    Ok(_) => Err(not_frozen(&directory.place)),
                    Err(errno) => Err(directory
                        .refused("write(FROZEN)", "freezer.state", errno)
                        .into()),
                };
            }
        }
    }
}

/// Frozen by itself or with an ancestor, or on the way there.
pub(super) fn frozen(directory: &Directory) -> Result<bool, Refused> {
    match read_record(&directory.fd, c"freezer.state") {
        Ok(state) => Ok(!state.starts_with(b"THAWED")),
        Err(Errno::NOENT | Errno::NODEV) => Ok(false),
        Err(errno) => Err(directory.refused("read", "freezer.state", errno)),
    }
}

/// Takes our own freeze back and waits until the kernel says so.
/// Errors: WrongStatus when an ancestor keeps it frozen; Internal after the deadline.
pub(super) fn thaw(directory: &Directory, deadline: Instant) -> Result<(), Error> {
    let read = |file: &str| match read_record(&directory.fd, file) {
        Err(Errno::NOENT | Errno::NODEV) => Ok(Vec::new()),
        other => other.map_err(|errno| directory.refused("read", file, errno)),
    };
    set_thawed(directory)?;
    loop {
        let state = read("freezer.state")?;
        if state.is_empty() || state.starts_with(b"THAWED") {
            return Ok(());
        }
        if read("freezer.parent_freezing")?.starts_with(b"1") {
            return Err(frozen_above(&directory.place));
        }
        if Instant::now() >= deadline {
            return Err(not_thawed(&directory.place));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn set_thawed(directory: &Directory) -> Result<(), Refused> {
    match write_value(&directory.fd, c"freezer.state", b"THAWED") {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(errno) => Err(directory.refused("write(THAWED)", "freezer.state", errno)),
    }
}

/// Thaws the cgroup and all below it, so that the killed die: a container with a writable view may have frozen a sub-cgroup by itself.
pub(super) fn release(directory: &Directory) -> Result<(), Refused> {
    let mut result = Ok(());
    let walked = directory.for_each(
        &mut |fd| match write_value(fd, c"freezer.state", b"THAWED") {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => result = Err(directory.refused("write(THAWED)", "freezer.state", errno)),
        },
    );
    result.and(walked)
}

/// Writes the device policy into the devices controller. A new cgroup has its parent's, so it begins with a denial of everything.
pub(super) fn set_devices(directory: &Directory, rules: &[DeviceRule]) -> Result<(), Refused> {
    for write in device::v1_writes(rules) {
        directory.write(write.file, write.value.as_bytes())?;
    }
    Ok(())
}

/// A new cpuset cgroup has no CPUs and no memory nodes, and no process may enter it: it takes its parent's.
pub(super) fn inherit_cpuset(place: &Place) -> Result<(), Refused> {
    let own = place.host_path();
    let parent = own.parent().unwrap_or(Path::new("/"));
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let read = |path: &Path| {
            read_record(CWD, path.join(file))
                .map_err(|errno| Refused::new("read", path.join(file), errno))
        };
        if read(&own)?.trim_ascii().is_empty() {
            let inherited = read(parent)?;
            write_value(CWD, own.join(file), &inherited)
                .map_err(|errno| Refused::new("write", own.join(file), errno))?;
        }
    }
    Ok(())
}
