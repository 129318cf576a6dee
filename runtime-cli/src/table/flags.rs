//! Every flag, once. Two commands that take the same flag refer to the same entry.

use super::{Flag, Hint, Takes};

const DIR: Takes = Takes::Text("DIR");
const FILE: Takes = Takes::Text("FILE");
const SOCKET: Takes = Takes::Text("SOCKET");

/// The flags that stand before the command.
pub static GLOBAL: &[&Flag] = &[
    &ROOT,
    &LOG,
    &LOG_FORMAT,
    &DEBUG,
    &SYSTEMD_CGROUP,
    &CGROUP_MANAGER,
    &ROOTLESS,
    &CRIU,
    &VERSION,
];

/// Where the state of containers is kept.
pub static ROOT: Flag = Flag::value(
    "root",
    DIR,
    Hint::Directory,
    "keep the state of containers in DIR (default: /run/garboard, or $XDG_RUNTIME_DIR/garboard when rootless)",
);
/// Where errors are recorded.
pub static LOG: Flag = Flag::value(
    "log",
    FILE,
    Hint::File,
    "append errors to FILE as well as printing them",
);
/// How errors are recorded.
pub static LOG_FORMAT: Flag = Flag::value(
    "log-format",
    Takes::Text("FORMAT"),
    Hint::Words(&["text", "json"]),
    "write the log as text or json (default: text)",
);
/// Adds warnings to the log.
pub static DEBUG: Flag = Flag::switch("debug", "record warnings in the log too");
/// The cgroup driver, as runc asks for it.
pub static SYSTEMD_CGROUP: Flag = Flag::switch("systemd-cgroup", "let systemd manage the cgroup");
/// The cgroup driver, as crun asks for it.
pub static CGROUP_MANAGER: Flag = Flag::value(
    "cgroup-manager",
    Takes::Text("MANAGER"),
    Hint::Words(&["cgroupfs", "systemd", "disabled"]),
    "who manages the cgroup: cgroupfs, systemd or disabled (default: cgroupfs)",
);
/// Sent by go-runc when its caller set it.
pub static ROOTLESS: Flag = Flag::value(
    "rootless",
    Takes::Text("BOOL"),
    Hint::Words(&["true", "false", "auto"]),
    "tolerate cgroups that may not be written: true, false or auto (default: auto)",
);
/// Sent by old engines.
pub static CRIU: Flag = Flag::value(
    "criu",
    FILE,
    Hint::File,
    "accepted for old engines and ignored",
)
.hidden();
/// Shows the version.
pub static VERSION: Flag = Flag::switch("version", "print the version").short('v');
/// Understood by every command.
pub static HELP: Flag = Flag::switch("help", "show this help").short('h');

/// The directory of `config.json`.
pub static BUNDLE: Flag = Flag::value(
    "bundle",
    DIR,
    Hint::Directory,
    "the bundle: the directory of config.json (default: the current one)",
)
.short('b');
/// Receives the terminal.
pub static CONSOLE_SOCKET: Flag = Flag::value(
    "console-socket",
    SOCKET,
    Hint::File,
    "send the master end of the terminal to this AF_UNIX socket",
);
/// Receives the pidfd.
pub static PIDFD_SOCKET: Flag = Flag::value(
    "pidfd-socket",
    SOCKET,
    Hint::File,
    "send a pidfd of the process to this AF_UNIX socket",
);
/// Receives the pid.
pub static PID_FILE: Flag =
    Flag::value("pid-file", FILE, Hint::File, "write the process id to FILE");
/// For a rootfs that is the initial ramdisk.
pub static NO_PIVOT: Flag = Flag::switch(
    "no-pivot",
    "do not use pivot_root; needed when the rootfs is on an initial ramdisk",
);
/// Leaves the session keyring alone.
pub static NO_NEW_KEYRING: Flag = Flag::switch(
    "no-new-keyring",
    "let the container inherit the caller's session keyring instead of making a new one",
);
/// Fds handed on.
pub static PRESERVE_FDS: Flag = Flag::value(
    "preserve-fds",
    Takes::Number("N"),
    Hint::Nothing,
    "hand on N file descriptors after stdio and $LISTEN_FDS (default: 0)",
);
/// Does not wait.
pub static DETACH: Flag = Flag::switch("detach", "do not wait for the process").short('d');
/// Leaves a container that ended.
pub static KEEP: Flag = Flag::switch("keep", "do not delete the container when it has ended");
/// Leaves orphans to the system's init.
pub static NO_SUBREAPER: Flag = Flag::switch(
    "no-subreaper",
    "do not reap the processes that the container leaves behind",
);

/// Ends the container first.
pub static FORCE: Flag = Flag::switch(
    "force",
    "kill the container first if it still runs; succeed if there is none",
)
.short('f');
/// Kept for old engines.
pub static ALL: Flag = Flag::switch(
    "all",
    "signal every process of the container, and accept that it has ended",
)
.short('a')
.hidden();

/// Working directory of the new process.
pub static CWD: Flag = Flag::value(
    "cwd",
    DIR,
    Hint::Nothing,
    "working directory inside the container",
);
/// Environment of the new process.
pub static ENV: Flag = Flag::value(
    "env",
    Takes::Text("NAME=VALUE"),
    Hint::Nothing,
    "set an environment variable",
)
.short('e')
.repeated();
/// Gives the new process a terminal.
pub static TTY: Flag = Flag::switch("tty", "give the process a terminal").short('t');
/// Credentials of the new process.
pub static USER: Flag = Flag::value(
    "user",
    Takes::Text("UID[:GID]"),
    Hint::Nothing,
    "run as this user and group",
)
.short('u');
/// Supplementary groups of the new process.
pub static ADDITIONAL_GIDS: Flag = Flag::value(
    "additional-gids",
    Takes::Number("GID"),
    Hint::Nothing,
    "add a supplementary group",
)
.short('g')
.repeated();
/// The whole process as a document.
pub static PROCESS: Flag = Flag::value(
    "process",
    FILE,
    Hint::File,
    "take the process from FILE, a JSON document like config.json's `process`",
)
.short('p');
/// SELinux label of the new process.
pub static PROCESS_LABEL: Flag = Flag::value(
    "process-label",
    Takes::Text("LABEL"),
    Hint::Nothing,
    "SELinux label of the process",
);
/// AppArmor profile of the new process.
pub static APPARMOR: Flag = Flag::value(
    "apparmor",
    Takes::Text("PROFILE"),
    Hint::Nothing,
    "AppArmor profile of the process",
);
/// No new privileges for the new process.
pub static NO_NEW_PRIVS: Flag = Flag::switch("no-new-privs", "set no-new-privileges");
/// More capabilities for the new process.
pub static CAP: Flag = Flag::value(
    "cap",
    Takes::Text("CAP"),
    Hint::Nothing,
    "add a capability, such as CAP_NET_RAW",
)
.short('c')
.repeated();
/// A cgroup below the container's.
pub static CGROUP: Flag = Flag::value(
    "cgroup",
    Takes::Text("[CTRL[,CTRL]:]PATH"),
    Hint::Nothing,
    "run in this cgroup below the container's own",
)
.repeated();
/// exec although frozen.
pub static IGNORE_PAUSED: Flag = Flag::switch(
    "ignore-paused",
    "go ahead in a paused container; the process runs when it is resumed",
);

/// Limits as a document.
pub static RESOURCES: Flag = Flag::value(
    "resources",
    FILE,
    Hint::File,
    "take the limits from FILE, or from standard input for -, instead of from flags",
)
.short('r');
/// Weight of block I/O.
pub static BLKIO_WEIGHT: Flag = Flag::value(
    "blkio-weight",
    Takes::Text("WEIGHT"),
    Hint::Nothing,
    "share of the disks, 10 to 1000",
);
/// Period of the quota.
pub static CPU_PERIOD: Flag = Flag::value(
    "cpu-period",
    Takes::Text("USEC"),
    Hint::Nothing,
    "length of a period for --cpu-quota",
);
/// CPU time a period.
pub static CPU_QUOTA: Flag = Flag::value(
    "cpu-quota",
    Takes::Text("USEC"),
    Hint::Nothing,
    "time on all CPUs together in each period; -1 is no limit",
);
/// Time saved up.
pub static CPU_BURST: Flag = Flag::value(
    "cpu-burst",
    Takes::Text("USEC"),
    Hint::Nothing,
    "time that may be saved for later periods",
);
/// Weight of CPU time.
pub static CPU_SHARE: Flag = Flag::value(
    "cpu-share",
    Takes::Text("SHARES"),
    Hint::Nothing,
    "share of the CPUs, 2 to 262144",
);
/// Period of the realtime quota.
pub static CPU_RT_PERIOD: Flag = Flag::value(
    "cpu-rt-period",
    Takes::Text("USEC"),
    Hint::Nothing,
    "length of a period for --cpu-rt-runtime (v1 only)",
);
/// Realtime CPU time a period.
pub static CPU_RT_RUNTIME: Flag = Flag::value(
    "cpu-rt-runtime",
    Takes::Text("USEC"),
    Hint::Nothing,
    "realtime time in each period (v1 only)",
);
/// CPUs.
pub static CPUSET_CPUS: Flag = Flag::value(
    "cpuset-cpus",
    Takes::Text("LIST"),
    Hint::Nothing,
    "CPUs to use, such as 0-3,7",
);
/// Memory nodes.
pub static CPUSET_MEMS: Flag = Flag::value(
    "cpuset-mems",
    Takes::Text("LIST"),
    Hint::Nothing,
    "memory nodes to use",
);
/// SCHED_IDLE.
pub static CPU_IDLE: Flag = Flag::value(
    "cpu-idle",
    Takes::Text("0|1"),
    Hint::Nothing,
    "run only when nothing else wants to",
);
/// Memory.
pub static MEMORY: Flag = Flag::value(
    "memory",
    Takes::Text("BYTES"),
    Hint::Nothing,
    "limit of memory",
);
/// Memory that is kept.
pub static MEMORY_RESERVATION: Flag = Flag::value(
    "memory-reservation",
    Takes::Text("BYTES"),
    Hint::Nothing,
    "memory that is reclaimed last",
);
/// Memory and swap.
pub static MEMORY_SWAP: Flag = Flag::value(
    "memory-swap",
    Takes::Text("BYTES"),
    Hint::Nothing,
    "limit of memory and swap together",
);
/// Processes.
pub static PIDS_LIMIT: Flag = Flag::value(
    "pids-limit",
    Takes::Text("N"),
    Hint::Nothing,
    "limit of processes and threads; -1 is no limit",
);
/// Cache allocation.
pub static L3_CACHE_SCHEMA: Flag = Flag::value(
    "l3-cache-schema",
    Takes::Text("SCHEMA"),
    Hint::Nothing,
    "Intel RDT schema of the L3 cache",
);
/// Bandwidth allocation.
pub static MEM_BW_SCHEMA: Flag = Flag::value(
    "mem-bw-schema",
    Takes::Text("SCHEMA"),
    Hint::Nothing,
    "Intel RDT schema of memory bandwidth",
);
/// Sent by old engines.
pub static KERNEL_MEMORY: Flag = Flag::value(
    "kernel-memory",
    Takes::Text("BYTES"),
    Hint::Nothing,
    "accepted for old engines and ignored",
)
.hidden();
/// Sent by old engines.
pub static KERNEL_MEMORY_TCP: Flag = Flag::value(
    "kernel-memory-tcp",
    Takes::Text("BYTES"),
    Hint::Nothing,
    "accepted for old engines and ignored",
)
.hidden();

/// Table or JSON.
pub static FORMAT: Flag = Flag::value(
    "format",
    Takes::Text("FORMAT"),
    Hint::Words(&["table", "json"]),
    "print a table or json (default: table)",
)
.short('f');
/// Ids only.
pub static QUIET: Flag = Flag::switch("quiet", "print ids only").short('q');
/// A config.json for unprivileged users.
pub static SPEC_ROOTLESS: Flag =
    Flag::switch("rootless", "write a bundle for an unprivileged user");

/// Time between two readings.
pub static INTERVAL: Flag = Flag::value(
    "interval",
    Takes::Duration("DURATION"),
    Hint::Nothing,
    "read the statistics every DURATION, such as 500ms or 1m30s (default: 5s)",
);
/// One reading.
pub static STATS: Flag = Flag::switch("stats", "print the statistics once and end");

/// The call that `seccomp explain` and `show` are asked about.
pub static SECCOMP_SYSCALL: Flag = Flag::value(
    "syscall",
    Takes::Text("NAME"),
    Hint::Nothing,
    "explain, show: what happens to this system call (default: an overview of all)",
);

/// Its arguments.
pub static SECCOMP_ARGS: Flag = Flag::value(
    "args",
    Takes::Text("N,N…"),
    Hint::Nothing,
    "explain, show: the arguments of the call, separated by commas; what is not given is 0",
);

/// Where a recording is written.
pub static OUTPUT: Flag = Flag::value(
    "output",
    Takes::Text("FILE"),
    Hint::File,
    "record: write the profile to FILE",
)
.short('o');

/// What a recording is cut out of.
pub static TRIM: Flag = Flag::value(
    "trim",
    Takes::Text("PROFILE"),
    Hint::File,
    "record: write PROFILE without the permissions that were not used, instead of a new profile",
);

/// The architecture it is made on.
pub static SECCOMP_ARCH: Flag = Flag::value(
    "arch",
    Takes::Text("ARCH"),
    Hint::Nothing,
    "explain, show: the architecture of the program, as in x86_64 or SCMP_ARCH_ARM (default: this machine's)",
);

/// Text or JSON.
pub static EXPLAIN_FORMAT: Flag = Flag::value(
    "format",
    Takes::Text("FORMAT"),
    Hint::Words(&["text", "json"]),
    "print text or json (default: text)",
)
.short('f');
