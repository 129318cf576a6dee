//! The call that failed inside a step, with its arguments decoded, and the path it was about.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use stage::message::{Call, Failure};
use stage::step::Step;

use super::describe::{device, superblock};
use super::form::{Owned, Text};
use super::words::{attributes, limit, namespaces, propagation, resource_name};

/// `mount_setattr(ro|nosuid)`.
pub(super) fn call(step: &Step<Owned>, failure: &Failure) -> String {
    match of_mounts(step, failure.call).or_else(|| of_others(step, failure.call)) {
        Some(arguments) => format!("{}({})", failure.call.name(), short(&arguments)),
        None => failure.call.name().to_owned(),
    }
}

/// The beginning of a text too long for a message: conmon reads 8191 bytes of all we say.
pub(super) fn short(text: &str) -> String {
    const LONGEST: usize = 512;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let boundary = (0..=LONGEST).rev().find(|&end| text.is_char_boundary(end));
    let kept = boundary.unwrap_or(0);
    format!("{}… ({} bytes)", &text[..kept], text.len())
}

fn of_mounts(step: &Step<Owned>, call: Call) -> Option<String> {
    Some(match (call, step) {
        (
            Call::Mount,
            Step::MountNew {
                fstype,
                source,
                flags,
                data,
                attr_flags,
                ..
            },
        ) => {
            let mut words = attributes(*attr_flags, 0, false);
            words.extend(superblock(*flags));
            let parts = [
                source.show().into_owned(),
                fstype.show().into_owned(),
                words.join("|"),
                data.show().into_owned(),
            ];
            parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(", ")
        }
        (Call::Mount, Step::TreePropagation { flags }) => propagation(*flags),
        (Call::MountSetattr, step) => changed(step)?,
        _ => return None,
    })
}

fn of_others(step: &Step<Owned>, call: Call) -> Option<String> {
    Some(match (call, step) {
        (
            Call::Mknod,
            Step::Device {
                mode, major, minor, ..
            },
        ) => {
            format!("{}, {:04o}", device(*mode, *major, *minor), mode & 0o7777)
        }
        (Call::Symlink, Step::Symlink { content, .. }) => content.show().into_owned(),
        (Call::Setns, Step::Join { kind, .. }) => namespaces(*kind),
        (Call::Setns, Step::JoinInit { kinds, .. }) => namespaces(*kinds),
        (Call::Unshare, Step::Unshare { kinds }) => namespaces(*kinds),
        (Call::Unshare, Step::NewUser {}) => "user".to_owned(),
        (Call::Write, Step::Sysctl { value, .. } | Step::OomScoreAdj { value, .. }) => {
            format!("{:?}", value.show())
        }
        (Call::Write, Step::TimeOffsets { text, .. }) => format!("{:?}", text.show()),
        (Call::Sethostname, Step::Hostname { name })
        | (Call::Setdomainname, Step::Domainname { name }) => name.show().into_owned(),
        (
            Call::Prlimit,
            Step::Rlimit {
                resource,
                soft,
                hard,
            },
        ) => {
            format!(
                "{}, {}, {}",
                resource_name(*resource),
                limit(*soft),
                limit(*hard)
            )
        }
        (Call::Setresuid, Step::User { uid, .. }) => uid.to_string(),
        (Call::Setresgid, Step::User { gid, .. }) => gid.to_string(),
        _ => return None,
    })
}

fn changed(step: &Step<Owned>) -> Option<String> {
    let words = match step {
        Step::Bind {
            attr_set,
            attr_clear,
            recursive_set,
            recursive_clear,
            propagation: flags,
            ..
        }
        | Step::BindPath {
            attr_set,
            attr_clear,
            recursive_set,
            recursive_clear,
            propagation: flags,
            ..
        } => {
            let mut words = attributes(*attr_set, *attr_clear, false);
            words.extend(attributes(*recursive_set, *recursive_clear, true));
            words.extend((*flags != 0).then(|| propagation(*flags)));
            words
        }
        Step::Remount {
            attr_set,
            attr_clear,
            recursive_set,
            recursive_clear,
            ..
        } => {
            let mut words = attributes(*attr_set, *attr_clear, false);
            words.extend(attributes(*recursive_set, *recursive_clear, true));
            words
        }
        Step::Propagation { flags, .. } | Step::RootPropagation { flags } => {
            vec![propagation(*flags)]
        }
        Step::Readonly { .. } => vec!["rro".to_owned()],
        Step::RemountReadonly { .. } => vec!["ro".to_owned()],
        _ => return None,
    };
    Some(words.join("|"))
}

/// The path a step is about, as the container sees it; a host path for what comes before the container's root.
pub(super) fn path(step: &Step<Owned>) -> Option<PathBuf> {
    let below = |path: &Text| Some(Path::new("/").join(OsStr::from_bytes(path.0.as_bytes())));
    match step {
        Step::MountNew { target, .. }
        | Step::Bind { target, .. }
        | Step::BindPath { target, .. }
        | Step::Remount { target, .. }
        | Step::Propagation { target, .. } => below(target),
        Step::Device { path, .. }
        | Step::BindDevice { path, .. }
        | Step::Symlink { path, .. }
        | Step::RemountReadonly { path }
        | Step::Mask { path }
        | Step::Readonly { path }
        | Step::MakeCwd { path }
        | Step::Cwd { path }
        | Step::CwdAsUser { path, .. } => below(path),
        Step::AttachRoot { at, .. } => below(at),
        Step::CloneRoot { path, .. } => below(path),
        Step::Sysctl { path, .. } => {
            Some(Path::new("/proc/sys").join(OsStr::from_bytes(path.0.as_bytes())))
        }
        Step::OomScoreAdj { .. } => Some(PathBuf::from("/proc/self/oom_score_adj")),
        Step::TimeOffsets { .. } => Some(PathBuf::from("/proc/self/timens_offsets")),
        _ => None,
    }
}
