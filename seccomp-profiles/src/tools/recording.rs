//! From the calls that a program made to a profile that allows them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::action::Action;
use crate::arch::Arch;
use crate::profile::{Invalid, Profile};
use crate::tables::Syscall;

/// The calls that were seen, by architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    calls: BTreeMap<Arch, BTreeSet<Syscall>>,
    /// Some `clone` asked for a namespace.
    namespaces: bool,
    /// Numbers that the tables have no name for: (AUDIT_ARCH_, number).
    pub unnamed: BTreeSet<(u32, u32)>,
}

/// What a program does or not as chance will have it: memory that grows, a lock that is taken, a signal that comes, an end; and what the vDSO
/// asks the kernel for on some machines. None gives a program anything.
const OF_CHANCE: &[&str] = &[
    "brk",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "exit",
    "exit_group",
    "futex",
    "getcpu",
    "getrandom",
    "gettimeofday",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "restart_syscall",
    "rt_sigreturn",
    "sched_yield",
    "time",
];

const CLONE: &str = "clone";

/// CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET. (CLONE_NEWTIME is not for clone(2).)
const NAMESPACES: u64 = 0x7e02_0000;

/// Which argument of clone(2) has the flags: on s390 the stack comes first.
fn place_of_flags(arch: Arch) -> u8 {
    u8::from(matches!(arch, Arch::S390 | Arch::S390x))
}

impl Recording {
    /// A recording that has seen nothing but what a program of this architecture may call by chance.
    pub fn of_chance(arch: Arch) -> Recording {
        let calls = OF_CHANCE.iter().filter_map(|name| Syscall::named(name));
        Recording {
            calls: BTreeMap::from([(arch, calls.collect())]),
            namespaces: false,
            unnamed: BTreeSet::new(),
        }
    }

    /// Notes a call as the kernel reports it: `audit` is `seccomp_data.arch`. The two ABIs of x86_64 share one; bit 30 of the number tells
    /// which it is.
    pub fn note(&mut self, audit: u32, number: u32, arguments: [u64; 6]) {
        let x32 = audit == Arch::X32.audit() && number & crate::rules::X32 != 0;
        let arch = Arch::ALL
            .into_iter()
            .find(|arch| arch.audit() == audit && (*arch == Arch::X32) == x32);
        match arch.and_then(|arch| Some((arch, Syscall::numbered(arch, number)?))) {
            Some((arch, call)) => {
                let flags = arguments[usize::from(place_of_flags(arch))];
                self.namespaces |= call.name() == CLONE && flags & NAMESPACES != 0;
                self.calls.entry(arch).or_default().insert(call);
            }
            None => {
                self.unnamed.insert((audit, number));
            }
        }
    }

    /// Whether a call of this name was seen on any architecture.
    pub fn has(&self, name: &str) -> bool {
        self.calls
            .values()
            .flatten()
            .any(|call| call.name() == name)
    }

    /// How many different calls were seen.
    pub fn len(&self) -> usize {
        self.calls.values().map(BTreeSet::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The profile that allows exactly these calls: an OCI `linux.seccomp` object. A `clone` that made threads and processes makes no
    /// namespaces under it; of `clone3` that cannot be asked, its flags lie in memory.
    pub fn to_profile(&self) -> Value {
        let mut names: BTreeSet<_> = self
            .calls
            .values()
            .flatten()
            .map(|call| call.name())
            .collect();
        let architectures: Vec<_> = self.calls.keys().map(|arch| arch.name()).collect();
        let places: BTreeSet<_> = self
            .calls
            .keys()
            .map(|arch| place_of_flags(*arch))
            .collect();
        // One rule speaks for all architectures of the profile, so they have to agree on the argument.
        if let (Some(place), 1, false) = (places.first(), places.len(), self.namespaces)
            && names.remove(CLONE)
        {
            let no_namespace = json!({ "index": place, "op": "SCMP_CMP_MASKED_EQ", "value": NAMESPACES, "valueTwo": 0 });
            return json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 1,
                "architectures": architectures,
                "syscalls": [
                    { "names": names, "action": "SCMP_ACT_ALLOW" },
                    { "names": [CLONE], "action": "SCMP_ACT_ALLOW", "args": [no_namespace] },
                ],
            });
        }
        json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": architectures,
            "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
        })
    }
}

/// The profile without the permissions that a recording did not use: rules that allow keep only the names that were seen, and go when none
/// is left; all other rules stay as they are. Errors: the object is no profile.
pub fn trim(profile: &Value, recording: &Recording) -> Result<Value, Invalid> {
    Profile::from_value(profile)?;
    let mut trimmed = profile.clone();
    if let Some(rules) = trimmed.get_mut("syscalls").and_then(Value::as_array_mut) {
        rules.retain_mut(|rule| {
            let allows = rule.get("action").and_then(Value::as_str) == Some(Action::Allow.name());
            if !allows {
                return true;
            }
            let Some(names) = rule.get_mut("names").and_then(Value::as_array_mut) else {
                return true;
            };
            names.retain(|name| name.as_str().is_some_and(|name| recording.has(name)));
            !names.is_empty()
        });
    }
    Ok(trimmed)
}
