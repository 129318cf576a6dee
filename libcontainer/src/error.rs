//! The one error type of the library, and the parts every module builds its own errors from.
//!
//! An [`Error`] says what the user wrote (a JSON [`Pointer`]), what the kernel said (call, path, [`Errno`]) and what to try (a hint).
//! Callers match on [`ErrorKind`], never on text: the text is for people, and for the engines that search it for the phrases runc prints.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::cgroup::{CreateError, Survivors};
use crate::config::{ConfigError, ConfigErrors};
use crate::hints;
use crate::hooks::{HookError, HookFailure};
use crate::intel_rdt::RdtRefused;
use crate::plan::StepFailed;

/// Where in the user's input a value stands: an RFC 6901 pointer behind the document's name, `config.json#/mounts/3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(Cow<'static, str>);

impl Pointer {
    /// The whole of `config.json`.
    pub const CONFIG: Pointer = Pointer(Cow::Borrowed("config.json#"));
    /// The whole of the process document given to `exec --process`.
    pub const PROCESS: Pointer = Pointer(Cow::Borrowed("process.json#"));

    /// The whole of the document given to `update --resources`.
    pub const RESOURCES: Pointer = Pointer(Cow::Borrowed("resources.json#"));

    /// A place known when the program is written, such as `config.json#/process/cwd` or `--cwd`.
    pub(crate) const fn fixed(text: &'static str) -> Pointer {
        Pointer(Cow::Borrowed(text))
    }

    /// The member `name` of the object that this pointer names.
    #[must_use]
    pub(crate) fn key(&self, name: &str) -> Pointer {
        let escaped = if name.contains(['~', '/']) {
            Cow::Owned(name.replace('~', "~0").replace('/', "~1"))
        } else {
            Cow::Borrowed(name)
        };
        Pointer(Cow::Owned(format!("{}/{escaped}", self.0)))
    }

    /// The element `index` of the array that this pointer names.
    #[must_use]
    pub(crate) fn index(&self, index: usize) -> Pointer {
        Pointer(Cow::Owned(format!("{}/{index}", self.0)))
    }

    /// What the RFC 6901 pointer `below` names, from this place on.
    #[must_use]
    pub(crate) fn join(&self, below: &str) -> Pointer {
        Pointer(Cow::Owned(format!("{}{below}", self.0)))
    }

    /// The text, document name included.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An errno, printed in the words engines search for: Go's, which are the C library's with a small first letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Errno(errno.raw_os_error())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        let text = text.split(" (os error").next().unwrap_or("unknown error");
        let mut chars = text.chars();
        match (chars.next(), chars.clone().next()) {
            // "RFS specific error" keeps its capitals; "No such file" becomes "no such file".
            (Some(first), Some(second)) if !second.is_uppercase() => {
                write!(f, "{}{}", first.to_lowercase(), chars.as_str())
            }
            _ => f.write_str(text),
        }
    }
}

/// What kind of failure an [`Error`] is; exit codes and RPC codes are a `match` on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bundle or the request is wrong; nothing was touched.
    InvalidConfig,
    /// No such container.
    NotFound,
    /// A container of that id exists.
    AlreadyExists,
    /// The container is not in a status that allows the operation.
    WrongStatus,
    /// The kernel said no.
    Refused,
    /// This version, or this machine, cannot do what was asked.
    Unsupported,
    /// A bug of ours, or a state directory that somebody else wrote to.
    Internal,
}

/// Why an operation of the library failed. Everything it had begun is undone.
pub struct Error {
    kind: ErrorKind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    /// Wraps the error of the module that owns the failure.
    pub(crate) fn new(
        kind: ErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error {
            kind,
            source: source.into(),
        }
    }

    /// What to match on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The places of the input that are to blame: all of them for a config.json with several faults, none for a need of the runtime's own.
    pub fn pointers(&self) -> Vec<Pointer> {
        let wrong = self.config_errors().iter().map(|one| one.pointer.clone());
        let refused = self.refused().and_then(|refused| refused.pointer.clone());
        let hook = self.downcast_ref::<HookError>().map(HookError::pointer);
        let cgroup = self.downcast_ref::<CreateError>().map(CreateError::pointer);
        wrong.chain(refused).chain(hook).chain(cgroup).collect()
    }

    /// Each fault of a config.json or process document; empty for an error of another kind.
    pub fn config_errors(&self) -> &[ConfigError] {
        self.downcast_ref()
            .map_or(&[], |errors: &ConfigErrors| errors.as_slice())
    }

    /// What the kernel said, where it said no.
    pub fn errno(&self) -> Option<Errno> {
        let hook = || match &self.downcast_ref::<HookError>()?.failure {
            HookFailure::Spawn { errno, .. } => Some(Errno::from(*errno)),
            HookFailure::Kernel { errno, .. } => Some(*errno),
            _ => None,
        };
        let refused = self.refused().map(|refused| refused.errno);
        // A hook of the stage's that ran out of time has none.
        refused.or_else(hook).filter(|errno| errno.0 > 0)
    }

    /// The system call that was refused, its arguments decoded: `mount_setattr(ro|nosuid)`.
    pub fn call(&self) -> Option<&str> {
        let hook = || match &self.downcast_ref::<HookError>()?.failure {
            HookFailure::Kernel { call, .. } => Some(*call),
            _ => None,
        };
        self.refused()
            .map(|refused| refused.call.as_str())
            .or_else(hook)
    }

    /// What it was about, as the kernel saw it: a path of the host's, or one in the container for what failed in there.
    pub fn path(&self) -> Option<&Path> {
        let hook = || match &self.downcast_ref::<HookError>()?.failure {
            HookFailure::Spawn { path, .. } => Some(Path::new(path)),
            _ => None,
        };
        let survivors = || Some(self.downcast_ref::<Survivors>()?.path.as_path());
        self.refused()
            .and_then(|refused| refused.path.as_deref())
            .or_else(hook)
            .or_else(survivors)
            .or_else(|| self.downcast_ref::<CreateError>()?.path())
    }

    fn refused(&self) -> Option<&Refused> {
        let step = || Some(&self.downcast_ref::<StepFailed>()?.refused);
        let rdt = || Some(&self.downcast_ref::<RdtRefused>()?.refused);
        self.downcast_ref::<Refused>().or_else(step).or_else(rdt)
    }

    /// The module's own error. Of use to our own tests: the modules are no part of the interface.
    #[doc(hidden)]
    pub fn downcast_ref<T: std::error::Error + 'static>(&self) -> Option<&T> {
        self.source.downcast_ref()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.source)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

/// A system call that the kernel refused, with all that the user needs to find out why.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The value of the input that asked for it; `None` for the runtime's own needs.
    pub pointer: Option<Pointer>,
    /// The call with its arguments decoded: `mount_setattr(ro|nosuid)`.
    pub call: String,
    /// The path as the kernel saw it.
    pub path: Option<PathBuf>,
    /// What the kernel said.
    pub errno: Errno,
    /// What to try, where more is known than the call and the errno; else the table of hints is asked.
    pub hint: Option<String>,
}

impl Refused {
    /// A refusal of `call` on `path` that no single value of the input is to blame for.
    pub fn new(
        call: impl Into<String>,
        path: impl Into<PathBuf>,
        errno: impl Into<Errno>,
    ) -> Refused {
        Refused {
            pointer: None,
            call: call.into(),
            path: Some(path.into()),
            errno: errno.into(),
            hint: None,
        }
    }

    /// The same for a call that names no path.
    pub fn call(call: impl Into<String>, errno: impl Into<Errno>) -> Refused {
        Refused {
            pointer: None,
            call: call.into(),
            path: None,
            errno: errno.into(),
            hint: None,
        }
    }

    /// The same refusal, with the input that asked for it.
    #[must_use]
    pub fn at(mut self, pointer: Pointer) -> Refused {
        self.pointer = Some(pointer);
        self
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pointer) = &self.pointer {
            write!(f, "{pointer}: ")?;
        }
        f.write_str(&self.call)?;
        if let Some(path) = &self.path {
            write!(f, " on {}", path.display())?;
        }
        write!(f, ": {}", self.errno)?;
        let hint = self.hint.as_deref();
        match hint.or_else(|| hints::hint(&self.call, self.errno)) {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        Error::new(ErrorKind::Refused, refused)
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
