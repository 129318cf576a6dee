//! The root directory: one directory a container.
//!
//! Everything is reached through descriptors and never through a symbolic link below the root. A root that others may write to is refused:
//! a record in it could make us run hooks of a stranger's choice.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, fstat, mkdirat, open, openat, unlinkat,
};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Refused};
use crate::host::Host;

use super::entry::RECORD_FILE;
use super::{Claim, ContainerId, Entry, Record};

const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;

/// The default root directory (runc's rules under our name). `/run/garboard`, or below `$XDG_RUNTIME_DIR` for everybody who is not
/// the real root: another user, or root of a user namespace that does not call itself `root` in `$USER` (as Podman's).
pub fn default_root(
    host: &Host,
    environment: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<PathBuf, Error> {
    let runtime_dir = environment("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let Some(runtime_dir) = runtime_dir else {
        return Ok(PathBuf::from("/run/garboard"));
    };
    let own = host.euid() != 0
        || (host.in_user_namespace()?
            && environment("USER").as_deref() != Some(OsStr::new("root")));
    Ok(if own {
        Path::new(&runtime_dir).join("garboard")
    } else {
        PathBuf::from("/run/garboard")
    })
}

/// A root directory.
#[derive(Debug)]
pub struct Store {
    dir: Arc<OwnedFd>,
    path: PathBuf,
}

impl Store {
    /// Opens a root directory that is there. Errors: NotFound; Refused; Internal when others may write to it.
    pub fn open(path: &Path) -> Result<Store, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => Error::new(ErrorKind::NotFound, Refused::new("open", path, errno)),
            errno => Refused::new("open", path, errno).into(),
        })?;
        let stat = fstat(&dir).map_err(|errno| Refused::new("fstat", path, errno))?;
        if stat.st_mode & OTHERS_WRITE != 0 && stat.st_mode & STICKY == 0 {
            return Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "root directory {} may be written to by others",
                    path.display()
                ),
            ));
        }
        Ok(Store {
            dir: Arc::new(dir),
            path: path.to_path_buf(),
        })
    }

    /// Opens a root directory and makes it, 0700, if need be. Below `$XDG_RUNTIME_DIR` ask for `sticky`: tmp cleaners leave it alone then.
    pub fn open_or_create(path: &Path, sticky: bool) -> Result<Store, Error> {
        match Store::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        let mut missing = path
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty())
            .collect::<Vec<_>>();
        missing.reverse();
        for directory in missing {
            match mkdirat(CWD, directory, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                // A parent on a read-only filesystem, or in a directory of others, that is there.
                Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) if directory != path => {}
                Err(errno) => return Err(Refused::new("mkdir", directory, errno).into()),
            }
        }
        let store = Store::open(path)?;
        if sticky {
            fchmod(&store.dir, Mode::from_raw_mode(0o1700))
                .map_err(|errno| Refused::new("fchmod(1700)", path, errno))?;
        }
        Ok(store)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the id of `record` and writes the record as the intent. Gone again on drop, until committed.
    /// Errors: AlreadyExists; Refused.
    pub fn claim(&self, record: &Record) -> Result<Claim, Error> {
        let path = self.path.join(&record.id);
        let refused = |call: &'static str| {
            let path = &path;
            move |errno: Errno| Error::from(Refused::new(call, path, errno))
        };
        mkdirat(&self.dir, record.id.as_str(), Mode::from_raw_mode(0o711)).map_err(|errno| {
            match errno {
                Errno::EXIST => Error::new(
                    ErrorKind::AlreadyExists,
                    "container with given ID already exists",
                ),
                errno => refused("mkdir")(errno),
            }
        })?;
        let made = self
            .open_directory(&record.id)
            .map_err(refused("open"))
            .and_then(|dir| Entry::claimed(Arc::clone(&self.dir), dir, path.clone(), record));
        match made {
            Ok(entry) => Ok(Claim::new(entry)),
            Err(error) => {
                // Best effort: a directory without a record is a leftover that delete --force removes.
                let _ = unlinkat(
                    &self.dir,
                    format!("{}/{RECORD_FILE}", record.id),
                    AtFlags::empty(),
                );
                let _ = unlinkat(&self.dir, record.id.as_str(), AtFlags::REMOVEDIR);
                Err(error)
            }
        }
    }

    /// The directory of a container. Errors: NotFound with runc's text.
    pub fn entry(&self, id: &ContainerId) -> Result<Entry, Error> {
        self.load(id.as_str())
    }

    /// All containers in the order of their ids, broken directories included.
    pub fn list(&self) -> Result<impl Iterator<Item = (ContainerId, Result<Entry, Error>)>, Error> {
        let refused = |errno| Refused::new("getdents", &self.path, errno);
        let mut ids = Vec::new();
        for entry in Dir::read_from(&self.dir).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let directory = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            let id = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| ContainerId::parse(name).ok());
            ids.extend(id.filter(|_| directory));
        }
        ids.sort_unstable();
        // One that another command is removing just now is not there any more.
        let gone = |entry: &Result<Entry, Error>| matches!(entry, Err(error) if error.kind() == ErrorKind::NotFound);
        Ok(ids
            .into_iter()
            .map(|id| (self.entry(&id), id))
            .filter(move |(entry, _)| !gone(entry))
            .map(|(entry, id)| (id, entry)))
    }

    fn load(&self, id: &str) -> Result<Entry, Error> {
        let path = self.path.join(id);
        let dir = match self.open_directory(id) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => {
                return Err(Error::new(ErrorKind::NotFound, "container does not exist"));
            }
            Err(errno) => return Err(Refused::new("open", path, errno).into()),
        };
        Entry::open(Arc::clone(&self.dir), dir, path, id)
    }

    fn open_directory(&self, id: &str) -> Result<OwnedFd, Errno> {
        openat(
            &self.dir,
            id,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }
}
