//! A case: a named function that judges the runtime, and the ways it can end.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::bundle::Bundle;
use crate::cgroups::{self, Version};
use crate::container::Container;
use crate::needs::{self, Need};
use crate::place::{self, Driver, Place};
use crate::runtime::Runtime;

/// How a case ends other than by a panic.
pub type Done = Result<(), Failure>;

/// One test of the suite.
#[derive(Debug, Clone)]
pub struct Case {
    /// The module and the function, `lifecycle::create_start_delete`.
    pub name: String,
    /// What is run, in a process of its own.
    pub run: fn(&Test) -> Done,
}

/// Makes a list of cases from functions of the calling module, each named after its function.
#[macro_export]
macro_rules! cases {
    ($($function:ident),* $(,)?) => {
        vec![$($crate::case::Case {
            name: format!("{}::{}", module_path!().rsplit("::").next().unwrap_or(""), stringify!($function)),
            run: $function,
        }),*]
    };
}

/// Why a case did not pass.
pub struct Failure {
    text: String,
    skip: bool,
}

impl Failure {
    /// A failure that says this.
    pub fn new(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            skip: false,
        }
    }

    /// Not a failure: what the case needs is missing here.
    pub fn skip(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            skip: true,
        }
    }

    /// Whether the case was skipped.
    pub fn is_skip(&self) -> bool {
        self.skip
    }
}

impl<E: std::error::Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Failure {
        Failure::new(format!("{error} (at {})", std::panic::Location::caller()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a case works with: the runtime, the place, and a directory of its own.
#[derive(Debug)]
pub struct Test {
    /// The runtime that is judged.
    pub runtime: Runtime,
    /// Where the case runs.
    pub place: Place,
    /// Who makes the cgroups.
    pub driver: Driver,
    /// A tmpfs of this case's own; its path is short enough for a socket.
    pub dir: PathBuf,
    /// A word that is in every cgroup and container name of this case.
    pub token: String,
    made: Cell<u32>,
    ids: RefCell<Vec<String>>,
}

impl Test {
    /// A case's surroundings: `dir` is empty and private.
    pub fn new(runtime: Runtime, place: Place, dir: &Path, token: &str) -> Test {
        Test {
            driver: runtime.driver,
            runtime,
            place,
            dir: dir.to_owned(),
            token: token.to_owned(),
            made: Cell::new(0),
            ids: RefCell::default(),
        }
    }

    /// Writes the bundle and names a container for it; nothing is run. The container's cgroup is [`Test::cgroups_path`] if
    /// the bundle names none; null stands for no cgroup path at all. An ordinary user's bundle gets a user namespace with the user's ids.
    pub fn container(&self, bundle: &Bundle) -> Result<Container<'_>, Failure> {
        let number = self.made.get();
        self.made.set(number + 1);
        let id = format!("c{number}-{}", self.token);
        let mut bundle = bundle.clone();
        if self.place == Place::User {
            bundle = bundle.for_user()?;
        }
        let path = self.cgroups_path(&id)?;
        if let Some(linux) = bundle.config["linux"].as_object_mut() {
            let path = linux.entry("cgroupsPath").or_insert_with(|| path.into());
            if path.is_null() {
                linux.remove("cgroupsPath");
            }
        }
        let path = bundle.write(&self.dir.join(format!("b{number}")))?;
        self.ids.borrow_mut().push(id.clone());
        Ok(Container::new(self, id, path))
    }

    /// The usual `cgroupsPath`, in the driver's form: `/TOKEN/ID`, for a user below what is delegated to it; `SLICE:garboard:ID` for systemd. The id
    /// holds the token, so that all of them are found by it.
    pub fn cgroups_path(&self, id: &str) -> Result<String, Failure> {
        Ok(match (self.driver, self.place) {
            (Driver::Cgroupfs, Place::User) => {
                format!("{}/{}/{id}", place::own_cgroup()?.display(), self.token)
            }
            (Driver::Cgroupfs, _) => format!("/{}/{id}", self.token),
            (Driver::Systemd, Place::User) => format!("user.slice:garboard:{id}"),
            (Driver::Systemd, _) => format!("system.slice:garboard:{id}"),
        })
    }

    /// Skips the case, with the reason, unless all that it needs is here.
    pub fn needs(&self, needs: &[Need]) -> Done {
        for need in needs {
            if let Some(missing) = need.missing(self)? {
                return Err(Failure::skip(format!("needs {missing}")));
            }
        }
        Ok(())
    }

    /// The ids handed out so far.
    pub fn ids(&self) -> Vec<String> {
        self.ids.borrow().clone()
    }

    /// A new empty directory on the case's tmpfs.
    pub fn scratch(&self, name: &str) -> Result<PathBuf, Failure> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Skips the case unless it runs at `place`.
    pub fn only_at(&self, place: Place) -> Done {
        if self.place == place {
            Ok(())
        } else {
            Err(Failure::skip(format!("needs the {place} place")))
        }
    }

    /// Which files the controller's limits are; skips the case where the machine has it on no hierarchy.
    pub fn controller(&self, name: &str) -> Result<Version, Failure> {
        let found = cgroups::version_of(name)?;
        if self.place == Place::User && !needs::controllers(self)?.iter().any(|one| one == name) {
            return Err(Failure::skip(format!(
                "{name} is not delegated to the user"
            )));
        }
        found.ok_or_else(|| Failure::skip(format!("no controller {name} here")))
    }

    /// Skips the case for Debian's runc, with the reason why it cannot pass there.
    pub fn not_for_runc(&self, why: &str) -> Done {
        if self.runtime.is_runc() {
            Err(Failure::skip(format!("runc: {why}")))
        } else {
            Ok(())
        }
    }
}
