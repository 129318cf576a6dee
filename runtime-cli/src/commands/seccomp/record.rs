//! record: a bundle runs in the foreground, and what it calls becomes a profile.
//!
//! The kernel itself tells of each call (seccomp_unotify(2)): the container's filter puts all of them to us, and we let all of them be made.
//! What the runtime does before the program is executed is left out. A call that is made only now and then (a lock that is taken, a signal
//! that comes, memory that grows) may be missing from a recording, and a program that is killed for it is no help to anybody: those few
//! harmless calls are always allowed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use libcontainer::{CallListener, Container};
use seccomp_profiles::tools::{Recording, trim};
use seccomp_profiles::{Arch, Syscall};
use serde_json::Value;

use super::native;
use crate::commands::{Invocation, launch, run};
use crate::failure::Failure;
use crate::table::flags;

/// Runs the bundle and writes the profile; the exit code is the container's.
pub fn record(invocation: &Invocation) -> Result<u8, Failure> {
    let output = invocation
        .matches
        .path(&flags::OUTPUT)
        .ok_or_else(|| Failure::new("record: --output is missing"))?;
    let bundle = Path::new(invocation.matches.positional(1)?);
    let trimmed = match invocation.matches.text(&flags::TRIM)? {
        Some(name) => {
            let value = super::read_file(name)?;
            super::valid(&value)?;
            Some(value)
        }
        None => None,
    };
    let output = Output::create(&output)?;
    let mut options = launch::options(invocation, launch::Attachment::Foreground)?;
    options.listen_to_calls = true;
    let id = format!("seccomp-record-{}", std::process::id());
    let native = native()?;
    let mut listening = None;
    let code = run::attend(invocation, &id, bundle, options, |container| {
        listening = listen(container, native);
    })?;
    let recording = match listening {
        Some(thread) => thread
            .join()
            .map_err(|_| Failure::new("record: the listener ended early"))??,
        None => return Err(Failure::new("record: the container gave no listener")),
    };
    for (arch, number) in &recording.unnamed {
        let text = format!(
            "system call {number} of architecture {arch:#x} has no name here and is left out"
        );
        invocation.log.warning(&text);
    }
    let profile = match trimmed {
        Some(profile) => trim(&profile, &recording).map_err(|why| Failure::new(why.to_string()))?,
        None => recording.to_profile(),
    };
    output.write(&profile)?;
    Ok(code)
}

/// Answers on a thread of its own, since the command copies streams meanwhile.
fn listen(
    container: &mut Container,
    native: Arch,
) -> Option<JoinHandle<Result<Recording, libcontainer::Error>>> {
    let (listener, init) = (container.take_call_listener()?, container.pid());
    Some(thread::spawn(move || hear(&listener, init, native)))
}

fn hear(
    listener: &CallListener,
    init: i32,
    native: Arch,
) -> Result<Recording, libcontainer::Error> {
    let execve = Syscall::named("execve").and_then(|call| call.number(native));
    let mut recording = Recording::of_chance(native);
    let mut running = false;
    while let Some(call) = listener.next_call()? {
        // Up to there it is the runtime that calls, or a hook.
        running |= call.pid == init && call.arch == native.audit() && Some(call.number) == execve;
        if running {
            recording.note(call.arch, call.number);
        }
    }
    Ok(recording)
}

/// The file of a profile. It has another name until it is written: a profile is there as a whole or not at all.
struct Output<'a> {
    path: &'a Path,
    temporary: PathBuf,
    file: File,
}

impl Output<'_> {
    /// Before the run, so that nothing is recorded in vain.
    fn create(path: &Path) -> Result<Output<'_>, Failure> {
        let why = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
        if std::fs::metadata(path).is_ok_and(|found| found.is_dir()) {
            return Err(why(std::io::ErrorKind::IsADirectory.into()));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::create_new(&temporary).map_err(why)?;
        Ok(Output {
            path,
            temporary,
            file,
        })
    }

    fn write(mut self, profile: &Value) -> Result<(), Failure> {
        let written = self
            .file
            .write_all(format!("{profile:#}\n").as_bytes())
            .and_then(|()| std::fs::rename(&self.temporary, self.path));
        written.map_err(|error| Failure::new(format!("{}: {error}", self.path.display())))
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        // It is gone if it has got its name.
        let _ = std::fs::remove_file(&self.temporary);
    }
}
