//! Random `linux.resources`: right ones are applied and read back equal to what `explain` said, wrong ones are refused with the pointer of the
//! fault, and nothing is left.
//!
//! The objects come from seeds ([`garboard_integration_tests::resources`]), so that a failure can be seen again. In the guest, which is
//! slow, there are fewer unless `$GARBOARD_TEST_ALL` is set.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::Container;
use garboard_integration_tests::loop_device::LoopDevice;
use garboard_integration_tests::resources::{Machine, Random};
use garboard_integration_tests::{cases, cgroups, leaks};
use serde_json::Value;

use crate::settings::Setting;
use crate::values;

pub fn cases() -> Vec<Case> {
    cases![
        right_ones_are_applied_as_planned,
        right_ones_are_set_as_by_runc,
        wrong_ones_are_refused_and_leave_nothing,
    ]
}

/// So many, or a tenth of them in the guest.
fn count(t: &Test, all: u64) -> u64 {
    if t.place.is_guest() && std::env::var_os("GARBOARD_TEST_ALL").is_none() {
        all / 10
    } else {
        all
    }
}

/// What this machine can be asked for.
fn machine(device: &LoopDevice) -> Result<Machine, Failure> {
    let mut controllers = Vec::new();
    for name in [
        "memory", "cpu", "cpuset", "pids", "hugetlb", "net_cls", "net_prio",
    ] {
        if cgroups::version_of(name)?.is_some() {
            controllers.push(name.to_owned());
        }
    }
    if cgroups::version_of("io")?.is_some() || cgroups::version_of("blkio")?.is_some() {
        controllers.push("io".to_owned());
    }
    let mut hugepages = Vec::new();
    for entry in fs::read_dir("/sys/kernel/mm/hugepages")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name
            .strip_prefix("hugepages-")
            .and_then(|rest| rest.strip_suffix("kB"));
        let Some(kilobytes) = size.and_then(|size| size.parse::<u64>().ok()) else {
            continue;
        };
        hugepages.push(match kilobytes {
            0..1024 => format!("{kilobytes}KB"),
            1024..1_048_576 => format!("{}MB", kilobytes >> 10),
            _ => format!("{}GB", kilobytes >> 20),
        });
    }
    hugepages.sort();
    let (major, minor) = device.number;
    let memsw = cgroups::unified()
        || fs::metadata("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").is_ok();
    Ok(Machine {
        unified: cgroups::unified(),
        controllers,
        cpus: u32::try_from(std::thread::available_parallelism()?.get())?,
        devices: vec![(u32::try_from(major)?, u32::try_from(minor)?)],
        hugepages,
        interfaces: vec!["lo".to_owned()],
        rdma: Vec::new(),
        swap: memsw,
        // BFQ is what both layouts here lack.
        weights: false,
        // A child can have no more than its parent, and the parent has none.
        realtime: false,
    })
}

fn right_ones_are_applied_as_planned(t: &Test) -> Done {
    t.not_for_runc("has no explain")?;
    let device = LoopDevice::attach(&t.dir, 1024 * 1024)?;
    let machine = machine(&device)?;
    let c = t.container(&Bundle::sleeper())?;
    let (mut wrong, mut writes) = (Vec::new(), 0);
    let all = count(t, 500);
    for seed in 0..all {
        let resources = Random::new(seed, &machine).valid();
        values::rewrite(&c, &resources)?;
        match applied(t, &c) {
            Ok(count) => writes += count,
            Err(failure) => wrong.push(format!("seed {seed}: {resources}: {failure}")),
        }
        t.runtime
            .call(["delete", "--force", c.id.as_str()])?
            .success()?;
    }
    println!("{all} objects, {writes} values");
    if wrong.is_empty() {
        return Ok(());
    }
    let shown = wrong.iter().take(10).cloned().collect::<Vec<_>>();
    Err(Failure::new(format!(
        "{} of {all}:\n{}",
        wrong.len(),
        shown.join("\n")
    )))
}

/// Creates the container and compares each planned value with what its file then holds; their number.
fn applied(t: &Test, c: &Container<'_>) -> Result<usize, Failure> {
    let bundle = c.bundle.display().to_string();
    let explained = t
        .runtime
        .call(["explain", "--format", "json", &bundle])?
        .success()?
        .json()?;
    let planned = planned(&explained);
    c.create()?;
    let mut held: BTreeMap<&str, String> = BTreeMap::new();
    for (file, value) in &planned {
        if !held.contains_key(file.as_str()) {
            held.insert(file, c.control(file)?);
        }
        if !holds(file, &held[file.as_str()], value) {
            return Err(Failure::new(format!(
                "{file} holds {:?}, planned was {value:?}",
                held[file.as_str()]
            )));
        }
    }
    Ok(planned.len())
}

/// The planned writes as (file, value), the last for each file or, where a file has a line for each device, for each device.
fn planned(explained: &Value) -> Vec<(String, String)> {
    let sections = explained["sections"].as_array();
    let actions = sections
        .into_iter()
        .flatten()
        .filter_map(|section| section["actions"].as_array())
        .flatten();
    let mut found: Vec<(String, String)> = Vec::new();
    for action in actions {
        let at = action["at"].as_str().unwrap_or("");
        let does = action["does"].as_str().unwrap_or("");
        let Some(write) = does.strip_prefix("write ") else {
            continue;
        };
        if !at.contains("/linux/resources/") {
            continue;
        }
        // A list of processors has commas, a file's name has none.
        let Some((value, rest)) = write.split_once(" to ") else {
            continue;
        };
        let file = rest.split([',', ';']).next().unwrap_or(rest).to_owned();
        if !has_lines(&file) {
            found.retain(|(other, _)| *other != file);
        }
        found.push((file, value.to_owned()));
    }
    found
}

/// Whether a file holds one line for each device or interface.
fn has_lines(file: &str) -> bool {
    file.starts_with("blkio.throttle.") || file == "io.max" || file == "net_prio.ifpriomap"
}

/// Whether what a file holds is what was written to it, in the kernel's words.
fn holds(file: &str, held: &str, written: &str) -> bool {
    match file {
        // The key's own line holds all four limits of a device.
        "io.max" => {
            let (device, limit) = written.split_once(' ').unwrap_or((written, ""));
            held.lines().any(|line| {
                let mut words = line.split(' ');
                words.next() == Some(device) && words.any(|word| word == limit)
            })
        }
        _ if has_lines(file) => held.lines().any(|line| line == written),
        "memory.oom_control" => held
            .lines()
            .any(|line| line == format!("oom_kill_disable {written}")),
        "cpu.max" => held == written || held.starts_with(&format!("{written} ")),
        // No limit is the largest number of whole pages.
        _ if file.starts_with("memory.") && written == "-1" => held == "9223372036854771712",
        _ => held == written,
    }
}

fn right_ones_are_set_as_by_runc(t: &Test) -> Done {
    t.not_for_runc("nothing to compare")?;
    let device = LoopDevice::attach(&t.dir, 1024 * 1024)?;
    let machine = machine(&device)?;
    let settings: Vec<Setting> = (1000..1000 + count(t, 60))
        .map(|seed| {
            let mut resources = Random::new(seed, &machine).valid();
            // What runc 1.1 does not know of: `values` has it alone.
            for (key, field) in [("memory", "kernelTCP"), ("cpu", "burst"), ("cpu", "idle")] {
                if let Some(fields) = resources[key].as_object_mut() {
                    fields.remove(field);
                }
            }
            Setting {
                name: "random",
                resources,
                needs: &[],
            }
        })
        .collect();
    values::plain(t, &settings)
}

fn wrong_ones_are_refused_and_leave_nothing(t: &Test) -> Done {
    t.not_for_runc("passes over much of it")?;
    let device = LoopDevice::attach(&t.dir, 1024 * 1024)?;
    let machine = machine(&device)?;
    let c = t.container(&Bundle::sleeper())?;
    let (mut places, mut found) = (BTreeSet::new(), Vec::new());
    let all = count(t, 200);
    for seed in 0..all {
        let wrong = Random::new(seed, &machine).invalid();
        values::rewrite(&c, &wrong.resources)?;
        let out = c.try_create()?;
        let said = out.stderr();
        let mut complain = |what: &str| {
            found.push(format!(
                "seed {seed}: {what}: {}: {}",
                wrong.at,
                said.trim()
            ))
        };
        if out.code() == 0 {
            complain("accepted");
            c.delete_force()?;
            continue;
        }
        let pointer = format!("config.json#/linux/resources{}", wrong.at);
        if !said.replace("\\\\", "\\").contains(&format!("{pointer}:")) {
            complain("another pointer");
        }
        let left = leaks::left_in(&c.id, &t.runtime.root)?;
        if !left.is_empty() {
            complain(&format!("left {left:?}"));
        }
        places.insert(wrong.at.clone());
    }
    println!("{all} objects, wrong at {} keys", places.len());
    if found.is_empty() {
        return Ok(());
    }
    let shown = found.iter().take(20).cloned().collect::<Vec<_>>();
    Err(Failure::new(format!(
        "{} of {all}:\n{}",
        found.len(),
        shown.join("\n")
    )))
}
