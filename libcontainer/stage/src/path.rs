//! Paths inside the container: every look-up goes through openat2 below the rootfs fd, every creation through the fd of the parent directory.
//!
//! The content of the rootfs is hostile (R1): a symlink may stand anywhere, and a process of another container may swap it while we
//! look. Hence no path is ever checked and then used; what is used is the fd that the check opened.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fd::AsFd;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, openat, openat2, readlinkat_raw,
    statat,
};
use rustix::io::Errno;

use crate::fault::{Fault, On, Result};
use crate::message::Call;
use crate::sys::Scratch;

/// PATH_MAX, the NUL included.
pub const PATH_MAX: usize = 4096;

/// openat2 gives EAGAIN while somebody renames or mounts on the way; a container that does so for ever gets an error instead of our time.
const ATTEMPTS: usize = 128;

/// Opens `path` as the container will see it: symlinks stay inside `root`, magic links of procfs are refused.
pub fn open(root: impl AsFd, path: &CStr, flags: OFlags) -> core::result::Result<Scratch, Errno> {
    open_as(root, path, flags, ResolveFlags::NO_MAGICLINKS)
}

fn open_as(
    root: impl AsFd,
    path: &CStr,
    flags: OFlags,
    restriction: ResolveFlags,
) -> core::result::Result<Scratch, Errno> {
    let path = if path.is_empty() { c"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | restriction;
    for _ in 0..ATTEMPTS {
        match openat2(
            root.as_fd(),
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        ) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result.map(Scratch::from),
        }
    }
    Err(Errno::AGAIN)
}

/// The object itself, without opening it: opening an unknown device or fifo acts on it.
pub fn look(root: impl AsFd, path: &CStr) -> core::result::Result<Scratch, Errno> {
    open(root, path, OFlags::PATH)
}

/// What `fd` is.
pub fn stat(fd: impl AsFd) -> Result<Stat> {
    statat(fd, c"", AtFlags::EMPTY_PATH).on(Call::Stat)
}

/// The file type of `fd`.
pub fn kind(fd: impl AsFd) -> Result<FileType> {
    Ok(FileType::from_raw_mode(stat(fd)?.st_mode))
}

/// A path with its NUL in memory of our own, for cutting it at a slash.
pub struct Buffer {
    bytes: [u8; PATH_MAX],
}

impl Buffer {
    /// A copy of `path`.
    pub fn new(path: &[u8]) -> Result<Buffer> {
        let mut bytes = [0; PATH_MAX];
        // One place stays free for the NUL.
        let space = bytes
            .get_mut(..path.len())
            .filter(|_| path.len() < PATH_MAX);
        space
            .ok_or(Fault::check(Errno::NAMETOOLONG))?
            .copy_from_slice(path);
        Ok(Buffer { bytes })
    }

    /// What follows the first `end` bytes.
    fn rest(&self, end: usize) -> &[u8] {
        self.as_c_str().to_bytes().get(end..).unwrap_or(&[])
    }

    /// The path with the symlink that stands `at` bytes behind `end` replaced by its content: from the root, or from its directory.
    fn redirect(&self, end: usize, at: usize, content: &[u8]) -> Result<Buffer> {
        let bytes = self.as_c_str().to_bytes();
        let link = end.saturating_add(at);
        let before = if content.starts_with(b"/") {
            &[]
        } else {
            bytes.get(..link).unwrap_or(&[])
        };
        let name = bytes.get(link..).unwrap_or(&[]);
        let name = name.strip_prefix(b"/").unwrap_or(name);
        let after = name
            .iter()
            .position(|&byte| byte == b'/')
            .and_then(|slash| name.get(slash..));
        let mut path = Buffer::new(before)?;
        for part in [b"/".as_slice(), content, after.unwrap_or(&[])] {
            path.push(part).ok_or(Fault::check(Errno::NAMETOOLONG))?;
        }
        Ok(path)
    }

    /// Appends `part`; `None` when there is no room for it.
    pub fn push(&mut self, part: &[u8]) -> Option<()> {
        let used = self.as_c_str().to_bytes().len();
        let end = used.checked_add(part.len()).filter(|&end| end < PATH_MAX)?;
        self.bytes.get_mut(used..end)?.copy_from_slice(part);
        Some(())
    }

    /// The string up to its first NUL.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// `a/b/c` as `a/b` and `c`.
pub fn split(path: &CStr) -> (&[u8], &[u8]) {
    split_bytes(path.to_bytes())
}

fn split_bytes(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => {
            let (parent, name) = bytes.split_at(slash);
            (parent, name.get(1..).unwrap_or(&[]))
        }
        None => (&[], bytes),
    }
}

/// The directory `path`, made (mode 0755, with its parents) where it is missing. The fd is an O_PATH one.
pub fn make_directory(root: impl AsFd, path: &CStr) -> Result<Scratch> {
    match open(root.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => make_missing(root, path),
        result => result.on(Call::Open),
    }
}

/// The directory `path`, made where missing, that no symlink leads to: who could swap one would decide what lies below it.
pub fn make_ordinary_directory(root: impl AsFd, path: &CStr) -> Result<Scratch> {
    let ordinary = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        open_as(root.as_fd(), path, flags, ResolveFlags::NO_SYMLINKS)
    };
    match ordinary() {
        Err(Errno::NOENT) => {
            make_missing(root.as_fd(), path)?;
            ordinary().on(Call::Open)
        }
        Err(Errno::LOOP) => Err(Fault::check(Errno::LOOP)),
        result => result.on(Call::Open),
    }
}

/// Up to the deepest directory that exists, always looked up from the root, so that a symlink on the way means what it will mean to the
/// container; then down again by names.
fn make_missing(root: impl AsFd, path: &CStr) -> Result<Scratch> {
    let mut path = Buffer::new(path.to_bytes())?;
    let mut link = Buffer::new(b"")?;
    // A symlink to nowhere is followed: its target, taken from the root, is made in its place (as runc does). A chain of them ends here.
    for _ in 0..LINKS_MAX {
        let (current, end) = deepest(root.as_fd(), &path)?;
        match make_names(&current, path.rest(end), &mut link)? {
            Made::Directory(directory) => return Ok(directory.unwrap_or(current)),
            Made::Link { at } => path = path.redirect(end, at, link.as_c_str().to_bytes())?,
        }
    }
    Err(Fault::new(Call::Open, Errno::LOOP))
}

/// MAXSYMLINKS of the kernel is 40; nobody makes chains of dangling links that long.
const LINKS_MAX: usize = 8;

/// The deepest directory on the way to `path` that exists, and the length of its path.
fn deepest(root: impl AsFd, path: &Buffer) -> Result<(Scratch, usize)> {
    let bytes = path.as_c_str().to_bytes();
    let mut end = bytes.len();
    loop {
        let (prefix, _) = split_bytes(bytes.get(..end).unwrap_or(bytes));
        end = prefix.len();
        let prefix = Buffer::new(prefix)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match open(root.as_fd(), prefix.as_c_str(), flags) {
            Err(Errno::NOENT) if end > 0 => {}
            result => return Ok((result.on(Call::Open)?, end)),
        }
    }
}

enum Made {
    /// The last directory; `None`: there was nothing to make.
    Directory(Option<Scratch>),
    /// A dangling symlink stands in the way, `at` bytes into the names.
    Link { at: usize },
}

/// Makes the directories `names` below `current`. `link` is given the content of a symlink that stands in the way.
fn make_names(current: &Scratch, names: &[u8], link: &mut Buffer) -> Result<Made> {
    let mut made: Option<Scratch> = None;
    let mut at = 0usize;
    for name in names.split(|&byte| byte == b'/') {
        let start = at;
        at = at.saturating_add(name.len()).saturating_add(1);
        match name {
            b"" => continue,
            // Only a symlink's target can hold one, and there is nothing to go up from.
            b"." | b".." => return Err(Fault::new(Call::Mkdir, Errno::NOENT)),
            _ => {}
        }
        let name = Buffer::new(name)?;
        let parent = made.as_ref().unwrap_or(current).as_fd();
        match mkdirat(parent, name.as_c_str(), Mode::from_raw_mode(0o755)) {
            // EEXIST: another start on the same rootfs was quicker, or a symlink stands here.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Fault::new(Call::Mkdir, errno)),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(parent, name.as_c_str(), flags, Mode::empty()) {
            Ok(directory) => made = Some(directory.into()),
            Err(errno) => {
                let mut content = [MaybeUninit::uninit(); PATH_MAX];
                let (content, _) = readlinkat_raw(parent, name.as_c_str(), &mut content)
                    .map_err(|_| Fault::new(Call::Open, errno))?;
                *link = Buffer::new(content)?;
                return Ok(Made::Link { at: start });
            }
        }
    }
    Ok(Made::Directory(made))
}

/// The parent directory of `path` (made where missing) and the last name.
pub fn make_parent(root: impl AsFd, path: &CStr) -> Result<(Scratch, Buffer)> {
    let (parent, name) = split(path);
    let parent = Buffer::new(parent)?;
    Ok((make_directory(root, parent.as_c_str())?, Buffer::new(name)?))
}

/// A mount target of the given kind: what exists is taken, whatever it is (the kernel refuses a directory on a file); what is missing is made.
pub fn make_target(root: impl AsFd, path: &CStr, directory: bool) -> Result<Scratch> {
    if directory {
        return make_directory(root, path);
    }
    match look(root.as_fd(), path) {
        Err(Errno::NOENT) => {}
        result => return result.on(Call::Open),
    }
    let (parent, name) = make_parent(root, path)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(&parent, name.as_c_str(), flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Fault::new(Call::Open, errno)),
    }
    openat(
        &parent,
        name.as_c_str(),
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map(Scratch::from)
    .on(Call::Open)
}
