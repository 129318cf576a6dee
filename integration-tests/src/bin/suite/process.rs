//! The process of a container: arguments, environment, directory, identity, limits, signals, descriptors.

use std::fs;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::needs::{Need, SYS_RESOURCE};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    cases![
        arguments_and_environment_are_exactly_those_of_the_config,
        nothing_of_the_callers_environment_leaks,
        the_last_of_two_environment_entries_wins,
        home_comes_from_the_containers_passwd,
        home_given_is_kept,
        path_is_searched_at_create_in_the_container,
        path_search_refuses_what_cannot_run,
        an_unrunnable_file_fails_after_start,
        the_working_directory_is_made,
        the_working_directory_may_be_private_to_the_user,
        a_file_as_working_directory_is_refused,
        the_umask_is_0022_or_as_configured,
        signals_are_all_default,
        no_descriptor_is_foreign,
        rlimits_are_set,
        rlimits_in_error_are_refused,
        a_low_descriptor_limit_starts,
        the_oom_score_is_set,
        a_privileged_engine_raises_limits,
        the_scheduler_is_set,
        the_io_priority_is_set,
        the_callers_cpu_affinity_does_not_leak,
        the_personality_is_set,
        the_memory_policy_is_set,
    ]
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn arguments_and_environment_are_exactly_those_of_the_config(t: &Test) -> Done {
    let args = json!(["/bin/probe", "", "a b", "ü\n", "--", "$HOME"]);
    let env = json!([PATH, "A=b=c", "EMPTY=", "HOME=/here", "X=\u{1f600}"]);
    let seen = t
        .container(
            &Bundle::default()
                .set("/process/args", args.clone())
                .set("/process/env", env.clone()),
        )?
        .report()?;
    assert_eq!(seen.at("/args"), &args);
    let mut got: Vec<String> = serde_json::from_value(seen.at("/env").clone())?;
    let mut wanted: Vec<String> = serde_json::from_value(env)?;
    got.sort();
    wanted.sort();
    assert_eq!(got, wanted);
    Ok(())
}

fn nothing_of_the_callers_environment_leaks(t: &Test) -> Done {
    let c = t.container(&Bundle::probe())?;
    let mut command = c.run_command(&[]);
    command
        .env("SECRET_OF_THE_CALLER", "1")
        .env("LD_PRELOAD", "/nonexistent.so")
        .env("_LIBCONTAINER_X", "1");
    let out = t.runtime.finish(command)?.success()?;
    let seen = garboard_integration_tests::probe::Report::parse(&out.stdout())?;
    assert_eq!(seen.at("/env"), &json!([PATH, "TERM=xterm", "HOME=/root"]));
    Ok(())
}

fn the_last_of_two_environment_entries_wins(t: &Test) -> Done {
    let env = json!([PATH, "A=first", "B=x", "A=last"]);
    let seen = t
        .container(&Bundle::probe().set("/process/env", env))?
        .report()?;
    let all: Vec<String> = serde_json::from_value(seen.at("/env").clone())?;
    let a: Vec<&String> = all.iter().filter(|entry| entry.starts_with("A=")).collect();
    assert_eq!(a, ["A=last"]);
    Ok(())
}

fn home_comes_from_the_containers_passwd(t: &Test) -> Done {
    for (uid, home) in [(0, "/root"), (1000, "/home/user"), (4242, "/")] {
        let bundle = Bundle::probe().set("/process/user", json!({"uid": uid, "gid": 0}));
        let seen = t.container(&bundle)?.report()?;
        assert_eq!(seen.env("HOME"), Some(home), "uid {uid}");
        let empty = t
            .container(&bundle.set("/process/env", json!([PATH, "HOME="])))?
            .report()?;
        assert_eq!(empty.env("HOME"), Some(home), "HOME empty, uid {uid}");
    }
    let bare = t
        .container(&Bundle::probe().root(|root| root.gone("etc/passwd")))?
        .report()?;
    assert_eq!(bare.env("HOME"), Some("/"));
    Ok(())
}

fn home_given_is_kept(t: &Test) -> Done {
    let seen = t
        .container(&Bundle::probe().set("/process/env", json!([PATH, "HOME=/elsewhere"])))?
        .report()?;
    assert_eq!(seen.env("HOME"), Some("/elsewhere"));
    Ok(())
}

fn path_is_searched_at_create_in_the_container(t: &Test) -> Done {
    let script = "#!/bin/sh\necho $0\n";
    let bundle = Bundle::args(["tool"]).root(|root| {
        root.file("opt/a/tool", 0o644, "no")
            .file("opt/b/tool", 0o755, script)
    });
    let env = |path: &str| json!([format!("PATH={path}")]);
    let found = t
        .container(
            &bundle
                .clone()
                .set("/process/env", env("/nonexistent:/opt/a:/opt/b")),
        )?
        .run_ok()?;
    assert_eq!(
        found.stdout(),
        "/opt/b/tool\n",
        "a file that is not executable is passed over"
    );
    t.container(&bundle.clone().set("/process/env", env("/opt/a")))?
        .try_create()?
        .exits_with(1)?;
    let none = t.container(&bundle.set("/process/env", json!(["A=b"])))?;
    none.try_create()?
        .exits_with(1)?
        .fails_with("executable file not found in $PATH")?;
    Ok(())
}

fn path_search_refuses_what_cannot_run(t: &Test) -> Done {
    let bundle = |path: &str| Bundle::args([path]).root(|root| root.file("plain", 0o644, "x"));
    let create = |path: &str| t.container(&bundle(path))?.try_create()?.exits_with(1);
    create("nosuch")?.fails_with("exec: \"nosuch\": executable file not found in $PATH")?;
    create("/nosuch")?.fails_with("exec: \"/nosuch\": stat /nosuch: no such file or directory")?;
    create("/plain")?.fails_with("exec: \"/plain\": permission denied")?;
    // For a directory too, whatever else is said of it: Docker 20.10 knows only these words.
    create("/etc")?.fails_with("permission denied")?;
    Ok(())
}

fn an_unrunnable_file_fails_after_start(t: &Test) -> Done {
    let bundle = Bundle::args(["/noise"])
        .root(|root| root.file("noise", 0o755, "\x01\x02\x03 not a program"));
    let c = t.container(&bundle)?;
    let out = c.create()?;
    c.call("start", &[], &[])?.success()?;
    c.await_status("stopped")?;
    let text = out.stderr() + &out.stdout();
    assert!(text.contains("exec format error"), "{text:?}");
    let run = t.container(&bundle)?.run()?;
    assert_eq!(run.code(), if t.runtime.is_runc() { 1 } else { 255 });
    Ok(())
}

fn the_working_directory_is_made(t: &Test) -> Done {
    let c = t.container(
        &Bundle::shell("pwd; stat -c %a:%u .")
            .set("/process/cwd", json!("/new/deep/dir"))
            .writable(),
    )?;
    assert_eq!(c.run_ok()?.stdout(), "/new/deep/dir\n755:0\n");
    Ok(())
}

fn the_working_directory_may_be_private_to_the_user(t: &Test) -> Done {
    let bundle = Bundle::args(["pwd"])
        .root(|root| root.dir("home/user", 0o700).owner("home/user", 1000, 1000));
    let bundle = bundle
        .set("/process/cwd", json!("/home/user"))
        .set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(t.container(&bundle)?.run_ok()?.stdout(), "/home/user\n");
    Ok(())
}

fn a_file_as_working_directory_is_refused(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["true"]).set("/process/cwd", json!("/etc/passwd")))?;
    c.try_create()?
        .exits_with(1)?
        .fails_with("not a directory")?;
    Ok(())
}

fn the_umask_is_0022_or_as_configured(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    for (user, wanted) in [
        (json!({"uid": 0, "gid": 0}), "0022"),
        (json!({"uid": 0, "gid": 0, "umask": 0o27}), "0027"),
    ] {
        let c = t.container(&Bundle::probe().set("/process/user", user))?;
        let out = t
            .runtime
            .finish(t.runtime.from_shell("umask 0777", &c.run_command(&[])))?
            .success()?;
        assert_eq!(
            garboard_integration_tests::probe::Report::parse(&out.stdout())?.status("Umask"),
            wanted
        );
    }
    Ok(())
}

fn signals_are_all_default(t: &Test) -> Done {
    let c = t.container(&Bundle::probe())?;
    let ignore = "trap '' HUP INT QUIT PIPE USR1 USR2 TERM CHLD";
    let out = t
        .runtime
        .finish(t.runtime.from_shell(ignore, &c.run_command(&[])))?
        .success()?;
    let seen = garboard_integration_tests::probe::Report::parse(&out.stdout())?;
    assert_eq!((seen.mask("SigBlk"), seen.mask("SigCgt")), (0, 0));
    if !t.runtime.is_runc() {
        assert_eq!(
            seen.mask("SigIgn"),
            0,
            "Debian's runc passes the caller's ignored signals on"
        );
    }
    Ok(())
}

fn no_descriptor_is_foreign(t: &Test) -> Done {
    let c = t.container(&Bundle::probe())?;
    let seen = c.report()?;
    assert_eq!(seen.extra_fds(), [""; 0]);
    let leak = "exec 3</ 10</ 11</etc/passwd 12<>/dev/null";
    let c = t.container(&Bundle::probe())?;
    let out = t
        .runtime
        .finish(t.runtime.from_shell(leak, &c.run_command(&[])))?
        .success()?;
    assert_eq!(
        garboard_integration_tests::probe::Report::parse(&out.stdout())?.extra_fds(),
        [""; 0]
    );
    Ok(())
}

fn rlimits_are_set(t: &Test) -> Done {
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NPROC", "soft": 1000, "hard": 2000}, {"type": "RLIMIT_FSIZE", "soft": 1_u64 << 40, "hard": 1_u64 << 41},
        {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 1 << 24}, {"type": "RLIMIT_CPU", "soft": 60, "hard": 61},
        {"type": "RLIMIT_MEMLOCK", "soft": 65536, "hard": 65536}, {"type": "RLIMIT_SIGPENDING", "soft": 10, "hard": 20},
    ]);
    let seen = t
        .container(&Bundle::probe().set("/process/rlimits", limits.clone()))?
        .report()?;
    for limit in limits.as_array().into_iter().flatten() {
        let name = limit["type"].as_str().unwrap_or("");
        assert_eq!(
            seen.at("/rlimits")[name],
            json!([limit["soft"], limit["hard"]]),
            "{name}"
        );
    }
    Ok(())
}

fn rlimits_in_error_are_refused(t: &Test) -> Done {
    let with =
        |limit: serde_json::Value| Bundle::args(["true"]).set("/process/rlimits", json!([limit]));
    let unknown = json!({"type": "RLIMIT_FOO", "soft": 1, "hard": 1});
    t.container(&with(unknown))?
        .try_create()?
        .exits_with(1)?
        .fails_with("RLIMIT_FOO")?;
    let upside_down = json!({"type": "RLIMIT_NOFILE", "soft": 10, "hard": 5});
    t.container(&with(upside_down))?
        .try_create()?
        .exits_with(1)?;
    Ok(())
}

fn a_low_descriptor_limit_starts(t: &Test) -> Done {
    t.not_for_runc("1.1 needs more descriptors itself")?;
    // The limit of the caller is as low: a plan with many mounts may not need a descriptor for each at once.
    let mut bundle = Bundle::probe().set(
        "/process/rlimits",
        json!([{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 64}]),
    );
    let source = t.scratch("source")?;
    for number in 0..60 {
        bundle = bundle.bind(&source, &format!("/mnt/{number}"), &["ro"]);
    }
    let c = t.container(&bundle.writable())?;
    let out = t
        .runtime
        .finish(t.runtime.from_shell("ulimit -n 64", &c.run_command(&[])))?
        .success()?;
    let seen = garboard_integration_tests::probe::Report::parse(&out.stdout())?;
    assert_eq!(seen.at("/rlimits/RLIMIT_NOFILE"), &json!([5, 64]));
    Ok(())
}

fn a_privileged_engine_raises_limits(t: &Test) -> Done {
    t.needs(&[Need::Root, SYS_RESOURCE])?;
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    let own: i32 = fs::read_to_string("/proc/self/oom_score_adj")?
        .trim()
        .parse()?;
    let (raised, lowered) = (hard + 1000, own - 500);
    let limit = json!({"type": "RLIMIT_NOFILE", "soft": raised, "hard": raised});
    let bundle = Bundle::probe()
        .set("/process/rlimits", json!([limit]))
        .set("/process/oomScoreAdj", json!(lowered));
    let seen = t.container(&bundle)?.report()?;
    assert_eq!(seen.at("/rlimits/RLIMIT_NOFILE"), &json!([raised, raised]));
    assert_eq!(seen.at("/oom_score_adj"), &json!(lowered.to_string()));
    Ok(())
}

fn the_oom_score_is_set(t: &Test) -> Done {
    let seen = t
        .container(&Bundle::probe().set("/process/oomScoreAdj", json!(500)))?
        .report()?;
    assert_eq!(seen.at("/oom_score_adj"), "500");
    Ok(())
}

fn the_scheduler_is_set(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    t.not_for_runc("1.1 has no process.scheduler")?;
    let seen = t
        .container(&Bundle::probe().set(
            "/process/scheduler",
            json!({"policy": "SCHED_BATCH", "nice": 7}),
        ))?
        .report()?;
    assert_eq!(
        seen.at("/scheduler"),
        &json!({"policy": 3, "nice": 7, "priority": 0})
    );
    if !t.place.is_unified() {
        // A v1 cpu cgroup has no real-time budget until somebody gives it one.
        return Ok(());
    }
    let seen = t
        .container(&Bundle::probe().set(
            "/process/scheduler",
            json!({"policy": "SCHED_RR", "priority": 3}),
        ))?
        .report()?;
    assert_eq!(
        seen.at("/scheduler"),
        &json!({"policy": 2, "nice": 0, "priority": 3})
    );
    Ok(())
}

fn the_io_priority_is_set(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    t.not_for_runc("1.1 has no process.ioPriority")?;
    for (class, number) in [
        ("IOPRIO_CLASS_RT", 1),
        ("IOPRIO_CLASS_BE", 2),
        ("IOPRIO_CLASS_IDLE", 3),
    ] {
        let priority = json!({"class": class, "priority": 4});
        let seen = t
            .container(&Bundle::probe().set("/process/ioPriority", priority))?
            .report()?;
        assert_eq!(
            seen.at("/io_priority"),
            &json!({"class": number, "level": 4})
        );
    }
    Ok(())
}

fn the_callers_cpu_affinity_does_not_leak(t: &Test) -> Done {
    t.not_for_runc("1.1 passes the caller's affinity on")?;
    let c = t.container(&Bundle::probe())?;
    let mut command = std::process::Command::new("taskset");
    let run = c.run_command(&[]);
    command
        .arg("1")
        .arg(run.get_program())
        .args(run.get_args())
        .stdin(std::process::Stdio::null());
    let out = t.runtime.finish(command)?.success()?;
    let seen = garboard_integration_tests::probe::Report::parse(&out.stdout())?;
    let own = garboard_integration_tests::processes::status_field(1, "Cpus_allowed_list")
        .unwrap_or_default();
    assert_eq!(seen.status("Cpus_allowed_list"), own);
    Ok(())
}

fn the_personality_is_set(t: &Test) -> Done {
    t.not_for_runc("1.1 has no linux.personality")?;
    let seen = t
        .container(&Bundle::probe().set("/linux/personality", json!({"domain": "LINUX32"})))?
        .report()?;
    assert_eq!(seen.at("/personality"), 8);
    let seen = t.container(&Bundle::probe())?.report()?;
    assert_eq!(seen.at("/personality"), 0);
    Ok(())
}

fn the_memory_policy_is_set(t: &Test) -> Done {
    t.not_for_runc("1.1 has no linux.memoryPolicy")?;
    let seen = t
        .container(&Bundle::probe().set(
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0"}),
        ))?
        .report()?;
    assert_eq!(seen.at("/memory_policy"), 2);
    Ok(())
}
