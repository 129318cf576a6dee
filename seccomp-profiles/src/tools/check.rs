//! What is wrong with a profile, and what is suspicious about it.

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;

use crate::action::Action;
use crate::arch::Arch;
use crate::profile::{Fault, Profile};
use crate::rules::{Conflict, Decision, Ruleset};
use crate::tables::Syscall;

/// Everything there is to say about a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// No runtime takes it: what does not read.
    pub faults: Vec<Fault>,
    /// … or rules that contradict each other.
    pub conflict: Option<Conflict>,
    /// It is taken, and may not mean what its author thinks.
    pub warnings: Vec<Warning>,
}

/// Something suspicious, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// RFC 6901, from the `seccomp` object on.
    pub pointer: String,
    pub kind: WarningKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WarningKind {
    /// No architecture has a call of this name: a slip of the pen, or a call newer than the tables.
    UnknownName(String),
    /// Another rule decides first, whatever the arguments.
    Shadowed { name: String, by: Option<usize> },
    /// Its action is the default one.
    SaysNothing,
    /// The call is allowed without conditions, and whoever may make it may do much.
    DangerousAllow { name: String, why: &'static str },
    /// Calls no rule names are made.
    PermissiveDefault,
    /// The machine also runs programs of this architecture; every call of theirs kills them.
    UnnamedArchitecture(Arch),
    /// Some call waits for an agent and nobody is named.
    NoListener,
}

impl Report {
    /// Whether a runtime takes the profile.
    pub fn is_valid(&self) -> bool {
        self.faults.is_empty() && self.conflict.is_none()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.kind)
    }
}

impl fmt::Display for WarningKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName(name) => write!(
                f,
                "no architecture has a system call {name:?}; it is passed over"
            ),
            Self::Shadowed { name, by: Some(by) } => {
                write!(
                    f,
                    "says nothing about {name}: /syscalls/{by} decides it first"
                )
            }
            Self::Shadowed { name, by: None } => {
                write!(
                    f,
                    "says nothing about {name} on any architecture of the profile"
                )
            }
            Self::SaysNothing => {
                f.write_str("the action is the default one: the rule says nothing")
            }
            Self::DangerousAllow { name, why } => write!(f, "allows {name}: {why}"),
            Self::PermissiveDefault => {
                f.write_str("calls that no rule names are made, also those of later kernels")
            }
            Self::UnnamedArchitecture(arch) => {
                write!(
                    f,
                    "{arch} is not named: a program of it is killed at its first call"
                )
            }
            Self::NoListener => {
                f.write_str("SCMP_ACT_NOTIFY is used and nobody is named to answer")
            }
        }
    }
}

/// Calls that open a way out of a container, or into the kernel, where capabilities do not close it.
const DANGEROUS: &[(&str, &str)] = &[
    ("add_key", "kernel keyrings are not namespaced"),
    ("bpf", "loads programs into the kernel"),
    ("clock_settime", "the time is everybody's"),
    ("delete_module", "takes code out of the kernel"),
    ("finit_module", "loads code into the kernel"),
    ("fsconfig", "makes mounts"),
    ("fsmount", "makes mounts"),
    ("fsopen", "makes mounts"),
    ("init_module", "loads code into the kernel"),
    (
        "io_uring_setup",
        "its operations are not seen by this filter",
    ),
    ("kexec_file_load", "boots another kernel"),
    ("kexec_load", "boots another kernel"),
    ("keyctl", "kernel keyrings are not namespaced"),
    ("mount", "makes mounts"),
    ("move_mount", "makes mounts"),
    (
        "open_by_handle_at",
        "opens files outside the mounts that are seen",
    ),
    ("open_tree", "makes mounts"),
    ("perf_event_open", "watches the kernel, and other processes"),
    ("pivot_root", "changes the root"),
    ("process_vm_writev", "writes into other processes"),
    (
        "ptrace",
        "controls other processes; before Linux 4.8 it went around the filter",
    ),
    ("reboot", "reboots the machine"),
    ("request_key", "kernel keyrings are not namespaced"),
    ("setns", "enters namespaces"),
    ("settimeofday", "the time is everybody's"),
    ("swapon", "swap is everybody's"),
    ("umount2", "uncovers what mounts hide"),
    (
        "unshare",
        "makes user namespaces, and with them capabilities over much of the kernel",
    ),
    (
        "userfaultfd",
        "stops the kernel where an attack wants it to",
    ),
];

/// Reads and judges a profile for a machine whose native architecture this is.
pub fn check(value: &Value, native: Arch) -> Report {
    let profile = match Profile::from_value(value) {
        Ok(profile) => profile,
        Err(invalid) => {
            return Report {
                faults: invalid.faults,
                ..Report::default()
            };
        }
    };
    let rules = match Ruleset::new(&profile, native) {
        Ok(rules) => rules,
        Err(conflict) => {
            return Report {
                conflict: Some(conflict),
                ..Report::default()
            };
        }
    };
    let mut report = Report::default();
    let mut warn = |pointer: String, kind| report.warnings.push(Warning { pointer, kind });
    if profile.default_action.permits() {
        warn("/defaultAction".to_owned(), WarningKind::PermissiveDefault);
    }
    if profile.notifies() && profile.listener_path.is_none() {
        warn("/listenerPath".to_owned(), WarningKind::NoListener);
    }
    for &arch in native.companions() {
        if !rules.architectures.iter().any(|rules| rules.arch == arch) {
            warn(
                "/architectures".to_owned(),
                WarningKind::UnnamedArchitecture(arch),
            );
        }
    }
    for unknown in &rules.unknown {
        warn(
            format!("/syscalls/{}/names/{}", unknown.rule, unknown.name),
            WarningKind::UnknownName(unknown.text.clone()),
        );
    }
    for (index, rule) in profile.rules.iter().enumerate() {
        let at = format!("/syscalls/{index}");
        if rule.action == profile.default_action {
            warn(at, WarningKind::SaysNothing);
            continue;
        }
        for (place, name) in rule.names.iter().enumerate() {
            let Some(call) = name.call() else {
                continue;
            };
            let pointer = format!("{at}/names/{place}");
            if let Some(by) = shadowed(&rules, call, index) {
                warn(
                    pointer.clone(),
                    WarningKind::Shadowed {
                        name: name.to_string(),
                        by,
                    },
                );
            }
            let dangerous = DANGEROUS.iter().find(|(known, _)| *known == &**name);
            if let Some((_, why)) =
                dangerous.filter(|_| rule.action == Action::Allow && rule.conditions.is_empty())
            {
                warn(
                    pointer,
                    WarningKind::DangerousAllow {
                        name: name.to_string(),
                        why,
                    },
                );
            }
        }
    }
    report
}

/// Whether a rule decides about none of a call's numbers, and which rule does instead.
fn shadowed(rules: &Ruleset, call: Syscall, rule: usize) -> Option<Option<usize>> {
    let mut others = HashSet::new();
    for of_arch in &rules.architectures {
        for calls in &of_arch.calls {
            let names_it = call.number(of_arch.arch) == Some(calls.number);
            let decided_by = match &calls.decision {
                Decision::Always(outcome) => vec![outcome.rule],
                Decision::Tests(branches) => {
                    branches.iter().map(|branch| branch.outcome.rule).collect()
                }
            };
            // Calls that arrive folded stand under the number of `socketcall` or `ipc`.
            if decided_by.contains(&rule) && (names_it || call.number(of_arch.arch).is_none()) {
                return None;
            }
            if names_it {
                others.extend(decided_by);
            }
        }
    }
    Some(others.into_iter().min())
}
