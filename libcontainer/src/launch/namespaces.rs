//! Namespaces given by path: opened by the parent, who may have to see them through its own `/proc`, and asked for their owners.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, statat};

use super::user_namespace;
use crate::config::{IdMaps, Namespace, Namespaces};
use crate::error::{Error, ErrorKind, Pointer, Refused};
use crate::host::Host;
use crate::plan::JoinedFacts;
use crate::sys;

/// (CLONE_NEW*, name in config.json)
const KINDS: [(u32, &str); 8] = [
    (0x0002_0000, "mount"),
    (0x0200_0000, "cgroup"),
    (0x0400_0000, "uts"),
    (0x0800_0000, "ipc"),
    (0x1000_0000, "user"),
    (0x2000_0000, "pid"),
    (0x4000_0000, "network"),
    (0x0000_0080, "time"),
];
/// (CLONE_NEW*, name in /proc/PID/ns), for those that sysctls belong to.
const FILES: [(u32, &str); 4] = [
    (0x0400_0000, "uts"),
    (0x0800_0000, "ipc"),
    (0x1000_0000, "user"),
    (0x4000_0000, "net"),
];
const CLONE_NEWUSER: u32 = 0x1000_0000;

/// The namespaces of a configuration that exist already.
#[derive(Debug, Default)]
pub struct Joined {
    opened: Vec<(u32, OwnedFd)>,
    pub facts: JoinedFacts,
}

impl Joined {
    /// One user namespace and nothing else.
    pub fn user(namespace: OwnedFd) -> Joined {
        Joined {
            opened: vec![(CLONE_NEWUSER, namespace)],
            facts: JoinedFacts::default(),
        }
    }

    /// Opens every namespace given by path and finds out who owns it. Costs nothing where there is none.
    pub fn open(namespaces: &Namespaces) -> Result<Joined, Error> {
        let mut joined = Joined::default();
        let by_kind = [
            &namespaces.mount,
            &namespaces.cgroup,
            &namespaces.uts,
            &namespaces.ipc,
            &namespaces.user,
            &namespaces.pid,
            &namespaces.network,
            &namespaces.time,
        ];
        for ((kind, name), namespace) in KINDS.into_iter().zip(by_kind) {
            if let Namespace::Path(path, index) = namespace {
                joined.opened.push((kind, open(path, kind, name, *index)?));
            }
        }
        joined.find_owners()?;
        Ok(joined)
    }

    /// The opened file of a kind (CLONE_NEW*).
    pub fn namespace(&self, kind: u32) -> Result<BorrowedFd<'_>, Error> {
        let found = self.opened.iter().find(|(opened, _)| *opened == kind);
        found.map(|(_, fd)| fd.as_fd()).ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                "the plan joins a namespace that was not opened",
            )
        })
    }

    /// Whether the namespace of a kind is given by path, and is the one that this process is in.
    pub fn is_own(&self, kind: u32) -> Result<bool, Error> {
        let Ok(given) = self.namespace(kind) else {
            return Ok(false);
        };
        let file = FILES.iter().find(|(known, _)| *known == kind);
        let path = format!("/proc/self/ns/{}", file.map_or("", |(_, file)| file));
        let own = statat(CWD, path.as_str(), AtFlags::empty())
            .map_err(|errno| Refused::new("stat", &path, errno))?;
        Ok((own.st_dev, own.st_ino) == identity(given)?)
    }

    /// Mappings beside a user namespace given by path must be those that it has: what is made for them would else belong to somebody else.
    pub fn check_maps(&self, host: &Host, maps: &IdMaps) -> Result<(), Error> {
        let Ok(user) = self.namespace(CLONE_NEWUSER) else {
            return Ok(());
        };
        if maps.uid.is_empty() && maps.gid.is_empty() {
            return Ok(());
        }
        let actual = user_namespace::maps_of(host, user)?;
        for (key, wanted, actual) in [
            ("uidMappings", &maps.uid, &actual.uid),
            ("gidMappings", &maps.gid, &actual.gid),
        ] {
            if wanted != actual {
                let at = Pointer::CONFIG.key("linux").key(key);
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("{at}: they differ from those of the user namespace given by path"),
                ));
            }
        }
        Ok(())
    }

    /// A namespace that the user namespace to be joined does not own can only be joined before it, with the rights we have now.
    fn find_owners(&mut self) -> Result<(), Error> {
        let Ok(user) = self.namespace(CLONE_NEWUSER) else {
            return Ok(());
        };
        let target = identity(user)?;
        let own = openat(
            CWD,
            c"/proc/self/ns/user",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| Refused::new("open", "/proc/self/ns/user", errno))?;
        let same_user = identity(&own)? == target;
        let mut foreign = 0;
        for (kind, fd) in &self.opened {
            let owner = if *kind == CLONE_NEWUSER {
                continue;
            } else {
                sys::owning_user_namespace(fd)
            };
            // EPERM: the owner is outside our own user namespace's view, so certainly another one.
            if !owner.is_ok_and(|owner| identity(owner).is_ok_and(|owner| owner == target)) {
                foreign |= kind;
            }
        }
        self.facts = JoinedFacts { same_user, foreign };
        Ok(())
    }
}

fn identity(fd: impl AsFd) -> Result<(u64, u64), Error> {
    let stat = fstat(fd).map_err(|errno| Refused::call("fstat(namespace)", errno))?;
    Ok((stat.st_dev, stat.st_ino))
}

fn open(path: &Path, kind: u32, name: &str, index: usize) -> Result<OwnedFd, Error> {
    let at = Pointer::CONFIG
        .key("linux")
        .key("namespaces")
        .index(index)
        .key("path");
    // NONBLOCK: a fifo in its place must not hang us.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| Refused::new("open", path, errno).at(at.clone()))?;
    match sys::namespace_kind(&fd) {
        Ok(found) if found == kind => Ok(fd),
        _ => Err(Error::new(
            ErrorKind::InvalidConfig,
            format!("{at}: {} is not a {name} namespace", path.display()),
        )),
    }
}

/// `new pid, mount` for messages.
pub fn names(flags: u64) -> String {
    let names: Vec<&str> = KINDS
        .iter()
        .filter(|(kind, _)| flags & u64::from(*kind) != 0)
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() {
        "no namespaces".to_owned()
    } else {
        format!("new {}", names.join(", "))
    }
}
