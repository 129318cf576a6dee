//! Which kernel parameters a container may set: those of a namespace of its own, and no other (CVE-2022-0532, CVE-2022-0811).

use std::ffi::CString;

use super::{Input, text};
use crate::config::errors::{Findings, quoted};
use crate::config::{Namespace, Namespaces, Sysctl, SysctlScope};

/// The parameters of an IPC namespace besides `fs.mqueue.*`.
const IPC: &[&str] = &[
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

pub(super) fn sysctl(
    input: Input<'_>,
    namespaces: &Namespaces,
    found: &mut Findings,
) -> Vec<Sysctl> {
    let at = input.linux_at.key("sysctl");
    let Some(raw) = &input.linux.sysctl else {
        return Vec::new();
    };
    let entries = raw.iter().filter_map(|(key, value)| {
        let at = at.key(key);
        let path = path(key);
        let path = found.check(
            &at,
            path.ok_or_else(|| format!("{} is no name of a kernel parameter", quoted(key))),
        )?;
        let scope = found.check(&at, scope(key, &path, namespaces))?;
        let value = text(value, &at, found)?;
        Some(Sysctl {
            key: key.to_string(),
            path: CString::new(path).ok()?,
            value,
            scope,
        })
    });
    entries.collect()
}

/// The path below `/proc/sys`. As sysctl(8) has it, the separator that comes first separates, and the other one stands for it inside a name.
fn path(key: &str) -> Option<String> {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '@');
    if key.len() > 255 || !key.chars().all(plain) {
        return None;
    }
    let slashes_separate = key
        .find(['.', '/'])
        .is_some_and(|first| key.as_bytes().get(first) == Some(&b'/'));
    let path = if slashes_separate {
        key.to_owned()
    } else {
        key.chars().map(swapped).collect()
    };
    let name = |part: &str| !matches!(part, "" | "." | "..");
    (path.contains('/') && path.split('/').all(name)).then_some(path)
}

fn swapped(c: char) -> char {
    match c {
        '.' => '/',
        '/' => '.',
        c => c,
    }
}

/// The namespace that `path` belongs to, if the container has one of its own.
fn scope(key: &str, path: &str, namespaces: &Namespaces) -> Result<SysctlScope, String> {
    let own = |namespace: &Namespace, scope| match namespace {
        Namespace::Host => Err(format!(
            "sysctl {} is not in a separate kernel namespace",
            quoted(key)
        )),
        _ => Ok(scope),
    };
    match path {
        "kernel/hostname" => Err(format!(
            "sysctl {} is not allowed as it conflicts with the OCI \"hostname\" field",
            quoted(key)
        )),
        "kernel/domainname" => own(&namespaces.uts, SysctlScope::Uts),
        path if IPC.contains(&path) || path.starts_with("fs/mqueue/") => {
            own(&namespaces.ipc, SysctlScope::Ipc)
        }
        path if path.starts_with("net/") && namespaces.network == Namespace::Host => Err(format!(
            "sysctl {} not allowed in host network namespace",
            quoted(key)
        )),
        path if path.starts_with("net/") => Ok(SysctlScope::Network),
        path if path.starts_with("user/") => own(&namespaces.user, SysctlScope::User),
        _ => Err(format!(
            "sysctl {} is not in a separate kernel namespace",
            quoted(key)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_paths_as_sysctl_8_reads_them() {
        for (key, result) in [
            ("net.ipv4.ip_forward", Some("net/ipv4/ip_forward")),
            ("net/ipv4/ip_forward", Some("net/ipv4/ip_forward")),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                Some("net/ipv4/conf/eth0.1/forwarding"),
            ),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                Some("net/ipv4/conf/eth0.1/forwarding"),
            ),
            ("kernel", None),
            ("", None),
            ("net..x", None),
            (".net.x", None),
            ("/net/x", None),
            ("net/../kernel/core_pattern", None),
            ("net.ipv4.//.//kernel", None),
            ("net/./x", None),
            ("net.x.", None),
            ("kernel.shm_rmid_forced+kernel.core_pattern", None),
            ("net.x\n", None),
            ("net.x\0", None),
            ("net.x=1", None),
        ] {
            assert_eq!(path(key).as_deref(), result, "{key:?}");
        }
    }
}
