//! A filter that notifies: the agent gets its listener before `start`, in one message, and no call of the runtime's own waits for it in vain.

use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::needs::Need;
use garboard_integration_tests::place::patience;
use garboard_integration_tests::seccomp::{Agent, allow_but, filters, number, outcomes, profile};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        the_agent_is_told_once_and_before_start,
        the_agent_is_told_of_exec,
        the_agent_decides,
        calls_of_the_runtimes_own_do_not_deadlock,
        every_call_can_be_notified,
        a_mapped_container_notifies,
        an_agent_that_is_not_there_is_an_error,
        an_agent_that_refuses_is_an_error,
        an_agent_that_never_accepts_is_an_error_in_time,
        an_agent_that_closes_at_once_leaves_calls_unknown,
        an_exec_without_its_agent_is_an_error,
        a_profile_that_notifies_names_its_agent,
        an_agent_for_nothing_is_not_called,
        every_flag_goes_with_a_listener,
    ]
}

const SECCOMP: &str = "/linux/seccomp";
const NOTIFY: &str = "SCMP_ACT_NOTIFY";

fn notifying(seccomp: Value, agent: &Path) -> Value {
    let mut seccomp = seccomp;
    seccomp["listenerPath"] = json!(agent);
    seccomp
}

fn of_mkdir(agent: &Path) -> Value {
    notifying(allow_but(&[(&["mkdir", "mkdirat"], NOTIFY)]), agent)
}

/// The only message, once it is there.
fn only(agent: &Agent, number: usize) -> Result<Value, Failure> {
    wait_until("the agent's message", || Ok(agent.given()?.len() >= number))?;
    let given = agent.given()?;
    assert_eq!(given.len(), number, "one message a process: {given:#?}");
    let last = given.last().ok_or_else(|| Failure::new("no message"))?;
    assert_eq!(last.descriptors, 1);
    assert!(last.rest.is_empty(), "{last:?}");
    Ok(last.document.clone())
}

fn the_agent_is_told_once_and_before_start(t: &Test) -> Done {
    for quiet in [true, false] {
        let agent = Agent::listen(&t.dir.join(format!("agent-{quiet}")), &[])?;
        let mut seccomp = of_mkdir(&agent.path);
        seccomp["listenerMetadata"] = json!("for the agent");
        let bundle = Bundle::sleeper()
            .set("/process/noNewPrivileges", json!(quiet))
            .set("/annotations", json!({"a.key": "a value"}))
            .set(SECCOMP, seccomp);
        let c = t.container(&bundle)?;
        c.create()?;
        let (document, pid) = (only(&agent, 1)?, c.pid()?);
        let version = document["ociVersion"].clone();
        assert!(
            version
                .as_str()
                .is_some_and(|version| version.starts_with("1.")),
            "{version}"
        );
        let wanted = json!({
            "ociVersion": version, "fds": ["seccompFd"], "pid": pid, "metadata": "for the agent",
            "state": {"ociVersion": version, "id": c.id, "status": "creating", "pid": pid, "bundle": c.bundle, "annotations": {"a.key": "a value"}},
        });
        assert_eq!(document, wanted);
        if !t.runtime.is_runc() {
            // runc without no-new-privileges and with it loads at different times.
            assert_eq!(filters(pid)?, ("2".to_owned(), 1));
        }
        c.start()?;
        assert_eq!(agent.given()?.len(), 1);
        c.delete_force()?;
    }
    Ok(())
}

fn the_agent_is_told_of_exec(t: &Test) -> Done {
    let agent = Agent::listen(&t.dir.join("agent"), &[])?;
    // Without metadata and annotations.
    let c = t.container(&Bundle::sleeper().set(SECCOMP, of_mkdir(&agent.path)))?;
    c.run_detached()?;
    let init = c.pid()?;
    assert!(only(&agent, 1)?.get("metadata").is_none());
    c.call(
        "exec",
        &[
            "--detach",
            "--pid-file",
            &t.dir.join("pid").to_string_lossy(),
        ],
        &["sleep", "1000"],
    )?
    .success()?;
    let pid: i32 = std::fs::read_to_string(t.dir.join("pid"))?.parse()?;
    let document = only(&agent, 2)?;
    assert_eq!(document["pid"], pid);
    let state = &document["state"];
    assert_eq!(
        (&state["status"], &state["pid"], &state["id"]),
        (&json!("running"), &json!(init), &json!(c.id))
    );
    assert_eq!(filters(pid)?, ("2".to_owned(), 1));
    Ok(())
}

fn the_agent_decides(t: &Test) -> Done {
    let agent = Agent::listen(&t.dir.join("agent"), &[("mkdirat", 93)])?;
    let specs = ["mkdirat", "rmdir", "mkdir"].map(|name| format!("{},0", number(name)));
    let args = ["/bin/probe", "calls"]
        .into_iter()
        .chain(specs.iter().map(String::as_str));
    let c = t.container(&Bundle::args(args).set(SECCOMP, of_mkdir(&agent.path)))?;
    // The second is not asked about; the third goes on and is refused by the kernel.
    let wanted = [93, Errno::EFAULT as i32, Errno::EFAULT as i32];
    assert_eq!(outcomes(&c.run_ok()?)?, wanted);
    assert!(agent.was_asked("mkdir") && agent.was_asked("mkdirat") && !agent.was_asked("rmdir"));
    Ok(())
}

/// create, start, exec, and what they print.
fn whole_life(t: &Test, seccomp: &Value, what: &str) -> Done {
    for quiet in [true, false] {
        let bundle = Bundle::shell("echo here; sleep 1000")
            .set("/process/noNewPrivileges", json!(quiet))
            .set(SECCOMP, seccomp.clone());
        let c = t.container(&bundle)?;
        let out = c.create()?;
        c.start()?;
        wait_until("the program", || Ok(out.stdout() == "here\n"))
            .map_err(|failure| Failure::new(format!("{what}: {failure}")))?;
        assert_eq!(
            c.exec(&["echo", "there"])?.success()?.stdout(),
            "there\n",
            "{what}"
        );
        c.delete_force()?;
    }
    Ok(())
}

fn calls_of_the_runtimes_own_do_not_deadlock(t: &Test) -> Done {
    t.not_for_runc("takes no profile that notifies write, and sends the listener by a call that may be notified")?;
    for name in [
        "sendmsg", "recvmsg", "read", "write", "close", "execve", "dup2", "fcntl", "poll",
        "seccomp", "capset",
    ] {
        let agent = Agent::listen(&t.dir.join(format!("agent-{name}")), &[])?;
        let seccomp = notifying(allow_but(&[(&[name], NOTIFY)]), &agent.path);
        whole_life(t, &seccomp, name)?;
        // The agent reads when it comes to it.
        wait_until(name, || Ok(agent.given()?.len() >= 4))?;
        assert_eq!(agent.given()?.len(), 4, "{name}");
        if ["execve", "write"].contains(&name) {
            assert!(agent.was_asked(name), "{name}");
        }
    }
    Ok(())
}

fn every_call_can_be_notified(t: &Test) -> Done {
    t.not_for_runc("takes no profile whose default is to notify")?;
    let agent = Agent::listen(&t.dir.join("agent"), &[])?;
    whole_life(
        t,
        &notifying(profile(NOTIFY, &[]), &agent.path),
        "every call",
    )?;
    assert!(agent.was_asked("execve") && agent.was_asked("write"));
    Ok(())
}

/// In a user namespace that is new, by a user of it: loaded with that namespace's rights.
fn a_mapped_container_notifies(t: &Test) -> Done {
    for user in [0, 1000] {
        for quiet in [true, false] {
            let agent = Agent::listen(
                &t.dir.join(format!("agent-{user}-{quiet}")),
                &[("mkdirat", 93)],
            )?;
            let spec = format!("{},0", number("mkdirat"));
            let bundle = Bundle::args(["/bin/probe", "calls", &spec])
                .user_namespace(200_000, 65536)
                .set("/process/user", json!({"uid": user, "gid": user}))
                .set("/process/noNewPrivileges", json!(quiet))
                .set(SECCOMP, of_mkdir(&agent.path));
            let c = t.container(&bundle)?;
            let out = c.run_ok()?;
            assert_eq!(outcomes(&out)?, [93], "{user}, {quiet}");
            only(&agent, 1)?;
        }
    }
    Ok(())
}

const POINTER: &str = "config.json#/linux/seccomp/listenerPath";

/// create and run are refused with a text, and nothing is there afterwards.
fn refused(t: &Test, c: &Container<'_>, text: &str) -> Done {
    for verb in ["create", "run"] {
        let out = t.runtime.finish(c.create_or_run(verb))?;
        if t.runtime.is_runc() {
            assert_ne!(out.code(), 0);
        } else {
            out.fails_with(POINTER)?.fails_with(text)?;
        }
        assert_ne!(c.call("state", &[], &[])?.code(), 0, "it does not exist");
    }
    Ok(())
}

fn an_agent_that_is_not_there_is_an_error(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper().set(SECCOMP, of_mkdir(&t.dir.join("nobody"))))?;
    refused(t, &c, "no such file or directory")?;
    // A file that is no socket.
    let c = t.container(&Bundle::sleeper().set(SECCOMP, of_mkdir(Path::new("/etc/passwd"))))?;
    refused(t, &c, "connection refused")
}

fn an_agent_that_refuses_is_an_error(t: &Test) -> Done {
    let path = t.dir.join("gone");
    drop(UnixListener::bind(&path)?);
    let c = t.container(&Bundle::sleeper().set(SECCOMP, of_mkdir(&path)))?;
    refused(t, &c, "connection refused")
}

fn an_agent_that_never_accepts_is_an_error_in_time(t: &Test) -> Done {
    t.not_for_runc("waits for ever")?;
    let path = t.dir.join("deaf");
    let deaf = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(deaf.as_raw_fd(), &UnixAddr::new(&path)?)?;
    listen(&deaf, Backlog::new(0)?)?;
    // The only place in its queue.
    let _first = UnixStream::connect(&path)?;
    let c = t.container(&Bundle::sleeper().set(SECCOMP, of_mkdir(&path)))?;
    let since = Instant::now();
    c.try_create()?.fails_with(POINTER)?;
    assert!(since.elapsed() < patience(Duration::from_secs(15)));
    assert_ne!(c.call("state", &[], &[])?.code(), 0);
    Ok(())
}

/// The kernel says so to the calls of a listener that nobody has any more (seccomp_unotify(2)): ENOSYS.
fn an_agent_that_closes_at_once_leaves_calls_unknown(t: &Test) -> Done {
    let path = t.dir.join("hasty");
    let socket = UnixListener::bind(&path)?;
    let thread = std::thread::spawn(move || socket.accept().map(drop));
    let spec = format!("{},0", number("mkdirat"));
    let bundle = Bundle::args(["/bin/probe", "calls", &spec]).set(SECCOMP, of_mkdir(&path));
    let c = t.container(&bundle)?;
    let out = c.run()?;
    thread.join().map_err(|_| Failure::new("the agent"))??;
    // Either it closed before the message came, or after it.
    if out.code() == 0 {
        assert_eq!(outcomes(&out)?, [Errno::ENOSYS as i32]);
    } else if !t.runtime.is_runc() {
        out.fails_with(POINTER)?;
    }
    Ok(())
}

fn an_exec_without_its_agent_is_an_error(t: &Test) -> Done {
    let path = t.dir.join("agent");
    let agent = Agent::listen(&path, &[])?;
    let c = t.container(&Bundle::sleeper().set(SECCOMP, of_mkdir(&path)))?;
    c.run_detached()?;
    drop(agent);
    let out = c.exec(&["true"])?;
    if t.runtime.is_runc() {
        assert_ne!(out.code(), 0);
    } else {
        out.fails_with(POINTER)?.fails_with("connection refused")?;
    }
    assert_eq!(c.status()?, "running");
    Ok(())
}

fn a_profile_that_notifies_names_its_agent(t: &Test) -> Done {
    for path in [Value::Null, json!(""), json!("relative/path")] {
        let mut seccomp = allow_but(&[(&["mkdir"], NOTIFY)]);
        if !path.is_null() {
            seccomp["listenerPath"] = path;
        }
        let c = t.container(&Bundle::sleeper().set(SECCOMP, seccomp))?;
        refused(t, &c, "listenerPath")?;
    }
    Ok(())
}

/// Nothing notifies: nobody is asked for.
fn an_agent_for_nothing_is_not_called(t: &Test) -> Done {
    let seccomp = notifying(
        allow_but(&[(&["mkdir"], "SCMP_ACT_ERRNO")]),
        &t.dir.join("nobody"),
    );
    t.container(&Bundle::args(["true"]).set(SECCOMP, seccomp))?
        .run_ok()?;
    Ok(())
}

fn every_flag_goes_with_a_listener(t: &Test) -> Done {
    t.not_for_runc("1.1 does not know them")?;
    t.needs(&[Need::Kernel(5, 19)])?;
    let agent = Agent::listen(&t.dir.join("agent"), &[("mkdirat", 93)])?;
    let mut seccomp = of_mkdir(&agent.path);
    seccomp["flags"] = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    ]);
    let spec = format!("{},0", number("mkdirat"));
    let c = t.container(&Bundle::args(["/bin/probe", "calls", &spec]).set(SECCOMP, seccomp))?;
    assert_eq!(outcomes(&c.run_ok()?)?, [93]);
    Ok(())
}
