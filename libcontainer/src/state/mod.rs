//! What a root directory holds about containers, and what each of them is doing.
//!
//! `<root>/<id>/state.json` is written as an *intent* before the first side effect of a create, so that whatever instant a SIGKILL comes at,
//! the record alone is enough to remove everything. Later versions replace it by rename; nothing is ever fsynced, for after a reboot
//! (the boot id differs) nothing of the container lives. The directory itself is the lock: flock(2) on it, freed by the kernel.
//!
//! A status is never stored: it is read off the init process (pid and start time), the start fifo and the cgroup.

mod claim;
mod document;
mod entry;
mod id;
mod pid_file;
mod record;
mod status;
mod store;
mod time;

pub use claim::Claim;
pub use document::StateDocument;
pub use entry::{Content, Entry};
pub use id::{ContainerId, InvalidId};
pub use pid_file::{temporary_pid_file, write_pid_file};
pub use record::{
    CgroupDriver, ExecDefaults, HookRecord, MovedNetDevice, Phase, ProcessId, Record, Token,
    namespace_paths,
};
pub use status::{Event, Status, WrongStatus};
pub use store::{Store, default_root};
