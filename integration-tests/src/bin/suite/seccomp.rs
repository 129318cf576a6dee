//! `linux.seccomp`: the filter is in force in init and in exec, and nothing but the filter changes.

use std::fs;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::probe::Report;
use garboard_integration_tests::processes;
use garboard_integration_tests::seccomp::{allow_but, filters, number, outcomes, profile};
use nix::errno::Errno;
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        the_filter_is_in_force_in_init_and_in_exec,
        capabilities_are_the_same_with_and_without_a_filter,
        a_profile_needs_no_call_of_the_runtimes,
        flags_are_known_or_refused,
        start_container_hooks_are_not_filtered,
        no_profile_is_no_filter,
        the_filter_outlives_the_config,
        features_lists_what_a_profile_may_hold,
    ]
}

const SECCOMP: &str = "/linux/seccomp";

fn own_filters() -> Result<i64, Failure> {
    let own = std::process::id().cast_signed();
    let field = processes::status_field(own, "Seccomp_filters");
    Ok(field
        .ok_or_else(|| Failure::new("no Seccomp_filters"))?
        .parse()?)
}

/// What a process of the container says of its filters.
fn seen_filters(seen: &Report) -> Result<(String, i64), Failure> {
    let count: i64 = seen.status("Seccomp_filters").parse()?;
    Ok((seen.status("Seccomp").to_owned(), count - own_filters()?))
}

fn the_filter_is_in_force_in_init_and_in_exec(t: &Test) -> Done {
    let one = ("2".to_owned(), 1);
    for quiet in [true, false] {
        for user in [0, 1000] {
            let bundle = Bundle::args(["/bin/probe", "sleep"])
                .set("/process/user", json!({"uid": user, "gid": user}))
                .set("/process/noNewPrivileges", json!(quiet))
                .set(SECCOMP, allow_but(&[(&["mount"], "SCMP_ACT_ERRNO")]));
            let c = t.container(&bundle)?;
            let out = c.run_detached()?;
            wait_until("the report", || Ok(out.stdout().ends_with('\n')))?;
            let seen = Report::parse(&out.stdout())?;
            assert_eq!(seen_filters(&seen)?, one, "init, {quiet}, {user}");
            assert_eq!(seen.status("NoNewPrivs"), if quiet { "1" } else { "0" });
            assert_eq!(filters(c.pid()?)?, one, "init from outside");
            assert_eq!(
                seen_filters(&c.exec_report(&[])?)?,
                one,
                "exec, {quiet}, {user}"
            );
            let spec = number("mount").to_string();
            let denied = c.exec(&["/bin/probe", "calls", &spec])?.success()?;
            assert_eq!(outcomes(&denied)?, [Errno::EPERM as i32]);
        }
    }
    Ok(())
}

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

fn capabilities_are_the_same_with_and_without_a_filter(t: &Test) -> Done {
    let few = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let none = json!([]);
    for (user, inherited, quiet) in [
        (0, &none, true),
        (0, &none, false),
        (0, &few, false),
        (1000, &none, true),
        (1000, &none, false),
        (1000, &few, true),
        (1000, &few, false),
    ] {
        let sets = json!({"bounding": ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHOWN"], "permitted": few, "effective": ["CAP_KILL"],
                          "inheritable": inherited, "ambient": inherited});
        let plain = Bundle::args(["/bin/probe", "sleep"])
            .set("/process/user", json!({"uid": user, "gid": user}))
            .set("/process/noNewPrivileges", json!(quiet))
            .set("/process/capabilities", sets);
        let filtered = plain
            .clone()
            .set(SECCOMP, allow_but(&[(&["mount"], "SCMP_ACT_ERRNO")]));
        let mut sides = Vec::new();
        for bundle in [plain, filtered] {
            let c = t.container(&bundle)?;
            let out = c.run_detached()?;
            wait_until("the report", || Ok(out.stdout().ends_with('\n')))?;
            let reports = [Report::parse(&out.stdout())?, c.exec_report(&[])?];
            sides.push(reports.map(|seen| SETS.map(|name| seen.status(name).to_owned())));
        }
        assert_eq!(
            sides[0], sides[1],
            "user {user}, inherited {inherited}, no new privileges {quiet}"
        );
    }
    Ok(())
}

/// A call that no libc makes by itself, ignores its arguments, and always succeeds.
const FREE: &str = "getppid";

/// What busybox needs for `true` and `echo`, and execve, without which no program can be started.
const MINIMAL: [&str; 22] = [
    "arch_prctl",
    "brk",
    "execve",
    "exit_group",
    "getrandom",
    "getuid",
    // busybox drops what a set-user-ID bit may have given it.
    "setuid",
    "setgid",
    "getgid",
    "mprotect",
    "prctl",
    "prlimit64",
    "readlink",
    "readlinkat",
    "rseq",
    "set_robust_list",
    "set_tid_address",
    "uname",
    "write",
    "newfstatat",
    "fstat",
    "ioctl",
];

fn a_profile_needs_no_call_of_the_runtimes(t: &Test) -> Done {
    t.not_for_runc("its own calls after the load need a place in the profile")?;
    for quiet in [true, false] {
        for user in [0, 1000] {
            let base = Bundle::args(["/bin/busybox", "echo", "here"])
                .set("/process/user", json!({"uid": user, "gid": user}))
                .set("/process/noNewPrivileges", json!(quiet));
            let seccomp = profile("SCMP_ACT_KILL_PROCESS", &[(&MINIMAL, "SCMP_ACT_ALLOW")]);
            let c = t.container(&base.clone().set(SECCOMP, seccomp))?;
            assert_eq!(c.run_ok()?.stdout(), "here\n", "run, {quiet}, {user}");
            // Its init sleeps, which nobody else of it needs.
            let sleeping: Vec<&str> = MINIMAL
                .into_iter()
                .chain(["clock_nanosleep", "nanosleep"])
                .collect();
            let seccomp = profile("SCMP_ACT_KILL_PROCESS", &[(&sleeping, "SCMP_ACT_ALLOW")]);
            let bundle = base
                .set("/process/args", json!(["/bin/busybox", "sleep", "1000"]))
                .set(SECCOMP, seccomp);
            let c = t.container(&bundle)?;
            c.create()?;
            c.start()?;
            let out = c.exec(&["/bin/busybox", "echo", "there"])?.success()?;
            assert_eq!(out.stdout(), "there\n", "exec, {quiet}, {user}");
            assert_eq!(c.status()?, "running");
        }
    }
    Ok(())
}

fn flags_are_known_or_refused(t: &Test) -> Done {
    t.not_for_runc("1.1 has no flags")?;
    let with = |flags: Value| {
        let mut seccomp = allow_but(&[(&["mount"], "SCMP_ACT_ERRNO")]);
        seccomp["flags"] = flags;
        t.container(&Bundle::args(["true"]).set(SECCOMP, seccomp))
    };
    for flags in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_LOG"]),
        json!([
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_TSYNC"
        ]),
    ] {
        with(flags)?.run_ok()?;
    }
    let refused = with(json!([
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_FUTURE"
    ]))?
    .try_create()?;
    refused.fails_with(
        "config.json#/linux/seccomp/flags/1: unknown flag \"SECCOMP_FILTER_FLAG_FUTURE\"",
    )?;
    // It says how a listener waits: without one it has no effect.
    with(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]))?.run_ok()?;
    Ok(())
}

fn start_container_hooks_are_not_filtered(t: &Test) -> Done {
    t.not_for_runc("runs them under the filter")?;
    let out = t.scratch("out")?;
    let at = out.display().to_string();
    let script = format!("mkdir {at}/made");
    let hook = json!({"path": "/bin/busybox", "args": ["busybox", "sh", "-c", script], "env": ["PATH=/bin"]});
    for quiet in [true, false] {
        let bundle = Bundle::shell(&format!("mkdir {at}/other || echo denied"))
            .bind(&out, &at, &[])
            .root(|root| root.dir(at.trim_start_matches('/'), 0o755))
            .set("/process/noNewPrivileges", json!(quiet))
            .set("/hooks/startContainer", json!([hook]))
            .set(
                SECCOMP,
                allow_but(&[(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO")]),
            );
        assert_eq!(t.container(&bundle)?.run_ok()?.stdout(), "denied\n");
        fs::remove_dir(out.join("made"))?;
        assert!(fs::symlink_metadata(out.join("other")).is_err());
    }
    Ok(())
}

fn no_profile_is_no_filter(t: &Test) -> Done {
    for nothing in [Value::Null, json!({})] {
        if t.runtime.is_runc() && nothing == json!({}) {
            continue;
        }
        let seen = t
            .container(&Bundle::probe().set(SECCOMP, nothing))?
            .report()?;
        assert_eq!(seen_filters(&seen)?.1, 0);
    }
    // One that allows everything is a filter nevertheless.
    let seen = t
        .container(&Bundle::probe().set(SECCOMP, allow_but(&[])))?
        .report()?;
    assert_eq!(seen_filters(&seen)?, ("2".to_owned(), 1));
    Ok(())
}

/// exec loads what the container was created with, whatever became of its bundle.
fn the_filter_outlives_the_config(t: &Test) -> Done {
    let bundle = Bundle::sleeper().set(SECCOMP, allow_but(&[(&["mount"], "SCMP_ACT_ERRNO")]));
    let c = t.container(&bundle)?;
    c.run_detached()?;
    let other = bundle.without(SECCOMP).config.to_string();
    fs::write(c.bundle.join("config.json"), other)?;
    let spec = number("mount").to_string();
    let out = c.exec(&["/bin/probe", "calls", &spec])?.success()?;
    assert_eq!(outcomes(&out)?, [Errno::EPERM as i32]);
    Ok(())
}

fn features_lists_what_a_profile_may_hold(t: &Test) -> Done {
    let features = t.runtime.call(["features"])?.success()?.json()?;
    let seccomp = &features["linux"]["seccomp"];
    assert_eq!(seccomp["enabled"], true);
    let words = |key: &str| -> Result<Vec<String>, Failure> {
        let words: Vec<String> = serde_json::from_value(seccomp[key].clone())?;
        assert!(words.is_sorted(), "{key}: {words:?}");
        Ok(words)
    };
    // Each word is one that a bundle can hold.
    for action in words("actions")? {
        let seccomp = notifying_nobody(&allow_but(&[(&[FREE], &action)]));
        let out = t.container(&Bundle::args(["true"]).set(SECCOMP, seccomp))?;
        assert!(
            !out.try_create()?.stderr().contains("unknown action"),
            "{action}"
        );
        out.call("delete", &["--force"], &[])?.success()?;
    }
    for operator in words("operators")? {
        let mut seccomp = allow_but(&[(&[FREE], "SCMP_ACT_ERRNO")]);
        seccomp["syscalls"][0]["args"] =
            json!([{"index": 0, "value": 1, "valueTwo": 1, "op": operator}]);
        t.container(&Bundle::args(["true"]).set(SECCOMP, seccomp))?
            .run_ok()?;
    }
    if !t.runtime.is_runc() {
        // libseccomp takes no two byte orders together.
        let mut seccomp = allow_but(&[(&[FREE], "SCMP_ACT_ERRNO")]);
        seccomp["architectures"] = json!(words("archs")?);
        t.container(&Bundle::args(["true"]).set(SECCOMP, seccomp))?
            .run_ok()?;
        let known = words("knownFlags")?;
        assert_eq!(known.len(), 4);
        // Linux 5.19 has all of them.
        let supported = words("supportedFlags")?;
        assert!(supported.iter().all(|flag| known.contains(flag)));
        for flag in ["LOG", "SPEC_ALLOW", "TSYNC"] {
            assert!(
                supported.contains(&format!("SECCOMP_FILTER_FLAG_{flag}")),
                "{supported:?}"
            );
        }
    }
    Ok(())
}

/// SCMP_ACT_NOTIFY asks for an agent, which is not there.
fn notifying_nobody(seccomp: &Value) -> Value {
    let mut seccomp = seccomp.clone();
    seccomp["listenerPath"] = json!("/nonexistent/agent");
    seccomp
}
