//! A step that failed, as the user reads it: the stage sends numbers, the plan knows the rest.
//!
//! Where engines search runc's error text for a phrase, the phrase is here (docs/compatibility.md "Error texts"); everywhere else the error
//! names the pointer, the call with its arguments, the path and the errno. The words "no such file or directory" stay out of what has
//! nothing to do with the program: engines read them as *command not found*.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use stage::message::{Call, Failure};
use stage::step::Step;

use super::call::{call, path, short};
use super::describe::point_name;
use super::form::Owned;
use super::words;
use super::{HandedSource, LaunchKind, LaunchPlan, Planned};
use crate::error::{Errno, Error, ErrorKind, Pointer, Refused};
use crate::hints;

/// `errno` of a hook that ran out of time.
const TIMED_OUT: i32 = -1;

/// A step of the stage failed, and with it the launch.
#[derive(Debug, Clone, thiserror::Error)]
#[error("unable to start container process: {}{what}", during(*kind))]
pub struct StepFailed {
    pub kind: LaunchKind,
    /// The kind of step.
    pub step: &'static str,
    /// Pointer, call, path and errno.
    pub refused: Refused,
    /// The sentence.
    what: String,
}

fn during(kind: LaunchKind) -> &'static str {
    match kind {
        LaunchKind::Create => "error during container init: ",
        LaunchKind::Exec => "",
    }
}

/// The error that the stage's last message stands for.
pub fn render(plan: &LaunchPlan, failure: &Failure) -> Error {
    let index = usize::try_from(failure.step).unwrap_or(usize::MAX);
    let Some(planned) = plan
        .steps
        .get(index)
        .filter(|_| failure.call != Call::Protocol)
    else {
        let text = format!(
            "the stage lost its way at step {index}: {}: {}",
            failure.call.name(),
            Errno(failure.errno)
        );
        return Error::new(ErrorKind::Internal, text);
    };
    let failed = StepFailed {
        kind: plan.kind,
        step: planned.step.name(),
        refused: refused(plan, planned, failure),
        what: sentence(plan, planned, failure),
    };
    Error::new(ErrorKind::Refused, failed)
}

/// What the launch went on without, for the log.
pub fn render_note(plan: &LaunchPlan, failure: &Failure) -> String {
    let index = usize::try_from(failure.step).unwrap_or(usize::MAX);
    match plan.steps.get(index) {
        Some(planned) => format!("{}; went on without", generic(plan, planned, failure)),
        None => format!("step {index}: {}", Errno(failure.errno)),
    }
}

/// The parent could not make the clone number `index` that the stage asked for.
pub fn render_source(plan: &LaunchPlan, index: usize, refused: &Refused) -> Error {
    let Some(HandedSource::Bind { path, at, .. }) = plan.handed.get(index) else {
        let text = format!("the stage asked for source {index}, which the plan does not have");
        return Error::new(ErrorKind::Internal, text);
    };
    let failed = StepFailed {
        kind: plan.kind,
        step: "Bind",
        refused: Refused {
            pointer: Some(at.clone()),
            path: Some(path.clone()),
            ..refused.clone()
        },
        what: missing_source(at, &path.to_string_lossy(), &refused.call, refused.errno),
    };
    Error::new(ErrorKind::Refused, failed)
}

fn missing_source(at: &Pointer, path: &str, call: &str, errno: Errno) -> String {
    let reason = with_hint(format!("{call}: {errno}"), call, errno);
    match errno.0 {
        2 => format!("{at}: failed to fulfil mount request: open {path}: {errno}"),
        _ => format!("{at}: failed to fulfil mount request: open {path}: {reason}"),
    }
}

/// The sentence, by what the step is for.
fn sentence(plan: &LaunchPlan, planned: &Planned, failure: &Failure) -> String {
    let Planned { step, at, .. } = planned;
    let errno = Errno(failure.errno);
    match step {
        Step::FindProgram { name, .. } => format!("{} ({at})", program(&name.show(), failure)),
        Step::Exec { .. } if failure.call == Call::Execve => {
            let name = plan.program();
            format!("exec {name:?}: {errno} ({at})")
        }
        Step::Cwd { path } | Step::CwdAsUser { path, .. } => {
            format!(
                "chdir to cwd ({:?}) set in config.json failed: {} ({at})",
                path.show(),
                reason_of_cwd(failure)
            )
        }
        Step::MakeCwd { path } => {
            format!("mkdir {}: {errno} ({at})", super::describe::inside(path))
        }
        Step::Hook { point, index, .. } => {
            format!(
                "error running {} hook #{index}: {} ({at})",
                point_name(*point),
                hook(failure)
            )
        }
        Step::BindPath { source, .. } if failure.call == Call::OpenTree => {
            missing_source(at, &source.show(), "open_tree", errno)
        }
        Step::MountNew { .. } | Step::Bind { .. } | Step::BindPath { .. } => {
            mount(plan, planned, failure)
        }
        Step::ExecLabel {
            attribute, label, ..
        } => {
            let name = words::errno(failure.errno);
            let file = format!("/proc/self/attr/{}", attribute.show());
            match label.show().strip_prefix("exec ") {
                Some(profile) => format!(
                    "unable to apply apparmor profile: {at}: {profile}: {} `{file}`: {name}",
                    failure.call.name()
                ),
                None => format!(
                    "unable to set the selinux label: {at}: {} `{file}`: {name}",
                    failure.call.name()
                ),
            }
        }
        _ => generic(plan, planned, failure),
    }
}

const EISDIR: i32 = 21;

/// The words of Go's `exec.LookPath`.
fn program(name: &str, failure: &Failure) -> String {
    let errno = Errno(failure.errno);
    match failure.call {
        Call::Check => format!("exec: {name:?}: executable file not found in $PATH"),
        Call::Stat => format!("exec: {name:?}: stat {name}: {errno}"),
        // runc had "permission denied" here before it had "is a directory": Docker 20.10 and Podman know only the former, and then exit with 126.
        Call::Access if errno.0 == EISDIR => {
            format!("exec: {name:?}: {errno}: permission denied")
        }
        _ => format!("exec: {name:?}: {errno}"),
    }
}

fn reason_of_cwd(failure: &Failure) -> String {
    match failure.call {
        Call::Check => "it is outside of the container's root".to_owned(),
        _ => Errno(failure.errno).to_string(),
    }
}

/// How a hook ended. Its two output streams are one pipe.
fn hook(failure: &Failure) -> String {
    let output = String::from_utf8_lossy(failure.detail());
    let output = output.trim_end();
    match (failure.call, failure.errno) {
        (Call::HookExit, TIMED_OUT) => {
            format!("hook ran past its timeout, stdout and stderr: {output}")
        }
        (Call::HookExit, status) if status & 0x7f != 0 => {
            format!("signal {}, stdout and stderr: {output}", status & 0x7f)
        }
        (Call::HookExit, status) => format!(
            "exit status {}, stdout and stderr: {output}",
            (status >> 8) & 0xff
        ),
        (call, errno) => format!("{}: {}", call.name(), words::errno(errno)),
    }
}

/// runc's words around ours: moby and podman tell a file from a directory by them.
fn mount(plan: &LaunchPlan, planned: &Planned, failure: &Failure) -> String {
    let (source, target) = ends(plan, &planned.step);
    let errno = Errno(failure.errno);
    if let (Step::MountNew { fstype, .. }, Call::Check) = (&planned.step, failure.call) {
        return format!(
            "{}: filesystem {:?} must be mounted on ordinary directory: a symbolic link leads to {target:?}",
            planned.at,
            fstype.show(),
        );
    }
    let call = call(&planned.step, failure);
    let text = format!(
        "{}: error mounting {source:?} to rootfs at {target:?}: {call}: {errno}",
        planned.at
    );
    with_hint(text, &call, errno)
}

fn ends(plan: &LaunchPlan, step: &Step<Owned>) -> (String, String) {
    let target = path(step)
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let source = match step {
        Step::MountNew { source, .. } | Step::BindPath { source, .. } => source.show().into_owned(),
        Step::Bind { source, .. } => match plan.handed.get(usize::from(*source)) {
            Some(HandedSource::Bind { path, .. }) => path.display().to_string(),
            None => String::new(),
        },
        _ => String::new(),
    };
    (short(&source), short(&target))
}

/// Pointer, call, path, errno, hint.
fn generic(plan: &LaunchPlan, planned: &Planned, failure: &Failure) -> String {
    Quiet(&refused(plan, planned, failure)).to_string()
}

fn refused(plan: &LaunchPlan, planned: &Planned, failure: &Failure) -> Refused {
    let detail = OsStr::from_bytes(failure.detail());
    let place = match (path(&planned.step), detail.is_empty()) {
        (_, false) => Some(PathBuf::from(detail)),
        (path, true) => host_path(plan, &planned.step, failure).or(path),
    };
    Refused {
        pointer: Some(planned.at.clone()),
        call: call(&planned.step, failure),
        path: place,
        errno: Errno(failure.errno),
        hint: None,
    }
}

fn host_path(plan: &LaunchPlan, step: &Step<Owned>, failure: &Failure) -> Option<PathBuf> {
    match step {
        Step::BindPath { source, .. } if failure.call == Call::OpenTree => {
            Some(PathBuf::from(source.show().as_ref()))
        }
        Step::Join { namespace, .. } => {
            Some(PathBuf::from(super::describe::slot(plan, *namespace)))
        }
        _ => None,
    }
}

/// A refusal without the words that engines take for *command not found*, whatever it was about.
struct Quiet<'a>(&'a Refused);

impl fmt::Display for Quiet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.errno.0 {
            2 => {
                let text = self.0.to_string();
                f.write_str(&text.replace(&Errno(2).to_string(), "ENOENT"))
            }
            _ => self.0.fmt(f),
        }
    }
}

fn with_hint(text: String, call: &str, errno: Errno) -> String {
    match hints::hint(call, errno) {
        Some(hint) => format!("{text} (hint: {hint})"),
        None => text,
    }
}
