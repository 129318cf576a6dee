//! What the files said before an update, so that a failed or killed one can be taken back.
//!
//! A file is saved as the value that, written again, makes it say the same. Most hold one value; those with a line a device or interface
//! are saved line by line, and a line that was not there is saved as the one that takes the limit off.

use serde::{Deserialize, Serialize};

use crate::error::Pointer;
use crate::kernel_file::read_all;

use super::super::directory::Directory;
use super::machine::has;
use super::{Step, Write};

/// One value that stood in a file of the cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLimit {
    controller: String,
    file: String,
    /// Which line of the file; `None`: the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<String>,
    value: String,
}

/// What `steps` would write over. What cannot be read is left out: there is no value to go back to.
pub fn save(directories: &[Directory], steps: &[Step]) -> Vec<SavedLimit> {
    let mut saved: Vec<SavedLimit> = Vec::new();
    for write in steps.iter().flat_map(Step::writes) {
        let limit = SavedLimit {
            controller: write.controller.clone().into_owned(),
            file: write.file.clone().into_owned(),
            line: line_of(&write.file, &write.value).map(str::to_owned),
            value: String::new(),
        };
        if saved.iter().any(|other| limit.is_same_place(other)) {
            continue;
        }
        if let Some(value) = current(directories, &limit) {
            saved.push(SavedLimit { value, ..limit });
        }
    }
    saved
}

/// The step that makes the files say again what was saved; none where they do.
pub fn restoring(directories: &[Directory], saved: &[SavedLimit]) -> Vec<Step> {
    let changed = saved
        .iter()
        .filter(|limit| current(directories, limit).is_some_and(|now| now != limit.value));
    let writes = changed
        .map(|limit| Write {
            controller: limit.controller.clone().into(),
            file: limit.file.clone().into(),
            value: limit.value.clone(),
            at: Pointer::RESOURCES,
        })
        .collect::<Vec<_>>();
    if writes.is_empty() {
        Vec::new()
    } else {
        vec![Step::AnyOrder(writes)]
    }
}

impl SavedLimit {
    fn is_same_place(&self, other: &SavedLimit) -> bool {
        (&self.controller, &self.file, &self.line) == (&other.controller, &other.file, &other.line)
    }
}

fn current(directories: &[Directory], limit: &SavedLimit) -> Option<String> {
    let mut directories = directories.iter();
    let directory = directories.find(|directory| has(&directory.place, &limit.controller))?;
    let content = read_all(&directory.fd, limit.file.as_str()).ok()?;
    said(
        &limit.file,
        limit.line.as_deref(),
        std::str::from_utf8(&content).ok()?,
    )
}

/// The first word of the line that a write is about.
fn line_of<'a>(file: &str, value: &'a str) -> Option<&'a str> {
    match (file, value.trim().split_once(' ')) {
        ("cpu.max", _) => None,
        ("memory.oom_control", _) => Some("oom_kill_disable"),
        ("io.weight" | "io.bfq.weight", None) => Some("default"),
        (_, Some((line, _))) => Some(line),
        (_, None) => None,
    }
}

fn said(file: &str, line: Option<&str>, content: &str) -> Option<String> {
    let Some(line) = line else {
        let value = content.trim();
        // A list is emptied by a newline; a write of nothing would not reach the kernel.
        return Some(if value.is_empty() { "\n" } else { value }.to_owned());
    };
    let mut lines = content.lines().map(str::trim);
    let found = lines.find(|text| text.split(' ').next() == Some(line));
    match (file, found) {
        ("memory.oom_control", found) => Some(found?.split_once(' ')?.1.to_owned()),
        (_, Some(text)) => Some(text.to_owned()),
        ("io.max", None) => Some(format!("{line} rbps=max wbps=max riops=max wiops=max")),
        ("io.weight" | "io.bfq.weight" | "blkio.bfq.weight_device", None) => {
            Some(format!("{line} default"))
        }
        (_, None) if file.starts_with("blkio.throttle.") => Some(format!("{line} 0")),
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_can_be_written_again() {
        let table = [
            ("memory.max", "1048576", "max\n", Some("max")),
            ("cpu.max", "5000 10000", "max 100000\n", Some("max 100000")),
            ("cpuset.cpus", "0", "\n", Some("\n")),
            (
                "memory.oom_control",
                "1",
                "oom_kill_disable 0\nunder_oom 0\n",
                Some("0"),
            ),
            (
                "io.weight",
                "200",
                "default 100\n8:0 50\n",
                Some("default 100"),
            ),
            (
                "io.weight",
                "8:0 200",
                "default 100\n8:0 50\n",
                Some("8:0 50"),
            ),
            (
                "io.weight",
                "8:16 200",
                "default 100\n",
                Some("8:16 default"),
            ),
            (
                "io.max",
                "8:0 rbps=1",
                "8:0 rbps=7 wbps=max riops=max wiops=max\n",
                Some("8:0 rbps=7 wbps=max riops=max wiops=max"),
            ),
            (
                "io.max",
                "8:0 rbps=1",
                "",
                Some("8:0 rbps=max wbps=max riops=max wiops=max"),
            ),
            ("blkio.throttle.read_bps_device", "8:0 9", "", Some("8:0 0")),
            ("net_prio.ifpriomap", "lo 3", "lo 0\neth0 1\n", Some("lo 0")),
            ("net_prio.ifpriomap", "eth7 3", "lo 0\n", None),
        ];
        for (file, value, content, expected) in table {
            let line = line_of(file, value);
            assert_eq!(
                said(file, line, content).as_deref(),
                expected,
                "{file} {value}"
            );
        }
    }
}
