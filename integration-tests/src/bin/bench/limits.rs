//! What limits cost: a start with them against one without, and the commands that change a container against runc's.

use std::path::{Path, PathBuf};
use std::time::Instant;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::Failure;
use garboard_integration_tests::cgroups;
use garboard_integration_tests::container::Container;
use garboard_integration_tests::runtime::Runtime;
use serde_json::{Value, json};

use crate::Bench;
use crate::time::{combined, median, quiet, ratio, words};

/// How often the bare loop does its work in one call: the start of its process must not count.
const LOOPS: u32 = 20;

/// What is asked for, and the same as plain writes: (file, value).
fn asked() -> (Value, Vec<(&'static str, &'static str)>) {
    if cgroups::unified() {
        // The view has one controller.
        let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 8_388_608}, {"pageSize": "1GB", "limit": 1_073_741_824}],
                            "unified": {"cgroup.max.depth": "9", "cgroup.max.descendants": "99"}});
        let writes = vec![
            ("hugetlb.2MB.max", "8388608"),
            ("hugetlb.2MB.rsvd.max", "8388608"),
            ("hugetlb.1GB.max", "1073741824"),
            ("hugetlb.1GB.rsvd.max", "1073741824"),
            ("cgroup.max.depth", "9"),
            ("cgroup.max.descendants", "99"),
        ];
        return (limits, writes);
    }
    // docker run --memory=512m --cpus=0.5 --memory-reservation=256m --pids-limit 100 --cpu-shares 512
    let limits = json!({"memory": {"limit": 536_870_912, "reservation": 268_435_456, "swap": 1_073_741_824},
                        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000}, "pids": {"limit": 100}});
    let writes = vec![
        ("memory.limit_in_bytes", "536870912"),
        ("memory.memsw.limit_in_bytes", "1073741824"),
        ("memory.soft_limit_in_bytes", "268435456"),
        ("cpu.shares", "512"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "50000"),
        ("pids.max", "100"),
    ];
    (limits, writes)
}

fn with(limits: &Value, mut bundle: Bundle) -> Bundle {
    for (key, value) in limits.as_object().into_iter().flatten() {
        bundle = bundle.set(&format!("/linux/resources/{key}"), value.clone());
    }
    bundle
}

fn run_command(bench: &Bench, c: &Container<'_>) -> String {
    let root = bench.test.runtime.root.display().to_string();
    let bundle = c.bundle.display().to_string();
    words(
        &bench.test.runtime.program,
        &["--root", &root, "run", "--bundle", &bundle, &c.id],
    )
}

/// The floor's loop over the directories that `c` has in its cgroups, with `writes` in them.
fn bare(bench: &Bench, c: &Container<'_>, writes: &[(&str, &str)]) -> Result<String, Failure> {
    let dirs: Vec<PathBuf> = c
        .cgroups()?
        .iter()
        .map(|dir| dir.with_file_name("bare"))
        .collect();
    let mut args = vec!["limits".to_owned(), LOOPS.to_string()];
    args.extend(dirs.iter().map(|dir| dir.display().to_string()));
    args.push("--".to_owned());
    for (file, value) in writes {
        let path = c.control_file(file)?;
        let dir = path
            .parent()
            .unwrap_or(Path::new("/"))
            .with_file_name("bare");
        args.push(dir.join(file).display().to_string());
        args.push((*value).to_owned());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Ok(words(&bench.floor, &args))
}

/// A run with limits, less what a bare loop needs for the same writes, against a run without.
pub fn run_with_limits(bench: &Bench) -> Result<f64, Failure> {
    let (limits, writes) = asked();
    // It keeps the parent of the cgroups as it is while the others come and go.
    let beside = bench.test.container(&with(&limits, Bundle::sleeper()))?;
    beside.run_detached()?;
    let plain = bench.test.container(&Bundle::args(["/bin/true"]))?;
    let limited = bench
        .test
        .container(&with(&limits, Bundle::args(["/bin/true"])))?;
    let commands = [
        run_command(bench, &plain),
        run_command(bench, &limited),
        bare(bench, &beside, &[])?,
        bare(bench, &beside, &writes)?,
    ];
    let runs = if bench.quick { 100 } else { 500 };
    combined(bench, &commands, runs, false, |medians| {
        let writes = (medians[3] - medians[2]) / f64::from(LOOPS);
        (medians[1] - writes) / medians[0]
    })
}

/// Ours and Debian's runc, each with its own root.
pub(crate) fn both(bench: &Bench) -> Result<[Runtime; 2], Failure> {
    let mut peer = bench.test.runtime.clone();
    peer.program.clone_from(&bench.peer);
    peer.root = bench.test.scratch("peer")?;
    Ok([bench.test.runtime.clone(), peer])
}

/// `create` of a container with limits, against runc's.
pub fn create(bench: &Bench) -> Result<f64, Failure> {
    let c = bench.test.container(&with(&asked().0, Bundle::sleeper()))?;
    let bundle = c.bundle.display().to_string();
    against(bench, |runtime| {
        let since = Instant::now();
        quiet(
            &runtime.program,
            &runtime.root,
            &["create", "--bundle", &bundle, &c.id],
        )?;
        let taken = since.elapsed().as_secs_f64();
        delete(runtime, &c.id)?;
        Ok(taken)
    })
}

fn delete(runtime: &Runtime, id: &str) -> Result<(), Failure> {
    quiet(&runtime.program, &runtime.root, &["delete", "--force", id])
}

/// The median of the ratios of what `take` measures of ours and of runc, by turns.
pub(crate) fn against(
    bench: &Bench,
    take: impl Fn(&Runtime) -> Result<f64, Failure>,
) -> Result<f64, Failure> {
    let [ours, peer] = both(bench)?;
    let (mut times, mut peers, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if bench.quick { 30 } else { 150 } {
        let (one, other) = (take(&ours)?, take(&peer)?);
        ratios.push(one / other);
        times.push(one);
        peers.push(other);
    }
    println!(
        "    medians in ms: {:.2}, runc {:.2}",
        median(times) * 1000.0,
        median(peers) * 1000.0
    );
    Ok(median(ratios))
}

/// Runs a container of each runtime meanwhile.
fn while_running(
    bench: &Bench,
    measure: impl FnOnce([&Runtime; 2], [&str; 2]) -> Result<f64, Failure>,
) -> Result<f64, Failure> {
    let [ours, peer] = both(bench)?;
    let (one, other) = (
        bench.test.container(&Bundle::sleeper())?,
        bench.test.container(&Bundle::sleeper())?,
    );
    let start = |runtime: &Runtime, c: &Container<'_>| {
        let bundle = c.bundle.display().to_string();
        quiet(
            &runtime.program,
            &runtime.root,
            &["run", "--detach", "--bundle", &bundle, &c.id],
        )
    };
    start(&ours, &one)?;
    start(&peer, &other)?;
    let outcome = measure([&ours, &peer], [&one.id, &other.id]);
    delete(&ours, &one.id)?;
    delete(&peer, &other.id)?;
    outcome
}

/// `update` of three limits, against runc's.
pub fn update(bench: &Bench) -> Result<f64, Failure> {
    while_running(bench, |runtimes, ids| {
        let command = |runtime: &Runtime, id: &str| {
            let root = runtime.root.display().to_string();
            let flags = ["--memory", "256m", "--pids-limit", "50"];
            let args = [
                &["--root", &root, "update"],
                flags.as_slice(),
                &["--cpu-quota", "50000", id],
            ];
            words(&runtime.program, &args.concat())
        };
        let [peer, ours] = [command(runtimes[1], ids[1]), command(runtimes[0], ids[0])];
        let runs = if bench.quick { 50 } else { 200 };
        ratio(bench, &[peer, ours], runs, false)
    })
}

/// One of the two verbs is measured, the other undoes it.
fn freezing(bench: &Bench, measured: &'static str) -> Result<f64, Failure> {
    while_running(bench, |runtimes, ids| {
        let take = |runtime: &Runtime, id: &str| -> Result<f64, Failure> {
            let mut taken = 0.0;
            for verb in ["pause", "resume"] {
                let since = Instant::now();
                quiet(&runtime.program, &runtime.root, &[verb, id])?;
                if verb == measured {
                    taken = since.elapsed().as_secs_f64();
                }
            }
            Ok(taken)
        };
        against(bench, |runtime| {
            let side = usize::from(runtime.program != runtimes[0].program);
            take(runtimes[side], ids[side])
        })
    })
}

/// `pause` of a running container, against runc's.
pub fn pause(bench: &Bench) -> Result<f64, Failure> {
    freezing(bench, "pause")
}

/// `resume` of a paused container, against runc's.
pub fn resume(bench: &Bench) -> Result<f64, Failure> {
    freezing(bench, "resume")
}
