//! Every control file of a container's cgroup holds what Debian's runc puts there, on v1 and on v2, at create and after `update`.
//!
//! The same bundle is given to both. What the kernel counts by itself is left out; all other files are compared, and who refuses a setting. A
//! difference is allowed only by [`KNOWN`], whose reasons stand in `docs/differences.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::Container;
use garboard_integration_tests::loop_device::LoopDevice;
use garboard_integration_tests::runtime::Runtime;
use garboard_integration_tests::{cases, cgroups};

use serde_json::Value;

use crate::settings::{self, Change, Setting};

pub fn cases() -> Vec<Case> {
    cases![
        memory_is_set_as_by_runc,
        the_processor_is_set_as_by_runc,
        processes_and_pages_are_set_as_by_runc,
        block_devices_are_set_as_by_runc,
        engines_get_the_values_of_runc,
        updates_are_done_as_by_runc,
        known_differences_are_documented,
    ]
}

const PEER: &str = "/usr/sbin/runc";
const DIFFERENCES: &str = include_str!("../../../../docs/differences.md");

/// Parts of the names of files that no runtime sets.
const COUNTED: &[&str] = &[
    "stat",
    "usage",
    "current",
    "events",
    "peak",
    "pressure",
    "procs",
    "tasks",
    "threads",
    "failcnt",
    "io_service",
    "slabinfo",
];

/// A difference there may be.
struct Known {
    /// The start of a setting's name; empty for all.
    setting: &'static str,
    /// The end of the file's name, or `refused`.
    file: &'static str,
    /// Words of `docs/differences.md`.
    reason: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        setting: "pids: 0",
        file: "pids.max",
        reason: "`pids.limit` 0",
    },
    Known {
        setting: "cpu: burst",
        file: "cfs_burst_us",
        reason: "`cpu.burst`, `cpu.idle`",
    },
    Known {
        setting: "cpu: burst",
        file: "cpu.max.burst",
        reason: "`cpu.burst`, `cpu.idle`",
    },
    Known {
        setting: "cpu: idle",
        file: "cpu.idle",
        reason: "`cpu.burst`, `cpu.idle`",
    },
    Known {
        setting: "cpu: idle",
        file: "cpu.shares",
        reason: "`cpu.burst`, `cpu.idle`",
    },
    Known {
        setting: "memory: TCP",
        file: "memory.kmem.tcp.limit_in_bytes",
        reason: "`memory.kernelTCP` on v1",
    },
    Known {
        setting: "",
        file: ".rsvd.max",
        reason: "limits of reserved huge pages",
    },
    Known {
        setting: "",
        file: "cpu.weight",
        reason: "shares on v2 (`cpu.weight`)",
    },
    Known {
        setting: "",
        file: "cpu.weight.nice",
        reason: "shares on v2 (`cpu.weight`)",
    },
];

/// What the files hold, by their names.
type Values = BTreeMap<String, String>;

fn values_of(c: &Container<'_>) -> Result<Values, Failure> {
    let mut values = Values::new();
    let hierarchies = cgroups::hierarchies()?;
    for dir in c.cgroups()? {
        let hierarchy = hierarchies.iter().rfind(|top| dir.starts_with(top));
        let hierarchy = hierarchy.ok_or_else(|| Failure::new("a cgroup of no hierarchy"))?;
        values.insert(format!("{}/", hierarchy.display()), "there".to_owned());
        for entry in fs::read_dir(&dir)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if COUNTED.iter().any(|part| name.contains(part)) {
                continue;
            }
            // Some are only for writing, some are not for this kernel.
            let Ok(text) = fs::read_to_string(entry.path()) else {
                continue;
            };
            // The order is that of the writes.
            let mut lines: Vec<&str> = text.lines().collect();
            if name == "devices.list" {
                lines.sort_unstable();
            }
            values.insert(format!("{}/{name}", hierarchy.display()), lines.join("\n"));
        }
    }
    Ok(values)
}

/// What a runtime makes of a bundle.
enum Outcome {
    Set(Values),
    /// The command that refused it, and what it said.
    Refused(&'static str, String),
}

/// Creates the container, updates it with `flags` if there are any, reads, deletes.
fn outcome(
    runtime: &Runtime,
    c: &Container<'_>,
    flags: Option<&[&str]>,
) -> Result<Outcome, Failure> {
    let bundle = c.bundle.display().to_string();
    let out = runtime.call(["create", "--bundle", &bundle, &c.id])?;
    if out.code() != 0 {
        clear(runtime, c)?;
        return Ok(Outcome::Refused("create", out.stderr()));
    }
    let mut outcome = None;
    if let Some(flags) = flags {
        let words = ["update"].iter().chain(flags).copied();
        let out = runtime.call(words.chain([c.id.as_str()]))?;
        if out.code() != 0 {
            outcome = Some(Outcome::Refused("update", out.stderr()));
        }
    }
    let outcome = match outcome {
        Some(refused) => refused,
        None => Outcome::Set(values_of(c)?),
    };
    runtime
        .call(["delete", "--force", c.id.as_str()])?
        .success()?;
    clear(runtime, c)?;
    Ok(outcome)
}

/// runc leaves the cgroup of a create that failed, and now and then that of a deleted container, with a process that is on its way out. Its
/// next container would find the limits of this one.
fn clear(runtime: &Runtime, c: &Container<'_>) -> Done {
    if !runtime.is_runc() {
        return Ok(());
    }
    let left = cgroups::remove(&c.id)?;
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("runc leaves {left:?}")))
}

fn known(setting: &str, file: &str) -> bool {
    KNOWN
        .iter()
        .any(|known| setting.starts_with(known.setting) && file.ends_with(known.file))
}

/// Gives the bundle of a container other resources; its device rules stay.
pub fn rewrite(c: &Container<'_>, resources: &Value) -> Done {
    let path = c.bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let old = &mut config["linux"]["resources"];
    let devices = old["devices"].take();
    *old = resources.clone();
    old["devices"] = devices;
    fs::write(&path, serde_json::to_vec(&config)?)?;
    Ok(())
}

/// What both make of one setting, if not the same. The bundles of the two containers, ours and runc's, are written anew for it.
fn differences(
    t: &Test,
    containers: &[Container<'_>; 2],
    setting: &Setting,
    flags: Option<&[&str]>,
) -> Result<Vec<String>, Failure> {
    for c in containers {
        rewrite(c, &setting.resources)?;
    }
    let mut peer = t.runtime.clone();
    peer.program = PathBuf::from(PEER);
    peer.root = t.scratch("peer")?;
    let name = setting.name;
    let ours = outcome(&t.runtime, &containers[0], flags)?;
    let theirs = outcome(&peer, &containers[1], flags)?;
    Ok(match (ours, theirs) {
        (Outcome::Refused(..), Outcome::Refused(..)) => Vec::new(),
        (Outcome::Set(ours), Outcome::Set(theirs)) => differing(name, &ours, &theirs),
        _ if known(name, "refused") => Vec::new(),
        (Outcome::Refused(what, said), _) => vec![format!("{name}: {what} refused: {said}")],
        (_, Outcome::Refused(what, said)) => vec![format!("{name}: runc: {what} refused: {said}")],
    })
}

fn differing(setting: &str, ours: &Values, theirs: &Values) -> Vec<String> {
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    names
        .into_iter()
        .filter(|name| ours.get(*name) != theirs.get(*name) && !known(setting, name))
        .map(|name| {
            let (ours, theirs) = (ours.get(name), theirs.get(name));
            format!("{setting}: {name}: {ours:?}, runc: {theirs:?}")
        })
        .collect()
}

fn compare<'s>(
    t: &Test,
    work: impl IntoIterator<Item = (&'s Setting, Option<&'s [&'s str]>)>,
) -> Done {
    if !Path::new(PEER).is_file() {
        return Err(Failure::skip(format!("needs {PEER}")));
    }
    let mut bundle = Bundle::sleeper();
    if cgroups::unified() {
        // Without one, runc's mount of cgroup2 takes the options off everybody's.
        bundle = bundle.namespace("cgroup", None);
    }
    let containers = [t.container(&bundle)?, t.container(&bundle)?];
    let (mut tried, mut found) = (0, Vec::new());
    for (setting, flags) in work {
        let mut here = true;
        for name in setting.needs {
            let name = match *name {
                "blkio" if cgroups::unified() => "io",
                name => name,
            };
            here &= cgroups::version_of(name)?.is_some();
        }
        if here {
            tried += 1;
            found.extend(differences(t, &containers, setting, flags)?);
        }
    }
    if !found.is_empty() {
        return Err(Failure::new(found.join("\n")));
    }
    if tried == 0 {
        return Err(Failure::skip("no controller for any of the settings"));
    }
    println!("{tried} settings");
    Ok(())
}

/// Both create a container with each setting.
pub fn plain(t: &Test, settings: &[Setting]) -> Done {
    compare(t, settings.iter().map(|setting| (setting, None)))
}

fn memory_is_set_as_by_runc(t: &Test) -> Done {
    plain(t, &settings::memory())
}

fn the_processor_is_set_as_by_runc(t: &Test) -> Done {
    plain(t, &settings::processor())
}

fn processes_and_pages_are_set_as_by_runc(t: &Test) -> Done {
    plain(t, &settings::processes_and_pages())
}

fn block_devices_are_set_as_by_runc(t: &Test) -> Done {
    let device = LoopDevice::attach(&t.dir, 1024 * 1024)?;
    plain(t, &settings::devices(&device))
}

fn engines_get_the_values_of_runc(t: &Test) -> Done {
    plain(t, &settings::engines())
}

fn updates_are_done_as_by_runc(t: &Test) -> Done {
    let changes = settings::changes();
    let work = changes
        .iter()
        .map(|Change { before, flags }| (before, Some(*flags)));
    compare(t, work)
}

fn known_differences_are_documented(_: &Test) -> Done {
    for known in KNOWN {
        assert!(
            DIFFERENCES.contains(known.reason),
            "{} of {}: docs/differences.md does not say {:?}",
            known.file,
            known.setting,
            known.reason
        );
    }
    Ok(())
}
