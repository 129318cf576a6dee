//! The `process` object: in `config.json`, and alone in the file given to `exec --process`.

use super::{List, Text, object};

object! { Process<'a> {
    "terminal" => terminal: bool,
    "consoleSize" => console_size: ConsoleSize,
    "user" => user: User,
    "args" => args: List<Text<'a>>,
    "env" => env: List<Text<'a>>,
    "cwd" => cwd: Text<'a>,
    "capabilities" => capabilities: Capabilities<'a>,
    "rlimits" => rlimits: List<Rlimit<'a>>,
    "noNewPrivileges" => no_new_privileges: bool,
    "oomScoreAdj" => oom_score_adj: i64,
    "apparmorProfile" => apparmor_profile: Text<'a>,
    "selinuxLabel" => selinux_label: Text<'a>,
    "scheduler" => scheduler: Scheduler<'a>,
    "ioPriority" => io_priority: IoPriority<'a>,
    "execCPUAffinity" => exec_cpu_affinity: ExecCpuAffinity<'a>,
}}

object! { ConsoleSize {
    "height" => height: u64,
    "width" => width: u64,
}}

object! { User {
    "uid" => uid: u32,
    "gid" => gid: u32,
    "umask" => umask: u32,
    "additionalGids" => additional_gids: List<u32>,
}}

object! { Capabilities<'a> {
    "bounding" => bounding: List<Text<'a>>,
    "effective" => effective: List<Text<'a>>,
    "inheritable" => inheritable: List<Text<'a>>,
    "permitted" => permitted: List<Text<'a>>,
    "ambient" => ambient: List<Text<'a>>,
}}

object! { Rlimit<'a> {
    "type" => kind: Text<'a>,
    "soft" => soft: u64,
    "hard" => hard: u64,
}}

object! { Scheduler<'a> {
    "policy" => policy: Text<'a>,
    "nice" => nice: i32,
    "priority" => priority: i32,
    "flags" => flags: List<Text<'a>>,
    "runtime" => runtime: u64,
    "deadline" => deadline: u64,
    "period" => period: u64,
}}

object! { IoPriority<'a> {
    "class" => class: Text<'a>,
    "priority" => priority: i64,
}}

object! { ExecCpuAffinity<'a> {
    "initial" => initial: Text<'a>,
    "final" => last: Text<'a>,
}}
