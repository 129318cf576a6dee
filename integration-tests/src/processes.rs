//! Finds processes by what `/proc` says of them, and ends those that descend from this one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A line of `/proc/PID/stat`, in part.
#[derive(Debug, Clone)]
pub struct Stat {
    /// Its number.
    pub pid: i32,
    /// The name the process gave itself.
    pub comm: String,
    /// `R`, `S`, `Z`, …
    pub state: char,
    /// Its parent.
    pub parent: i32,
}

/// Reads `/proc/PID/stat`; none if there is no such process.
pub fn stat(pid: i32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = line.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat {
        pid,
        comm: before.split_once('(')?.1.to_owned(),
        state,
        parent,
    })
}

/// Every process there is.
pub fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .collect()
}

/// Every process that descends from this one, zombies included.
pub fn descendants() -> Vec<Stat> {
    let all = all();
    let by_parent = all
        .iter()
        .fold(BTreeMap::<i32, Vec<&Stat>>::new(), |mut map, one| {
            map.entry(one.parent).or_default().push(one);
            map
        });
    let mut found: Vec<Stat> = Vec::new();
    let mut left = vec![std::process::id().cast_signed()];
    while let Some(parent) = left.pop() {
        for child in by_parent.get(&parent).into_iter().flatten() {
            left.push(child.pid);
            found.push((*child).clone());
        }
    }
    found
}

/// Takes the status of every child that has ended and nobody waits for. Not to be used while a `std::process::Child` is held.
pub fn reap() {
    while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
        if status.pid().is_none() {
            break;
        }
    }
}

/// Takes the status of every ended child but those in `held`.
pub fn reap_children_but(held: &BTreeSet<i32>) {
    let own = std::process::id();
    let Ok(text) = fs::read_to_string(format!("/proc/{own}/task/{own}/children")) else {
        return;
    };
    for pid in text
        .split_whitespace()
        .filter_map(|pid| pid.parse::<i32>().ok())
    {
        if !held.contains(&pid) && stat(pid).is_some_and(|stat| stat.state == 'Z') {
            // Somebody else may have taken it: nothing is lost.
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Kills every descendant and takes their statuses; gives up after two seconds.
pub fn end_descendants() {
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        reap();
        let left = descendants();
        if left.is_empty() {
            return;
        }
        for one in left {
            // It may have ended meanwhile: that is what is wanted.
            let _ = kill(Pid::from_raw(one.pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a process runs, for messages.
pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .replace('\0', " ")
        .trim()
        .to_owned()
}

/// The inode number of a namespace of a process, `kind` as in `/proc/PID/ns`.
pub fn namespace(pid: i32, kind: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(
        fs::metadata(Path::new(&format!("/proc/{pid}/ns/{kind}")))
            .ok()?
            .ino(),
    )
}

/// A field of `/proc/PID/status`, such as `SigIgn`.
pub fn status_field(pid: i32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
}
