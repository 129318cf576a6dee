//! What must come before what, whatever else changes.

use super::fixture::*;
use crate::config::*;
use crate::plan::*;

fn names(plan: &LaunchPlan) -> Vec<&'static str> {
    plan.steps
        .iter()
        .map(|planned| planned.step.name())
        .collect()
}

/// Asserts that the last of `earlier` comes before the first of `later`, and that both are there.
fn before(plan: &LaunchPlan, earlier: &str, later: &str) {
    let names = names(plan);
    let last = names.iter().rposition(|name| *name == earlier);
    let first = names.iter().position(|name| *name == later);
    match (last, first) {
        (Some(last), Some(first)) => assert!(last < first, "{earlier} before {later}: {names:#?}"),
        _ => panic!("{earlier} or {later} is not in the plan: {names:#?}"),
    }
}

fn in_order(plan: &LaunchPlan, order: &[&str]) {
    for pair in order.windows(2) {
        before(plan, pair[0], pair[1]);
    }
}

fn with_everything(mut config: Config) -> Config {
    config.hooks.create_container = vec![hook("/a")];
    config.hooks.create_runtime = vec![hook("/b")];
    config.hooks.start_container = vec![hook("/c")];
    config.process.oom_score_adj = Some(5);
    config.process.cwd = path("/work");
    config.process.apparmor_profile = Some(c"p".to_owned());
    config.process.scheduler = Some(Scheduler::default());
    config.sysctl = vec![Sysctl {
        key: "net.a".to_owned(),
        path: c"net/a".to_owned(),
        value: c"1".to_owned(),
        scope: SysctlScope::Network,
    }];
    config
}

#[test]
fn the_default_order() {
    let plan = LaunchPlan::create(&with_everything(default_config()), &request(), &facts());
    assert_eq!(plan.shape, Shape::AtClone);
    assert_eq!(
        plan.clone_flags, 0x6e02_0000,
        "mount, cgroup, uts, ipc, pid, net"
    );
    assert!(!plan.forks && !plan.needs_maps && plan.host_hooks);
    in_order(
        &plan,
        &[
            "OomScoreAdj",
            "Undumpable",
            "NewSession",
            "LoopbackUp",
            "TreePropagation",
            "AttachRoot",
            "MountNew",
            "Device",
            "Symlink",
            "HostHooks",
        ],
    );
    in_order(
        &plan,
        &[
            "HostHooks",
            "PivotRoot",
            "ReopenNull",
            "MakeCwd",
            "RemountReadonly",
            "Sysctl",
            "Hostname",
            "Readonly",
            "Mask",
            "SessionKeyring",
            "Scheduler",
            "Umask",
            "Cwd",
            "OwnStdio",
            "DropBounding",
            "ExecLabel",
            "Rlimit",
            "User",
            "Capabilities",
            "NoNewPrivileges",
            "FindProgram",
            "AwaitStart",
            "Exec",
        ],
    );
    let hooks: Vec<_> = names(&plan)
        .iter()
        .enumerate()
        .filter(|(_, name)| **name == "Hook")
        .map(|(at, _)| at)
        .collect();
    let at = |name| {
        names(&plan)
            .iter()
            .position(|other| *other == name)
            .expect("in the plan")
    };
    assert!(
        at("HostHooks") < hooks[0] && hooks[0] < at("PivotRoot"),
        "createContainer"
    );
    assert!(
        at("AwaitStart") < hooks[1] && hooks[1] < at("Exec"),
        "startContainer"
    );
}

#[test]
fn a_stage_cloned_into_its_cgroup_still_waits_for_its_resctrl_group() {
    let mut facts = facts();
    facts.process.intel_rdt = true;
    let plan = LaunchPlan::create(&default_config(), &request(), &facts);
    assert!(plan.into_cgroup && plan.awaits_go);
    assert_eq!(names(&plan)[0], "AwaitGo");
}

#[test]
fn nothing_happens_before_go_where_the_clone_does_not_place_us() {
    let mut facts = facts();
    facts.process.into_cgroup = false;
    let plan = LaunchPlan::create(&default_config(), &request(), &facts);
    assert_eq!(names(&plan)[0], "AwaitGo");
    // The cgroup namespace's root is the cgroup at the time it is made: only after go.
    assert_eq!(plan.clone_flags & 0x200_0000, 0);
    in_order(&plan, &["AwaitGo", "Unshare", "TreePropagation"]);
}

#[test]
fn a_new_user_namespace_owns_the_rest() {
    let mut config = with_everything(userns_config());
    config.namespaces.time = Namespace::New;
    config.time_offsets = vec![TimeOffset {
        clock: "monotonic",
        seconds: 1,
        nanoseconds: 0,
    }];
    let plan = LaunchPlan::create(&config, &request(), &facts());
    assert_eq!((plan.shape, plan.clone_flags), (Shape::NewUser, 0));
    assert!(plan.forks && plan.needs_maps);
    in_order(
        &plan,
        &[
            "OomScoreAdj",
            "NewUser",
            "TimeOffsets",
            "Undumpable",
            "BecomeRoot",
            "Fork",
            "NewSession",
            "LoopbackUp",
        ],
    );
    // One for the time namespace, whose offsets come first, one for the rest.
    let unshared: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|planned| match planned.step {
            stage::step::Step::Unshare { kinds } => Some(kinds),
            _ => None,
        })
        .collect();
    assert_eq!(unshared, [0x80, 0x6e02_0000]);
    // A child is born into it.
    assert!(!names(&plan).contains(&"EnterNewTime"));
    // To raise a limit is not in the power of its root.
    assert!(!names(&plan).contains(&"Rlimit") && plan.rlimits.len() == 1);
    // mknod is never ours there.
    assert!(!names(&plan).contains(&"Device") && names(&plan).contains(&"BindDevice"));
}

#[test]
fn what_a_joined_user_namespace_does_not_own_is_joined_before_it() {
    let mut config = pod_config();
    config.namespaces.user = Namespace::Path("/proc/42/ns/user".into(), 3);
    let mut facts = facts();
    // The network namespace is the host's making.
    facts.joined.foreign = 0x4000_0000;
    let plan = LaunchPlan::create(&config, &request(), &facts);
    assert_eq!((plan.shape, plan.clone_flags), (Shape::Joins, 0));
    let joined: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|planned| match planned.step {
            stage::step::Step::Join { kind, .. } => Some((kind, planned.at.as_str().to_owned())),
            _ => None,
        })
        .collect();
    let at = |index: usize| format!("config.json#/linux/namespaces/{index}");
    assert_eq!(
        joined,
        [
            (0x4000_0000, at(1)),
            (0x1000_0000, at(3)),
            (0x2000_0000, at(0)),
            (0x800_0000, at(2))
        ]
    );
    in_order(&plan, &["Undumpable", "Join", "Unshare", "Fork"]);
    // The same one as ours is not joined at all.
    facts.joined.same_user = true;
    let plan = LaunchPlan::create(&config, &request(), &facts);
    assert!(!names(&plan).contains(&"BecomeRoot"));
    assert_eq!(
        plan.clone_flags, 0x602_0000,
        "mount, cgroup and uts are new"
    );
}

#[test]
fn exec_looks_into_nothing_before_it_is_undumpable() {
    let container = process();
    let mut process = process();
    process.terminal = true;
    let target = ExecTarget {
        id: "c1",
        namespaces: 0x7c02_0000,
        container: &container,
        keyring: true,
        filter: None,
    };
    let plan = LaunchPlan::exec(&process, target, &exec_request(), facts().process);
    assert!(plan.forks);
    in_order(
        &plan,
        &[
            "Undumpable",
            "JoinInit",
            "CloseSlot",
            "BecomeRoot",
            "Fork",
            "NewSession",
            "Console",
            "SessionKeyring",
            "Cwd",
            "DropBounding",
            "User",
            "Capabilities",
            "NoNewPrivileges",
            "FindProgram",
            "AwaitCommit",
            "Exec",
        ],
    );
    for file in [
        "MountNew", "Bind", "Device", "Mask", "MakeCwd", "Hostname", "Sysctl",
    ] {
        assert!(!names(&plan).contains(&file), "{file}");
    }
}

/// What the plan does to the clones of the rootfs and of a bind source.
fn propagations(asked: Option<u64>) -> (u64, u64) {
    let mut config = default_config();
    config.mounts.push(bind(7, "/src", "/dst", 0, 0));
    if let Some(flags) = asked {
        config.root.propagation = flags;
        config.root.propagation_asked = true;
    }
    let plan = LaunchPlan::create(&config, &request(), &facts());
    let root = plan.slots.iter().find_map(|slot| match slot {
        SlotSource::Rootfs { propagation, .. } => Some(*propagation),
        _ => None,
    });
    let HandedSource::Bind { propagation, .. } = plan.handed.last().expect("the bind");
    (root.expect("the rootfs"), *propagation)
}

#[test]
fn nothing_mounted_in_the_rootfs_reaches_the_host() {
    const REC: u64 = 0x4000;
    const PRIVATE: u64 = 1 << 18;
    const SLAVE: u64 = 1 << 19;
    const SHARED: u64 = 1 << 20;
    assert_eq!(propagations(None), (SLAVE | REC, SLAVE | REC));
    assert_eq!(propagations(Some(PRIVATE)), (PRIVATE | REC, PRIVATE | REC));
    // Sources stay peers of the host's, as asked; the root's own mount does not.
    assert_eq!(propagations(Some(SHARED | REC)), (PRIVATE, 0));
}

fn filtered(mut config: Config) -> Config {
    config.process.no_new_privileges = false;
    config.seccomp = Some(Seccomp {
        profile: seccomp_profiles::Profile::new(seccomp_profiles::Action::Allow),
        flags: 4,
        agent: None,
    });
    config
}

const SYS_ADMIN: u64 = 1 << 21;

/// The last sets before the wait.
fn waits_with(plan: &LaunchPlan) -> u64 {
    let wait = names(plan).iter().position(|name| *name == "AwaitStart");
    let steps = &plan.steps[..wait.expect("a wait")];
    let sets = steps.iter().rev().find_map(|planned| match planned.step {
        Step::Capabilities { permitted, .. } => Some(permitted),
        _ => None,
    });
    sets.expect("sets")
}

#[test]
fn a_filter_is_the_last_act_with_a_capability_that_execve_takes() {
    let plan = LaunchPlan::create(&filtered(default_config()), &request(), &facts());
    let names = names(&plan);
    assert_eq!(names[names.len() - 2..], ["Seccomp", "Exec"]);
    assert_eq!(waits_with(&plan) & SYS_ADMIN, SYS_ADMIN);
}

#[test]
fn among_strangers_nobody_waits_with_a_capability_to_be_taken() {
    for pid in [Namespace::Host, Namespace::Path("/proc/1/ns/pid".into(), 0)] {
        let mut config = filtered(default_config());
        config.namespaces.pid = pid;
        let plan = LaunchPlan::create(&config, &request(), &facts());
        before(&plan, "Seccomp", "AwaitStart");
        assert_eq!(waits_with(&plan) & SYS_ADMIN, 0);
    }
}
