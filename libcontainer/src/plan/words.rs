//! The kernel's numbers in the words people use for them: mount options, namespaces, capabilities, errnos.

use super::flags::*;
use crate::config::names::{CAPABILITIES, PROPAGATIONS, RLIMITS};

/// (attribute, word that sets it, word that clears it)
const ATTRIBUTES: &[(u64, &str, &str)] = &[
    (MOUNT_ATTR_RDONLY, "ro", "rw"),
    (MOUNT_ATTR_NOSUID, "nosuid", "suid"),
    (MOUNT_ATTR_NODEV, "nodev", "dev"),
    (MOUNT_ATTR_NOEXEC, "noexec", "exec"),
    (MOUNT_ATTR_NODIRATIME, "nodiratime", "diratime"),
    (MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"),
];

const NAMESPACES: &[(u32, &str)] = &[
    (CLONE_NEWUSER, "user"),
    (CLONE_NEWNS, "mount"),
    (CLONE_NEWPID, "pid"),
    (CLONE_NEWNET, "network"),
    (CLONE_NEWIPC, "ipc"),
    (CLONE_NEWUTS, "uts"),
    (CLONE_NEWCGROUP, "cgroup"),
    (CLONE_NEWTIME, "time"),
];

/// `errno(3)`: those that launches meet.
const ERRNOS: &[(i32, &str)] = &[
    (1, "EPERM"),
    (2, "ENOENT"),
    (5, "EIO"),
    (6, "ENXIO"),
    (7, "E2BIG"),
    (8, "ENOEXEC"),
    (9, "EBADF"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (18, "EXDEV"),
    (19, "ENODEV"),
    (20, "ENOTDIR"),
    (21, "EISDIR"),
    (22, "EINVAL"),
    (23, "ENFILE"),
    (24, "EMFILE"),
    (25, "ENOTTY"),
    (26, "ETXTBSY"),
    (28, "ENOSPC"),
    (30, "EROFS"),
    (36, "ENAMETOOLONG"),
    (38, "ENOSYS"),
    (40, "ELOOP"),
    (71, "EPROTO"),
    (95, "EOPNOTSUPP"),
    (122, "EDQUOT"),
];

/// `ro|nosuid|relatime`; recursive ones as `rro|rnosuid`. Empty when there are none.
pub(super) fn attributes(set: u64, clear: u64, recursive: bool) -> Vec<String> {
    let mut words = Vec::new();
    let prefix = if recursive { "r" } else { "" };
    for &(bit, sets, clears) in ATTRIBUTES {
        if set & bit != 0 {
            words.push(format!("{prefix}{sets}"));
        } else if clear & bit != 0 {
            words.push(format!("{prefix}{clears}"));
        }
    }
    match set & MOUNT_ATTR__ATIME {
        0x10 => words.push(format!("{prefix}noatime")),
        0x20 => words.push(format!("{prefix}strictatime")),
        _ if clear & MOUNT_ATTR__ATIME != 0 => words.push(format!("{prefix}relatime")),
        _ => {}
    }
    words
}

/// `mount, pid, network`.
pub(super) fn namespaces(kinds: u32) -> String {
    let names: Vec<_> = NAMESPACES
        .iter()
        .filter(|(kind, _)| kinds & kind != 0)
        .map(|(_, name)| *name)
        .collect();
    names.join(", ")
}

/// `rslave`.
pub(super) fn propagation(flags: u64) -> String {
    match PROPAGATIONS.iter().find(|(_, known)| *known == flags) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("{flags:#x}"),
    }
}

/// `CAP_KILL, CAP_NET_RAW`, or `none`.
pub(super) fn capabilities(set: u64) -> String {
    let names: Vec<_> = (0..64u32)
        .filter(|number| (set >> number) & 1 == 1)
        .map(|number| match CAPABILITIES.get(number as usize) {
            Some(name) => (*name).to_owned(),
            None => format!("capability {number}"),
        })
        .collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

/// `EPERM`.
pub(super) fn errno(number: i32) -> String {
    match ERRNOS.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("errno {number}"),
    }
}

/// `EPERM or EBUSY`, or `any error`.
pub(super) fn errnos(list: [u8; 4]) -> String {
    let names: Vec<_> = list
        .into_iter()
        .filter(|number| *number != 0)
        .map(|number| errno(i32::from(number)))
        .collect();
    match names.is_empty() {
        true => "any error".to_owned(),
        false => names.join(" or "),
    }
}

/// The name a table has for a number.
pub(super) fn name_of<T: PartialEq + std::fmt::Display>(
    table: &[(&'static str, T)],
    number: T,
) -> String {
    match table.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => (*name).to_owned(),
        None => number.to_string(),
    }
}

/// The set bits as `0-3,7`.
pub(super) fn number_list(words: &[u64]) -> String {
    let set: Vec<usize> = (0..words.len() * 64)
        .filter(|bit| (words[bit / 64] >> (bit % 64)) & 1 == 1)
        .collect();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for bit in set {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == bit => *last = bit,
            _ => ranges.push((bit, bit)),
        }
    }
    let ranges: Vec<_> = ranges
        .into_iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    ranges.join(",")
}

/// A resource limit's value.
pub(super) fn limit(value: u64) -> String {
    match value {
        u64::MAX => "unlimited".to_owned(),
        value => value.to_string(),
    }
}

/// `RLIMIT_NOFILE`.
pub(super) fn resource_name(resource: u32) -> String {
    let name = usize::try_from(resource)
        .ok()
        .and_then(|index| RLIMITS.get(index));
    name.map_or_else(|| resource.to_string(), |name| (*name).to_owned())
}

/// ` (a,b)`, or nothing.
pub(super) fn in_brackets(words: &[String]) -> String {
    match words.is_empty() {
        true => String::new(),
        false => format!(" ({})", words.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_words() {
        assert_eq!(
            attributes(0x3, 0x70 | 0x8, false),
            ["ro", "nosuid", "exec", "relatime"]
        );
        assert_eq!(attributes(0x11, 0x70, true), ["rro", "rnoatime"]);
        assert_eq!(namespaces(CLONE_NEWNS | CLONE_NEWPID), "mount, pid");
        assert_eq!(propagation(MS_SLAVE | MS_REC), "rslave");
        assert_eq!(capabilities(1 << 5 | 1 << 63), "CAP_KILL, capability 63");
        assert_eq!(capabilities(0), "none");
        assert_eq!(errnos([1, 16, 0, 0]), "EPERM or EBUSY");
        assert_eq!(errnos([0; 4]), "any error");
        assert_eq!(number_list(&[0b1000_1111, 1]), "0-3,7,64");
    }
}
