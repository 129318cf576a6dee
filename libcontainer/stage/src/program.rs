//! The program at the end: where it is, what HOME is, and exec.

use core::ffi::{CStr, c_char};

use rustix::fd::OwnedFd;
use rustix::fs::{Access, AtFlags, CWD, FileType, OFlags, accessat, statat};
use rustix::io::{Errno, read};

use crate::fault::{Fault, On, Result};
use crate::message::Call;
use crate::path::{self, Buffer, PATH_MAX};
use crate::sys;
use crate::wire::List;

/// A null-terminated array of strings, as execve takes it.
pub type Table = &'static [*const c_char];

/// The strings of `list` as exec takes them.
pub fn table(list: List<'_>) -> Result<Table> {
    let table = sys::pointers(list.len().saturating_add(1)).on(Call::Mmap)?;
    sys::fill(table, list.iter());
    Ok(table)
}

/// What execve would say to `path`: the checks of Go's LookPath, in its order, since engines match on what comes of them.
fn executable(path: &CStr) -> core::result::Result<(), Fault> {
    let stat = statat(CWD, path, AtFlags::empty()).on(Call::Stat)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Fault::new(Call::Access, Errno::ISDIR));
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).on(Call::Access)
}

/// Finds `name` as the user whom we already are. A fault of [`Call::Check`] with ENOENT means: nowhere in PATH.
pub fn find(name: &CStr, search: &CStr) -> Result<Buffer> {
    if name.to_bytes().contains(&b'/') {
        executable(name)?;
        return Buffer::new(name.to_bytes());
    }
    let mut candidate = [0u8; PATH_MAX];
    for directory in search
        .to_bytes()
        .split(|&byte| byte == b':')
        .filter(|_| !search.is_empty())
    {
        // An empty element is the working directory (POSIX).
        let directory = if directory.is_empty() {
            b"."
        } else {
            directory
        };
        let Some(length) = join(&mut candidate, directory, name.to_bytes()) else {
            continue;
        };
        let buffer = Buffer::new(candidate.get(..length).unwrap_or(&[]))?;
        if executable(buffer.as_c_str()).is_ok() {
            return Ok(buffer);
        }
    }
    Err(Fault::check(Errno::NOENT))
}

fn join(buffer: &mut [u8; PATH_MAX], directory: &[u8], name: &[u8]) -> Option<usize> {
    let mut length = 0usize;
    for byte in directory.iter().chain(b"/").chain(name) {
        *buffer.get_mut(length)? = *byte;
        length = length.checked_add(1)?;
    }
    Some(length)
}

/// Largest /etc/passwd that is read: an image may hold a sparse one of terabytes (CVE-2026-47262).
const PASSWD_MAX: usize = 1 << 20;

/// `HOME=` and the home directory of `uid` in the container's /etc/passwd; `/` without an entry.
pub fn home(root: Option<&OwnedFd>, uid: u32) -> Buffer {
    let mut home = [0u8; 1024];
    let found = root
        .and_then(|root| read_home(root, uid, &mut home))
        .filter(|&length| length > 0);
    let directory = found.and_then(|length| home.get(..length)).unwrap_or(b"/");
    let mut text = [0u8; 1032];
    let mut length = 0usize;
    for byte in b"HOME=".iter().chain(directory) {
        if let Some(place) = text.get_mut(length) {
            *place = *byte;
            length = length.saturating_add(1);
        }
    }
    Buffer::new(text.get(..length).unwrap_or(b"HOME=/")).unwrap_or_else(|_| sys::exit(1))
}

/// Reads `name:password:uid:gid:comment:home:shell` lines as a stream, so that no line can be too long for us.
fn read_home(root: &OwnedFd, uid: u32, home: &mut [u8; 1024]) -> Option<usize> {
    // A fifo or a device in its place must neither block nor be read.
    let file = path::open(
        root,
        c"etc/passwd",
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
    )
    .ok()?;
    if path::kind(&file).ok()? != FileType::RegularFile {
        return None;
    }
    let mut buffer = [0u8; 4096];
    let mut line = Line::default();
    let mut total = 0usize;
    while total < PASSWD_MAX {
        let length = read(&file, &mut buffer).ok()?;
        // The last line may lack its newline.
        let bytes = if length == 0 {
            b"\n"
        } else {
            buffer.get(..length)?
        };
        for &byte in bytes {
            match byte {
                b'\n' => {
                    if line.uid == Some(uid) && line.field >= 5 {
                        return Some(line.home);
                    }
                    line = Line::default();
                }
                b':' => line.next_field(),
                byte => line.push(byte, home),
            }
        }
        if length == 0 {
            return None;
        }
        total = total.saturating_add(length);
    }
    None
}

/// How far a line of passwd has been read.
#[derive(Default)]
struct Line {
    field: u8,
    number: Option<u32>,
    bad: bool,
    uid: Option<u32>,
    home: usize,
}

impl Line {
    fn next_field(&mut self) {
        if self.field == 2 && !self.bad {
            self.uid = self.number;
        }
        self.field = self.field.saturating_add(1);
    }

    fn push(&mut self, byte: u8, home: &mut [u8; 1024]) {
        match self.field {
            2 => {
                let digit = char::from(byte).to_digit(10);
                let number = digit
                    .and_then(|digit| self.number.unwrap_or(0).checked_mul(10)?.checked_add(digit));
                self.bad |= number.is_none();
                self.number = number;
            }
            5 => {
                if let Some(place) = home.get_mut(self.home) {
                    *place = byte;
                    self.home = self.home.saturating_add(1);
                }
            }
            _ => {}
        }
    }
}

/// The words for what exec can fail with, as runc prints them on the container's stderr.
pub fn text(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => "no such file or directory",
        Errno::ACCESS => "permission denied",
        Errno::PERM => "operation not permitted",
        Errno::NOEXEC => "exec format error",
        Errno::ISDIR => "is a directory",
        Errno::NOTDIR => "not a directory",
        Errno::LOOP => "too many levels of symbolic links",
        Errno::NOMEM => "cannot allocate memory",
        Errno::TOOBIG => "argument list too long",
        Errno::TXTBSY => "text file busy",
        Errno::IO => "input/output error",
        Errno::LIBBAD => "accessing a corrupted shared library",
        Errno::AGAIN => "resource temporarily unavailable",
        _ => "the kernel refused it",
    }
}

/// What the program is given, as execve takes it.
pub struct Image {
    arguments: Table,
    environment: Table,
}

/// Lays out arguments and environment; `home` is an entry more.
pub fn image(args: List<'_>, env: List<'_>, home: Option<&Buffer>) -> Result<Image> {
    // One mapping for both tables: each ends in a null, as all of the memory is zero.
    let arguments = args.len().saturating_add(1);
    let words = arguments.saturating_add(env.len()).saturating_add(2);
    let (arguments, environment) = sys::pointers(words)
        .on(Call::Mmap)?
        .split_at_mut_checked(arguments)
        .ok_or(Fault::new(Call::Mmap, Errno::NOMEM))?;
    sys::fill(arguments, args.iter());
    sys::fill(environment, env.iter().chain(home.map(Buffer::as_c_str)));
    Ok(Image {
        arguments,
        environment,
    })
}

/// Executes `program`; returns only on failure.
pub fn exec(program: &CStr, image: &Image) -> Fault {
    Fault::new(
        Call::Execve,
        sys::execve(program, image.arguments, image.environment),
    )
}
