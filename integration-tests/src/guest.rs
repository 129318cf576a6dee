//! Runs the suite in the virtual machine and brings the results back: each line as it comes, and the counts. Other programs of this build too.
//!
//! The program that runs there is this very one, put on the guest's second disk. A guest that says nothing for minutes, that ends early, or whose
//! suite ends without a count, is a failure.

use std::io::{Write, stdout};
use std::path::Path;
use std::time::Duration;

use crate::case::{Done, Failure};
use crate::place::Place;
use crate::runner::{self, Counts, Options};
use crate::vm::machine::{self, Machine};
use crate::vm::session::{Request, Session};

/// Longer than any case may take there that has not been given more lives than usual; each makes it longer by [`LIFE`].
const SILENCE: Duration = Duration::from_secs(700);
const LIFE: Duration = Duration::from_secs(2);

/// What the suite is told by the environment there too: to run all of what takes long, and how many lives a container has.
const PASSED_ON: [&str; 2] = ["GARBOARD_TEST_ALL", "GARBOARD_TEST_LIVES"];

/// Boots a machine, runs a program of this build there as root with these arguments, and hands on what it says; its exit status. The runtime
/// is the program's usual one.
pub fn program(runtime: &Path, name: &str, args: &[String]) -> Result<i32, Failure> {
    let dir = machine::directory(&format!("{name}-{}", std::process::id()))?;
    let machine = Machine::start(
        &dir,
        &machine::Options {
            memory: machine::MEMORY,
            runtime: runtime.to_owned(),
        },
    )?;
    let mut command = vec![machine::in_lab(name)];
    command.extend(args.iter().cloned());
    let request = Request::Run {
        command,
        as_user: false,
        environment: Vec::new(),
    };
    Session::open(&machine.dir, std::time::Instant::now())?.call(
        &request,
        std::io::empty(),
        &mut stdout(),
        &mut std::io::stderr(),
        Some(SILENCE),
    )
}

/// Boots a machine and runs the cases that `options` chooses at these places of it.
pub fn run(options: &Options, places: &[Place], counts: &mut Counts) -> Done {
    let dir = machine::directory(&format!("suite-{}", std::process::id()))?;
    let since = std::time::Instant::now();
    let machine = Machine::start(
        &dir,
        &machine::Options {
            memory: machine::MEMORY,
            runtime: options.program.clone(),
        },
    )?;
    println!("the guest is up after {} s", since.elapsed().as_secs());
    for place in places {
        if let Err(failure) = run_at(&machine, options, *place, counts) {
            println!("{failure}\n{}", machine::console_tail(&machine.dir));
            counts.failed.push(format!("{place}: {failure}"));
        }
    }
    Ok(())
}

fn run_at(machine: &Machine, options: &Options, place: Place, counts: &mut Counts) -> Done {
    let own = std::env::current_exe()?;
    let name = own.file_name().unwrap_or_default().to_string_lossy();
    let mut command = vec![machine::in_lab(&name)];
    command.extend(["--place".to_owned(), place.to_string()]);
    command.extend(["--jobs".to_owned(), options.jobs.to_string()]);
    for driver in &options.drivers {
        command.extend(["--driver".to_owned(), driver.name().to_owned()]);
    }
    for door in &options.doors {
        command.extend(["--door".to_owned(), door.clone()]);
    }
    command.extend(options.filters.iter().cloned());
    let environment = PASSED_ON
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    let request = Request::Run {
        command,
        as_user: place == Place::User,
        environment: environment.collect(),
    };
    let mut lines = Lines::default();
    let status = Session::open(&machine.dir, std::time::Instant::now())?.call(
        &request,
        std::io::empty(),
        &mut lines,
        &mut std::io::stderr(),
        Some(SILENCE + LIFE * runner::lives().unwrap_or(0)),
    )?;
    let (passed, failed, skipped) = lines.counts.ok_or_else(|| {
        Failure::new(format!("the suite in the guest ended early, with {status}"))
    })?;
    if failed != lines.failed.len() || (status == 0) != lines.failed.is_empty() {
        return Err(Failure::new(format!(
            "the suite in the guest ended with {status} and told of {} failures, not {failed}",
            lines.failed.len()
        )));
    }
    counts.passed += passed;
    counts.skipped += skipped;
    counts.failed.append(&mut lines.failed);
    Ok(())
}

/// Hands lines on to stdout, and keeps what the closing ones say.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
    failed: Vec<String>,
    counts: Option<(u32, usize, u32)>,
}

impl Lines {
    fn line(&mut self, line: &str) -> std::io::Result<()> {
        if let Some(name) = line.strip_prefix("failed: ") {
            self.failed.push(name.to_owned());
            return Ok(());
        }
        if let Some(counts) = parse_counts(line) {
            self.counts = Some(counts);
            return Ok(());
        }
        writeln!(stdout(), "{line}")
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.begun.extend(bytes);
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            self.line(String::from_utf8_lossy(&line).trim_end_matches('\n'))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        stdout().flush()
    }
}

/// `N passed, N failed, N skipped`.
fn parse_counts(line: &str) -> Option<(u32, usize, u32)> {
    let mut parts = line.split(", ");
    let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
    let skipped = parts.next()?.strip_suffix(" skipped")?.parse().ok()?;
    parts.next().is_none().then_some((passed, failed, skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_are_understood() {
        let mut lines = Lines::default();
        lines
            .write_all(b"failed: vm a::b\n3 passed, 1 fai")
            .unwrap();
        assert_eq!(lines.counts, None);
        lines.write_all(b"led, 2 skipped\n").unwrap();
        assert_eq!(lines.counts, Some((3, 1, 2)));
        assert_eq!(lines.failed, ["vm a::b"]);
    }
}
