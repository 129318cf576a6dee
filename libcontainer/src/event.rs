//! What a host program can watch while a container's life goes on. Events report; they decide nothing, and the order of each operation's
//! events is part of the library's interface.
//!
//! Without an observer no event is made: not a byte is allocated and no system call added.

use std::fmt;
use std::sync::Arc;

/// One thing that has happened to a container. What is past is told, never what will be tried.
///
/// | operation | its events, in order |
/// |---|---|
/// | create | `IntentRecorded`, `CgroupMade`, `Launched`, `Ready`, any `Warning`s, `Created` |
/// | run | the same with `Started` in the place of `Created` |
/// | create or run that fails | those up to the failure, then `Undone`; none at all when the bundle or the request is refused |
/// | start | `Started` |
/// | exec | `Executed`, any `Warning`s |
/// | kill | `Signaled`; none when there was nothing to send a signal to |
/// | pause, resume | `Paused`; `Resumed` |
/// | update | `Updated`; a `Warning` when it fails and the former limits could not all be put back |
/// | delete | `Deleted`; none when there was no such container |
///
/// An init that ends by itself makes no event, since nobody of the library watches it: poll [`crate::Container::pidfd`] for that.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The id is taken: what is about to be made is written down in the state directory, so that any later delete finds it.
    IntentRecorded,
    /// The container's cgroup exists, empty; the device policy may come a moment later. Missing where a rootless container has none.
    CgroupMade,
    /// The first process of the container exists, in its namespaces.
    Launched {
        /// In the caller's pid namespace. With a joined or a nested namespace init may be a later process.
        pid: i32,
    },
    /// Everything that config.json asked for is done; only the program is missing.
    Ready {
        /// Init's, in the caller's pid namespace.
        pid: i32,
    },
    /// Create has come to its end; [`crate::Container::start`] is awaited.
    Created,
    /// The program was let go. Poststart hooks run after this.
    Started,
    /// A further process executes its program in the container.
    Executed {
        /// In the caller's pid namespace.
        pid: i32,
    },
    /// Something was done without.
    Warning {
        /// A sentence, as [`crate::Container::warnings`] has it.
        text: String,
    },
    /// A signal was sent to init, or SIGKILL to every process of the container's cgroup.
    Signaled {
        /// As in signal(7).
        signal: i32,
    },
    /// Every process of the container is frozen.
    Paused,
    /// They run again.
    Resumed,
    /// The new limits hold and are recorded.
    Updated,
    /// All that the container had is gone: processes, cgroup, state. Poststop hooks run after this.
    Deleted,
    /// A create or run has failed, and all that it had made is gone. Poststop hooks run after this.
    Undone,
}

type Watch = dyn Fn(&str, &Event) + Send + Sync;

/// Who is told; by default nobody.
#[derive(Clone, Default)]
pub(crate) struct Observer(Option<Arc<Watch>>);

impl Observer {
    pub(crate) fn new(watch: impl Fn(&str, &Event) + Send + Sync + 'static) -> Observer {
        Observer(Some(Arc::new(watch)))
    }

    pub(crate) fn tell(&self, id: &str, event: Event) {
        if let Some(watch) = &self.0 {
            watch(id, &event);
        }
    }

    pub(crate) fn warn(&self, id: &str, warnings: &[String]) {
        if self.0.is_some() {
            for text in warnings {
                self.tell(id, Event::Warning { text: text.clone() });
            }
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Observer"
        } else {
            "Nobody"
        })
    }
}
