//! The flags of seccomp(2) a filter is loaded with.

use crate::profile::{Flag, Profile};

/// SECCOMP_FILTER_FLAG_…, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u32);

impl Flags {
    pub const NONE: Self = Self(0);
    pub const TSYNC: Self = Self(1);
    pub const LOG: Self = Self(1 << 1);
    pub const SPEC_ALLOW: Self = Self(1 << 2);
    /// seccomp(2) gives a descriptor on which the calls of SCMP_ACT_NOTIFY arrive.
    pub const NEW_LISTENER: Self = Self(1 << 3);
    /// With TSYNC: a thread that cannot take the filter is an errno and not a return value, which a listener needs.
    pub const TSYNC_ESRCH: Self = Self(1 << 4);
    pub const WAIT_KILLABLE_RECV: Self = Self(1 << 5);

    /// What to load a profile with: the flags it names; if it has no `flags`, SPEC_ALLOW (as runc does; every kernel with seccomp listeners
    /// has it, since Linux 4.17); NEW_LISTENER if a rule notifies.
    ///
    /// WAIT_KILLABLE_RECV says how a listener waits: the kernel refuses it without one, so it is left out then.
    pub fn of(profile: &Profile) -> Self {
        let mut flags = match &profile.flags {
            None => Self::SPEC_ALLOW,
            Some(flags) => flags
                .iter()
                .fold(Self::NONE, |all, flag| all.with(Self::from(*flag))),
        };
        if profile.notifies() {
            flags = flags.with(Self::NEW_LISTENER);
            if flags.has(Self::TSYNC) {
                flags = flags.with(Self::TSYNC_ESRCH);
            }
        } else {
            flags.0 &= !Self::WAIT_KILLABLE_RECV.0;
        }
        flags
    }

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Self {
        match flag {
            Flag::Tsync => Self::TSYNC,
            Flag::Log => Self::LOG,
            Flag::SpecAllow => Self::SPEC_ALLOW,
            Flag::WaitKillableRecv => Self::WAIT_KILLABLE_RECV,
        }
    }
}
