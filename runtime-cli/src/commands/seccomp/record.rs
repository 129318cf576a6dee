//! record: a bundle runs in the foreground, and what it calls becomes a profile.
//!
//! The kernel itself tells of each call (seccomp_unotify(2)): the container's filter puts all of them to us, and we let all of them be made.
//! What the runtime does before the program is executed is left out. A call that is made only now and then (a lock that is taken, a signal
//! that comes, memory that grows) may be missing from a recording, and a program that is killed for it is no help to anybody: those few
//! harmless calls are always allowed.

use std::fs::File;
use std::io::{ErrorKind, Write};
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
            recording.note(call.arch, call.number, call.arguments);
        }
    }
    Ok(recording)
}

/// Where the profile goes.
enum Output {
    /// A file has another name until it is written: a profile is there as a whole or not at all.
    File {
        path: PathBuf,
        temporary: PathBuf,
        file: File,
    },
    /// What stands there and is no file (a link like `/dev/stdout`, a device, a fifo) is written to, never replaced.
    Other { path: PathBuf, file: File },
}

impl Output {
    /// Before the run, so that nothing is recorded in vain.
    fn create(path: &Path) -> Result<Output, Failure> {
        let why = |error: std::io::Error| unwritten(path, &error);
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => Self::file(path),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::file(path),
            // A directory is refused here.
            Ok(_) => Ok(Output::Other {
                path: path.to_owned(),
                file: File::options().write(true).open(path).map_err(why)?,
            }),
            Err(error) => Err(why(error)),
        }
    }

    fn file(path: &Path) -> Result<Output, Failure> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::create_new(&temporary).map_err(|error| unwritten(path, &error))?;
        Ok(Output::File {
            path: path.to_owned(),
            temporary,
            file,
        })
    }

    fn write(mut self, profile: &Value) -> Result<(), Failure> {
        let text = format!("{profile:#}\n");
        let (path, written) = match &mut self {
            Output::File {
                path,
                temporary,
                file,
            } => {
                let written = file.write_all(text.as_bytes());
                (
                    &*path,
                    written.and_then(|()| std::fs::rename(temporary, &*path)),
                )
            }
            Output::Other { path, file } => {
                let emptied = match file.metadata() {
                    Ok(found) if found.is_file() => file.set_len(0),
                    found => found.map(drop),
                };
                (
                    &*path,
                    emptied.and_then(|()| file.write_all(text.as_bytes())),
                )
            }
        };
        written.map_err(|error| unwritten(path, &error))
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Output::File { temporary, .. } = self {
            // It is gone if it has got its name.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::{FileTypeExt as _, symlink};

    use serde_json::json;

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let own = format!("garboard-record-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(own);
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn a_link_stays_and_its_file_is_written() {
        let dir = directory("link");
        fs::write(dir.join("profile"), "older, and longer").unwrap();
        symlink("profile", dir.join("link")).unwrap();
        let output = Output::create(&dir.join("link")).unwrap();
        assert_eq!(
            fs::read_to_string(dir.join("profile")).unwrap(),
            "older, and longer"
        );
        output.write(&json!({})).unwrap();
        assert!(
            fs::symlink_metadata(dir.join("link"))
                .unwrap()
                .file_type()
                .is_symlink()
        );
        assert_eq!(fs::read_to_string(dir.join("profile")).unwrap(), "{}\n");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_recording_that_fails_leaves_nothing() {
        let dir = directory("nothing");
        drop(Output::create(&dir.join("profile")).unwrap());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(dir).unwrap();
    }

    /// As root `-o /dev/null` must not cost the host its device.
    #[test]
    fn what_is_no_file_is_written_to() {
        let dir = directory("fifo");
        let path = dir.join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let reader = thread::spawn({
            let path = path.clone();
            move || {
                let mut text = String::new();
                File::open(path).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        let output = Output::create(&path).unwrap();
        output.write(&json!({})).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
        assert_eq!(reader.join().unwrap(), "{}\n");
        fs::remove_dir_all(dir).unwrap();
    }
}
