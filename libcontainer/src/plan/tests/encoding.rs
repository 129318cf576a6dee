//! What the library writes is what the stage reads.

use stage::step::Step;
use stage::wire::{Header, OnError, Reader, Wire};

use super::fixture::*;
use crate::config::*;
use crate::plan::*;

/// Reads the buffer as the stage does and compares every entry.
fn round_trip(plan: &LaunchPlan) {
    let fds: Vec<_> = (10..).take(plan.slots.len()).collect();
    let bytes = plan.encode(&fds);
    assert_eq!(bytes.len(), bytes.capacity(), "allocated once, in its size");
    let mut reader = Reader::new(&bytes);
    let header: Header = reader.take().expect("a header");
    assert_eq!(header.steps as usize, plan.steps.len());
    assert_eq!(header.preserved, plan.preserved);
    assert_eq!(&header.fds[..header.slots], fds);
    for planned in &plan.steps {
        assert_eq!(reader.take::<OnError>(), Some(planned.on_error));
        let step: Step<Wire<'_>> = reader.take().expect("a step");
        assert_eq!(format!("{step:?}"), format!("{:?}", planned.step));
    }
    assert!(reader.is_empty());
}

/// Every kind of step that a configuration can ask for.
fn everything() -> Config {
    let mut config = default_config();
    config.process.terminal = true;
    config.process.cwd = path("/home/x");
    config.process.user.additional_gids = vec![5, 4_000_000_000];
    config.process.oom_score_adj = Some(-7);
    config.process.apparmor_profile = Some(c"profile".to_owned());
    config.process.scheduler = Some(Scheduler {
        policy: 6,
        runtime: u64::MAX,
        ..Scheduler::default()
    });
    config.process.io_priority = Some(2 << 13 | 4);
    config.personality = Some(8);
    config.memory_policy = Some(MemoryPolicy {
        mode: 2,
        nodes: vec![3, u64::MAX],
    });
    config.hooks.create_container = vec![hook("/bin/a")];
    config.hooks.start_container = vec![hook("/bin/b"), hook("/bin/c")];
    config.hooks.prestart = vec![hook("/bin/d")];
    config.domainname = Some(c"example".to_owned());
    config.namespaces.time = Namespace::New;
    config.time_offsets = vec![TimeOffset {
        clock: "boottime",
        seconds: -1,
        nanoseconds: 5,
    }];
    config.sysctl = vec![Sysctl {
        key: "net.ipv4.ip_forward".to_owned(),
        path: c"net/ipv4/ip_forward".to_owned(),
        value: c"1".to_owned(),
        scope: SysctlScope::Network,
    }];
    config.root.propagation_asked = true;
    let long = format!("lowerdir={}", "/l:".repeat(100));
    let mut overlay = filesystem(7, "/o", "overlay", &[], 0, &[&long]);
    overlay.propagation = vec![1 << 18, 1 << 20];
    config.mounts.push(overlay);
    config.mounts.push(bind(8, "/src", "/b", 1, 2));
    config.mounts.push(mount(9, "/b", MountKind::Remount, 1, 0));
    config
}

#[test]
fn create_plans_survive_the_way_to_the_stage() {
    for config in [
        default_config(),
        userns_config(),
        pod_config(),
        everything(),
    ] {
        round_trip(&LaunchPlan::create(&config, &request(), &facts()));
        let mut unprivileged = facts();
        unprivileged.privileged = false;
        unprivileged.process.into_cgroup = false;
        round_trip(&LaunchPlan::create(&config, &request(), &unprivileged));
    }
}

#[test]
fn exec_plans_survive_the_way_to_the_stage() {
    let container = process();
    let target = ExecTarget {
        id: "c1",
        namespaces: 0x6c02_0000,
        container: &container,
        keyring: true,
        filter: None,
    };
    round_trip(&LaunchPlan::exec(
        &process(),
        target,
        &exec_request(),
        facts().process,
    ));
}
