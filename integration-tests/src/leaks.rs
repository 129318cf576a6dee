//! What a case may leave behind: nothing. A snapshot before and one after are compared.
//!
//! Looked at: processes that descend from the case, mounts of the case's namespace, cgroups and systemd's units that bear its token, what is in the
//! runtime's root, temporary files, and the case's own descriptors. A network namespace lives only by a process, a mount or a descriptor, all three of which are looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::case::Failure;
use crate::{cgroups, processes};

/// What was there at one moment.
#[derive(Debug)]
pub struct Snapshot {
    mounts: BTreeSet<String>,
    descriptors: BTreeSet<String>,
}

impl Snapshot {
    /// Looks at the machine now.
    pub fn take() -> Result<Snapshot, Failure> {
        Ok(Snapshot {
            mounts: mount_lines()?,
            descriptors: descriptors()?,
        })
    }

    /// Says what has come since; empty if nothing has.
    pub fn leaks_since(&self, token: &str, root: &Path) -> Result<Vec<String>, Failure> {
        processes::reap();
        let mut found = Vec::new();
        for one in processes::descendants() {
            found.push(format!(
                "process {} {} ({}): {}",
                one.pid,
                one.comm,
                one.state,
                processes::command_line(one.pid)
            ));
        }
        for line in mount_lines()?.difference(&self.mounts) {
            found.push(format!("mount {line}"));
        }
        for line in self.mounts.difference(&mount_lines()?) {
            found.push(format!("mount gone {line}"));
        }
        for line in descriptors()?.difference(&self.descriptors) {
            found.push(format!("descriptor {line}"));
        }
        found.extend(left_in(token, root)?);
        Ok(found)
    }
}

/// Cgroups that bear the token below its own top directory, and files in the runtime's root.
pub fn left_in(token: &str, root: &Path) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for dir in cgroups::named(token)? {
        // The parent `/TOKEN` was named by the test, and a runtime does not know that it is the only one to use it.
        if dir.file_name().is_some_and(|name| name != token) {
            found.push(format!(
                "cgroup {} with processes {:?}",
                dir.display(),
                cgroups::processes(&dir)
            ));
        }
    }
    found.extend(units(token));
    if let Ok(entries) = fs::read_dir(root) {
        for entry in entries.flatten() {
            let inside: Vec<_> = fs::read_dir(entry.path())
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            found.push(format!("file {} {inside:?}", entry.path().display()));
        }
    }
    Ok(found)
}

/// Transient units that bear the token, active or not: systemd has a file for each as long as it is loaded. Nothing where there is no systemd.
fn units(token: &str) -> Vec<String> {
    let users = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let tops = [Some(PathBuf::from("/run")), users];
    let files = tops
        .into_iter()
        .flatten()
        .filter_map(|top| fs::read_dir(top.join("systemd/transient")).ok())
        .flat_map(|entries| entries.flatten())
        .filter(|entry| entry.file_name().to_string_lossy().contains(token));
    files
        .map(|entry| format!("unit {}", entry.file_name().to_string_lossy()))
        .collect()
}

/// The mount points of this mount namespace, in the order of mounting.
pub fn mount_points() -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(str::to_owned)
        .collect())
}

fn mount_lines() -> Result<BTreeSet<String>, Failure> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    // Without the peer group, which may become "shared" by a namespace that others make.
    Ok(text.lines().map(str::to_owned).collect())
}

fn descriptors() -> Result<BTreeSet<String>, Failure> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        // The descriptor of this very listing is gone when its link is read.
        if let Ok(target) = fs::read_link(entry.path())
            && !target.starts_with("/proc")
        {
            found.insert(format!(
                "{} -> {}",
                entry.file_name().to_string_lossy(),
                target.display()
            ));
        }
    }
    Ok(found)
}
