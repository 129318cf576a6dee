//! What a caller asks for besides the bundle: stdio, sockets, files to write, how a process is described for exec, other limits.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Resources;
use crate::error::{Error, ErrorKind};
use crate::sys;

/// Where the process's terminal goes, if its configuration asks for one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Console {
    /// Nowhere: no terminal may be asked for.
    #[default]
    None,
    /// An AF_UNIX stream socket that is sent the master in the way of runc: one message with its path in the container and the fd.
    Socket(PathBuf),
    /// The caller takes the master from the handle.
    Master,
}

impl Console {
    /// Whether it suits a process that asks for a terminal, or for none. Errors: InvalidConfig with runc's texts.
    pub(crate) fn check(&self, terminal: bool) -> Result<(), Error> {
        let text = match (self, terminal) {
            (Console::Socket(_), false) => {
                "cannot use console socket if garboard will not detach or allocate tty"
            }
            (Console::None, true) => {
                "cannot allocate tty if garboard will detach without setting console socket"
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidConfig, text))
    }
}

/// Who makes and manages the cgroup of a new container. Its later commands know.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum CgroupManager {
    /// The library, as directories in the cgroup filesystem.
    #[default]
    Cgroupfs,
    /// systemd, as a unit: that of the machine for root, the user's own for everybody else. Then `linux.cgroupsPath` is
    /// `slice:prefix:name`.
    Systemd {
        /// How long systemd may take to start the unit, the connection included; [`CgroupManager::SYSTEMD`] has runc's value.
        patience: Duration,
    },
}

impl CgroupManager {
    /// systemd, with half a minute to start the unit.
    pub const SYSTEMD: CgroupManager = CgroupManager::Systemd {
        patience: Duration::from_secs(30),
    };
}

/// How to create a container.
#[derive(Debug, Default)]
pub struct CreateOptions {
    /// Who manages its cgroup.
    pub cgroup_manager: CgroupManager,
    /// What becomes fds 0 to 2; `None`: the caller's own.
    pub stdio: [Option<OwnedFd>; 3],
    /// Where the terminal goes.
    pub console: Console,
    /// A file for init's pid: written last, without a newline.
    pub pid_file: Option<PathBuf>,
    /// An AF_UNIX stream socket that is sent init's pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// The caller's fds 3 to 2 + `listen_fds` are systemd's sockets, …
    pub listen_fds: u32,
    /// … and as many more follow.
    pub preserve_fds: u32,
    /// Move and chroot instead of pivot_root.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// The host's NOTIFY_SOCKET: the container gets one of its own, and `start` passes readiness on.
    pub notify_socket: Option<PathBuf>,
    /// Instead of under the filter of config.json, the container runs with every system call put to the caller, from the one that executes
    /// its program on: [`crate::Container::take_call_listener`] has them. What is executed in it later is not filtered.
    pub listen_to_calls: bool,
}

/// What to execute in a running container.
#[derive(Debug)]
pub enum ExecProcess {
    /// A `process` object as JSON.
    Document(Vec<u8>),
    /// The container's own process with these changes.
    Flags(ExecFlags),
}

/// The changes of `exec`'s flags.
#[derive(Debug, Default, Clone)]
pub struct ExecFlags {
    /// The program and its arguments; never empty.
    pub args: Vec<String>,
    /// The working directory, absolute in the container.
    pub cwd: Option<String>,
    /// `KEY=VALUE`, added to the container's environment.
    pub env: Vec<String>,
    /// (uid, gid); without a gid the container's stays.
    pub user: Option<(u32, Option<u32>)>,
    /// Added to the container's.
    pub additional_gids: Vec<u32>,
    /// Added to the bounding, effective and permitted sets, and to the ambient one where inheritable ones are listed.
    pub capabilities: Vec<String>,
    /// prctl(PR_SET_NO_NEW_PRIVS).
    pub no_new_privileges: bool,
    /// The AppArmor profile in the place of the container's.
    pub apparmor: Option<String>,
    /// The SELinux label in the place of the container's.
    pub process_label: Option<String>,
    /// A terminal of its own; see [`ExecRequest::console`].
    pub terminal: bool,
}

/// How to execute a process.
#[derive(Debug)]
pub struct ExecRequest {
    /// What to execute.
    pub process: ExecProcess,
    /// What becomes fds 0 to 2; `None`: the caller's own.
    pub stdio: [Option<OwnedFd>; 3],
    /// Where the terminal goes.
    pub console: Console,
    /// A file for the process's pid: written last, without a newline.
    pub pid_file: Option<PathBuf>,
    /// An AF_UNIX stream socket that is sent the process's pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// The caller's fds 3 to 2 + `preserve_fds` stay open.
    pub preserve_fds: u32,
    /// `--cgroup`: paths below the container's cgroup, `CONTROLLER[,CONTROLLER]:PATH` on v1.
    pub cgroup: Vec<String>,
    /// Not an error for a paused container: the process starts when it is resumed, or fails within seconds.
    pub ignore_paused: bool,
}

impl ExecRequest {
    /// A request for `process` with the caller's stdio and nothing else.
    pub fn new(process: ExecProcess) -> ExecRequest {
        ExecRequest {
            process,
            stdio: [None, None, None],
            console: Console::None,
            pid_file: None,
            pidfd_socket: None,
            preserve_fds: 0,
            cgroup: Vec::new(),
            ignore_paused: false,
        }
    }
}

/// Other limits for a container. What is not named keeps the value it has; device rules are never touched.
#[derive(Debug, Clone)]
pub enum UpdateRequest {
    /// A `linux.resources` object as JSON.
    Document(Vec<u8>),
    /// The values of `update`'s flags.
    Flags(Box<UpdateFlags>),
}

/// The limits that `update` has flags for, in the units of config.json's `linux.resources`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct UpdateFlags {
    /// Bytes; -1: unlimited, and so is swap unless it is named.
    pub memory: Option<i64>,
    /// Bytes; -1: none.
    pub memory_reservation: Option<i64>,
    /// Bytes of memory and swap together; -1: unlimited.
    pub memory_swap: Option<i64>,
    /// v1's weight.
    pub cpu_shares: Option<u64>,
    /// Microseconds a period; negative: unlimited.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds.
    pub cpu_burst: Option<u64>,
    /// Microseconds; v1 only.
    pub cpu_rt_runtime: Option<i64>,
    /// Microseconds; v1 only.
    pub cpu_rt_period: Option<u64>,
    /// 1: SCHED_IDLE for the whole container.
    pub cpu_idle: Option<i64>,
    /// A list as in cpuset(7).
    pub cpuset_cpus: Option<String>,
    /// The same of memory nodes.
    pub cpuset_mems: Option<String>,
    /// Negative: unlimited.
    pub pids_limit: Option<i64>,
    /// 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// A line for resctrl's `schemata`: `L3:0=ff;1=c0`.
    pub l3_cache_schema: Option<String>,
    /// The same for memory bandwidth: `MB:0=20`.
    pub mem_bw_schema: Option<String>,
}

impl UpdateFlags {
    pub(crate) fn resources(&self) -> Resources {
        let mut resources = Resources::default();
        resources.memory.limit = self.memory;
        resources.memory.reservation = self.memory_reservation;
        resources.memory.swap = self.memory_swap;
        resources.cpu.shares = self.cpu_shares;
        resources.cpu.quota = self.cpu_quota;
        resources.cpu.period = self.cpu_period;
        resources.cpu.burst = self.cpu_burst;
        resources.cpu.realtime_runtime = self.cpu_rt_runtime;
        resources.cpu.realtime_period = self.cpu_rt_period;
        resources.cpu.idle = self.cpu_idle;
        resources.cpu.cpus.clone_from(&self.cpuset_cpus);
        resources.cpu.mems.clone_from(&self.cpuset_mems);
        resources.pids.limit = self.pids_limit;
        resources.block_io.weight = self.blkio_weight;
        resources
    }
}

/// Whether the fds 3 to 2 + `count` are all open in this process. A command that hands its caller's fds on asks this before it opens any of
/// its own; the library asks again at each create and exec. Errors: InvalidConfig with runc's text.
pub fn check_preserved_fds(count: u32) -> Result<(), Error> {
    for number in 3..count.saturating_add(3) {
        if !sys::is_open(number) {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("unable to stat preserved-fd {} (of {count})", number - 3),
            ));
        }
    }
    Ok(())
}
