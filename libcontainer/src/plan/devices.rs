//! Device nodes and the links of /dev.

use stage::step::Step;

use super::create::{Create, linux};
use super::flags::{EPERM, S_IFCHR, S_IFIFO, S_IFMT};
use super::form::Text;
use super::rootfs;
use crate::config::{Config, Device, MountKind, Namespace};
use crate::error::Pointer;

/// Made in every container (config-linux.md, "Default Devices"): name, major, minor; mode 0666. /dev/console and /dev/ptmx are not nodes.
const DEFAULT: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// (path, content), config-linux.md, "dev symbolic links".
const LINKS: &[(&str, &str)] = &[
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
];

/// Whether the container's /dev is its own to fill: not a bind of somebody else's.
pub(super) fn own_dev(config: &Config) -> bool {
    !config.mounts.iter().any(|mount| {
        mount.target.as_bytes() == b"/dev" && matches!(mount.kind, MountKind::Bind { .. })
    })
}

pub(super) fn all(c: &mut Create<'_>) {
    if !own_dev(c.config) {
        return;
    }
    let at = linux("devices");
    for device in &c.config.devices {
        // /dev/ptmx is a link to the one of the container's own devpts, made below.
        if device.path.as_bytes() != b"/dev/ptmx" {
            asked(c, device, &at.index(device.index));
        }
    }
    for &(name, major, minor) in DEFAULT {
        let path = format!("dev/{name}");
        let is_asked = |device: &Device| device.path.below("/") == Some(path.as_bytes());
        if !c.config.devices.iter().any(is_asked) {
            let owner = (0, 0);
            node(c, &path, S_IFCHR | 0o666, (major, minor), owner, &at);
        }
    }
    // The kernel makes /dev/ptmx useless inside, and an image may bring one: ours replaces it.
    symlink(c, "dev/ptmx", "pts/ptmx", true, &at);
    for (path, content) in LINKS {
        symlink(c, path, content, false, &at);
    }
    if c.facts.kcore {
        symlink(c, "dev/core", "/proc/kcore", false, &at);
    }
}

fn asked(c: &mut Create<'_>, device: &Device, at: &Pointer) {
    let path = rootfs::relative(&device.path);
    let owner = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    node(
        c,
        &path.show(),
        device.mode,
        (device.major, device.minor),
        owner,
        at,
    );
}

/// A node; where the kernel does not let us make it, the host's of the same path. A user namespace's root never may.
fn node(
    c: &mut Create<'_>,
    path: &str,
    mode: u32,
    (major, minor): (u32, u32),
    (uid, gid): (u32, u32),
    at: &Pointer,
) {
    let step = Step::Device {
        path: path.into(),
        mode,
        major,
        minor,
        uid,
        gid,
    };
    // A fifo needs no privilege, and the host's would be another one.
    if mode & S_IFMT == S_IFIFO {
        c.draft.push(at, step);
        return;
    }
    let host = Step::BindDevice {
        source: Text::new(format!("/{path}")),
        path: path.into(),
    };
    let in_userns = c.facts.in_userns || !matches!(c.config.namespaces.user, Namespace::Host);
    if in_userns {
        c.draft.push(at, host);
    } else {
        c.draft.push_instead(at, step, [EPERM, 0, 0, 0], host);
    }
}

fn symlink(c: &mut Create<'_>, path: &str, content: &str, replace: bool, at: &Pointer) {
    let step = Step::Symlink {
        content: content.into(),
        path: path.into(),
        replace,
    };
    c.draft.push(at, step);
}
