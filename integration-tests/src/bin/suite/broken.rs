//! Broken bundles and process files: each is refused with a text that is kept in `snapshots/`, and leaves nothing on the machine.
//!
//! The tables are data (`broken/bundles.json`, `broken/processes.json`): what is put into the default bundle, or taken out. In their values
//! `{"$repeat": [TEXT, N]}`, `{"$bytes": [...]}` and `{"$mappings": N}` stand for what is too long to write down.
//! With `GARBOARD_TEST_SNAPSHOTS=update` in the environment the texts are written instead of compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::Container;
use garboard_integration_tests::leaks::Snapshot;
use garboard_integration_tests::runtime::Output;
use garboard_integration_tests::{cases, cgroups, processes};
use serde_json::{Map, Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        broken_bundles_are_refused_and_leave_nothing,
        broken_process_files_are_refused_and_leave_nothing
    ]
}

const BUNDLES: &str = include_str!("../../../broken/bundles.json");
const PROCESSES: &str = include_str!("../../../broken/processes.json");

/// Rows that Debian's runc takes, by what it does not know or does not look at.
const RUNC_TAKES: i32 = 0;

fn broken_bundles_are_refused_and_leave_nothing(t: &Test) -> Done {
    let rows: Vec<Value> = serde_json::from_str(BUNDLES)?;
    let mut said = BTreeMap::new();
    let mut wrong = Vec::new();
    let before = Snapshot::take()?;
    for row in &rows {
        let name = row["name"].as_str().unwrap_or("");
        if t.runtime.is_runc() && name.ends_with("of a megabyte") {
            // Debian's runc hangs on the first of them.
            continue;
        }
        let c = t.container(&mutated(row))?;
        if let Some(raw) = row.get("raw") {
            fs::write(c.bundle.join("config.json"), expand(raw)?)?;
        }
        let flags: Vec<&str> = row["flags"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let out = t.runtime.finish(c.create_command(&flags))?;
        judge(t, name, &out, 1, &c, &mut said, &mut wrong);
        if out.code() == RUNC_TAKES {
            c.delete_force()?;
        }
        for leak in patiently(|| before.leaks_since(&t.token, &t.runtime.root))? {
            // runc 1.1 leaves the cgroup when it cannot join a namespace.
            if !(t.runtime.is_runc() && leak.starts_with("cgroup")) {
                wrong.push(format!("{name}: left behind: {leak}"));
            }
        }
        if t.runtime.is_runc() {
            cgroups::remove(&t.token)?;
        }
        fs::remove_dir_all(&c.bundle)?;
    }
    conclude(t, "broken-bundles.txt", said, wrong)
}

fn broken_process_files_are_refused_and_leave_nothing(t: &Test) -> Done {
    let rows: Vec<Value> = serde_json::from_str(PROCESSES)?;
    let c = t.container(&Bundle::sleeper())?;
    c.run_detached()?;
    let init = c.pid()?;
    let mut said = BTreeMap::new();
    let mut wrong = Vec::new();
    let file = t.dir.join("process.json");
    for row in &rows {
        let name = row["name"].as_str().unwrap_or("");
        let content = match row.get("raw") {
            Some(raw) => expand(raw)?,
            None => serde_json::to_vec(&row["process"])?,
        };
        fs::write(&file, content)?;
        let out = c.call("exec", &["--process", &file.to_string_lossy()], &[])?;
        judge(t, name, &out, 255, &c, &mut said, &mut wrong);
        let left = patiently(|| {
            processes::reap();
            Ok(processes::descendants()
                .iter()
                .filter(|one| one.pid != init)
                .map(|one| processes::command_line(one.pid))
                .collect())
        })?;
        wrong.extend(
            left.iter()
                .map(|leak| format!("{name}: left behind: {leak}")),
        );
    }
    assert_eq!(c.status()?, "running");
    conclude(t, "broken-processes.txt", said, wrong)
}

fn patiently(look: impl Fn() -> Result<Vec<String>, Failure>) -> Result<Vec<String>, Failure> {
    for _ in 0..100 {
        if look()?.is_empty() {
            return Ok(Vec::new());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    look()
}

fn mutated(row: &Value) -> Bundle {
    let mut bundle = Bundle::sleeper();
    for (pointer, value) in row["set"].as_object().into_iter().flatten() {
        bundle = match pointer.as_str() {
            "$without_namespace" => bundle.without_namespace(value.as_str().unwrap_or("")),
            pointer => bundle.set(pointer, expanded(value)),
        };
    }
    for pointer in row["remove"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        bundle = bundle.without(pointer);
    }
    for (path, target) in row["links"].as_object().into_iter().flatten() {
        bundle = bundle.root(|root| root.link(path, target.as_str().unwrap_or("")));
    }
    bundle
}

/// Puts in what the `$` forms stand for.
fn expanded(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(expanded).collect(),
        Value::Object(map) if map.contains_key("$repeat") => {
            let count = map["$repeat"][1]
                .as_u64()
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or(0);
            json!(map["$repeat"][0].as_str().unwrap_or("").repeat(count))
        }
        Value::Object(map) if map.contains_key("$mappings") => {
            let count = map["$mappings"].as_u64().unwrap_or(0);
            (0..count)
                .map(|n| json!({"containerID": n * 2, "hostID": 100_000 + n * 2, "size": 1}))
                .collect()
        }
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), expanded(value)))
                .collect::<Map<_, _>>(),
        ),
        other => other.clone(),
    }
}

/// The bytes of a whole file.
fn expand(value: &Value) -> Result<Vec<u8>, Failure> {
    if let Some(bytes) = value["$bytes"].as_array() {
        return Ok(bytes
            .iter()
            .filter_map(Value::as_u64)
            .filter_map(|byte| u8::try_from(byte).ok())
            .collect());
    }
    let text = expanded(value);
    text.as_str()
        .map(|text| text.as_bytes().to_vec())
        .ok_or_else(|| Failure::new("a raw row is text or bytes"))
}

fn judge(
    t: &Test,
    name: &str,
    out: &Output,
    code: i32,
    c: &Container<'_>,
    said: &mut BTreeMap<String, String>,
    wrong: &mut Vec<String>,
) {
    let text = normalised(t, &out.stderr(), c);
    if t.runtime.is_runc() {
        // A Go program that panics says so; what it takes and refuses otherwise is its own affair.
        if text.contains("panic:") || out.code() > 1 && out.code() != 255 {
            wrong.push(format!("{name}: exit status {}: {text}", out.code()));
        }
        return;
    }
    if out.code() != code {
        wrong.push(format!(
            "{name}: exit status {} is not {code}: {text}",
            out.code()
        ));
    }
    if text.is_empty() || text.contains("panicked") {
        wrong.push(format!("{name}: said {text:?}"));
    }
    if text.len() > 8000 {
        wrong.push(format!(
            "{name}: an error of {} bytes, more than conmon reads",
            text.len()
        ));
    }
    said.insert(name.to_owned(), text.chars().take(8000).collect());
}

/// The error without what differs from run to run.
fn normalised(t: &Test, text: &str, c: &Container<'_>) -> String {
    let number = c
        .bundle
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let text = text
        .replace(&c.bundle.display().to_string(), "BUNDLE")
        .replace(&t.dir.display().to_string(), "DIR");
    let text = text
        .replace(&c.id, "ID")
        .replace(&t.token, "TOKEN")
        .replace(&format!("/{number}/"), "/BUNDLE/");
    let mut words = Vec::new();
    for line in text.lines() {
        // The text form of the log: time="..." level=... msg="...".
        let message = line
            .split_once(" msg=")
            .map_or(line, |(_, message)| message);
        let bare = message
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(message);
        words.push(bare.replace("\\\"", "\""));
    }
    words.join("\n    ")
}

fn conclude(t: &Test, file: &str, said: BTreeMap<String, String>, mut wrong: Vec<String>) -> Done {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots")).join(file);
    let text: String = said
        .iter()
        .map(|(name, text)| format!("{name}\n    {text}\n"))
        .collect();
    if std::env::var_os("GARBOARD_TEST_SNAPSHOTS").is_some_and(|value| value == "update") {
        fs::write(&path, &text)?;
    } else if !t.runtime.is_runc() {
        let known = fs::read_to_string(&path)
            .map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        let differing = differences(&known, &text);
        wrong.extend(differing);
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(wrong.join("\n")))
    }
}

/// The rows whose text is not the one that is kept.
fn differences(known: &str, now: &str) -> Vec<String> {
    let rows = |text: &str| -> BTreeMap<String, String> {
        let mut rows = BTreeMap::<String, String>::new();
        let mut name = String::new();
        for line in text.lines() {
            if line.starts_with("    ") {
                rows.entry(name.clone()).or_default().push_str(line);
            } else {
                line.clone_into(&mut name);
            }
        }
        rows
    };
    let (known, now) = (rows(known), rows(now));
    let mut found = Vec::new();
    for (name, text) in &now {
        match known.get(name) {
            Some(kept) if kept == text => {}
            Some(kept) => found.push(format!("{name}:\n  kept {kept}\n  now  {text}")),
            None => found.push(format!("{name}: a new row: {text}")),
        }
    }
    found.extend(
        known
            .keys()
            .filter(|name| !now.contains_key(*name))
            .map(|name| format!("{name}: no longer tried")),
    );
    found
}
