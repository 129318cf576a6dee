//! One module for each command: take the arguments, call the library, print. No policy.

pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod explain;
pub mod features;
pub mod generate;
pub mod help;
pub mod kill;
mod launch;
pub mod list;
pub mod pause;
pub mod ps;
pub mod resume;
pub mod run;
pub mod seccomp;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;

use std::path::PathBuf;

use libcontainer::{Container, Runtime};

use crate::arguments::Matches;
use crate::failure::Failure;
use crate::log::Log;
use crate::root::StateRoot;

/// What a command does; the answer is the exit code.
pub type Run = fn(&Invocation) -> Result<u8, Failure>;

/// Who shall manage the cgroup of a new container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupManager {
    /// We do, through the filesystem.
    #[default]
    Cgroupfs,
    /// systemd does.
    Systemd,
    /// Nobody: the container stays in the caller's cgroup.
    Disabled,
}

/// One call of the program.
#[derive(Debug)]
pub struct Invocation {
    /// `--root`, as given.
    pub root: Option<PathBuf>,
    /// `--log` and its companions.
    pub log: Log,
    /// `--systemd-cgroup` or `--cgroup-manager`.
    pub cgroup_manager: CgroupManager,
    /// The command's own arguments.
    pub matches: Matches,
}

impl Invocation {
    /// The container's id, the first argument of most commands.
    fn id(&self) -> Result<&str, Failure> {
        Ok(self.matches.positional(0)?)
    }

    fn state_root(&self) -> Result<StateRoot, Failure> {
        StateRoot::choose(self.root.as_deref())
    }

    /// The library, over the state root.
    fn runtime(&self) -> Result<Runtime, Failure> {
        Ok(Runtime::open(&self.state_root()?.path)?)
    }

    /// The container that the first argument names.
    fn container(&self) -> Result<Container, Failure> {
        Ok(self.runtime()?.container(self.id()?)?)
    }

    /// Logs what the library did without.
    fn warn(&self, warnings: &[String]) {
        for warning in warnings {
            self.log.warning(warning);
        }
    }
}
