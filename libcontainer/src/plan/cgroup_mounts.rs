//! Mounts of type `cgroup`: the container's view of its own cgroups.

use std::path::Path;

use stage::step::Step;

use super::create::Create;
use super::flags::{
    EACCES, EBUSY, ENOENT, EPERM, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
};
use super::form::{Owned, Text};
use super::mounts::{Attributes, Source, bind_step, readonly_later};
use super::{OnError, rootfs};
use crate::cgroup::{CgroupMounts, HierarchyMount};
use crate::config::{ContainerPath, Mount, Namespace};
use crate::error::Pointer;

/// What every v1 mount gets, whatever the options say (runc's defaults).
const V1_FLAGS: u64 = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

/// Where the host has its cgroup2.
const HOST: &str = "/sys/fs/cgroup";

pub(super) fn cgroup(c: &mut Create<'_>, mount: &Mount, at: &Pointer) {
    match &c.facts.cgroup {
        CgroupMounts::Unified { own } => unified(c, mount, own.as_deref(), at),
        CgroupMounts::Legacy { hierarchies, links } => legacy(c, mount, hierarchies, links, at),
    }
}

fn has_namespace(c: &Create<'_>) -> bool {
    !matches!(c.config.namespaces.cgroup, Namespace::Host)
}

fn unified(c: &mut Create<'_>, mount: &Mount, own: Option<&Path>, at: &Pointer) {
    let host = Path::new(HOST);
    let own = own.unwrap_or(host);
    let bind = |c: &mut Create<'_>, path| {
        let attributes = Attributes {
            set: mount.attr_set,
            ..Attributes::default()
        };
        bind_step(
            c,
            &Source {
                path,
                recursive: false,
                idmap: None,
                system: true,
            },
            &mount.target,
            attributes,
            0,
            at,
        )
    };
    if has_namespace(c) {
        let step = new_mount("cgroup2", &[], mount.attr_set, &mount.target);
        // A cgroup namespace that our user namespace does not own: the same view by hand.
        let by_hand = bind(c, own);
        c.draft
            .push_instead(at, step, [EPERM, EBUSY, 0, 0], by_hand);
    } else {
        // The host's own mount, cloned: the same view as mounting it again, without the 5 to 17 ms that takes.
        let whole = bind(c, host);
        if own == host {
            c.draft.push(at, whole);
        } else {
            let part = bind(c, own);
            c.draft.push_instead(at, whole, [0; 4], part);
        }
    }
}

fn new_mount(
    fstype: &str,
    options: &[&str],
    attr_flags: u64,
    target: &ContainerPath,
) -> Step<Owned> {
    Step::MountNew {
        fstype: fstype.into(),
        source: "cgroup".into(),
        flags: 0,
        data: Text::new(options.join(",")),
        attr_flags,
        target: rootfs::relative(target),
        copy_up: false,
        inherit_mode: false,
    }
}

/// A tmpfs that holds one directory for each hierarchy and one symlink for each controller of a joined one.
fn legacy(
    c: &mut Create<'_>,
    mount: &Mount,
    hierarchies: &[HierarchyMount],
    links: &[(String, String)],
    at: &Pointer,
) {
    readonly_later(c, mount, true, at);
    let tmpfs = Step::MountNew {
        fstype: "tmpfs".into(),
        source: "tmpfs".into(),
        flags: 0,
        data: "mode=755".into(),
        attr_flags: V1_FLAGS,
        target: rootfs::relative(&mount.target),
        copy_up: false,
        inherit_mode: false,
    };
    c.draft.push(at, tmpfs);
    for hierarchy in hierarchies {
        if let Some(target) = inside(mount, &hierarchy.name) {
            hierarchy_steps(c, mount, hierarchy, &target, at);
        }
    }
    for (name, content) in links {
        if let Some(path) = inside(mount, name) {
            let (content, path) = (Text::new(content), rootfs::relative(&path));
            let replace = false;
            c.draft.push(
                at,
                Step::Symlink {
                    content,
                    path,
                    replace,
                },
            );
        }
    }
}

fn inside(mount: &Mount, name: &str) -> Option<ContainerPath> {
    ContainerPath::parse(&format!("{}/{name}", mount.target)).ok()
}

fn hierarchy_steps(
    c: &mut Create<'_>,
    mount: &Mount,
    hierarchy: &HierarchyMount,
    target: &ContainerPath,
    at: &Pointer,
) {
    // Read-only where the configuration says so: a writable release_agent is run by the host (CVE-2022-0492).
    let set = V1_FLAGS | (mount.attr_set & MOUNT_ATTR_RDONLY);
    if has_namespace(c) {
        let options: Vec<&str> = hierarchy.options.split(',').collect();
        c.draft.push(at, new_mount("cgroup", &options, set, target));
        return;
    }
    let bind = |c: &mut Create<'_>, path| {
        let source = Source {
            path,
            recursive: false,
            idmap: None,
            system: true,
        };
        let attributes = Attributes {
            set,
            ..Attributes::default()
        };
        bind_step(c, &source, target, attributes, 0, at)
    };
    let own = bind(c, &hierarchy.own);
    let absent = [ENOENT, EACCES, 0, 0];
    match &hierarchy.instead {
        Some(path) => {
            c.draft.push_or(at, own, OnError::Instead(absent));
            let instead = bind(c, path);
            // Not to be reached either by who may not walk there: then there is nothing to see.
            c.draft.push_or(at, instead, OnError::Ignore(absent));
        }
        None => c.draft.push(at, own),
    }
}
