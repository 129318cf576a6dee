//! delete of containers that do not make it easy: thousands of processes, cgroups in cgroups, processes that will not die.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::place::Place;
use garboard_integration_tests::{cases, cgroups, processes};

pub fn cases() -> Vec<Case> {
    cases![
        two_thousand_processes_in_fifty_cgroups_go_in_one_call,
        the_same_with_a_shared_pid_namespace,
        the_last_error_names_who_is_left,
    ]
}

const CGROUPS: usize = 50;
const EACH: usize = 40;

fn two_thousand_processes_in_fifty_cgroups_go_in_one_call(t: &Test) -> Done {
    crowded(t, Bundle::shell(&crowd()))
}

fn the_same_with_a_shared_pid_namespace(t: &Test) -> Done {
    t.not_for_runc("1.1 leaves the processes in the sub-cgroups")?;
    crowded(t, Bundle::shell(&crowd()).without_namespace("pid"))
}

/// Fifty shells that stop, and when they go on start forty processes each.
fn crowd() -> String {
    let each = EACH - 1;
    format!(
        "n=0; while [ $n -lt {CGROUPS} ]; do n=$((n+1)); \
         sh -c 'kill -STOP $$; n=0; while [ $n -lt {each} ]; do n=$((n+1)); sleep 1000 & done; wait' & done; wait"
    )
}

fn crowded(t: &Test, bundle: Bundle) -> Done {
    let c = t.container(&bundle)?;
    c.run_detached()?;
    let init = c.pid()?;
    let tops = cgroups::named(&c.id)?;
    let top = tops.first().ok_or_else(|| Failure::new("no cgroup"))?;
    let stopped = || {
        let all = cgroups::processes(top).into_iter();
        let shells = all.filter(|pid| *pid != init);
        let stopped =
            shells.filter(|pid| processes::stat(*pid).is_some_and(|one| one.state == 'T'));
        stopped.collect::<Vec<_>>()
    };
    wait_until("the shells", || Ok(stopped().len() == CGROUPS))?;
    let shells = stopped();
    for top in &tops {
        for (number, shell) in shells.iter().enumerate() {
            let inner = nested(top, number)?;
            fs::write(inner.join("cgroup.procs"), shell.to_string())?;
        }
    }
    for shell in &shells {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(*shell),
            nix::sys::signal::Signal::SIGCONT,
        )?;
    }
    let until = Instant::now() + Duration::from_secs(60);
    while cgroups::processes(top).len() <= CGROUPS * EACH {
        assert!(Instant::now() < until, "the crowd never came");
        std::thread::sleep(Duration::from_millis(20));
    }

    let since = Instant::now();
    let outcome = c.call("delete", &["--force"], &[])?;
    let took = since.elapsed();
    eprintln!(
        "{} {}: {took:?} for {} processes",
        t.place,
        c.id,
        CGROUPS * EACH
    );
    outcome.success()?;
    // Three seconds on a machine with nothing else to do.
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    let left = cgroups::named(&c.id)?;
    assert!(left.is_empty(), "left: {left:?}");
    c.call("state", &[], &[])?.fails_with("does not exist")?;
    Ok(())
}

/// `a0`, `a0/a1`, … five deep, ten times.
fn nested(top: &Path, number: usize) -> Result<PathBuf, Failure> {
    let mut dir = top.join(format!("g{}", number / 5));
    for level in 0..number % 5 {
        dir = dir.join(format!("l{level}"));
    }
    if !dir.is_dir() {
        fs::create_dir(&dir)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let (Ok(value), true) = (fs::read(top.join(file)), top.join("tasks").is_file()) {
                fs::write(dir.join(file), value)?;
            }
        }
    }
    Ok(dir)
}

/// The freezer of v1 keeps even the killed, and a cgroup above the container's is not ours to thaw.
fn the_last_error_names_who_is_left(t: &Test) -> Done {
    t.not_for_runc("1.1 names nobody")?;
    t.only_at(Place::Native)?;
    let script = "sleep 1000 & exec sleep 999";
    let c = t.container(&Bundle::shell(script).without_namespace("pid"))?;
    c.run_detached()?;
    let tops = cgroups::named(&c.id)?;
    let own = tops.iter().find(|dir| dir.join("freezer.state").is_file());
    let own = own.ok_or_else(|| Failure::skip("no v1 freezer"))?;
    wait_until("both programs", || Ok(cgroups::processes(own).len() == 2))?;
    let init = c.pid()?;
    let other = cgroups::processes(own).into_iter().find(|pid| *pid != init);
    let other = other.ok_or_else(|| Failure::new("no other process"))?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(init),
        nix::sys::signal::Signal::SIGKILL,
    )?;
    c.await_status("stopped")?;
    let above = own.parent().map(|dir| dir.join("freezer.state"));
    let above = above.ok_or_else(|| Failure::new("the cgroup has no parent"))?;
    fs::write(&above, "FROZEN")?;
    let since = Instant::now();
    let outcome = c.call("delete", &["--force"], &[]);
    let took = since.elapsed();
    fs::write(&above, "THAWED")?;
    outcome?
        .exits_with(1)?
        .fails_with(&format!("still has processes: {other} (sleep)"))?;
    assert!(took < Duration::from_secs(15), "it took {took:?}");
    c.delete()?;
    Ok(())
}
