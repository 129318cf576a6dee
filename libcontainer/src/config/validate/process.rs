//! The rules of a `process` object, in `config.json` and in the file of `exec --process` alike.

use std::collections::BTreeSet;
use std::ffi::CString;

use super::scheduling::{exec_cpu_affinity, io_priority, scheduler};
use super::{ids, text};
use crate::config::errors::{Findings, Place, quoted};
use crate::config::names;
use crate::config::{Capabilities, ContainerPath, HostFacts, Process, Rlimit, User, raw};

/// MAX_ARG_STRLEN of execve(2) without the NUL: a longer string fails the exec, which may be after `start`.
const LONGEST_STRING: usize = 128 * 1024 - 1;
/// execve(2): arguments and environment together never get more than three quarters of the 8 MB default stack.
const LONGEST_STRINGS: usize = 6 * 1024 * 1024;

/// Checks a process; `None` if something is wrong with it.
pub(in crate::config) fn process(
    raw: &raw::Process<'_>,
    at: &Place<'_>,
    facts: &HostFacts,
    found: &mut Findings,
) -> Option<Process> {
    let args = args(raw, at, found);
    let env = env(
        raw.env.as_deref().unwrap_or_default(),
        &at.key("env"),
        found,
    );
    let total = |strings: &[CString]| strings.iter().map(|s| s.count_bytes() + 9).sum::<usize>();
    if total(&args) + total(&env) > LONGEST_STRINGS {
        found.error(
            &at.key("args"),
            "args and env are longer than the 6 MiB that execve takes",
        );
    }
    let cwd = match raw.cwd.as_deref().unwrap_or_default() {
        "" => {
            found.error(&at.key("cwd"), "Cwd property must not be empty");
            None
        }
        cwd if !cwd.starts_with('/') => {
            found.error(
                &at.key("cwd"),
                format!("Cwd must be an absolute path, not {}", quoted(cwd)),
            );
            None
        }
        cwd => found.check(&at.key("cwd"), ContainerPath::parse(cwd)),
    };
    let process = Process {
        args,
        env,
        terminal: raw.terminal.unwrap_or_default(),
        console_size: raw
            .console_size
            .as_ref()
            .and_then(|size| console_size(size, &at.key("consoleSize"), found)),
        user: user(raw.user.as_ref(), &at.key("user"), facts, found),
        capabilities: raw
            .capabilities
            .as_ref()
            .map(|sets| capabilities(sets, &at.key("capabilities"), facts, found)),
        rlimits: rlimits(
            raw.rlimits.as_deref().unwrap_or_default(),
            &at.key("rlimits"),
            found,
        ),
        no_new_privileges: raw.no_new_privileges.unwrap_or_default(),
        oom_score_adj: raw
            .oom_score_adj
            .and_then(|adj| oom_score_adj(adj, &at.key("oomScoreAdj"), found)),
        apparmor_profile: apparmor_profile(raw, at, facts, found),
        selinux_label: selinux_label(
            raw.selinux_label.as_deref(),
            &at.key("selinuxLabel"),
            facts,
            found,
        ),
        scheduler: raw
            .scheduler
            .as_ref()
            .and_then(|raw| scheduler(raw, &at.key("scheduler"), found)),
        io_priority: raw
            .io_priority
            .as_ref()
            .and_then(|raw| io_priority(raw, &at.key("ioPriority"), found)),
        exec_cpu_affinity: raw
            .exec_cpu_affinity
            .as_ref()
            .map(|raw| exec_cpu_affinity(raw, &at.key("execCPUAffinity"), found)),
        cwd: cwd?,
    };
    Some(process)
}

fn args(raw: &raw::Process<'_>, at: &Place<'_>, found: &mut Findings) -> Vec<CString> {
    let at = at.key("args");
    let args = raw.args.as_deref().unwrap_or_default();
    if args.is_empty() {
        found.error(&at, "args must not be empty");
    }
    args.iter()
        .enumerate()
        .filter_map(|(index, arg)| exec_string(arg, &at.index(index), found))
        .collect()
}

fn exec_string(string: &str, at: &Place<'_>, found: &mut Findings) -> Option<CString> {
    if string.len() > LONGEST_STRING {
        found.error(
            at,
            format!(
                "{} bytes are more than the 131071 that execve takes in one string",
                string.len()
            ),
        );
        return None;
    }
    text(string, at, found)
}

/// Of a variable given twice the last one counts, at its place; an empty HOME is no HOME.
fn env(raw: &[raw::Text<'_>], at: &Place<'_>, found: &mut Findings) -> Vec<CString> {
    let mut names = BTreeSet::new();
    let mut env: Vec<CString> = Vec::with_capacity(raw.len());
    for (index, variable) in raw.iter().enumerate().rev() {
        let at = at.index(index);
        let Some((name, value)) = env_entry(variable, &at, found) else {
            continue;
        };
        if names.insert(name) && (name, value) != ("HOME", "") {
            env.extend(exec_string(variable, &at, found));
        }
    }
    env.reverse();
    env
}

/// The name and the value of an environment entry; hooks have the same rule.
pub(super) fn env_entry<'a>(
    entry: &'a str,
    at: &Place<'_>,
    found: &mut Findings,
) -> Option<(&'a str, &'a str)> {
    if entry.contains('\0') {
        found.error(
            at,
            format!(
                "invalid environment variable: contains nul byte ({})",
                quoted(entry)
            ),
        );
        return None;
    }
    let pair = entry.split_once('=').filter(|(name, _)| !name.is_empty());
    if pair.is_none() {
        let missing = if entry.starts_with('=') {
            "missing name"
        } else {
            "missing '='"
        };
        found.error(
            at,
            format!(
                "invalid environment variable: {missing} ({})",
                quoted(entry)
            ),
        );
    }
    pair
}

fn console_size(
    raw: &raw::ConsoleSize,
    at: &Place<'_>,
    found: &mut Findings,
) -> Option<(u16, u16)> {
    let mut side = |name, length: Option<u64>| {
        let length = length.unwrap_or_default();
        found.check(
            &at.key(name),
            u16::try_from(length)
                .map_err(|_| format!("{length} is more than a terminal takes, 65535")),
        )
    };
    let (rows, columns) = (side("height", raw.height), side("width", raw.width));
    Some((rows?, columns?))
}

fn user(raw: Option<&raw::User>, at: &Place<'_>, facts: &HostFacts, found: &mut Findings) -> User {
    let Some(raw) = raw else {
        return User::default();
    };
    let gids = raw.additional_gids.as_deref().unwrap_or_default();
    let gids_at = at.key("additionalGids");
    if facts.unprivileged && !gids.is_empty() {
        found.error(
            &gids_at,
            "cannot set any additional groups in a rootless container",
        );
    }
    if let Some(umask) = raw.umask.filter(|umask| *umask > 0o777) {
        found.error(
            &at.key("umask"),
            format!("umask 0{umask:o} has bits above 0777"),
        );
    }
    User {
        uid: ids::id(raw.uid.unwrap_or_default(), &at.key("uid"), found),
        gid: ids::id(raw.gid.unwrap_or_default(), &at.key("gid"), found),
        additional_gids: gids
            .iter()
            .enumerate()
            .map(|(index, gid)| ids::id(*gid, &gids_at.index(index), found))
            .collect(),
        umask: raw.umask,
    }
}

/// Unknown names are passed over with a warning, as the specification asks; so are those that this kernel has not.
fn capabilities(
    raw: &raw::Capabilities<'_>,
    at: &Place<'_>,
    facts: &HostFacts,
    found: &mut Findings,
) -> Capabilities {
    let mut unknown = BTreeSet::new();
    let mut set = |list: &Option<raw::List<raw::Text<'_>>>| {
        let mut bits = 0u64;
        for name in list.as_deref().unwrap_or_default() {
            let number = (0..=facts.last_cap)
                .zip(names::CAPABILITIES)
                .find(|(_, known)| **known == &**name);
            match number {
                Some((number, _)) => bits |= 1 << number,
                None => {
                    unknown.insert(crop(name));
                }
            }
        }
        bits
    };
    let sets = Capabilities {
        bounding: set(&raw.bounding),
        effective: set(&raw.effective),
        inheritable: set(&raw.inheritable),
        permitted: set(&raw.permitted),
        ambient: set(&raw.ambient),
    };
    if !unknown.is_empty() {
        let unknown: Vec<_> = unknown.into_iter().collect();
        found.warn(format!(
            "ignoring unknown or unavailable capabilities: [{}]",
            unknown.join(" ")
        ));
    }
    if sets.effective & !sets.permitted != 0 {
        found.error(
            &at.key("effective"),
            format!(
                "not in the permitted set: [{}]",
                listed(sets.effective & !sets.permitted)
            ),
        );
    }
    let raisable = sets.permitted & sets.inheritable;
    if sets.ambient & !raisable != 0 {
        found.warn(format!(
            "ignoring ambient capabilities that are not both permitted and inheritable: [{}]",
            listed(sets.ambient & !raisable)
        ));
    }
    Capabilities {
        ambient: sets.ambient & raisable,
        ..sets
    }
}

/// A name of the user's for the log: one line and not a megabyte.
fn crop(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

fn listed(bits: u64) -> String {
    let names: Vec<_> = (0..64)
        .zip(names::CAPABILITIES)
        .filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect();
    names.join(" ")
}

fn rlimits(raw: &[raw::Rlimit<'_>], at: &Place<'_>, found: &mut Findings) -> Vec<Rlimit> {
    let mut rlimits: Vec<Rlimit> = Vec::with_capacity(raw.len());
    for (index, limit) in raw.iter().enumerate() {
        let at = at.index(index);
        let name = limit.kind.as_deref().unwrap_or_default();
        let Some((resource, name)) = (0u32..)
            .zip(names::RLIMITS)
            .find(|(_, known)| **known == name)
        else {
            found.error(
                &at.key("type"),
                format!("wrong rlimit value: {}", crop(name)),
            );
            continue;
        };
        let (soft, hard) = (
            limit.soft.unwrap_or_default(),
            limit.hard.unwrap_or_default(),
        );
        if rlimits.iter().any(|other| other.resource == resource) {
            found.error(&at.key("type"), format!("{name} is given twice"));
        }
        if soft > hard {
            found.error(
                &at.key("soft"),
                format!("the soft limit {soft} is above the hard limit {hard}"),
            );
        }
        rlimits.push(Rlimit {
            resource,
            name,
            soft,
            hard,
        });
    }
    rlimits
}

fn oom_score_adj(adj: i64, at: &Place<'_>, found: &mut Findings) -> Option<i32> {
    let value = i32::try_from(adj)
        .ok()
        .filter(|adj| (-1000..=1000).contains(adj));
    found.check(
        at,
        value.ok_or_else(|| format!("{adj} is not between -1000 and 1000")),
    )
}

fn apparmor_profile(
    raw: &raw::Process<'_>,
    at: &Place<'_>,
    facts: &HostFacts,
    found: &mut Findings,
) -> Option<CString> {
    let at = at.key("apparmorProfile");
    let profile = raw
        .apparmor_profile
        .as_deref()
        .filter(|profile| !profile.is_empty())?;
    if !facts.apparmor {
        found.error(&at, "unable to apply apparmor profile: apparmor: config provided but apparmor not supported");
    }
    text(profile, &at, found)
}

/// A label of SELinux, of a process or of mounts.
pub(super) fn selinux_label(
    raw: Option<&str>,
    at: &Place<'_>,
    facts: &HostFacts,
    found: &mut Findings,
) -> Option<CString> {
    let label = raw.filter(|label| !label.is_empty())?;
    if !facts.selinux {
        found.error(
            at,
            "selinux label is specified in config, but selinux is disabled or not supported",
        );
    }
    text(label, at, found)
}
