//! The end of a shim that nobody knows of, which would otherwise wait for its next container for ever.
//!
//! containerd may be killed while it starts a shim: when it comes back it removes the bundle, for it finds no address in it, and then nobody can find the way
//! to the shim that came up meanwhile. So one without a container looks now and then for its bundle, which is its working directory.
//!
//! And containerd may be killed when it has deleted the last container and not yet said `Shutdown`, which it does at once. Version 1.6 connects to such a
//! shim again, lists no task for it, and leaves it. So one that has had containers does not stay without for long.

use std::time::{Duration, Instant};

use super::{Daemon, Source};

/// How often the bundle is looked for: seldom enough not to be seen among what a machine does.
const LOOK: Duration = Duration::from_secs(2);
/// How long after the last container `Shutdown` is waited for.
const GRACE: Duration = Duration::from_secs(6);

/// How long there has been no container, for a shim that once had one.
#[derive(Debug, Default)]
pub(super) struct Idleness {
    had_containers: bool,
    since: Option<Instant>,
    looking: bool,
}

impl Daemon {
    /// To be called whenever something has happened: sees to it that there is a next look, if one is needed.
    pub(super) fn watch_idleness(&mut self) {
        if !self.tasks.is_empty() {
            self.idleness.had_containers = true;
            self.idleness.since = None;
            return;
        }
        let now = Instant::now();
        self.idleness.since.get_or_insert(now);
        if !self.idleness.looking && self.ending.is_none() {
            self.idleness.looking = true;
            self.reactor.at(now + LOOK, Source::IdleTimer);
        }
    }

    pub(super) fn look_whether_forgotten(&mut self) {
        self.idleness.looking = false;
        if !self.tasks.is_empty() {
            return;
        }
        // A directory that was removed is still there for who is in it, without a link.
        if rustix::fs::stat(".").is_ok_and(|stat| stat.st_nlink == 0) {
            log::info!("no container, and the bundle is gone: ending");
            self.end();
        }
        let idle = self.idleness.since.map(|since| since.elapsed());
        if self.idleness.had_containers && idle.is_some_and(|idle| idle >= GRACE) {
            log::info!("no container any more, and no Shutdown: ending");
            self.end();
        }
    }
}
