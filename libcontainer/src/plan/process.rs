//! The container's names and settings, the process's standard streams, and its program.

use std::ffi::CString;

use stage::step::Step;

use super::create::{Create, linux};
use super::draft::Draft;
use super::form::{Text, Texts};
use super::{OnError, SlotSource, Start};
use crate::config::Namespace;
use crate::error::Pointer;

pub(super) fn sysctls(c: &mut Create<'_>) {
    let at = linux("sysctl");
    for sysctl in &c.config.sysctl {
        let proc = c.draft.proc();
        let (path, value) = (Text(sysctl.path.clone()), Text(sysctl.value.clone()));
        c.draft
            .push(&at.key(&sysctl.key), Step::Sysctl { proc, path, value });
    }
}

/// Host and domain name. Only a UTS namespace of our own has them (validated).
pub(super) fn names(c: &mut Create<'_>) {
    if let Some(name) = &c.config.hostname {
        c.draft.push(
            &Pointer::CONFIG.key("hostname"),
            Step::Hostname {
                name: Text(name.clone()),
            },
        );
    }
    if let Some(name) = &c.config.domainname {
        c.draft.push(
            &Pointer::CONFIG.key("domainname"),
            Step::Domainname {
                name: Text(name.clone()),
            },
        );
    }
}

/// A terminal of the container's own devpts. Only init's becomes /dev/console.
pub(super) fn console(draft: &mut Draft<'_>, bind_console: bool) {
    if draft.process.terminal {
        let (rows, columns) = draft.process.console_size.unwrap_or((0, 0));
        draft.push(
            &draft.at("terminal"),
            Step::Console {
                rows,
                columns,
                bind_console,
            },
        );
    }
}

/// exec: a container may have no /dev/null, and that is its own affair.
pub(super) fn reopen_null(draft: &mut Draft<'_>) {
    if !draft.process.terminal {
        draft.push_or(
            &draft.document.clone(),
            Step::ReopenNull {},
            OnError::Ignore([0; 4]),
        );
    }
}

/// By the container's PATH only: there is no default (runc and crun alike).
pub(super) fn find_program(draft: &mut Draft<'_>) {
    let Some(name) = draft.process.args.first() else {
        return;
    };
    let path = draft
        .process
        .env
        .iter()
        .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    let step = Step::FindProgram {
        name: Text(name.clone()),
        path: Text::new(path.unwrap_or_default()),
    };
    draft.push(&draft.at("args").index(0), step);
}

pub(super) fn await_start(c: &mut Create<'_>) {
    match c.request.start {
        Start::AtOnce => await_commit(&mut c.draft),
        Start::AwaitFifo => {
            if !matches!(c.config.namespaces.user, Namespace::Host) {
                c.draft.push(&Pointer::CONFIG, Step::Dumpable {});
            }
            let fifo = c.draft.slot(SlotSource::StartFifo);
            c.draft.push(&Pointer::CONFIG, Step::AwaitStart { fifo });
        }
    }
}

pub(super) fn await_commit(draft: &mut Draft<'_>) {
    let at = draft.document.clone();
    draft.push(&at, Step::AwaitCommit {});
}

/// Arguments and environment, laid out while there is somebody to tell of a failure.
pub(super) fn arguments(draft: &mut Draft<'_>, env: Vec<CString>) {
    let find_home = !env
        .iter()
        .any(|entry| entry.to_bytes().starts_with(b"HOME="));
    let step = Step::Arguments {
        args: Texts(draft.process.args.clone()),
        env: Texts(env),
        find_home,
        uid: draft.process.user.uid,
    };
    draft.push(&draft.at("args"), step);
}

pub(super) fn exec(draft: &mut Draft<'_>) {
    let preserved = draft.plan.preserved;
    draft.push(&draft.at("args"), Step::Exec { preserved });
}
