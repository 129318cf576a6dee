//! One cgroup directory, on whichever version: made, marked, listed and removed through a descriptor of it.
//!
//! The mark is the extended attribute `user.garboard` with the container's token (cgroup directories take `user.*` on both versions since
//! Linux 5.7, and only their owner may set it). Parents that had to be made carry `user.garboard.parent`, so that whoever removes the
//! last container below removes them too; parents that were there stay.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, XattrFlags, fgetxattr, fremovexattr, fsetxattr,
    fstatfs, mkdirat, openat, openat2, unlinkat,
};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::error::{Error, ErrorKind, Pointer, Refused};
use crate::host::{Host, parse_number};
use crate::kernel_file::{read_all, read_record, write_value};

use super::layout::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC};
use super::path::POINTER;
use super::{Place, Removal, Version, survivors, v2, walk};

const MARK: &std::ffi::CStr = c"user.garboard";
const PARENT_MARK: &std::ffi::CStr = c"user.garboard.parent";
/// Another container's removal may take a parent away while we make a child of it: tried again this often.
const ATTEMPTS: usize = 8;

/// A directory of the container's cgroup that is there.
#[derive(Debug)]
pub(super) struct Directory {
    pub place: Place,
    pub fd: OwnedFd,
    /// Whether it bears the container's token.
    pub marked: bool,
    /// Whether this value made it: otherwise it was there, empty, and undoing means taking the mark off.
    pub made: bool,
}

/// What to do about a directory that is in use.
const SHARED: &str = " (hint: another container may run there; each needs a path of its own)";

/// Why a directory could not become the container's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// runc's text for the first case, which engines show.
    #[error("{POINTER}: container's cgroup is not empty: {processes} process(es) found in {}{SHARED}", path.display())]
    NotEmpty { path: PathBuf, processes: usize },
    #[error("{POINTER}: container's cgroup is not empty: {} has sub-cgroups{SHARED}", path.display())]
    HasChildren { path: PathBuf },
    #[error("{POINTER}: {} is not a cgroup filesystem", path.display())]
    NotCgroup { path: PathBuf },
    #[error(
        "{POINTER}: cannot enter cgroupv2 {}: its cgroup.type is {kind:?} (hint: a cgroup above it is threaded; choose a path where every \
         cgroup.type is \"domain\")",
        path.display()
    )]
    NotDomain { path: PathBuf, kind: String },
}

impl CreateError {
    /// What asks for the directory.
    pub fn pointer(&self) -> Pointer {
        POINTER
    }

    /// The directory.
    pub fn path(&self) -> Option<&Path> {
        match self {
            CreateError::Refused(refused) => refused.path.as_deref(),
            CreateError::NotEmpty { path, .. }
            | CreateError::HasChildren { path }
            | CreateError::NotCgroup { path }
            | CreateError::NotDomain { path, .. } => Some(path),
        }
    }
}

impl From<CreateError> for Error {
    fn from(error: CreateError) -> Error {
        match error {
            CreateError::Refused(refused) => refused.into(),
            CreateError::NotEmpty { .. } | CreateError::HasChildren { .. } => {
                Error::new(ErrorKind::AlreadyExists, error)
            }
            CreateError::NotCgroup { .. } | CreateError::NotDomain { .. } => {
                Error::new(ErrorKind::Unsupported, error)
            }
        }
    }
}

impl Directory {
    /// Makes the directory, or takes an empty one that is there, and marks it. Undone when a later step fails.
    pub fn create(place: &Place, token: &str) -> Result<Directory, CreateError> {
        let path = place.host_path();
        let made = make_with_parents(place)?;
        let result = Directory::take(place, &path, token, made, None);
        if result.is_err() && made {
            // Best effort: the error of the step that failed is the one to report.
            let _ = unlinkat(CWD, &path, AtFlags::REMOVEDIR);
            remove_parents(place);
        }
        result
    }

    /// Marks a directory that systemd has made for the process `pid`, or makes it where systemd had no need of it.
    /// Errors: as [`Directory::create`], also when another process is in it.
    pub fn adopt(place: &Place, token: &str, pid: i32) -> Result<Directory, CreateError> {
        let path = place.host_path();
        let made = make_with_parents(place)?;
        Directory::take(place, &path, token, made, Some(pid))
    }

    /// `inside`: a process that may be in it.
    fn take(
        place: &Place,
        path: &Path,
        token: &str,
        made: bool,
        inside: Option<i32>,
    ) -> Result<Directory, CreateError> {
        let refused =
            |call: &'static str| move |errno: Errno| Refused::new(call, path, errno).at(POINTER);
        let fd = open(CWD, path).map_err(refused("openat2"))?;
        let magic = fstatfs(&fd)
            .map_err(refused("fstatfs"))?
            .f_type
            .cast_unsigned();
        if magic != expected_magic(place.version) {
            return Err(CreateError::NotCgroup {
                path: path.to_path_buf(),
            });
        }
        let directory = Directory {
            place: place.clone(),
            fd,
            marked: true,
            made,
        };
        if !made {
            directory.check_empty(path, inside)?;
        }
        fsetxattr(&directory.fd, MARK, token.as_bytes(), XattrFlags::empty())
            .map_err(refused("fsetxattr(user.garboard)"))?;
        if made && place.version == Version::V1 && place.has("cpuset") {
            super::v1::inherit_cpuset(place)?;
        }
        if place.is_unified() {
            v2::enable_controllers(place, &directory.fd);
        }
        Ok(directory)
    }

    /// Whether processes can live in it: below a threaded cgroup a new one is `domain invalid`, and in a threaded one processes can neither
    /// be listed nor killed.
    pub fn check_domain(&self) -> Result<(), CreateError> {
        if !self.place.is_unified() {
            return Ok(());
        }
        let kind = read_record(&self.fd, c"cgroup.type").unwrap_or_default();
        match kind.trim_ascii() {
            kind @ (b"domain invalid" | b"threaded") => Err(CreateError::NotDomain {
                path: self.place.host_path(),
                kind: String::from_utf8_lossy(kind).into_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn check_empty(&self, path: &Path, inside: Option<i32>) -> Result<(), CreateError> {
        self.check_domain()?;
        let mut pids = Vec::new();
        self.add_processes(&mut pids)?;
        pids.retain(|&pid| Some(pid) != inside);
        if !pids.is_empty() {
            return Err(CreateError::NotEmpty {
                path: path.to_path_buf(),
                processes: pids.len(),
            });
        }
        match walk::has_children(&self.fd) {
            Ok(false) => Ok(()),
            Ok(true) => Err(CreateError::HasChildren {
                path: path.to_path_buf(),
            }),
            Err(errno) => Err(Refused::new("fstat", path, errno).into()),
        }
    }

    /// The directory of a record, if it is there.
    pub fn open(place: &Place, token: &str) -> Result<Option<Directory>, Refused> {
        let path = place.host_path();
        let fd = match open(CWD, &path) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(Refused::new("openat2", path, errno)),
        };
        let mut value = [0u8; 64];
        let marked = match fgetxattr(&fd, MARK, &mut value[..]) {
            Ok(length) => value[..length] == *token.as_bytes(),
            // No mark, or a longer one than any of ours. Anything else is no answer, and must not look like one.
            Err(Errno::NODATA | Errno::RANGE | Errno::NOTSUP) => false,
            Err(errno) => return Err(Refused::new("fgetxattr", path, errno)),
        };
        let found = fstatfs(&fd).map_err(|errno| Refused::new("fstatfs", &path, errno))?;
        let cgroup = found.f_type.cast_unsigned() == expected_magic(place.version);
        Ok(cgroup.then(|| Directory {
            place: place.clone(),
            fd,
            marked,
            made: false,
        }))
    }

    /// Opens a sub-cgroup.
    pub fn open_below(&self, path: &Path) -> Result<OwnedFd, Errno> {
        if path.as_os_str().is_empty() {
            open(&self.fd, c".")
        } else {
            open(&self.fd, path)
        }
    }

    /// Writes a control file of this directory.
    pub fn write(&self, file: &str, value: &[u8]) -> Result<(), Refused> {
        write_value(&self.fd, file, value).map_err(|errno| {
            self.refused(
                &format!("write({})", String::from_utf8_lossy(value)),
                file,
                errno,
            )
        })
    }

    /// v1: the list of threads of the cgroup at `path` below, or of this one, for who enters it.
    pub fn open_tasks(&self, path: &str) -> Result<OwnedFd, Refused> {
        let file = Path::new(path).join("tasks");
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat(&self.fd, &file, flags, Mode::empty())
            .map_err(|errno| self.refused("openat", &file.to_string_lossy(), errno))
    }

    /// The cgroup2 tree of a hybrid machine: moves `pid` in. It is not shown to the container, which therefore has made nothing there: where
    /// nothing is at `path`, this directory is meant.
    pub fn add_process(&self, path: &str, pid: i32) -> Result<(), Refused> {
        let pid = pid.to_string();
        if !path.is_empty() {
            match self.write(&format!("{path}/cgroup.procs"), pid.as_bytes()) {
                Err(refused) if refused.errno == Errno::NOENT.into() => {}
                entered => return entered,
            }
        }
        self.write("cgroup.procs", pid.as_bytes())
    }

    /// The error of a call on a control file of this directory.
    pub fn refused(&self, call: &str, file: &str, errno: Errno) -> Refused {
        Refused::new(call, self.place.host_path().join(file), errno)
    }

    /// Adds the processes of this directory and all below it.
    pub fn add_processes(&self, pids: &mut Vec<i32>) -> Result<(), Refused> {
        add_processes(&self.fd, pids).map_err(|errno| self.refused("read", "cgroup.procs", errno))
    }

    /// Runs `action` for this directory and, children first, all below it. What disappears meanwhile is skipped.
    /// Errors: a walk that ended early; the directory itself has had its turn then.
    pub fn for_each(&self, action: &mut impl FnMut(&OwnedFd)) -> Result<(), Refused> {
        let result = walk::below(&self.fd, |_, _, fd| {
            action(fd);
            Ok(())
        });
        action(&self.fd);
        result.map_err(|errno| self.refused("read", "", errno))
    }

    /// Takes the mark off again. Best effort: the directory is empty and was there before us.
    pub fn unmark(&self) {
        let _ = fremovexattr(&self.fd, MARK);
    }

    /// Removes the directory if it is empty, without looking at it first. False when it is not.
    pub fn remove_empty(&self) -> Result<bool, Refused> {
        let path = self.place.host_path();
        match unlinkat(CWD, &path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {
                remove_parents(&self.place);
                Ok(true)
            }
            Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(false),
            Err(errno) => Err(Refused::new("rmdir", path, errno)),
        }
    }

    /// Removes the directory; see [`super::Cgroup::remove`].
    pub fn remove(&self, host: &Host, deadline: Instant) -> Result<Removal, Error> {
        let path = self.place.host_path();
        let mut pause = Duration::from_micros(100);
        loop {
            if self.remove_empty()? {
                return Ok(Removal::Done);
            }
            if !self.marked {
                return Ok(Removal::NotOurs);
            }
            // A populated child refuses; this is tried again, so its refusal need not be looked at.
            remove_children(&self.fd)
                .map_err(|errno| Refused::new("remove sub-cgroups of", &path, errno))?;
            if Instant::now() >= deadline {
                let mut pids = Vec::new();
                self.add_processes(&mut pids)?;
                return Err(survivors(host, &path, pids));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

fn expected_magic(version: Version) -> u64 {
    match version {
        Version::V1 => CGROUP_SUPER_MAGIC,
        Version::V2 => CGROUP2_SUPER_MAGIC,
    }
}

/// A directory without following any link: cgroupfs has none, so one on the way means that this is no cgroupfs.
pub(super) fn open(dir: impl AsFd, path: impl Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(
        dir,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Whether the last component was made (and not there before). Parents are made, and marked, as needed.
fn make_with_parents(place: &Place) -> Result<bool, Refused> {
    let path = place.host_path();
    for _ in 0..ATTEMPTS {
        match mkdirat(CWD, &path, Mode::from_raw_mode(0o755)) {
            Ok(()) => return Ok(true),
            Err(Errno::EXIST) => return Ok(false),
            Err(Errno::NOENT) => make_parents(place)?,
            Err(errno) => return Err(Refused::new("mkdir(cgroup)", path, errno).at(POINTER)),
        }
    }
    Err(Refused::new("mkdir(cgroup)", path, Errno::NOENT).at(POINTER))
}

fn make_parents(place: &Place) -> Result<(), Refused> {
    let parents = place
        .path
        .ancestors()
        .skip(1)
        .filter(|path| !path.as_os_str().is_empty())
        .collect::<Vec<_>>();
    for parent in parents.into_iter().rev() {
        let path = place.mount.join(parent);
        match mkdirat(CWD, &path, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                // Unmarked it would only stay longer than needed.
                let _ = open(CWD, &path)
                    .and_then(|fd| fsetxattr(&fd, PARENT_MARK, b"1", XattrFlags::empty()));
                if place.version == Version::V1 && place.has("cpuset") {
                    super::v1::inherit_cpuset(&Place {
                        path: parent.to_path_buf(),
                        ..place.clone()
                    })?;
                }
            }
            // NOENT: another removal took the parent above; the caller tries again from the top.
            Err(Errno::EXIST | Errno::NOENT) => {}
            Err(errno) => return Err(Refused::new("mkdir(cgroup)", path, errno).at(POINTER)),
        }
    }
    Ok(())
}

/// Removes the parents that we made, from the innermost, until one is in use or not ours. Best effort: an empty cgroup does no harm.
fn remove_parents(place: &Place) {
    for parent in place
        .path
        .ancestors()
        .skip(1)
        .filter(|path| !path.as_os_str().is_empty())
    {
        let path = place.mount.join(parent);
        let ours = open(CWD, &path).and_then(|fd| fgetxattr(&fd, PARENT_MARK, &mut [0u8; 1][..]));
        if ours.is_err() || unlinkat(CWD, &path, AtFlags::REMOVEDIR).is_err() {
            return;
        }
    }
}

fn add_processes(top: &OwnedFd, pids: &mut Vec<i32>) -> Result<(), Errno> {
    let mut add = |directory: &OwnedFd| match read_all(directory, c"cgroup.procs") {
        // 0 stands for a process outside our pid namespace, which cannot be named.
        Ok(list) => {
            pids.extend(
                list.split(|&byte| byte == b'\n')
                    .filter_map(parse_number)
                    .filter_map(|pid| i32::try_from(pid).ok())
                    .filter(|&pid| pid > 0),
            );
            Ok(())
        }
        // Removed meanwhile, or a threaded sub-cgroup, whose processes its domain lists.
        Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno),
    };
    add(top)?;
    walk::below(top, |_, _, directory| add(directory))
}

/// Removes every sub-cgroup that lets itself be removed. Errors: a walk that ended early.
fn remove_children(directory: &OwnedFd) -> Result<(), Errno> {
    walk::below(directory, |parent, name, _| {
        let _ = unlinkat(parent, name, AtFlags::REMOVEDIR);
        Ok(())
    })
}
