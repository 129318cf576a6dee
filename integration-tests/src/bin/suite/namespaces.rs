//! The eight namespaces: new, shared and by path; user mappings, time offsets, sysctls, host names.

use std::path::PathBuf;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::needs::Need;
use garboard_integration_tests::{cases, processes};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    cases![
        a_listed_namespace_is_new_and_an_unlisted_one_the_callers,
        a_cgroup_namespace_shows_its_own_root,
        a_time_namespace_has_its_offsets,
        init_is_pid_one,
        namespaces_by_path_are_those_of_another_container,
        a_pid_namespace_by_path_is_joined,
        a_mount_namespace_by_path_is_joined,
        a_path_to_another_kind_of_namespace_is_refused,
        a_namespace_that_is_not_there_is_refused,
        a_namespace_twice_is_refused,
        a_user_namespace_maps_ids,
        a_user_namespace_by_path_is_joined_with_a_pod,
        a_user_namespace_of_many_ranges,
        a_container_root_in_a_user_namespace_has_no_power_outside,
        every_namespace_at_once,
        the_hostname_and_domainname_are_set,
        a_hostname_without_a_namespace_is_refused,
        sysctls_are_set,
        sysctls_of_the_host_are_refused,
        loopback_is_up,
        a_network_device_moves_into_the_container,
    ]
}

const KINDS: [(&str, &str); 7] = [
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("uts", "uts"),
    ("user", "user"),
];

fn own(kind: &str) -> u64 {
    processes::namespace(std::process::id().cast_signed(), kind).unwrap_or(0)
}

fn a_listed_namespace_is_new_and_an_unlisted_one_the_callers(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    for (kind, file) in KINDS {
        let mut bundle = Bundle::probe().namespace(kind, None);
        if kind == "user" {
            bundle = bundle.user_namespace(100_000, 65536);
        }
        let seen = t.container(&bundle)?.report()?;
        assert_ne!(
            seen.at("/namespaces")[file],
            json!(own(file)),
            "{kind} is new"
        );
    }
    let shared = Bundle::probe()
        .without_namespace("pid")
        .without_namespace("network")
        .without_namespace("ipc");
    let shared = shared
        .without_namespace("uts")
        .without("/hostname")
        .without_mount("/dev/mqueue");
    let seen = t.container(&shared)?.report()?;
    for file in ["pid", "net", "ipc", "uts", "user", "cgroup", "time"] {
        assert_eq!(
            seen.at("/namespaces")[file],
            json!(own(file)),
            "{file} is shared"
        );
    }
    Ok(())
}

fn a_cgroup_namespace_shows_its_own_root(t: &Test) -> Done {
    let seen = t
        .container(&Bundle::probe().namespace("cgroup", None))?
        .report()?;
    let line = seen
        .at("/cgroup")
        .as_array()
        .and_then(|lines| lines.last().cloned())
        .unwrap_or_default();
    assert_eq!(line, "0::/");
    Ok(())
}

fn a_time_namespace_has_its_offsets(t: &Test) -> Done {
    t.not_for_runc("1.1 has no time namespace")?;
    let bundle = Bundle::probe().namespace("time", None);
    let offsets =
        json!({"boottime": {"secs": 1_000_000, "nanosecs": 5}, "monotonic": {"secs": -1}});
    let seen = t
        .container(&bundle.clone().set("/linux/timeOffsets", offsets))?
        .report()?;
    assert_ne!(seen.at("/namespaces/time"), &json!(own("time")));
    let here = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?.tv_sec();
    let there = seen.at("/boottime").as_i64().unwrap_or(0);
    assert!(
        (999_990..1_000_010).contains(&(there - here)),
        "{there} - {here}"
    );
    let plain = t.container(&bundle)?.report()?;
    assert_ne!(plain.at("/namespaces/time"), &json!(own("time")));
    Ok(())
}

fn init_is_pid_one(t: &Test) -> Done {
    let seen = t.container(&Bundle::probe())?.report()?;
    assert_eq!((seen.at("/pid"), seen.at("/ppid")), (&json!(1), &json!(0)));
    Ok(())
}

fn path_of(pid: i32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/{file}"))
}

fn namespaces_by_path_are_those_of_another_container(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let first = t.container(&Bundle::sleeper())?;
    first.create()?;
    let pid = first.pid()?;
    let mut bundle = Bundle::probe().without("/hostname");
    for (kind, file) in [("ipc", "ipc"), ("network", "net"), ("uts", "uts")] {
        bundle = bundle.namespace(kind, Some(&path_of(pid, file)));
    }
    let seen = t.container(&bundle)?.report()?;
    for file in ["ipc", "net", "uts"] {
        assert_eq!(
            seen.at("/namespaces")[file],
            json!(processes::namespace(pid, file)),
            "{file}"
        );
    }
    assert_eq!(seen.at("/hostname"), "garboard");
    assert_eq!(seen.at("/pid"), 1);
    Ok(())
}

fn a_pid_namespace_by_path_is_joined(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let first = t.container(&Bundle::sleeper())?;
    first.create()?;
    let pid = first.pid()?;
    let second = t.container(&Bundle::probe().namespace("pid", Some(&path_of(pid, "pid"))))?;
    let seen = second.report()?;
    assert_eq!(
        seen.at("/namespaces/pid"),
        &json!(processes::namespace(pid, "pid"))
    );
    assert_ne!(seen.at("/pid"), 1);
    // A whole life, too: the pid is told as the host sees it.
    let third = t.container(&Bundle::sleeper().namespace("pid", Some(&path_of(pid, "pid"))))?;
    third.run_detached()?;
    let other = third.pid()?;
    assert_eq!(
        processes::namespace(other, "pid"),
        processes::namespace(pid, "pid")
    );
    third.delete_force()?;
    assert_eq!(
        first.status()?,
        "created",
        "the namespace's owner is none of the third's business"
    );
    Ok(())
}

fn a_mount_namespace_by_path_is_joined(t: &Test) -> Done {
    let first = t.container(&Bundle::sleeper())?;
    first.run_detached()?;
    let pid = first.pid()?;
    let bundle = Bundle::probe().namespace("mount", Some(&path_of(pid, "mnt")));
    let bundle = bundle
        .without("/mounts")
        .without("/linux/maskedPaths")
        .without("/linux/readonlyPaths");
    let outcome = t.container(&bundle)?.run()?;
    if outcome.code() == 0 {
        let seen = garboard_integration_tests::probe::Report::parse(&outcome.stdout())?;
        assert_eq!(
            seen.at("/namespaces/mnt"),
            &json!(processes::namespace(pid, "mnt"))
        );
    } else {
        // A rootfs below a foreign mount namespace may be out of reach: refused is right, silence is not.
        assert!(!outcome.stderr().is_empty());
    }
    assert_eq!(first.exec(&["ls", "/"])?.success()?.lines().len(), 12);
    Ok(())
}

fn a_path_to_another_kind_of_namespace_is_refused(t: &Test) -> Done {
    let path = PathBuf::from("/proc/self/ns/net");
    t.container(&Bundle::args(["true"]).namespace("ipc", Some(&path)))?
        .try_create()?
        .exits_with(1)?;
    Ok(())
}

fn a_namespace_that_is_not_there_is_refused(t: &Test) -> Done {
    let path = PathBuf::from("/run/no-such-namespace");
    let c = t.container(&Bundle::args(["true"]).namespace("network", Some(&path)))?;
    c.try_create()?
        .exits_with(1)?
        .fails_with("no such file or directory")?;
    Ok(())
}

fn a_namespace_twice_is_refused(t: &Test) -> Done {
    let c =
        t.container(&Bundle::args(["true"]).set("/linux/namespaces/-", json!({"type": "pid"})))?;
    c.try_create()?.exits_with(1)?;
    Ok(())
}

fn a_user_namespace_maps_ids(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let bundle = Bundle::probe().user_namespace(100_000, 65536).set(
        "/process/user",
        json!({"uid": 5, "gid": 6, "additionalGids": [7]}),
    );
    let seen = t.container(&bundle)?.report()?;
    let map: Vec<&str> = seen
        .at("/uid_map/0")
        .as_str()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    assert_eq!(map, ["0", "100000", "65536"]);
    assert_eq!(seen.at("/setgroups"), "allow");
    assert_eq!(
        (seen.status("Uid"), seen.status("Groups")),
        ("5\t5\t5\t5", "7")
    );
    let c = t.container(&Bundle::sleeper().user_namespace(100_000, 65536))?;
    c.run_detached()?;
    let outside = processes::status_field(c.pid()?, "Uid").unwrap_or_default();
    assert_eq!(outside, "100000\t100000\t100000\t100000");
    let seen = c.exec_report(&[])?;
    assert_eq!(
        (seen.status("Uid"), seen.at("/namespaces/user")),
        ("0\t0\t0\t0", &json!(processes::namespace(c.pid()?, "user")))
    );
    Ok(())
}

fn a_user_namespace_by_path_is_joined_with_a_pod(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let first = t.container(&Bundle::sleeper().user_namespace(100_000, 65536))?;
    first.run_detached()?;
    let pid = first.pid()?;
    let mut bundle = Bundle::probe().without("/hostname");
    for (kind, file) in [
        ("user", "user"),
        ("ipc", "ipc"),
        ("network", "net"),
        ("uts", "uts"),
    ] {
        bundle = bundle.namespace(kind, Some(&path_of(pid, file)));
    }
    if t.runtime.is_runc() {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        bundle = bundle
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map);
    }
    let second = t.container(&bundle)?;
    let outcome = second.run()?;
    if t.runtime.is_runc() && outcome.code() != 0 {
        return t
            .not_for_runc("1.1 refuses a user namespace by path with mappings, and needs them");
    }
    let seen = garboard_integration_tests::probe::Report::parse(&outcome.success()?.stdout())?;
    for file in ["user", "ipc", "net", "uts"] {
        assert_eq!(
            seen.at("/namespaces")[file],
            json!(processes::namespace(pid, file)),
            "{file}"
        );
    }
    Ok(())
}

fn a_user_namespace_of_many_ranges(t: &Test) -> Done {
    let ranges: Vec<_> = (0..200)
        .map(|n| json!({"containerID": n * 10, "hostID": 100_000 + n * 20, "size": 10}))
        .collect();
    let bundle = Bundle::probe()
        .user_namespace(0, 1)
        .set("/linux/uidMappings", json!(ranges))
        .set("/linux/gidMappings", json!(ranges));
    let seen = t.container(&bundle)?.report()?;
    assert_eq!(seen.at("/uid_map").as_array().map(Vec::len), Some(200));
    Ok(())
}

fn a_container_root_in_a_user_namespace_has_no_power_outside(t: &Test) -> Done {
    let canary = t.scratch("canary")?;
    std::fs::write(canary.join("file"), "host")?;
    let script = "echo x 2>/dev/null > /mnt/file; chown 0 /mnt/file 2>/dev/null; cat /mnt/file; cat /proc/self/setgroups";
    let bundle = Bundle::shell(script)
        .user_namespace(100_000, 1000)
        .bind(&canary, "/mnt", &[]);
    assert_eq!(t.container(&bundle)?.run_ok()?.stdout(), "hostallow\n");
    Ok(())
}

fn every_namespace_at_once(t: &Test) -> Done {
    t.not_for_runc("1.1 has no time namespace")?;
    let bundle = Bundle::probe()
        .user_namespace(100_000, 65536)
        .namespace("cgroup", None)
        .namespace("time", None);
    let c = t.container(&bundle)?;
    let seen = c.report()?;
    for file in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        assert_ne!(seen.at("/namespaces")[file], json!(own(file)), "{file}");
    }
    assert_eq!(seen.at("/pid"), 1);
    Ok(())
}

fn the_hostname_and_domainname_are_set(t: &Test) -> Done {
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let bundle = Bundle::probe()
        .set("/hostname", json!("a.b-c"))
        .set("/domainname", json!("example.org"));
    let seen = t.container(&bundle)?.report()?;
    assert_eq!(seen.at("/hostname"), "a.b-c");
    if !t.runtime.is_runc() {
        assert_eq!(seen.at("/domainname"), "example.org");
    }
    assert_eq!(
        std::fs::read_to_string("/proc/sys/kernel/hostname")?,
        before
    );
    Ok(())
}

fn a_hostname_without_a_namespace_is_refused(t: &Test) -> Done {
    t.container(&Bundle::args(["true"]).without_namespace("uts"))?
        .try_create()?
        .exits_with(1)?;
    Ok(())
}

fn sysctls_are_set(t: &Test) -> Done {
    let values =
        json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "1234", "fs.mqueue.msg_max": "11"});
    let script =
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni /proc/sys/fs/mqueue/msg_max";
    assert_eq!(
        t.container(&Bundle::shell(script).set("/linux/sysctl", values))?
            .run_ok()?
            .stdout(),
        "1\n1234\n11\n"
    );
    Ok(())
}

fn sysctls_of_the_host_are_refused(t: &Test) -> Done {
    // With the value that the machine has: nothing changes if a runtime lets it through.
    let with = |key: &str| -> Result<Bundle, Failure> {
        let value = std::fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/")))?;
        Ok(Bundle::args(["true"]).set("/linux/sysctl", json!({key: value.trim_end()})))
    };
    for key in [
        "kernel.pid_max",
        "vm.swappiness",
        "fs.file-max",
        "kernel.core_pattern",
    ] {
        let c = t.container(&with(key)?)?;
        c.try_create()?.exits_with(1)?.fails_with(key)?;
    }
    let net = "net.ipv4.ip_forward";
    let joined = PathBuf::from(format!("/proc/{}/ns/net", std::process::id()));
    for bundle in [
        with(net)?.without_namespace("network"),
        with(net)?.namespace("network", Some(&joined)),
        with("kernel.shmmni")?
            .without_namespace("ipc")
            .without_mount("/dev/mqueue"),
    ] {
        t.container(&bundle)?.try_create()?.exits_with(1)?;
    }
    Ok(())
}

fn loopback_is_up(t: &Test) -> Done {
    let out = t.container(&Bundle::shell("ip addr show lo"))?.run_ok()?;
    assert!(
        out.stdout().contains("UP") && out.stdout().contains("127.0.0.1/8"),
        "{}",
        out.stdout()
    );
    Ok(())
}

fn a_network_device_moves_into_the_container(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    t.not_for_runc("1.1 has no linux.netDevices")?;
    let bundle = Bundle::shell("ip link").set("/linux/netDevices", json!({"v0": {"name": "eth7"}}));
    let c = t.container(&bundle)?;
    // The runtime runs in a network namespace made for it: no device of the machine is touched.
    let run = c.run_command(&[]);
    let mut command = std::process::Command::new("unshare");
    let make = "busybox ip link add v0 type veth && exec \"$@\"";
    command
        .args(["-n", "busybox", "sh", "-c", make, "sh"])
        .arg(run.get_program())
        .args(run.get_args());
    let out = t.runtime.finish(command)?.success()?;
    assert!(
        out.stdout().contains("eth7") && !out.stdout().contains("v0:"),
        "{}",
        out.stdout()
    );
    Ok(())
}
