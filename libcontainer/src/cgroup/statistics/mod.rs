//! Reads what a container uses off its directories, and tells when it runs out of memory.
//!
//! Which files there are depends on the version, the controllers and the kernel: an absent file is an absent value ([`Files`]). All is read
//! through the directories' descriptors.

mod format;
mod legacy;
mod oom;
mod unified;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::Dir;
use rustix::io::Errno;

use crate::error::{Error, Refused};
use crate::kernel_file::read_all;
use crate::statistics::{Counter, Hugetlb, Rdma, Statistics};

use super::directory::Directory;
use super::{Cgroup, Version};

pub use oom::{OomEvent, OomEvents};

impl Cgroup {
    /// What is counted now; nothing for a container without a cgroup. Errors: Refused when a file that is there cannot be read.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        match self.version() {
            Version::V2 => unified::read(&self.directories),
            Version::V1 => legacy::read(&self.directories),
        }
        .map_err(Error::from)
    }

    /// How many processes were killed for want of memory; `None` without a memory controller. The cgroups below are counted in.
    pub fn oom_kills(&self) -> Result<Option<u64>, Error> {
        match self.version() {
            Version::V2 => unified::oom_kills(&self.directories),
            Version::V1 => legacy::oom_kills(&self.directories),
        }
        .map_err(Error::from)
    }

    /// Begins to watch for want of memory. `init` tells of the end on a v1 machine without a cgroup2 tree.
    /// Errors: Unsupported without a memory controller; Refused.
    pub fn oom_events(&self, init: Option<BorrowedFd<'_>>) -> Result<OomEvents, Error> {
        OomEvents::new(self.version(), &self.directories, init)
    }
}

/// The control files of one directory.
struct Files<'a>(&'a Directory);

impl Files<'_> {
    /// The content, or `None` for a file that is not there, that the kernel has switched off (PSI without `psi=1`), or whose cgroup has gone.
    fn text(&self, file: &str) -> Result<Option<String>, Refused> {
        text(&self.0.fd, file).map_err(|errno| self.0.refused("read", file, errno))
    }

    /// A file of one number.
    fn number(&self, file: &str) -> Result<Option<u64>, Refused> {
        Ok(self.text(file)?.as_deref().and_then(format::number))
    }

    /// A file of one number; 0 if it is not there.
    fn count(&self, file: &str) -> Result<u64, Refused> {
        Ok(self.number(file)?.unwrap_or(0))
    }

    /// A flat file, whole.
    fn map(&self, file: &str) -> Result<BTreeMap<String, u64>, Refused> {
        let text = self.text(file)?.unwrap_or_default();
        Ok(format::flat(&text)
            .map(|(key, value)| (key.to_owned(), value))
            .collect())
    }

    /// The page sizes for which there is a file `hugetlb.SIZE` + `ending`.
    fn page_sizes(&self, ending: &str) -> Result<Vec<String>, Refused> {
        let refused = |errno| self.0.refused("getdents64", "", errno);
        let mut sizes = Vec::new();
        for entry in Dir::read_from(&self.0.fd).map_err(refused)? {
            let entry = match entry {
                Ok(entry) => entry,
                // The cgroup has gone.
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(refused(errno)),
            };
            let size = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.strip_prefix("hugetlb.")?.strip_suffix(ending));
            sizes.extend(size.filter(|size| !size.contains('.')).map(str::to_owned));
        }
        Ok(sizes)
    }

    /// Huge pages, by size; `read` is given the beginning of the files' names.
    fn hugetlb(
        &self,
        usage: &str,
        read: impl Fn(&str) -> Result<Option<Counter>, Refused>,
    ) -> Result<BTreeMap<String, Hugetlb>, Refused> {
        let mut found = BTreeMap::new();
        for size in self.page_sizes(usage)? {
            let pages = Hugetlb {
                pages: read(&format!("hugetlb.{size}"))?.unwrap_or_default(),
                reserved: read(&format!("hugetlb.{size}.rsvd"))?,
            };
            found.insert(size, pages);
        }
        Ok(found)
    }

    /// RDMA devices: those that both files name, for one may be plugged in between the two reads.
    fn rdma(&self) -> Result<Vec<Rdma>, Refused> {
        let (current, limits) = (self.text("rdma.current")?, self.text("rdma.max")?);
        let (current, limits) = (current.unwrap_or_default(), limits.unwrap_or_default());
        let limits = format::rdma(&limits);
        let both = |(device, handles, objects): (&str, u32, u32)| {
            let (_, handle_limit, object_limit) =
                *limits.iter().find(|(name, ..)| *name == device)?;
            Some(Rdma {
                device: device.to_owned(),
                handles,
                handle_limit,
                objects,
                object_limit,
            })
        };
        Ok(format::rdma(&current)
            .into_iter()
            .filter_map(both)
            .collect())
    }
}

/// See [`Files::text`].
fn text(directory: &OwnedFd, file: &str) -> Result<Option<String>, Errno> {
    match read_all(directory, file) {
        Ok(content) => Ok(Some(String::from_utf8_lossy(&content).into_owned())),
        Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}
