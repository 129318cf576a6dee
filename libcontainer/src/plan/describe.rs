//! One sentence for each step, as `explain` prints it.

use stage::step::{Step, hook_point};

use super::form::{Owned, Text, Texts};
use super::words::{
    attributes, capabilities, in_brackets, limit, name_of, namespaces, number_list, propagation,
    resource_name,
};
use super::{HandedSource, LaunchPlan, SlotSource, flags};
use crate::config::names::{IO_CLASSES, MEMORY_FLAGS, MEMORY_MODES, SCHED_FLAGS, SCHED_POLICIES};

/// What a step does, in the imperative.
pub(super) fn describe(plan: &LaunchPlan, step: &Step<Owned>) -> String {
    entering(plan, step)
        .or_else(|| mounting(plan, step))
        .or_else(|| filling(step))
        .or_else(|| settling(step))
        .or_else(|| becoming(step))
        .unwrap_or_else(|| step.name().to_owned())
}

/// A container path as its processes see it.
pub(super) fn inside(path: &Text) -> String {
    let path = path.show();
    match path.starts_with('/') {
        true => path.into_owned(),
        false => format!("/{path}"),
    }
}

pub(super) fn slot(plan: &LaunchPlan, slot: u8) -> String {
    match plan.slots.get(usize::from(slot)) {
        Some(SlotSource::Control) => "the control socket".to_owned(),
        Some(SlotSource::Proc) => "the parent's /proc".to_owned(),
        Some(SlotSource::Rootfs { path, .. }) => format!("the rootfs {}", path.display()),
        Some(SlotSource::Namespace { path, .. }) => path.display().to_string(),
        Some(SlotSource::StartFifo) => "the start fifo".to_owned(),
        Some(SlotSource::InitPidfd) => "init's pidfd".to_owned(),
        None => format!("slot {slot}"),
    }
}

fn entering(plan: &LaunchPlan, step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::AwaitGo {} => "wait until the parent has placed us into our cgroup".to_owned(),
        Step::Join { namespace, kind } => {
            format!(
                "join the {} namespace {}",
                namespaces(*kind),
                slot(plan, *namespace)
            )
        }
        Step::JoinInit { kinds, .. } => format!("join init's namespaces: {}", namespaces(*kinds)),
        Step::NewUser {} => "unshare the user namespace; the parent writes its id maps".to_owned(),
        Step::BecomeRoot {} => "become root of the user namespace".to_owned(),
        Step::Unshare { kinds } => format!("unshare namespaces: {}", namespaces(*kinds)),
        Step::Fork {} => "go on as a child, which is in the pid namespace".to_owned(),
        Step::TimeOffsets { text, .. } => {
            format!(
                "set the time offsets: {}",
                text.show().trim_end().replace('\n', ", ")
            )
        }
        Step::EnterNewTime { .. } => "enter the time namespace".to_owned(),
        Step::NewSession {} => "start a session of our own".to_owned(),
        Step::OomScoreAdj { value, .. } => format!("set oom_score_adj to {}", value.show()),
        Step::Affinity { mask } if mask.0.iter().all(|word| *word == u64::MAX) => {
            "run on every CPU".to_owned()
        }
        Step::Affinity { mask } => format!("run on CPUs {}", number_list(&mask.0)),
        Step::LoopbackUp {} => "bring lo up".to_owned(),
        Step::HostHooks {} => {
            "wait while the parent moves network devices and runs prestart and createRuntime hooks"
                .to_owned()
        }
        Step::CloseSlot { slot: closed } => format!("close {}", slot(plan, *closed)),
        Step::SessionKeyring { name, permissions } => {
            let name = name.show();
            match permissions {
                0 => format!("join the session keyring {name}"),
                0x8 => format!("join the session keyring {name}; let others search it"),
                _ => format!("join the session keyring {name}; let its owner search it"),
            }
        }
        Step::Undumpable {} => {
            "become non-dumpable: nobody in a shared namespace looks into us".to_owned()
        }
        _ => return None,
    })
}

fn mounting(plan: &LaunchPlan, step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::TreePropagation { flags } => format!(
            "make every mount of our copy of the tree {}",
            propagation(*flags)
        ),
        Step::AttachRoot { root, at } if at.0.is_empty() => {
            format!("attach {} over /", slot(plan, *root))
        }
        Step::AttachRoot { root, at } => format!("attach {} at {}", slot(plan, *root), at.show()),
        Step::CloneRoot { path, .. } => {
            format!("clone {} with its mounts onto itself", path.show())
        }
        Step::MountNew {
            fstype,
            flags,
            data,
            attr_flags,
            target,
            copy_up,
            inherit_mode,
            ..
        } => {
            let mut words = attributes(*attr_flags, 0, false);
            words.extend(superblock(*flags));
            words.extend(Some(data.show().into_owned()).filter(|data| !data.is_empty()));
            let mut text = mount(fstype, target, words, 0);
            if *inherit_mode {
                text.push_str(", with the mode of what it covers");
            }
            if *copy_up {
                text.push_str(", with a copy of what it covers");
            }
            text
        }
        Step::Bind {
            source,
            target,
            attr_set,
            attr_clear,
            recursive_set,
            recursive_clear,
            propagation,
        } => {
            let HandedSource::Bind {
                path,
                recursive,
                idmap,
                ..
            } = plan.handed.get(usize::from(*source))?;
            let mut words = bind_words(
                *recursive,
                (*attr_set, *attr_clear),
                (*recursive_set, *recursive_clear),
                *propagation,
            );
            words.extend(
                idmap
                    .as_ref()
                    .map(|idmap| if idmap.recursive { "ridmap" } else { "idmap" }.to_owned()),
            );
            format!(
                "bind {} on {}{}",
                path.display(),
                inside(target),
                in_brackets(&words)
            )
        }
        Step::BindPath {
            source,
            recursive,
            target,
            attr_set,
            attr_clear,
            recursive_set,
            recursive_clear,
            propagation,
        } => {
            let words = bind_words(
                *recursive,
                (*attr_set, *attr_clear),
                (*recursive_set, *recursive_clear),
                *propagation,
            );
            format!(
                "bind {} on {}{}",
                source.show(),
                inside(target),
                in_brackets(&words)
            )
        }
        Step::Remount {
            target,
            attr_set,
            attr_clear,
            recursive_set,
            recursive_clear,
        } => {
            let mut words = attributes(*attr_set, *attr_clear, false);
            words.extend(attributes(*recursive_set, *recursive_clear, true));
            format!(
                "change the mount at {}{}",
                inside(target),
                in_brackets(&words)
            )
        }
        Step::Propagation { target, flags } => format!(
            "make the mount at {} {}",
            inside(target),
            propagation(*flags)
        ),
        Step::PivotRoot {} => "pivot_root; the host's tree is detached".to_owned(),
        Step::MoveRoot {} => {
            "chroot to the rootfs without pivot_root; the host's /proc and /sys are detached"
                .to_owned()
        }
        Step::RootPropagation { flags } => format!("make / {}", propagation(*flags)),
        Step::RemountReadonly { path } => format!("make {} read-only", inside(path)),
        Step::Mask { path } => format!("mask {}, if it is there", inside(path)),
        Step::Readonly { path } => format!(
            "make {} read-only with all below it, if it is there",
            inside(path)
        ),
        _ => return None,
    })
}

fn mount(fstype: &Text, target: &Text, mut words: Vec<String>, flags: u64) -> String {
    words.extend((flags != 0).then(|| propagation(flags)));
    // `ro` is a word of the mount and of the superblock.
    let mut known = std::collections::BTreeSet::new();
    words.retain(|word| known.insert(word.clone()));
    format!(
        "mount {} on {}{}",
        fstype.show(),
        inside(target),
        in_brackets(&words)
    )
}

fn bind_words(recursive: bool, own: (u64, u64), below: (u64, u64), flags: u64) -> Vec<String> {
    let mut words = vec![if recursive { "rbind" } else { "bind" }.to_owned()];
    words.extend(attributes(own.0, own.1, false));
    words.extend(attributes(below.0, below.1, true));
    words.extend((flags != 0).then(|| propagation(flags)));
    words
}

/// MS_* of a superblock.
pub(super) fn superblock(set: u64) -> Vec<String> {
    [
        (flags::MS_RDONLY, "ro"),
        (flags::MS_SYNCHRONOUS, "sync"),
        (flags::MS_DIRSYNC, "dirsync"),
        (flags::MS_MANDLOCK, "mand"),
        (flags::MS_LAZYTIME, "lazytime"),
        (flags::MS_I_VERSION, "iversion"),
    ]
    .into_iter()
    .filter(|(flag, _)| set & flag != 0)
    .map(|(_, word)| word.to_owned())
    .collect()
}

fn filling(step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::Device {
            path,
            mode,
            major,
            minor,
            uid,
            gid,
        } => {
            format!(
                "make {} {} {:04o} {uid}:{gid}",
                inside(path),
                device(*mode, *major, *minor),
                mode & 0o7777
            )
        }
        Step::BindDevice { source, path } => {
            format!("bind the host's {} on {}", source.show(), inside(path))
        }
        Step::Symlink {
            content,
            path,
            replace,
        } => {
            let end = if *replace {
                ", in place of what is there"
            } else {
                " unless it is there"
            };
            format!("link {} to {}{end}", inside(path), content.show())
        }
        Step::Console {
            rows,
            columns,
            bind_console,
            ..
        } => {
            let mut text = "open a terminal of the container's devpts; its master goes to the parent, its slave to stdio".to_owned();
            if *bind_console {
                text.push_str(" and /dev/console");
            }
            if (*rows, *columns) != (0, 0) {
                text.push_str(&format!("; {rows} rows, {columns} columns"));
            }
            text
        }
        Step::ReopenNull {} => {
            "replace the host's /dev/null on stdio by the container's".to_owned()
        }
        Step::Hook {
            point,
            index,
            path,
            args,
            timeout_s,
            ..
        } => {
            let mut text = format!(
                "run {} hook #{index}: {}",
                point_name(*point),
                command(path, args)
            );
            if *timeout_s > 0 {
                text.push_str(&format!(", for at most {timeout_s} s"));
            }
            text
        }
        Step::MakeCwd { path } => format!("make the directory {} if it is missing", inside(path)),
        _ => return None,
    })
}

/// `c 1:3`.
pub(super) fn device(mode: u32, major: u32, minor: u32) -> String {
    let kind = match mode & flags::S_IFMT {
        flags::S_IFCHR => "c",
        flags::S_IFIFO => return "p".to_owned(),
        _ => "b",
    };
    format!("{kind} {major}:{minor}")
}

pub(super) fn point_name(point: u8) -> &'static str {
    match point {
        hook_point::CREATE_CONTAINER => "createContainer",
        _ => "startContainer",
    }
}

fn command(path: &Text, args: &Texts) -> String {
    let rest = args
        .0
        .iter()
        .skip(1)
        .map(|arg| format!(" {:?}", arg.to_string_lossy()));
    format!("{}{}", path.show(), rest.collect::<String>())
}

fn settling(step: &Step<Owned>) -> Option<String> {
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
        Step::Personality { value } => format!("set the personality to {value:#x}"),
        Step::Umask { mask } => format!("set the umask to {mask:04o}"),
        _ => return None,
    })
}

fn becoming(step: &Step<Owned>) -> Option<String> {
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
        Step::Exec {
            args,
            env,
            find_home,
            preserved,
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
            let kept = if *preserved > 0 {
                format!("; fds 3 to {} stay open", 2 + preserved)
            } else {
                String::new()
            };
            format!(
                "execute {} with {} environment variables{home}{kept}",
                words.join(" "),
                env.0.len()
            )
        }
        _ => return None,
    })
}
