//! A bundle: a directory with a `config.json`. Its directory is opened once; the files in it are read through that fd.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::config::Config;
use crate::error::{Error, ErrorKind, Refused};
use crate::host::Host;
use crate::kernel_file::retry;

/// The largest config.json that is read, in bytes: a device or an endless file in its place must not fill our memory.
const CONFIG_MAX: u64 = 64 << 20;

/// An opened bundle.
#[derive(Debug)]
pub struct Bundle {
    directory: OwnedFd,
    path: PathBuf,
}

impl Bundle {
    /// Opens the directory. A relative path is taken from the working directory, and made absolute for state and hooks.
    /// Errors: NotFound, Refused.
    pub fn open(path: &Path) -> Result<Bundle, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())
            .map_err(|errno| Refused::new("open the bundle", path, errno))?;
        // Not the errno's words: engines would take them for a missing program.
        let path = std::path::absolute(path).map_err(|_| {
            Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "bundle {}: the working directory that it is relative to was removed",
                    path.display()
                ),
            )
        })?;
        Ok(Bundle { directory, path })
    }

    /// Writes `spec` into the directory as its config.json (0600), and opens it. The text then goes through the validation of any other:
    /// a `Spec` has no right to be trusted more. Errors: NotFound; AlreadyExists when there is a config.json; Refused.
    #[cfg(feature = "oci-spec")]
    pub fn from_spec(path: &Path, spec: &oci_spec::runtime::Spec) -> Result<Bundle, Error> {
        let bundle = Bundle::open(path)?;
        let text = serde_json::to_vec(spec).map_err(|e| Error::new(ErrorKind::InvalidConfig, e))?;
        let name = bundle.path.join("config.json");
        let refused = |call: &'static str| {
            let name = name.clone();
            move |errno: Errno| match errno {
                Errno::EXIST => Error::new(ErrorKind::AlreadyExists, "config.json exists"),
                errno => Refused::new(call, name, errno).into(),
            }
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(
            &bundle.directory,
            c"config.json",
            flags,
            Mode::from_raw_mode(0o600),
        )
        .map_err(refused("open"))?;
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let count = retry(|| rustix::io::write(&file, rest)).map_err(refused("write"))?;
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(bundle)
    }

    /// Absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of `config.json`. Errors: NotFound with runc's text; InvalidConfig when it is no regular file.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        let refused = |call: &'static str| {
            let path = self.path.join("config.json");
            move |errno: Errno| match errno {
                Errno::NOENT => Error::new(
                    ErrorKind::NotFound,
                    "JSON specification file config.json not found",
                ),
                errno => Refused::new(call, path, errno).into(),
            }
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(&self.directory, c"config.json", flags, Mode::empty())
            .map_err(refused("open"))?;
        let stat = fstat(&file).map_err(refused("fstat"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "config.json is not a regular file",
            ));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size > CONFIG_MAX {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("config.json has {size} bytes, more than {CONFIG_MAX}"),
            ));
        }
        // One byte more than the size, so that a file of that size needs no second read to show its end.
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0) + 1];
        let mut length = 0;
        while length < bytes.len() {
            match retry(|| rustix::io::read(file.as_fd(), &mut bytes[length..]))
                .map_err(refused("read"))?
            {
                0 => break,
                count => length += count,
            }
            if length as u64 == size {
                break;
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Whether config.json is one that create would accept on this machine, as far as can be said without doing it. Returns warnings, a
    /// sentence each. Errors: as [`crate::Runtime::create`] for the same bundle.
    pub fn check(&self) -> Result<Vec<String>, Error> {
        Ok(self.parse(&Host::new())?.warnings)
    }

    /// Reads and validates. Errors: every one of the file at once, each with its pointer.
    pub(crate) fn parse(&self, host: &Host) -> Result<Config, Error> {
        let document = self.read()?;
        Ok(Config::parse(
            &document,
            &self.path,
            &host.facts_for(&document)?,
        )?)
    }
}
