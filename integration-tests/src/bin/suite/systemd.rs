//! The systemd driver: units, what they are told, what is left of them, and a systemd or a bus that does not do its part.

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::place::{Driver, Place};
use garboard_integration_tests::{cgroups, processes, runner};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    cases![
        a_container_is_a_unit_as_long_as_it_lives,
        a_users_session_reaches_the_users_systemd,
        limits_are_told_to_the_unit_and_updates_too,
        a_char_device_stays_usable_over_reload_and_reexec,
        a_name_that_is_taken_is_an_error,
        wrong_paths_and_annotations_are_told_with_their_pointer,
        a_bus_that_is_dead_or_mute_is_an_error,
        without_systemd_there_is_a_hint,
        many_lives_leave_nothing,
    ]
}

const POINTER: &str = "config.json#/linux/cgroupsPath: ";

fn needs_systemd(t: &Test) -> Done {
    if t.driver == Driver::Systemd {
        Ok(())
    } else {
        Err(Failure::skip("needs the systemd driver"))
    }
}

/// systemctl, of the systemd that has the containers' units.
fn systemctl(t: &Test, args: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new("systemctl");
    if t.place == Place::User {
        command.arg("--user");
    }
    let output = command.args(args).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn property(t: &Test, unit: &str, name: &str) -> Result<String, Failure> {
    systemctl(t, &["show", unit, "--value", "--property", name])
}

fn a_container_is_a_unit_as_long_as_it_lives(t: &Test) -> Done {
    needs_systemd(t)?;
    let c = t.container(&Bundle::sleeper())?;
    let unit = format!("garboard-{}.scope", c.id);
    c.create()?;
    let slice = property(t, &unit, "ControlGroup")?;
    let pid = c.pid()?;
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    assert_eq!(own.trim(), format!("0::{slice}"));
    for (name, expected) in [
        ("ActiveState", "active"),
        ("Delegate", "yes"),
        ("MemoryAccounting", "yes"),
        ("TasksAccounting", "yes"),
        ("IOAccounting", "yes"),
        ("DefaultDependencies", "no"),
        ("CollectMode", "inactive-or-failed"),
    ] {
        assert_eq!(property(t, &unit, name)?, expected, "{name}");
    }
    let description = format!("libcontainer container {}", c.id);
    assert_eq!(property(t, &unit, "Description")?, description);
    c.start()?;
    c.exec(&["true"])?.success()?;
    let inside = c.exec(&["cat", "/proc/self/cgroup"])?.success()?;
    assert!(!inside.stdout().contains("/.."), "{}", inside.stdout());
    c.delete_force()?.success()?;
    assert_eq!(property(t, &unit, "LoadState")?, "not-found");
    Ok(())
}

fn a_users_session_reaches_the_users_systemd(t: &Test) -> Done {
    needs_systemd(t)?;
    t.only_at(Place::User)?;
    let c = t.container(&Bundle::sleeper())?;
    // As Podman calls its runtime: root of a user namespace, with the user's runtime directory and nothing else.
    let mut command = c.run_command(&["--detach"]);
    command.env_remove("DBUS_SESSION_BUS_ADDRESS");
    t.runtime.finish(command)?.success()?;
    let unit = format!("garboard-{}.scope", c.id);
    assert!(property(t, &unit, "ControlGroup")?.contains("/user@"));
    // The record knows where its systemd is: a later command needs no environment.
    let mut delete = c.command("delete", &["--force"], &[]);
    delete
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env_remove("XDG_RUNTIME_DIR");
    t.runtime.finish(delete)?.success()?;
    assert_eq!(property(t, &unit, "LoadState")?, "not-found");
    Ok(())
}

fn limits_are_told_to_the_unit_and_updates_too(t: &Test) -> Done {
    needs_systemd(t)?;
    let resources = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 32}, "cpu": {"quota": 33_333, "period": 100_000}});
    let c = t.container(&Bundle::sleeper().set("/linux/resources", resources))?;
    c.run_detached()?;
    let unit = format!("garboard-{}.scope", c.id);
    for (name, expected) in [
        ("MemoryMax", "67108864"),
        ("TasksMax", "32"),
        ("CPUQuotaPerSecUSec", "340ms"),
    ] {
        assert_eq!(property(t, &unit, name)?, expected, "{name}");
    }
    // What systemd will write again is what stands in the file.
    assert_eq!(c.control("cpu.max")?.trim(), "34000 100000");
    c.call("update", &["--pids-limit", "50", "--memory", "128M"], &[])?
        .success()?;
    assert_eq!(property(t, &unit, "TasksMax")?, "50");
    assert_eq!(property(t, &unit, "MemoryMax")?, "134217728");
    systemctl(t, &["daemon-reload"])?;
    assert_eq!(c.control("pids.max")?.trim(), "50");
    assert_eq!(c.control("cpu.max")?.trim(), "34000 100000");
    c.delete_force()?.success()?;
    Ok(())
}

fn a_char_device_stays_usable_over_reload_and_reexec(t: &Test) -> Done {
    needs_systemd(t)?;
    t.only_at(Place::Vm)?;
    let rule = |allow: bool, minor: Option<u32>| {
        let mut rule = json!({"allow": allow, "type": "c", "major": 4, "access": "rw"});
        if let Some(minor) = minor {
            rule["minor"] = minor.into();
        }
        rule
    };
    let deny_all = json!({"allow": false, "access": "rwm"});
    // Once rules that an allow-list says too, once some that none does. Both are virtual terminals.
    for rules in [
        json!([deny_all, rule(true, Some(4))]),
        json!([deny_all, rule(true, None), rule(false, Some(5))]),
    ] {
        let nodes = json!([
            {"path": "/dev/given", "type": "c", "major": 4, "minor": 4},
            {"path": "/dev/kept", "type": "c", "major": 4, "minor": 5},
        ]);
        let bundle = Bundle::sleeper()
            .set("/linux/resources", json!({"devices": rules}))
            .set("/linux/devices", nodes);
        let c = t.container(&bundle)?;
        c.run_detached()?;
        for event in ["nothing", "daemon-reload", "daemon-reexec"] {
            if event != "nothing" {
                systemctl(t, &[event])?;
            }
            let open = |node: &str| c.exec(&["sh", "-c", &format!("exec 3< /dev/{node}")]);
            open("given")?.success()?;
            let kept = open("kept")?;
            assert!(
                kept.stderr().contains("not permitted"),
                "{event}: {}",
                kept.stderr()
            );
            c.exec(&["sh", "-c", "echo > /dev/null"])?.success()?;
        }
        c.delete_force()?.success()?;
    }
    Ok(())
}

fn a_name_that_is_taken_is_an_error(t: &Test) -> Done {
    needs_systemd(t)?;
    let first = t.container(&Bundle::sleeper())?;
    first.run_detached()?;
    let path = t.cgroups_path(&first.id)?;
    let second = t.container(&Bundle::sleeper().set("/linux/cgroupsPath", path.into()))?;
    let refused = second.try_create()?;
    refused.fails_with("a unit of this name is active already")?;
    // The first one did not notice.
    assert_eq!(first.status()?, "running");
    first.exec(&["true"])?.success()?;
    first.delete_force()?.success()?;
    Ok(())
}

fn wrong_paths_and_annotations_are_told_with_their_pointer(t: &Test) -> Done {
    needs_systemd(t)?;
    t.not_for_runc("it has no pointers")?;
    let with = |path: &str| Bundle::sleeper().set("/linux/cgroupsPath", path.into());
    for (path, text) in [
        ("/docker/c1", "expected cgroupsPath to be of format"),
        ("a:b:c", "invalid slice name: a"),
        ("a--b.slice:p:n", "invalid slice name: a--b.slice"),
        (
            "system.slice:p:a b",
            "' ' cannot stand in the name of a systemd unit",
        ),
    ] {
        let said = t.container(&with(path))?.try_create()?;
        said.fails_with(&format!("{POINTER}{text}"))?;
    }
    let annotated = |name: &str, value: &str| {
        let key = format!("org.systemd.property.{name}");
        Bundle::sleeper().set("/annotations", json!({key: value}))
    };
    let said = t
        .container(&annotated("ExecStopPost", "'x'"))?
        .try_create()?;
    said.fails_with("config.json#/annotations/org.systemd.property.ExecStopPost: ")?;
    // Right in form, and refused by systemd itself.
    let said = t
        .container(&annotated("KillSignal", "4711"))?
        .try_create()?;
    said.fails_with("config.json#/annotations/org.systemd.property.KillSignal: ")?;
    let c = t.container(&annotated("TimeoutStopSec", "7"))?;
    c.run_detached()?;
    let unit = format!("garboard-{}.scope", c.id);
    assert_eq!(property(t, &unit, "TimeoutStopUSec")?, "7s");
    c.delete_force()?.success()?;
    Ok(())
}

fn a_bus_that_is_dead_or_mute_is_an_error(t: &Test) -> Done {
    needs_systemd(t)?;
    let scratch = t.scratch("bus")?;
    let variable = match t.place {
        Place::User => "DBUS_SESSION_BUS_ADDRESS",
        _ => "DBUS_SYSTEM_BUS_ADDRESS",
    };
    let c = t.container(&Bundle::sleeper())?;
    let create = |socket: &str| {
        let mut command = c.create_command(&[]);
        command.env(
            variable,
            format!("unix:path={}/{socket}", scratch.display()),
        );
        t.runtime.finish(command)
    };
    create("nobody")?.fails_with("hint: systemd does not listen there")?;
    // One that accepts, in the kernel's queue, and says nothing.
    let _mute = UnixListener::bind(scratch.join("mute"))?;
    let since = Instant::now();
    create("mute")?.fails_with("no answer in time (hint: ")?;
    let took = since.elapsed();
    assert!(
        took > Duration::from_secs(29) && took < Duration::from_secs(50),
        "{took:?}"
    );
    c.call("state", &[], &[])?.fails_with("does not exist")?;
    Ok(())
}

fn without_systemd_there_is_a_hint(t: &Test) -> Done {
    if std::fs::symlink_metadata("/run/systemd/system").is_ok() {
        return Err(Failure::skip("systemd is process 1 here"));
    }
    t.not_for_runc("it has no hints")?;
    let c = t.container(&Bundle::sleeper())?;
    let mut command = t
        .runtime
        .command(["--systemd-cgroup", "create", "--bundle"]);
    command.arg(&c.bundle).arg(&c.id);
    let said = t.runtime.finish(command)?;
    said.fails_with(
        "systemd not running on this host, cannot use systemd cgroups manager (hint: ",
    )?;
    c.call("state", &[], &[])?.fails_with("does not exist")?;
    Ok(())
}

/// What a life that leaves something would make more of: cgroups, units, and connections of systemd's and of its bus.
fn held(t: &Test) -> Result<[(&'static str, usize); 4], Failure> {
    let units = systemctl(t, &["list-units", "--all", "--plain", "--no-legend"])?;
    let mut descriptors = [0, 0];
    for one in processes::all() {
        let which = match one.comm.as_str() {
            "systemd" => 0,
            "dbus-daemon" => 1,
            _ => continue,
        };
        // An ordinary user sees those of the own systemd and bus, which are the ones asked.
        let listed = std::fs::read_dir(format!("/proc/{}/fd", one.pid));
        descriptors[which] += listed.map_or(0, Iterator::count);
    }
    Ok([
        ("cgroups", cgroups::named("")?.len()),
        ("units", units.lines().count()),
        ("descriptors of systemd", descriptors[0]),
        ("descriptors of the bus", descriptors[1]),
    ])
}

fn many_lives_leave_nothing(t: &Test) -> Done {
    needs_systemd(t)?;
    // What cases beside this one, and systemd's own services, may have more of meanwhile.
    const BESIDE: usize = 12;
    let lives = runner::lives().unwrap_or(30);
    let c = t.container(&Bundle::args(["true"]))?;
    let before = held(t)?;
    for _ in 0..lives {
        c.create()?;
        c.delete()?.success()?;
    }
    let after = held(t)?;
    for ((what, before), (_, after)) in before.iter().zip(after) {
        print!("{what} {before} to {after}, ");
        assert!(after <= before + BESIDE, "{what}: {before} to {after}");
    }
    println!("after {lives} lives");
    let units = systemctl(t, &["list-units", "--all", "--plain", "--no-legend"])?;
    assert!(!units.contains(&c.id), "{units}");
    Ok(())
}
