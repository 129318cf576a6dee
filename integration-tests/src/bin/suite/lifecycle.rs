//! Create, start, state, kill, delete, list, ps: what each does, prints, refuses, and what is true of the process meanwhile.

use std::fs;
use std::path::Path;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::needs::Need;
use garboard_integration_tests::{cases, cgroups, processes};

pub fn cases() -> Vec<Case> {
    cases![
        a_container_goes_through_its_whole_life,
        run_gives_the_exit_status,
        run_gives_128_and_the_signal,
        create_does_not_run_the_program,
        start_is_refused_twice,
        a_second_create_is_refused_and_harms_nothing,
        kill_sends_any_signal_by_any_name,
        kill_of_a_stopped_container_says_not_running,
        delete_of_a_running_container_is_refused,
        delete_of_a_created_container_works,
        delete_force_is_idempotent,
        kill_ends_all_when_the_pid_namespace_is_shared,
        kill_all_ends_leftovers_after_init_is_gone,
        run_detach_returns_and_run_keep_keeps,
        a_failed_run_leaves_nothing,
        run_forwards_signals,
        run_passes_stdin_through,
        the_cgroup_is_where_cgroups_path_says,
        a_cgroup_with_foreign_processes_is_refused,
    ]
}

fn a_container_goes_through_its_whole_life(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    assert_eq!(c.status()?, "created");
    let pid = c.pid()?;
    assert!(Path::new(&format!("/proc/{pid}")).is_dir());
    c.start()?;
    assert_eq!(c.status()?, "running");
    assert_eq!(c.pid()?, pid, "the same process runs the program");
    wait_until("the program", || {
        Ok(processes::command_line(pid) == "sleep 1000")
    })?;
    c.kill("KILL")?;
    c.await_status("stopped")?;
    assert_eq!(c.state()?["pid"], 0);
    c.delete()?;
    c.call("state", &[], &[])?.fails_with("does not exist")?;
    Ok(())
}

fn run_gives_the_exit_status(t: &Test) -> Done {
    for code in [0, 1, 7, 126, 127, 255] {
        t.container(&Bundle::shell(&format!("exit {code}")))?
            .run()?
            .exits_with(code)?;
    }
    Ok(())
}

fn run_gives_128_and_the_signal(t: &Test) -> Done {
    // Init of a pid namespace ignores signals from inside, so a killed child must not be mistaken for it.
    t.container(&Bundle::shell("sh -c 'kill -9 $$'; exit 3"))?
        .run()?
        .exits_with(3)?;
    let c = t.container(&Bundle::sleeper())?;
    let run = c.run_in_background()?;
    c.await_status_or_absent("running")?;
    c.kill("KILL")?;
    run.wait(garboard_integration_tests::runtime::DEADLINE)?
        .exits_with(137)?;
    Ok(())
}

fn create_does_not_run_the_program(t: &Test) -> Done {
    let c = t.container(&Bundle::shell("echo ran; echo x > /tmp/ran").writable())?;
    let out = c.create()?;
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(!c.path("/tmp/ran").is_file());
    assert_eq!(out.stdout(), "");
    c.start()?;
    c.await_status("stopped")?;
    assert_eq!(out.stdout(), "ran\n");
    c.delete()?;
    Ok(())
}

fn start_is_refused_twice(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    c.start()?;
    c.call("start", &[], &[])?
        .exits_with(1)?
        .fails_with("cannot start an already running container")?;
    c.kill("9")?;
    c.await_status("stopped")?;
    c.call("start", &[], &[])?
        .exits_with(1)?
        .fails_with("cannot start a container that has stopped")?;
    Ok(())
}

fn a_second_create_is_refused_and_harms_nothing(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    let pid = c.pid()?;
    c.try_create()?
        .exits_with(1)?
        .fails_with("container with given ID already exists")?;
    assert_eq!((c.status()?, c.pid()?), ("created".to_owned(), pid));
    c.run()?
        .exits_with(1)?
        .fails_with("container with given ID already exists")?;
    assert_eq!((c.status()?, c.pid()?), ("created".to_owned(), pid));
    Ok(())
}

fn kill_sends_any_signal_by_any_name(t: &Test) -> Done {
    let script = "for s in 1 10 12 15; do trap \"echo got $s\" $s; done; echo ready; while :; do sleep 0.02; done";
    let c = t.container(&Bundle::shell(script))?;
    let out = c.run_detached()?;
    wait_until("ready", || Ok(out.stdout().contains("ready")))?;
    for (word, number) in [("HUP", 1), ("SIGUSR1", 10), ("usr2", 12), ("15", 15)] {
        c.kill(word)?;
        wait_until(word, || {
            Ok(out.stdout().contains(&format!("got {number}\n")))
        })?;
    }
    c.call("kill", &[], &["NOSUCH"])?
        .exits_with(1)?
        .fails_with("unknown signal")?;
    let before = out.stdout().matches("got 15").count();
    c.call("kill", &[], &[])?.success()?;
    wait_until("the default, TERM", || {
        Ok(out.stdout().matches("got 15").count() > before)
    })
}

fn kill_of_a_stopped_container_says_not_running(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["true"]))?;
    c.run_detached()?;
    c.await_status("stopped")?;
    c.call("kill", &[], &["9"])?
        .exits_with(1)?
        .fails_with("container not running")?;
    c.delete()?;
    Ok(())
}

fn delete_of_a_running_container_is_refused(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.run_detached()?;
    let out = c
        .call("delete", &[], &[])?
        .exits_with(1)?
        .fails_with("is not stopped: running")?;
    assert!(out.stderr().contains(&c.id), "{}", out.stderr());
    assert_eq!(c.status()?, "running");
    c.delete_force()?;
    Ok(())
}

fn delete_of_a_created_container_works(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    let pid = c.pid()?;
    c.delete()?;
    wait_until("the end of init", || {
        Ok(processes::stat(pid).is_none_or(|stat| stat.state == 'Z'))
    })
}

fn delete_force_is_idempotent(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.delete_force()?;
    c.run_detached()?;
    for _ in 0..3 {
        let out = c.delete_force()?;
        assert_eq!((out.stdout(), out.stderr()), (String::new(), String::new()));
    }
    Ok(())
}

fn kill_ends_all_when_the_pid_namespace_is_shared(t: &Test) -> Done {
    // A user may mount no procfs for a pid namespace that is not theirs.
    t.needs(&[Need::Root])?;
    t.not_for_runc("1.1 signals init alone without --all")?;
    let c =
        t.container(&Bundle::shell("sleep 1001 & sleep 1002 & wait").without_namespace("pid"))?;
    c.run_detached()?;
    wait_until("three processes", || Ok(members(t)?.len() == 3))?;
    c.kill("KILL")?;
    wait_until("no processes", || Ok(members(t)?.is_empty()))?;
    c.await_status("stopped")?;
    c.delete()?;
    Ok(())
}

fn kill_all_ends_leftovers_after_init_is_gone(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let c = t.container(&Bundle::shell("sleep 1001 & exit 0").without_namespace("pid"))?;
    c.run_detached()?;
    c.await_status("stopped")?;
    assert_eq!(members(t)?.len(), 1, "the background process lives on");
    t.runtime
        .call(["kill", "--all", c.id.as_str(), "9"])?
        .success()?;
    wait_until("no processes", || Ok(members(t)?.is_empty()))?;
    c.delete()?;
    Ok(())
}

/// The live processes in the test's cgroups, zombies left out.
pub fn members(t: &Test) -> Result<Vec<i32>, Failure> {
    let mut all: Vec<i32> = cgroups::named(&t.token)?
        .iter()
        .flat_map(|dir| cgroups::processes(dir))
        .collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|pid| processes::stat(*pid).is_some_and(|stat| stat.state != 'Z'));
    Ok(all)
}

fn run_detach_returns_and_run_keep_keeps(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["true"]))?;
    t.runtime.finish(c.run_command(&["--keep"]))?.success()?;
    assert_eq!(c.status()?, "stopped");
    c.delete()?;
    let c = t.container(&Bundle::sleeper())?;
    t.runtime.finish(c.run_command(&["-d"]))?.success()?;
    assert_eq!(c.status()?, "running");
    Ok(())
}

fn a_failed_run_leaves_nothing(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["/nonexistent"]))?;
    c.run()?
        .exits_with(1)?
        .fails_with("no such file or directory")?;
    c.call("state", &[], &[])?.fails_with("does not exist")?;
    let leaks = garboard_integration_tests::leaks::left_in(&t.token, &t.runtime.root)?;
    assert!(leaks.is_empty(), "{leaks:?}");
    Ok(())
}

fn run_forwards_signals(t: &Test) -> Done {
    let c = t.container(&Bundle::shell("trap 'echo term; exit 5' TERM; trap 'echo winch' WINCH; echo ready; while :; do sleep 0.02; done"))?;
    let run = c.run_in_background()?;
    wait_until("ready", || Ok(run.stdout_so_far().contains("ready")))?;
    let pid = nix::unistd::Pid::from_raw(run.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
    let out = run
        .wait(garboard_integration_tests::runtime::DEADLINE)?
        .exits_with(5)?;
    assert!(out.stdout().contains("term"), "{}", out.stdout());
    Ok(())
}

fn run_passes_stdin_through(t: &Test) -> Done {
    use std::io::Write;
    let c = t.container(&Bundle::args(["cat"]))?;
    let mut command = c.run_command(&[]);
    command.stdin(std::process::Stdio::piped());
    let mut run = t.runtime.spawn(command)?;
    let text = "line\n".repeat(20_000);
    if let Some(stdin) = run.child.stdin.as_mut() {
        stdin.write_all(text.as_bytes())?;
    }
    let out = run
        .wait(garboard_integration_tests::runtime::DEADLINE)?
        .success()?;
    assert!(
        out.stdout() == text,
        "{} bytes came back of {}",
        out.stdout().len(),
        text.len()
    );
    Ok(())
}

fn the_cgroup_is_where_cgroups_path_says(t: &Test) -> Done {
    t.needs(&[Need::Cgroupfs])?;
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    let wanted = t.cgroups_path(&c.id)?;
    let controller = if t.place.is_unified() { "" } else { "devices" };
    assert_eq!(
        cgroups::of_process(c.pid()?, controller)?,
        Path::new(&wanted)
    );
    c.delete()?;
    assert!(cgroups::named(&c.id)?.is_empty());
    Ok(())
}

fn a_cgroup_with_foreign_processes_is_refused(t: &Test) -> Done {
    t.not_for_runc("1.1 warns only")?;
    t.needs(&[Need::Cgroupfs])?;
    let c = t.container(&Bundle::sleeper())?;
    let top = cgroups::hierarchies()?;
    let top = top
        .iter()
        .find(|top| top.ends_with("devices") || t.place.is_unified());
    let Some(top) = top else {
        return Err(Failure::skip("no hierarchy to put a process in"));
    };
    let dir = top.join(t.cgroups_path(&c.id)?.trim_start_matches('/'));
    fs::create_dir_all(&dir)?;
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn()?;
    fs::write(dir.join("cgroup.procs"), stranger.id().to_string())?;
    let refused = c.try_create();
    let forced = c.call("delete", &["--force"], &[]);
    let alive = processes::stat(stranger.id().cast_signed()).is_some_and(|stat| stat.state != 'Z');
    stranger.kill()?;
    stranger.wait()?;
    wait_until("the stranger's cgroup", || Ok(fs::remove_dir(&dir).is_ok()))?;
    refused?
        .exits_with(1)?
        .fails_with("container's cgroup is not empty")?;
    forced?.success()?;
    assert!(
        alive,
        "a process that is none of the container's was killed"
    );
    Ok(())
}
