//! What a container uses, as its cgroup counts it: the values of the kernel's files, typed, on both versions of cgroups.
//!
//! Nothing is converted between the versions, only between units: times are nanoseconds, sizes bytes, unless a field says otherwise. What
//! the kernel does not tell (no such controller, an older kernel) is `None`, empty or 0; it never is an error. Sources: cgroup-v1/*.rst
//! and cgroup-v2.rst of the kernel's admin guide, and Documentation/accounting/psi.rst.

use std::collections::BTreeMap;

use crate::CgroupVersion;

pub use crate::intel_rdt::{
    CacheInfo, CacheOccupancy, MemoryBandwidth, MemoryBandwidthInfo, Stats as IntelRdt,
};

/// The limit of what is not limited.
pub const UNLIMITED: u64 = u64::MAX;

/// One reading, from [`crate::Container::statistics`].
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// Which files it is read from, and so which names [`Memory::stat`] holds.
    pub version: CgroupVersion,
    /// Processor time.
    pub cpu: Cpu,
    /// v1 alone.
    pub cpuset: Option<Cpuset>,
    /// Memory and swap.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Option<Pids>,
    /// Block devices.
    pub io: Io,
    /// By page size, as the kernel writes it: `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// RDMA devices.
    pub rdma: Vec<Rdma>,
    /// Cache and memory bandwidth of the container's resctrl group, if it has one.
    pub intel_rdt: Option<IntelRdt>,
}

impl Statistics {
    /// Nothing counted yet.
    pub(crate) fn empty(version: CgroupVersion) -> Statistics {
        Statistics {
            version,
            cpu: Cpu::default(),
            cpuset: None,
            memory: Memory::default(),
            pids: None,
            io: Io::default(),
            hugetlb: BTreeMap::new(),
            rdma: Vec::new(),
            intel_rdt: None,
        }
    }
}

/// Processor time since the cgroup was made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cpu {
    /// All of it.
    pub usage: u64,
    /// Spent in user mode; in steps of 10 ms on v1.
    pub user: u64,
    /// Spent in the kernel; in steps of 10 ms on v1.
    pub kernel: u64,
    /// v1: [`Cpu::usage`] by processor.
    pub per_cpu: Vec<u64>,
    /// v1: time in user mode by processor.
    pub per_cpu_user: Vec<u64>,
    /// v1: time in the kernel by processor.
    pub per_cpu_kernel: Vec<u64>,
    /// What the quota did.
    pub throttling: Throttling,
    /// v2.
    pub pressure: Option<Pressure>,
}

/// What a processor quota did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods that have passed.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time that the processes were held back for.
    pub throttled_time: u64,
    /// Periods that went over the quota by burst.
    pub burst_periods: u64,
    /// Time above the quota, by burst.
    pub burst_time: u64,
}

/// How long processes wait for a resource (PSI).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// At least one waits.
    pub some: Stall,
    /// All wait. Zero where the kernel does not say (`cpu` before 5.13).
    pub full: Stall,
}

/// The waiting of [`Pressure`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// Percent of the last 10 s.
    pub avg10: f64,
    /// Percent of the last 60 s.
    pub avg60: f64,
    /// Percent of the last 300 s.
    pub avg300: f64,
    /// All of it, in microseconds.
    pub total: u64,
}

/// The `cpuset.*` files of v1; flags are 0 or 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the kernel's files")]
pub struct Cpuset {
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory, of the container's cgroup and all below it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// `None`: no memory controller. Its `failures` are v1's.
    pub usage: Option<Counter>,
    /// v1: memory and swap together (`memory.memsw.*`). v2: swap alone (`memory.swap.*`).
    pub swap: Option<Counter>,
    /// v1: kernel memory.
    pub kernel: Option<Counter>,
    /// v1: buffers of TCP.
    pub kernel_tcp: Option<Counter>,
    /// All of `memory.stat`.
    pub stat: BTreeMap<String, u64>,
    /// v2: `memory.events`, the cgroups below included.
    pub events: Option<MemoryEvents>,
    /// v2: `memory.events.local`, without the cgroups below.
    pub local_events: Option<MemoryEvents>,
    /// v1: `memory.oom_control`.
    pub oom_control: Option<OomControl>,
    /// v2.
    pub pressure: Option<Pressure>,
}

/// What is used of something that can be limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    /// Now.
    pub usage: u64,
    /// The highest ever; 0 where the kernel does not say (v2: `memory.peak` since 5.19, `memory.swap.peak` since 6.5).
    pub max_usage: u64,
    /// [`UNLIMITED`], on v1 the largest multiple of the page size; `None` where there is no such limit.
    pub limit: Option<u64>,
    /// v1: how often the limit was hit.
    pub failures: u64,
}

/// How often something befell a cgroup's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// Reclaimed though below `memory.low`.
    pub low: u64,
    /// Throttled above `memory.high`.
    pub high: u64,
    /// About to go over `memory.max`.
    pub max: u64,
    /// An allocation was about to fail at the limit.
    pub oom: u64,
    /// Processes killed for want of memory, by any OOM killer.
    pub oom_kill: u64,
    /// Times that the whole group was killed (`memory.oom.group`; since 5.17).
    pub oom_group_kill: u64,
}

/// `memory.oom_control` of v1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OomControl {
    /// Processes are stopped at the limit, not killed.
    pub kill_disabled: bool,
    /// Some are stopped now.
    pub under_oom: bool,
    /// Processes killed for want of memory, in this cgroup alone.
    pub oom_kill: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// Threads now. On v2 without the controller: processes, those of the cgroups below not included.
    pub current: u64,
    /// Of threads; may be [`UNLIMITED`].
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Io {
    /// v2: `io.stat`.
    pub devices: Vec<IoDevice>,
    /// v1: bytes, for each device and direction.
    pub service_bytes: Vec<IoEntry>,
    /// v1: requests.
    pub serviced: Vec<IoEntry>,
    /// v1: requests waiting.
    pub queued: Vec<IoEntry>,
    /// v1: nanoseconds from dispatch to completion.
    pub service_time: Vec<IoEntry>,
    /// v1: nanoseconds waited in the queues.
    pub wait_time: Vec<IoEntry>,
    /// v1: requests merged with others.
    pub merged: Vec<IoEntry>,
    /// v1: milliseconds that the device was ours.
    pub time: Vec<IoEntry>,
    /// v1: sectors.
    pub sectors: Vec<IoEntry>,
    /// v2.
    pub pressure: Option<Pressure>,
}

/// A line of `io.stat`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoDevice {
    /// Device number.
    pub major: u64,
    /// Device number.
    pub minor: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes discarded.
    pub discarded_bytes: u64,
    /// Discards.
    pub discards: u64,
}

/// A line of one of v1's blkio files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoEntry {
    /// Device number.
    pub major: u64,
    /// Device number.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`; empty in files that do not tell them apart.
    pub operation: String,
    /// In the unit of the file.
    pub value: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hugetlb {
    /// Faulted in. `failures` counts those of reservations too on v2.
    pub pages: Counter,
    /// Reserved (since 5.7).
    pub reserved: Option<Counter>,
}

/// An RDMA device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rdma {
    /// Its name: `mlx5_0`.
    pub device: String,
    /// Handles in use.
    pub handles: u32,
    /// Of handles; [`u32::MAX`] is no limit.
    pub handle_limit: u32,
    /// Objects in use.
    pub objects: u32,
    /// Of objects; [`u32::MAX`] is no limit.
    pub object_limit: u32,
}
