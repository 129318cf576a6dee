//! What the kernel does with a call, and how an OCI profile says so.
//!
//! Source: seccomp(2), linux/seccomp.h; config-linux.md, "seccomp".

use std::fmt;

/// The action of a rule, its number (errno, or what a tracer is told) included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    KillThread,
    KillProcess,
    /// SIGSYS.
    Trap,
    /// The call is not made and gives this errno. The kernel gives 4095 for anything above.
    Errno(u16),
    /// A listener decides.
    Notify,
    /// A tracer is told this number and decides; without one the call gives ENOSYS.
    Trace(u16),
    Log,
    Allow,
}

/// errno(3) EPERM: what a denied call gives if the profile says nothing else.
pub(crate) const EPERM: u16 = 1;
/// errno(3) ENOSYS.
pub(crate) const ENOSYS: u16 = 38;

impl Action {
    /// Names as in the OCI specification; `SCMP_ACT_KILL` is the old word for `SCMP_ACT_KILL_THREAD`.
    pub const NAMES: [&str; 9] = [
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_TRAP",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_LOG",
        "SCMP_ACT_ALLOW",
    ];

    /// The action with this name, its number EPERM where it has one (config-linux.md: "The default is EPERM").
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KillThread,
            "SCMP_ACT_KILL_PROCESS" => Self::KillProcess,
            "SCMP_ACT_TRAP" => Self::Trap,
            "SCMP_ACT_ERRNO" => Self::Errno(EPERM),
            "SCMP_ACT_NOTIFY" => Self::Notify,
            "SCMP_ACT_TRACE" => Self::Trace(EPERM),
            "SCMP_ACT_LOG" => Self::Log,
            "SCMP_ACT_ALLOW" => Self::Allow,
            _ => return None,
        })
    }

    /// The same action with another number; None if it has no number to change.
    pub fn with_number(self, number: u16) -> Option<Self> {
        match self {
            Self::Errno(_) => Some(Self::Errno(number)),
            Self::Trace(_) => Some(Self::Trace(number)),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::KillThread => "SCMP_ACT_KILL_THREAD",
            Self::KillProcess => "SCMP_ACT_KILL_PROCESS",
            Self::Trap => "SCMP_ACT_TRAP",
            Self::Errno(_) => "SCMP_ACT_ERRNO",
            Self::Notify => "SCMP_ACT_NOTIFY",
            Self::Trace(_) => "SCMP_ACT_TRACE",
            Self::Log => "SCMP_ACT_LOG",
            Self::Allow => "SCMP_ACT_ALLOW",
        }
    }

    /// SECCOMP_RET_…: what a filter returns for it.
    pub const fn to_return(self) -> u32 {
        match self {
            Self::KillThread => 0,
            Self::KillProcess => 0x8000_0000,
            Self::Trap => 0x0003_0000,
            Self::Errno(number) => 0x0005_0000 | number as u32,
            Self::Notify => 0x7fc0_0000,
            Self::Trace(number) => 0x7ff0_0000 | number as u32,
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// Reads what a filter returned, as the kernel does: a value it does not know kills the process.
    pub const fn from_return(value: u32) -> Self {
        let number = (value & 0xffff) as u16;
        match value & 0xffff_0000 {
            0 => Self::KillThread,
            0x0003_0000 => Self::Trap,
            0x0005_0000 => Self::Errno(number),
            0x7fc0_0000 => Self::Notify,
            0x7ff0_0000 => Self::Trace(number),
            0x7ffc_0000 => Self::Log,
            0x7fff_0000 => Self::Allow,
            _ => Self::KillProcess,
        }
    }

    /// The call is made, or somebody who knows later kernels decides: runc gives no ENOSYS of its own for a profile with such a default.
    pub(crate) const fn permits(self) -> bool {
        matches!(self, Self::Allow | Self::Log | Self::Trace(_))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(number) | Self::Trace(number) => write!(f, "{}({number})", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_returns_go_there_and_back() {
        for name in Action::NAMES {
            let action = Action::named(name).unwrap();
            assert!(name == "SCMP_ACT_KILL" || action.name() == name);
            assert_eq!(Action::from_return(action.to_return()), action);
        }
        assert_eq!(Action::named("SCMP_ACT_INVALID"), None);
        assert_eq!(Action::from_return(0x1234_0000), Action::KillProcess);
    }
}
