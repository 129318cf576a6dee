//! pause and resume: who stands still, what the commands and the cgroup say meanwhile, and what ends a paused container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::hung::HungMount;
use garboard_integration_tests::{cases, cgroups, processes};

pub fn cases() -> Vec<Case> {
    cases![
        a_paused_container_stands_still_and_goes_on,
        pause_and_resume_are_refused_in_other_statuses,
        a_created_container_can_be_paused,
        a_paused_container_is_not_entered,
        a_paused_container_can_be_killed,
        a_paused_container_is_deleted_by_force_only,
        what_the_container_froze_stays_frozen,
        a_pause_that_cannot_be_had_is_taken_back,
        a_resume_below_a_frozen_cgroup_says_so,
    ]
}

/// The file that freezes the container, and the words for frozen and thawed.
fn freezer(t: &Test, id: &str) -> Result<(PathBuf, &'static str, &'static str), Failure> {
    let (file, frozen, thawed) = if t.place.is_unified() {
        ("cgroup.freeze", "1", "0")
    } else {
        ("freezer.state", "FROZEN", "THAWED")
    };
    let mut dirs = cgroups::named(id)?
        .into_iter()
        .filter(|dir| dir.ends_with(id));
    dirs.find_map(|dir| Some(dir.join(file)).filter(|path| path.is_file()))
        .map(|path| (path, frozen, thawed))
        .ok_or_else(|| Failure::new(format!("no {file}")))
}

fn says(file: &Path, word: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.trim() == word)
}

fn running(t: &Test) -> Result<Container<'_>, Failure> {
    let c = t.container(&Bundle::sleeper())?;
    c.run_detached()?;
    Ok(c)
}

fn a_paused_container_stands_still_and_goes_on(t: &Test) -> Done {
    let script =
        "(while :; do echo child; sleep 0.002; done) & while :; do echo init; sleep 0.002; done";
    let c = t.container(&Bundle::shell(script))?;
    let out = c.run_detached()?;
    let both = |since: usize| {
        let text = out.stdout();
        let new = text.get(since..).unwrap_or("");
        new.contains("child") && new.contains("init")
    };
    wait_until("output", || Ok(both(0)))?;
    let (file, frozen, thawed) = freezer(t, &c.id)?;
    for _ in 0..3 {
        c.call("pause", &[], &[])?.success()?;
        assert!(says(&file, frozen), "{}", file.display());
        assert_eq!(c.status()?, "paused");
        let list = t.runtime.call(["list", "--format", "json"])?.success()?;
        assert_eq!(list.json()?[0]["status"], "paused");
        let length = out.stdout().len();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(out.stdout().len(), length, "it went on while it was paused");

        c.call("resume", &[], &[])?.success()?;
        assert!(says(&file, thawed), "{}", file.display());
        assert_eq!(c.status()?, "running");
        wait_until("more output", || Ok(both(length)))?;
    }
    c.delete_force()?;
    Ok(())
}

fn pause_and_resume_are_refused_in_other_statuses(t: &Test) -> Done {
    let c = running(t)?;
    let refused = |verb: &str, text: &str| c.call(verb, &[], &[])?.exits_with(1)?.fails_with(text);
    refused("resume", "container not paused")?;
    c.call("pause", &[], &[])?.success()?;
    refused("pause", "container not running")?;
    assert_eq!(c.status()?, "paused");
    c.call("resume", &[], &[])?.success()?;
    refused("resume", "container not paused")?;
    c.kill("KILL")?;
    c.await_status("stopped")?;
    refused("pause", "container not running")?;
    refused("resume", "container not paused")?;
    c.delete()?;
    refused("pause", "container does not exist")?;
    refused("resume", "container does not exist")?;
    Ok(())
}

fn a_created_container_can_be_paused(t: &Test) -> Done {
    let c = t.container(&Bundle::shell("echo ran; sleep 1000"))?;
    let out = c.create()?;
    c.call("pause", &[], &[])?.success()?;
    assert_eq!(c.status()?, "paused");
    c.call("start", &[], &[])?
        .exits_with(1)?
        .fails_with("cannot start a container in the paused state")?;
    c.call("resume", &[], &[])?.success()?;
    assert_eq!(c.status()?, "created");
    assert_eq!(out.stdout(), "");
    c.start()?;
    wait_until("the program", || Ok(out.stdout() == "ran\n"))?;
    c.delete_force()?;
    Ok(())
}

fn a_paused_container_is_not_entered(t: &Test) -> Done {
    let c = running(t)?;
    c.call("pause", &[], &[])?.success()?;
    c.exec(&["true"])?
        .exits_with(255)?
        .fails_with("cannot exec in a paused container (use --ignore-paused to override)")?;
    c.call("resume", &[], &[])?.success()?;
    c.exec(&["true"])?.success()?;
    Ok(())
}

fn a_paused_container_can_be_killed(t: &Test) -> Done {
    t.not_for_runc("1.1 leaves the others in a shared pid namespace frozen")?;
    for shared in [false, true] {
        let mut bundle = Bundle::shell("sleep 1000 & sleep 1000");
        if shared {
            bundle = bundle.without_namespace("pid");
        }
        let c = t.container(&bundle)?;
        c.run_detached()?;
        let dir = freezer(t, &c.id)?.0;
        let dir = dir.parent().ok_or_else(|| Failure::new("no directory"))?;
        wait_until("both programs", || Ok(cgroups::processes(dir).len() >= 2))?;
        c.call("pause", &[], &[])?.success()?;
        c.kill("KILL")?;
        c.await_status("stopped")?;
        wait_until("the end of all", || {
            processes::reap();
            Ok(cgroups::processes(dir).is_empty())
        })?;
        c.delete()?;
    }
    Ok(())
}

fn a_paused_container_is_deleted_by_force_only(t: &Test) -> Done {
    t.not_for_runc("1.1 leaves the cgroup of a shared pid namespace")?;
    for shared in [false, true] {
        let mut bundle = Bundle::shell("sleep 1000 & sleep 1000");
        if shared {
            bundle = bundle.without_namespace("pid");
        }
        let c = t.container(&bundle)?;
        c.run_detached()?;
        c.call("pause", &[], &[])?.success()?;
        let text = format!(
            "cannot delete container {} that is not stopped: paused",
            c.id
        );
        c.call("delete", &[], &[])?
            .exits_with(1)?
            .fails_with(&text)?;
        assert_eq!(c.status()?, "paused");
        c.delete_force()?;
        let left = cgroups::named(&c.id)?;
        assert!(left.is_empty(), "left: {left:?}");
    }
    Ok(())
}

/// A container with a writable view freezes a cgroup of its own; pause and resume of the whole must not thaw it, and it must not
/// keep the container from being deleted.
fn what_the_container_froze_stays_frozen(t: &Test) -> Done {
    t.not_for_runc("1.1 leaves the cgroup")?;
    let c = t.container(&Bundle::shell("sleep 1000 & echo $!; wait").without_namespace("pid"))?;
    let out = c.run_detached()?;
    wait_until("the pid", || Ok(out.stdout().ends_with('\n')))?;
    let sleeper = out.stdout().trim().to_owned();
    let (file, frozen, _) = freezer(t, &c.id)?;
    let inner = file.with_file_name("inner");
    fs::create_dir(&inner)?;
    fs::write(inner.join("cgroup.procs"), &sleeper)?;
    let own = inner.join(file.file_name().unwrap_or_default());
    fs::write(&own, frozen)?;
    assert_eq!(c.status()?, "running", "only a part of it is frozen");
    c.call("pause", &[], &[])?.success()?;
    assert_eq!(c.status()?, "paused");
    c.call("resume", &[], &[])?.success()?;
    assert_eq!(c.status()?, "running");
    assert!(says(&own, frozen), "its own freeze was taken back");
    c.delete_force()?;
    let left = cgroups::named(&c.id)?;
    assert!(left.is_empty(), "left: {left:?}");
    Ok(())
}

fn a_pause_that_cannot_be_had_is_taken_back(t: &Test) -> Done {
    t.not_for_runc("1.1 gives up on v1 after a hundredth of the time, and waits for ever on v2")?;
    let script = "while :; do echo x; sleep 0.01; done";
    let c = t.container(&Bundle::shell(script))?;
    let out = c.run_detached()?;
    let (file, _, thawed) = freezer(t, &c.id)?;
    let hung = HungMount::new(&t.dir.join("hung"))?;
    let mut waiting = Command::new("/bin/busybox")
        .arg("cat")
        .arg(hung.file())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = waiting.id().cast_signed();
    wait_until("the lookup", || {
        let place = fs::read_to_string(format!("/proc/{pid}/wchan"))?;
        Ok(place.contains("request_wait_answer"))
    })?;
    fs::write(file.with_file_name("cgroup.procs"), pid.to_string())?;

    let since = Instant::now();
    let outcome = c.call("pause", &[], &[]);
    let took = since.elapsed();
    let (word, length) = (fs::read_to_string(&file)?, out.stdout().len());
    let status = c.status();
    drop(hung);
    let _ = waiting.kill();
    waiting.wait()?;

    outcome?.exits_with(1)?.fails_with("unable to freeze")?;
    assert!(took < Duration::from_secs(15), "it took {took:?}");
    assert_eq!(word.trim(), thawed);
    assert_eq!(status?, "running");
    wait_until("the container to go on", || Ok(out.stdout().len() > length))?;
    c.call("pause", &[], &[])?.success()?;
    c.delete_force()?;
    Ok(())
}

fn a_resume_below_a_frozen_cgroup_says_so(t: &Test) -> Done {
    t.not_for_runc("1.1 says nothing")?;
    let c = running(t)?;
    let (file, frozen, thawed) = freezer(t, &c.id)?;
    let name = file.file_name().unwrap_or_default();
    let pod = file.ancestors().nth(2).map(|dir| dir.join(name));
    let pod = pod.ok_or_else(|| Failure::new("the cgroup has no parent"))?;
    c.call("pause", &[], &[])?.success()?;
    fs::write(&pod, frozen)?;
    let since = Instant::now();
    let outcome = c.call("resume", &[], &[]);
    let took = since.elapsed();
    let status = c.status();
    fs::write(&pod, thawed)?;
    outcome?
        .exits_with(1)?
        .fails_with("a cgroup above it is frozen")?;
    assert_eq!(status?, "paused");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    c.await_status("running")?;
    Ok(())
}
