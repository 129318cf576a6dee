//! The runtime options of a task: what containerd's configuration, or `ctr --runc-root` and its like, say about the runtime.
//!
//! They come as an `Any` in one of two messages (containerd, api/types/runc/options and api/types/runtimeoptions): runc's own, or, for a
//! runtime of another name, a general one that carries the lines of containerd's TOML file. Both are read into one [`Options`]. A
//! message of another type and a TOML key that nobody knows are refused: an option that is dropped silently is one that is believed in.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use containerd_shim_protos::shim::oci;
use protobuf::well_known_types::any::Any;
use protobuf::{CodedInputStream, Message as _};
use rustix::fs::{Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Where the state of containers lies if no root is given: not runc's, so that neither lists the other's containers.
const ROOT: &str = "/run/containerd/garboard";
const RUNC: &str = "containerd.runc.v1.Options";
/// The name of containerd 1.6 and later; before, it began with `cri.`
const GENERAL: &str = "runtimeoptions.v1.Options";
const FILE: &str = "options.json";

/// What of the options has an effect here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The state root, with the containerd namespace: two namespaces may have a container of the same id.
    pub root: PathBuf,
    /// Cgroups are made by systemd.
    pub systemd_cgroup: bool,
    /// The root is changed without pivot_root, which an initramfs cannot do.
    pub no_pivot: bool,
    /// The container shares the session keyring of containerd.
    pub no_new_keyring: bool,
    /// The cgroup that the shim itself joins.
    pub shim_cgroup: Option<PathBuf>,
    /// The owner of the pipes that a process gets as stdio.
    pub io_uid: u32,
    /// Their group.
    pub io_gid: u32,
}

/// Why options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither of the two messages.
    #[error("runtime options of type {0:?}: neither {RUNC} nor {GENERAL}")]
    Type(String),
    /// Bytes that are not of their type.
    #[error("runtime options: {0}")]
    Message(#[from] protobuf::Error),
    /// The lines of containerd's configuration.
    #[error("runtime options in containerd's configuration: {0}")]
    Toml(#[from] basic_toml::Error),
    /// A key of them that nobody knows.
    #[error("runtime options in containerd's configuration: {0:?} is no option")]
    Key(String),
    /// `ConfigPath` names a file that cannot be read.
    #[error("runtime options: read {}: {source}", path.display())]
    ConfigPath {
        /// As it is written in the options.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state root would depend on the working directory.
    #[error("runtime options: root {} is not an absolute path", .0.display())]
    Root(PathBuf),
    /// containerd allows letters, digits and `_.-` in the name of a namespace.
    #[error("namespace {0:?} is no name for a directory")]
    Namespace(String),
    /// The copy in the bundle.
    #[error("{call} {FILE} in the bundle: {errno}")]
    File {
        /// What was tried.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The copy in the bundle is not what was written.
    #[error("{FILE} in the bundle: {0}")]
    Json(#[from] serde_json::Error),
}

impl Options {
    /// Reads the options of a task. None, and an `Any` without a type, are the defaults.
    pub fn from_any(any: Option<&Any>, namespace: &str) -> Result<Options, Error> {
        let said = match any {
            None => oci::Options::new(),
            Some(any) if any.type_url.is_empty() => oci::Options::new(),
            Some(any) => match type_of(any) {
                RUNC => oci::Options::parse_from_bytes(&any.value)?,
                GENERAL => General::parse(&any.value)?.read()?,
                _ => return Err(Error::Type(any.type_url.clone())),
            },
        };
        Options::new(said, namespace)
    }

    /// The options of a task that has none.
    pub fn default_of(namespace: &str) -> Result<Options, Error> {
        Options::from_any(None, namespace)
    }

    fn new(said: oci::Options, namespace: &str) -> Result<Options, Error> {
        let mut parts = Path::new(namespace).components();
        let one = (parts.next(), parts.next());
        if !matches!(one, (Some(Component::Normal(name)), None) if name == namespace) {
            return Err(Error::Namespace(namespace.to_owned()));
        }
        let root = match said.root.as_str() {
            "" => Path::new(ROOT),
            root => Path::new(root),
        };
        if !root.is_absolute() {
            return Err(Error::Root(root.to_owned()));
        }
        Ok(Options {
            root: root.join(namespace),
            systemd_cgroup: said.systemd_cgroup,
            no_pivot: said.no_pivot_root,
            no_new_keyring: said.no_new_keyring,
            shim_cgroup: Some(said.shim_cgroup)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            io_uid: said.io_uid,
            io_gid: said.io_gid,
        })
    }

    /// Leaves a copy in the bundle, for a `delete` after the shim was killed. A kill in the middle leaves no half of one.
    pub fn save(&self, bundle: &Path) -> Result<(), Error> {
        let failed = |call| move |errno| Error::File { call, errno };
        let bundle = open_bundle(bundle).map_err(failed("open"))?;
        let text = serde_json::to_vec(self)?;
        const NEW: &str = ".options.json";
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let create = || openat(&bundle, NEW, flags, Mode::from_raw_mode(0o600));
        let file = match create() {
            // Of a shim that was killed in the middle.
            Err(Errno::EXIST) => unlinkat(&bundle, NEW, rustix::fs::AtFlags::empty())
                .and_then(|()| create())
                .map_err(failed("create"))?,
            file => file.map_err(failed("create"))?,
        };
        io::Write::write_all(&mut std::fs::File::from(file), &text).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            failed("write")(errno)
        })?;
        renameat(&bundle, NEW, &bundle, FILE).map_err(failed("rename"))
    }

    /// The copy in the bundle; None if there is none.
    pub fn load(bundle: &Path) -> Result<Option<Options>, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            open_bundle(bundle).and_then(|bundle| openat(&bundle, FILE, flags, Mode::empty()));
        match file {
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::File {
                call: "open",
                errno,
            }),
            Ok(file) => Ok(Some(serde_json::from_reader(std::fs::File::from(file))?)),
        }
    }
}

/// Whether a message is one of the two.
pub fn are_options(any: &Any) -> bool {
    matches!(type_of(any), RUNC | GENERAL)
}

fn type_of(any: &Any) -> &str {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    name.strip_prefix("cri.").unwrap_or(name)
}

fn open_bundle(bundle: &Path) -> Result<rustix::fd::OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(bundle, flags, Mode::empty())
}

/// `runtimeoptions.v1.Options`: 1 type_url (of the configuration, for nobody but the reader), 2 config_path, 3 config_body.
#[derive(Debug, Default)]
struct General {
    config_path: String,
    config_body: Vec<u8>,
}

impl General {
    fn parse(bytes: &[u8]) -> Result<General, Error> {
        let mut general = General::default();
        let mut input = CodedInputStream::from_bytes(bytes);
        while let Some(tag) = input.read_raw_tag_or_eof()? {
            const LENGTH_DELIMITED: u32 = 2;
            match (tag >> 3, tag & 7) {
                (2, LENGTH_DELIMITED) => general.config_path = input.read_string()?,
                (3, LENGTH_DELIMITED) => general.config_body = input.read_bytes()?,
                _ => protobuf::rt::skip_field_for_tag(tag, &mut input)?,
            }
        }
        Ok(general)
    }

    fn read(self) -> Result<oci::Options, Error> {
        if self.config_path.is_empty() {
            return Ok(Toml::parse(&self.config_body)?.into());
        }
        let text = std::fs::read(&self.config_path).map_err(|source| Error::ConfigPath {
            path: self.config_path.into(),
            source,
        })?;
        Ok(Toml::parse(&text)?.into())
    }
}

/// The keys of runc's options in containerd's configuration, which is where people copy them from, and the names of the message.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Toml {
    #[serde(alias = "root")]
    root: String,
    #[serde(alias = "systemd_cgroup")]
    systemd_cgroup: bool,
    #[serde(alias = "no_pivot_root")]
    no_pivot_root: bool,
    #[serde(alias = "no_new_keyring")]
    no_new_keyring: bool,
    #[serde(alias = "shim_cgroup")]
    shim_cgroup: String,
    #[serde(alias = "io_uid")]
    io_uid: u32,
    #[serde(alias = "io_gid")]
    io_gid: u32,
}

/// The keys above, and those without effect: the binary is the shim itself, there is no CRIU, and the others are containerd's own. In
/// lower case and without underscores.
const KEYS: &[&str] = &[
    "root",
    "systemdcgroup",
    "nopivotroot",
    "nonewkeyring",
    "shimcgroup",
    "iouid",
    "iogid",
    "binaryname",
    "criupath",
    "criuimagepath",
    "criuworkpath",
    "taskapiaddress",
    "taskapiversion",
    "typeurl",
    "configpath",
    "configbody",
];

impl Toml {
    fn parse(text: &[u8]) -> Result<Toml, Error> {
        let keys: BTreeMap<String, IgnoredAny> = basic_toml::from_slice(text)?;
        let known = |key: &String| KEYS.contains(&key.replace('_', "").to_lowercase().as_str());
        match keys.into_keys().find(|key| !known(key)) {
            Some(key) => Err(Error::Key(key)),
            None => Ok(basic_toml::from_slice(text)?),
        }
    }
}

impl From<Toml> for oci::Options {
    fn from(toml: Toml) -> oci::Options {
        oci::Options {
            root: toml.root,
            systemd_cgroup: toml.systemd_cgroup,
            no_pivot_root: toml.no_pivot_root,
            no_new_keyring: toml.no_new_keyring,
            shim_cgroup: toml.shim_cgroup,
            io_uid: toml.io_uid,
            io_gid: toml.io_gid,
            ..oci::Options::new()
        }
    }
}

#[cfg(test)]
mod tests;
