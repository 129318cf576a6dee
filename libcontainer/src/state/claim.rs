//! An id that is taken while its container is being made: the directory, its lock and the intent. Removed on drop until committed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::error::Error;

use super::{Entry, Record};

/// The guard of a create. Dropped, it removes the directory; the guards of all that the intent names must be dropped before.
#[derive(Debug)]
pub struct Claim {
    /// `None` once committed.
    entry: Option<Entry>,
}

impl Claim {
    pub(super) fn new(entry: Entry) -> Claim {
        Claim { entry: Some(entry) }
    }

    fn entry(&mut self) -> &mut Entry {
        self.entry
            .as_mut()
            .expect("a claim holds its entry until commit consumes it")
    }

    /// Makes the start fifo and opens it for the stage, which reads one byte from it to start. A foreground run needs none.
    pub fn make_fifo(&mut self) -> Result<OwnedFd, Error> {
        self.entry().make_fifo()
    }

    /// Replaces the record.
    pub fn update(&mut self, record: Record) -> Result<(), Error> {
        self.entry().update(record)
    }

    pub fn id(&self) -> &str {
        self.shared().id()
    }

    /// The container's directory on the host.
    pub fn path(&self) -> &Path {
        self.shared().path()
    }

    pub fn directory(&self) -> impl AsFd + '_ {
        self.shared().directory()
    }

    fn shared(&self) -> &Entry {
        self.entry
            .as_ref()
            .expect("a claim holds its entry until commit consumes it")
    }

    /// The container is made: the directory stays. The lock is held as long as the result lives.
    pub fn commit(mut self) -> Entry {
        self.entry
            .take()
            .expect("a claim holds its entry until commit consumes it")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(entry) = &self.entry {
            // The error of the create is what the caller gets; without its record the directory is a leftover.
            let _ = entry.remove_files();
        }
    }
}
