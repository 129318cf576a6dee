//! Figures that are counts and sizes: system calls, memory, what is left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::Failure;
use garboard_integration_tests::leaks::Snapshot;
use garboard_integration_tests::{cgroups, processes};

use crate::Bench;

/// Counts the calls of every process of a run up to the exec of /bin/true, and those of all others to their end.
pub fn system_calls(bench: &Bench) -> Result<f64, Failure> {
    let c = bench.test.container(&Bundle::args(["/bin/true"]))?;
    let trace = bench.test.dir.join("trace");
    let run = c.run_command(&[]);
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-e", "signal=none", "-o"])
        .arg(&trace)
        .arg(run.get_program())
        .args(run.get_args());
    bench.test.runtime.finish(command)?.success()?;
    let text = fs::read_to_string(&trace)?;
    let calls: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(pid, rest)| (pid, rest.trim_start()))
        .collect();
    // The last program that any process turned into is the user's own.
    let last = calls
        .iter()
        .rposition(|(_, call)| call.contains("execve") && call.ends_with("= 0"));
    let last = last.ok_or_else(|| Failure::new("no exec in the trace"))?;
    let user = calls[last].0;
    let counted = calls
        .iter()
        .enumerate()
        .filter(|(at, (pid, call))| !(call.starts_with(['<', '+']) || *at > last && *pid == user));
    Ok(to_f64(counted.count()))
}

fn to_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// The peak of the command and of what it waits for.
pub fn peak_rss(bench: &Bench) -> Result<f64, Failure> {
    let c = bench.test.container(&Bundle::args(["/bin/true"]))?;
    let run = c.run_command(&[]);
    let mut command = Command::new(&bench.floor);
    command
        .arg("rss")
        .arg(run.get_program())
        .args(run.get_args());
    let out = bench.test.runtime.finish(command)?.success()?;
    let kilobytes: f64 = out.stdout().trim().parse()?;
    Ok(kilobytes / 1024.0)
}

/// What 50 created containers are charged for, each, less what the floor's processes are charged for with the same namespaces and mounts.
pub fn memory_of_created(bench: &Bench) -> Result<f64, Failure> {
    let controller = Path::new("/sys/fs/cgroup/memory");
    if !controller.is_dir() {
        return Err(Failure::skip("needs the memory controller of cgroup v1"));
    }
    const COUNT: u32 = 50;
    let parent = |name: &str| -> Result<PathBuf, Failure> {
        let dir = controller.join(&bench.test.token).join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    };
    let ours = parent("ours")?;
    let mut containers = Vec::new();
    for number in 0..COUNT {
        let path = format!("/{}/ours/c{number}", bench.test.token);
        let c = bench
            .test
            .container(&Bundle::sleeper().set("/linux/cgroupsPath", path.into()))?;
        c.create()?;
        containers.push(c);
    }
    let used = charged(&ours)? / f64::from(COUNT);
    for c in &containers {
        c.delete_force()?;
    }
    let floor = parent("floor")?;
    let rootfs = containers
        .first()
        .ok_or_else(|| Failure::new("no container"))?
        .path("");
    let mut held = Vec::new();
    for number in 0..COUNT {
        let dir = parent(&format!("floor/c{number}"))?;
        let output = Command::new(&bench.floor)
            .arg("hold")
            .arg(&dir)
            .arg(&rootfs)
            .stdin(Stdio::null())
            .output()?;
        held.push((
            dir,
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse::<i32>()?,
        ));
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    let least = charged(&floor)? / f64::from(COUNT);
    for (_, pid) in &held {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(*pid),
            nix::sys::signal::Signal::SIGKILL,
        )?;
    }
    processes::end_descendants();
    println!("    kB each: {used:.0}, floor {least:.0}");
    Ok(used - least)
}

/// rss + cache + kernel memory of a v1 memory cgroup with all below it, in kB.
fn charged(dir: &Path) -> Result<f64, Failure> {
    let stat = fs::read_to_string(dir.join("memory.stat"))?;
    let field = |name: &str| {
        stat.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    let kernel: f64 = fs::read_to_string(dir.join("memory.kmem.usage_in_bytes"))?
        .trim()
        .parse()?;
    Ok((field("total_rss ") + field("total_cache ") + kernel) / 1024.0)
}

/// Counts what is left after many runs.
pub fn left_after_runs(bench: &Bench) -> Result<f64, Failure> {
    let c = bench.test.container(&Bundle::args(["/bin/true"]))?;
    left_after(bench, || c.run_ok().map(drop))
}

/// Counts what is left after many whole lives.
pub fn left_after_lives(bench: &Bench) -> Result<f64, Failure> {
    let c = bench.test.container(&Bundle::sleeper())?;
    left_after(bench, || {
        c.create()?;
        c.start()?;
        c.kill("KILL")?;
        c.await_status("stopped")?;
        c.delete()?;
        Ok(())
    })
}

fn left_after(
    bench: &Bench,
    mut once: impl FnMut() -> Result<(), Failure>,
) -> Result<f64, Failure> {
    once()?;
    let before = Snapshot::take()?;
    for _ in 0..if bench.quick { 100 } else { 2000 } {
        once()?;
        // The outputs of this program's own calls are not the runtime's.
        fs::remove_dir_all(&bench.test.runtime.logs)?;
    }
    processes::reap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let leaks = before.leaks_since(&bench.test.token, &bench.test.runtime.root)?;
    leaks
        .iter()
        .take(20)
        .for_each(|leak| println!("    {leak}"));
    let left = cgroups::named(&bench.test.token)?
        .iter()
        .filter(|dir| !dir.ends_with(&bench.test.token))
        .count();
    Ok(to_f64(leaks.len().max(left)))
}
