//! One line of the table: a command, whose calls, a strike, a place. And what is done for each point of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Failure, Test};
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::leaks::Snapshot;
use garboard_integration_tests::place::{Place, patience};
use garboard_integration_tests::processes;
use garboard_integration_tests::tracer::Ended;

use crate::{filters, limits, swaps};

/// The programs that run inside: their calls are not counted.
pub const USERS: [&str; 3] = ["sleep", "true", "sh"];

const DEADLINE: Duration = Duration::from_secs(10);

const STRIKES: [(&str, &str); 5] = [
    ("kill", "kill"),
    ("ENOMEM", "12"),
    ("EIO", "5"),
    ("ENOSPC", "28"),
    ("EPERM", "1"),
];

/// A line of the table.
#[derive(Debug, Clone)]
pub struct Line {
    /// Where.
    pub place: Place,
    verb: &'static str,
    scope: &'static str,
    strike: usize,
}

/// What came of a line.
#[derive(Debug, Default)]
pub struct Tally {
    /// Calls that were struck.
    pub points: u64,
    /// Points after which something was left.
    pub leaks: u64,
    /// Points after which the command did not end.
    pub hangs: u64,
}

/// The whole table.
pub fn lines() -> Vec<Line> {
    let mut all = Vec::new();
    for place in [Place::V2, Place::Native] {
        for (verb, scopes) in [
            ("create", &["command", "stage"][..]),
            ("start", &["command", "stage"]),
            ("run", &["command", "stage"]),
            ("exec", &["command", "stage"]),
            ("delete", &["command"]),
            ("limits", &["command", "stage"]),
            ("update", &["command"]),
            ("pause", &["command"]),
            ("resume", &["command"]),
        ] {
            for scope in scopes {
                all.extend((0..STRIKES.len()).map(|strike| Line {
                    place,
                    verb,
                    scope,
                    strike,
                }));
            }
        }
    }
    for (verb, scopes) in [
        ("create", &["command", "stage"][..]),
        ("start", &["command", "stage"]),
        ("run", &["command"]),
        ("exec", &["command", "stage"]),
        ("delete", &["command"]),
        ("limits", &["command", "stage"]),
        ("update", &["command"]),
    ] {
        for scope in scopes {
            all.extend((0..STRIKES.len()).map(|strike| Line {
                place: Place::Vm,
                verb,
                scope,
                strike,
            }));
        }
    }
    let filtered = filters::DOCKERS.map(|verb| (Place::V2, verb));
    let notified = filters::NOTIFYING.map(|verb| (Place::Native, verb));
    for (place, verb) in filtered.into_iter().chain(notified) {
        for scope in ["command", "stage"] {
            all.extend((0..STRIKES.len()).map(|strike| Line {
                place,
                verb,
                scope,
                strike,
            }));
        }
    }
    for verb in swaps::NAMES {
        for scope in ["command", "stage"] {
            all.push(Line {
                place: Place::V2,
                verb,
                scope,
                strike: STRIKES.len(),
            });
        }
    }
    all
}

impl Line {
    /// `v2 create command kill`.
    pub fn name(&self) -> String {
        let strike = STRIKES.get(self.strike).map_or("swap", |(name, _)| name);
        format!("{} {} {} {strike}", self.place, self.verb, self.scope)
    }

    /// The command, or the attack.
    pub fn verb(&self) -> &'static str {
        self.verb
    }

    /// The command that is run.
    fn command(&self) -> &'static str {
        filters::command(self.verb)
    }

    /// Whose calls.
    pub fn scope(&self) -> &'static str {
        self.scope
    }

    /// Takes every `every`-th point of this line.
    pub fn take(&self, test: &Test, every: u64) -> Result<Tally, Failure> {
        if self.strike < STRIKES.len() {
            run(self, test, every)
        } else {
            swaps::run(self, test, every)
        }
    }
}

/// What a traced command did.
#[derive(Debug)]
pub struct Traced {
    /// How it ended.
    pub ended: Ended,
    /// It did not end in time.
    pub hung: bool,
    /// What it, and the container, wrote.
    pub stdout: String,
}

/// Strikes at every `every`-th call until the command ends before the call comes.
fn run(line: &Line, test: &Test, every: u64) -> Result<Tally, Failure> {
    let program = if line.command() == "run" {
        "true"
    } else {
        "sleep"
    };
    let mut bundle = Bundle::args([program, "1000"]);
    if line.verb == "limits" {
        bundle = bundle.set("/linux/resources", limits::first());
    }
    let (bundle, _agent) = filters::profiled(line.verb, test, bundle)?;
    let c = test.container(&bundle)?;
    let mut tally = Tally::default();
    // Each strike begins elsewhere, so that a thin pass as a whole meets more calls.
    let mut at = 1 + line.strike as u64 % every;
    let before = Snapshot::take()?;
    loop {
        prepare(line, &c)?;
        let Traced { ended, hung, .. } = strike(line, test, &c, at)?;
        let mut trouble = Vec::new();
        if !hung {
            trouble = after(line, test, &c, &ended)?;
        }
        trouble.extend(settle(line, test, &c, &before)?);
        tally.hangs += u64::from(hung);
        tally.leaks += u64::from(!hung && !trouble.is_empty());
        if hung || !trouble.is_empty() {
            let call = ended
                .struck
                .map_or_else(|| "none".to_owned(), |number| number.to_string());
            let what = if hung { "hung; " } else { "" };
            println!(
                "{} at {at} (system call {call}): {what}{}",
                line.name(),
                trouble.join("; ")
            );
            clear(test, &c)?;
        }
        if ended.struck.is_none() {
            break;
        }
        tally.points += 1;
        if tally.leaks + tally.hangs > 20 {
            println!("{}: given up", line.name());
            break;
        }
        at += every;
    }
    c.delete_force()?;
    Ok(tally)
}

/// Brings the container into the status the command wants.
fn prepare(line: &Line, c: &Container<'_>) -> Result<(), Failure> {
    match line.command() {
        "start" => c.create().map(drop),
        "exec" if c.call("state", &[], &[])?.code() == 0 => Ok(()),
        "exec" | "delete" | "update" | "pause" | "resume" => {
            c.run_detached()?;
            let pid = c.pid()?;
            wait_until("the program", || {
                Ok(processes::command_line(pid).starts_with("sleep"))
            })?;
            if line.verb == "resume" {
                c.call("pause", &[], &[])?.success()?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Runs the line's command under the tracer.
fn strike(line: &Line, test: &Test, c: &Container<'_>, at: u64) -> Result<Traced, Failure> {
    let attach = if (line.verb, line.scope) == ("start", "stage") {
        c.pid()?
    } else {
        0
    };
    let command = match line.command() {
        "create" | "run" => c.create_or_run(line.command()),
        "limits" => c.create_or_run("create"),
        "pause" | "resume" => c.command(line.command(), &[], &[]),
        "update" => limits::update(test, c, &limits::second())?,
        "start" => c.command("start", &[], &[]),
        "exec" => c.command("exec", &[], &["true"]),
        _ => c.command("delete", &["--force"], &[]),
    };
    traced(
        test,
        line.scope,
        STRIKES[line.strike].1,
        at,
        attach,
        &command,
    )
}

/// What must be true of the container after the strike, before it is deleted.
fn after(
    line: &Line,
    test: &Test,
    c: &Container<'_>,
    ended: &Ended,
) -> Result<Vec<String>, Failure> {
    let killed = STRIKES[line.strike].0 == "kill";
    match line.verb {
        "update" => limits::after_update(test, c, ended.code == 0, killed),
        // A kill may leave it frozen; a pause that says it failed must not.
        "pause" if ended.code != 0 && !killed => {
            let status = c.status()?;
            let wrong = (status != "running").then(|| format!("a failed pause leaves it {status}"));
            Ok(wrong.into_iter().collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// Runs a command under the tracer, with a deadline.
pub fn traced(
    test: &Test,
    scope: &str,
    strike: &str,
    at: u64,
    attach: i32,
    traced: &Command,
) -> Result<Traced, Failure> {
    let report = test.dir.join("report");
    let _ = std::fs::remove_file(&report);
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--trace")
        .arg(&report)
        .args([scope, strike, &at.to_string(), &attach.to_string()]);
    command
        .arg(traced.get_program())
        .args(traced.get_args())
        .stdin(Stdio::null());
    let mut running = test.runtime.spawn(command)?;
    let until = Instant::now() + patience(DEADLINE);
    let mut hung = false;
    while running.child.try_wait()?.is_none() {
        if Instant::now() > until {
            running.child.kill()?;
            running.child.wait()?;
            hung = true;
            break;
        }
        processes::reap_children_but(&[running.pid()].into());
        std::thread::sleep(Duration::from_micros(300));
    }
    let stdout = running.stdout_so_far();
    running.forget();
    let text = std::fs::read_to_string(&report)
        .map_err(|e| Failure::new(format!("the tracer did not report: {e}")))?;
    let ended = Ended::from_json(&serde_json::from_str(&text)?);
    std::fs::remove_file(&report)?;
    let ended = ended.ok_or_else(|| Failure::new(format!("the tracer said {text}")))?;
    Ok(Traced {
        ended,
        hung,
        stdout,
    })
}

/// Deletes by force and looks for what is left. An exec's container is kept, and must still run.
pub fn settle(
    line: &Line,
    test: &Test,
    c: &Container<'_>,
    before: &Snapshot,
) -> Result<Vec<String>, Failure> {
    let until = Instant::now() + patience(Duration::from_secs(1));
    if line.command() == "exec" {
        return settle_exec(c, until);
    }
    let outcome = c.call("delete", &["--force"], &[])?;
    let mut trouble = Vec::new();
    if outcome.code() != 0 {
        trouble.push(format!("delete --force: {}", outcome.stderr().trim()));
    }
    loop {
        let leaks = before.leaks_since(&test.token, &test.runtime.root)?;
        if leaks.is_empty() {
            break;
        }
        if Instant::now() > until {
            trouble.extend(leaks);
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = std::fs::remove_dir_all(&test.runtime.logs);
    Ok(trouble)
}

fn settle_exec(c: &Container<'_>, until: Instant) -> Result<Vec<String>, Failure> {
    let status = c.status()?;
    if status != "running" {
        return Ok(vec![format!("the container is {status}")]);
    }
    let init = c.pid()?;
    loop {
        processes::reap();
        let others: Vec<_> = processes::descendants()
            .into_iter()
            .filter(|one| one.pid != init)
            .collect();
        if others.is_empty() {
            return Ok(Vec::new());
        }
        if Instant::now() > until {
            return Ok(others
                .iter()
                .map(|one| format!("process {} {} ({})", one.pid, one.comm, one.state))
                .collect());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// After trouble: makes a clean start for the next point, by this program's own means.
pub fn clear(test: &Test, c: &Container<'_>) -> Result<(), Failure> {
    processes::end_descendants();
    let _ = c.call("delete", &["--force"], &[])?;
    garboard_integration_tests::cgroups::remove(&test.token)?;
    let _ = std::fs::remove_dir_all(&test.runtime.root);
    Ok(std::fs::create_dir_all(&test.runtime.root)?)
}
