//! What survives: containers and what is known of them the death of containerd, everybody else the death of a shim, and one container the slowness of another.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::engine::containerd::{Containerd, DEADLINE, SOCKET, bind_at_host};
use garboard_integration_tests::engine::events::Events;
use garboard_integration_tests::engine::{Door, Engine, task};
use garboard_integration_tests::rootfs::Rootfs;
use garboard_integration_tests::{cgroups, engine_cases, processes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

pub fn cases() -> Vec<Case> {
    let mut cases = engine_cases!([Runc, Command, Shim](
        containers_are_found_again,
        what_ended_meanwhile_is_known,
        containerd_is_killed_at_any_moment,
        a_killed_shim_is_cleaned_up_after,
        a_shim_killed_while_nobody_looks_is_cleaned_up_after,
    ));
    // The stock shim of containerd 1.6 holds a lock while it creates.
    cases.extend(engine_cases!([Shim](
        a_slow_hook_delays_nobody_else,
        one_shim_serves_a_group,
        a_shim_whose_bundle_is_gone_ends,
    )));
    cases
}

fn containers_are_found_again(engine: &Engine<'_>) -> Done {
    let mut containerd = Containerd::start(engine)?;
    let host = engine.test.scratch("host")?;
    let mount = bind_at_host(&host);
    let waits = "until [ -e /host/go ]; do usleep 10000; done; exit 21";
    let flags = ["--null-io", "--mount", &mount];
    let first = containerd
        .detached(&flags, "one", &["sh", "-c", waits])?
        .pid()?;
    let second = containerd.detached(&["--null-io"], "two", &["sleep", "1000"])?;
    second.call("pause", &[])?;
    let second = second.pid()?;
    containerd.daemon().kill()?;
    assert!(processes::stat(first).is_some());
    containerd.restart()?;
    let one = containerd.task("one");
    assert_eq!(one.listed()?, Some((first, "RUNNING".to_owned())));
    let two = containerd.task("two");
    assert_eq!(two.listed()?, Some((second, "PAUSED".to_owned())));
    two.call("resume", &[])?;
    let out = one.exec("e", &[], &["echo", "again"])?.success()?;
    assert_eq!(out.stdout(), "again\n");
    let events = Events::listen(&containerd)?;
    fs::write(host.join("go"), "")?;
    events.expect("one", "exit one 21")?;
    assert_eq!(one.delete()?, 21);
    two.end()
}

fn what_ended_meanwhile_is_known(engine: &Engine<'_>) -> Done {
    let mut containerd = Containerd::start(engine)?;
    let host = engine.test.scratch("host")?;
    let mount = bind_at_host(&host);
    let script = "until [ -e /host/go ]; do usleep 10000; done; exit 23";
    let flags = ["--null-io", "--mount", &mount];
    let pid = containerd
        .detached(&flags, "one", &["sh", "-c", script])?
        .pid()?;
    let other = containerd
        .detached(&["--null-io"], "two", &["sleep", "1000"])?
        .pid()?;
    containerd.daemon().kill()?;
    fs::write(host.join("go"), "")?;
    wait_until("init to end", || Ok(processes::stat(pid).is_none()))?;
    kill(Pid::from_raw(other), Signal::SIGTERM)?;
    kill(Pid::from_raw(other), Signal::SIGKILL)?;
    wait_until("the other to end", || Ok(processes::stat(other).is_none()))?;
    // Time for the shims to find that nobody hears of it.
    std::thread::sleep(Duration::from_millis(300));
    containerd.restart()?;
    let (one, two) = (containerd.task("one"), containerd.task("two"));
    assert_eq!(one.status()?, "STOPPED");
    assert_eq!(two.status()?, "STOPPED");
    assert_eq!(one.delete()?, 23);
    assert_eq!(two.delete()?, 137);
    wait_until("the shims to be gone", || Ok(task::shims().is_empty()))
}

/// While a container is made, run and removed. What is there afterwards has a state that can be asked, and can be removed.
fn containerd_is_killed_at_any_moment(engine: &Engine<'_>) -> Done {
    let mut containerd = Containerd::start(engine)?;
    for (number, delay) in [30, 60, 80, 100, 130, 170, 250].into_iter().enumerate() {
        let id = format!("c{number}");
        let running = containerd.run_in_background(&["--rm"], &id, &["sleep", "0.05"])?;
        std::thread::sleep(Duration::from_millis(delay));
        containerd.daemon().kill()?;
        running.wait(DEADLINE)?;
        containerd.restart()?;
        let c = containerd.task(&id);
        let what = format!("all to be gone, containerd killed after {delay} ms");
        let since = Instant::now();
        task::wait_and_reap(&what, || {
            // What begins or ends a container may go on for a while, and then there is a task.
            if c.listed()?.is_some_and(|(_, status)| status != "RUNNING") {
                c.call("delete", &["--force"])?;
            }
            if engine.door != Door::Shim && since.elapsed() > Duration::from_secs(1) {
                remove_what_is_forgotten(&containerd, &id)?;
            }
            Ok(task::shims().is_empty() && c.cgroups()?.is_empty())
        })
        .map_err(|failure| Failure::new(format!("{failure}\n{}", what_is_left(&containerd))))?;
        assert_eq!(containerd.tasks()?, [], "killed after {delay} ms");
        let left = containerd.ctr(&["containers", "ls", "-q"])?.success()?;
        if left.lines().contains(&id) {
            c.remove_container()?;
        }
    }
    containerd.run(&["--rm"], "last", &["true"])?.success()?;
    Ok(())
}

/// For messages: the shims, whether their bundles are there, and what containerd said.
fn what_is_left(containerd: &Containerd<'_>) -> String {
    let shims = task::shims().into_iter().map(|pid| {
        let bundle = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let inside: Vec<_> = fs::read_dir(&bundle)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        format!("shim {pid} in {} {inside:?}\n", bundle.display())
    });
    shims.collect::<String>() + &containerd.said()
}

/// Nobody removes the socket of a stock shim that was killed.
fn stock_sockets_stay(engine: &Engine<'_>) {
    if engine.door != Door::Shim {
        engine.may_stay("containerd/s");
    }
}

/// The stock shim stays, with what it began, if containerd has died meanwhile and does not know of it.
fn remove_what_is_forgotten(containerd: &Containerd<'_>, id: &str) -> Done {
    let engine = containerd.engine;
    stock_sockets_stay(engine);
    engine.may_stay("containerd/io.containerd.runtime.v2.task");
    for pid in task::shims() {
        // It may be about to end by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let mut command = Command::new(engine.runtime());
    command.arg("--root");
    command.arg(Path::new("/run/containerd/runc").join(containerd.token()));
    command.args(["delete", "--force", id]);
    engine.test.runtime.finish(command)?.success()?;
    if engine.door == Door::Runc {
        // It forgets a cgroup that it had no time to write down.
        let dirs = cgroups::named(&format!("{}/{id}", containerd.token()))?;
        for pid in dirs.iter().flat_map(|dir| cgroups::processes(dir)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        cgroups::remove(&format!("{}/{id}", containerd.token()))?;
    }
    Ok(())
}

/// What a container's shim left when it was killed is gone: processes, cgroup, bundle, state.
fn is_cleaned_up(containerd: &Containerd<'_>, id: &str, init: i32) -> Done {
    // The stock shim's runtimes keep their state in the one, whichever they are, and our shim in the other.
    let states = ["runc", "garboard"].map(|root| {
        let root = Path::new("/run/containerd").join(root);
        root.join(containerd.token()).join(id)
    });
    let state_is_left = || states.iter().any(|dir| dir.is_dir());
    task::wait_and_reap("containerd to clean up", || {
        Ok(processes::stat(init).is_none()
            && cgroups::named(&format!("{}/{id}", containerd.token()))?.is_empty()
            && !containerd.bundle(id).is_dir()
            && !state_is_left())
    })
    .map_err(|failure| {
        let left = [containerd.bundle(id).is_dir(), state_is_left()];
        Failure::new(format!(
            "{failure}: process {}, bundle and state {left:?}",
            processes::stat(init).is_some()
        ))
    })
}

fn a_killed_shim_is_cleaned_up_after(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let events = Events::listen(&containerd)?;
    let script = "sleep 1000 & exec sleep 1000";
    let c = containerd.detached(&["--null-io"], "one", &["sh", "-c", script])?;
    let pid = c.pid()?;
    c.exec("e", &["--detach"], &["sleep", "2000"])?.success()?;
    let shims = task::shims();
    assert_eq!(shims.len(), 1);
    kill(Pid::from_raw(shims[0]), Signal::SIGKILL)?;
    is_cleaned_up(&containerd, "one", pid)?;
    stock_sockets_stay(engine);
    events.expect("one", "exit one 137")?;
    assert_eq!(c.status()?, "NONE");
    c.remove_container()?;
    // The name is free, and all else works.
    containerd.run(&["--rm"], "one", &["true"])?.success()?;
    Ok(())
}

fn a_shim_killed_while_nobody_looks_is_cleaned_up_after(engine: &Engine<'_>) -> Done {
    let mut containerd = Containerd::start(engine)?;
    let pid = containerd
        .detached(&["--null-io"], "one", &["sleep", "1000"])?
        .pid()?;
    let other = containerd
        .detached(&["--null-io"], "two", &["sleep", "1000"])?
        .pid()?;
    containerd.daemon().kill()?;
    let shim = processes::stat(pid).map_or(0, |stat| stat.parent);
    assert!(task::shims().contains(&shim));
    kill(Pid::from_raw(shim), Signal::SIGKILL)?;
    containerd.restart()?;
    is_cleaned_up(&containerd, "one", pid)?;
    stock_sockets_stay(engine);
    assert_eq!(containerd.task("two").pid()?, other);
    containerd.task("one").remove_container()?;
    containerd.task("two").end()
}

/// The words of `ctr run` for a container with a spec of its own, whose shim is the group's.
fn in_group(
    containerd: &Containerd<'_>,
    id: &str,
    mut bundle: Bundle,
) -> Result<Vec<String>, Failure> {
    let dir = containerd.engine.test.scratch(&format!("spec-{id}"))?;
    let root = dir.join("rootfs");
    Rootfs::default().build(&root)?;
    bundle.config["root"]["path"] = root.display().to_string().into();
    bundle.config["annotations"] = json!({"io.containerd.runc.v2.group": "group"});
    bundle.config["linux"]["cgroupsPath"] = format!("/{}/{id}", containerd.token()).into();
    let file = dir.join("config.json");
    fs::write(&file, bundle.config.to_string())?;
    let mut words = vec!["run".to_owned(), "--null-io".to_owned()];
    words.extend(containerd.door_flags());
    words.extend([
        "--config".to_owned(),
        file.display().to_string(),
        id.to_owned(),
    ]);
    Ok(words)
}

fn start(
    containerd: &Containerd<'_>,
    id: &str,
    bundle: Bundle,
    flags: &[&str],
) -> Result<garboard_integration_tests::runtime::Running, Failure> {
    let mut words = in_group(containerd, id, bundle)?;
    words.splice(1..1, flags.iter().map(|flag| (*flag).to_owned()));
    containerd.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn a_slow_hook_delays_nobody_else(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let events = Events::listen(&containerd)?;
    start(&containerd, "quick", Bundle::sleeper(), &["--detach"])?
        .wait(DEADLINE)?
        .success()?;
    let mut slow = Bundle::shell("exit 4");
    let seconds = Duration::from_secs(6);
    slow.config["hooks"] = json!({
        "createRuntime": [{"path": "/bin/busybox", "args": ["sleep", seconds.as_secs().to_string()]}]
    });
    let since = Instant::now();
    let running = start(&containerd, "slow", slow, &["--rm"])?;
    wait_until("the hook to run", || {
        Ok(processes::descendants()
            .iter()
            .any(|one| processes::command_line(one.pid) == "sleep 6"))
    })?;
    let quick = containerd.task("quick");
    let out = quick.exec("e", &[], &["sh", "-c", "echo on; exit 3"])?;
    assert_eq!(out.exits_with(3)?.stdout(), "on\n");
    quick.call("kill", &["--signal", "KILL"])?;
    events.expect("quick", "exit quick 137")?;
    assert_eq!(quick.delete()?, 137);
    let told = since.elapsed();
    assert!(
        told < seconds - Duration::from_secs(2),
        "told after {told:?}"
    );
    running.wait(DEADLINE)?.exits_with(4)?;
    assert!(since.elapsed() >= seconds);
    Ok(())
}

fn one_shim_serves_a_group(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    for id in ["one", "two", "three"] {
        start(&containerd, id, Bundle::sleeper(), &["--detach"])?
            .wait(DEADLINE)?
            .success()?;
    }
    assert_eq!(task::shims().len(), 1);
    containerd.task("one").end()?;
    assert_eq!(task::shims().len(), 1);
    assert_eq!(containerd.task("three").status()?, "RUNNING");
    containerd.task("two").end()?;
    containerd.task("three").end()?;
    wait_until("the shim to be gone", || Ok(task::shims().is_empty()))
}

/// containerd was killed while it started the shim, and has removed the bundle since.
fn a_shim_whose_bundle_is_gone_ends(engine: &Engine<'_>) -> Done {
    let bundle = engine.test.scratch("bundle")?;
    let config = Bundle::sleeper().config.to_string();
    fs::write(bundle.join("config.json"), config)?;
    let mut command = engine.command("containerd-shim-garboard-v2")?;
    command.current_dir(&bundle);
    command.args(["-namespace", &engine.test.token, "-address", SOCKET]);
    command.args(["-publish-binary", "containerd", "-id", "one", "start"]);
    let address = engine.test.runtime.finish(command)?.success()?.stdout();
    assert!(address.contains("/run/containerd/s/"), "{address}");
    wait_until("the shim to be run", || Ok(task::shims().len() == 1))?;
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(task::shims().len(), 1, "it has a bundle");
    fs::remove_dir_all(&bundle)?;
    task::wait_and_reap("the shim to be gone", || Ok(task::shims().is_empty()))
}
