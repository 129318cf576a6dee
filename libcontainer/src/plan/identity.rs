//! Who the process is and what it may do: keyring, ids, capabilities, labels.

use stage::step::Step;

use super::create::Create;
use super::draft::Draft;
use super::exec::Exec;
use super::flags::{EACCES, ENOSYS, EPERM};
use super::form::{Numbers, Text};
use super::{LaunchKind, OnError};
use crate::config::Namespace;
use crate::error::Pointer;

/// KEY_USR_SEARCH and KEY_OTH_SEARCH (keyctl(2)): the processes of the container find the keyring that init made.
const KEY_USR_SEARCH: u32 = 0x8_0000;
const KEY_OTH_SEARCH: u32 = 0x8;

/// A kernel built without keyrings: as runc, a warning.
const NO_KEYRINGS: OnError = OnError::Ignore([ENOSYS, 0, 0, 0]);

/// Init's session keyring, which its other processes join by name.
pub(super) fn new_keyring(c: &mut Create<'_>) {
    if c.request.no_new_keyring {
        return;
    }
    // In a user namespace the keyring's owner is another uid than the one that looks for it.
    let permissions = match c.config.namespaces.user {
        Namespace::Host => KEY_USR_SEARCH,
        _ => KEY_OTH_SEARCH,
    };
    let name = keyring_name(&c.request.id);
    c.draft.push_or(
        &Pointer::CONFIG,
        Step::SessionKeyring { name, permissions },
        NO_KEYRINGS,
    );
}

pub(super) fn join_keyring(e: &mut Exec<'_>) {
    if e.target.keyring {
        let name = keyring_name(e.target.id);
        e.draft.push_or(
            &Pointer::CONFIG,
            Step::SessionKeyring {
                name,
                permissions: 0,
            },
            NO_KEYRINGS,
        );
    }
}

fn keyring_name(id: &str) -> Text {
    Text::new(format!("_ses.{id}"))
}

/// `default` `None`: the caller's umask, which the stage has from its clone, stays (exec, as with runc).
pub(super) fn umask(draft: &mut Draft<'_>, default: Option<u32>) {
    let (umask, at) = draft.choose("user", |process| process.user.umask);
    if let Some(mask) = umask.or(default) {
        draft.push(&at.key("umask"), Step::Umask { mask });
    }
}

/// Whoever made them, the user may open them again as /dev/stdin and the like; a terminal's slave too.
pub(super) fn own_stdio(draft: &mut Draft<'_>) {
    let uid = draft.process.user.uid;
    draft.push(&draft.at("user").key("uid"), Step::OwnStdio { uid });
}

/// As root first; the directories that refuse even root (FUSE, NFS) are tried with the user's ids.
pub(super) fn cwd(draft: &mut Draft<'_>) {
    // pivot_root has left us at the root.
    if draft.process.cwd.is_root() && draft.plan.kind == LaunchKind::Create {
        return;
    }
    let path = Text::from(draft.process.cwd.as_c_str());
    let user = &draft.process.user;
    let as_user = Step::CwdAsUser {
        path: path.clone(),
        uid: user.uid,
        gid: user.gid,
    };
    draft.push_instead(
        &draft.at("cwd"),
        Step::Cwd { path },
        [EACCES, EPERM, 0, 0],
        as_user,
    );
}

pub(super) fn drop_bounding(draft: &mut Draft<'_>) {
    let (capabilities, at) = draft.choose("capabilities", |process| process.capabilities);
    let keep = capabilities.unwrap_or_default().bounding;
    let last = draft.facts.last_cap;
    draft.push(&at.key("bounding"), Step::DropBounding { keep, last });
}

pub(super) fn user(draft: &mut Draft<'_>) {
    let user = &draft.process.user;
    let step = Step::User {
        uid: user.uid,
        gid: user.gid,
        groups: Numbers(
            user.additional_gids
                .iter()
                .copied()
                .map(u64::from)
                .collect(),
        ),
        keep_groups: draft.facts.keep_groups,
    };
    draft.push(&draft.at("user"), step);
}

/// Ambient capabilities are among those that the user change clears: set last, with the rest.
pub(super) fn capabilities(draft: &mut Draft<'_>) {
    let kept = super::seccomp::kept(draft);
    set_capabilities(draft, kept);
}

/// The process's own sets, and `kept` permitted besides.
pub(super) fn set_capabilities(draft: &mut Draft<'_>, kept: u64) {
    let (capabilities, at) = draft.choose("capabilities", |process| process.capabilities);
    let sets = capabilities.unwrap_or_default();
    let step = Step::Capabilities {
        effective: sets.effective,
        permitted: sets.permitted | kept,
        inheritable: sets.inheritable,
        ambient: sets.ambient,
    };
    draft.push(&at, step);
}

pub(super) fn no_new_privileges(draft: &mut Draft<'_>) {
    if draft.process.no_new_privileges {
        draft.push(&draft.at("noNewPrivileges"), Step::NoNewPrivileges {});
    }
}

/// The LSM labels of the coming execve.
pub(super) fn label(draft: &mut Draft<'_>) {
    let (profile, at) = draft.choose("apparmorProfile", |process| {
        process.apparmor_profile.as_deref()
    });
    if let Some(profile) = profile.filter(|profile| !profile.is_empty()) {
        let proc = draft.proc();
        let label = Text::new([b"exec ".as_slice(), profile.to_bytes()].concat());
        draft.push(
            &at,
            Step::ExecLabel {
                proc,
                attribute: "apparmor/exec".into(),
                label,
            },
        );
    }
    let (label, at) = draft.choose("selinuxLabel", |process| process.selinux_label.as_deref());
    if let Some(label) = label.filter(|label| !label.is_empty()) {
        let proc = draft.proc();
        draft.push(
            &at,
            Step::ExecLabel {
                proc,
                attribute: "exec".into(),
                label: label.into(),
            },
        );
    }
}
