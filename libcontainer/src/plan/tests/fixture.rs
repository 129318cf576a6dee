//! Configurations to plan: the default bundle of `spec`, and what the tests change in it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use crate::cgroup::CgroupMounts;
use crate::config::*;
use crate::error::Pointer;
use crate::plan::flags::*;
use crate::plan::*;

pub fn path(text: &str) -> ContainerPath {
    ContainerPath::parse(text).expect("an absolute path")
}

pub fn strings(list: &[&str]) -> Vec<CString> {
    list.iter()
        .map(|text| CString::new(*text).expect("no NUL"))
        .collect()
}

/// CAP_AUDIT_WRITE, CAP_KILL, CAP_NET_BIND_SERVICE.
pub const THREE: u64 = 1 << 29 | 1 << 5 | 1 << 10;

pub fn process() -> Process {
    Process {
        args: strings(&["sh"]),
        env: strings(&["PATH=/usr/bin:/bin", "TERM=xterm"]),
        cwd: path("/"),
        terminal: false,
        console_size: None,
        user: User::default(),
        capabilities: Some(Capabilities {
            bounding: THREE,
            effective: THREE,
            permitted: THREE,
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit {
            resource: 7,
            name: "RLIMIT_NOFILE",
            soft: 1024,
            hard: 1024,
        }],
        no_new_privileges: true,
        oom_score_adj: None,
        apparmor_profile: None,
        selinux_label: None,
        scheduler: None,
        io_priority: None,
        exec_cpu_affinity: None,
    }
}

pub fn filesystem(
    index: usize,
    target: &str,
    fstype: &str,
    flags: &[&'static str],
    attr_set: u64,
    data: &[&str],
) -> Mount {
    let kind = MountKind::Filesystem {
        fstype: CString::new(fstype).expect("no NUL"),
        source: CString::new(fstype).expect("no NUL"),
        flags: flags.to_vec(),
        data: strings(data),
        copy_up: false,
    };
    mount(index, target, kind, attr_set, 0)
}

pub fn bind(index: usize, source: &str, target: &str, attr_set: u64, attr_clear: u64) -> Mount {
    let kind = MountKind::Bind {
        source: PathBuf::from(source),
        recursive: true,
    };
    mount(index, target, kind, attr_set, attr_clear)
}

pub fn mount(index: usize, target: &str, kind: MountKind, attr_set: u64, attr_clear: u64) -> Mount {
    Mount {
        index,
        target: path(target),
        kind,
        attr_set,
        attr_clear,
        recursive_set: 0,
        recursive_clear: 0,
        propagation: Vec::new(),
        idmap: None,
    }
}

/// What `spec` writes, with the rootfs in /bundle/rootfs and no terminal.
pub fn default_config() -> Config {
    const QUIET: u64 = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
    const DEV_DATA: &[&str] = &["mode=755", "size=65536k"];
    const PTS_DATA: &[&str] = &["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    Config {
        intel_rdt: None,
        oci_version: "1.3.0".to_owned(),
        root: Root {
            path: PathBuf::from("/bundle/rootfs"),
            readonly: true,
            propagation: MS_SLAVE | MS_REC,
            propagation_asked: false,
        },
        process: process(),
        hostname: Some(c"garboard".to_owned()),
        domainname: None,
        namespaces: Namespaces {
            mount: Namespace::New,
            pid: Namespace::New,
            network: Namespace::New,
            ipc: Namespace::New,
            uts: Namespace::New,
            cgroup: Namespace::New,
            ..Namespaces::default()
        },
        id_maps: IdMaps::default(),
        time_offsets: Vec::new(),
        mounts: vec![
            filesystem(0, "/proc", "proc", &[], 0, &[]),
            // strictatime is 0x20.
            filesystem(1, "/dev", "tmpfs", &[], MOUNT_ATTR_NOSUID | 0x20, DEV_DATA),
            filesystem(2, "/dev/pts", "devpts", &[], QUIET, PTS_DATA),
            filesystem(
                3,
                "/dev/shm",
                "tmpfs",
                &[],
                QUIET | MOUNT_ATTR_NODEV,
                &["mode=1777", "size=65536k"],
            ),
            filesystem(
                4,
                "/dev/mqueue",
                "mqueue",
                &[],
                QUIET | MOUNT_ATTR_NODEV,
                &[],
            ),
            filesystem(
                5,
                "/sys",
                "sysfs",
                &["ro"],
                QUIET | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY,
                &[],
            ),
            mount(
                6,
                "/sys/fs/cgroup",
                MountKind::Cgroup,
                QUIET | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY,
                0,
            ),
        ],
        devices: Vec::new(),
        masked_paths: vec![path("/proc/kcore"), path("/sys/firmware")],
        readonly_paths: vec![path("/proc/bus"), path("/proc/sys")],
        mount_label: None,
        sysctl: Vec::new(),
        hooks: Hooks::default(),
        annotations: BTreeMap::new(),
        personality: None,
        memory_policy: None,
        net_devices: Vec::new(),
        cgroup: Cgroup::default(),
        seccomp: None,
        warnings: Vec::new(),
    }
}

pub fn request() -> CreateRequest {
    CreateRequest {
        id: "c1".to_owned(),
        bundle: PathBuf::from("/bundle"),
        no_pivot: false,
        no_new_keyring: false,
        listen_fds: 0,
        preserve_fds: 0,
        notify_dir: None,
        start: Start::AwaitFifo,
        host_env: strings(&["HOST=1"]),
    }
}

/// Root on a cgroup2 machine.
pub fn facts() -> PlanFacts {
    PlanFacts {
        process: ProcessFacts {
            last_cap: 40,
            keep_groups: false,
            into_cgroup: true,
            intel_rdt: false,
        },
        privileged: true,
        in_userns: false,
        cgroup: CgroupMounts::Unified {
            own: Some(PathBuf::from("/sys/fs/cgroup/c1")),
        },
        selinux: false,
        kcore: true,
        joined: JoinedFacts::default(),
    }
}

/// The default bundle in a user namespace of its own.
pub fn userns_config() -> Config {
    let mut config = default_config();
    config.namespaces.user = Namespace::New;
    let map = IdMap {
        container: 0,
        host: 100_000,
        size: 65_536,
    };
    config.id_maps = IdMaps {
        uid: vec![map],
        gid: vec![map],
    };
    config
}

/// A container of a pod: network, ipc and pid are another container's.
pub fn pod_config() -> Config {
    let mut config = default_config();
    let joined = |name: &str, index| Namespace::Path(Path::new("/proc/42/ns").join(name), index);
    config.namespaces.network = joined("net", 1);
    config.namespaces.ipc = joined("ipc", 2);
    config.namespaces.pid = joined("pid", 0);
    config
}

pub fn hook(program: &str) -> Hook {
    Hook {
        path: CString::new(program).expect("no NUL"),
        args: strings(&[program, "now"]),
        env: None,
        timeout_s: Some(5),
    }
}

pub fn exec_request() -> ExecRequest {
    ExecRequest {
        document: Pointer::PROCESS,
        preserve_fds: 0,
    }
}
