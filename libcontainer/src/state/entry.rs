//! The directory of one container: its record, its lock, its start fifo, and what they say about it.
//!
//! The directory of another user is read but never acted on. A status is read off the kernel each time, for this one container only.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, openat, renameat, unlinkat,
};
use rustix::io::{Errno, write};

use crate::cgroup::Cgroup;
use crate::error::{Error, ErrorKind, Refused};
use crate::host::Host;
use crate::kernel_file::{read_plain, retry};

use super::record::VERSION;
use super::{Phase, Record, Status};

pub(super) const RECORD_FILE: &str = "state.json";
const NEW_RECORD_FILE: &str = "state.json.new";
const FIFO: &str = "exec.fifo";

/// What a container's directory says.
#[derive(Debug)]
pub enum Content {
    Record(Box<Record>),
    /// No record, or one cut short: a create was killed, or the machine went down.
    Torn,
}

/// The directory of one container.
#[derive(Debug)]
pub struct Entry {
    parent: Arc<OwnedFd>,
    dir: OwnedFd,
    path: PathBuf,
    id: String,
    /// `None`: made by this process.
    owner: Option<u32>,
    content: Content,
    /// This value holds the lock.
    held: AtomicBool,
}

impl Entry {
    /// A directory that was just made: takes the lock and writes the record as the intent.
    pub(super) fn claimed(
        parent: Arc<OwnedFd>,
        dir: OwnedFd,
        path: PathBuf,
        record: &Record,
    ) -> Result<Entry, Error> {
        let content = Content::Record(Box::new(record.clone()));
        let entry = Entry {
            parent,
            dir,
            path,
            id: record.id.clone(),
            owner: None,
            content,
            held: AtomicBool::new(false),
        };
        if !entry.try_lock()? {
            // A forced delete found the directory without a record and is removing it.
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                "container with given ID already exists",
            ));
        }
        entry.write_first(record)?;
        Ok(entry)
    }

    /// A directory that is there. Errors: as [`Entry::reload`].
    pub(super) fn open(
        parent: Arc<OwnedFd>,
        dir: OwnedFd,
        path: PathBuf,
        id: &str,
    ) -> Result<Entry, Error> {
        let owner = fstat(&dir)
            .map_err(|errno| Refused::new("fstat", &path, errno))?
            .st_uid;
        let (id, owner) = (id.to_owned(), Some(owner));
        let mut entry = Entry {
            parent,
            dir,
            path,
            id,
            owner,
            content: Content::Torn,
            held: AtomicBool::new(false),
        };
        entry.reload()?;
        Ok(entry)
    }

    /// The record; `None` when it is torn.
    pub fn record(&self) -> Option<&Record> {
        match &self.content {
            Content::Record(record) => Some(record),
            Content::Torn => None,
        }
    }

    /// The user whose container this is.
    pub fn owner(&self) -> u32 {
        self.owner
            .unwrap_or_else(|| rustix::process::geteuid().as_raw())
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Gives up the lock of a directory that was removed: the fd that holds it can shut nobody out any more.
    pub fn forget_lock(&self) {
        self.held.store(false, Ordering::Relaxed);
    }

    /// Gives the lock back.
    pub fn unlock(&self) {
        // It fails only for a bad fd; closing it frees the lock too.
        let _ = flock(&self.dir, FlockOperation::Unlock);
        self.held.store(false, Ordering::Release);
    }

    /// The container's directory on the host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn directory(&self) -> impl AsFd + '_ {
        &self.dir
    }

    /// Reads the record again, after the lock was taken or time has passed.
    /// Errors: Unsupported for a record of another version; NotFound when the container was removed meanwhile.
    pub fn reload(&mut self) -> Result<(), Error> {
        self.content = self.read()?;
        Ok(())
    }

    /// The record as it is on disk now; `None` when it is torn. Errors: as [`Entry::reload`].
    pub fn fresh_record(&self) -> Result<Option<Record>, Error> {
        match self.read()? {
            Content::Record(record) => Ok(Some(*record)),
            Content::Torn => Ok(None),
        }
    }

    fn read(&self) -> Result<Content, Error> {
        match read_plain(&self.dir, RECORD_FILE) {
            Ok(text) => parse(&text, &self.path),
            Err(Errno::NOENT) if fstat(&self.dir).is_ok_and(|stat| stat.st_nlink == 0) => {
                Err(Error::new(ErrorKind::NotFound, "container does not exist"))
            }
            Err(Errno::NOENT) => Ok(Content::Torn),
            Err(errno) => Err(Refused::new("read", self.path.join(RECORD_FILE), errno).into()),
        }
    }

    /// Takes the lock, waiting until the deadline. It is held until `unlock` or until this value is dropped, and freed by the kernel when
    /// the process dies; one value has it once, also in several threads.
    /// Errors: WrongStatus when somebody else holds it; Internal when the directory belongs to another user.
    pub fn lock(&self, deadline: Instant) -> Result<(), Error> {
        while !self.try_lock()? {
            if Instant::now() >= deadline {
                return Err(Error::new(
                    ErrorKind::WrongStatus,
                    format!("container {} is in use by another command", self.id),
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Result<bool, Error> {
        if self
            .owner
            .is_some_and(|owner| owner != rustix::process::geteuid().as_raw())
        {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("{} belongs to another user", self.path.display()),
            ));
        }
        // flock(2) shuts out other open file descriptions; this does it for the other threads that share ours.
        if self.held.swap(true, Ordering::Acquire) {
            return Ok(false);
        }
        retry(|| flock(&self.dir, FlockOperation::NonBlockingLockExclusive))
            .map(|()| true)
            .or_else(|errno| {
                self.held.store(false, Ordering::Release);
                match errno {
                    Errno::WOULDBLOCK => Ok(false),
                    errno => Err(Refused::new("flock", &self.path, errno).into()),
                }
            })
    }

    /// Whether no other command holds the lock, which is what a container being made shows by.
    fn lock_is_free(&self) -> Result<bool, Error> {
        if self.held.load(Ordering::Relaxed) {
            return Ok(true);
        }
        // Through a description of its own, whose lock goes with it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let refused = |call: &'static str| move |errno| Refused::new(call, &self.path, errno);
        let directory = openat(&self.dir, c".", flags, Mode::empty()).map_err(refused("open"))?;
        match retry(|| flock(&directory, FlockOperation::NonBlockingLockShared)) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(refused("flock")(errno).into()),
        }
    }

    /// Whether nothing of the container can live: its record is torn or from before a reboot. The lock says whether it may be removed.
    pub fn is_leftover(&self, host: &Host) -> Result<bool, Error> {
        match self.record() {
            Some(record) => Ok(record.boot_id != host.boot_id()?),
            None => Ok(true),
        }
    }

    /// What the container is doing. Reads only what concerns this one container.
    pub fn status(&self, host: &Host) -> Result<Status, Error> {
        let Some(record) = self.record() else {
            return Ok(Status::Stopped);
        };
        if record.boot_id != host.boot_id()? {
            return Ok(Status::Stopped);
        }
        if record.phase == Phase::Creating {
            // Who makes it holds the lock, which the kernel takes back at its death.
            if !self.lock_is_free()? {
                return Ok(Status::Creating);
            }
            return Ok(Status::Stopped);
        }
        if !is_alive(host, record.init_process_pid, record.init_process_start)? {
            return Ok(Status::Stopped);
        }
        // Only what can be frozen is asked about: a cgroup that goes away under us means that init is going too.
        if Cgroup::open(&record.cgroups, record.token.as_str())?.frozen()? {
            return Ok(Status::Paused);
        }
        Ok(if self.open_fifo()?.is_some() {
            Status::Created
        } else {
            Status::Running
        })
    }

    /// Tells a waiting init to go on. `false`: none waits; it was started already, or is dead.
    pub fn start(&self) -> Result<bool, Error> {
        let Some(fifo) = self.open_fifo()? else {
            return Ok(false);
        };
        let refused = |call: &'static str| {
            move |errno: Errno| Error::from(Refused::new(call, self.path.join(FIFO), errno))
        };
        retry(|| write(&fifo, b"0")).map_err(refused("write"))?;
        match unlinkat(&self.dir, FIFO, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(errno) => Err(refused("unlink")(errno)),
        }
    }

    /// The start fifo, if init waits at its other end. Opening it so never blocks and wakes nobody.
    fn open_fifo(&self) -> Result<Option<OwnedFd>, Error> {
        match openat(
            &self.dir,
            FIFO,
            OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(fifo) => Ok(Some(fifo)),
            Err(Errno::NXIO | Errno::NOENT) => Ok(None),
            Err(errno) => Err(Refused::new("open", self.path.join(FIFO), errno).into()),
        }
    }

    /// Replaces the record. The caller holds the lock.
    pub fn update(&mut self, record: Record) -> Result<(), Error> {
        self.save(&record)?;
        self.content = Content::Record(Box::new(record));
        Ok(())
    }

    /// The same on disk only: what this value knows of the container is still true.
    pub fn save(&self, record: &Record) -> Result<(), Error> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.write_record(NEW_RECORD_FILE, flags, record)?;
        renameat(&self.dir, NEW_RECORD_FILE, &self.dir, RECORD_FILE)
            .map_err(|errno| Refused::new("rename", self.path.join(RECORD_FILE), errno).into())
    }

    fn write_first(&self, record: &Record) -> Result<(), Error> {
        self.write_record(
            RECORD_FILE,
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
            record,
        )
    }

    fn write_record(&self, name: &str, flags: OFlags, record: &Record) -> Result<(), Error> {
        let text = serde_json::to_vec(record)
            .map_err(|error| Error::new(ErrorKind::InvalidConfig, error))?;
        let refused = |call: &'static str| {
            move |errno: Errno| Error::from(Refused::new(call, self.path.join(name), errno))
        };
        let file =
            openat(&self.dir, name, flags, Mode::from_raw_mode(0o600)).map_err(refused("open"))?;
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let length = retry(|| write(&file, rest)).map_err(refused("write"))?;
            rest = &rest[length..];
        }
        Ok(())
    }

    /// Makes the start fifo and opens it for the stage, which so is reader and writer of its own and never sees end of file.
    pub(super) fn make_fifo(&self) -> Result<OwnedFd, Error> {
        let refused = |call: &'static str| {
            move |errno: Errno| Error::from(Refused::new(call, self.path.join(FIFO), errno))
        };
        rustix::fs::mkfifoat(&self.dir, FIFO, Mode::from_raw_mode(0o622))
            .map_err(refused("mkfifo"))?;
        openat(
            &self.dir,
            FIFO,
            OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(refused("open"))
    }

    /// Removes the directory with all that is in it. The container's other remains must be gone: after this nobody knows of them.
    pub fn remove(&self) -> Result<(), Error> {
        self.remove_files()
    }

    pub(super) fn remove_files(&self) -> Result<(), Error> {
        let refused = |call: &'static str| {
            move |errno: Errno| Error::from(Refused::new(call, &self.path, errno))
        };
        for attempt in 0..3 {
            // The record goes first: what is left of a removal that is killed here is a leftover, which anybody may finish.
            let _ = unlinkat(&self.dir, RECORD_FILE, AtFlags::empty());
            match unlinkat(&self.parent, self.id.as_str(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) if attempt < 2 => {
                    remove_content(&self.dir).map_err(refused("unlink"))?
                }
                Err(errno) => return Err(refused("rmdir")(errno)),
            }
        }
        Ok(())
    }
}

/// Whether the process that had this pid and start time still runs.
fn is_alive(host: &Host, pid: i32, start: u64) -> Result<bool, Error> {
    Ok(pid > 0
        && host
            .process(pid)?
            .is_some_and(|stat| stat.start_time == start && !stat.is_dead()))
}

fn parse(text: &[u8], path: &Path) -> Result<Content, Error> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        garboard: u32,
    }
    match serde_json::from_slice::<Record>(text) {
        Ok(record) if record.garboard == VERSION => Ok(Content::Record(Box::new(record))),
        _ => match serde_json::from_slice::<Versioned>(text) {
            Ok(Versioned { garboard }) if garboard != VERSION => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{}: a record of version {garboard}, this program knows version {VERSION}",
                    path.display()
                ),
            )),
            _ => Ok(Content::Torn),
        },
    }
}

/// Removes the files in a directory, and its sub-directories (`notify/`) with theirs.
fn remove_content(directory: &OwnedFd) -> Result<(), Errno> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {
                let child = openat(
                    directory,
                    name,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                remove_content(&child)?;
                unlinkat(directory, name, AtFlags::REMOVEDIR)?;
            }
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
