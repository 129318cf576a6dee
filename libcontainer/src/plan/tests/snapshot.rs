//! Whole plans as `explain` prints them, held in `expected/`. After a wanted change: `BLESS=1 cargo test snapshot`, and read the diff.

use std::path::Path;

use super::fixture::*;
use crate::cgroup::Version;
use crate::cgroup::limits::{self, Origin};
use crate::config::*;
use crate::error::Pointer;
use crate::plan::*;

fn check(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/plan/tests/expected")
        .join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, text).expect("the expected file");
    }
    let expected = std::fs::read_to_string(&file).expect("the expected file");
    for (number, (is, should)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, should, "{name}, line {}", number + 1);
    }
    assert_eq!(
        text.lines().count(),
        expected.lines().count(),
        "{name}: lines"
    );
}

fn host() -> HostFacts {
    HostFacts {
        last_cap: 40,
        selinux: false,
        apparmor: false,
        unprivileged: false,
        rootless: false,
        cgroup_v2: true,
    }
}

/// The text of the plan of a config.json.
fn plan_of(json: &str, facts: &PlanFacts, format: Format) -> String {
    let config =
        Config::parse(json.as_bytes(), Path::new("/bundle"), &host()).expect("a good config.json");
    let plan = LaunchPlan::create(&config, &request(), facts);
    let version = if facts.process.into_cgroup {
        Version::V2
    } else {
        Version::V1
    };
    let limits =
        limits::plan(version, &config.cgroup.resources, Origin::Config).expect("limits that agree");
    let ignored = ignored_keys(json.as_bytes());
    explain(&plan, &config, &limits, &ignored, format)
}

#[test]
fn snapshot_default() {
    check(
        "default.txt",
        &plan_of(&default_spec(None, true), &facts(), Format::Text),
    );
}

#[test]
fn snapshot_default_json() {
    let text = plan_of(&default_spec(None, true), &facts(), Format::Json);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["sections"][0]["actor"], "parent");
    check("default.json", &text);
}

#[test]
fn snapshot_limits() {
    let mut config: serde_json::Value =
        serde_json::from_str(&default_spec(None, true)).expect("JSON");
    config["linux"]["resources"] = serde_json::json!({
        "memory": {"limit": 67108864, "swap": 67108864, "checkBeforeUpdate": true},
        "cpu": {"shares": 512, "quota": 50000, "period": 20000, "burst": 1000, "cpus": "0-1"},
        "blockIO": {"weight": 100},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
    });
    for (name, into_cgroup) in [("limits-v2.txt", true), ("limits-v1.txt", false)] {
        let mut facts = facts();
        facts.process.into_cgroup = into_cgroup;
        let text = plan_of(&config.to_string(), &facts, Format::Text);
        let before = text.split("\n\n").next().expect("a section");
        check(name, &format!("{before}\n"));
    }
}

#[test]
fn snapshot_rootless() {
    let mut facts = facts();
    facts.privileged = false;
    facts.process.keep_groups = true;
    facts.cgroup = crate::cgroup::CgroupMounts::Unified { own: None };
    check(
        "rootless.txt",
        &plan_of(
            &default_spec(Some((1000, 1000)), true),
            &facts,
            Format::Text,
        ),
    );
}

#[test]
fn snapshot_userns() {
    let mut config = userns_config();
    config.mounts.push(bind(7, "/srv/data", "/data", 0x3, 0));
    let plan = LaunchPlan::create(&config, &request(), &facts());
    check(
        "userns.txt",
        &explain(&plan, &config, &[], &[], Format::Text),
    );
}

#[test]
fn snapshot_pod() {
    let mut config = pod_config();
    config.hooks.create_container = vec![hook("/usr/bin/cdi")];
    config.hooks.poststop = vec![hook("/usr/bin/after")];
    config.process.terminal = true;
    config.process.console_size = Some((24, 80));
    let mut request = request();
    request.notify_dir = Some("/run/state/c1/notify".into());
    request.listen_fds = 2;
    let mut facts = facts();
    facts.process.into_cgroup = false;
    facts.cgroup = crate::cgroup::CgroupMounts::Legacy {
        hierarchies: vec![crate::cgroup::HierarchyMount {
            name: "cpu,cpuacct".to_owned(),
            options: "cpu,cpuacct".to_owned(),
            own: "/sys/fs/cgroup/cpu,cpuacct/c1".into(),
            instead: None,
        }],
        links: vec![("cpu".to_owned(), "cpu,cpuacct".to_owned())],
    };
    let plan = LaunchPlan::create(&config, &request, &facts);
    let ignored = [Ignored {
        pointer: Pointer::fixed("config.json#/windows"),
        reason: "another platform",
    }];
    check(
        "pod.txt",
        &explain(&plan, &config, &[], &ignored, Format::Text),
    );
}

#[test]
fn snapshot_exec() {
    let mut container = process();
    container.oom_score_adj = Some(100);
    container.scheduler = Some(Scheduler {
        policy: 3,
        nice: 5,
        ..Scheduler::default()
    });
    let mut process = process();
    process.capabilities = None;
    process.user = User {
        uid: 1000,
        gid: 100,
        additional_gids: vec![5, 6],
        umask: None,
    };
    process.args = strings(&["/bin/true", "a b"]);
    process.cwd = path("/home");
    let target = ExecTarget {
        id: "c1",
        namespaces: 0x6c02_0000,
        container: &container,
        keyring: true,
        filter: None,
    };
    let plan = LaunchPlan::exec(&process, target, &exec_request(), facts().process);
    // `explain` is about bundles; an exec has its steps alone.
    let mut text = String::new();
    for planned in &plan.steps {
        let does = crate::plan::describe::describe(&plan, &planned.step);
        text.push_str(&format!("{does:60}  {}\n", planned.at));
    }
    for rlimit in &plan.rlimits {
        text.push_str(&format!("{:60}  {}\n", rlimit.name, rlimit.at));
    }
    check("exec.txt", &text);
}

/// What an engine wrote, without the keys that the parser refuses in this version: the placeholders stay, they are good relative paths.
fn engine(text: &str) -> String {
    let mut config: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let linux = config["linux"].as_object_mut().expect("an object");
    linux.remove("seccomp");
    config
        .to_string()
        .replace("@HOOK@", "/hook")
        .replace("@PATH@", "/path")
}

macro_rules! snapshot_of_engine {
    ($test:ident, $name:literal) => {
        #[test]
        fn $test() {
            let text = engine(include_str!(concat!(
                "../../../../integration-tests/fixtures/engines/",
                $name,
                ".json"
            )));
            let expected = concat!("engine-", $name, ".txt");
            check(expected, &plan_of(&text, &facts(), Format::Text));
        }
    };
}

snapshot_of_engine!(snapshot_docker, "docker");
snapshot_of_engine!(snapshot_docker_user, "docker-user");
snapshot_of_engine!(snapshot_containerd, "containerd");
snapshot_of_engine!(snapshot_podman, "podman");
snapshot_of_engine!(snapshot_podman_mapped, "podman-mapped");
snapshot_of_engine!(snapshot_buildah, "buildah");
