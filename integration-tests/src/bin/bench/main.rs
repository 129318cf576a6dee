//! Measures a runtime against the floor, Debian's runc and itself: `bench [--quick] [WORD]...`.
//!
//! The runtime is `$GARBOARD_TEST_RUNTIME`, or `garboard` beside this program. Every figure is a row with its bound (*must*) and its goal (*aim*);
//! less is better. Those of the systemd driver are taken in the virtual machine. Ratios are of medians of runs made side by side in the same minutes, with all state on a tmpfs. The exit status is 1 if a
//! bound is missed, 2 if a figure could not be taken.

mod cost;
mod ctr;
mod figures;
mod limits;
mod shim;
mod systemd;
mod time;

use std::path::PathBuf;
use std::process::Command;

use garboard_integration_tests::case::{Failure, Test};
use garboard_integration_tests::place::{self, Driver, Place};
use garboard_integration_tests::runtime::Runtime;
use garboard_integration_tests::{cgroups, guest, processes, runner};

/// What a figure works with.
#[derive(Debug)]
pub struct Bench {
    /// The runtime, a tmpfs and the place.
    pub test: Test,
    /// The floor program.
    pub floor: PathBuf,
    /// Debian's runc, to compare with.
    pub peer: PathBuf,
    /// Fewer rounds: for a first look.
    pub quick: bool,
}

fn main() -> std::process::ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("--at") => figure_in_place(),
        _ => all(),
    };
    std::process::ExitCode::from(outcome.unwrap_or_else(|failure| {
        eprintln!("bench: {failure}");
        2
    }))
}

fn all() -> Result<u8, Failure> {
    let program = runner::runtime_program()?;
    if !program.is_file() {
        return Err(Failure::new(format!("no runtime at {}", program.display())));
    }
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let quick = std::env::args().any(|arg| arg == "--quick");
    let floor = floor()?;
    nix::sys::prctl::set_child_subreaper(true)?;
    println!(
        "{} against {} ({})",
        program.display(),
        floor.display(),
        if quick { "quick: few rounds" } else { "full" }
    );
    println!(
        "{:<64} {:>10} {:>8} {:>8}",
        "figure", "measured", "must", "aim"
    );
    let mut worst = 0;
    let mut there = Vec::new();
    for figure in figures::all() {
        if !words.is_empty() && !words.iter().any(|word| figure.name.contains(word.as_str())) {
            continue;
        }
        if figure.place.is_guest() && !place::in_guest() {
            there.push(figure.name.to_owned());
            continue;
        }
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--at", figure.name, if quick { "quick" } else { "full" }])
            .arg(&floor);
        command.env("GARBOARD_TEST_RUNTIME", &program);
        let status = command.status()?;
        worst = worst.max(u8::try_from(status.code().unwrap_or(2)).unwrap_or(2));
        processes::end_descendants();
    }
    if !there.is_empty() {
        if quick {
            there.push("--quick".to_owned());
        }
        let status = guest::program(&program, "bench", &there)?;
        worst = worst.max(u8::try_from(status).unwrap_or(2));
    }
    Ok(worst)
}

/// Takes one figure, in a process and a mount namespace of its own.
fn figure_in_place() -> Result<u8, Failure> {
    let args: Vec<String> = std::env::args().collect();
    let figure = figures::all()
        .into_iter()
        .find(|figure| figure.name == args[2])
        .ok_or_else(|| Failure::new("no such figure"))?;
    let token = format!("garboard-test-bench-{}", std::process::id());
    let dir = std::env::temp_dir().join(&token);
    std::fs::create_dir(&dir)?;
    let place = if place::has_v1() || figure.place.is_guest() {
        figure.place
    } else {
        Place::Native
    };
    let outcome = place::enter(place, &dir).and_then(|()| {
        let mut runtime = Runtime::new(&runner::runtime_program()?, &dir);
        if place.is_guest() {
            runtime.driver = Driver::Systemd;
        }
        std::fs::create_dir_all(&runtime.root)?;
        let test = Test::new(runtime, place, &dir, &token);
        let bench = Bench {
            test,
            floor: PathBuf::from(&args[4]),
            peer: PathBuf::from("/usr/sbin/runc"),
            quick: args[3] == "quick",
        };
        let value = (figure.take)(&bench);
        for id in bench.test.ids() {
            bench
                .test
                .runtime
                .call(["delete", "--force", id.as_str()])?;
        }
        value
    });
    processes::end_descendants();
    cgroups::remove(&token)?;
    // The tmpfs goes with the mount namespace; the directory under it is removed from outside of it.
    let _ = nix::mount::umount2(&dir, nix::mount::MntFlags::MNT_DETACH);
    std::fs::remove_dir(&dir)?;
    match outcome {
        Ok(value) => {
            println!(
                "{:<64} {value:>10.2} {:>8} {:>8}{}",
                figure.name,
                figure.must,
                figure.aim,
                if value > figure.must { "  MISSED" } else { "" }
            );
            Ok(u8::from(value > figure.must))
        }
        Err(failure) if failure.is_skip() => {
            println!(
                "{:<64} {:>10} {:>8} {:>8}  {failure}",
                figure.name, "-", figure.must, figure.aim
            );
            Ok(0)
        }
        Err(failure) => {
            println!(
                "{:<64} {:>10} {:>8} {:>8}  {failure}",
                figure.name, "failed", figure.must, figure.aim
            );
            Ok(2)
        }
    }
}

/// The floor beside this program; it is built from its source if it is not there.
fn floor() -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name("floor");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/floor/floor.c");
    let status = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .arg(&path)
        .arg(source)
        .status();
    match status {
        Ok(status) if status.success() => Ok(path),
        _ if path.is_file() => Ok(path),
        _ => Err(Failure::new(format!(
            "cc -O2 -static could not build {source} (packages gcc, libc6-dev)"
        ))),
    }
}
