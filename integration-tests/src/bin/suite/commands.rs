//! What the commands print and take: the shapes of their output, flags, logs, the pid file, the texts engines read.

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::needs::Need;
use serde_json::{Value, json};
use std::fs;

use crate::lifecycle::members;

pub fn cases() -> Vec<Case> {
    cases![
        bad_ids_are_refused,
        a_missing_container_is_said_to_not_exist,
        state_has_the_documented_shape,
        list_has_the_documented_shapes,
        list_of_nothing_is_null,
        list_passes_over_a_broken_container,
        kill_and_exec_stop_at_the_first_argument,
        ps_lists_host_pids,
        ps_lists_sub_cgroups_and_host_namespaces,
        ps_is_the_hosts,
        the_pid_file_holds_only_digits,
        flags_may_repeat_and_follow_the_id,
        the_log_gets_one_json_record,
        features_is_json_and_quiet,
        spec_writes_a_bundle_that_runs,
        version_has_the_lines_engines_read,
        unknown_commands_and_flags,
    ]
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
    t.needs(&[Need::Root])?;
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

/// Without a pid namespace, and with one of the processes in a cgroup below the container's.
fn ps_lists_sub_cgroups_and_host_namespaces(t: &Test) -> Done {
    let shell = Bundle::shell("sleep 1001 & sleep 1002 & wait").without_namespace("pid");
    let c = t.container(&shell)?;
    c.run_detached()?;
    wait_until("three processes", || Ok(members(t)?.len() == 3))?;
    let all = members(t)?;
    let init = c.pid()?;
    let moved = all.iter().find(|pid| **pid != init);
    let moved = moved.ok_or_else(|| Failure::new("no child"))?.to_string();
    for dir in c.cgroups()? {
        // A new cpuset of v1 has no processors, and takes no process.
        if fs::metadata(dir.join("cpuset.cpus")).is_err() {
            fs::create_dir(dir.join("below"))?;
            fs::write(dir.join("below/cgroup.procs"), &moved)?;
        }
    }
    let out = c.call("ps", &["--format", "json"], &[])?.success()?;
    let mut pids: Vec<i32> = serde_json::from_value(out.json()?)?;
    pids.sort_unstable();
    assert_eq!(pids, all);
    let table = c.call("ps", &[], &[])?.success()?.lines();
    assert!(table[0].contains("PID") && table.len() == 4, "{table:?}");
    c.delete_force()?;
    Ok(())
}

/// The arguments are the host's ps(1)'s, and so are its errors.
fn ps_is_the_hosts(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.run_detached()?;
    let pid = c.pid()?.to_string();
    // `run --detach` does not wait for the exec of the program, which gives the process its name.
    let comm = format!("/proc/{pid}/comm");
    wait_until(
        "the program",
        || Ok(fs::read_to_string(&comm)? == "sleep\n"),
    )?;
    let lines = c.call("ps", &[], &["-eo", "comm,pid"])?.success()?.lines();
    let words: Vec<&str> = lines
        .iter()
        .flat_map(|line| line.split_whitespace())
        .collect();
    assert_eq!(words, ["COMMAND", "PID", "sleep", pid.as_str()]);
    c.call("ps", &[], &["-eo", "comm"])?
        .exits_with(1)?
        .fails_with("couldn't find PID field in ps output")?;
    c.call("ps", &[], &["--no-such-option"])?.exits_with(1)?;
    c.call("ps", &["-f", "yaml"], &[])?
        .exits_with(1)?
        .fails_with("invalid format option")?;
    c.kill("KILL")?;
    c.await_status("stopped")?;
    assert_eq!(
        c.call("ps", &["-f", "json"], &[])?.success()?.stdout(),
        "null\n"
    );
    let lines = c.call("ps", &[], &[])?.success()?.lines();
    assert!(lines.len() == 1 && lines[0].contains("PID"), "{lines:?}");
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
    t.needs(&[Need::Root])?;
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

fn list_passes_over_a_broken_container(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    fs::create_dir_all(t.runtime.root.join("broken"))?;
    fs::write(t.runtime.root.join("broken/state.json"), "{")?;
    let out = t.runtime.call(["list", "-q"])?.success()?;
    assert!(out.lines().contains(&c.id), "{:?}", out.lines());
    t.runtime.call(["delete", "--force", "broken"])?;
    let _ = fs::remove_dir_all(t.runtime.root.join("broken"));
    Ok(())
}

fn kill_and_exec_stop_at_the_first_argument(t: &Test) -> Done {
    t.not_for_runc("1.1 takes flags of kill behind its arguments")?;
    let c = t.container(&Bundle::sleeper())?;
    c.run_detached()?;
    c.call("kill", &[], &["9", "--all"])?.exits_with(1)?;
    assert_eq!(c.status()?, "running");
    assert_eq!(
        c.exec(&["echo", "--cwd", "/x", "-t"])?.success()?.stdout(),
        "--cwd /x -t\n"
    );
    Ok(())
}
