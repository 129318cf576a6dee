//! A second process in a container: by flags and by process file, in every status, with every attribute.

use std::fs;
use std::path::PathBuf;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::probe::Report;
use garboard_integration_tests::{cases, cgroups, processes};
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        exec_joins_every_namespace_and_the_cgroup,
        exec_gives_the_exit_status,
        exec_works_in_a_created_container,
        exec_into_a_stopped_container_is_refused,
        exec_takes_its_attributes_from_flags,
        exec_takes_its_attributes_from_a_process_file,
        cve_2026_30892_exec_user_strings_mean_what_they_say,
        exec_adds_capabilities_but_not_inheritable_ones,
        exec_no_new_privileges_comes_from_its_own_file,
        exec_failures_exit_with_255,
        exec_detach_returns_and_writes_the_pid,
        exec_sets_home,
        exec_passes_stdin_through,
        exec_forwards_signals,
        exec_has_no_foreign_descriptors,
        exec_leaves_no_process,
        exec_cpu_affinity_is_set,
        exec_into_a_frozen_container_is_refused,
        exec_below_a_frozen_cgroup_ends,
        exec_is_not_stopped_by_a_freeze,
        exec_in_a_user_namespace,
        many_execs_at_once,
        a_cgroup_outside_the_containers_is_refused,
    ]
}

fn sleeper<'t>(t: &'t Test) -> Result<Container<'t>, Failure> {
    let c = t.container(&Bundle::sleeper())?;
    c.run_detached()?;
    Ok(c)
}

fn exec_file(
    t: &Test,
    c: &Container<'_>,
    process: &Value,
    flags: &[&str],
) -> Result<garboard_integration_tests::runtime::Output, Failure> {
    let file = t.dir.join("process.json");
    fs::write(&file, serde_json::to_vec(process)?)?;
    let mut all: Vec<String> = vec!["--process".to_owned(), file.display().to_string()];
    all.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    c.call("exec", &all, &[])
}

fn exec_joins_every_namespace_and_the_cgroup(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper().namespace("cgroup", None))?;
    c.run_detached()?;
    let pid = c.pid()?;
    let seen = c.exec_report(&[])?;
    for file in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        assert_eq!(
            seen.at("/namespaces")[file],
            json!(processes::namespace(pid, file)),
            "{file}"
        );
    }
    let mut command = c.command("exec", &["--detach"], &["sleep", "1003"]);
    command.stdin(std::process::Stdio::null());
    t.runtime.finish(command)?.success()?;
    let found = processes::all()
        .into_iter()
        .find(|one| processes::command_line(one.pid) == "sleep 1003");
    let other = found.ok_or_else(|| Failure::new("no sleep 1003"))?.pid;
    for controller in if t.place.is_unified() {
        vec![""]
    } else {
        vec!["", "memory", "devices", "pids"]
    } {
        assert_eq!(
            cgroups::of_process(other, controller)?,
            cgroups::of_process(pid, controller)?,
            "{controller:?}"
        );
    }
    Ok(())
}

fn exec_gives_the_exit_status(t: &Test) -> Done {
    let c = sleeper(t)?;
    for code in [0, 1, 42, 255] {
        c.exec(&["sh", "-c", &format!("exit {code}")])?
            .exits_with(code)?;
    }
    c.exec(&["sh", "-c", "kill -9 $$"])?.exits_with(137)?;
    Ok(())
}

fn exec_works_in_a_created_container(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    assert_eq!(c.exec(&["echo", "hi"])?.success()?.stdout(), "hi\n");
    assert_eq!(c.status()?, "created");
    c.start()?;
    Ok(())
}

fn exec_into_a_stopped_container_is_refused(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["true"]))?;
    c.run_detached()?;
    c.await_status("stopped")?;
    c.exec(&["true"])?
        .exits_with(255)?
        .fails_with("cannot exec")?
        .fails_with("stopped container")
        .map(drop)
        .or_else(|failure| {
            // runc 1.1 words it "cannot exec a container that has stopped".
            if t.runtime.is_runc() {
                Ok(())
            } else {
                Err(failure)
            }
        })
}

fn exec_takes_its_attributes_from_flags(t: &Test) -> Done {
    let c = sleeper(t)?;
    // One form of each flag: Debian's runc refuses two forms of the same.
    let flags = [
        "--cwd",
        "/tmp",
        "--env",
        "A=1",
        "--env",
        "B=2",
        "--user",
        "1000:1001",
        "--additional-gids",
        "5",
        "--additional-gids",
        "77",
        "--no-new-privs",
    ];
    let seen = c.exec_report(&flags)?;
    assert_eq!(seen.at("/cwd"), "/tmp");
    assert_eq!(
        (seen.env("A"), seen.env("B"), seen.env("TERM")),
        (Some("1"), Some("2"), Some("xterm"))
    );
    assert_eq!(
        (seen.status("Uid"), seen.status("Gid")),
        ("1000\t1000\t1000\t1000", "1001\t1001\t1001\t1001")
    );
    assert_eq!(seen.status("Groups"), "5 77");
    assert_eq!(seen.status("NoNewPrivs"), "1");
    Ok(())
}

fn exec_takes_its_attributes_from_a_process_file(t: &Test) -> Done {
    let c = sleeper(t)?;
    let process = json!({
        "args": ["/bin/probe", "x"], "cwd": "/etc", "env": ["PATH=/bin", "ONLY=this"], "user": {"uid": 1000, "gid": 1000, "umask": 0o77},
        "capabilities": {}, "noNewPrivileges": true, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}],
    });
    let seen = Report::parse(&exec_file(t, &c, &process, &[])?.success()?.stdout())?;
    assert_eq!(
        seen.at("/env"),
        &json!(["PATH=/bin", "ONLY=this", "HOME=/home/user"])
    );
    assert_eq!(
        (seen.at("/cwd"), seen.status("NoNewPrivs")),
        (&json!("/etc"), "1")
    );
    assert_eq!((seen.mask("CapBnd"), seen.mask("CapEff")), (0, 0));
    if !t.runtime.is_runc() {
        // The Go runtime of Debian's runc raises the soft limit behind its back.
        assert_eq!(seen.at("/rlimits/RLIMIT_NOFILE"), &json!([50, 60]));
        assert_eq!(seen.status("Umask"), "0077");
    }
    exec_file(t, &c, &json!({"args": ["true"], "cwd": "relative"}), &[])?
        .exits_with(255)
        .map(drop)
        .or_else(|e| if t.runtime.is_runc() { Ok(()) } else { Err(e) })
}

/// CVE-2026-30892: `exec -u 1` was read as 0:0.
fn cve_2026_30892_exec_user_strings_mean_what_they_say(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper().set("/process/user", json!({"uid": 3, "gid": 4})))?;
    c.run_detached()?;
    // Debian's runc refuses ids above 2^31.
    let high = if t.runtime.is_runc() {
        2_147_483_647
    } else {
        4_294_967_294_u32
    };
    let highest = format!("{high}:{high}");
    for (text, uid, gid) in [
        ("1", 1, 4),
        ("0", 0, 4),
        ("1:2", 1, 2),
        ("1000:0", 1000, 0),
        (highest.as_str(), high, high),
    ] {
        let seen = c.exec_report(&["--user", text])?;
        let ids = (
            seen.status("Uid").split('\t').next().unwrap_or(""),
            seen.status("Gid").split('\t').next().unwrap_or(""),
        );
        assert_eq!(
            ids,
            (uid.to_string().as_str(), gid.to_string().as_str()),
            "{text}"
        );
    }
    for text in [
        "user",
        "1:",
        ":1",
        "1:2:3",
        "-1",
        "4294967295",
        "4294967296",
        "1:4294967295",
        " 1",
        "0x1",
        "1 ",
        "1,2",
    ] {
        let out = c.call("exec", &["--user", text], &["id"])?;
        assert!(
            t.runtime.is_runc() || out.code() != 0,
            "{text:?} was taken: {}",
            out.stdout()
        );
        // Debian's runc takes 4294967296 for 0.
        assert!(
            t.runtime.is_runc() || !out.stdout().contains("uid=0"),
            "{text:?} became root"
        );
    }
    Ok(())
}

fn exec_adds_capabilities_but_not_inheritable_ones(t: &Test) -> Done {
    let c = sleeper(t)?;
    let seen = c.exec_report(&["--cap", "CAP_SYS_TIME", "--cap", "CAP_CHOWN"])?;
    let wanted = (1 << 25) | 1 | (1 << 5) | (1 << 10) | (1 << 29);
    assert_eq!(
        ["CapBnd", "CapEff", "CapPrm"].map(|name| seen.mask(name)),
        [wanted; 3]
    );
    assert_eq!(["CapInh", "CapAmb"].map(|name| seen.mask(name)), [0; 2]);
    Ok(())
}

fn exec_no_new_privileges_comes_from_its_own_file(t: &Test) -> Done {
    let c = sleeper(t)?;
    let process = json!({"args": ["/bin/probe"], "cwd": "/", "env": ["PATH=/bin"]});
    let seen = Report::parse(&exec_file(t, &c, &process, &[])?.success()?.stdout())?;
    assert_eq!(seen.status("NoNewPrivs"), "0", "a missing key means false");
    Ok(())
}

fn exec_failures_exit_with_255(t: &Test) -> Done {
    let c = sleeper(t)?;
    c.exec(&["nosuch"])?
        .exits_with(255)?
        .fails_with("executable file not found in $PATH")?;
    c.exec(&["/nosuch"])?
        .exits_with(255)?
        .fails_with("no such file or directory")?;
    c.exec(&["/etc/passwd"])?
        .exits_with(255)?
        .fails_with("permission denied")?;
    c.call("exec", &["--cwd", "/nosuch"], &["true"])?
        .exits_with(255)?
        .fails_with("no such file or directory")?;
    Ok(())
}

fn exec_detach_returns_and_writes_the_pid(t: &Test) -> Done {
    let c = sleeper(t)?;
    let file = t.dir.join("exec.pid");
    c.call(
        "exec",
        &["--detach", "--pid-file", &file.to_string_lossy()],
        &["sleep", "1004"],
    )?
    .success()?;
    let pid: i32 = fs::read_to_string(&file)?.parse()?;
    wait_until("the program", || {
        Ok(processes::command_line(pid) == "sleep 1004")
    })?;
    assert_eq!(
        processes::stat(pid).map(|stat| stat.parent),
        Some(std::process::id().cast_signed()),
        "it comes to the subreaper"
    );
    Ok(())
}

fn exec_sets_home(t: &Test) -> Done {
    let c = sleeper(t)?;
    assert_eq!(
        c.exec_report(&["--user", "1000"])?.env("HOME"),
        Some("/home/user")
    );
    assert_eq!(c.exec_report(&["-e", "HOME=/x"])?.env("HOME"), Some("/x"));
    Ok(())
}

fn exec_passes_stdin_through(t: &Test) -> Done {
    use std::io::Write;
    let c = sleeper(t)?;
    let mut command = c.command("exec", &[], &["cat"]);
    command.stdin(std::process::Stdio::piped());
    let mut run = t.runtime.spawn(command)?;
    if let Some(stdin) = run.child.stdin.as_mut() {
        stdin.write_all(b"through\n")?;
    }
    assert_eq!(
        run.wait(garboard_integration_tests::runtime::DEADLINE)?
            .success()?
            .stdout(),
        "through\n"
    );
    Ok(())
}

fn exec_forwards_signals(t: &Test) -> Done {
    let c = sleeper(t)?;
    let script = "trap 'echo term; exit 6' TERM; echo ready; while :; do sleep 0.02; done";
    let run = t
        .runtime
        .spawn(c.command("exec", &[], &["sh", "-c", script]))?;
    wait_until("ready", || Ok(run.stdout_so_far().contains("ready")))?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(run.pid()),
        nix::sys::signal::Signal::SIGTERM,
    )?;
    run.wait(garboard_integration_tests::runtime::DEADLINE)?
        .exits_with(6)?;
    Ok(())
}

fn exec_has_no_foreign_descriptors(t: &Test) -> Done {
    let c = sleeper(t)?;
    let command = c.command("exec", &[], &["/bin/probe"]);
    let hostile = "trap '' PIPE HUP; umask 077; exec 3</ 10</ 11</etc/passwd";
    let out = t
        .runtime
        .finish(t.runtime.from_shell(hostile, &command))?
        .success()?;
    let seen = Report::parse(&out.stdout())?;
    assert_eq!(seen.extra_fds(), [""; 0]);
    assert_eq!((seen.mask("SigBlk"), seen.mask("SigCgt")), (0, 0));
    if !t.runtime.is_runc() {
        assert_eq!(seen.mask("SigIgn"), 0);
    }
    Ok(())
}

fn exec_leaves_no_process(t: &Test) -> Done {
    let c = sleeper(t)?;
    for _ in 0..5 {
        c.exec(&["true"])?.success()?;
    }
    processes::reap();
    let left: Vec<String> = processes::descendants()
        .iter()
        .map(|one| processes::command_line(one.pid))
        .collect();
    assert_eq!(left, ["sleep 1000"]);
    Ok(())
}

fn exec_cpu_affinity_is_set(t: &Test) -> Done {
    t.not_for_runc("1.1 has no execCPUAffinity")?;
    let c = sleeper(t)?;
    let process = json!({"args": ["/bin/probe"], "cwd": "/", "env": ["PATH=/bin"], "execCPUAffinity": {"initial": "0", "final": "0"}});
    let seen = Report::parse(&exec_file(t, &c, &process, &[])?.success()?.stdout())?;
    assert_eq!(seen.status("Cpus_allowed_list"), "0");
    Ok(())
}

/// The file that freezes the container's cgroup, and the words for it.
fn freezer(t: &Test, c: &Container<'_>) -> Result<(PathBuf, &'static str, &'static str), Failure> {
    let dirs = cgroups::named(&c.id)?;
    let find = |file: &str| {
        dirs.iter()
            .map(|dir| dir.join(file))
            .find(|path| path.is_file())
    };
    if t.place.is_unified() {
        return find("cgroup.freeze")
            .map(|file| (file, "1", "0"))
            .ok_or_else(|| Failure::new("no cgroup.freeze"));
    }
    find("freezer.state")
        .map(|file| (file, "FROZEN", "THAWED"))
        .ok_or_else(|| Failure::new("no freezer.state"))
}

fn exec_into_a_frozen_container_is_refused(t: &Test) -> Done {
    let c = sleeper(t)?;
    let (file, frozen, thawed) = freezer(t, &c)?;
    fs::write(&file, frozen)?;
    c.await_status("paused")?;
    let outcome = c.exec(&["true"]);
    fs::write(&file, thawed)?;
    outcome?.exits_with(255)?.fails_with("paused container")?;
    c.exec(&["true"])?.success()?;
    Ok(())
}

/// A pod is frozen as a whole: moving the new process out of the container's own cgroup alone would not let it die.
fn exec_below_a_frozen_cgroup_ends(t: &Test) -> Done {
    t.not_for_runc("1.1 waits for the thaw")?;
    let c = sleeper(t)?;
    let (file, frozen, thawed) = freezer(t, &c)?;
    let name = file.file_name().unwrap_or_default();
    let pod = file.ancestors().nth(2).map(|dir| dir.join(name));
    let pod = pod.ok_or_else(|| Failure::new("the cgroup has no parent"))?;
    fs::write(&pod, frozen)?;
    let run = t
        .runtime
        .spawn(c.command("exec", &["--ignore-paused"], &["true"]))?;
    let ended = run.wait(std::time::Duration::from_secs(10));
    fs::write(&pod, thawed)?;
    ended?.exits_with(255)?.fails_with("frozen")?;
    Ok(())
}

fn exec_is_not_stopped_by_a_freeze(t: &Test) -> Done {
    t.not_for_runc("1.1 waits for the thaw")?;
    let c = sleeper(t)?;
    let (file, frozen, thawed) = freezer(t, &c)?;
    for round in 0..10 {
        let run = t
            .runtime
            .spawn(c.command("exec", &["--ignore-paused"], &["true"]))?;
        std::thread::sleep(std::time::Duration::from_micros(300 * round));
        fs::write(&file, frozen)?;
        std::thread::sleep(std::time::Duration::from_millis(30));
        fs::write(&file, thawed)?;
        // Either it got through or it says what stopped it: it ends, that is the point.
        run.wait(std::time::Duration::from_secs(10))?;
    }
    Ok(())
}

fn exec_in_a_user_namespace(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper().user_namespace(100_000, 65536))?;
    c.run_detached()?;
    let seen = c.exec_report(&["--user", "1000:1000"])?;
    assert_eq!(seen.status("Uid"), "1000\t1000\t1000\t1000");
    Ok(())
}

fn many_execs_at_once(t: &Test) -> Done {
    let c = sleeper(t)?;
    let mut all = Vec::new();
    for number in 0..10 {
        all.push((
            number,
            t.runtime
                .spawn(c.command("exec", &[], &["sh", "-c", &format!("exit {number}")]))?,
        ));
    }
    for (number, run) in all {
        run.wait(garboard_integration_tests::runtime::DEADLINE)?
            .exits_with(number)?;
    }
    Ok(())
}

fn a_cgroup_outside_the_containers_is_refused(t: &Test) -> Done {
    let c = sleeper(t)?;
    for path in ["../..", "/../../..", "sub/../../.."] {
        let out = c.call("exec", &["--cgroup", path], &["true"])?;
        assert!(out.code() != 0 || t.runtime.is_runc(), "{path} was taken");
    }
    Ok(())
}
