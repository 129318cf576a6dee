//! Containers that have made sub-cgroups: an exec goes where it can live, also when the top one is closed to processes.

use std::fs;
use std::path::{Path, PathBuf};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::needs::Need;
use serde_json::json;

use crate::nesting::{OWN, directory, nested};

pub fn cases() -> Vec<Case> {
    cases![
        exec_goes_where_init_is_when_the_top_cgroup_is_closed,
        exec_into_a_sub_cgroup,
        a_container_with_threaded_sub_cgroups_is_usual,
        sub_cgroups_are_no_matter_of_descriptors,
    ]
}

/// A domain controller that the container can be made to pass on, here.
fn domain_controller(dir: &Path) -> Result<&'static str, Failure> {
    let available = fs::read_to_string(dir.join("cgroup.controllers"))?;
    ["memory", "hugetlb", "io"]
        .into_iter()
        .find(|name| available.split_whitespace().any(|one| one == *name))
        .ok_or_else(|| Failure::skip("no domain controller"))
}

fn exec_goes_where_init_is_when_the_top_cgroup_is_closed(t: &Test) -> Done {
    t.needs(&[Need::V2, Need::Root])?;
    t.not_for_runc("1.1 does not look for init")?;
    let script = "cd /sys/fs/cgroup && mkdir -p a/b other && echo 1 > a/b/cgroup.procs && \
                  for c in memory hugetlb io; do echo +$c > cgroup.subtree_control; done; exec sleep 1000";
    let c = t.container(&nested(Bundle::shell(script)))?;
    c.run_detached()?;
    let dir = directory(&c)?;
    let controller = domain_controller(&dir)?;
    wait_until("a closed top cgroup", || {
        Ok(fs::read_to_string(dir.join("cgroup.subtree_control"))?.contains(controller))
    })?;
    let refused = fs::write(dir.join("cgroup.procs"), std::process::id().to_string());
    assert_eq!(
        refused.err().and_then(|error| error.raw_os_error()),
        Some(nix::errno::Errno::EBUSY as i32),
        "the top cgroup takes processes: this case proves nothing"
    );
    let own = |flags: &[&str]| c.call("exec", flags, OWN);
    assert_eq!(own(&[])?.success()?.stdout(), "0::/a/b\n");
    assert_eq!(
        own(&["--cgroup", "/other"])?.success()?.stdout(),
        "0::/other\n"
    );
    let out = own(&["--cgroup", "/"])?.exits_with(255)?;
    assert!(out.stderr().contains("busy"), "{}", out.stderr());
    let out = own(&["--cgroup", "/nowhere"])?.exits_with(255)?;
    assert!(out.stderr().contains("no such file"), "{}", out.stderr());
    let out = c.call("ps", &["--format", "json"], &[])?.success()?;
    assert_eq!(out.json()?, json!([c.pid()?]));
    c.delete_force()?;
    Ok(())
}

fn exec_into_a_sub_cgroup(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    // A new cpuset is empty on v1, and takes nobody then.
    let script = "for dir in /sys/fs/cgroup /sys/fs/cgroup/*; do [ -L $dir ] || mkdir $dir/sub 2>/dev/null; done; cd /sys/fs/cgroup; \
                  for file in cpuset.cpus cpuset.mems; do [ -e cpuset/$file ] && cat cpuset/$file > cpuset/sub/$file; done; \
                  touch /tmp/ready; exec sleep 1000";
    let c = t.container(&nested(Bundle::shell(script)))?;
    c.run_detached()?;
    wait_until("sub-cgroups", || {
        Ok(c.exec(&["test", "-e", "/tmp/ready"])?.code() == 0)
    })?;
    let out = c
        .call("exec", &["--cgroup", "sub"], &["cat", "/proc/self/cgroup"])?
        .success()?;
    let lines = out.lines();
    // All but the cgroup2 tree of a hybrid machine, which the container does not see.
    let elsewhere: Vec<_> = lines
        .iter()
        .filter(|line| !line.ends_with(":/sub"))
        .collect();
    if t.place.is_unified() {
        assert_eq!(lines.last().map(String::as_str), Some("0::/sub"));
    } else {
        assert!(
            elsewhere.iter().all(|line| line.starts_with("0::")) && elsewhere.len() < lines.len(),
            "{lines:?}"
        );
    }
    c.delete_force()?;
    Ok(())
}

fn a_container_with_threaded_sub_cgroups_is_usual(t: &Test) -> Done {
    t.needs(&[Need::V2, Need::Root])?;
    let script = "cd /sys/fs/cgroup && mkdir t && echo threaded > t/cgroup.type && (echo 0 > t/cgroup.threads; exec sleep 1000) & \
                  sleep 1000";
    let c = t.container(&nested(Bundle::shell(script)))?;
    c.run_detached()?;
    let dir = directory(&c)?;
    wait_until("a threaded sub-cgroup with somebody in it", || {
        Ok(fs::read_to_string(dir.join("t/cgroup.threads")).is_ok_and(|text| !text.is_empty()))
    })?;
    assert_eq!(c.exec(OWN)?.success()?.stdout(), "0::/\n");
    let own = c.call("exec", &["--cgroup", "t"], OWN)?.success()?;
    assert_eq!(own.stdout(), "0::/t\n");
    let listed = c
        .call("ps", &["--format", "json"], &[])?
        .success()?
        .json()?;
    assert!(listed.as_array().map_or(0, Vec::len) >= 2, "{listed}");
    c.delete_force()?;
    assert!(!dir.is_dir());
    Ok(())
}

/// Makes a row of sub-cgroups in `dir`, and a chain of them below each other. Returns the first and the last of the row and the deepest.
fn row_and_chain(dir: &Path, length: usize) -> Result<[PathBuf; 3], Failure> {
    for number in 0..length {
        fs::create_dir(dir.join(format!("row{number}")))?;
    }
    let mut deepest = dir.join("chain");
    for _ in 0..length {
        fs::create_dir(&deepest)?;
        deepest.push("c");
    }
    deepest.pop();
    let last = dir.join(format!("row{}", length - 1));
    Ok([dir.join("row0"), last, deepest])
}

/// A container with a writable view can make far more of them than its runtime has descriptors, and would be out of its reach.
fn sub_cgroups_are_no_matter_of_descriptors(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    t.not_for_runc("it needs a descriptor for each level")?;
    const LENGTH: usize = 100;
    let script = "sleep 1000 & sleep 1000 & sleep 1000 & exec sleep 1000";
    // Without a PID namespace only the cgroup says what is the container's.
    let c = t.container(&Bundle::shell(script).without_namespace("pid"))?;
    c.run_detached()?;
    let few = |verb: &str, flags: &[&str]| {
        let command = c.command(verb, flags, &[]);
        let shell = t.runtime.from_shell("ulimit -n 64", &command);
        t.runtime.finish(shell)?.success()
    };
    let listed = || -> Result<Vec<i32>, Failure> {
        let listed = few("ps", &["--format", "json"])?.json()?;
        let mut pids: Vec<i32> = serde_json::from_value(listed)?;
        pids.sort_unstable();
        Ok(pids)
    };
    wait_until("the container's processes", || Ok(listed()?.len() == 4))?;
    let pids = listed()?;
    let others = pids.iter().filter(|&&pid| Ok(pid) != c.pid().map_err(drop));
    let others: Vec<_> = others.collect();
    let directories = c.cgroups()?;
    for dir in &directories {
        let places = row_and_chain(dir, LENGTH)?;
        // A new cpuset takes nobody.
        if dir.join("cpuset.cpu_exclusive").is_file() {
            continue;
        }
        for (place, pid) in places.iter().zip(&others) {
            fs::write(place.join("cgroup.procs"), pid.to_string())?;
        }
    }
    assert_eq!(listed()?, pids);
    if !t.place.is_unified() {
        few("pause", &[])?;
        few("resume", &[])?;
    }
    few("delete", &["--force"])?;
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).is_dir(), "{pid} lives");
    }
    assert!(directories.iter().all(|dir| !dir.is_dir()));
    Ok(())
}
