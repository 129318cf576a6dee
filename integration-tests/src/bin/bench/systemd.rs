//! The systemd driver against runc's, both in the virtual machine: the same bundle, the same unit, by turns.

use std::path::Path;
use std::time::Instant;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::Failure;
use garboard_integration_tests::container::Container;
use garboard_integration_tests::runtime::Runtime;

use crate::Bench;
use crate::limits::{against, both};
use crate::time::{quiet, ratio, wait_for_the_end, words};

const DRIVER: &str = "--systemd-cgroup";

/// A whole run of /bin/true.
pub fn run(bench: &Bench) -> Result<f64, Failure> {
    let c = bench.test.container(&Bundle::args(["/bin/true"]))?;
    let [ours, peer] = both(bench)?;
    let command = |runtime: &Runtime| {
        let root = runtime.root.display().to_string();
        let bundle = c.bundle.display().to_string();
        words(
            &runtime.program,
            &[DRIVER, "--root", &root, "run", "--bundle", &bundle, &c.id],
        )
    };
    let runs = if bench.quick { 20 } else { 100 };
    ratio(bench, &[command(&peer), command(&ours)], runs, false)
}

/// The three commands of an engine, each a process.
pub fn three_commands(bench: &Bench) -> Result<f64, Failure> {
    let c = bench.test.container(&Bundle::args(["/bin/true"]))?;
    against(bench, |runtime| life(&runtime.program, &runtime.root, &c))
}

fn life(program: &Path, root: &Path, c: &Container<'_>) -> Result<f64, Failure> {
    let bundle = c.bundle.display().to_string();
    let since = Instant::now();
    quiet(
        program,
        root,
        &[DRIVER, "create", "--bundle", &bundle, &c.id],
    )?;
    quiet(program, root, &[DRIVER, "start", &c.id])?;
    let before = since.elapsed();
    wait_for_the_end(program, root, &c.id)?;
    let since = Instant::now();
    quiet(program, root, &[DRIVER, "delete", &c.id])?;
    Ok((before + since.elapsed()).as_secs_f64())
}
