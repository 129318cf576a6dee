//! The `linux` object of `config.json`.

use super::{Asks, IdMapping, List, Map, Text, object};

object! { Linux<'a> {
    "uidMappings" => uid_mappings: List<IdMapping>,
    "gidMappings" => gid_mappings: List<IdMapping>,
    "sysctl" => sysctl: Map<'a, Text<'a>>,
    "resources" => resources: Resources<'a>,
    "cgroupsPath" => cgroups_path: Text<'a>,
    "namespaces" => namespaces: List<Namespace<'a>>,
    "devices" => devices: List<Device<'a>>,
    "netDevices" => net_devices: Map<'a, NetDevice<'a>>,
    "seccomp" => seccomp: Asks,
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
    "blockIO" => block_io: Asks,
    "cpu" => cpu: Asks,
    "hugepageLimits" => hugepage_limits: Asks,
    "memory" => memory: Asks,
    "network" => network: Asks,
    "pids" => pids: Pids,
    "rdma" => rdma: Asks,
    "unified" => unified: Asks,
}}

object! { Pids {
    "limit" => limit: i64,
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
