//! The six kinds of hooks: when they run, where, with what, and what their failure means.

use std::fs;
use std::path::Path;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::{cases, processes};
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        hooks_run_in_order_with_the_state_on_stdin,
        hooks_run_in_their_namespaces,
        a_hooks_environment_is_its_own,
        a_hook_without_env_gets_the_runtimes,
        a_failing_hook_before_start_fails_create,
        a_failing_poststart_hook_ends_the_container,
        a_failing_poststop_hook_leaves_nothing,
        a_hook_that_hangs_is_killed,
        hooks_start_like_a_new_program,
        a_hook_that_is_not_there_is_refused,
        a_hooks_arguments_are_as_given,
        a_prestart_hook_can_enter_the_network_namespace,
        hooks_of_a_forced_delete_run_once,
    ]
}

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook that runs a busybox script; inside the container busybox is at the same place.
fn script(text: &str) -> Value {
    json!({"path": "/bin/busybox", "args": ["busybox", "sh", "-c", text], "env": ["PATH=/bin:/usr/bin"]})
}

/// Reads what hooks wrote to a directory that they see at the same path inside and outside.
fn hooked(
    t: &Test,
    base: Bundle,
    text: impl Fn(&str) -> String,
) -> Result<(Bundle, std::path::PathBuf), Failure> {
    let out = t.scratch("hooks")?;
    let at = out.display().to_string();
    let mut bundle = base
        .bind(&out, &at, &[])
        .root(|root| root.dir(at.trim_start_matches('/'), 0o755));
    for kind in KINDS {
        bundle = bundle.set(
            &format!("/hooks/{kind}/-"),
            script(&format!("D={at}; {}", text(kind))),
        );
    }
    Ok((bundle, out))
}

fn hooks_run_in_order_with_the_state_on_stdin(t: &Test) -> Done {
    t.not_for_runc("1.1 runs poststart hooks in create")?;
    let base = Bundle::shell("sleep 1000").set("/annotations", json!({"a": "b"}));
    let (bundle, out) = hooked(t, base, |kind| {
        format!("cat > $D/{kind}; echo {kind} >> $D/order")
    })?;
    let c = t.container(&bundle)?;
    c.create()?;
    let pid = c.pid()?;
    assert_eq!(
        fs::read_to_string(out.join("order"))?,
        "prestart\ncreateRuntime\ncreateContainer\n"
    );
    c.start()?;
    wait_until("startContainer", || {
        Ok(fs::read_to_string(out.join("order"))?.contains("startContainer"))
    })?;
    wait_until("poststart", || {
        Ok(fs::read_to_string(out.join("order"))?.contains("poststart"))
    })?;
    c.delete_force()?;
    let order = fs::read_to_string(out.join("order"))?;
    let mut lines: Vec<&str> = order.lines().collect();
    assert_eq!(lines.pop(), Some("poststop"));
    assert_eq!(lines.len(), 5);
    for kind in KINDS {
        let state: Value = serde_json::from_str(&fs::read_to_string(out.join(kind))?)?;
        assert_eq!(
            (&state["id"], &state["bundle"]),
            (&json!(c.id), &json!(c.bundle)),
            "{kind}"
        );
        assert_eq!(state["annotations"]["a"], "b", "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}");
        let status = match kind {
            "prestart" | "createRuntime" | "createContainer" => "creating",
            "startContainer" => "created",
            "poststart" => "running",
            _ => "stopped",
        };
        if !t.runtime.is_runc() {
            assert_eq!(state["status"], status, "{kind}");
        }
        match kind {
            "prestart" | "createRuntime" | "poststart" => assert_eq!(state["pid"], pid, "{kind}"),
            "createContainer" | "startContainer" => {
                assert_eq!(state["pid"], 1, "{kind}: as the container counts")
            }
            _ => assert!(
                state["pid"].is_null() || state["pid"] == 0,
                "{kind}: {state}"
            ),
        }
    }
    Ok(())
}

fn hooks_run_in_their_namespaces(t: &Test) -> Done {
    let text = |kind: &str| {
        format!(
            "readlink /proc/self/ns/mnt > $D/mnt-{kind}; readlink /proc/self/ns/pid > $D/pid-{kind}; hostname > $D/name-{kind}"
        )
    };
    let (bundle, out) = hooked(t, Bundle::sleeper(), text)?;
    let c = t.container(&bundle)?;
    c.run_detached()?;
    let init = c.pid()?;
    for kind in ["startContainer", "poststart"] {
        wait_until(kind, || {
            let name = fs::read_to_string(out.join(format!("name-{kind}")));
            Ok(name.is_ok_and(|name| !name.is_empty()))
        })?;
    }
    let link = |kind: &str, pid: &str| -> Result<String, Failure> {
        Ok(fs::read_link(format!("/proc/{pid}/ns/{kind}"))?
            .display()
            .to_string())
    };
    let (host, container) = (link("mnt", "self")?, link("mnt", &init.to_string())?);
    for (kind, wanted) in [
        ("prestart", &host),
        ("createRuntime", &host),
        ("poststart", &host),
        ("createContainer", &container),
        ("startContainer", &container),
    ] {
        assert_eq!(
            fs::read_to_string(out.join(format!("mnt-{kind}")))?.trim(),
            wanted,
            "{kind}"
        );
    }
    assert_eq!(
        fs::read_to_string(out.join("pid-createRuntime"))?.trim(),
        link("pid", "self")?
    );
    assert_eq!(
        fs::read_to_string(out.join("pid-startContainer"))?.trim(),
        link("pid", &init.to_string())?
    );
    assert_eq!(
        fs::read_to_string(out.join("name-startContainer"))?,
        "garboard\n"
    );
    Ok(())
}

fn a_hooks_environment_is_its_own(t: &Test) -> Done {
    let (mut bundle, out) = hooked(t, Bundle::sleeper(), |kind| {
        format!("busybox env | sort > $D/{kind}")
    })?;
    for kind in KINDS {
        bundle = bundle.set(
            &format!("/hooks/{kind}/0/env"),
            json!(["PATH=/bin:/usr/bin", "OWN=1"]),
        );
    }
    let bundle = bundle.set("/process/env/-", json!("LD_PRELOAD=/evil.so"));
    let c = t.container(&bundle)?;
    let mut command = c.run_command(&["--detach"]);
    command.env("OF_THE_CALLER", "1");
    t.runtime.finish(command)?.success()?;
    for kind in ["startContainer", "poststart"] {
        wait_until(kind, || {
            Ok(fs::read_to_string(out.join(kind)).is_ok_and(|text| text.contains("PWD")))
        })?;
    }
    c.delete_force()?;
    for kind in KINDS {
        let text = fs::read_to_string(out.join(kind))?;
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split('=').next())
            .filter(|name| !matches!(*name, "PWD" | "SHLVL" | "OLDPWD" | "_"))
            .collect();
        assert_eq!(names, ["OWN", "PATH"], "{kind}");
    }
    Ok(())
}

fn a_hook_without_env_gets_the_runtimes(t: &Test) -> Done {
    t.not_for_runc("1.1 runs createContainer hooks with the environment of the process")?;
    let (mut bundle, out) = hooked(t, Bundle::sleeper(), |kind| {
        format!("/bin/busybox env > $D/{kind}")
    })?;
    for kind in KINDS {
        bundle = bundle.without(&format!("/hooks/{kind}/0/env"));
    }
    let bundle = bundle.set("/process/env/-", json!("OF_THE_PROCESS=1"));
    let c = t.container(&bundle)?;
    let mut command = c.create_command(&[]);
    command.env("OF_THE_CALLER", "1");
    t.runtime.finish(command)?.success()?;
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let text = fs::read_to_string(out.join(kind))?;
        assert!(
            text.contains("OF_THE_CALLER=1") && !text.contains("OF_THE_PROCESS"),
            "{kind}: {text}"
        );
    }
    c.start()?;
    wait_until("startContainer", || {
        Ok(fs::read_to_string(out.join("startContainer")).is_ok_and(|text| text.contains("PWD")))
    })?;
    if !t.runtime.is_runc() {
        let text = fs::read_to_string(out.join("startContainer"))?;
        assert!(
            text.contains("OF_THE_PROCESS=1") && !text.contains("OF_THE_CALLER"),
            "startContainer: {text}"
        );
    }
    Ok(())
}

fn a_failing_hook_before_start_fails_create(t: &Test) -> Done {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let hook = script("echo out of hook; echo err of hook >&2; exit 3");
        let c = t.container(&Bundle::sleeper().set(&format!("/hooks/{kind}/-"), hook))?;
        let out = c
            .try_create()?
            .exits_with(1)?
            .fails_with("exit status 3")?
            .fails_with("err of hook")?;
        if !t.runtime.is_runc() {
            out.fails_with(&format!("{kind} hook #0"))?
                .fails_with("out of hook")?;
        }
        c.call("state", &[], &[])?.fails_with("does not exist")?;
    }
    Ok(())
}

fn a_failing_poststart_hook_ends_the_container(t: &Test) -> Done {
    t.not_for_runc("1.1 runs poststart hooks in create")?;
    let c =
        t.container(&Bundle::sleeper().set("/hooks/poststart/-", script("echo bad >&2; exit 1")))?;
    c.create()?;
    c.call("start", &[], &[])?
        .exits_with(1)?
        .fails_with("bad")?;
    c.await_status("stopped")?;
    c.delete()?;
    Ok(())
}

fn a_failing_poststop_hook_leaves_nothing(t: &Test) -> Done {
    t.not_for_runc("1.1 ends with 0")?;
    let c =
        t.container(&Bundle::sleeper().set("/hooks/poststop/-", script("echo bad >&2; exit 1")))?;
    c.run_detached()?;
    c.call("delete", &["--force"], &[])?.exits_with(1)?;
    c.call("state", &[], &[])?.fails_with("does not exist")?;
    Ok(())
}

fn a_hook_that_hangs_is_killed(t: &Test) -> Done {
    for kind in ["createRuntime", "createContainer"] {
        let mut hook = script("exec busybox sleep 1006");
        hook["timeout"] = json!(1);
        let c = t.container(&Bundle::sleeper().set(&format!("/hooks/{kind}/-"), hook))?;
        let since = std::time::Instant::now();
        c.try_create()?.exits_with(1)?;
        let took = since.elapsed().as_millis();
        assert!((900..6000).contains(&took), "{kind}: {took} ms");
        wait_until("the end of the hook", || {
            Ok(!processes::all().iter().any(|one| {
                one.state != 'Z' && processes::command_line(one.pid).contains("sleep 1006")
            }))
        })?;
    }
    Ok(())
}

/// Whatever the caller of the runtime left ignored, open or unusual.
fn hooks_start_like_a_new_program(t: &Test) -> Done {
    t.not_for_runc("1.1 hands on what its caller ignores")?;
    let text = |kind: &str| {
        format!(
            "( grep -E 'Sig(Blk|Ign)' /proc/self/status; [ -e /proc/self/fd/7 ] && echo leaked; umask ) > $D/{kind}.start 2>&1"
        )
    };
    let (bundle, out) = hooked(t, Bundle::args(["true"]), text)?;
    let c = t.container(&bundle)?;
    let strange = "trap '' HUP INT USR1; umask 027; exec 7</dev/null";
    let command = t.runtime.from_shell(strange, &c.run_command(&[]));
    t.runtime.finish(command)?.success()?;
    for kind in KINDS {
        let seen = std::fs::read_to_string(out.join(format!("{kind}.start")))?;
        let umask = if kind == "startContainer" {
            "0022"
        } else {
            "0027"
        };
        let clean = format!("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n{umask}\n");
        assert_eq!(seen, clean, "{kind}");
    }
    Ok(())
}

fn a_hook_that_is_not_there_is_refused(t: &Test) -> Done {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let c = t.container(&Bundle::sleeper().set(
            &format!("/hooks/{kind}/-"),
            json!({"path": "/no/such/hook"}),
        ))?;
        c.try_create()?.exits_with(1)?.fails_with("/no/such/hook")?;
    }
    Ok(())
}

fn a_hooks_arguments_are_as_given(t: &Test) -> Done {
    let out = t.scratch("hooks")?;
    let text = format!(
        "for a in \"$@\"; do echo \"[$a]\"; done > {}/args",
        out.display()
    );
    let hook = json!({"path": "/bin/busybox", "args": ["sh", "-c", text, "zero", "", "a b", "ü"], "env": []});
    let c = t.container(&Bundle::sleeper().set("/hooks/createRuntime/-", hook))?;
    c.create()?;
    assert_eq!(fs::read_to_string(out.join("args"))?, "[]\n[a b]\n[ü]\n");
    Ok(())
}

fn a_prestart_hook_can_enter_the_network_namespace(t: &Test) -> Done {
    let text = "pid=$(busybox sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter -t $pid -n ip link add dummy9 type dummy 2>/dev/null || nsenter -t $pid -n busybox ip link set lo mtu 1234";
    let mut hook = script(text);
    hook["env"] = json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    let c = t.container(&Bundle::shell("busybox ip link").set("/hooks/prestart/-", hook))?;
    let out = c.run_ok()?;
    assert!(
        out.stdout().contains("dummy9") || out.stdout().contains("mtu 1234"),
        "{}",
        out.stdout()
    );
    Ok(())
}

fn hooks_of_a_forced_delete_run_once(t: &Test) -> Done {
    let out = t.scratch("hooks")?;
    let hook = script(&format!("echo x >> {}/count", out.display()));
    let c = t.container(&Bundle::sleeper().set("/hooks/poststop/-", hook))?;
    c.run_detached()?;
    c.delete_force()?;
    c.delete_force()?;
    assert_eq!(fs::read_to_string(Path::new(&out).join("count"))?, "x\n");
    Ok(())
}
