//! Create, start, state, kill, delete, list, ps: what each does, prints, refuses, and what is true of the process meanwhile.

use std::fs;
use std::path::Path;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::{cases, cgroups, processes};
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        a_container_goes_through_its_whole_life,
        run_gives_the_exit_status,
        run_gives_128_and_the_signal,
        create_does_not_run_the_program,
        start_is_refused_twice,
        a_second_create_is_refused_and_harms_nothing,
        bad_ids_are_refused,
        a_missing_container_is_said_to_not_exist,
        kill_sends_any_signal_by_any_name,
        kill_of_a_stopped_container_says_not_running,
        delete_of_a_running_container_is_refused,
        delete_of_a_created_container_works,
        delete_force_is_idempotent,
        kill_ends_all_when_the_pid_namespace_is_shared,
        kill_all_ends_leftovers_after_init_is_gone,
        state_has_the_documented_shape,
        list_has_the_documented_shapes,
        list_of_nothing_is_null,
        ps_lists_host_pids,
        the_pid_file_holds_only_digits,
        run_detach_returns_and_run_keep_keeps,
        flags_may_repeat_and_follow_the_id,
        the_log_gets_one_json_record,
        a_failed_run_leaves_nothing,
        features_is_json_and_quiet,
        spec_writes_a_bundle_that_runs,
        version_has_the_lines_engines_read,
        unknown_commands_and_flags,
        run_forwards_signals,
        run_passes_stdin_through,
        the_cgroup_is_where_cgroups_path_says,
        a_cgroup_with_foreign_processes_is_refused,
    ]
}

fn a_container_goes_through_its_whole_life(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    assert_eq!(c.status()?, "created");
    let pid = c.pid()?;
    assert!(Path::new(&format!("/proc/{pid}")).is_dir());
    c.start()?;
    assert_eq!(c.status()?, "running");
    assert_eq!(c.pid()?, pid, "the same process runs the program");
    wait_until("the program", || {
        Ok(processes::command_line(pid) == "sleep 1000")
    })?;
    c.kill("KILL")?;
    c.await_status("stopped")?;
    assert_eq!(c.state()?["pid"], 0);
    c.delete()?;
    c.call("state", &[], &[])?.fails_with("does not exist")?;
    Ok(())
}

fn run_gives_the_exit_status(t: &Test) -> Done {
    for code in [0, 1, 7, 126, 127, 255] {
        t.container(&Bundle::shell(&format!("exit {code}")))?
            .run()?
            .exits_with(code)?;
    }
    Ok(())
}

fn run_gives_128_and_the_signal(t: &Test) -> Done {
    // Init of a pid namespace ignores signals from inside, so a killed child must not be mistaken for it.
    t.container(&Bundle::shell("sh -c 'kill -9 $$'; exit 3"))?
        .run()?
        .exits_with(3)?;
    let c = t.container(&Bundle::sleeper())?;
    let run = c.run_in_background()?;
    c.await_status_or_absent("running")?;
    c.kill("KILL")?;
    run.wait(garboard_integration_tests::runtime::DEADLINE)?
        .exits_with(137)?;
    Ok(())
}

fn create_does_not_run_the_program(t: &Test) -> Done {
    let c = t.container(&Bundle::shell("echo ran; echo x > /tmp/ran").writable())?;
    let out = c.create()?;
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(!c.path("/tmp/ran").is_file());
    assert_eq!(out.stdout(), "");
    c.start()?;
    c.await_status("stopped")?;
    assert_eq!(out.stdout(), "ran\n");
    c.delete()?;
    Ok(())
}

fn start_is_refused_twice(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    c.start()?;
    c.call("start", &[], &[])?
        .exits_with(1)?
        .fails_with("cannot start an already running container")?;
    c.kill("9")?;
    c.await_status("stopped")?;
    c.call("start", &[], &[])?
        .exits_with(1)?
        .fails_with("cannot start a container that has stopped")?;
    Ok(())
}

fn a_second_create_is_refused_and_harms_nothing(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    let pid = c.pid()?;
    c.try_create()?
        .exits_with(1)?
        .fails_with("container with given ID already exists")?;
    assert_eq!((c.status()?, c.pid()?), ("created".to_owned(), pid));
    c.run()?
        .exits_with(1)?
        .fails_with("container with given ID already exists")?;
    assert_eq!((c.status()?, c.pid()?), ("created".to_owned(), pid));
    Ok(())
}

fn bad_ids_are_refused(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    let long = "a".repeat(1025);
    for id in [
        "",
        ".",
        "..",
        "a/b",
        "../x",
        "a b",
        "a\nb",
        "ü",
        "a:b",
        long.as_str(),
    ] {
        let mut command = t.runtime.command(["create", "--bundle"]);
        command.arg(&c.bundle).arg(id);
        t.runtime.finish(command)?.exits_with(1)?;
    }
    let mut command = t.runtime.command(["create", "--bundle"]);
    command.arg(&c.bundle).arg("a/b");
    t.runtime.finish(command)?.fails_with("invalid container")?;
    Ok(())
}

fn a_missing_container_is_said_to_not_exist(t: &Test) -> Done {
    for args in [
        vec!["state"],
        vec!["start"],
        vec!["kill"],
        vec!["delete"],
        vec!["ps"],
    ] {
        let mut words = args.clone();
        words.push("nobody");
        t.runtime
            .call(&words)?
            .exits_with(1)?
            .fails_with("container does not exist")?;
    }
    let exec = t
        .runtime
        .call(["exec", "nobody", "true"])?
        .fails_with("container does not exist")?;
    if !t.runtime.is_runc() {
        exec.exits_with(255)?;
    }
    t.runtime.call(["delete", "--force", "nobody"])?.success()?;
    Ok(())
}

fn kill_sends_any_signal_by_any_name(t: &Test) -> Done {
    let script = "for s in 1 10 12 15; do trap \"echo got $s\" $s; done; echo ready; while :; do sleep 0.02; done";
    let c = t.container(&Bundle::shell(script))?;
    let out = c.run_detached()?;
    wait_until("ready", || Ok(out.stdout().contains("ready")))?;
    for (word, number) in [("HUP", 1), ("SIGUSR1", 10), ("usr2", 12), ("15", 15)] {
        c.kill(word)?;
        wait_until(word, || {
            Ok(out.stdout().contains(&format!("got {number}\n")))
        })?;
    }
    c.call("kill", &[], &["NOSUCH"])?
        .exits_with(1)?
        .fails_with("unknown signal")?;
    let before = out.stdout().matches("got 15").count();
    c.call("kill", &[], &[])?.success()?;
    wait_until("the default, TERM", || {
        Ok(out.stdout().matches("got 15").count() > before)
    })
}

fn kill_of_a_stopped_container_says_not_running(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["true"]))?;
    c.run_detached()?;
    c.await_status("stopped")?;
    c.call("kill", &[], &["9"])?
        .exits_with(1)?
        .fails_with("container not running")?;
    c.delete()?;
    Ok(())
}

fn delete_of_a_running_container_is_refused(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.run_detached()?;
    let out = c
        .call("delete", &[], &[])?
        .exits_with(1)?
        .fails_with("is not stopped: running")?;
    assert!(out.stderr().contains(&c.id), "{}", out.stderr());
    assert_eq!(c.status()?, "running");
    c.delete_force()?;
    Ok(())
}

fn delete_of_a_created_container_works(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    let pid = c.pid()?;
    c.delete()?;
    wait_until("the end of init", || {
        Ok(processes::stat(pid).is_none_or(|stat| stat.state == 'Z'))
    })
}

fn delete_force_is_idempotent(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.delete_force()?;
    c.run_detached()?;
    for _ in 0..3 {
        let out = c.delete_force()?;
        assert_eq!((out.stdout(), out.stderr()), (String::new(), String::new()));
    }
    Ok(())
}

fn kill_ends_all_when_the_pid_namespace_is_shared(t: &Test) -> Done {
    t.not_for_runc("1.1 signals init alone without --all")?;
    let c =
        t.container(&Bundle::shell("sleep 1001 & sleep 1002 & wait").without_namespace("pid"))?;
    c.run_detached()?;
    wait_until("three processes", || Ok(members(t)?.len() == 3))?;
    c.kill("KILL")?;
    wait_until("no processes", || Ok(members(t)?.is_empty()))?;
    c.await_status("stopped")?;
    c.delete()?;
    Ok(())
}

fn kill_all_ends_leftovers_after_init_is_gone(t: &Test) -> Done {
    let c = t.container(&Bundle::shell("sleep 1001 & exit 0").without_namespace("pid"))?;
    c.run_detached()?;
    c.await_status("stopped")?;
    assert_eq!(members(t)?.len(), 1, "the background process lives on");
    t.runtime
        .call(["kill", "--all", c.id.as_str(), "9"])?
        .success()?;
    wait_until("no processes", || Ok(members(t)?.is_empty()))?;
    c.delete()?;
    Ok(())
}

/// The live processes in the test's cgroups, zombies left out.
fn members(t: &Test) -> Result<Vec<i32>, Failure> {
    let mut all: Vec<i32> = cgroups::named(&t.token)?
        .iter()
        .flat_map(|dir| cgroups::processes(dir))
        .collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|pid| processes::stat(*pid).is_some_and(|stat| stat.state != 'Z'));
    Ok(all)
}

fn state_has_the_documented_shape(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper().set("/annotations", json!({"a.b": "c"})))?;
    c.create()?;
    let out = c.call("state", &[], &[])?.success()?;
    let text = out.stdout();
    assert!(
        text.starts_with("{\n  \"ociVersion\": \"") && text.ends_with('}'),
        "two spaces, no newline at the end: {text:?}"
    );
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  \"")?.split('"').next())
        .collect();
    assert_eq!(
        keys,
        [
            "ociVersion",
            "id",
            "pid",
            "status",
            "bundle",
            "rootfs",
            "created",
            "annotations",
            "owner"
        ]
    );
    let state = out.json()?;
    assert_eq!(state["id"], c.id.as_str());
    assert_eq!(state["bundle"], json!(c.bundle));
    assert_eq!(state["rootfs"], json!(c.bundle.join("rootfs")));
    assert_eq!(state["annotations"], json!({"a.b": "c"}));
    assert_eq!(state["owner"], "");
    let created = state["created"].as_str().unwrap_or("");
    assert!(
        created.len() > 20 && created.ends_with('Z') && created.contains('T'),
        "{created}"
    );
    let plain = t.container(&Bundle::sleeper())?;
    plain.create()?;
    assert_eq!(plain.state()?["annotations"], Value::Null);
    Ok(())
}

fn list_has_the_documented_shapes(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    let quiet = t.runtime.call(["list", "-q"])?.success()?;
    assert_eq!(quiet.stdout(), format!("{}\n", c.id));
    let table = t.runtime.call(["list"])?.success()?.lines();
    let heads: Vec<&str> = table[0].split_whitespace().collect();
    assert_eq!(heads, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let row: Vec<&str> = table[1].split_whitespace().collect();
    assert_eq!(
        (row[0], row[1], row[2], row[5]),
        (
            c.id.as_str(),
            c.pid()?.to_string().as_str(),
            "created",
            "root"
        )
    );
    let json = t.runtime.call(["list", "--format", "json"])?.success()?;
    assert!(json.stdout().ends_with("]\n") && json.lines().len() == 1);
    assert_eq!(json.json()?[0]["id"], c.id.as_str());
    assert_eq!(json.json()?[0]["owner"], "root");
    Ok(())
}

fn list_of_nothing_is_null(t: &Test) -> Done {
    fs::create_dir_all(&t.runtime.root)?;
    assert_eq!(
        t.runtime
            .call(["list", "-f", "json"])?
            .success()?
            .stdout()
            .trim(),
        "null"
    );
    Ok(())
}

fn ps_lists_host_pids(t: &Test) -> Done {
    let c = t.container(&Bundle::shell("sleep 1001 & sleep 1002 & wait"))?;
    c.run_detached()?;
    wait_until("three processes", || Ok(members(t)?.len() == 3))?;
    let out = t
        .runtime
        .call(["ps", "--format", "json", c.id.as_str()])?
        .success()?;
    assert!(out.stdout().ends_with("]\n"));
    let mut pids: Vec<i32> = serde_json::from_value(out.json()?)?;
    pids.sort_unstable();
    assert_eq!(pids, members(t)?);
    let table = c.call("ps", &[], &["-o", "pid,args"])?.success()?.lines();
    assert!(table[0].contains("PID") && table.len() == 4, "{table:?}");
    assert!(
        table.iter().any(|line| line.contains("sleep 1001")),
        "{table:?}"
    );
    c.kill("9")?;
    c.await_status("stopped")?;
    Ok(())
}

fn the_pid_file_holds_only_digits(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    let file = t.dir.join("pid");
    t.runtime
        .finish(c.create_command(&["--pid-file", &file.to_string_lossy()]))?
        .success()?;
    assert_eq!(fs::read_to_string(&file)?, c.pid()?.to_string());
    Ok(())
}

fn run_detach_returns_and_run_keep_keeps(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["true"]))?;
    t.runtime.finish(c.run_command(&["--keep"]))?.success()?;
    assert_eq!(c.status()?, "stopped");
    c.delete()?;
    let c = t.container(&Bundle::sleeper())?;
    t.runtime.finish(c.run_command(&["-d"]))?.success()?;
    assert_eq!(c.status()?, "running");
    Ok(())
}

fn flags_may_repeat_and_follow_the_id(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    let root = t.runtime.root.display().to_string();
    let bundle = format!("--bundle={}", c.bundle.display());
    let mut command = std::process::Command::new(&t.runtime.program);
    command.args([
        "--root",
        "/nonexistent",
        "--root",
        &root,
        "-root",
        &root,
        "--debug=false",
    ]);
    command.args(["create", "-bundle", "/nonexistent", &bundle, &c.id]);
    command.stdin(std::process::Stdio::null());
    t.runtime.finish(command)?.success()?;
    t.runtime
        .call(["delete", c.id.as_str(), "--force"])?
        .success()?;
    Ok(())
}

fn the_log_gets_one_json_record(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["/nonexistent"]))?;
    let log = t.dir.join("log.json");
    let mut command = t.runtime.command(["--log-format", "json", "--log"]);
    command
        .arg(&log)
        .arg("create")
        .arg("--bundle")
        .arg(&c.bundle)
        .arg(&c.id);
    let out = t.runtime.finish(command)?.exits_with(1)?;
    let text = fs::read_to_string(&log)?;
    let records: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let errors: Vec<&Value> = records
        .iter()
        .filter(|record| record["level"] == "error")
        .collect();
    assert_eq!(errors.len(), 1, "{text}");
    let message = errors[0]["msg"].as_str().unwrap_or("");
    assert!(message.contains("no such file or directory"), "{message}");
    assert!(
        out.stderr().contains(message),
        "stderr says the same: {:?}",
        out.stderr()
    );
    assert!(
        errors[0]["time"]
            .as_str()
            .is_some_and(|time| time.contains('T')),
        "{text}"
    );
    if !t.runtime.is_runc() {
        assert_eq!(
            (records.len(), out.stderr().lines().count()),
            (1, 1),
            "{text} {}",
            out.stderr()
        );
    }
    Ok(())
}

fn a_failed_run_leaves_nothing(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["/nonexistent"]))?;
    c.run()?
        .exits_with(1)?
        .fails_with("no such file or directory")?;
    c.call("state", &[], &[])?.fails_with("does not exist")?;
    let leaks = garboard_integration_tests::leaks::left_in(&t.token, &t.runtime.root)?;
    assert!(leaks.is_empty(), "{leaks:?}");
    Ok(())
}

fn features_is_json_and_quiet(t: &Test) -> Done {
    let out = t.runtime.call(["features"])?.success()?;
    assert_eq!(out.stderr(), "");
    let features = out.json()?;
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(
        features["hooks"]
            .as_array()
            .is_some_and(|hooks| hooks.len() == 6)
    );
    let options = features["mountOptions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for word in ["rro", "bind", "tmpcopyup", "rslave"] {
        assert!(options.contains(&json!(word)), "{word}");
    }
    let namespaces = features["linux"]["namespaces"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(namespaces.contains(&json!("user")) && namespaces.contains(&json!("cgroup")));
    if !t.runtime.is_runc() {
        assert_eq!(
            features["linux"]["mountExtensions"]["idmap"]["enabled"],
            true
        );
        assert_eq!(namespaces.len(), 8);
    }
    Ok(())
}

fn spec_writes_a_bundle_that_runs(t: &Test) -> Done {
    let c = t.container(&Bundle::default())?;
    fs::remove_file(c.bundle.join("config.json"))?;
    let mut command = t.runtime.command(["spec", "--bundle"]);
    command.arg(&c.bundle);
    t.runtime.finish(command)?.success()?;
    let text = fs::read_to_string(c.bundle.join("config.json"))?;
    assert!(
        text.starts_with("{\n\t\"ociVersion\"") && text.ends_with('}'),
        "tabs, no newline at the end"
    );
    let mut config: Value = serde_json::from_str(&text)?;
    assert_eq!(
        (&config["process"]["args"], &config["process"]["terminal"]),
        (&json!(["sh"]), &json!(true))
    );
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["echo", "hello"]);
    config["linux"]["cgroupsPath"] = json!(format!("/{}/spec", t.token));
    fs::write(c.bundle.join("config.json"), serde_json::to_vec(&config)?)?;
    assert_eq!(c.run_ok()?.stdout(), "hello\n");
    let mut command = t.runtime.command(["spec", "-b"]);
    command.arg(&c.bundle);
    t.runtime
        .finish(command)?
        .exits_with(1)?
        .fails_with("config.json exists")?;
    Ok(())
}

fn version_has_the_lines_engines_read(t: &Test) -> Done {
    for flag in ["--version", "-v"] {
        let lines = t.runtime.call([flag])?.success()?.lines();
        assert!(lines[0].contains(" version "), "{lines:?}");
        assert!(
            lines.iter().any(|line| line.starts_with("spec: 1.")),
            "{lines:?}"
        );
        assert!(
            lines.iter().any(|line| line.starts_with("commit: ")),
            "{lines:?}"
        );
    }
    Ok(())
}

fn unknown_commands_and_flags(t: &Test) -> Done {
    t.runtime.call(["nosuchcommand"])?.exits_with(3)?;
    t.runtime
        .call(["create", "--no-such-flag", "x"])?
        .exits_with(1)?;
    t.runtime.call(["create"])?.exits_with(1)?;
    t.runtime.call(["state", "a", "b"])?.exits_with(1)?;
    t.runtime.call(["create", "--help"])?.success()?;
    t.runtime.call(Vec::<&str>::new())?.success()?;
    t.runtime
        .call(["--log-format", "xml", "list"])?
        .exits_with(1)?
        .fails_with("xml")?;
    Ok(())
}

fn run_forwards_signals(t: &Test) -> Done {
    let c = t.container(&Bundle::shell("trap 'echo term; exit 5' TERM; trap 'echo winch' WINCH; echo ready; while :; do sleep 0.02; done"))?;
    let run = c.run_in_background()?;
    wait_until("ready", || Ok(run.stdout_so_far().contains("ready")))?;
    let pid = nix::unistd::Pid::from_raw(run.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
    let out = run
        .wait(garboard_integration_tests::runtime::DEADLINE)?
        .exits_with(5)?;
    assert!(out.stdout().contains("term"), "{}", out.stdout());
    Ok(())
}

fn run_passes_stdin_through(t: &Test) -> Done {
    use std::io::Write;
    let c = t.container(&Bundle::args(["cat"]))?;
    let mut command = c.run_command(&[]);
    command.stdin(std::process::Stdio::piped());
    let mut run = t.runtime.spawn(command)?;
    let text = "line\n".repeat(20_000);
    if let Some(stdin) = run.child.stdin.as_mut() {
        stdin.write_all(text.as_bytes())?;
    }
    let out = run
        .wait(garboard_integration_tests::runtime::DEADLINE)?
        .success()?;
    assert!(
        out.stdout() == text,
        "{} bytes came back of {}",
        out.stdout().len(),
        text.len()
    );
    Ok(())
}

fn the_cgroup_is_where_cgroups_path_says(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    let wanted = format!("/{}/{}", t.token, c.id);
    let controller = if t.place == garboard_integration_tests::place::Place::V2 {
        ""
    } else {
        "devices"
    };
    assert_eq!(
        cgroups::of_process(c.pid()?, controller)?,
        Path::new(&wanted)
    );
    c.delete()?;
    assert!(cgroups::named(&c.id)?.is_empty());
    Ok(())
}

fn a_cgroup_with_foreign_processes_is_refused(t: &Test) -> Done {
    t.not_for_runc("1.1 warns only")?;
    let c = t.container(&Bundle::sleeper())?;
    let top = cgroups::hierarchies()?;
    let top = top.iter().find(|top| {
        top.ends_with("devices") || t.place == garboard_integration_tests::place::Place::V2
    });
    let Some(top) = top else {
        return Err(Failure::skip("no hierarchy to put a process in"));
    };
    let dir = top.join(&t.token).join(&c.id);
    fs::create_dir_all(&dir)?;
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn()?;
    fs::write(dir.join("cgroup.procs"), stranger.id().to_string())?;
    let refused = c.try_create();
    let forced = c.call("delete", &["--force"], &[]);
    let alive = processes::stat(stranger.id().cast_signed()).is_some_and(|stat| stat.state != 'Z');
    stranger.kill()?;
    stranger.wait()?;
    wait_until("the stranger's cgroup", || Ok(fs::remove_dir(&dir).is_ok()))?;
    refused?
        .exits_with(1)?
        .fails_with("container's cgroup is not empty")?;
    forced?.success()?;
    assert!(
        alive,
        "a process that is none of the container's was killed"
    );
    Ok(())
}
