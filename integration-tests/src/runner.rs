//! Runs cases, each in a process of its own, and prints one line each and a closing count. That nothing was run is a failure.
//!
//! The parent makes an empty directory and starts itself again with `--child`; the child enters the place, runs the case, then removes what is
//! left with `delete --force` and looks for leaks. Its outcome is its exit status; its texts go to the parent through a pipe.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::case::{Case, Done, Failure, Test};
use crate::leaks::Snapshot;
use crate::place::{self, Driver, Place, Setting, patience};
use crate::runtime::Runtime;
use crate::{cgroups, guest, processes};

const CASE_DEADLINE: Duration = Duration::from_secs(120);
const SKIPPED: i32 = 77;

/// What the command line asked for.
#[derive(Debug)]
pub struct Options {
    /// Words of which a case's name must hold one; none means all.
    pub filters: Vec<String>,
    /// Doors by one of which a case must go in, as the first part of its name says; none means all.
    pub doors: Vec<String>,
    /// The places to run at.
    pub places: Vec<Place>,
    /// The drivers to run with; the cgroupfs one is the only one outside a place with systemd.
    pub drivers: Vec<Driver>,
    /// The runtime.
    pub program: PathBuf,
    /// Print the names and run nothing.
    pub list: bool,
    /// Run this case here and now: this is the child.
    pub child: Option<(String, PathBuf, String)>,
    /// Cases to run at the same time.
    pub jobs: usize,
}

impl Options {
    /// Reads the arguments: `[--place native|v2|vm|user]... [--driver cgroupfs|systemd]... [--door NAME]... [--list] [--jobs N] [WORD]...`.
    pub fn parse() -> Result<Options, Failure> {
        let mut args = std::env::args().skip(1);
        let mut options = Options {
            filters: Vec::new(),
            doors: Vec::new(),
            places: Vec::new(),
            drivers: Vec::new(),
            program: runtime_program()?,
            list: false,
            child: None,
            jobs: 2,
        };
        while let Some(arg) = args.next() {
            let mut value = || {
                args.next()
                    .ok_or_else(|| Failure::new(format!("{arg} needs a value")))
            };
            match arg.as_str() {
                "--place" => {
                    let name = value()?;
                    options.places.push(
                        Place::parse(&name)
                            .ok_or_else(|| Failure::new(format!("no place {name}")))?,
                    );
                }
                "--driver" => {
                    let name = value()?;
                    options.drivers.push(
                        Driver::parse(&name)
                            .ok_or_else(|| Failure::new(format!("no driver {name}")))?,
                    );
                }
                "--door" => options.doors.push(value()?),
                "--list" => options.list = true,
                "--jobs" => options.jobs = value()?.parse()?,
                "--child" => options.child = Some((value()?, PathBuf::from(value()?), value()?)),
                _ => options.filters.push(arg),
            }
        }
        if options.places.is_empty() {
            options.places = Place::usual();
        }
        if options.drivers.is_empty() {
            options.drivers.push(Driver::Cgroupfs);
        }
        Ok(options)
    }

    fn chooses(&self, name: &str) -> bool {
        let any = |words: &[String], fits: &dyn Fn(&str) -> bool| {
            words.is_empty() || words.iter().any(|word| fits(word))
        };
        let door = name.split("::").next().unwrap_or("");
        any(&self.doors, &|word| door == word) && any(&self.filters, &|word| name.contains(word))
    }
}

/// The runtime to judge: `$GARBOARD_TEST_RUNTIME`, or `garboard` beside this program.
pub fn runtime_program() -> Result<PathBuf, Failure> {
    match std::env::var_os("GARBOARD_TEST_RUNTIME") {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(std::env::current_exe()?.with_file_name("garboard")),
    }
}

/// How many lives a container has where that is counted, if `$GARBOARD_TEST_LIVES` says so.
pub fn lives() -> Option<u32> {
    std::env::var("GARBOARD_TEST_LIVES").ok()?.parse().ok()
}

/// How long a case may take: with many lives longer, for this process does not know which case has them.
fn case_deadline() -> Duration {
    patience(CASE_DEADLINE + Duration::from_millis(400) * lives().unwrap_or(0))
}

/// Runs what the command line asks for; the exit status of the whole.
pub fn main(cases: Vec<Case>) -> i32 {
    match Options::parse().and_then(|options| run(&options, cases)) {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("suite: {failure}");
            2
        }
    }
}

fn run(options: &Options, cases: Vec<Case>) -> Result<i32, Failure> {
    if let Some((name, dir, token)) = &options.child {
        let case = cases
            .into_iter()
            .find(|case| case.name == *name)
            .ok_or_else(|| Failure::new(format!("no case {name}")))?;
        return Ok(run_child(&case, options, dir, token));
    }
    let chosen: Vec<Case> = cases
        .into_iter()
        .filter(|case| options.chooses(&case.name))
        .collect();
    if options.list {
        chosen.iter().for_each(|case| println!("{}", case.name));
        return Ok(0);
    }
    if !options.program.is_file() {
        return Err(Failure::new(format!(
            "no runtime at {}: build it, or set GARBOARD_TEST_RUNTIME",
            options.program.display()
        )));
    }
    println!("judging {}", options.program.display());
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut counts = Counts::default();
    let before = fs::read_to_string("/proc/self/mountinfo")?;
    let in_guest = place::in_guest();
    let (there, here): (Vec<Place>, Vec<Place>) = options
        .places
        .iter()
        .partition(|place| place.is_guest() && !in_guest);
    if here.contains(&Place::User) {
        // Before there are children, which would stay where this process was.
        place::own_cgroup()?;
    }
    let mut work: Vec<(Setting, &Case)> = Vec::new();
    for place in here {
        for driver in &options.drivers {
            let driver = *driver;
            work.extend(chosen.iter().map(|case| (Setting { place, driver }, case)));
        }
    }
    run_all(options, &work, &mut counts)?;
    if !there.is_empty() {
        guest::run(options, &there, &mut counts)?;
    }
    if fs::read_to_string("/proc/self/mountinfo")? != before {
        counts
            .failed
            .push("the mounts of the host's own mount namespace changed".to_owned());
    }
    processes::end_descendants();
    if counts.passed == 0 && counts.failed.is_empty() {
        counts.failed.push("nothing was run".to_owned());
    }
    for name in &counts.failed {
        println!("failed: {name}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        counts.passed,
        counts.failed.len(),
        counts.skipped
    );
    Ok(i32::from(!counts.failed.is_empty()))
}

/// How the cases ended so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Cases that passed.
    pub passed: u32,
    /// Cases that cannot run here.
    pub skipped: u32,
    /// The others, by what is to be printed of them.
    pub failed: Vec<String>,
}

struct Started {
    label: String,
    dir: PathBuf,
    token: String,
    log: PathBuf,
    child: std::process::Child,
    since: Instant,
}

fn run_all(
    options: &Options,
    work: &[(Setting, &Case)],
    counts: &mut Counts,
) -> Result<(), Failure> {
    let top = std::env::temp_dir().join(format!("garboard-test-{}", std::process::id()));
    fs::create_dir(&top)?;
    let mut queue = work.iter().enumerate();
    let mut running: Vec<Started> = Vec::new();
    loop {
        while running.len() < options.jobs.max(1) {
            let Some((number, (setting, case))) = queue.next() else {
                break;
            };
            running.push(start(options, &top, number, *setting, case)?);
        }
        if running.is_empty() {
            break;
        }
        let mut still = Vec::new();
        for mut one in running {
            match one.child.try_wait()? {
                Some(status) => finish(one, Some(status), counts)?,
                None if one.since.elapsed() > case_deadline() => {
                    let _ = one.child.kill();
                    let _ = one.child.wait();
                    finish(one, None, counts)?;
                }
                None => still.push(one),
            }
        }
        running = still;
        std::thread::sleep(Duration::from_millis(2));
    }
    if let Err(error) = fs::remove_dir_all(&top)
        && nix::unistd::geteuid().is_root()
    {
        return Err(error.into());
    }
    Ok(())
}

fn start(
    options: &Options,
    top: &Path,
    number: usize,
    setting: Setting,
    case: &Case,
) -> Result<Started, Failure> {
    let dir = top.join(number.to_string());
    fs::create_dir(&dir)?;
    let log = top.join(format!("{number}.log"));
    let file = fs::OpenOptions::new()
        .append(true)
        .create_new(true)
        .open(&log)?;
    let token = format!("garboard-test-{}-{number}", std::process::id());
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--place")
        .arg(setting.place.to_string())
        .args(["--driver", setting.driver.name()])
        .arg("--child")
        .arg(&case.name)
        .arg(&dir)
        .arg(&token);
    command
        .env("GARBOARD_TEST_RUNTIME", &options.program)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    Ok(Started {
        label: format!("{setting} {}", case.name),
        dir,
        token,
        log,
        child: command.spawn()?,
        since: Instant::now(),
    })
}

fn finish(one: Started, status: Option<ExitStatus>, counts: &mut Counts) -> Result<(), Failure> {
    let took = one.since.elapsed().as_millis();
    let text = fs::read_to_string(&one.log).unwrap_or_default();
    // What the child could not end has come to this process, its subreaper; only this case's own are ended here.
    cgroups::named(&one.token)?
        .iter()
        .flat_map(|dir| cgroups::processes(dir))
        .for_each(end);
    match status.and_then(|status| status.code()) {
        Some(0) => {
            counts.passed += 1;
            // A case may have figures to show.
            let figures = text.lines().map(|line| format!("; {line}"));
            println!(
                "ok      {} ({took} ms{})",
                one.label,
                figures.collect::<String>()
            );
        }
        Some(SKIPPED) => {
            counts.skipped += 1;
            println!("skipped {}: {}", one.label, text.trim());
        }
        code => {
            let why = if status.is_none() {
                "hung".to_owned()
            } else {
                format!("exit status {code:?}")
            };
            println!(
                "FAILED  {} ({took} ms, {why})\n{}",
                one.label,
                text.trim_end()
            );
            counts.failed.push(one.label);
        }
    }
    cgroups::remove(&one.token)?;
    if fs::remove_dir(&one.dir).is_err() {
        // An ordinary user's case has no tmpfs of its own; what belongs to its subordinate ids stays until the guest ends.
        let _ = fs::remove_dir_all(&one.dir);
    }
    fs::remove_file(&one.log)?;
    Ok(())
}

fn end(pid: i32) {
    // It may have ended meanwhile: that is what is wanted.
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    );
}

fn run_child(case: &Case, options: &Options, dir: &Path, token: &str) -> i32 {
    let place = options.places[0];
    let outcome = place::enter(place, dir).and_then(|()| {
        let mut runtime = Runtime::new(&options.program, dir);
        runtime.driver = options.drivers[0];
        let test = Test::new(runtime, place, dir, token);
        let before = Snapshot::take()?;
        let outcome = (case.run)(&test);
        let cleaned = clean(&test, &before, outcome.is_ok());
        outcome.and(cleaned)
    });
    processes::end_descendants();
    let _ = cgroups::remove(token);
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            println!("{failure}");
            if failure.is_skip() { SKIPPED } else { 1 }
        }
    }
}

/// Deletes by force what the case left running, which must work, and then wants the machine as it was.
fn clean(test: &Test, before: &Snapshot, check: bool) -> Done {
    for id in test.ids() {
        test.runtime
            .call(["delete", "--force", id.as_str()])?
            .success()?;
    }
    if !check {
        return Ok(());
    }
    let until = Instant::now() + patience(Duration::from_secs(1));
    loop {
        let leaks = before.leaks_since(&test.token, &test.runtime.root)?;
        if leaks.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Failure::new(format!("left behind:\n{}", leaks.join("\n"))));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
