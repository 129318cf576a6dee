//! The entry to the library: a root directory, and the containers recorded in it.

use std::path::Path;

use crate::container::{Container, State};
use crate::error::Error;
use crate::host::Host;
use crate::lifecycle;
use crate::plan::Start;
use crate::request::CreateOptions;
use crate::state::{ContainerId, Store};

/// An id in the root, and the container's state or why it cannot be told.
pub type Listed = (String, Result<State, Error>);

/// The containers of one state root directory. Holds nothing but an fd of it; any number may be open, in any number of threads.
#[derive(Debug)]
pub struct Runtime {
    store: Store,
}

impl Runtime {
    /// Opens a root directory, and makes it (0700) if need be.
    pub fn open(root: &Path) -> Result<Runtime, Error> {
        let sticky = std::env::var_os("XDG_RUNTIME_DIR")
            .is_some_and(|dir| !dir.is_empty() && root.starts_with(dir));
        Ok(Runtime {
            store: Store::open_or_create(root, sticky)?,
        })
    }

    /// Opens a root directory that is there. Errors: NotFound.
    pub fn open_existing(root: &Path) -> Result<Runtime, Error> {
        Ok(Runtime {
            store: Store::open(root)?,
        })
    }

    /// Makes a container up to the point where only [`Container::start`] is missing: everything in its config.json that can fail has
    /// gone right then. Blocks while its mounts are made and its hooks run. Whatever fails, nothing is left behind.
    pub fn create(
        &self,
        id: &str,
        bundle: &Path,
        options: &CreateOptions,
    ) -> Result<Container, Error> {
        lifecycle::create(&self.store, id, bundle, options, Start::AwaitFifo)
    }

    /// The same, and starts it at once.
    pub fn run(
        &self,
        id: &str,
        bundle: &Path,
        options: &CreateOptions,
    ) -> Result<Container, Error> {
        lifecycle::create(&self.store, id, bundle, options, Start::AtOnce)
    }

    /// A container by its id. Errors: NotFound with runc's text `container does not exist`.
    pub fn container(&self, id: &str) -> Result<Container, Error> {
        let entry = self.store.entry(&ContainerId::parse(id)?)?;
        lifecycle::load(entry, &Host::new())
    }

    /// Every container in the root, each with its state or with why it cannot be told.
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
    /// `force`: kills it first; an unknown id is no error then. Blocks up to 10 s for processes that do not die.
    pub fn delete(&self, id: &str, force: bool) -> Result<(), Error> {
        lifecycle::delete(&self.store, id, force)
    }
}
