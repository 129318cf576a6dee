//! start: the notify socket, one byte on the fifo, then the poststart hooks.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::event::{Event as Life, Observer};
use crate::hooks::{self, HookKind};
use crate::host::Host;
use crate::notify::{Listener, NotifyProxy};
use crate::state::{Entry, Event, HookRecord, Record, StateDocument, Status};

/// How long a start waits for another command that works on the container.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Lets init go on. With `notify` (the host's NOTIFY_SOCKET) the container's own socket is bound before, if it was created with one, and
/// its proxy returned. Errors: WrongStatus with runc's texts; Refused when a poststart hook fails.
pub fn start(
    entry: &Entry,
    host: &Host,
    notify: Option<&Path>,
    observer: &Observer,
) -> Result<Option<NotifyProxy>, Error> {
    entry.lock(Instant::now() + LOCK_WAIT)?;
    let started = start_locked(entry, host, notify, observer);
    // A handle lives on, also after a failure.
    entry.unlock();
    started
}

fn start_locked(
    entry: &Entry,
    host: &Host,
    notify: Option<&Path>,
    observer: &Observer,
) -> Result<Option<NotifyProxy>, Error> {
    entry.status(host)?.after(Event::Start)?;
    let proxy = match (notify, entry.record()) {
        (Some(notify), Some(record)) if record.notify => {
            let listener = Listener::bind(entry.directory(), entry.path())?;
            let init = super::open_init(host, record)?;
            Some(listener.proxy(notify, record.init_process_pid, init))
        }
        _ => None,
    };
    if !entry.start()? {
        // It was created a moment ago and nobody waits at the fifo: killed, or started by somebody without the lock.
        let status = entry.status(host)?;
        status.after(Event::Start)?;
    }
    observer.tell(entry.id(), Life::Started);
    poststart(entry, host)?;
    Ok(proxy)
}

/// Runs the poststart hooks; when one fails init is killed, as runc does.
pub fn poststart(entry: &Entry, host: &Host) -> Result<(), Error> {
    let Some(record) = entry.record() else {
        return Ok(());
    };
    if record.poststart.is_empty() {
        return Ok(());
    }
    let state =
        StateDocument::new(record, Status::Running, Some(record.init_process_pid)).to_json();
    let hooks: Vec<_> = record
        .poststart
        .iter()
        .filter_map(HookRecord::hook)
        .collect();
    hooks::run_all(HookKind::Poststart, &hooks, &state).inspect_err(|_| kill_init(host, record))
}

fn kill_init(host: &Host, record: &Record) {
    if let Ok(Some(pidfd)) = super::open_init(host, record) {
        // It may have ended by itself; the hook's error is what the caller gets.
        let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
    }
}
