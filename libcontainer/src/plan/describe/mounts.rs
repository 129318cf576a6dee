//! The root and what is mounted in it.

use stage::step::Step;

use super::{inside, slot};
use crate::plan::form::{Owned, Text};
use crate::plan::words::{attributes, in_brackets, propagation};
use crate::plan::{HandedSource, LaunchPlan, flags};

pub(super) fn rooting(plan: &LaunchPlan, step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::TreePropagation { flags } => format!(
            "make every mount of our copy of the tree {}",
            propagation(*flags)
        ),
        Step::AttachRoot { root, at } if at.0.is_empty() => {
            format!("attach {} over /", slot(plan, *root))
        }
        Step::AttachRoot { root, at } => format!("attach {} at {}", slot(plan, *root), at.show()),
        Step::CloneRoot { path, .. } => {
            format!("clone {} with its mounts onto itself", path.show())
        }
        Step::PivotRoot {} => "pivot_root; the host's tree is detached".to_owned(),
        Step::MoveRoot {} => {
            "chroot to the rootfs without pivot_root; the host's /proc and /sys are detached"
                .to_owned()
        }
        Step::RootPropagation { flags } => format!("make / {}", propagation(*flags)),
        Step::RemountReadonly { path } => format!("make {} read-only", inside(path)),
        Step::Mask { path } => format!("mask {}, if it is there", inside(path)),
        Step::Readonly { path } => format!(
            "make {} read-only with all below it, if it is there",
            inside(path)
        ),
        Step::Propagation { target, flags } => format!(
            "make the mount at {} {}",
            inside(target),
            propagation(*flags)
        ),
        Step::Remount {
            target,
            attr_set,
            attr_clear,
            recursive_set,
            recursive_clear,
        } => {
            let mut words = attributes(*attr_set, *attr_clear, false);
            words.extend(attributes(*recursive_set, *recursive_clear, true));
            format!(
                "change the mount at {}{}",
                inside(target),
                in_brackets(&words)
            )
        }
        _ => return None,
    })
}

pub(super) fn filesystem(step: &Step<Owned>) -> Option<String> {
    let Step::MountNew {
        fstype,
        flags,
        data,
        attr_flags,
        target,
        copy_up,
        inherit_mode,
        ..
    } = step
    else {
        return None;
    };
    let mut words = attributes(*attr_flags, 0, false);
    words.extend(superblock(*flags));
    words.extend(Some(data.show().into_owned()).filter(|data| !data.is_empty()));
    let mut text = mount(fstype, target, words);
    if *inherit_mode {
        text.push_str(", with the mode of what it covers");
    }
    if *copy_up {
        text.push_str(", with a copy of what it covers");
    }
    Some(text)
}

pub(super) fn bound(plan: &LaunchPlan, step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::Bind {
            source,
            target,
            attr_set,
            attr_clear,
            recursive_set,
            recursive_clear,
            propagation,
        } => {
            let HandedSource::Bind {
                path,
                recursive,
                idmap,
                ..
            } = plan.handed.get(usize::from(*source))?;
            let mut words = bind_words(
                *recursive,
                (*attr_set, *attr_clear),
                (*recursive_set, *recursive_clear),
                *propagation,
            );
            words.extend(
                idmap
                    .as_ref()
                    .map(|idmap| if idmap.recursive { "ridmap" } else { "idmap" }.to_owned()),
            );
            format!(
                "bind {} on {}{}",
                path.display(),
                inside(target),
                in_brackets(&words)
            )
        }
        Step::BindPath {
            source,
            recursive,
            target,
            attr_set,
            attr_clear,
            recursive_set,
            recursive_clear,
            propagation,
        } => {
            let words = bind_words(
                *recursive,
                (*attr_set, *attr_clear),
                (*recursive_set, *recursive_clear),
                *propagation,
            );
            format!(
                "bind {} on {}{}",
                source.show(),
                inside(target),
                in_brackets(&words)
            )
        }
        _ => return None,
    })
}

fn mount(fstype: &Text, target: &Text, mut words: Vec<String>) -> String {
    // `ro` is a word of the mount and of the superblock.
    let mut known = std::collections::BTreeSet::new();
    words.retain(|word| known.insert(word.clone()));
    format!(
        "mount {} on {}{}",
        fstype.show(),
        inside(target),
        in_brackets(&words)
    )
}

fn bind_words(recursive: bool, own: (u64, u64), below: (u64, u64), flags: u64) -> Vec<String> {
    let mut words = vec![if recursive { "rbind" } else { "bind" }.to_owned()];
    words.extend(attributes(own.0, own.1, false));
    words.extend(attributes(below.0, below.1, true));
    words.extend((flags != 0).then(|| propagation(flags)));
    words
}

/// MS_* of a superblock.
pub(in crate::plan) fn superblock(set: u64) -> Vec<String> {
    [
        (flags::MS_RDONLY, "ro"),
        (flags::MS_SYNCHRONOUS, "sync"),
        (flags::MS_DIRSYNC, "dirsync"),
        (flags::MS_MANDLOCK, "mand"),
        (flags::MS_LAZYTIME, "lazytime"),
        (flags::MS_SILENT, "silent"),
        (flags::MS_I_VERSION, "iversion"),
    ]
    .into_iter()
    .filter(|(flag, _)| set & flag != 0)
    .map(|(_, word)| word.to_owned())
    .collect()
}
