//! Measures Docker's default profile against libseccomp, both in one run:
//!
//! ```text
//! cargo run --release -p garboard-seccomp-profiles --features libseccomp --example figures
//! ```
//!
//! Compared are the instructions a decision takes (mean over the profile's calls, arguments zero), the length of the program, the time to
//! compile (from rules in memory to the program; libseccomp driven as runc drives it), and the time the kernel takes to load the program.
//! Times are medians of rounds in which everybody has a turn.

#![allow(clippy::unwrap_used, reason = "stops at the first surprise")]

#[path = "../tests/differential/runc.rs"]
#[allow(dead_code, reason = "shared with the test")]
mod runc;
#[path = "../tests/differential/sys.rs"]
#[allow(dead_code, reason = "shared with the test")]
mod sys;

use std::hint::black_box;
use std::time::{Duration, Instant};

use runc::{Layout, filter_with};
use seccomp_profiles::interpret::{Call, run};
use seccomp_profiles::{Arch, Profile, Program, compile};

const DOCKER: &str = include_str!("../tests/profiles/docker.json");
const ROUNDS: usize = 101;

/// Mean instructions executed for the calls the profile names.
fn mean_steps(program: &Program, profile: &Profile) -> f64 {
    let names = profile.rules.iter().flat_map(|rule| &rule.names);
    let mut numbers: Vec<_> = names
        .filter_map(|name| name.call()?.number(Arch::X86_64))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let steps = |number: &u32| {
        let call = Call {
            number: *number,
            arch: Arch::X86_64.audit(),
            instruction_pointer: 0,
            arguments: [0; 6],
        };
        f64::from(run(program, &call, false).unwrap().steps)
    };
    numbers.iter().map(steps).sum::<f64>() / numbers.len() as f64
}

fn time<T>(what: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(what());
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn measure(profile: &Profile, architectures: &[Arch]) {
    let theirs = |layout| {
        filter_with(profile, architectures, layout)
            .unwrap()
            .export()
    };
    let programs = [
        ("garboard", compile(profile).unwrap().program),
        ("libseccomp, list", theirs(Layout::List)),
        ("libseccomp, tree", theirs(Layout::Tree)),
    ];
    let mut compiling = [const { Vec::new() }; 3];
    let mut loading = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        compiling[0].push(time(|| compile(black_box(profile))));
        compiling[1].push(time(|| theirs(Layout::List)));
        compiling[2].push(time(|| theirs(Layout::Tree)));
        for (times, (_, program)) in loading.iter_mut().zip(&programs) {
            times.push(sys::time_to_load(program));
        }
    }
    let (compiling, loading) = (compiling.map(median), loading.map(median));
    println!("{architectures:?}");
    for (at, (name, program)) in programs.iter().enumerate() {
        let steps = mean_steps(program, profile);
        let (compiled, loaded) = (compiling[at], loading[at]);
        let (compile_ratio, load_ratio) = (compiling[0] / compiled, loading[0] / loaded);
        println!(
            "  {name:17} {:5} instructions, {steps:6.1} a decision, compiled in {compiled:8.1} us (ours / it {compile_ratio:.4}), \
             loaded in {loaded:6.1} us (ours / it {load_ratio:.3})",
            program.len()
        );
    }
}

fn main() {
    let value = serde_json::from_str(DOCKER).unwrap();
    let profile = Profile::from_value(&value).unwrap();
    let read = median(
        (0..ROUNDS)
            .map(|_| time(|| serde_json::from_str::<serde_json::Value>(DOCKER)))
            .collect(),
    );
    let typed = median(
        (0..ROUNDS)
            .map(|_| time(|| Profile::from_value(&value)))
            .collect(),
    );
    println!("JSON read in {read:.1} us, made a profile in {typed:.1} us");
    for architectures in [&[Arch::X86_64][..], &[Arch::X86_64, Arch::X86, Arch::X32]] {
        measure(
            &Profile {
                architectures: architectures.to_vec(),
                ..profile.clone()
            },
            architectures,
        );
    }
}
