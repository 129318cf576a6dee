//! The shim as a user of containerd meets it, against containerd's own with Debian's runc: through `ctr`, by one containerd, by turns.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use garboard_integration_tests::case::Failure;
use garboard_integration_tests::engine::containerd::{Containerd, SHIM_RUNTIME, SOCKET};
use garboard_integration_tests::engine::{Door, Engine, image};

use crate::Bench;
use crate::time::{combined, words};

/// The name of containerd's own, which takes the runc that it finds.
const PEER_RUNTIME: &str = "io.containerd.runc.v2";
const CTR: &str = "/usr/bin/ctr";

fn with_containerd(
    bench: &Bench,
    take: impl FnOnce(&Containerd<'_>) -> Result<f64, Failure>,
) -> Result<f64, Failure> {
    // Shims are orphans of `start`.
    nix::sys::prctl::set_child_subreaper(true)?;
    if !Path::new(CTR).is_file() {
        return Err(Failure::skip("needs the program ctr"));
    }
    let engine = Engine::enter(&bench.test, Door::Shim)?;
    take(&Containerd::start(&engine)?)
}

/// A call of ctr in the namespace of the figure.
fn ctr<'a>(token: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["--address", SOCKET, "--namespace", token], rest].concat()
}

fn run_words<'a>(token: &'a str, runtime: &'a str, id: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    let run = ["run", "--rm", "--runtime", runtime, image::BUSYBOX, id];
    ctr(token, &[&run, args].concat())
}

/// What of ctr's time counts.
#[derive(Debug, Clone, Copy)]
enum Counted {
    /// All, as its user waits for it.
    All,
    /// Without the start of ctr and its way to containerd and back, which no shim can make shorter: what `ctr task ls` takes.
    LessItself,
}

/// `ctr run --rm` of /bin/true.
pub fn run(bench: &Bench) -> Result<f64, Failure> {
    run_ratio(bench, Counted::All)
}

/// The same without ctr's own part.
pub fn run_less_ctr(bench: &Bench) -> Result<f64, Failure> {
    run_ratio(bench, Counted::LessItself)
}

fn run_ratio(bench: &Bench, counted: Counted) -> Result<f64, Failure> {
    let token = &bench.test.token;
    with_containerd(bench, |_| {
        let command = |runtime, id| {
            let run = run_words(token, runtime, id, &["/bin/true"]);
            words(Path::new(CTR), &run)
        };
        against(
            bench,
            counted,
            [command(PEER_RUNTIME, "peer"), command(SHIM_RUNTIME, "ours")],
        )
    })
}

fn against(bench: &Bench, counted: Counted, [peer, ours]: [String; 2]) -> Result<f64, Failure> {
    let itself = words(Path::new(CTR), &ctr(&bench.test.token, &["task", "ls"]));
    let runs = if bench.quick { 20 } else { 100 };
    combined(bench, &[peer, ours, itself], runs, false, |medians| {
        let itself = match counted {
            Counted::All => 0.0,
            Counted::LessItself => medians[2],
        };
        (medians[1] - itself) / (medians[0] - itself)
    })
}

/// `ctr task exec` of /bin/true.
pub fn exec(bench: &Bench) -> Result<f64, Failure> {
    exec_ratio(bench, Counted::All)
}

/// The same without ctr's own part.
pub fn exec_less_ctr(bench: &Bench) -> Result<f64, Failure> {
    exec_ratio(bench, Counted::LessItself)
}

fn exec_ratio(bench: &Bench, counted: Counted) -> Result<f64, Failure> {
    with_containerd(bench, |containerd| {
        let token = &bench.test.token;
        let started = |runtime, name| -> Result<String, Failure> {
            let id = format!("{name}-{token}");
            let run = [
                "run",
                "-d",
                "--runtime",
                runtime,
                image::BUSYBOX,
                &id,
                "sleep",
                "10000",
            ];
            containerd.ctr(&run)?.success()?;
            let exec = ["task", "exec", "--exec-id", "e", &id, "/bin/true"];
            Ok(words(Path::new(CTR), &ctr(token, &exec)))
        };
        let commands = [
            started(PEER_RUNTIME, "peer")?,
            started(SHIM_RUNTIME, "ours")?,
        ];
        let ratio = against(bench, counted, commands);
        for name in ["peer", "ours"] {
            containerd.task(&format!("{name}-{token}")).end()?;
        }
        ratio
    })
}

/// What containers must print and end with.
struct Wanted {
    args: &'static [&'static str],
    output: &'static str,
    status: i32,
}

const TRUE: Wanted = Wanted {
    args: &["/bin/true"],
    output: "",
    status: 0,
};
const SEVEN: Wanted = Wanted {
    args: &["sh", "-c", "echo x; exit 7"],
    output: "x\n",
    status: 7,
};

/// Runs containers, eight at once; gives how many were not what they must be, and how many a second there were.
fn at_once(
    token: &str,
    runtime: &str,
    count: u32,
    kinds: &[&Wanted],
) -> Result<(u32, f64), Failure> {
    let (next, wrong) = (AtomicU32::new(0), AtomicU32::new(0));
    let since = Instant::now();
    let work = || -> Result<(), Failure> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let wanted = kinds[number as usize % kinds.len()];
            let id = format!("r{number}");
            let output = Command::new(CTR)
                .args(run_words(token, runtime, &id, wanted.args))
                .stdin(Stdio::null())
                .output()?;
            let said = String::from_utf8_lossy(&output.stdout);
            if output.status.code() != Some(wanted.status) || said != wanted.output {
                wrong.fetch_add(1, Ordering::Relaxed);
                let why = String::from_utf8_lossy(&output.stderr);
                println!(
                    "    {runtime} {id}: {} {said:?} {}",
                    output.status,
                    why.trim()
                );
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            let panicked = |_| Failure::new("a thread panicked");
            thread.join().map_err(panicked)?
        })
    })?;
    Ok((
        wrong.into_inner(),
        f64::from(count) / since.elapsed().as_secs_f64(),
    ))
}

/// Containers a second, eight at once: seconds, so that less is better.
pub fn runs_at_once(bench: &Bench) -> Result<f64, Failure> {
    let token = &bench.test.token;
    with_containerd(bench, |_| {
        let count = if bench.quick { 40 } else { 200 };
        let peer = at_once(token, PEER_RUNTIME, count, &[&TRUE])?.1;
        let ours = at_once(token, SHIM_RUNTIME, count, &[&TRUE])?.1;
        println!("    a second: runc's {peer:.1}, ours {ours:.1}");
        Ok(peer / ours)
    })
}

/// Short-lived containers whose end, status or output was lost or wrong.
pub fn lost(bench: &Bench) -> Result<f64, Failure> {
    let token = &bench.test.token;
    with_containerd(bench, |_| {
        let (few, many) = if bench.quick { (20, 200) } else { (200, 2000) };
        let kinds = [&TRUE, &SEVEN];
        let peer = at_once(token, PEER_RUNTIME, few, &kinds)?;
        println!("    runc's: {} of {few}, {:.1} a second", peer.0, peer.1);
        let ours = at_once(token, SHIM_RUNTIME, many, &kinds)?;
        println!("    ours: {} of {many}, {:.1} a second", ours.0, ours.1);
        Ok(f64::from(ours.0))
    })
}
