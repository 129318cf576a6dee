//! Limits hold: a program that wants more than it may have does not get it, seen from inside and from outside.
//!
//! The same cases run on v1 and on v2, each where the machine has the controller. A time is never bounded from above closely: what is
//! measured of the processor is time used, which a busy machine only lessens.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cgroups::{self, Version};
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::loop_device::LoopDevice;
use garboard_integration_tests::place::Place;
use garboard_integration_tests::runtime::Output;
use garboard_integration_tests::{cases, processes};
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        memory_past_the_limit_is_killed,
        a_memory_kill_is_an_event,
        memory_over_high_is_held_back,
        half_a_processor_is_all_there_is,
        no_more_processes_than_allowed,
        a_fork_bomb_stops_and_is_deleted,
        the_cpuset_holds,
        writes_to_a_device_are_slowed,
        huge_pages_are_limited,
        a_page_size_that_is_not_there_is_an_error,
        a_missing_controller_is_an_error,
        unified_keys_are_written,
        unified_is_refused_on_v1,
    ]
}

const MIB: u64 = 1024 * 1024;

/// A probe that uses something up, under these limits.
fn probe(act: &[&str], resources: &Value) -> Bundle {
    let mut args = vec!["/bin/probe"];
    args.extend(act);
    let mut bundle = Bundle::args(args);
    for (key, value) in resources.as_object().into_iter().flatten() {
        bundle = bundle.set(&format!("/linux/resources/{key}"), value.clone());
    }
    bundle
}

fn hungry() -> Bundle {
    // With swap the limit of memory alone would only be slow.
    let memory = json!({"limit": 64 * MIB, "swap": 64 * MIB});
    probe(
        &["allocate", &(200 * MIB).to_string()],
        &json!({"memory": memory}),
    )
}

/// Starts a created container and waits for the end of its process.
fn start_to_the_end(c: &Container<'_>) -> Done {
    c.start()?;
    let until = Instant::now() + Duration::from_secs(60);
    while c.status()? != "stopped" {
        if Instant::now() > until {
            return Err(Failure::new("the container does not end"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn member(out: &Output, name: &str) -> Result<i64, Failure> {
    let report: Value = serde_json::from_str(out.stdout().trim())
        .map_err(|e| Failure::new(format!("the probe said {:?}: {e}", out.stdout())))?;
    report[name]
        .as_i64()
        .ok_or_else(|| Failure::new(format!("no {name} in {report}")))
}

fn memory_kills(c: &Container<'_>, version: Version) -> Result<u64, Failure> {
    match version {
        Version::V1 => c.counter("memory.oom_control", "oom_kill"),
        Version::V2 => c.counter("memory.events", "oom_kill"),
    }
}

fn memory_past_the_limit_is_killed(t: &Test) -> Done {
    let version = t.controller("memory")?;
    let beside = t.container(&Bundle::sleeper())?;
    beside.run_detached()?;
    let out = t.container(&hungry())?.run()?.exits_with(137)?;
    assert_eq!(out.stdout(), "", "it never came to the end");
    let less = probe(
        &["allocate", &(16 * MIB).to_string()],
        &json!({"memory": {"limit": 64 * MIB}}),
    );
    let out = t.container(&less)?.run_ok()?;
    assert_eq!(member(&out, "allocated")?, 16 * 1024 * 1024);

    let c = t.container(&hungry())?;
    c.create()?;
    assert_eq!(memory_kills(&c, version)?, 0);
    let pid = c.pid()?;
    c.start()?;
    // Its parent has gone, so this process gets its status, as a shim does.
    let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None)?;
    assert_eq!(
        status,
        nix::sys::wait::WaitStatus::Signaled(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
            false
        )
    );
    assert_eq!(memory_kills(&c, version)?, 1);
    let most = match version {
        Version::V1 => c.control("memory.max_usage_in_bytes")?,
        // Not before Linux 5.19.
        Version::V2 => c.control("memory.peak").unwrap_or_else(|_| "0".to_owned()),
    };
    assert!(most.parse::<u64>()? <= 64 * MIB, "{most} bytes at most");
    assert_eq!(beside.status()?, "running");
    assert_eq!(memory_kills(&beside, version)?, 0);
    c.delete()?;
    Ok(())
}

fn a_memory_kill_is_an_event(t: &Test) -> Done {
    t.controller("memory")?;
    let c = t.container(&hungry())?;
    c.create()?;
    let mut events = t
        .runtime
        .spawn(c.command("events", &["--interval", "100ms"], &[]))?;
    wait_until("the first event", || {
        if let Some(status) = events.child.try_wait()? {
            let code = status.code().or(status.signal());
            return Err(Failure::new(format!("events ended with {code:?}")));
        }
        Ok(events.stdout_so_far().contains("\"stats\""))
    })?;
    c.start()?;
    let wanted = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", c.id);
    let seen = wait_until("the event", || {
        processes::reap_children_but(&[events.pid()].into());
        Ok(events.stdout_so_far().lines().any(|line| line == wanted))
    });
    // It may have ended with the container.
    let _ = events.child.kill();
    let out = events.wait(Duration::from_secs(5))?;
    seen.map_err(|failure| Failure::new(format!("{failure}: {}", out.stdout())))?;
    Ok(())
}

fn memory_over_high_is_held_back(t: &Test) -> Done {
    if t.controller("memory")? == Version::V1 {
        return Err(Failure::skip("v1 has no memory.high"));
    }
    let resources =
        json!({"memory": {"limit": 64 * MIB}, "unified": {"memory.high": (24 * MIB).to_string()}});
    let c = t.container(&probe(&["allocate", &(24 * MIB).to_string()], &resources))?;
    c.create()?;
    assert_eq!(c.control("memory.high")?, (24 * MIB).to_string());
    assert_eq!(c.control("memory.max")?, (64 * MIB).to_string());
    start_to_the_end(&c)?;
    assert!(c.counter("memory.events", "high")? > 0);
    assert_eq!(c.counter("memory.events", "oom_kill")?, 0);
    Ok(())
}

fn half_a_processor_is_all_there_is(t: &Test) -> Done {
    let version = t.controller("cpu")?;
    // Many shares, at the top: on a busy machine it is still the quota that holds it.
    let cpu = json!({"cpu": {"quota": 50_000, "period": 100_000, "shares": 262_144}});
    let mut bundle = probe(&["burn", "5000", "2"], &cpu);
    if t.place == Place::Native {
        bundle = bundle.set("/linux/cgroupsPath", format!("/c0-{}", t.token).into());
    }
    let c = t.container(&bundle)?;
    let used = || -> Result<u64, Failure> {
        Ok(match version {
            Version::V1 => c.control("cpuacct.usage")?.parse::<u64>()? / 1000,
            Version::V2 => c.counter("cpu.stat", "usage_usec")?,
        })
    };
    let out = c.create()?;
    let (before, since) = (used()?, Instant::now());
    start_to_the_end(&c)?;
    let wall = u64::try_from(since.elapsed().as_micros())?;
    let outside = used()? - before;
    let (inside, within) = (member(&out, "used")?, member(&out, "wall")?);
    println!(
        "inside {:.3} of a processor, outside {:.3}",
        share(u64::try_from(inside)?, u64::try_from(within)?),
        share(outside, wall)
    );
    assert!(within >= 5_000_000, "{within} µs");
    assert!(
        inside * 100 <= within * 55,
        "{inside} of {within} µs, from inside"
    );
    assert!(
        outside * 100 <= wall * 55,
        "{outside} of {wall} µs, from outside"
    );
    // It was this limit that held it, not a busy machine.
    assert!(c.counter("cpu.stat", "nr_throttled")? > 0);
    Ok(())
}

fn share(part: u64, whole: u64) -> f64 {
    let number = |value: u64| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
    number(part) / number(whole)
}

fn no_more_processes_than_allowed(t: &Test) -> Done {
    t.controller("pids")?;
    let c = t.container(&probe(&["breed", "100"], &json!({"pids": {"limit": 32}})))?;
    let out = c.run_detached()?;
    wait_until("the probe", || Ok(out.stdout().ends_with('\n')))?;
    assert_eq!(
        (member(&out, "processes")?, member(&out, "errno")?),
        (32, 11)
    );
    assert_eq!(c.control("pids.max")?, "32");
    assert_eq!(c.control("pids.current")?, "32");
    assert!(c.counter("pids.events", "max")? >= 1);
    assert_eq!(c.status()?, "running");
    c.delete_force()?;
    Ok(())
}

fn a_fork_bomb_stops_and_is_deleted(t: &Test) -> Done {
    t.controller("pids")?;
    let mut best = Duration::MAX;
    // The best of three: whatever else the machine does must not count.
    for _ in 0..3 {
        let c = t.container(&probe(&["bomb"], &json!({"pids": {"limit": 32}})))?;
        c.run_detached()?;
        wait_until(
            "refused forks",
            || Ok(c.counter("pids.events", "max")? > 20),
        )?;
        for _ in 0..20 {
            let now: u32 = c.control("pids.current")?.parse()?;
            assert!(now <= 32, "{now} processes");
        }
        let dirs = c.cgroups()?;
        let since = Instant::now();
        c.delete_force()?;
        best = best.min(since.elapsed());
        assert!(dirs.iter().all(|dir| !dir.is_dir()), "gone at once");
        c.call("state", &[], &[])?.fails_with("does not exist")?;
    }
    println!("deleted in {best:?}");
    assert!(best < Duration::from_secs(2), "{best:?}");
    Ok(())
}

fn the_cpuset_holds(t: &Test) -> Done {
    t.controller("cpuset")?;
    let last = std::thread::available_parallelism()?.get() - 1;
    let cpuset = json!({"cpu": {"cpus": last.to_string(), "mems": "0"}});
    let report = t.container(&probe(&[], &cpuset))?.report()?;
    assert_eq!(*report.at("/affinity"), json!([last]));
    assert_eq!(report.status("Cpus_allowed_list"), last.to_string());
    assert_eq!(report.status("Mems_allowed_list"), "0");
    let c = t.container(&probe(&["sleep"], &cpuset))?;
    c.run_detached()?;
    assert_eq!(c.control("cpuset.cpus")?, last.to_string());
    assert_eq!(c.control("cpuset.mems")?, "0");
    assert_eq!(*c.exec_report(&[])?.at("/affinity"), json!([last]));
    Ok(())
}

fn writes_to_a_device_are_slowed(t: &Test) -> Done {
    let controller = if cgroups::unified() { "io" } else { "blkio" };
    let version = t.controller(controller)?;
    let device = LoopDevice::attach(&t.dir, 8 * MIB)?;
    let (major, minor) = device.number;
    let open = |bundle: Bundle| {
        bundle
            .set(
                "/linux/devices",
                json!([{"path": "/dev/disk", "type": "b", "major": major, "minor": minor}]),
            )
            .set(
                "/linux/resources/devices/-",
                json!({"allow": true, "type": "b", "major": major, "minor": minor, "access": "rw"}),
            )
    };
    let write = ["write", "/dev/disk", "3145728"];
    let out = t.container(&open(probe(&write, &json!({}))))?.run_ok()?;
    let free = member(&out, "wall")?;
    let rate = json!([{"major": major, "minor": minor, "rate": MIB}]);
    let slow = open(probe(
        &write,
        &json!({"blockIO": {"throttleWriteBpsDevice": rate}}),
    ));
    let c = t.container(&slow)?;
    let out = c.create()?;
    let (file, wanted) = match version {
        Version::V1 => (
            "blkio.throttle.write_bps_device",
            format!("{major}:{minor} {MIB}"),
        ),
        Version::V2 => (
            "io.max",
            format!("{major}:{minor} rbps=max wbps={MIB} riops=max wiops=max"),
        ),
    };
    assert_eq!(c.control(file)?, wanted);
    start_to_the_end(&c)?;
    let held = member(&out, "wall")?;
    println!("3 MiB in {held} µs, without a limit {free} µs");
    assert!(held >= 2_000_000, "{held} µs for 3 MiB at 1 MiB/s");
    Ok(())
}

fn huge_pages_are_limited(t: &Test) -> Done {
    t.controller("hugetlb")?;
    let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]});
    let c = t.container(&probe(&["sleep"], &limits))?;
    c.run_detached()?;
    let names = if cgroups::unified() {
        ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"]
    } else {
        [
            "hugetlb.2MB.limit_in_bytes",
            "hugetlb.2MB.rsvd.limit_in_bytes",
        ]
    };
    for name in names {
        // runc 1.1 knows of no reservations.
        if name.contains("rsvd") && t.runtime.is_runc() {
            continue;
        }
        assert_eq!(c.control(name)?, (4 * MIB).to_string(), "{name}");
    }
    Ok(())
}

fn a_page_size_that_is_not_there_is_an_error(t: &Test) -> Done {
    t.controller("hugetlb")?;
    t.not_for_runc("1.1 leaves the cgroup of a failed create behind")?;
    let none = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}, {"pageSize": "3MB", "limit": 4 * MIB}]});
    let c = t.container(&probe(&[], &none))?;
    let out = c.try_create()?;
    assert_ne!(out.code(), 0);
    assert!(
        out.stderr().contains("/linux/resources/hugepageLimits/1"),
        "{}",
        out.stderr()
    );
    assert!(c.cgroups()?.is_empty(), "nothing is left");
    Ok(())
}

fn a_missing_controller_is_an_error(t: &Test) -> Done {
    t.not_for_runc("passes over what it has no file for")?;
    let cases = [
        ("memory", "memory", "limit", json!({"limit": 64 * MIB})),
        ("pids", "pids", "limit", json!({"limit": 10})),
        ("cpu", "cpu", "quota", json!({"quota": 50_000})),
        ("cpuset", "cpu", "cpus", json!({"cpus": "0"})),
        (
            "rdma",
            "rdma",
            "mlx5_1",
            json!({"mlx5_1": {"hcaHandles": 3}}),
        ),
    ];
    let mut tried = 0;
    for (controller, key, field, value) in cases {
        if cgroups::version_of(controller)?.is_some() {
            continue;
        }
        tried += 1;
        let c = t.container(&probe(&[], &json!({key: value})))?;
        let out = c.try_create()?;
        let said = out.stderr();
        for part in [
            format!("cgroup controller \"{controller}\" is not available"),
            format!("/linux/resources/{key}/{field}"),
            "hint".to_owned(),
        ] {
            assert!(said.replace('\\', "").contains(&part), "{part}: {said}");
        }
        assert!(c.cgroups()?.is_empty(), "nothing was made");
    }
    if tried == 0 {
        return Err(Failure::skip("every controller is here"));
    }
    Ok(())
}

fn unified_keys_are_written(t: &Test) -> Done {
    if !cgroups::unified() {
        return Err(Failure::skip("needs cgroup v2 alone"));
    }
    t.controller("hugetlb")?;
    let set = |unified: Value| probe(&["sleep"], &json!({"unified": unified}));
    // Written last: it wins over what a field says.
    let bundle = set(json!({"hugetlb.2MB.max": "2097152", "cgroup.max.depth": "7"})).set(
        "/linux/resources/hugepageLimits",
        json!([{"pageSize": "2MB", "limit": 8 * MIB}]),
    );
    let c = t.container(&bundle)?;
    c.run_detached()?;
    assert_eq!(c.control("hugetlb.2MB.max")?, "2097152");
    assert_eq!(c.control("cgroup.max.depth")?, "7");
    for (key, value) in [
        ("hugetlb.2MB.nothing", "1"),
        ("nothing.at.all", "1"),
        ("../hugetlb.2MB.max", "1"),
        ("hugetlb.2MB.max", "many"),
    ] {
        let c = t.container(&set(json!({key: value})))?;
        let out = c.try_create()?;
        assert_ne!(out.code(), 0, "{key} = {value}");
        assert!(out.stderr().contains(key), "{key}: {}", out.stderr());
        assert!(c.cgroups()?.is_empty(), "{key}: nothing is left");
    }
    Ok(())
}

fn unified_is_refused_on_v1(t: &Test) -> Done {
    if cgroups::unified() {
        return Err(Failure::skip("needs cgroup v1"));
    }
    let c = t.container(&probe(&[], &json!({"unified": {"pids.max": "10"}})))?;
    let out = c.try_create()?;
    assert_ne!(out.code(), 0);
    assert!(out.stderr().contains("nified"), "{}", out.stderr());
    Ok(())
}
