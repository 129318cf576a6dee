//! The container's settings, and the process: what it may use, who it is, what it runs.

use stage::step::Step;

use crate::config::names::{IO_CLASSES, MEMORY_FLAGS, MEMORY_MODES, SCHED_FLAGS, SCHED_POLICIES};
use crate::plan::form::Owned;
use crate::plan::words::{capabilities, in_brackets, limit, name_of, number_list, resource_name};

pub(super) fn settling(step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::Sysctl { path, value, .. } => {
            format!("write {:?} to /proc/sys/{}", value.show(), path.show())
        }
        Step::Hostname { name } => format!("set the host name to {}", name.show()),
        Step::Domainname { name } => format!("set the domain name to {}", name.show()),
        Step::Rlimit {
            resource,
            soft,
            hard,
        } => format!(
            "set {} to {}, at most {}",
            resource_name(*resource),
            limit(*soft),
            limit(*hard)
        ),
        Step::Personality { value } => format!("set the personality to {value:#x}"),
        Step::Umask { mask } => format!("set the umask to {mask:04o}"),
        _ => return None,
    })
}

pub(super) fn scheduling(step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::Scheduler {
            policy,
            flags,
            nice,
            priority,
            runtime,
            deadline,
            period,
        } => {
            let names: Vec<_> = SCHED_FLAGS
                .iter()
                .filter(|(_, flag)| flags & flag != 0)
                .map(|(name, _)| (*name).to_owned())
                .collect();
            format!(
                "schedule as {}{}: nice {nice}, priority {priority}, runtime {runtime}, deadline {deadline}, period {period}",
                name_of(SCHED_POLICIES, *policy),
                in_brackets(&names)
            )
        }
        Step::IoPriority { value } => {
            let class = u16::try_from(value >> 13).unwrap_or(0);
            format!(
                "set the io priority to {} {}",
                name_of(IO_CLASSES, class),
                value & 0x1fff
            )
        }
        Step::MemoryPolicy { mode, nodes } => {
            let known = MEMORY_FLAGS.iter().filter(|(_, flag)| mode & flag != 0);
            let names: Vec<_> = known.clone().map(|(name, _)| (*name).to_owned()).collect();
            let bare = known.fold(*mode, |mode, (_, flag)| mode & !flag);
            let name = MEMORY_MODES
                .iter()
                .find(|(_, (number, _))| *number == bare)
                .map_or("?", |(name, _)| *name);
            format!(
                "set the memory policy {name}{} on nodes {}",
                in_brackets(&names),
                number_list(&nodes.0)
            )
        }
        _ => return None,
    })
}

pub(super) fn becoming(step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::DropBounding { keep, .. } => format!(
            "drop from the bounding set all capabilities but: {}",
            capabilities(*keep)
        ),
        Step::OwnStdio { uid } => format!("give stdio to uid {uid} as far as the kernel allows"),
        Step::User {
            uid,
            gid,
            groups,
            keep_groups,
        } => {
            let groups = match (keep_groups, groups.0.is_empty()) {
                (true, _) => "keeping the groups, which may not be set here".to_owned(),
                (false, true) => "no further groups".to_owned(),
                (false, false) => format!(
                    "groups {}",
                    groups
                        .0
                        .iter()
                        .map(u64::to_string)
                        .collect::<Vec<_>>()
                        .join(",")
                ),
            };
            format!("become uid {uid}, gid {gid}, {groups}")
        }
        Step::Capabilities {
            effective,
            permitted,
            inheritable,
            ambient,
        } => format!(
            "set capabilities: effective {}; permitted {}; inheritable {}; ambient {}",
            capabilities(*effective),
            capabilities(*permitted),
            capabilities(*inheritable),
            capabilities(*ambient)
        ),
        Step::ExecLabel {
            attribute, label, ..
        } => format!(
            "write {:?} to /proc/self/attr/{}",
            label.show(),
            attribute.show()
        ),
        Step::NoNewPrivileges {} => "set no-new-privileges".to_owned(),
        Step::Cwd { path } => format!(
            "change to the directory {}, which must lie inside the root",
            path.show()
        ),
        Step::CwdAsUser { path, uid, gid } => {
            format!("change to it as uid {uid}, gid {gid}: {}", path.show())
        }
        _ => return None,
    })
}

pub(super) fn ending(step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::FindProgram { name, path } if name.show().contains('/') => {
            let _ = path; // not searched
            format!("check that {} can be executed", name.show())
        }
        Step::FindProgram { name, path } => {
            format!("look for {} in PATH={}", name.show(), path.show())
        }
        Step::AwaitStart { .. } => {
            "tell the parent that all is ready; wait for its word, then for start".to_owned()
        }
        Step::AwaitCommit {} => "tell the parent that all is ready; wait for its word".to_owned(),
        Step::Arguments {
            args,
            env,
            find_home,
            ..
        } => {
            let words: Vec<_> = args
                .0
                .iter()
                .map(|arg| format!("{:?}", arg.to_string_lossy()))
                .collect();
            let home = if *find_home {
                ", and HOME from /etc/passwd"
            } else {
                ""
            };
            format!(
                "lay out {} with {} environment variables{home}",
                words.join(" "),
                env.0.len()
            )
        }
        Step::TakeFilter { .. } => "ask the parent for the seccomp filter".to_owned(),
        Step::ExpectFilter { .. } => {
            "make room for the seccomp filter, which the parent's word brings".to_owned()
        }
        Step::DieWithParent { .. } => {
            "be killed when the parent ends: the filter may keep us from noticing".to_owned()
        }
        Step::Seccomp {
            flags, permitted, ..
        } => format!("load the seccomp filter{}", loading(*flags, *permitted)),
        Step::Listen {
            flags, permitted, ..
        } => format!(
            "tell the parent that all is ready, and load the seccomp filter, whose listener it takes{}",
            loading(*flags, *permitted)
        ),
        Step::Exec { preserved } if *preserved > 0 => {
            format!("execute it; fds 3 to {} stay open", 2 + preserved)
        }
        Step::Exec { .. } => "execute it".to_owned(),
        _ => return None,
    })
}

/// How a filter is loaded.
fn loading(flags: u32, permitted: u64) -> String {
    const FLAGS: [(u32, &str); 6] = [
        (1, "TSYNC"),
        (2, "LOG"),
        (4, "SPEC_ALLOW"),
        (8, "NEW_LISTENER"),
        (16, "TSYNC_ESRCH"),
        (32, "WAIT_KILLABLE_RECV"),
    ];
    let mut words: Vec<_> = FLAGS
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|&(_, name)| name)
        .collect();
    if permitted != 0 {
        words.push("by CAP_SYS_ADMIN, which execve takes away");
    }
    if words.is_empty() {
        String::new()
    } else {
        format!(" ({})", words.join(", "))
    }
}
