//! The library inside programs that are not made for it: threaded ones, ones with signal handlers, ones that wait for any child.
//!
//! Every case is a process of its own, since each changes what belongs to a process; this program starts itself again for each, once as the
//! machine is and, where that is not a pure cgroup v2, once in a mount namespace that shows one. As root only.

#[path = "../bundles/mod.rs"]
mod bundles;
mod children;
mod snapshot;
mod storm;
mod sys;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libcontainer::CreateOptions;

#[global_allocator]
static ALLOCATOR: sys::Watched = sys::Watched;

/// Name, what it does.
type Case = (&'static str, fn());

const CASES: &[Case] = &[
    ("nothing_of_the_process_changes", snapshot::nothing_changes),
    ("a_program_with_a_sigchld_handler", children::with_a_handler),
    (
        "a_program_that_ignores_sigchld",
        children::with_sigchld_ignored,
    ),
    (
        "a_program_that_waits_for_any_child",
        children::with_a_wait_loop,
    ),
    (
        "starts_from_eight_threads",
        storm::starts_from_eight_threads,
    ),
];

/// Tells the started process which case it is.
const CASE: &str = "GARBOARD_TEST_CASE";
/// More than the slowest case needs on a slow machine: what passes it hangs.
const DEADLINE: Duration = Duration::from_secs(300);
const V2_VIEW: &str =
    "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$0\"";

fn main() -> ExitCode {
    if let Some(name) = std::env::var_os(CASE) {
        let case = CASES.iter().find(|(case, _)| *case == name);
        sys::watch_allocations();
        case.expect("a known case").1();
        sys::assert_no_foreign_allocation();
        return ExitCode::SUCCESS;
    }
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    let mut failed = false;
    for (name, _) in CASES.iter().filter(|(name, _)| wanted(name)) {
        for view in views() {
            let began = Instant::now();
            let outcome = run(name, view);
            let seconds = began.elapsed().as_secs_f32();
            match outcome {
                Ok(()) => println!("embedding::{name} ({view}) ... ok, {seconds:.1} s"),
                Err(why) => {
                    failed = true;
                    println!("embedding::{name} ({view}) ... FAILED, {seconds:.1} s\n{why}");
                }
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

/// The cgroup layouts that this machine can show.
fn views() -> &'static [&'static str] {
    if std::fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok() {
        &["v2"]
    } else {
        &["as it is", "v2 view"]
    }
}

fn run(name: &str, view: &str) -> Result<(), String> {
    let myself = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = if view == "v2 view" {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", V2_VIEW]).arg(myself);
        command
    } else {
        Command::new(myself)
    };
    let mut child = command
        .env(CASE, name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let readers = [
        read_aside(child.stdout.take()),
        read_aside(child.stderr.take()),
    ];
    let end = Instant::now() + DEADLINE;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() > end => {
                // The case and whatever it still has is stuck; only what we started is ended.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("hangs: not done after {} s", DEADLINE.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let [said, complained] = readers.map(|reader| reader.join().unwrap_or_default());
    if !status.success() {
        return Err(format!("{status}\n{said}{complained}"));
    }
    if !(said.is_empty() && complained.is_empty()) {
        return Err(format!("wrote to stdio:\n{said}{complained}"));
    }
    Ok(())
}

fn read_aside(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut text); // what was read until an error is all there is
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// (options with a pipe as stdout and stderr, its other end)
fn piped() -> (CreateOptions, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let again = writer.try_clone().expect("dup");
    let options = CreateOptions {
        stdio: [Some(null()), Some(writer.into()), Some(again.into())],
        ..CreateOptions::default()
    };
    (options, reader)
}

/// Options whose container says nothing.
fn quiet() -> CreateOptions {
    CreateOptions {
        stdio: [Some(null()), Some(null()), Some(null())],
        ..CreateOptions::default()
    }
}

fn null() -> OwnedFd {
    let file = File::options().read(true).write(true).open("/dev/null");
    file.expect("/dev/null").into()
}
