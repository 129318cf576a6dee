//! The entry to the library: a root directory, and the containers recorded in it.

use std::path::{Path, PathBuf};

use crate::container::{Container, State};
use crate::error::Error;
use crate::event::{Event, Observer};
use crate::host::Host;
use crate::lifecycle;
use crate::plan::Start;
use crate::request::CreateOptions;
use crate::state::{self, ContainerId, Store};

/// An id in the root, and the container's state or why it cannot be told.
pub type Listed = (String, Result<State, Error>);

/// The containers of one state root directory. Holds nothing but an fd of it; any number may be open, in any number of threads.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) store: Store,
    pub(crate) observer: Observer,
}

/// The root directory of the command `garboard` without `--root`: `/run/garboard`, or below `$XDG_RUNTIME_DIR` for everybody who is not
/// root of the machine. Errors: Refused when procfs cannot be read.
pub fn default_root() -> Result<PathBuf, Error> {
    state::default_root(&Host::new(), |name| std::env::var_os(name))
}

impl Runtime {
    /// Opens a root directory, and makes it (0700) if need be; [`default_root`] is where the command has its own.
    /// Errors: Refused.
    pub fn open(root: &Path) -> Result<Runtime, Error> {
        let sticky = std::env::var_os("XDG_RUNTIME_DIR")
            .is_some_and(|dir| !dir.is_empty() && root.starts_with(dir));
        Ok(Runtime {
            store: Store::open_or_create(root, sticky)?,
            observer: Observer::default(),
        })
    }

    /// Opens a root directory that is there. Errors: NotFound.
    pub fn open_existing(root: &Path) -> Result<Runtime, Error> {
        Ok(Runtime {
            store: Store::open(root)?,
            observer: Observer::default(),
        })
    }

    /// Tells `watch` the id of the container and what has happened to it, for every container of this value and of the handles it gives
    /// from now on. `watch` is called on the thread that called the library, in the middle of its work: it must not block, and must not
    /// call the library for the same container, which is locked then. One observer at a time. The order is that of the table at [`Event`].
    #[must_use]
    pub fn observe(mut self, watch: impl Fn(&str, &Event) + Send + Sync + 'static) -> Runtime {
        self.observer = Observer::new(watch);
        self
    }

    /// Makes a container up to the point where only [`Container::start`] is missing: everything in its config.json that can fail has
    /// gone right then. Blocks while its mounts are made and its hooks run. Whatever fails, nothing is left behind.
    /// Errors: InvalidConfig and Unsupported with everything that is wrong in config.json; AlreadyExists; NotFound without a config.json;
    /// Refused.
    pub fn create(
        &self,
        id: &str,
        bundle: &Path,
        options: &CreateOptions,
    ) -> Result<Container, Error> {
        lifecycle::create(self, id, bundle, options, Start::AwaitFifo)
    }

    /// The same, and starts it at once: what [`Runtime::create`] and [`Container::start`] do, in fewer steps. A program that cannot be
    /// executed after all is no error here, but the exit status 255 of init, which says why on its stderr.
    pub fn run(
        &self,
        id: &str,
        bundle: &Path,
        options: &CreateOptions,
    ) -> Result<Container, Error> {
        lifecycle::create(self, id, bundle, options, Start::AtOnce)
    }

    /// A container by its id. Errors: NotFound with runc's text `container does not exist`.
    pub fn container(&self, id: &str) -> Result<Container, Error> {
        let entry = self.store.entry(&ContainerId::parse(id)?)?;
        lifecycle::load(entry, Host::new(), &self.observer)
    }

    /// Every container in the root, each with its state or with why it cannot be told. Errors: Refused when the root cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let host = Host::new();
        let state =
            |entry: Result<_, Error>| entry.and_then(|entry| lifecycle::state(&entry, &host));
        Ok(self
            .store
            .list()?
            .map(|(id, entry)| (id.as_str().to_owned(), state(entry)))
            .collect())
    }

    /// Removes a container that has stopped (or was only created), and all that is left of it; then runs its poststop hooks.
    /// `force`: kills it first; an unknown id is no error then. Blocks up to 10 s for processes that do not die, and for its hooks.
    /// Errors: NotFound; WrongStatus when it runs; Internal when processes do not die; Refused, when a poststop hook fails too.
    pub fn delete(&self, id: &str, force: bool) -> Result<(), Error> {
        lifecycle::delete(self, id, force)
    }
}
