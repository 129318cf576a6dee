//! The validated configuration: what `config.json` asks for, after every default is applied and every error is found.
//!
//! Raw JSON types (`raw`) end here. Past this module there is no `Option` whose absence means a default, no tri-state, no unchecked path.
//! Nothing in this module or below it makes a system call: facts about the machine come in as [`HostFacts`].

mod errors;
mod facts;
mod features;
mod keys;
mod mount_options;
pub(crate) mod names;
mod parse;
mod path;
mod raw;
mod resource_rules;
mod resources;
mod spec;
mod validate;
mod walk;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

use seccomp_profiles::profile::Flag;
use seccomp_profiles::{Action, Arch, Flags, Profile};

pub use errors::{ConfigError, ConfigErrors};
pub use facts::HostFacts;
pub use features::features;
pub use parse::resources_document;
pub use path::{BadPath, ContainerPath};
pub use resources::{
    BlockIo, Cpu, HugepageLimit, Memory, Network, NetworkPriority, Pids, Rdma, Resources,
    ThrottleDevice, WeightDevice,
};
pub use spec::default_spec;
pub use walk::ignored_keys;

/// The lines for `schemata` that the two flags of `update` ask for. Errors: each with its flag.
pub(crate) fn rdt_flags(
    l3_cache_schema: Option<&str>,
    mem_bw_schema: Option<&str>,
) -> Result<Vec<SchemaLine>, ConfigErrors> {
    validate::rdt_flags(l3_cache_schema, mem_bw_schema)
}

/// A container, as the bundle asks for it.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ociVersion`, as written: a 1.x.y.
    pub oci_version: String,
    pub root: Root,
    pub process: Process,
    pub hostname: Option<CString>,
    pub domainname: Option<CString>,
    pub namespaces: Namespaces,
    /// Empty without a user namespace. Together with one joined by path they must equal that namespace's own, which its opener checks.
    pub id_maps: IdMaps,
    /// (clock id, text for `/proc/self/timens_offsets`): monotonic and boottime.
    pub time_offsets: Vec<TimeOffset>,
    /// In the order of `config.json`; index i stands at `/mounts/i`.
    pub mounts: Vec<Mount>,
    /// In the order of `config.json`; index i stands at `/linux/devices/i`. The default devices are the planner's.
    pub devices: Vec<Device>,
    pub masked_paths: Vec<ContainerPath>,
    pub readonly_paths: Vec<ContainerPath>,
    pub mount_label: Option<CString>,
    pub sysctl: Vec<Sysctl>,
    pub hooks: Hooks,
    pub annotations: BTreeMap<String, String>,
    /// Value for personality(2).
    pub personality: Option<u64>,
    pub memory_policy: Option<MemoryPolicy>,
    pub net_devices: Vec<NetDevice>,
    pub intel_rdt: Option<IntelRdt>,
    pub cgroup: Cgroup,
    pub seccomp: Option<Seccomp>,
    /// For the log: unknown capabilities and the like.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Root {
    /// Absolute host path (relative ones are taken below the bundle).
    pub path: PathBuf,
    pub readonly: bool,
    /// `linux.rootfsPropagation` as an MS_* value (MS_SLAVE|MS_REC when absent, as runc).
    pub propagation: u64,
    /// Whether the key was there: then it is applied to the container's `/` after pivot too.
    pub propagation_asked: bool,
}

/// What to execute, and as what. Also the content of a `process.json` for exec.
#[derive(Debug, Clone)]
pub struct Process {
    pub args: Vec<CString>,
    /// Deduplicated, last one wins; without HOME when HOME was absent or empty.
    pub env: Vec<CString>,
    pub cwd: ContainerPath,
    pub terminal: bool,
    /// (rows, columns) from `consoleSize`.
    pub console_size: Option<(u16, u16)>,
    pub user: User,
    /// `None`: the key is absent; for a container that means no capability at all, for exec the container's own sets.
    pub capabilities: Option<Capabilities>,
    pub rlimits: Vec<Rlimit>,
    pub no_new_privileges: bool,
    /// `None`: inherit the caller's.
    pub oom_score_adj: Option<i32>,
    pub apparmor_profile: Option<CString>,
    pub selinux_label: Option<CString>,
    pub scheduler: Option<Scheduler>,
    /// Value for ioprio_set(2): class << 13 | priority.
    pub io_priority: Option<u16>,
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
}

#[derive(Debug, Clone, Default)]
pub struct User {
    /// Never 2^32-1.
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// `None`: 0022 for init, the caller's for exec.
    pub umask: Option<u32>,
}

/// Bit n stands for capability n of `linux/capability.h`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Rlimit {
    /// RLIMIT_* number.
    pub resource: u32,
    /// `RLIMIT_NOFILE`, for messages.
    pub name: &'static str,
    pub soft: u64,
    pub hard: u64,
}

/// Fields of `struct sched_attr` (sched_setattr(2)).
#[derive(Debug, Clone, Copy, Default)]
pub struct Scheduler {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

#[derive(Debug, Clone)]
pub struct ExecCpuAffinity {
    /// Before the container's cgroup is joined; bit masks as sched_setaffinity(2) takes them.
    pub initial: Option<Vec<u8>>,
    /// Before the program is executed.
    pub last: Option<Vec<u8>>,
}

/// One of the eight namespace kinds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Namespace {
    /// Not listed: the runtime's own is shared.
    #[default]
    Host,
    /// Listed without a path.
    New,
    /// Listed with a path, which is opened by the parent; the number is its place in `/linux/namespaces`.
    Path(PathBuf, usize),
}

#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    pub mount: Namespace,
    pub pid: Namespace,
    pub network: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub user: Namespace,
    pub cgroup: Namespace,
    pub time: Namespace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

#[derive(Debug, Clone, Default)]
pub struct IdMaps {
    pub uid: Vec<IdMap>,
    pub gid: Vec<IdMap>,
}

#[derive(Debug, Clone)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: &'static str,
    pub seconds: i64,
    pub nanoseconds: u32,
}

#[derive(Debug, Clone)]
pub struct Mount {
    /// Its place in `/mounts`.
    pub index: usize,
    pub target: ContainerPath,
    pub kind: MountKind,
    /// `MOUNT_ATTR_*` asked for, for the mount itself (`ro`, `nosuid`, …); atime kind included.
    pub attr_set: u64,
    /// `MOUNT_ATTR_*` explicitly cleared (`rw`, `suid`, …).
    pub attr_clear: u64,
    /// The recursive words (`rro`, `rnosuid`, …).
    pub recursive_set: u64,
    pub recursive_clear: u64,
    /// The propagation words in their order, as MS_* values (MS_REC included for the r-forms).
    pub propagation: Vec<u64>,
    pub idmap: Option<Idmap>,
}

#[derive(Debug, Clone)]
pub enum MountKind {
    /// `bind` or `rbind` in the options, whatever the type.
    Bind { source: PathBuf, recursive: bool },
    /// Anything else that is not one of the two below.
    Filesystem {
        fstype: CString,
        source: CString,
        /// Superblock flags as fsconfig(2) flag words: `ro`, `sync`, `dirsync`, `mand`, `lazytime`, `silent`, `iversion`.
        flags: Vec<&'static str>,
        /// Everything that is no known word, in order: `size=64k`, `newinstance`.
        data: Vec<CString>,
        /// tmpfs with `tmpcopyup`.
        copy_up: bool,
    },
    /// Type `cgroup` (v1 or v2, as the host is) or `cgroup2`.
    Cgroup,
    /// `remount` in the options: no new mount; the attributes of the one that stands at the target are changed.
    Remount,
}

#[derive(Debug, Clone)]
pub struct Idmap {
    /// Empty: the container's user namespace.
    pub maps: IdMaps,
    pub recursive: bool,
}

#[derive(Debug, Clone)]
pub struct Device {
    pub index: usize,
    pub path: ContainerPath,
    /// S_IFCHR, S_IFBLK or S_IFIFO with the permission bits (0666 when fileMode is absent).
    pub mode: u32,
    pub major: u32,
    pub minor: u32,
    /// `None`: the container's root.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Debug, Clone)]
pub struct Sysctl {
    /// As written, for the pointer.
    pub key: String,
    /// Below `/proc/sys`, with slashes, no `..`, no leading slash.
    pub path: CString,
    pub value: CString,
    /// The namespace it belongs to. Where that one is joined by path, whoever opens the path must refuse the runtime's own.
    pub scope: SysctlScope,
}

/// Which namespace a sysctl belongs to; anything else is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SysctlScope {
    Ipc,
    Network,
    Uts,
    User,
}

#[derive(Debug, Clone, Default)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub path: CString,
    /// argv, argv[0] included; `[path]` when absent.
    pub args: Vec<CString>,
    /// `None`: the key is absent (docs/compatibility.md "Hooks" says what that inherits).
    pub env: Option<Vec<CString>>,
    /// Seconds; `None`: no limit.
    pub timeout_s: Option<u32>,
}

/// Arguments of set_mempolicy(2).
#[derive(Debug, Clone)]
pub struct MemoryPolicy {
    /// MPOL_* with the MPOL_F_* flags or'ed in.
    pub mode: u32,
    /// Bit mask of nodes, little-endian u64 words.
    pub nodes: Vec<u64>,
}

#[derive(Debug, Clone)]
pub struct NetDevice {
    /// Name on the host (the key).
    pub host: String,
    /// Name inside; the same when absent.
    pub container: String,
}

/// `linux.intelRdt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntelRdt {
    pub class: RdtClass,
    /// For `schemata`, each resource once; empty: it is left as it is.
    pub schemata: Vec<SchemaLine>,
    /// A group of its own to be counted in.
    pub monitoring: bool,
}

/// Which class of service (`closID`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RdtClass {
    /// One of the container's own, named by its id.
    Own,
    /// `/`: the one that everybody is in.
    Default,
    Named(String),
}

/// One line of a group's `schemata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaLine {
    /// `L3`
    pub resource: String,
    /// `L3:0=ff;1=c0`
    pub text: String,
    /// The key that asks for it.
    pub at: crate::Pointer,
}

#[derive(Debug, Clone, Default)]
pub struct Cgroup {
    /// `linux.cgroupsPath` as written; `None` when absent or empty.
    pub path: Option<String>,
    /// `linux.resources.devices` in order; the default allow-list is appended by the cgroup module.
    pub device_rules: Vec<DeviceRule>,
    /// The rest of `linux.resources`.
    pub resources: Resources,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRule {
    pub allow: bool,
    pub kind: DeviceKind,
    /// `None`: any.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    All,
    Char,
    Block,
}

/// A key of the input without effect.
#[derive(Debug, Clone)]
pub struct Ignored {
    pub pointer: crate::Pointer,
    pub reason: &'static str,
}

/// `linux.seccomp`.
#[derive(Debug, Clone)]
pub struct Seccomp {
    pub profile: Profile,
    /// SECCOMP_FILTER_FLAG_* (seccomp(2)).
    pub flags: u32,
    /// Who answers for the calls that the profile notifies of; none where it does not.
    pub agent: Option<Agent>,
}

/// Who answers for the calls that a filter notifies of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Agent {
    /// `listenerPath`, a stream socket, and `listenerMetadata`, passed on as it stands.
    Socket { path: PathBuf, metadata: String },
    /// The program that calls this library: it listens to every call.
    Caller,
}

impl Seccomp {
    /// In the place of the filter of config.json: every call of every architecture of the machine is put to the caller.
    pub fn listening() -> Seccomp {
        let mut profile = Profile::new(Action::Notify);
        let native = Arch::native();
        profile.architectures = native.map_or(&[][..], Arch::companions).to_vec();
        // A call that the caller has seen is not made again because of a signal that comes meanwhile.
        profile.flags = Some(vec![Flag::WaitKillableRecv]);
        Seccomp {
            flags: Flags::of(&profile).0 & !Flags::NEW_LISTENER.0,
            profile,
            agent: Some(Agent::Caller),
        }
    }
}
