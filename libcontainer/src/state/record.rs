//! The record of a container, `state.json`: what was intended, then what was done.
//!
//! It is small and written in one go. The names of the top keys that other programs read (`id`, `init_process_pid`, `init_process_start`,
//! `created`, `cgroup_paths`, `namespace_paths`) are runc's, with the same meaning. `garboard` is the version of the format: an unknown one
//! is an error, never a guess.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::path::PathBuf;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::cgroup::limits::SavedLimit;
use crate::cgroup::{CgroupPlan, Place, UnitRecord};
use crate::config;
use crate::error::{Error, Refused};
use crate::host::Host;
use crate::intel_rdt::Placement;
use crate::seccomp::Filter;

use super::{ContainerId, time};

/// The version of the format that this program writes and reads.
pub(super) const VERSION: u32 = 1;

/// Everything that later commands must know, from the intent on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub garboard: u32,
    pub id: String,
    pub phase: Phase,
    /// The container's first process on the host; 0 until it exists.
    pub init_process_pid: i32,
    /// In clock ticks since boot (proc_pid_stat(5), field 22).
    pub init_process_start: u64,
    /// RFC 3339, UTC.
    pub created: String,
    pub oci_version: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// Absolute.
    pub rootfs: PathBuf,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Nothing of a container of another boot lives.
    pub boot_id: String,
    /// Marks the container's cgroup.
    pub token: Token,
    pub cgroup_driver: CgroupDriver,
    /// The unit that the cgroup is, or was to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitRecord>,
    /// What may have been made, whether or not it was.
    pub cgroups: Vec<Place>,
    /// Controller → absolute directory; key `""` for cgroup2. For other programs; garboard uses `cgroups`.
    pub cgroup_paths: BTreeMap<String, PathBuf>,
    /// `NEWNS` → `/proc/PID/ns/mnt`. For other programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_paths: BTreeMap<String, String>,
    /// The container's group in resctrl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<Placement>,
    /// Its absolute path. For other programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt_path: Option<PathBuf>,
    /// The limits as they are set now: what `update` changes a part of.
    #[serde(default, skip_serializing_if = "config::Resources::is_empty")]
    pub resources: config::Resources,
    /// What loads into every process of the container; there once it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Filter>,
    /// An update was under way: what the files said before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<SavedLimit>,
    /// When init dies, the kernel kills all others: the container has a pid namespace of its own.
    pub private_pid_namespace: bool,
    /// CLONE_NEW* of the namespaces that config.json lists, new or by path: what exec joins.
    #[serde(default)]
    pub namespaces: u32,
    /// The container has a session keyring of its own.
    #[serde(default)]
    pub keyring: bool,
    /// Run by `start`, which reads no config.json.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<HookRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<HookRecord>,
    /// The name under which the pid file is written before it is renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_file_temporary: Option<PathBuf>,
    /// Whether `notify/` in the state directory may exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notify: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net_devices: Vec<MovedNetDevice>,
    /// What `exec` takes over from the container's own process.
    #[serde(default)]
    pub exec: ExecDefaults,
}

/// How far a create has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Only intended: anything recorded may or may not exist.
    Creating,
    /// Done: init waits, runs, or has run.
    Created,
}

/// A process that no other process can be mistaken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// In clock ticks since boot.
    pub start: u64,
}

/// Who makes and removes the cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// We do, as directories.
    Cgroupfs,
    /// systemd does, as a unit.
    Systemd,
}

/// 128 random bits, as 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(String);

/// A hook that must still run when only the record is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRecord {
    pub path: String,
    pub args: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

/// A network device that was, or may have been, moved into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedNetDevice {
    pub host: String,
    pub container: String,
}

/// The values of the container's process that an exec without its own takes over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecDefaults {
    /// bounding, effective, inheritable, permitted, ambient
    pub capabilities: Option<[u64; 5]>,
    /// (RLIMIT_* number, soft, hard)
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<(u32, u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// The fields of `struct sched_attr` in their order: policy, flags, nice, priority, runtime, deadline, period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<(u32, u64, i32, u32, u64, u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<u16>,
    /// Masks for sched_setaffinity(2): before the cgroup is joined,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_affinity_initial: Option<Vec<u8>>,
    /// and before the program is executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_affinity_final: Option<Vec<u8>>,
}

impl Record {
    /// The intent for a new container of this boot, created by this process. Paths, hooks and the rest are the caller's to fill in
    /// before it is claimed. Errors: Refused when procfs or getrandom(2) is.
    pub fn intent(id: &ContainerId, host: &Host) -> Result<Record, Error> {
        Ok(Record {
            garboard: VERSION,
            id: id.as_str().to_owned(),
            phase: Phase::Creating,
            init_process_pid: 0,
            init_process_start: 0,
            created: time::now(),
            oci_version: String::new(),
            bundle: PathBuf::new(),
            rootfs: PathBuf::new(),
            annotations: BTreeMap::new(),
            boot_id: host.boot_id()?.to_owned(),
            token: Token::random()?,
            cgroup_driver: CgroupDriver::Cgroupfs,
            unit: None,
            cgroups: Vec::new(),
            cgroup_paths: BTreeMap::new(),
            intel_rdt: None,
            intel_rdt_path: None,
            resources: config::Resources::default(),
            seccomp: None,
            undo: Vec::new(),
            namespace_paths: BTreeMap::new(),
            private_pid_namespace: false,
            namespaces: 0,
            keyring: false,
            poststart: Vec::new(),
            poststop: Vec::new(),
            pid_file_temporary: None,
            notify: false,
            net_devices: Vec::new(),
            exec: ExecDefaults::default(),
        })
    }

    /// Records where the cgroup will be, for us and for other programs.
    pub fn set_cgroups(&mut self, plan: &CgroupPlan) {
        let places = &plan.places;
        self.unit = plan.unit.as_ref().map(|unit| unit.record.clone());
        self.cgroup_driver = match self.unit {
            Some(_) => CgroupDriver::Systemd,
            None => CgroupDriver::Cgroupfs,
        };
        self.cgroups.clone_from(places);
        self.cgroup_paths = places
            .iter()
            .flat_map(|place| place.keys().map(|key| (key.to_owned(), place.host_path())))
            .collect();
    }

    /// Records where in resctrl its tasks will be.
    pub fn set_intel_rdt(&mut self, placement: Option<&Placement>) {
        self.intel_rdt = placement.cloned();
        self.intel_rdt_path = placement.map(Placement::path);
    }

    /// Records that the container is made and `init` waits to be started.
    pub fn set_created(&mut self, init: ProcessId) {
        self.phase = Phase::Created;
        self.init_process_pid = init.pid;
        self.init_process_start = init.start;
        self.namespace_paths = namespace_paths(init.pid);
    }
}

/// runc's `namespace_paths` for an init process.
pub fn namespace_paths(pid: i32) -> BTreeMap<String, String> {
    let kinds = [
        ("NEWCGROUP", "cgroup"),
        ("NEWIPC", "ipc"),
        ("NEWNET", "net"),
        ("NEWNS", "mnt"),
        ("NEWPID", "pid"),
        ("NEWTIME", "time"),
        ("NEWUSER", "user"),
        ("NEWUTS", "uts"),
    ];
    kinds
        .map(|(key, file)| (key.to_owned(), format!("/proc/{pid}/ns/{file}")))
        .into()
}

impl Token {
    /// A new one from the kernel.
    pub fn random() -> Result<Token, Error> {
        let mut bytes = [0u8; 16];
        // 16 bytes are never cut short (getrandom(2)).
        getrandom(&mut bytes[..], GetRandomFlags::empty())
            .map_err(|errno| Refused::call("getrandom", errno))?;
        Ok(Token(format!("{:032x}", u128::from_ne_bytes(bytes))))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&config::Hook> for HookRecord {
    fn from(hook: &config::Hook) -> HookRecord {
        let text = |text: &CString| text.to_string_lossy().into_owned();
        HookRecord {
            path: text(&hook.path),
            args: hook.args.iter().map(text).collect(),
            env: hook.env.as_ref().map(|env| env.iter().map(text).collect()),
            timeout: hook.timeout_s,
        }
    }
}

impl HookRecord {
    /// The hook as it was configured. `None` when somebody wrote a NUL into the record.
    pub fn hook(&self) -> Option<config::Hook> {
        let bytes = |text: &String| CString::new(text.as_str()).ok();
        Some(config::Hook {
            path: bytes(&self.path)?,
            args: self.args.iter().map(bytes).collect::<Option<_>>()?,
            env: match &self.env {
                Some(env) => Some(env.iter().map(bytes).collect::<Option<_>>()?),
                None => None,
            },
            timeout_s: self.timeout,
        })
    }
}

impl ExecDefaults {
    /// What a later exec takes over from the container's process.
    pub fn of(process: &config::Process) -> ExecDefaults {
        let text = |text: &CString| text.to_string_lossy().into_owned();
        ExecDefaults {
            capabilities: process.capabilities.map(|sets| {
                [
                    sets.bounding,
                    sets.effective,
                    sets.inheritable,
                    sets.permitted,
                    sets.ambient,
                ]
            }),
            rlimits: process
                .rlimits
                .iter()
                .map(|limit| (limit.resource, limit.soft, limit.hard))
                .collect(),
            apparmor_profile: process.apparmor_profile.as_ref().map(text),
            selinux_label: process.selinux_label.as_ref().map(text),
            oom_score_adj: process.oom_score_adj,
            umask: process.user.umask,
            scheduler: process.scheduler.map(|s| {
                (
                    s.policy, s.flags, s.nice, s.priority, s.runtime, s.deadline, s.period,
                )
            }),
            io_priority: process.io_priority,
            cpu_affinity_initial: process
                .exec_cpu_affinity
                .as_ref()
                .and_then(|affinity| affinity.initial.clone()),
            cpu_affinity_final: process
                .exec_cpu_affinity
                .as_ref()
                .and_then(|affinity| affinity.last.clone()),
        }
    }
}
