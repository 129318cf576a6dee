//! The limits that strikes are made at: what the container has first, what the struck update asks for, and what must be true afterwards.
//!
//! On the v2 view of a machine that has its controllers on v1, the limits are those of cgroups themselves, which need no controller.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use garboard_integration_tests::case::{Failure, Test};
use garboard_integration_tests::cgroups;
use garboard_integration_tests::container::Container;
use serde_json::{Value, json};

fn has_controllers() -> bool {
    matches!(cgroups::version_of("pids"), Ok(Some(_)))
}

/// For a create.
pub fn first() -> Value {
    if has_controllers() {
        json!({"pids": {"limit": 40}, "cpu": {"shares": 700}, "memory": {"limit": 256 << 20}})
    } else {
        json!({"unified": {"cgroup.max.depth": "40", "cgroup.max.descendants": "700"}})
    }
}

/// For the update that is struck: two limits, of which the one that follows names neither.
pub fn second() -> Value {
    if has_controllers() {
        json!({"cpu": {"shares": 300}, "memory": {"limit": 128 << 20}})
    } else {
        json!({"unified": {"cgroup.max.depth": "30", "cgroup.max.descendants": "300"}})
    }
}

fn third() -> Value {
    if has_controllers() {
        json!({"pids": {"limit": 33}})
    } else {
        json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]})
    }
}

/// An update by a document.
pub fn update(test: &Test, c: &Container<'_>, document: &Value) -> Result<Command, Failure> {
    let path = test.dir.join("limits.json");
    fs::write(&path, document.to_string())?;
    let flag = format!("--resources={}", path.display());
    Ok(c.command("update", &[&flag], &[]))
}

/// The files that [`second`] is about, each with what a new cgroup has there.
fn files() -> [([&'static str; 2], &'static [&'static str]); 2] {
    if has_controllers() {
        [
            (["cpu.shares", "cpu.weight"], &["1024", "100"]),
            (
                ["memory.limit_in_bytes", "memory.max"],
                &["9223372036854771712", "max"],
            ),
        ]
    } else {
        [
            (["cgroup.max.depth"; 2], &["max"]),
            (["cgroup.max.descendants"; 2], &["max"]),
        ]
    }
}

/// Another update must work; then nothing of a failed one is left, and all of one that succeeded is. One that was `killed` may have come
/// to its end before, but not halfway.
pub fn after_update(
    test: &Test,
    c: &Container<'_>,
    succeeded: bool,
    killed: bool,
) -> Result<Vec<String>, Failure> {
    let mut trouble = Vec::new();
    let next = test.runtime.finish(update(test, c, &third())?)?;
    if next.code() != 0 {
        trouble.push(format!("the next update: {}", next.stderr().trim()));
    }
    let mut new = Vec::new();
    for (names, default) in files() {
        let path = file(c, names)?;
        let value = fs::read_to_string(&path)?;
        new.push(!default.contains(&value.trim()));
        if new.last() != new.first() || (!killed && succeeded != new[0]) {
            trouble.push(format!("{} is {}", path.display(), value.trim()));
        }
    }
    Ok(trouble)
}

fn file(c: &Container<'_>, names: [&str; 2]) -> Result<PathBuf, Failure> {
    let dirs = cgroups::named(&c.id)?;
    let all = dirs
        .iter()
        .flat_map(|dir| names.iter().map(move |name| dir.join(name)));
    let found = { all }.find(|path| path.is_file());
    found.ok_or_else(|| Failure::new(format!("no {}", names[0])))
}
