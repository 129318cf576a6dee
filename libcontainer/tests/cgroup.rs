//! Cgroups on the real kernel, judged by what `/sys/fs/cgroup` and the processes in it say.
//!
//! On a legacy or hybrid machine the last test runs all others again with a unified view, in a mount namespace of its own.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libcontainer::ErrorKind;
use libcontainer::cgroup::{Cgroup, CgroupPlan, Removal, Survivors};
use libcontainer::config::{self, DeviceKind, DeviceRule};
use libcontainer::host::Host;

/// Moves a process in, which in a launch writes itself.
fn place(cgroup: &Cgroup, pid: i32) {
    let enter = |tasks: BorrowedFd<'_>| {
        let mut tasks = fs::File::from(tasks.try_clone_to_owned().unwrap());
        tasks.write_all(pid.to_string().as_bytes()).unwrap();
        Ok(())
    };
    cgroup.place(pid, false, &[], enter).unwrap();
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const IN_VIEW: &str = "GARBOARD_TEST_IN_UNIFIED_VIEW";

/// A plan below `/garboard-test-PID`, or `None` (said aloud) where cgroups cannot be made.
fn plan(name: &str) -> Option<(Host, CgroupPlan)> {
    let host = Host::new();
    if host.rootless().unwrap() {
        println!("skipped: needs real root");
        return None;
    }
    let path = format!("/garboard-test-{}-{name}", std::process::id());
    let plan = CgroupPlan::new(
        &config::Cgroup {
            path: Some(path),
            ..config::Cgroup::default()
        },
        name,
        &host,
    )
    .unwrap();
    assert!(!plan.places.is_empty());
    Some((host, plan))
}

fn paths(plan: &CgroupPlan) -> Vec<PathBuf> {
    plan.places.iter().map(|place| place.host_path()).collect()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// A process that sleeps until it is killed; killed and reaped on drop.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Sleeper {
        let child = Command::new("sleep").arg("300").spawn().unwrap();
        // spawn returns while the exec is still on its way to the new name.
        while fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap() != "sleep\n" {
            std::thread::yield_now();
        }
        Sleeper(child)
    }

    fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }

    fn was_killed(&mut self) -> bool {
        self.0.wait().unwrap().signal() == Some(9)
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        // One that a failed test left frozen cannot die: the test's own error must still be seen.
        for _ in 0..200 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn mark(path: &PathBuf) -> Option<Vec<u8>> {
    let mut value = [0u8; 64];
    let length = rustix::fs::getxattr(path, "user.garboard", &mut value[..]).ok()?;
    Some(value[..length].to_vec())
}

#[test]
fn made_marked_and_removed() {
    let Some((host, plan)) = plan("life") else {
        return;
    };
    let mut cgroup = Cgroup::create(&plan, TOKEN).unwrap();
    for path in paths(&plan) {
        assert_eq!(
            mark(&path).as_deref(),
            Some(TOKEN.as_bytes()),
            "{}",
            path.display()
        );
    }
    assert!(cgroup.is_marked());
    cgroup.commit();
    drop(cgroup);
    let mut again = Cgroup::open(&plan.places, TOKEN).unwrap();
    assert!(again.is_marked());
    assert!(!Cgroup::open(&plan.places, "another").unwrap().is_marked());
    assert_eq!(again.remove(&host, soon()).unwrap(), Removal::Done);
    assert!(
        paths(&plan)
            .iter()
            .all(|path| fs::symlink_metadata(path).is_err())
    );
    assert!(Cgroup::open(&plan.places, TOKEN).unwrap().is_none());
}

#[test]
fn what_was_not_committed_disappears() {
    let Some((_, plan)) = plan("drop") else {
        return;
    };
    let mut sleeper = Sleeper::new();
    let cgroup = Cgroup::create(&plan, TOKEN).unwrap();
    place(&cgroup, sleeper.pid());
    assert!(cgroup.processes().unwrap().contains(&sleeper.pid()));
    drop(cgroup);
    assert!(sleeper.was_killed());
    assert!(
        paths(&plan)
            .iter()
            .all(|path| fs::symlink_metadata(path).is_err())
    );
}

#[test]
fn parents_that_we_made_go_and_others_stay() {
    let Some((host, mut plan)) = plan("parents") else {
        return;
    };
    let tops = paths(&plan);
    for place in &mut plan.places {
        place.path.push("a/b");
    }
    let mut cgroup = Cgroup::create(&plan, TOKEN).unwrap();
    cgroup.remove(&host, soon()).unwrap();
    assert!(
        tops.iter().all(|path| fs::symlink_metadata(path).is_err()),
        "made by us"
    );
    for top in &tops {
        fs::create_dir(top).unwrap();
    }
    for place in &plan.places {
        // A new cpuset cgroup made by hand has to be filled by hand before its children can be.
        for file in ["cpuset.cpus", "cpuset.mems"]
            .iter()
            .filter(|_| place.controllers.iter().any(|name| name == "cpuset"))
        {
            fs::write(
                place
                    .mount
                    .join(place.path.iter().next().unwrap())
                    .join(file),
                fs::read(place.mount.join(file)).unwrap(),
            )
            .unwrap();
        }
    }
    Cgroup::create(&plan, TOKEN)
        .unwrap()
        .remove(&host, soon())
        .unwrap();
    for top in &tops {
        assert_eq!(
            fs::read_dir(top)
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir())
                .count(),
            0
        );
        fs::remove_dir(top).unwrap();
    }
}

#[test]
fn a_cgroup_with_processes_or_children_is_not_taken() {
    let Some((host, plan)) = plan("full") else {
        return;
    };
    let mut sleeper = Sleeper::new();
    let mut first = Cgroup::create(&plan, TOKEN).unwrap();
    place(&first, sleeper.pid());
    let error = Cgroup::create(&plan, "other").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(
        error.to_string().starts_with(
            "config.json#/linux/cgroupsPath: container's cgroup is not empty: 1 process(es) found"
        ),
        "{error}"
    );
    assert!(sleeper.is_alive() && first.is_marked());
    first.kill_all(&host, soon()).unwrap();
    let child = paths(&plan)[0].join("child");
    fs::create_dir(&child).unwrap();
    assert_eq!(
        Cgroup::create(&plan, "other").unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    first.remove(&host, soon()).unwrap();
    assert!(
        fs::symlink_metadata(&child).is_err(),
        "children are removed first"
    );
}

#[test]
fn an_empty_cgroup_that_was_there_survives_a_failed_create() {
    let Some((_, mut plan)) = plan("empty") else {
        return;
    };
    plan.places.truncate(1);
    let path = paths(&plan).remove(0);
    fs::create_dir(&path).unwrap();
    let cgroup = Cgroup::create(&plan, TOKEN).unwrap();
    assert!(mark(&path).is_some());
    drop(cgroup);
    assert_eq!(mark(&path), None);
    fs::remove_dir(&path).unwrap();
}

#[test]
fn killing_reaches_sub_cgroups_and_frozen_processes() {
    let Some((host, plan)) = plan("kill") else {
        return;
    };
    let (mut one, mut two) = (Sleeper::new(), Sleeper::new());
    let mut cgroup = Cgroup::create(&plan, TOKEN).unwrap();
    place(&cgroup, one.pid());
    for path in paths(&plan) {
        fs::create_dir_all(path.join("inner")).unwrap();
        if path.join("cpuset.cpus").is_file() && path.join("tasks").is_file() {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(
                    path.join("inner").join(file),
                    fs::read(path.join(file)).unwrap(),
                )
                .unwrap();
            }
        }
        fs::write(path.join("inner/cgroup.procs"), two.pid().to_string()).unwrap();
    }
    assert!(!cgroup.frozen().unwrap());
    let freezer = freeze(&plan);
    assert!(cgroup.frozen().unwrap());
    cgroup.kill_all(&host, soon()).unwrap();
    assert!(one.was_killed() && two.was_killed());
    if freezer.ends_with("freezer.state") {
        assert_eq!(fs::read_to_string(&freezer).unwrap().trim(), "THAWED");
    }
    assert!(cgroup.processes().unwrap().is_empty());
    cgroup.remove(&host, soon()).unwrap();
}

/// Freezes by hand and says through which file.
fn freeze(plan: &CgroupPlan) -> PathBuf {
    let v1 = plan
        .places
        .iter()
        .find(|place| place.controllers.iter().any(|name| name == "freezer"));
    let (file, value) = match v1 {
        Some(place) => (place.host_path().join("freezer.state"), "FROZEN"),
        None => (plan.places[0].host_path().join("cgroup.freeze"), "1"),
    };
    fs::write(&file, value).unwrap();
    file
}

#[test]
fn thawing_lets_processes_go_on() {
    let Some((host, plan)) = plan("thaw") else {
        return;
    };
    let mut sleeper = Sleeper::new();
    let mut cgroup = Cgroup::create(&plan, TOKEN).unwrap();
    place(&cgroup, sleeper.pid());
    freeze(&plan);
    assert!(cgroup.frozen().unwrap());
    cgroup.thaw(soon()).unwrap();
    assert!(!cgroup.frozen().unwrap());
    assert!(sleeper.is_alive());
    cgroup.kill_all(&host, soon()).unwrap();
    cgroup.remove(&host, soon()).unwrap();
    assert!(
        !cgroup.frozen().unwrap(),
        "a cgroup that has gone is not frozen"
    );
}

#[test]
fn a_stranger_in_the_recorded_path_is_left_alone() {
    let Some((host, plan)) = plan("stranger") else {
        return;
    };
    let mut stranger = Sleeper::new();
    // Of one hierarchy: a directory that we did not make.
    let path = paths(&plan).pop().unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("cgroup.procs"), stranger.pid().to_string()).unwrap();
    let mut cgroup = Cgroup::open(&plan.places, TOKEN).unwrap();
    assert!(!cgroup.is_marked());
    cgroup.kill_all(&host, soon()).unwrap();
    assert!(stranger.is_alive());
    assert_eq!(cgroup.remove(&host, soon()).unwrap(), Removal::NotOurs);
    assert!(stranger.is_alive());
    drop(stranger);
    fs::remove_dir(&path).unwrap();
}

#[test]
fn a_removal_that_cannot_end_names_the_survivors() {
    let Some((host, plan)) = plan("survivor") else {
        return;
    };
    let sleeper = Sleeper::new();
    let mut cgroup = Cgroup::create(&plan, TOKEN).unwrap();
    place(&cgroup, sleeper.pid());
    let error = cgroup.remove(&host, Instant::now()).unwrap_err();
    let survivors = error.downcast_ref::<Survivors>().unwrap();
    assert_eq!(survivors.processes, [(sleeper.pid(), "sleep".to_owned())]);
    // Dropped uncommitted, it still kills and removes.
    drop(cgroup);
    assert!(
        paths(&plan)
            .iter()
            .all(|path| fs::symlink_metadata(path).is_err())
    );
}

#[test]
fn the_device_policy_holds_from_inside() {
    let Some((_, plan)) = plan("devices") else {
        return;
    };
    let cgroup = Cgroup::create(&plan, TOKEN).unwrap();
    let deny_all = DeviceRule {
        allow: false,
        kind: DeviceKind::All,
        major: None,
        minor: None,
        read: true,
        write: true,
        mknod: true,
    };
    let kmsg = DeviceRule {
        allow: true,
        kind: DeviceKind::Char,
        major: Some(1),
        minor: Some(11),
        read: true,
        write: false,
        mknod: false,
    };
    // Two programs for one cgroup would both have to allow: each policy is tried in a cgroup of its own.
    cgroup.set_devices(&[deny_all.clone(), kmsg]).unwrap();
    let script = "read -r _; for d in null zero kmsg mem; do if : < /dev/$d; then echo $d r; fi 2>/dev/null; if : >> /dev/$d; then echo $d w; fi 2>/dev/null; done";
    let mut shell = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    place(&cgroup, shell.id().try_into().unwrap());
    shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut seen = String::new();
    shell
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut seen)
        .unwrap();
    shell.wait().unwrap();
    assert_eq!(seen, "null r\nnull w\nzero r\nzero w\nkmsg r\n");
}

#[test]
fn the_kernel_takes_every_shape_of_rules() {
    let Some((_, plan)) = plan("verifier") else {
        return;
    };
    let rule = |bits: u32, kind, major, minor| DeviceRule {
        allow: bits & 8 != 0,
        kind,
        major,
        minor,
        read: bits & 1 != 0,
        write: bits & 2 != 0,
        mknod: bits & 4 != 0,
    };
    let mut rules = Vec::new();
    for bits in 1..16 {
        for kind in [DeviceKind::All, DeviceKind::Char, DeviceKind::Block] {
            for (major, minor) in [
                (None, None),
                (Some(240), None),
                (None, Some(4_000_000)),
                (Some(u32::MAX), Some(7)),
            ] {
                // v1 takes no number that does not fit its devices.
                rules.push(rule(
                    bits,
                    kind,
                    major.map(|m: u32| m.min(4000)),
                    minor.map(|m: u32| m.min(1_000_000)),
                ));
            }
        }
    }
    for set in rules
        .chunks(20)
        .map(<[DeviceRule]>::to_vec)
        .chain([rules.clone(), Vec::new()])
    {
        let cgroup = Cgroup::create(&plan, TOKEN).unwrap();
        cgroup.set_devices(&set).unwrap();
    }
}

#[test]
fn a_user_without_rights_does_without_a_cgroup() {
    let host = Host::new();
    if host.euid() == 0 {
        // The same test again as nobody; a build directory that nobody may enter is no fault of ours.
        let test = std::env::current_exe().unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(test);
        command.args(["--exact", "a_user_without_rights_does_without_a_cgroup"]);
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("failed to execute") {
            println!("skipped: {errors}");
            return;
        }
        assert!(
            output.status.success(),
            "{}{errors}",
            String::from_utf8_lossy(&output.stdout)
        );
        return;
    }
    let asked = config::Cgroup {
        path: Some("/garboard-test-nobody".into()),
        ..config::Cgroup::default()
    };
    let plan = CgroupPlan::new(&asked, "c1", &host).unwrap();
    assert!(plan.tolerant);
    let cgroup = Cgroup::create(&plan, TOKEN).unwrap();
    assert!(cgroup.is_none());
    cgroup.set_devices(&[]).unwrap();
    place(&cgroup, 1);
    assert!(cgroup.processes().unwrap().is_empty());
}

#[test]
fn the_same_in_a_unified_view() {
    let Some((_, plan)) = plan("view") else {
        return;
    };
    if std::env::var_os(IN_VIEW).is_some() {
        assert_eq!(plan.places.len(), 1, "the view is unified");
        return;
    }
    if plan.places.len() == 1 {
        return;
    }
    let view = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
    let test = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", view, "sh"])
        .arg(test)
        .env(IN_VIEW, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("test the_same_in_a_unified_view ... ok"),
        "{text}"
    );
}
