//! What a plan is made from besides the configuration: the request, and facts about the machine. Plain data, gathered by the caller.

use std::ffi::CString;
use std::path::PathBuf;

use crate::cgroup::CgroupMounts;
use crate::config::Process;
use crate::error::Pointer;

/// How the container is to be created, beyond its `config.json`.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// Names the session keyring and stands in the hooks' state.
    pub id: String,
    /// Absolute; stands in the hooks' state.
    pub bundle: PathBuf,
    /// Move and chroot instead of pivot_root(2) (a rootfs on an initramfs).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Fds 3 to 3 + `listen_fds` are sockets handed over by systemd: the container's environment says so.
    pub listen_fds: u32,
    /// How many further fds follow those (`--preserve-fds`).
    pub preserve_fds: u32,
    /// A host directory for the container's notify socket, bound to `/run/notify`.
    pub notify_dir: Option<PathBuf>,
    /// What the container does once it is created.
    pub start: Start,
    /// The runtime's own environment, which createContainer hooks without `env` inherit.
    pub host_env: Vec<CString>,
}

/// When a created container goes on to its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// `create`: a byte on the start fifo.
    AwaitFifo,
    /// `run`: as soon as its state is recorded.
    AtOnce,
}

/// Facts about the machine and the caller that decide how a container is created, never what it is.
#[derive(Debug, Clone)]
pub struct PlanFacts {
    pub process: ProcessFacts,
    /// The parent has CAP_SYS_ADMIN over its mount namespace: it clones the rootfs and every bind source. Else the stage does.
    pub privileged: bool,
    /// We run in a user namespace that is not the initial one: mknod is refused.
    pub in_userns: bool,
    /// How the container sees its cgroups.
    pub cgroup: CgroupMounts,
    /// SELinux is on: mounts take the mount label.
    pub selinux: bool,
    /// `/proc/kcore` exists: `/dev/core` points to it.
    pub kcore: bool,
    pub joined: JoinedFacts,
}

/// The facts that exec needs too.
#[derive(Debug, Clone, Copy)]
pub struct ProcessFacts {
    /// `/proc/sys/kernel/cap_last_cap`.
    pub last_cap: u8,
    /// The parent's effective uid is not 0, or `/proc/self/setgroups` of the target user namespace says `deny`.
    pub keep_groups: bool,
    /// The clone itself puts the stage into its cgroup (cgroup2 files). Else it enters the v1 hierarchies by itself when it is told to, or waits
    /// until systemd has placed it.
    pub into_cgroup: bool,
    /// The container has a place in resctrl: the stage waits until it was put there too.
    pub intel_rdt: bool,
}

/// What the opened namespace files told.
#[derive(Debug, Clone, Copy, Default)]
pub struct JoinedFacts {
    /// The user namespace given by path is the one we are in already: nothing to join.
    pub same_user: bool,
    /// CLONE_NEW* of the namespaces given by path that do *not* belong to the user namespace given by path (NS_GET_USERNS): they can
    /// only be joined before it.
    pub foreign: u32,
}

/// A running container that a process is to be executed in.
#[derive(Debug, Clone, Copy)]
pub struct ExecTarget<'a> {
    /// Names the session keyring.
    pub id: &'a str,
    /// CLONE_NEW* of the namespaces in which init differs from us; joined through its pidfd.
    pub namespaces: u32,
    /// The container's own process: what the executed one does not say is taken from it.
    pub container: &'a Process,
    /// The container has a session keyring of its own (no `--no-new-keyring` at create).
    pub keyring: bool,
    /// The container's seccomp filter.
    pub filter: Option<super::PlannedFilter>,
}

/// How a process is to be executed.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    /// Where the process came from: `process.json#`, or the command's own flags.
    pub document: Pointer,
    /// Fds 3 to 3 + `preserve_fds` are handed to the program.
    pub preserve_fds: u32,
}
