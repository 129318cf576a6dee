//! The root filesystem: attached, pivoted to, made read-only, masked.

use stage::step::Step;

use super::create::{Create, linux};
use super::flags::{EACCES, MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE};
use super::form::Text;
use super::{Shape, SlotSource, devices};
use crate::config::ContainerPath;
use crate::error::Pointer;

/// `root` of config.json.
fn root() -> Pointer {
    Pointer::CONFIG.key("root")
}

/// The path below the root, as steps name it.
pub(super) fn relative(path: &ContainerPath) -> Text {
    Text::new(path.below("/").unwrap_or_default())
}

/// The copied tree never propagates to the host, not even with `rootfsPropagation: shared`: that one is about the rootfs, whose clone
/// the parent made beforehand. With `private` the host's later mounts do not reach us either.
pub(super) fn tree_propagation(c: &mut Create<'_>) {
    let kind = match c.config.root.propagation & (MS_PRIVATE | MS_UNBINDABLE) {
        0 => MS_SLAVE,
        _ => MS_PRIVATE,
    };
    c.draft.push(
        &linux("rootfsPropagation"),
        Step::TreePropagation {
            flags: kind | MS_REC,
        },
    );
}

/// What becomes of the propagation of a bind source's clone, so that it is what a bind of our own copy of the tree would have.
pub(super) fn clone_propagation(c: &Create<'_>) -> u64 {
    let propagation = c.config.root.propagation;
    match propagation & (MS_SHARED | MS_PRIVATE | MS_UNBINDABLE) {
        0 => MS_SLAVE | MS_REC,
        // A clone of a shared mount is its peer, and that is what was asked for.
        MS_SHARED => 0,
        _ => MS_PRIVATE | MS_REC,
    }
}

/// The same for the rootfs. Its own mount is never a peer of the host's: all that we mount in it would appear on the host, and
/// pivot_root refuses a shared one. With `shared` only what is mounted below it stays as it is; the root follows after pivot.
fn root_clone_propagation(c: &Create<'_>) -> u64 {
    match clone_propagation(c) {
        0 => MS_PRIVATE,
        other => other,
    }
}

pub(super) fn attach(c: &mut Create<'_>) {
    let at = root().key("path");
    let path = &c.config.root.path;
    if !c.facts.privileged {
        let step = Step::CloneRoot {
            path: Text::path(path),
            recursive: true,
        };
        c.draft.push(&at, step);
        return;
    }
    let propagation = root_clone_propagation(c);
    let source = SlotSource::Rootfs {
        path: path.clone(),
        propagation,
        at: at.clone(),
    };
    let root = c.draft.slot(source);
    let step = Step::AttachRoot {
        root,
        at: Text::path(path),
    };
    if c.draft.plan.shape == Shape::AtClone {
        c.draft.push(&at, step);
    } else {
        let over_root = Step::AttachRoot {
            root,
            at: Text::default(),
        };
        c.draft
            .push_instead(&at, step, [EACCES, 0, 0, 0], over_root);
    }
}

pub(super) fn pivot(c: &mut Create<'_>) {
    let step = match c.request.no_pivot {
        true => Step::MoveRoot {},
        false => Step::PivotRoot {},
    };
    c.draft.push(&root(), step);
}

/// Private is what the mount is already.
pub(super) fn root_propagation(c: &mut Create<'_>) {
    let asked = &c.config.root;
    if asked.propagation_asked && asked.propagation & MS_PRIVATE == 0 {
        let step = Step::RootPropagation {
            flags: asked.propagation,
        };
        c.draft.push(&linux("rootfsPropagation"), step);
    }
}

/// Only with a /dev of our own is there a node that we know; a terminal has no /dev/null on it.
pub(super) fn reopen_null(c: &mut Create<'_>) {
    if devices::own_dev(c.config) && !c.config.process.terminal {
        c.draft.push(&linux("devices"), Step::ReopenNull {});
    }
}

pub(super) fn make_cwd(c: &mut Create<'_>) {
    let cwd = &c.config.process.cwd;
    if !cwd.is_root() {
        c.draft.push(
            &c.draft.at("cwd"),
            Step::MakeCwd {
                path: relative(cwd),
            },
        );
    }
}

/// The tmpfs mounts and /dev that ask for it, and last the root.
pub(super) fn readonly(c: &mut Create<'_>) {
    for (path, at) in std::mem::take(&mut c.readonly_last) {
        c.draft.push(&at, Step::RemountReadonly { path });
    }
    if c.config.root.readonly {
        let step = Step::RemountReadonly {
            path: Text::default(),
        };
        c.draft.push(&root().key("readonly"), step);
    }
}

/// An absent path needs no protection, and engines list more than any one kernel has: these steps pass over it.
pub(super) fn readonly_paths(c: &mut Create<'_>) {
    let at = linux("readonlyPaths");
    for (index, path) in c.config.readonly_paths.iter().enumerate() {
        c.draft.push(
            &at.index(index),
            Step::Readonly {
                path: relative(path),
            },
        );
    }
}

pub(super) fn masked_paths(c: &mut Create<'_>) {
    let at = linux("maskedPaths");
    for (index, path) in c.config.masked_paths.iter().enumerate() {
        c.draft.push(
            &at.index(index),
            Step::Mask {
                path: relative(path),
            },
        );
    }
}
