//! Random resources, right and wrong: their plans, and the plans applied to a directory of plain files.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::Place;
use super::super::directory::Directory;
use super::*;
use crate::config::{Config, HostFacts, default_spec, resources_document};

#[path = "../../../../integration-tests/src/resources.rs"]
mod random;

use random::{Machine, Random};

const VERSIONS: [(Version, bool); 2] = [(Version::V2, true), (Version::V1, false)];

fn config_of(resources: &Value, unified: bool) -> Result<Config, ConfigErrors> {
    let facts = HostFacts {
        last_cap: 40,
        selinux: false,
        apparmor: false,
        unprivileged: false,
        rootless: false,
        cgroup_v2: unified,
    };
    let mut config: Value = serde_json::from_str(&default_spec(None, true)).expect("JSON");
    config["linux"]["resources"] = resources.clone();
    Config::parse(config.to_string().as_bytes(), Path::new("/bundle"), &facts)
}

/// The pointers of all numbers, strings and true in `value`, below `at`.
fn leaves(value: &Value, at: &Pointer, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| leaves(value, &at.key(name), found)),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .for_each(|(index, value)| leaves(value, &at.index(index), found)),
        Value::Null | Value::Bool(false) => {}
        _ => {
            found.insert(at.to_string());
        }
    }
}

/// Whether a write of `written`, or nothing, is what becomes of the key `asked`.
fn accounts_for(
    asked: &str,
    written: &BTreeSet<String>,
    unified: bool,
    resources: &Resources,
) -> bool {
    let key = asked.trim_start_matches("resources.json#/");
    let with = |other: &str| written.contains(&format!("resources.json#/{other}"));
    let above = |pointer: &String| asked.starts_with(&format!("{pointer}/"));
    written.contains(asked)
        || written.iter().any(above)
        || key.ends_with("/pageSize")
        || key == "memory/checkBeforeUpdate"
        || (key == "cpu/shares" && resources.cpu.idle == Some(1))
        || (key == "cpu/period" && unified && with("cpu/quota"))
}

#[test]
fn every_key_of_random_resources_becomes_a_write_or_is_named_as_without_effect() {
    for (version, unified) in VERSIONS {
        let machine = Machine::ideal(unified);
        for seed in 0..500 {
            let document = Random::new(seed, &machine).valid();
            let text = document.to_string();
            let resources = resources_document(text.as_bytes())
                .unwrap_or_else(|e| panic!("{seed}: {e}: {text}"));
            let whole =
                config_of(&document, unified).unwrap_or_else(|e| panic!("{seed}: {e}: {text}"));
            assert_eq!(whole.cgroup.resources, resources, "{seed}: {text}");

            let steps = plan(version, &resources, Origin::Document).expect("limits that agree");
            let writes = steps.iter().flat_map(Step::writes);
            let written = writes
                .map(|write| write.at.to_string())
                .collect::<BTreeSet<_>>();
            let ignored = without_effect(version, &resources, Origin::Document);
            let ignored = ignored.iter().map(Pointer::to_string).collect::<Vec<_>>();
            let mut asked = BTreeSet::new();
            leaves(&document, &Pointer::RESOURCES, &mut asked);
            for key in &asked {
                let passed_over = ignored
                    .iter()
                    .any(|pointer| key.starts_with(pointer.as_str()));
                assert!(
                    passed_over || accounts_for(key, &written, unified, &resources),
                    "{seed}: nothing is written for {key}: {text}"
                );
            }
            for pointer in &written {
                assert!(
                    asked.iter().any(|key| key.starts_with(pointer)),
                    "{seed}: nobody asked for {pointer}: {text}"
                );
            }

            // What a record keeps plans the same.
            let kept = serde_json::to_string(&resources).expect("JSON");
            let again = resources_document(kept.as_bytes()).expect("valid");
            assert_eq!(
                plan(version, &again, Origin::Document).expect("agree"),
                steps,
                "{seed}: {kept}"
            );
        }
    }
}

#[test]
fn wrong_resources_are_refused_at_the_right_place() {
    for (_, unified) in VERSIONS {
        let machine = Machine::ideal(unified);
        let mut places = BTreeSet::new();
        for seed in 0..500 {
            let wrong = Random::new(seed, &machine).invalid();
            let text = wrong.resources.to_string();
            let errors = config_of(&wrong.resources, unified)
                .err()
                .unwrap_or_else(|| panic!("{seed}: {} passed: {text}", wrong.at));
            let at = errors
                .as_slice()
                .iter()
                .map(|error| error.pointer.as_str())
                .collect::<Vec<_>>();
            assert_eq!(
                at,
                [format!("config.json#/linux/resources{}", wrong.at)],
                "{seed}: {errors}: {text}"
            );
            places.insert(wrong.at);
        }
        assert!(places.len() > 30, "only {} kinds of faults", places.len());
    }
}

/// Plain files in the place of a cgroup's.
struct Files {
    path: PathBuf,
    directory: Directory,
}

impl Files {
    fn new(
        name: &str,
        version: Version,
        files: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Files {
        let path = std::env::temp_dir().join(format!(
            "garboard-test-limits-{name}-{}",
            std::process::id()
        ));
        std::fs::create_dir(&path).expect("a new directory");
        for file in files {
            std::fs::write(path.join(file.as_ref()), "").expect("a file");
        }
        let place = Place {
            mount: "/sys/fs/cgroup".into(),
            path: "garboard-test".into(),
            version,
            controllers: match version {
                Version::V1 => [
                    "memory", "cpu", "cpuset", "blkio", "pids", "hugetlb", "rdma", "net_cls",
                    "net_prio",
                ]
                .map(str::to_owned)
                .to_vec(),
                Version::V2 => Vec::new(),
            },
        };
        let fd = OwnedFd::from(std::fs::File::open(&path).expect("the directory"));
        Files {
            path,
            directory: Directory {
                place,
                fd,
                marked: false,
                made: false,
            },
        }
    }

    fn apply(&self, steps: &[Step]) -> Result<(), crate::Error> {
        apply(std::slice::from_ref(&self.directory), steps)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path.join(file)).expect("the file")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[test]
fn random_plans_end_in_their_files() {
    for (version, unified) in VERSIONS {
        let machine = Machine::ideal(unified);
        for seed in 0..100 {
            let document = Random::new(seed, &machine).valid().to_string();
            let resources = resources_document(document.as_bytes()).expect("valid");
            let steps = plan(version, &resources, Origin::Document).expect("limits that agree");
            let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for step in &steps {
                let writes = step.writes().take(match step {
                    Step::FirstPresent(_) => 1,
                    Step::NotBelowUsage { .. } => 0,
                    _ => usize::MAX,
                });
                for write in writes {
                    values.entry(&write.file).or_default().push(&write.value);
                }
            }
            let files = Files::new(&format!("{unified}-{seed}"), version, values.keys());
            files
                .apply(&steps)
                .unwrap_or_else(|e| panic!("{seed}: {e}: {document}"));
            // Plain files do not forget what a shorter value leaves standing.
            for (file, values) in values.iter().filter(|(_, values)| values.len() == 1) {
                assert_eq!(files.read(file), values[0], "{seed}: {file}: {document}");
            }
        }
    }
}

#[test]
fn optional_files_may_be_absent_and_others_not() {
    let document = br#"{"memory":{"limit":-1},"blockIO":{"weight":10},"pids":{"limit":5}}"#;
    let resources = resources_document(document).expect("valid");
    let steps = plan(Version::V2, &resources, Origin::Document).expect("limits that agree");
    let files = Files::new(
        "absent",
        Version::V2,
        ["memory.max", "io.weight", "pids.max", "cgroup.controllers"],
    );
    files
        .apply(&steps)
        .expect("without memory.swap.max and io.bfq.weight");
    assert_eq!(
        (
            files.read("memory.max").as_str(),
            files.read("io.weight").as_str()
        ),
        ("max", "1")
    );

    for (file, said) in [
        (
            "io.weight",
            "resources.json#/blockIO/weight: cannot set io.weight to 1: ",
        ),
        (
            "pids.max",
            "resources.json#/pids/limit: cannot set pids.max to 5: ",
        ),
    ] {
        std::fs::write(
            files.path.join("cgroup.controllers"),
            "cpu io memory pids\n",
        )
        .expect("the file");
        std::fs::remove_file(files.path.join(file)).expect("the file");
        let error = files.apply(&steps).expect_err("an absent file").to_string();
        assert!(
            error.starts_with(said) && error.contains("(hint: "),
            "{error}"
        );
        // Engines take these words for a program that is missing.
        assert!(!error.contains("no such file or directory"), "{error}");
        std::fs::write(files.path.join("cgroup.controllers"), "cpu\n").expect("the file");
        let error = files
            .apply(&steps)
            .expect_err("a controller that is not passed on")
            .to_string();
        assert!(error.contains(" is not available here: "), "{error}");
        std::fs::write(files.path.join(file), "").expect("the file");
    }
}

#[test]
fn a_limit_below_what_is_used_is_refused_before_anything_is_written() {
    let document = br#"{"memory":{"limit":8192,"swap":8192,"checkBeforeUpdate":true}}"#;
    let resources = resources_document(document).expect("valid");
    let steps = plan(Version::V2, &resources, Origin::Document).expect("limits that agree");
    let files = Files::new(
        "usage",
        Version::V2,
        ["memory.max", "memory.swap.max", "memory.current"],
    );
    std::fs::write(files.path.join("memory.current"), "8192\n").expect("the file");
    let error = files
        .apply(&steps)
        .expect_err("below the usage")
        .to_string();
    assert_eq!(
        error,
        "resources.json#/memory/limit: rejecting memory limit 8192 <= usage 8192"
    );
    assert_eq!(files.read("memory.swap.max"), "");
    std::fs::write(files.path.join("memory.current"), "8191\n").expect("the file");
    files.apply(&steps).expect("above the usage");
    assert_eq!(files.read("memory.max"), "8192");
}
