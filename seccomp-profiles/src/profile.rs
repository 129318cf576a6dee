//! A profile: the OCI `linux.seccomp` object with its words turned into types.
//!
//! [`Profile::from_value`] reads the object and reports every fault at once, each with its JSON pointer (RFC 6901, from the object on);
//! [`Reading`] does the same for those who have read the JSON into types of their own. A `Profile` that exists is valid: every action,
//! operator, architecture and flag is known, every argument index is one of the six. What may be unknown is a system call: names of which
//! no architecture has one stay text, and the compiler reports them.
//!
//! Source: config-linux.md, "seccomp". Unknown keys are ignored, as the specification demands.

mod faults;
mod parse;
mod reading;

use std::fmt;
use std::ops::Deref;

use crate::action::Action;
use crate::arch::Arch;
use crate::tables::Syscall;
pub use faults::{Fault, Invalid, Problem};
pub use reading::{Given, RawCondition, RawRule, Reading};

/// The OCI `linux.seccomp` object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// For calls no rule speaks of (`defaultAction` and `defaultErrnoRet`).
    pub default_action: Action,
    /// Architectures beside the native one, which is always meant.
    pub architectures: Vec<Arch>,
    /// None if the key is absent: then the runtime chooses (see [`crate::flags::Flags::of`]).
    pub flags: Option<Vec<Flag>>,
    /// The socket of the agent that answers notifications. Empty and absent are the same.
    pub listener_path: Option<String>,
    /// Handed to the agent, not interpreted.
    pub listener_metadata: Option<String>,
    /// `syscalls`, in the profile's order: the index of a rule is its index there.
    pub rules: Vec<Rule>,
}

/// One entry of `syscalls`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    pub names: Vec<Name>,
    pub action: Action,
    /// All must hold; but if two are about the same argument, one that holds is enough (runc's reading, which profiles rely on).
    pub conditions: Vec<Condition>,
}

/// The name of a system call: looked up once, when the profile is read. Reads as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    Known(Syscall),
    /// No architecture has such a call.
    Unknown(Box<str>),
}

/// What must be true of one argument. Values are compared without sign, 64 bits wide; on a 32-bit architecture the low halves are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// 0 to 5.
    pub argument: u8,
    pub operator: Operator,
    pub value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// Equal in the bits of this mask. In the profile, `value` is the mask and `valueTwo` what is compared with.
    MaskedEqual(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// All threads of the process get the filter.
    Tsync,
    /// Actions other than allow are logged.
    Log,
    /// No mitigation of speculative store bypass for the sake of this filter.
    SpecAllow,
    /// A call that waits for its listener is interrupted by fatal signals only.
    WaitKillableRecv,
}

impl Profile {
    /// A profile of a default action and no rules.
    pub fn new(default_action: Action) -> Self {
        Self {
            default_action,
            architectures: Vec::new(),
            flags: None,
            listener_path: None,
            listener_metadata: None,
            rules: Vec::new(),
        }
    }

    /// Some call may be put to a listener: loading gives a descriptor that somebody must serve.
    pub fn notifies(&self) -> bool {
        self.default_action == Action::Notify
            || self.rules.iter().any(|rule| rule.action == Action::Notify)
    }
}

impl Rule {
    /// How [`Rule::conditions`] are joined: see there.
    pub fn alternatives(&self) -> bool {
        let mut seen = 0_u8;
        self.conditions.iter().any(|condition| {
            let bit = 1 << condition.argument.min(7);
            let again = seen & bit != 0;
            seen |= bit;
            again
        })
    }
}

impl Name {
    pub fn new(name: &str) -> Self {
        match Syscall::named(name) {
            Some(call) => Self::Known(call),
            None => Self::Unknown(name.into()),
        }
    }

    /// The call; None if no architecture has it.
    pub const fn call(&self) -> Option<Syscall> {
        match self {
            Self::Known(call) => Some(*call),
            Self::Unknown(_) => None,
        }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Known(call) => call.name(),
            Self::Unknown(name) => name,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Condition {
    /// The condition, for one argument as the kernel gives it to a filter.
    pub fn holds(&self, argument: u64, width: crate::arch::Width) -> bool {
        let wide = match width {
            crate::arch::Width::Bits64 => u64::MAX,
            crate::arch::Width::Bits32 => u64::from(u32::MAX),
        };
        let (left, right) = (argument & wide, self.value & wide);
        match self.operator {
            Operator::NotEqual => left != right,
            Operator::Less => left < right,
            Operator::LessOrEqual => left <= right,
            Operator::Equal => left == right,
            Operator::GreaterOrEqual => left >= right,
            Operator::Greater => left > right,
            Operator::MaskedEqual(mask) => left & mask == right & mask,
        }
    }
}

impl Operator {
    /// Names as in the OCI specification.
    pub const NAMES: [&str; 7] = [
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    ];

    /// The operator with this name; one that takes a mask has the mask 0.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "SCMP_CMP_NE" => Self::NotEqual,
            "SCMP_CMP_LT" => Self::Less,
            "SCMP_CMP_LE" => Self::LessOrEqual,
            "SCMP_CMP_EQ" => Self::Equal,
            "SCMP_CMP_GE" => Self::GreaterOrEqual,
            "SCMP_CMP_GT" => Self::Greater,
            "SCMP_CMP_MASKED_EQ" => Self::MaskedEqual(0),
            _ => return None,
        })
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::NotEqual => "SCMP_CMP_NE",
            Self::Less => "SCMP_CMP_LT",
            Self::LessOrEqual => "SCMP_CMP_LE",
            Self::Equal => "SCMP_CMP_EQ",
            Self::GreaterOrEqual => "SCMP_CMP_GE",
            Self::Greater => "SCMP_CMP_GT",
            Self::MaskedEqual(_) => "SCMP_CMP_MASKED_EQ",
        }
    }
}

impl Flag {
    /// All of them, in the order of the kernel's bits.
    pub const ALL: [Self; 4] = [
        Self::Tsync,
        Self::Log,
        Self::SpecAllow,
        Self::WaitKillableRecv,
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flag| flag.name() == name)
    }

    /// Its name in the OCI specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tsync => "SECCOMP_FILTER_FLAG_TSYNC",
            Self::Log => "SECCOMP_FILTER_FLAG_LOG",
            Self::SpecAllow => "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            Self::WaitKillableRecv => "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            argument, value, ..
        } = self;
        match self.operator {
            Operator::NotEqual => write!(f, "args[{argument}] != {value:#x}"),
            Operator::Less => write!(f, "args[{argument}] < {value:#x}"),
            Operator::LessOrEqual => write!(f, "args[{argument}] <= {value:#x}"),
            Operator::Equal => write!(f, "args[{argument}] == {value:#x}"),
            Operator::GreaterOrEqual => write!(f, "args[{argument}] >= {value:#x}"),
            Operator::Greater => write!(f, "args[{argument}] > {value:#x}"),
            Operator::MaskedEqual(mask) => write!(f, "args[{argument}] & {mask:#x} == {value:#x}"),
        }
    }
}
