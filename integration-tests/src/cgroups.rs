//! Cgroups seen from outside: every hierarchy that is mounted, and the directories in them that bear a test's token.

use std::fs;
use std::path::{Path, PathBuf};

use crate::case::Failure;

/// The mount point of every cgroup hierarchy, v1 and v2, in this mount namespace.
pub fn hierarchies() -> Result<Vec<PathBuf>, Failure> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        if right.starts_with("cgroup ") || right.starts_with("cgroup2 ") {
            found.extend(left.split(' ').nth(4).map(PathBuf::from));
        }
    }
    Ok(found)
}

/// Which kind of files a controller has in this mount namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy of its own.
    V1,
    /// The one hierarchy of cgroup v2.
    V2,
}

/// The kind of files of a controller, none where it is not to be had.
pub fn version_of(controller: &str) -> Result<Option<Version>, Failure> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let bound = text.lines().any(|line| {
        line.split_once(" - cgroup ")
            .and_then(|(_, right)| right.rsplit_once(' '))
            .is_some_and(|(_, options)| options.split(',').any(|option| option == controller))
    });
    if bound {
        return Ok(Some(Version::V1));
    }
    // In a hybrid layout the v2 hierarchy may have controllers too, but no runtime uses it for limits.
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let listed = unified.split_whitespace().any(|name| name == controller);
    Ok(listed.then_some(Version::V2))
}

/// Whether cgroup v2 alone is mounted.
pub fn unified() -> bool {
    fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok()
}

/// Every cgroup directory whose name holds `token`, and all below such a one, the deepest first.
pub fn named(token: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for top in hierarchies()? {
        walk(&top, 0, &mut |dir| {
            if dir.to_string_lossy().contains(token) {
                found.push(dir.to_owned());
            }
        });
    }
    found.sort_by_key(|dir| std::cmp::Reverse(dir.components().count()));
    Ok(found)
}

/// The processes of one cgroup directory, those of the directories below it included.
pub fn processes(dir: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    let mut read = |dir: &Path| {
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    };
    read(dir);
    walk(dir, 0, &mut read);
    found
}

/// Removes the empty cgroups that bear the token; says which could not be removed within a second: the last process of one may be on its way out.
pub fn remove(token: &str) -> Result<Vec<PathBuf>, Failure> {
    for attempt in 0.. {
        let mut left = Vec::new();
        for dir in named(token)? {
            if fs::remove_dir(&dir).is_err() && dir.is_dir() {
                left.push(dir);
            }
        }
        if left.is_empty() || attempt == 100 {
            return Ok(left);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(Vec::new())
}

/// The directory of `path` (as `/proc/PID/cgroup` writes it) in the v1 hierarchy of `controller`, or in the v2 one for `""`.
pub fn of_process(pid: i32, controller: &str) -> Result<PathBuf, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        if controllers.split(',').any(|name| name == controller) {
            return Ok(PathBuf::from(path));
        }
    }
    Err(Failure::new(format!(
        "process {pid} is in no cgroup of {controller:?}: {text}"
    )))
}

fn walk(dir: &Path, depth: u32, visit: &mut dyn FnMut(&Path)) {
    // Deep enough for any engine's layout, and an end to a test that nests without end.
    if depth > 12 {
        return;
    }
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path());
            walk(&entry.path(), depth + 1, visit);
        }
    }
}
