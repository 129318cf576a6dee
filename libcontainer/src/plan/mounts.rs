//! The mounts of config.json, in its order: new file systems, binds, and changes to what stands already.

use std::ffi::CString;
use std::path::Path;

use stage::step::Step;

use super::create::Create;
use super::flags::{
    EPERM, MOUNT_ATTR__ATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MS_DIRSYNC, MS_I_VERSION,
    MS_LAZYTIME, MS_MANDLOCK, MS_RDONLY, MS_SILENT, MS_SYNCHRONOUS,
};
use super::form::{Owned, Text};
use super::{HandedSource, IdmapSource, cgroup_mounts, rootfs};
use crate::config::{ContainerPath, Idmap, Mount, MountKind, Namespace};
use crate::error::Pointer;

/// What the target shows: attributes to set and to clear, on the mount and on everything below it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Attributes {
    pub set: u64,
    pub clear: u64,
    pub recursive_set: u64,
    pub recursive_clear: u64,
}

pub(super) fn all(c: &mut Create<'_>) {
    for mount in &c.config.mounts {
        let at = Pointer::CONFIG.key("mounts").index(mount.index);
        match &mount.kind {
            MountKind::Bind { source, recursive } => bind(c, mount, source, *recursive, &at),
            MountKind::Filesystem { .. } => filesystem(c, mount, &at),
            MountKind::Cgroup => cgroup_mounts::cgroup(c, mount, &at),
            MountKind::Remount => remount(c, mount, &at),
        }
        // Each mount_setattr(2) takes one propagation type; a bind mount has its first before it is attached.
        let first = usize::from(matches!(mount.kind, MountKind::Bind { .. }));
        for &flags in mount.propagation.iter().skip(first) {
            let target = rootfs::relative(&mount.target);
            c.draft.push(&at, Step::Propagation { target, flags });
        }
    }
    notify_socket(c);
}

fn first_propagation(mount: &Mount) -> u64 {
    mount.propagation.first().copied().unwrap_or(0)
}

/// Read-only too early would be in the way of the mount points made inside: those mounts become read-only at the end (R18).
pub(super) fn readonly_later(
    c: &mut Create<'_>,
    mount: &Mount,
    is_tmpfs: bool,
    at: &Pointer,
) -> bool {
    let later =
        mount.attr_set & MOUNT_ATTR_RDONLY != 0 && (is_tmpfs || mount.target.as_bytes() == b"/dev");
    if later {
        c.readonly_last
            .push((rootfs::relative(&mount.target), at.clone()));
    }
    later
}

// New file systems.

fn filesystem(c: &mut Create<'_>, mount: &Mount, at: &Pointer) {
    let MountKind::Filesystem {
        fstype,
        source,
        flags,
        data,
        copy_up,
    } = &mount.kind
    else {
        return;
    };
    let is_tmpfs = fstype.as_bytes() == b"tmpfs";
    let mut attr_flags = (mount.attr_set & !mount.recursive_clear) | mount.recursive_set;
    let mut flags = flags.clone();
    if readonly_later(c, mount, is_tmpfs, at) {
        attr_flags &= !MOUNT_ATTR_RDONLY;
        flags.retain(|flag| *flag != "ro");
    }
    let mut data = data.clone();
    data.extend(context(c, fstype.as_bytes()));
    let inherit_mode = is_tmpfs
        && !data
            .iter()
            .any(|option| option.as_bytes().starts_with(b"mode="));
    let step = Step::MountNew {
        fstype: Text(fstype.clone()),
        source: Text(source.clone()),
        flags: superblock_flags(&flags),
        data: joined(&data),
        attr_flags,
        target: rootfs::relative(&mount.target),
        copy_up: *copy_up,
        inherit_mode,
    };
    c.draft.push(at, step);
}

/// With SELinux the files of a new file system get the container's label; procfs, sysfs and mqueue label their own.
fn context(c: &Create<'_>, fstype: &[u8]) -> Option<CString> {
    let label = c
        .config
        .mount_label
        .as_ref()
        .filter(|label| c.facts.selinux && !label.is_empty())?;
    if matches!(fstype, b"proc" | b"sysfs" | b"mqueue") {
        return None;
    }
    let text = [b"context=".as_slice(), label.as_bytes()].concat();
    CString::new(text).ok()
}

fn superblock_flags(words: &[&str]) -> u64 {
    words.iter().fold(0, |flags, word| {
        flags
            | match *word {
                "ro" => MS_RDONLY,
                "silent" => MS_SILENT,
                "sync" => MS_SYNCHRONOUS,
                "dirsync" => MS_DIRSYNC,
                "mand" => MS_MANDLOCK,
                "lazytime" => MS_LAZYTIME,
                "iversion" => MS_I_VERSION,
                _ => 0,
            }
    })
}

fn joined(data: &[CString]) -> Text {
    let parts: Vec<&[u8]> = data.iter().map(|option| option.as_bytes()).collect();
    Text::new(parts.join(&b','))
}

// Binds.

fn bind(c: &mut Create<'_>, mount: &Mount, source: &Path, recursive: bool, at: &Pointer) {
    let mut asked = Attributes {
        set: mount.attr_set,
        clear: mount.attr_clear,
        recursive_set: mount.recursive_set,
        recursive_clear: mount.recursive_clear,
    };
    let any_word = asked.set | asked.clear != 0;
    if readonly_later(c, mount, false, at) {
        asked.set &= !MOUNT_ATTR_RDONLY;
    }
    let asked = asked.with_whole_atime();
    let exact = if any_word { asked.exactly() } else { asked };
    let idmap = mount.idmap.as_ref();
    let step = |c: &mut Create<'_>, attributes| {
        bind_step(
            c,
            &Source {
                path: source,
                recursive,
                idmap,
                system: false,
            },
            &mount.target,
            attributes,
            first_propagation(mount),
            at,
        )
    };
    let first = step(c, exact);
    if exact.clear == asked.clear {
        c.draft.push(at, first);
    } else {
        // A parent user namespace has locked some flags of the source. They stay; only to clear one by name is an error (runc's rule).
        let second = step(c, asked);
        c.draft.push_instead(at, first, [EPERM, 0, 0, 0], second);
    }
}

/// What is bound.
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub recursive: bool,
    pub idmap: Option<&'a Idmap>,
    /// One of the host's own mounts, which the stage's copy of the tree has too: no hand-over where that copy will do.
    pub system: bool,
}

/// Whether the stage's copy of the mount tree belongs to the user namespace that the tree is from: nothing in it is locked.
fn own_tree(c: &Create<'_>) -> bool {
    c.config.namespaces.user == Namespace::Host && c.config.namespaces.mount == Namespace::New
}

/// The bind of a host path: through a clone that the parent makes, or by the stage where the parent has no privilege. An id-mapped
/// one is always the parent's: the stage could make none.
pub(super) fn bind_step(
    c: &mut Create<'_>,
    source: &Source<'_>,
    target: &ContainerPath,
    attributes: Attributes,
    propagation: u64,
    at: &Pointer,
) -> Step<Owned> {
    let target = rootfs::relative(target);
    let Attributes {
        set: attr_set,
        clear: attr_clear,
        recursive_set,
        recursive_clear,
    } = attributes;
    let by_stage = !c.facts.privileged || (source.system && own_tree(c));
    if by_stage && source.idmap.is_none() {
        let path = Text::path(source.path);
        let recursive = source.recursive;
        return Step::BindPath {
            source: path,
            recursive,
            target,
            attr_set,
            attr_clear,
            recursive_set,
            recursive_clear,
            propagation,
        };
    }
    let idmap = source.idmap.map(|idmap| IdmapSource {
        maps: idmap.maps.clone(),
        recursive: idmap.recursive,
    });
    let source = HandedSource::Bind {
        path: source.path.to_owned(),
        recursive: source.recursive,
        propagation: rootfs::clone_propagation(c),
        idmap,
        at: at.clone(),
    };
    let source = c.draft.handed(source);
    Step::Bind {
        source,
        target,
        attr_set,
        attr_clear,
        recursive_set,
        recursive_clear,
        propagation,
    }
}

impl Attributes {
    /// mount_setattr(2) changes the access time kind only when the whole field is cleared too.
    fn with_whole_atime(mut self) -> Attributes {
        if (self.set | self.clear) & MOUNT_ATTR__ATIME != 0 {
            self.clear |= MOUNT_ATTR__ATIME;
        }
        if (self.recursive_set | self.recursive_clear) & MOUNT_ATTR__ATIME != 0 {
            self.recursive_clear |= MOUNT_ATTR__ATIME;
        }
        self
    }

    /// The words given and nothing else, as `mount --bind -o` means them: what was not asked for is cleared. Access times are left as
    /// they are unless one of their words was given, as mount(2)'s remount does.
    fn exactly(mut self) -> Attributes {
        let mut others = MOUNT_ATTR_RDONLY
            | MOUNT_ATTR_NOSUID
            | MOUNT_ATTR_NODEV
            | MOUNT_ATTR_NOEXEC
            | MOUNT_ATTR_NOSYMFOLLOW;
        if (self.set | self.clear) & (MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME) != 0 {
            others |= MOUNT_ATTR_NODIRATIME | MOUNT_ATTR__ATIME;
        }
        self.clear |= others & !(self.set & !MOUNT_ATTR__ATIME);
        self
    }
}

/// `remount`: what stands at the target is changed, only by the words given.
fn remount(c: &mut Create<'_>, mount: &Mount, at: &Pointer) {
    let Attributes {
        set,
        clear,
        recursive_set,
        recursive_clear,
    } = Attributes {
        set: mount.attr_set,
        clear: mount.attr_clear,
        recursive_set: mount.recursive_set,
        recursive_clear: mount.recursive_clear,
    }
    .with_whole_atime();
    let target = rootfs::relative(&mount.target);
    c.draft.push(
        at,
        Step::Remount {
            target,
            attr_set: set,
            attr_clear: clear,
            recursive_set,
            recursive_clear,
        },
    );
}

/// The container's notify socket; `start` listens on the host's side of the directory.
fn notify_socket(c: &mut Create<'_>) {
    let Some(directory) = &c.request.notify_dir else {
        return;
    };
    let at = Pointer::fixed("$NOTIFY_SOCKET");
    let Ok(target) = ContainerPath::parse("/run/notify") else {
        return;
    };
    let attributes = Attributes {
        set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
        ..Attributes::default()
    };
    let source = Source {
        path: directory,
        recursive: false,
        idmap: None,
        system: false,
    };
    let step = bind_step(c, &source, &target, attributes, 0, &at);
    c.draft.push(&at, step);
}
