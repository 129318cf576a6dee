//! Kubernetes' door: pods and what their containers share, as the kubelet asks containerd's CRI plugin for them.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::cgroups;
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::engine::cri::messages::{
    LinuxContainerResources, NODE, NamespaceOption, Number, POD, PodSandboxConfig, READY, RUNNING,
    SecurityProfile,
};
use garboard_integration_tests::engine::cri::{self, Cri, HANDLER, Pod};
use garboard_integration_tests::engine::{Door, Engine, task};
use garboard_integration_tests::probe::Report;
use garboard_integration_tests::{engine_cases, processes};

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](
        a_pod_s_containers_share_its_namespaces,
        one_shim_serves_the_pod,
        a_shared_process_namespace,
        the_host_s_network,
        the_handler_chooses_the_runtime,
        a_security_context,
        stop_gives_the_grace_that_is_asked_for,
        out_of_memory_is_the_reason,
        a_pod_survives_containerd,
    ))
}

/// The pod's configuration with these namespaces.
fn with_namespaces(mut config: PodSandboxConfig, network: i32, pid: i32) -> PodSandboxConfig {
    if let Some(context) = config
        .linux
        .as_mut()
        .and_then(|l| l.security_context.as_mut())
    {
        context.namespace_options = Some(NamespaceOption {
            network,
            pid,
            ipc: POD,
        });
    }
    config
}

fn same(kind: &str, one: i32, other: i32) -> bool {
    let inode = processes::namespace(one, kind);
    inode.is_some() && inode == processes::namespace(other, kind)
}

fn a_pod_s_containers_share_its_namespaces(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let mut config = cri.pod_config("pod");
    if let Some(linux) = config.linux.as_mut() {
        linux
            .sysctls
            .insert("net.ipv4.ip_unprivileged_port_start".into(), "99".into());
    }
    let pod = cri.run(config)?;
    assert_eq!(pod.status()?.state, READY);
    let serve = "while :; do nc -l -p 8080 -e echo from the pod; done";
    let one = pod.run("one", &["sh", "-c", serve])?;
    let two = pod.run("two", &["sleep", "1000"])?;
    let pids = [cri.pid(&pod.id)?, cri.pid(&one)?, cri.pid(&two)?];
    for kind in ["net", "ipc", "uts"] {
        assert!(
            same(kind, pids[0], pids[1]) && same(kind, pids[0], pids[2]),
            "{kind}"
        );
        assert!(
            !same(kind, pids[0], std::process::id().cast_signed()),
            "{kind}"
        );
    }
    for kind in ["pid", "mnt"] {
        assert!(
            !same(kind, pids[0], pids[1]) && !same(kind, pids[1], pids[2]),
            "{kind}"
        );
    }
    assert_eq!(cri.output(&two, &["hostname"])?, "pod\n");
    let file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    assert_eq!(cri.output(&two, &["cat", file])?, "99\n");
    let heard = cri.output(&two, &["nc", "127.0.0.1", "8080"])?;
    assert_eq!(heard, "from the pod\n");
    // From outside, over the bridge.
    let ip = pod.status()?.network.unwrap_or_default().ip;
    assert!(ip.starts_with("10.88."), "{ip}");
    let mut text = String::new();
    wait_until("an answer over the bridge", || {
        text.clear();
        let stream = TcpStream::connect(format!("{ip}:8080"));
        Ok(stream.is_ok_and(|mut stream| stream.read_to_string(&mut text).is_ok()))
    })?;
    assert_eq!(text, "from the pod\n");
    for (id, pid) in [(&one, pids[1]), (&two, pids[2])] {
        let found = cgroups::named(&format!("{}/{id}", engine.test.token))?;
        assert!(!found.is_empty());
        assert!(
            found
                .iter()
                .all(|dir| cgroups::processes(dir).contains(&pid))
        );
    }
    pod.end()?;
    assert!(pids.iter().all(|pid| processes::stat(*pid).is_none()));
    Ok(())
}

fn one_shim_serves_the_pod(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let one = pod.run("one", &["sleep", "1000"])?;
    pod.run("two", &["sleep", "1000"])?;
    let shims = task::shims();
    assert_eq!(shims.len(), 1, "{shims:?}");
    let name = match engine.door {
        Door::Shim => "containerd-shim-garboard-v2",
        Door::Runc | Door::Command => "containerd-shim-runc-v2",
    };
    assert!(processes::command_line(shims[0]).contains(name));
    for id in [&pod.id, &one] {
        let parent = processes::stat(cri.pid(id)?).map(|stat| stat.parent);
        assert_eq!(parent, Some(shims[0]));
    }
    let other = cri.run(cri.pod_config("other"))?;
    assert_eq!(task::shims().len(), 2);
    cri.stop(&one, 0)?;
    assert_eq!(cri.ended(&one)?.exit_code, 137);
    assert_eq!(task::shims().len(), 2);
    pod.end()?;
    wait_until("the pod's shim to be gone", || Ok(task::shims().len() == 1))?;
    other.end()?;
    wait_until("the other's too", || Ok(task::shims().is_empty()))
}

/// Without a process namespace of its own a container's processes do not end with its init: somebody has to end them.
fn a_shared_process_namespace(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let pod = cri.run(with_namespaces(cri.pod_config("pod"), POD, POD))?;
    let one = pod.run("one", &["sh", "-c", "sleep 1001 & sleep 1002 & wait"])?;
    let two = pod.run("two", &["sleep", "1003"])?;
    assert!(same("pid", cri.pid(&pod.id)?, cri.pid(&one)?));
    wait_until("all to run", || {
        let shown = cri.output(&two, &["ps", "-o", "args"])?;
        Ok(["sleep 1001", "sleep 1002", "sleep 1003"]
            .iter()
            .all(|one| shown.contains(one)))
    })?;
    cri.stop(&one, 1)?;
    // It is not process 1, which would not end by a SIGTERM that it does not expect.
    assert_eq!(cri.ended(&one)?.exit_code, 143);
    let shown = cri.output(&two, &["ps", "-o", "args"])?;
    assert!(
        !shown.contains("sleep 1001") && !shown.contains("sleep 1002"),
        "{shown}"
    );
    assert!(shown.contains("sleep 1003"), "{shown}");
    assert_eq!(cri.status(&two)?.state, RUNNING);
    // A container whose init ends by itself takes its children with it too.
    let three = pod.run("three", &["sh", "-c", "sleep 1004 & exit 6"])?;
    assert_eq!(cri.ended(&three)?.exit_code, 6);
    let shown = cri.output(&two, &["ps", "-o", "args"])?;
    assert!(!shown.contains("sleep 1004"), "{shown}");
    pod.end()
}

fn the_host_s_network(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let mut config = with_namespaces(cri.pod_config("pod"), NODE, POD);
    // With the machine's network goes its name.
    config.hostname.clear();
    let pod = cri.run(config)?;
    let one = pod.run("one", &["sleep", "1000"])?;
    let own = std::process::id().cast_signed();
    assert!(same("net", own, cri.pid(&pod.id)?) && same("net", own, cri.pid(&one)?));
    assert!(cri.output(&one, &["ip", "address"])?.contains("127.0.0.1"));
    pod.end()
}

fn the_handler_chooses_the_runtime(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let own = cri.run(cri.pod_config("own"))?;
    assert_eq!(own.status()?.runtime_handler, HANDLER);
    let default = cri.run_by(cri.pod_config("default"), "")?;
    assert_eq!(default.status()?.runtime_handler, "");
    assert_eq!(
        (by_runc(&own), by_runc(&default)),
        (engine.door == Door::Runc, true)
    );
    let refused = cri.run_by(cri.pod_config("other"), "other");
    assert!(refused.is_err_and(|failure| failure.to_string().contains("no runtime for \"other\"")));
    own.end()?;
    default.end()
}

/// Whether the state that is kept of the pod's own container is runc's.
fn by_runc(pod: &Pod) -> bool {
    let state = std::path::Path::new("/run/containerd/runc/k8s.io").join(&pod.id);
    let text = std::fs::read_to_string(state.join("state.json")).unwrap_or_default();
    // It keeps its configuration there.
    text.contains("\"no_pivot_root\"")
}

fn a_security_context(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let mut config = pod.container_config("one", &["/bin/probe", "sleep"]);
    config.working_dir = "/tmp".to_owned();
    if let Some(context) = config
        .linux
        .as_mut()
        .and_then(|l| l.security_context.as_mut())
    {
        context.run_as_user = Some(Number { value: 1000 });
        context.readonly_rootfs = true;
        context.no_new_privs = true;
        context.seccomp = Some(SecurityProfile { profile_type: 0 });
    }
    let one = pod.start(config)?;
    let mut lines = Vec::new();
    wait_until("the report", || {
        lines = pod.log("one")?;
        // A long line comes in parts.
        Ok(lines.iter().any(|line| line.ends_with('}')))
    })?;
    let text: String = lines
        .iter()
        .filter_map(|line| line.strip_prefix("stdout "))
        .collect();
    let report = Report::parse(&text)?;
    assert_eq!(report.at("/cwd"), "/tmp");
    assert_eq!(report.status("Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(report.status("NoNewPrivs"), "1");
    assert_eq!(report.status("Seccomp"), "2");
    assert!(report.mount("/")?.has("ro"));
    assert_ne!(cri::exec(&one, &["touch", "/new"], 0)?.exit_code, 0);
    pod.end()
}

fn stop_gives_the_grace_that_is_asked_for(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let script = "trap 'sleep 0.5; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let graceful = pod.run("graceful", &["sh", "-c", script])?;
    let stubborn = pod.run(
        "stubborn",
        &["sh", "-c", "trap '' TERM; echo ready; sleep 1000"],
    )?;
    for name in ["graceful", "stubborn"] {
        wait_until("the trap", || {
            Ok(pod.log(name)?.contains(&"stdout ready".to_owned()))
        })?;
    }
    let since = Instant::now();
    cri.stop(&graceful, 20)?;
    assert!(since.elapsed() < Duration::from_secs(10));
    let status = cri.ended(&graceful)?;
    assert_eq!((status.exit_code, status.reason.as_str()), (5, "Error"));
    assert!(status.created_at <= status.started_at && status.started_at < status.finished_at);
    let since = Instant::now();
    cri.stop(&stubborn, 1)?;
    let took = since.elapsed();
    assert!((1..10).contains(&took.as_secs()), "{took:?}");
    assert_eq!(cri.ended(&stubborn)?.exit_code, 137);
    // Whoever has ended is stopped.
    cri.stop(&stubborn, 1)?;
    let fine = pod.run("fine", &["true"])?;
    assert_eq!(cri.ended(&fine)?.reason, "Completed");
    pod.end()
}

fn out_of_memory_is_the_reason(engine: &Engine<'_>) -> Done {
    engine.test.controller("memory")?;
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let mut config = pod.container_config("one", &["/bin/probe", "allocate", "100000000"]);
    if let Some(linux) = config.linux.as_mut() {
        linux.resources = Some(LinuxContainerResources {
            memory_limit_in_bytes: 32 << 20,
            ..Default::default()
        });
    }
    let one = pod.start(config)?;
    let status = cri.ended(&one)?;
    assert_eq!(status.exit_code, 137);
    // The event may come behind the exit with the stock shim.
    wait_until("the reason", || Ok(cri.status(&one)?.reason == "OOMKilled"))
        .map_err(|failure| Failure::new(format!("{failure}: {status:?}")))?;
    pod.end()
}

fn a_pod_survives_containerd(engine: &Engine<'_>) -> Done {
    let mut cri = Cri::start(engine)?;
    let config = cri.pod_config("pod");
    let (pod_id, one, two, pids) = {
        let pod = cri.run(config.clone())?;
        let one = pod.run("one", &["sleep", "1000"])?;
        let two = pod.run(
            "two",
            &[
                "sh",
                "-c",
                "trap 'exit 17' TERM; echo ready; while :; do sleep 0.05; done",
            ],
        )?;
        wait_until("the trap", || {
            Ok(pod.log("two")?.contains(&"stdout ready".to_owned()))
        })?;
        let pids = [cri.pid(&pod.id)?, cri.pid(&one)?, cri.pid(&two)?];
        (pod.id, one, two, pids)
    };
    cri.containerd.daemon().kill()?;
    let meanwhile = nix::unistd::Pid::from_raw(pids[2]);
    nix::sys::signal::kill(meanwhile, nix::sys::signal::Signal::SIGTERM)?;
    wait_until("its end", || Ok(processes::stat(pids[2]).is_none()))?;
    cri.restart()?;
    assert_eq!(cri.ended(&two)?.exit_code, 17);
    assert_eq!(cri.status(&one)?.state, RUNNING);
    assert_eq!(cri.pid(&one)?, pids[1]);
    assert_eq!(cri.output(&one, &["echo", "again"])?, "again\n");
    let pod = cri.pod(&pod_id, config);
    assert_eq!(pod.status()?.state, READY);
    pod.run("three", &["sleep", "1000"])?;
    assert_eq!(task::shims().len(), 1);
    pod.end()
}
