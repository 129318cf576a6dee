//! What can be wrong with a profile.

use std::fmt;

/// Why an object is no profile: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// At least one, in the object's order.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {problem}")]
pub struct Fault {
    /// RFC 6901, from the `seccomp` object on: `/syscalls/3/args/0/op`.
    pub pointer: String,
    pub problem: Problem,
}

/// The ways in which a profile can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    #[error("is required")]
    Missing,
    #[error("should be {expected}")]
    Type { expected: &'static str },
    #[error("unknown action \"{0}\"")]
    UnknownAction(String),
    #[error("unknown operator \"{0}\"")]
    UnknownOperator(String),
    #[error("unknown architecture \"{0}\"")]
    UnknownArchitecture(String),
    #[error("unknown flag \"{0}\"")]
    UnknownFlag(String),
    #[error("a system call has arguments 0 to 5, not {0}")]
    Index(u64),
    #[error("{action} gives no errno: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take one")]
    ErrnoForAction { action: &'static str },
    #[error("{number} is more than {most}")]
    Errno { number: u64, most: u64 },
    #[error("the name of a system call is empty")]
    EmptyName,
}

impl Invalid {
    pub(super) fn type_of_all(expected: &'static str) -> Self {
        let fault = Fault {
            pointer: String::new(),
            problem: Problem::Type { expected },
        };
        Self {
            faults: vec![fault],
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}
