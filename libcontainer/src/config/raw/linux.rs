//! The `linux` object of `config.json`.

use super::{IdMapping, List, Map, Text, object};

object! { Linux<'a> {
    "uidMappings" => uid_mappings: List<IdMapping>,
    "gidMappings" => gid_mappings: List<IdMapping>,
    "sysctl" => sysctl: Map<'a, Text<'a>>,
    "resources" => resources: Resources<'a>,
    "cgroupsPath" => cgroups_path: Text<'a>,
    "namespaces" => namespaces: List<Namespace<'a>>,
    "devices" => devices: List<Device<'a>>,
    "netDevices" => net_devices: Map<'a, NetDevice<'a>>,
    "seccomp" => seccomp: Seccomp<'a>,
    "rootfsPropagation" => rootfs_propagation: Text<'a>,
    "maskedPaths" => masked_paths: List<Text<'a>>,
    "readonlyPaths" => readonly_paths: List<Text<'a>>,
    "mountLabel" => mount_label: Text<'a>,
    "intelRdt" => intel_rdt: IntelRdt<'a>,
    "memoryPolicy" => memory_policy: MemoryPolicy<'a>,
    "personality" => personality: Personality<'a>,
    "timeOffsets" => time_offsets: Map<'a, TimeOffset>,
}}

object! { Resources<'a> {
    "devices" => devices: List<DeviceRule<'a>>,
    "blockIO" => block_io: BlockIo,
    "cpu" => cpu: Cpu<'a>,
    "hugepageLimits" => hugepage_limits: List<HugepageLimit<'a>>,
    "memory" => memory: Memory,
    "network" => network: Network<'a>,
    "pids" => pids: Pids,
    "rdma" => rdma: Map<'a, Rdma>,
    "unified" => unified: Map<'a, Text<'a>>,
}}

object! { Memory {
    "limit" => limit: i64,
    "reservation" => reservation: i64,
    "swap" => swap: i64,
    "kernelTCP" => kernel_tcp: i64,
    "swappiness" => swappiness: u64,
    "disableOOMKiller" => disable_oom_killer: bool,
    "checkBeforeUpdate" => check_before_update: bool,
}}

object! { Cpu<'a> {
    "shares" => shares: u64,
    "quota" => quota: i64,
    "burst" => burst: u64,
    "period" => period: u64,
    "realtimeRuntime" => realtime_runtime: i64,
    "realtimePeriod" => realtime_period: u64,
    "cpus" => cpus: Text<'a>,
    "mems" => mems: Text<'a>,
    "idle" => idle: i64,
}}

object! { Pids {
    "limit" => limit: i64,
}}

object! { BlockIo {
    "weight" => weight: u16,
    "leafWeight" => leaf_weight: u16,
    "weightDevice" => weight_device: List<WeightDevice>,
    "throttleReadBpsDevice" => throttle_read_bps_device: List<ThrottleDevice>,
    "throttleWriteBpsDevice" => throttle_write_bps_device: List<ThrottleDevice>,
    "throttleReadIOPSDevice" => throttle_read_iops_device: List<ThrottleDevice>,
    "throttleWriteIOPSDevice" => throttle_write_iops_device: List<ThrottleDevice>,
}}

object! { WeightDevice {
    "major" => major: i64,
    "minor" => minor: i64,
    "weight" => weight: u16,
    "leafWeight" => leaf_weight: u16,
}}

object! { ThrottleDevice {
    "major" => major: i64,
    "minor" => minor: i64,
    "rate" => rate: u64,
}}

object! { HugepageLimit<'a> {
    "pageSize" => page_size: Text<'a>,
    "limit" => limit: u64,
}}

object! { Network<'a> {
    "classID" => class_id: u32,
    "priorities" => priorities: List<Priority<'a>>,
}}

object! { Priority<'a> {
    "name" => name: Text<'a>,
    "priority" => priority: u32,
}}

object! { Rdma {
    "hcaHandles" => hca_handles: u32,
    "hcaObjects" => hca_objects: u32,
}}

object! { DeviceRule<'a> {
    "allow" => allow: bool,
    "type" => kind: Text<'a>,
    "major" => major: i64,
    "minor" => minor: i64,
    "access" => access: Text<'a>,
}}

object! { Namespace<'a> {
    "type" => kind: Text<'a>,
    "path" => path: Text<'a>,
}}

object! { Device<'a> {
    "type" => kind: Text<'a>,
    "path" => path: Text<'a>,
    "major" => major: i64,
    "minor" => minor: i64,
    "fileMode" => file_mode: u32,
    "uid" => uid: u32,
    "gid" => gid: u32,
}}

object! { Seccomp<'a> {
    "defaultAction" => default_action: Text<'a>,
    "defaultErrnoRet" => default_errno: u64,
    "architectures" => architectures: List<Text<'a>>,
    "flags" => flags: List<Text<'a>>,
    "listenerPath" => listener_path: Text<'a>,
    "listenerMetadata" => listener_metadata: Text<'a>,
    "syscalls" => rules: List<SeccompRule<'a>>,
}}

object! { SeccompRule<'a> {
    "names" => names: List<Text<'a>>,
    "action" => action: Text<'a>,
    "errnoRet" => errno: u64,
    "args" => conditions: List<SeccompCondition<'a>>,
}}

object! { SeccompCondition<'a> {
    "index" => index: u64,
    "value" => value: u64,
    "valueTwo" => second: u64,
    "op" => operator: Text<'a>,
}}

object! { IntelRdt<'a> {
    "closID" => clos_id: Text<'a>,
    "schemata" => schemata: List<Text<'a>>,
    "l3CacheSchema" => l3_cache_schema: Text<'a>,
    "memBwSchema" => mem_bw_schema: Text<'a>,
    "enableMonitoring" => enable_monitoring: bool,
}}

object! { NetDevice<'a> {
    "name" => name: Text<'a>,
}}

object! { MemoryPolicy<'a> {
    "mode" => mode: Text<'a>,
    "nodes" => nodes: Text<'a>,
    "flags" => flags: List<Text<'a>>,
}}

object! { Personality<'a> {
    "domain" => domain: Text<'a>,
    "flags" => flags: List<Text<'a>>,
}}

object! { TimeOffset {
    "secs" => seconds: i64,
    "nanosecs" => nanoseconds: u32,
}}
