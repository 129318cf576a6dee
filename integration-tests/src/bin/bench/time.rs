//! Figures that are times, as ratios of medians. hyperfine takes those of one command; sequences are taken here.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::Failure;
use garboard_integration_tests::cgroups;
use garboard_integration_tests::container::Container;
use serde_json::{Value, json};

use crate::Bench;

pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs two commands by turns in many short calls of hyperfine, `runs` of each in all, and gives the ratio of the second to the first: the
/// median of the calls' own ratios of medians, so that whatever else the machine does meanwhile meets both alike.
pub(crate) fn ratio(
    bench: &Bench,
    commands: &[String; 2],
    runs: u32,
    spaced: bool,
) -> Result<f64, Failure> {
    combined(bench, commands, runs, spaced, |medians| {
        medians[1] / medians[0]
    })
}

/// The same for any number of commands, and what `combine` makes of the medians of one call.
pub(crate) fn combined(
    bench: &Bench,
    commands: &[String],
    runs: u32,
    spaced: bool,
    combine: impl Fn(&[f64]) -> f64,
) -> Result<f64, Failure> {
    const EACH: u32 = 10;
    let report = bench.test.dir.join("hyperfine.json");
    let (mut times, mut results) = (vec![Vec::new(); commands.len()], Vec::new());
    for _ in 0..(runs / EACH).max(1) {
        let mut command = Command::new("hyperfine");
        command.args(["-N", "--style", "none", "--warmup", "2"]);
        command.args(["--runs", &EACH.to_string()]);
        command.arg("--export-json").arg(&report);
        if spaced {
            command.args(["--prepare", "sleep 0.3"]);
        }
        let output = command.args(commands).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!("hyperfine: {}", text.trim())));
        }
        let of_call = times_of(&std::fs::read(&report)?)?;
        let medians: Vec<f64> = of_call.iter().cloned().map(median).collect();
        results.push(combine(&medians));
        for (all, new) in times.iter_mut().zip(of_call) {
            all.extend(new);
        }
    }
    let shown: Vec<String> = times
        .into_iter()
        .map(|times| format!("{:.2}", median(times) * 1000.0))
        .collect();
    println!("    medians in ms: {}", shown.join(", "));
    Ok(median(results))
}

/// The times of each command in a report of hyperfine.
fn times_of(report: &[u8]) -> Result<Vec<Vec<f64>>, Failure> {
    let report: Value = serde_json::from_slice(report)?;
    let results = report["results"].as_array();
    Ok(results
        .into_iter()
        .flatten()
        .map(|result| {
            let times = result["times"].as_array();
            let times = times.into_iter().flatten();
            times.filter_map(Value::as_f64).collect()
        })
        .collect())
}

pub(crate) fn words(program: &Path, args: &[&str]) -> String {
    let quoted = args
        .iter()
        .map(|arg| format!("'{arg}'"))
        .collect::<Vec<_>>()
        .join(" ");
    format!("'{}' {quoted}", program.display())
}

fn run_commands(bench: &Bench) -> Result<[String; 2], Failure> {
    let c = bench.test.container(&Bundle::args(["/bin/true"]))?;
    let root = bench.test.runtime.root.display().to_string();
    let bundle = c.bundle.display().to_string();
    let rootfs = c.path("").display().to_string();
    let ours = words(
        &bench.test.runtime.program,
        &["--root", &root, "run", "--bundle", &bundle, &c.id],
    );
    Ok([words(&bench.floor, &["run", &rootfs, "/bin/true"]), ours])
}

/// A whole run of /bin/true with the default bundle, as fast as they come.
pub fn run_tight(bench: &Bench) -> Result<f64, Failure> {
    let runs = if bench.quick { 100 } else { 500 };
    ratio(bench, &run_commands(bench)?, runs, false)
}

/// The same with a pause before each: a tight loop hides what waits for a grace period of the kernel.
pub fn run_spaced(bench: &Bench) -> Result<f64, Failure> {
    let runs = if bench.quick { 20 } else { 100 };
    ratio(bench, &run_commands(bench)?, runs, true)
}

/// A run with the profile that Docker gives to every container, against the same without. The floor's own run stands beside them.
pub fn run_with_profile(bench: &Bench) -> Result<f64, Failure> {
    const DOCKER: &str = include_str!("../../../fixtures/engines/docker.json");
    let config: Value = serde_json::from_str(DOCKER)?;
    let [floor, plain] = run_commands(bench)?;
    let bundle =
        Bundle::args(["/bin/true"]).set("/linux/seccomp", config["linux"]["seccomp"].clone());
    let c = bench.test.container(&bundle)?;
    let root = bench.test.runtime.root.display().to_string();
    let directory = c.bundle.display().to_string();
    let filtered = words(
        &bench.test.runtime.program,
        &["--root", &root, "run", "--bundle", &directory, &c.id],
    );
    let runs = if bench.quick { 100 } else { 500 };
    combined(bench, &[plain, filtered, floor], runs, false, |medians| {
        medians[1] / medians[0]
    })
}

/// The three commands of an engine, each a process, against Debian's runc.
pub fn three_commands(bench: &Bench) -> Result<f64, Failure> {
    let c = bench.test.container(&Bundle::args(["/bin/true"]))?;
    let peer_root = bench.test.scratch("peer")?;
    let rounds = if bench.quick { 30 } else { 150 };
    let life = |program: &Path, root: &Path| -> Result<f64, Failure> {
        let bundle = c.bundle.display().to_string();
        let since = Instant::now();
        quiet(program, root, &["create", "--bundle", &bundle, &c.id])?;
        quiet(program, root, &["start", &c.id])?;
        let before = since.elapsed();
        wait_for_the_end(program, root, &c.id)?;
        let since = Instant::now();
        quiet(program, root, &["delete", &c.id])?;
        Ok((before + since.elapsed()).as_secs_f64())
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(life(&bench.test.runtime.program, &bench.test.runtime.root)?);
        theirs.push(life(&bench.peer, &peer_root)?);
    }
    let ratios = ours
        .iter()
        .zip(&theirs)
        .map(|(ours, theirs)| ours / theirs)
        .collect();
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "    medians in ms: {:.2}, runc {:.2}",
        ours * 1000.0,
        theirs * 1000.0
    );
    Ok(median(ratios))
}

/// `delete` wants a stopped container, and /bin/true takes its own time; the wait is not counted.
pub(crate) fn wait_for_the_end(program: &Path, root: &Path, id: &str) -> Result<(), Failure> {
    garboard_integration_tests::container::wait_until("the end of /bin/true", || {
        garboard_integration_tests::processes::reap();
        let output = Command::new(program)
            .arg("--root")
            .arg(root)
            .args(["state", id])
            .stdin(Stdio::null())
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).contains("\"stopped\""))
    })
}

pub(crate) fn quiet(program: &Path, root: &Path, args: &[&str]) -> Result<(), Failure> {
    // A file would be cheaper than a pipe, but /dev/null is what the container may keep.
    let mut command = Command::new(program);
    command
        .arg("--root")
        .arg(root)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if command.status()?.success() {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "{} {args:?} failed",
            program.display()
        )))
    }
}

/// Joining a running container and executing /bin/true in it.
pub fn exec(bench: &Bench) -> Result<f64, Failure> {
    let c = bench.test.container(&Bundle::sleeper())?;
    c.run_detached()?;
    let pid = c.pid()?.to_string();
    let cgroup = cgroups::named(&c.id)?
        .first()
        .ok_or_else(|| Failure::new("no cgroup"))?
        .display()
        .to_string();
    let root = bench.test.runtime.root.display().to_string();
    let ours = words(
        &bench.test.runtime.program,
        &["--root", &root, "exec", &c.id, "/bin/true"],
    );
    let floor = words(&bench.floor, &["exec", &pid, &cgroup, "/bin/true"]);
    ratio(
        bench,
        &[floor, ours],
        if bench.quick { 100 } else { 500 },
        false,
    )
}

/// A start by the library, from a program that has 4 GB resident and from one that has little.
pub fn start_from_large(bench: &Bench) -> Result<f64, Failure> {
    let embedder = bench
        .test
        .runtime
        .program
        .with_file_name("examples")
        .join("embedder");
    if !embedder.is_file() {
        return Err(Failure::skip(
            "needs the library's example `embedder` beside the runtime",
        ));
    }
    let c = bench.test.container(&Bundle::args(["/bin/true"]))?;
    let rounds = if bench.quick { "20" } else { "100" };
    let with = |ballast: &str| -> Result<f64, Failure> {
        let mut command = Command::new(&embedder);
        command
            .arg(&bench.test.runtime.root)
            .arg(&c.bundle)
            .arg(ballast)
            .arg(rounds);
        let output = command.stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().parse().map_err(|_| {
            Failure::new(format!(
                "embedder: {text} {}",
                String::from_utf8_lossy(&output.stderr)
            ))
        })
    };
    let (small, large) = (with("1")?, with("4096")?);
    println!("    medians in ms: small {small:.2}, large {large:.2}");
    Ok(large / small)
}

/// The same command on one container: alone in its root, and among many.
fn among_many(bench: &Bench, args: &[&str]) -> Result<f64, Failure> {
    let others = if bench.quick { 100 } else { 1000 };
    let alone = bench.test.container(&Bundle::sleeper())?;
    alone.run_detached()?;
    let crowd = bench.test.scratch("crowd")?;
    let mut bundle = Bundle::sleeper();
    bundle.config["linux"]["cgroupsPath"] = Value::Null;
    let made: Vec<String> = (0..=others)
        .map(|number| format!("n{number}-{}", bench.test.token))
        .collect();
    let first = bench.test.container(&Bundle::sleeper())?;
    let outcome = fill(bench, &first, &crowd, &made).and_then(|()| {
        let run = |root: &Path, id: &str| {
            words(
                &bench.test.runtime.program,
                &[&["--root", &root.display().to_string()], args, &[id]].concat(),
            )
        };
        let mut commands = [
            run(&bench.test.runtime.root, &alone.id),
            run(&crowd, &made[0]),
        ];
        if args[0] == "kill" {
            commands
                .iter_mut()
                .for_each(|command| command.push_str(" WINCH"));
        }
        ratio(bench, &commands, if bench.quick { 100 } else { 500 }, false)
    });
    for id in &made {
        quiet(
            &bench.test.runtime.program,
            &crowd,
            &["delete", "--force", id],
        )?;
    }
    outcome
}

/// Creates a container for every id from one bundle; the first of them is started.
fn fill(
    bench: &Bench,
    template: &Container<'_>,
    root: &Path,
    ids: &[String],
) -> Result<(), Failure> {
    let path = template.bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let bundle = template.bundle.display().to_string();
    for id in ids {
        config["linux"]["cgroupsPath"] = json!(format!("/{}/{id}", bench.test.token));
        std::fs::write(&path, serde_json::to_vec(&config)?)?;
        quiet(
            &bench.test.runtime.program,
            root,
            &["create", "--bundle", &bundle, id],
        )?;
    }
    quiet(&bench.test.runtime.program, root, &["start", &ids[0]])?;
    std::thread::sleep(Duration::from_millis(100));
    Ok(())
}

/// `state` of one container.
pub fn state_among_many(bench: &Bench) -> Result<f64, Failure> {
    among_many(bench, &["state"])
}

/// `kill` of one container, with a signal it ignores.
pub fn kill_among_many(bench: &Bench) -> Result<f64, Failure> {
    among_many(bench, &["kill"])
}
