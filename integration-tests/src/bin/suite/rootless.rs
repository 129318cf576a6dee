//! The runtime called by an ordinary user: a user namespace of one id, or of ranges by newuidmap, no cgroup, a root directory of the user's own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::needs::Need;
use garboard_integration_tests::place::HostMount;
use garboard_integration_tests::probe::Report;
use garboard_integration_tests::seccomp::{allow_but, filters, number, outcomes};
use garboard_integration_tests::{cases, cgroups};
use nix::errno::Errno;
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        an_ordinary_user_runs_a_container_of_one_id,
        an_ordinary_user_maps_ranges_with_newuidmap,
        an_ordinary_user_goes_through_a_whole_life,
        an_ordinary_user_cannot_map_what_is_not_theirs,
        limits_without_a_delegated_cgroup_are_refused,
        a_delegated_cgroup_holds_the_users_container,
        an_ordinary_users_container_is_filtered,
    ]
}

const USER: u32 = 54321;

/// What `spec --rootless` makes of the default bundle, with these mappings.
fn bundle(args: &[&str], ids: &Value) -> Bundle {
    let bundle = Bundle::args(args.iter().copied())
        .without_namespace("network")
        .namespace("user", None);
    let bundle = bundle
        .set("/linux/uidMappings", ids.clone())
        .set("/linux/gidMappings", ids.clone())
        .without("/linux/resources")
        .set("/linux/cgroupsPath", Value::Null);
    let bundle = bundle
        .without_mount("/sys/fs/cgroup")
        .without_mount("/sys")
        .without_mount("/dev/pts");
    let bundle = bundle.mount(
        "devpts",
        "devpts",
        "/dev/pts",
        &[
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
        ],
    );
    bundle.mount(
        "none",
        "/sys",
        "/sys",
        &["rbind", "nosuid", "noexec", "nodev", "ro"],
    )
}

/// A user with a home and ranges of its own; the files say so in this case's mount namespace only.
struct User {
    _files: Vec<HostMount>,
}

fn user(t: &Test) -> Result<User, Failure> {
    if !Path::new("/usr/bin/newuidmap").is_file() {
        return Err(Failure::skip("needs newuidmap (package uidmap)"));
    }
    let mut files = Vec::new();
    let own = |name: &str| fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
    for (name, line) in [
        (
            "passwd",
            format!("rootless:x:{USER}:{USER}::/nonexistent:/bin/sh\n"),
        ),
        ("subuid", "rootless:100000:65536\n".to_owned()),
        ("subgid", "rootless:100000:65536\n".to_owned()),
    ] {
        let target = Path::new("/etc").join(name);
        if target.is_file() {
            let copy = t.dir.join(name);
            fs::write(&copy, own(name) + &line)?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o644))?;
            files.push(HostMount::over(&copy, &target)?);
        }
    }
    if files.len() < 3 {
        return Err(Failure::skip("needs /etc/subuid and /etc/subgid"));
    }
    for dir in [t.runtime.root.clone(), t.runtime.logs.clone()] {
        fs::create_dir_all(&dir)?;
        chown(&dir, Some(USER), Some(USER))?;
    }
    Ok(User { _files: files })
}

/// The rootfs belongs to the user, as an unpacked image would.
fn owned(c: &Container<'_>) -> Done {
    let status = Command::new("chown")
        .args(["-hR", &format!("{USER}:{USER}")])
        .arg(&c.bundle)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new("chown"))
    }
}

/// The command, called by the user.
fn by_user(command: &Command) -> Command {
    let mut outer = Command::new("/usr/bin/setpriv");
    outer.args([
        "--reuid",
        &USER.to_string(),
        "--regid",
        &USER.to_string(),
        "--clear-groups",
        "--inh-caps=-all",
        "--",
    ]);
    outer.arg(command.get_program()).args(command.get_args());
    outer
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .current_dir("/")
        .stdin(Stdio::null());
    outer
}

fn one_id() -> Value {
    json!([{"containerID": 0, "hostID": USER, "size": 1}])
}

fn ranges() -> Value {
    json!([{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 65536}])
}

fn an_ordinary_user_runs_a_container_of_one_id(t: &Test) -> Done {
    let _user = user(t)?;
    let c = t.container(&bundle(&["/bin/probe"], &one_id()))?;
    owned(&c)?;
    let seen = Report::parse(
        &t.runtime
            .finish(by_user(&c.run_command(&[])))?
            .success()?
            .stdout(),
    )?;
    assert_eq!(
        (seen.status("Uid"), seen.at("/setgroups")),
        ("0\t0\t0\t0", &json!("deny"))
    );
    let map: Vec<&str> = seen
        .at("/uid_map/0")
        .as_str()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    assert_eq!(map, ["0", &USER.to_string(), "1"]);
    assert_eq!(seen.extra_fds(), [""; 0]);
    Ok(())
}

fn an_ordinary_user_maps_ranges_with_newuidmap(t: &Test) -> Done {
    let _user = user(t)?;
    let bundle =
        bundle(&["/bin/probe"], &ranges()).set("/process/user", json!({"uid": 5, "gid": 6}));
    let c = t.container(&bundle)?;
    owned(&c)?;
    let seen = Report::parse(
        &t.runtime
            .finish(by_user(&c.run_command(&[])))?
            .success()?
            .stdout(),
    )?;
    assert_eq!(
        (seen.status("Uid"), seen.status("Gid")),
        ("5\t5\t5\t5", "6\t6\t6\t6")
    );
    assert_eq!(seen.at("/uid_map").as_array().map(Vec::len), Some(2));
    Ok(())
}

fn an_ordinary_user_goes_through_a_whole_life(t: &Test) -> Done {
    let _user = user(t)?;
    let c = t.container(&bundle(&["sleep", "1000"], &ranges()))?;
    owned(&c)?;
    let call = |verb: &str, flags: &[&str], rest: &[&str]| {
        t.runtime.finish(by_user(&c.command(verb, flags, rest)))
    };
    t.runtime
        .finish(by_user(&c.create_command(&[])))?
        .success()?;
    assert_eq!(
        call("state", &[], &[])?.success()?.json()?["status"],
        "created"
    );
    assert_eq!(
        call("exec", &[], &["echo", "early"])?.success()?.stdout(),
        "early\n"
    );
    call("start", &[], &[])?.success()?;
    assert_eq!(
        call("exec", &[], &["echo", "hi"])?.success()?.stdout(),
        "hi\n"
    );
    call("kill", &[], &["KILL"])?.success()?;
    c.await_status("stopped")?;
    call("delete", &[], &[])?.success()?;
    Ok(())
}

fn an_ordinary_user_cannot_map_what_is_not_theirs(t: &Test) -> Done {
    let _user = user(t)?;
    let c = t.container(&bundle(
        &["true"],
        &json!([{"containerID": 0, "hostID": 0, "size": 1}]),
    ))?;
    owned(&c)?;
    let out = t
        .runtime
        .finish(by_user(&c.run_command(&[])))?
        .exits_with(1)?;
    assert!(!out.stderr().is_empty());
    Ok(())
}

fn limits_without_a_delegated_cgroup_are_refused(t: &Test) -> Done {
    t.needs(&[Need::Root, Need::Cgroupfs])?;
    t.not_for_runc("it names neither key nor hint")?;
    let _user = user(t)?;
    let bundle = bundle(&["true"], &one_id()).set("/linux/resources/pids/limit", json!(7));
    let c = t.container(&bundle)?;
    owned(&c)?;
    let out = t
        .runtime
        .finish(by_user(&c.run_command(&[])))?
        .exits_with(1)?;
    let said = out.stderr();
    assert!(
        said.contains("config.json#/linux/") && said.contains("hint: "),
        "{said}"
    );
    assert_eq!(fs::read_dir(&t.runtime.root)?.count(), 0);
    Ok(())
}

/// What systemd does for a user's manager: a cgroup that is the user's, and the user's processes in one below it.
fn a_delegated_cgroup_holds_the_users_container(t: &Test) -> Done {
    t.needs(&[Need::V2, Need::Root, Need::Cgroupfs])?;
    let _user = user(t)?;
    let top = Path::new("/sys/fs/cgroup").join(&t.token);
    let session = top.join("session");
    fs::create_dir_all(&session)?;
    for dir in [&top, &session] {
        for file in [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "cgroup.threads",
        ] {
            chown(dir.join(file), Some(USER), Some(USER))?;
        }
    }
    let limited = {
        let every: Vec<_> = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")?
            .split_whitespace()
            .map(|name| format!("+{name}"))
            .collect();
        let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", every.join(" "));
        fs::read_to_string(top.join("cgroup.controllers"))?.contains("pids")
    };
    let mut bundle = bundle(&["sleep", "1000"], &ranges()).namespace("cgroup", None);
    if limited {
        bundle = bundle.set("/linux/resources/pids/limit", json!(7));
    }
    let c = t.container(&bundle)?;
    owned(&c)?;
    // No cgroupsPath: beside the caller's own cgroup.
    let call = |command: &Command| {
        let enter = format!("echo $$ > {}/cgroup.procs", session.display());
        let mut shell = t.runtime.from_shell(&enter, &by_user(command));
        shell
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        t.runtime.finish(shell)
    };
    call(&c.run_command(&["--detach"]))?.success()?;
    let dir = top.join(&c.id);
    assert_eq!(cgroups::processes(&dir).len(), 1, "{dir:?}");
    assert_eq!(fs::metadata(&dir)?.uid(), USER);
    if limited {
        assert_eq!(fs::read_to_string(dir.join("pids.max"))?, "7\n");
    }
    let own = call(&c.command("exec", &[], &["tail", "-n1", "/proc/self/cgroup"]))?.success()?;
    assert_eq!(own.stdout(), "0::/\n");
    let listed = call(&c.command("ps", &["--format", "json"], &[]))?.success()?;
    assert_eq!(listed.json()?.as_array().map(Vec::len), Some(1));
    call(&c.command("delete", &["--force"], &[]))?.success()?;
    assert!(!dir.is_dir());
    fs::remove_dir(&session)?;
    fs::remove_dir(&top)?;
    Ok(())
}

/// With and without no-new-privileges, as the user namespace's root and as another user of it, in init and in exec.
fn an_ordinary_users_container_is_filtered(t: &Test) -> Done {
    let _user = user(t)?;
    let mount = number("mount").to_string();
    for quiet in [true, false] {
        for user in [0, 5] {
            let bundle = bundle(&["sleep", "1000"], &ranges())
                .set("/process/user", json!({"uid": user, "gid": user}))
                .set("/process/noNewPrivileges", json!(quiet))
                .set(
                    "/linux/seccomp",
                    allow_but(&[(&["mount"], "SCMP_ACT_ERRNO")]),
                );
            let c = t.container(&bundle)?;
            owned(&c)?;
            let call =
                |verb: &str, rest: &[&str]| t.runtime.finish(by_user(&c.command(verb, &[], rest)));
            t.runtime
                .finish(by_user(&c.create_command(&[])))?
                .success()?;
            let pid = call("state", &[])?.success()?.json()?["pid"].as_i64();
            call("start", &[])?.success()?;
            let denied = call("exec", &["/bin/probe", "calls", &mount])?.success()?;
            assert_eq!(outcomes(&denied)?, [Errno::EPERM as i32], "{quiet}, {user}");
            let init = i32::try_from(pid.unwrap_or(0))?;
            wait_until("the filter", || Ok(filters(init)? == ("2".to_owned(), 1)))?;
            t.runtime
                .finish(by_user(&c.command("delete", &["--force"], &[])))?
                .success()?;
        }
    }
    Ok(())
}
