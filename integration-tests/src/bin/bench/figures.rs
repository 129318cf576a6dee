//! The table of figures: what is measured, where, and what is wanted of it.

use garboard_integration_tests::case::Failure;
use garboard_integration_tests::place::Place;

use crate::{Bench, cost, ctr, limits, shim, systemd, time};

/// One row.
#[derive(Debug)]
pub struct Figure {
    /// What is measured.
    pub name: &'static str,
    /// Where.
    pub place: Place,
    /// The worst value that passes.
    pub must: f64,
    /// The value to reach for.
    pub aim: f64,
    /// How.
    pub take: fn(&Bench) -> Result<f64, Failure>,
}

const fn row(
    name: &'static str,
    place: Place,
    bounds: (f64, f64),
    take: fn(&Bench) -> Result<f64, Failure>,
) -> Figure {
    Figure {
        name,
        place,
        must: bounds.0,
        aim: bounds.1,
        take,
    }
}

/// Every figure, in the order of printing.
pub fn all() -> Vec<Figure> {
    use Place::{Native, V2, Vm};
    vec![
        row(
            "run of /bin/true / floor, tight loop",
            V2,
            (1.5, 1.25),
            time::run_tight,
        ),
        row(
            "run of /bin/true / floor, spaced by 0.3 s",
            V2,
            (1.5, 1.25),
            time::run_spaced,
        ),
        row(
            "system calls of a run, those of /bin/true left out",
            V2,
            (330.0, 250.0),
            cost::system_calls,
        ),
        row(
            "create + start + delete / runc",
            V2,
            (0.35, 0.2),
            time::three_commands,
        ),
        row(
            "run with Docker's seccomp profile / without",
            V2,
            (1.12, 1.08),
            time::run_with_profile,
        ),
        row(
            "run with limits, less the bare writes / without, v2 view",
            V2,
            (1.15, 1.05),
            limits::run_with_limits,
        ),
        row(
            "run with limits, less the bare writes / without, v1",
            Native,
            (1.15, 1.05),
            limits::run_with_limits,
        ),
        row(
            "create with limits / runc, v1",
            Native,
            (0.5, 0.35),
            limits::create,
        ),
        row(
            "update of three limits / runc, v1",
            Native,
            (0.35, 0.2),
            limits::update,
        ),
        row("pause / runc", V2, (0.35, 0.2), limits::pause),
        row("resume / runc", V2, (0.35, 0.2), limits::resume),
        row("pause / runc, v1", Native, (0.35, 0.2), limits::pause),
        row("exec of /bin/true / floor", V2, (2.0, 1.5), time::exec),
        row("peak RSS of run, MB", V2, (4.0, 2.0), cost::peak_rss),
        row(
            "memory of a created container, v1, over the floor, kB",
            Native,
            (200.0, 80.0),
            cost::memory_of_created,
        ),
        row(
            "start from a program of 4 GB RSS / from a small one",
            V2,
            (1.2, 1.05),
            time::start_from_large,
        ),
        row(
            "state with 1000 other containers / with one",
            V2,
            (1.2, 1.0),
            time::state_among_many,
        ),
        row(
            "kill with 1000 other containers / with one",
            V2,
            (1.2, 1.0),
            time::kill_among_many,
        ),
        row(
            "left after 2000 runs, v2",
            V2,
            (0.0, 0.0),
            cost::left_after_runs,
        ),
        row(
            "left after 2000 create, start, kill, delete, v2",
            V2,
            (0.0, 0.0),
            cost::left_after_lives,
        ),
        row(
            "left after 2000 runs, native",
            Native,
            (0.0, 0.0),
            cost::left_after_runs,
        ),
        row(
            "shim: RSS with one container, MB",
            Native,
            (4.0, 2.5),
            shim::rss,
        ),
        row(
            "shim: memory of 100 pods with their inits / runc's",
            Native,
            (0.4, 0.2),
            shim::memory_of_pods,
        ),
        row("shim: ctr run --rm / runc's", Native, (0.7, 0.5), ctr::run),
        row(
            "shim: ctr run --rm less ctr itself / runc's",
            Native,
            (0.7, 0.5),
            ctr::run_less_ctr,
        ),
        row(
            "shim: start, create, start, wait, delete, shutdown / runc's",
            Native,
            (0.7, 0.5),
            shim::whole_life,
        ),
        row(
            "shim: ctr task exec / runc's",
            Native,
            (0.4, 0.15),
            ctr::exec,
        ),
        row(
            "shim: ctr task exec less ctr itself / runc's",
            Native,
            (0.4, 0.15),
            ctr::exec_less_ctr,
        ),
        row("shim: exec / runc's", Native, (0.4, 0.15), shim::exec),
        row(
            "shim: CPU of 50 pods, an exec probe a second each / runc's",
            Native,
            (0.4, 0.15),
            shim::cpu_of_probes,
        ),
        row(
            "shim: time of a container, 8 at once / runc's",
            Native,
            (0.5, 0.25),
            shim::lives_at_once,
        ),
        row(
            "shim: time of a ctr run --rm, 8 at once / runc's",
            Native,
            (0.5, 0.25),
            ctr::runs_at_once,
        ),
        row(
            "shim: RSS after 100,000 execs less after 1,000, kB",
            Native,
            (256.0, 64.0),
            shim::growth,
        ),
        row(
            "shim: 2,000 short-lived containers, 8 at once: wrong or lost",
            Native,
            (0.0, 0.0),
            ctr::lost,
        ),
        row(
            "shim: 1 GB of output: bytes lost",
            Native,
            (0.0, 0.0),
            shim::output_lost,
        ),
        row(
            "shim: 1 GB of output: time / runc's",
            Native,
            (1.0, 0.67),
            shim::output_time,
        ),
        row("systemd driver: run / runc", Vm, (0.7, 0.5), systemd::run),
        row(
            "systemd driver: create + start + delete / runc",
            Vm,
            (0.7, 0.5),
            systemd::three_commands,
        ),
    ]
}
