//! update: what the files say afterwards, from outside and from inside, what stays, and what a failed one leaves.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::Container;
use garboard_integration_tests::runtime::DEADLINE;
use garboard_integration_tests::{cases, cgroups};
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        flags_change_what_they_name,
        a_document_is_read_from_a_file_or_standard_input,
        a_document_leaves_flags_and_devices_alone,
        the_other_half_of_quota_and_period_stays,
        memory_and_swap_move_together_in_either_direction,
        no_limit_of_memory_is_none_of_swap,
        keys_of_the_unified_hierarchy_are_updated,
        a_refused_limit_leaves_the_former_ones,
        every_status_but_stopped_can_be_updated,
        wrong_requests_change_nothing,
        flags_of_old_engines_are_accepted,
    ]
}

const MIB: i64 = 1024 * 1024;

/// A file of the container's cgroup, by its name on v1 or on v2.
fn file(c: &Container<'_>, names: [&str; 2]) -> Result<PathBuf, Failure> {
    let mut dirs = cgroups::named(&c.id)?;
    dirs.retain(|dir| dir.ends_with(&c.id));
    let all = names
        .iter()
        .flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    let found = { all }.find(|path| path.is_file());
    found.ok_or_else(|| Failure::skip(format!("no {} or {} here", names[0], names[1])))
}

fn says(c: &Container<'_>, names: [&str; 2], expected: [&str; 2]) -> Done {
    let path = file(c, names)?;
    let expected = expected[usize::from(path.ends_with(names[1]) && names[0] != names[1])];
    let text = fs::read_to_string(&path)?;
    assert_eq!(text.trim(), expected, "{}", path.display());
    Ok(())
}

fn pids(c: &Container<'_>, expected: &str) -> Done {
    says(c, ["pids.max"; 2], [expected; 2])
}

fn running<'t>(t: &'t Test, resources: Value) -> Result<Container<'t>, Failure> {
    let mut bundle = Bundle::sleeper();
    for (key, value) in resources.as_object().into_iter().flatten() {
        bundle = bundle.set(&format!("/linux/resources/{key}"), value.clone());
    }
    needs(t, &resources)?;
    let c = t.container(&bundle)?;
    c.run_detached()?;
    Ok(c)
}

/// Skips where a controller is missing, or the values are for v2 alone.
fn needs(_: &Test, resources: &Value) -> Done {
    for (key, controller) in [("memory", "memory"), ("cpu", "cpu"), ("pids", "pids")] {
        if resources.get(key).is_some() && cgroups::version_of(controller)?.is_none() {
            return Err(Failure::skip(format!("no controller {controller}")));
        }
    }
    Ok(())
}

fn update(c: &Container<'_>, flags: &[&str]) -> Done {
    c.call("update", flags, &[])?.success().map(drop)
}

fn update_by_file(t: &Test, c: &Container<'_>, document: &Value) -> Result<String, Failure> {
    let path = t.dir.join("limits.json");
    fs::write(&path, document.to_string())?;
    let flag = format!("--resources={}", path.display());
    let out = c.call("update", &[&flag], &[])?;
    Ok(if out.code() == 0 {
        String::new()
    } else {
        out.stderr()
    })
}

fn flags_change_what_they_name(t: &Test) -> Done {
    let c = running(
        t,
        json!({"memory": {"limit": 32 * MIB}, "cpu": {"shares": 1024}, "pids": {"limit": 20}}),
    )?;
    update(
        &c,
        &[
            "--memory=64m",
            "--memory-reservation",
            "33554432",
            "--cpu-quota",
            "20000",
            "-cpu-share=512",
            "--cpuset-cpus",
            "0",
            "--pids-limit",
            "33",
        ],
    )?;
    says(&c, ["memory.limit_in_bytes", "memory.max"], ["67108864"; 2])?;
    says(
        &c,
        ["memory.soft_limit_in_bytes", "memory.low"],
        ["33554432"; 2],
    )?;
    says(
        &c,
        ["cpu.cfs_quota_us", "cpu.max"],
        ["20000", "20000 100000"],
    )?;
    if !t.runtime.is_runc() {
        // 1.1 converts along a straight line.
        says(&c, ["cpu.shares", "cpu.weight"], ["512", "59"])?;
    }
    says(&c, ["cpuset.cpus"; 2], ["0"; 2])?;
    pids(&c, "33")?;
    update(&c, &["--pids-limit", "-1"])?;
    pids(&c, "max")?;
    says(&c, ["memory.limit_in_bytes", "memory.max"], ["67108864"; 2])?;

    update(&c, &["--pids-limit", "34"])?;
    let script = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null";
    let inside = c.exec(&["sh", "-c", script])?;
    if !inside.stdout().is_empty() {
        assert_eq!(inside.stdout(), "34\n");
    }
    c.delete_force()?;
    Ok(())
}

fn a_document_is_read_from_a_file_or_standard_input(t: &Test) -> Done {
    let c = running(t, json!({"pids": {"limit": 20}}))?;
    assert_eq!(update_by_file(t, &c, &json!({"pids": {"limit": 44}}))?, "");
    pids(&c, "44")?;
    // The shapes of containerd and of CRI-O.
    for flags in [&["--resources=-"][..], &["--resources", "-"], &["-r", "-"]] {
        update(&c, &["--pids-limit", "20"])?;
        let mut command = c.command("update", flags, &[]);
        command.stdin(Stdio::piped());
        let mut running = t.runtime.spawn(command)?;
        let mut stdin = running.child.stdin.take();
        let document =
            json!({"pids": {"limit": 45}, "devices": [{"allow": false, "access": "rwm"}]});
        if let Some(stdin) = &mut stdin {
            stdin.write_all(document.to_string().as_bytes())?;
        }
        drop(stdin);
        running.wait(DEADLINE)?.success()?;
        pids(&c, "45")?;
    }
    Ok(())
}

fn a_document_leaves_flags_and_devices_alone(t: &Test) -> Done {
    let c = running(t, json!({"pids": {"limit": 20}}))?;
    let path = t.dir.join("limits.json");
    let document = json!({"devices": [{"allow": false, "access": "rwm"}], "cpu": {}});
    fs::write(&path, document.to_string())?;
    let file = path.display().to_string();
    update(&c, &["--pids-limit=21", "--memory=nonsense", "-r", &file])?;
    pids(&c, "20")?;
    c.exec(&[
        "sh",
        "-c",
        "echo x > /dev/null && mknod /tmp/x c 1 3 || true; : > /dev/zero",
    ])?
    .success()?;
    Ok(())
}

fn the_other_half_of_quota_and_period_stays(t: &Test) -> Done {
    let c = running(t, json!({"cpu": {"quota": 10000, "period": 50000}}))?;
    let say = |quota: &str, period: &str| -> Done {
        says(
            &c,
            ["cpu.cfs_quota_us", "cpu.max"],
            [quota, &format!("{quota} {period}")],
        )?;
        says(
            &c,
            ["cpu.cfs_period_us", "cpu.max"],
            [period, &format!("{quota} {period}")],
        )
    };
    update(&c, &["--cpu-quota", "20000"])?;
    say("20000", "50000")?;
    update(&c, &["--cpu-period", "25000"])?;
    say("20000", "25000")?;
    update(&c, &["--cpu-quota", "300000", "--cpu-period", "200000"])?;
    say("300000", "200000")?;
    update(&c, &["--cpu-quota", "1000", "--cpu-period", "1000"])?;
    say("1000", "1000")?;
    Ok(())
}

fn memory_and_swap_move_together_in_either_direction(t: &Test) -> Done {
    let c = running(t, json!({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}))?;
    // Without swap accounting there is nothing to move.
    file(&c, ["memory.memsw.limit_in_bytes", "memory.swap.max"])?;
    for (limit, both) in [
        (64, 128),
        (256, 256),
        (40, 50),
        (32, 32),
        (1024, 2048),
        (32, 48),
    ] {
        let [memory, swap] = [limit, both].map(|size: i64| format!("{size}m"));
        update(&c, &["--memory", &memory, "--memory-swap", &swap])?;
        let [limit, both, rest] = [limit, both, both - limit].map(|size| (size * MIB).to_string());
        says(
            &c,
            ["memory.limit_in_bytes", "memory.max"],
            [&limit, &limit],
        )?;
        says(
            &c,
            ["memory.memsw.limit_in_bytes", "memory.swap.max"],
            [&both, &rest],
        )?;
    }
    // Memory alone: on cgroup2 the room for swap is what is left of both.
    update(&c, &["--memory", "40m"])?;
    let (limit, both, rest) = (40 * MIB, 48 * MIB, 8 * MIB);
    says(
        &c,
        ["memory.limit_in_bytes", "memory.max"],
        [&limit.to_string(); 2],
    )?;
    says(
        &c,
        ["memory.memsw.limit_in_bytes", "memory.swap.max"],
        [&both.to_string(), &rest.to_string()],
    )?;
    let refused = c.call("update", &["--memory", "100m"], &[])?;
    refused.exits_with(1)?;
    says(
        &c,
        ["memory.limit_in_bytes", "memory.max"],
        [&limit.to_string(); 2],
    )?;
    Ok(())
}

fn no_limit_of_memory_is_none_of_swap(t: &Test) -> Done {
    let c = running(t, json!({"memory": {"limit": 32 * MIB, "swap": 64 * MIB}}))?;
    update(&c, &["--memory=-1"])?;
    // v1's word for none is the most pages there are.
    let none = "9223372036854771712";
    says(&c, ["memory.limit_in_bytes", "memory.max"], [none, "max"])?;
    if file(&c, ["memory.memsw.limit_in_bytes", "memory.swap.max"]).is_ok() {
        says(
            &c,
            ["memory.memsw.limit_in_bytes", "memory.swap.max"],
            [none, "max"],
        )?;
    }
    update(&c, &["--memory=64m", "--memory-swap=-1"])?;
    says(&c, ["memory.limit_in_bytes", "memory.max"], ["67108864"; 2])?;
    Ok(())
}

fn unified_alone() -> Done {
    if cgroups::unified() {
        Ok(())
    } else {
        Err(Failure::skip("v2 alone has these files"))
    }
}

fn keys_of_the_unified_hierarchy_are_updated(t: &Test) -> Done {
    t.not_for_runc("1.1 leaves what was written before the refusal")?;
    unified_alone()?;
    let c = running(t, json!({"unified": {"cgroup.max.depth": "20"}}))?;
    let limits = |depth: &str, descendants: &str| -> Done {
        says(&c, ["cgroup.max.depth"; 2], [depth; 2])?;
        says(&c, ["cgroup.max.descendants"; 2], [descendants; 2])
    };
    limits("20", "max")?;
    let asked = json!({"unified": {"cgroup.max.descendants": "9"}});
    assert_eq!(update_by_file(t, &c, &asked)?, "");
    limits("20", "9")?;
    let wrong = json!({"unified": {"cgroup.max.depth": "7", "cgroup.max.descendants": "some"}});
    let refused = update_by_file(t, &c, &wrong)?;
    assert!(refused.contains("cgroup.max.descendants"), "{refused}");
    limits("20", "9")?;
    Ok(())
}

/// The last of several limits is refused by the kernel: those before it are taken back, and the container's record never had them.
fn a_refused_limit_leaves_the_former_ones(t: &Test) -> Done {
    t.not_for_runc("1.1 does not update devices")?;
    let c = running(
        t,
        json!({"memory": {"limit": 64 * MIB}, "cpu": {"quota": 30000, "period": 60000}, "pids": {"limit": 20}}),
    )?;
    let former = || -> Done {
        says(&c, ["memory.limit_in_bytes", "memory.max"], ["67108864"; 2])?;
        says(
            &c,
            ["cpu.cfs_quota_us", "cpu.max"],
            ["30000", "30000 60000"],
        )?;
        says(
            &c,
            ["cpu.cfs_period_us", "cpu.max"],
            ["60000", "30000 60000"],
        )?;
        says(&c, ["cpu.shares", "cpu.weight"], ["1024", "100"])?;
        pids(&c, "20")
    };
    let nowhere = json!([{"major": 250, "minor": 4000, "rate": 1048576}]);
    let refused = update_by_file(
        t,
        &c,
        &json!({
            "memory": {"limit": 128 * MIB}, "pids": {"limit": 50}, "cpu": {"quota": 5000, "period": 7000, "shares": 300},
            "blockIO": {"throttleReadBpsDevice": nowhere}
        }),
    )?;
    assert!(
        refused.contains("resources.json#/blockIO/throttleReadBpsDevice/0"),
        "{refused}"
    );
    former()?;
    // Nor does a later update find anything of it.
    update(&c, &["--cpu-quota", "30000"])?;
    former()?;
    Ok(())
}

fn every_status_but_stopped_can_be_updated(t: &Test) -> Done {
    needs(t, &json!({"pids": 1}))?;
    let c = t.container(&Bundle::sleeper().set("/linux/resources/pids", json!({"limit": 20})))?;
    c.create()?;
    update(&c, &["--pids-limit", "30"])?;
    pids(&c, "30")?;
    c.start()?;
    update(&c, &["--pids-limit", "31"])?;
    pids(&c, "31")?;
    c.call("pause", &[], &[])?.success()?;
    update(&c, &["--pids-limit", "32"])?;
    pids(&c, "32")?;
    assert_eq!(c.status()?, "paused", "nobody is thawed for an update");
    c.call("resume", &[], &[])?.success()?;
    c.kill("KILL")?;
    c.await_status("stopped")?;
    c.call("update", &["--pids-limit", "33"], &[])?
        .exits_with(1)?
        .fails_with("container not running")?;
    c.delete()?;
    c.call("update", &["--pids-limit", "33"], &[])?
        .exits_with(1)?
        .fails_with("container does not exist")?;
    Ok(())
}

fn wrong_requests_change_nothing(t: &Test) -> Done {
    let c = running(t, json!({}))?;
    let path = t.dir.join("wrong.json");
    let file = path.display().to_string();
    for (flags, text) in [
        (&["--memory", "lots"][..], "invalid value for memory"),
        (&["--memory", "-2"], "invalid value for memory"),
        (&["--cpu-period", "1s"], "invalid value for cpu-period"),
        (&["--cpu-quota", "0x10"], "invalid value for cpu-quota"),
        (
            &["--resources", "/nonexistent"],
            "no such file or directory",
        ),
        (&["--frob"], "flag provided but not defined"),
    ] {
        c.call("update", flags, &[])?
            .exits_with(1)?
            .fails_with(text)?;
    }
    c.call("update", &[], &["too", "many"])?.exits_with(1)?;
    if t.runtime.is_runc() {
        return Ok(());
    }
    for (document, texts) in [
        ("{", &["resources.json#"][..]),
        ("[]", &["resources.json#"]),
        (
            r#"{"memory": {"limit": "1g"}, "cpu": {"shares": -1}}"#,
            &["resources.json#/memory/limit", "resources.json#/cpu/shares"],
        ),
        (
            r#"{"unified": {"a/b": "1"}}"#,
            &["resources.json#/unified/a~1b"],
        ),
    ] {
        fs::write(&path, document)?;
        let mut out = c
            .call("update", &["--resources", &file], &[])?
            .exits_with(1)?;
        for text in texts {
            out = out.fails_with(text)?;
        }
    }
    c.call("update", &["--blkio-weight", "5"], &[])?
        .exits_with(1)?
        .fails_with("--blkio-weight")?;
    // No request at all is one that changes nothing.
    update(&c, &[])?;
    fs::write(&path, "{}")?;
    update(&c, &["--resources", &file])?;
    Ok(())
}

fn flags_of_old_engines_are_accepted(t: &Test) -> Done {
    let c = running(t, json!({"pids": {"limit": 20}}))?;
    update(
        &c,
        &[
            "--kernel-memory",
            "64m",
            "--kernel-memory-tcp=-1",
            "--pids-limit",
            "21",
        ],
    )?;
    pids(&c, "21")?;
    for flag in ["--l3-cache-schema=L3:0=f", "--mem-bw-schema=MB:0=10"] {
        c.call("update", &[flag], &[])?
            .exits_with(1)?
            .fails_with("Intel RDT")?;
    }
    Ok(())
}
