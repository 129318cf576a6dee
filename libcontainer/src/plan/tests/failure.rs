//! The texts of failed steps: the phrases that engines search for, and what people need besides.

use stage::message::{Call, Failure};

use super::fixture::*;
use crate::config::*;
use crate::error::{Errno, ErrorKind, Refused};
use crate::plan::*;

/// The plan's first step of that name.
fn step(plan: &LaunchPlan, name: &str) -> u32 {
    let index = plan
        .steps
        .iter()
        .position(|planned| planned.step.name() == name)
        .expect("in the plan");
    u32::try_from(index).expect("a small plan")
}

fn failed(plan: &LaunchPlan, name: &str, call: Call, errno: i32, detail: &str) -> String {
    let failure = Failure {
        step: step(plan, name),
        ..Failure::new(call, errno).about(detail.as_bytes())
    };
    let error = render(plan, &failure);
    assert_eq!(error.kind(), ErrorKind::Refused);
    let inner = error.downcast_ref::<StepFailed>().expect("a failed step");
    assert_eq!(
        (inner.step, inner.refused.errno),
        (plan.steps[failure.step as usize].step.name(), Errno(errno))
    );
    error.to_string()
}

fn plan_of(change: impl FnOnce(&mut Config)) -> LaunchPlan {
    let mut config = default_config();
    change(&mut config);
    LaunchPlan::create(&config, &request(), &facts())
}

const CREATE: &str = "unable to start container process: error during container init: ";

#[test]
fn the_phrases_of_a_missing_program() {
    let bare = plan_of(|config| config.process.args = strings(&["x"]));
    let path = plan_of(|config| config.process.args = strings(&["/x"]));
    let at = "(config.json#/process/args/0)";
    for (plan, call, errno, text) in [
        (
            &bare,
            Call::Check,
            2,
            r#"exec: "x": executable file not found in $PATH"#,
        ),
        (
            &path,
            Call::Stat,
            2,
            r#"exec: "/x": stat /x: no such file or directory"#,
        ),
        (&path, Call::Access, 13, r#"exec: "/x": permission denied"#),
        (
            &path,
            Call::Access,
            21,
            r#"exec: "/x": is a directory: permission denied"#,
        ),
    ] {
        assert_eq!(
            failed(plan, "FindProgram", call, errno, ""),
            format!("{CREATE}{text} {at}")
        );
    }
}

#[test]
fn exec_has_another_beginning() {
    let (container, mut process) = (process(), process());
    process.cwd = path("/y");
    let target = ExecTarget {
        id: "c1",
        namespaces: 0x2_0000,
        container: &container,
        keyring: false,
        filter: None,
    };
    let plan = LaunchPlan::exec(&process, target, &exec_request(), facts().process);
    assert_eq!(
        failed(&plan, "Cwd", Call::Open, 2, ""),
        "unable to start container process: chdir to cwd (\"/y\") set in config.json failed: no such file or directory (process.json#/cwd)"
    );
}

#[test]
fn the_phrases_of_mounts() {
    let plan = plan_of(|config| {
        let mut mount = bind(7, "/srv/data", "/etc/passwd", 0x3, 0);
        mount.propagation = vec![1 << 18];
        config.mounts.push(mount);
    });
    // The first Bind is the alternative of the cgroup mount; the one we mean stands behind it.
    let index = plan
        .steps
        .iter()
        .position(|planned| planned.at.as_str().ends_with("/mounts/7"))
        .expect("planned");
    let failure = Failure {
        step: index as u32,
        ..Failure::new(Call::MoveMount, 20)
    };
    assert_eq!(
        render(&plan, &failure).to_string(),
        format!(
            "{CREATE}config.json#/mounts/7: error mounting \"/srv/data\" to rootfs at \"/etc/passwd\": move_mount: not a directory"
        )
    );
    let failure = Failure {
        step: index as u32,
        ..Failure::new(Call::MountSetattr, 1)
    };
    let text = render(&plan, &failure).to_string();
    assert!(
        text.contains(
            "mount_setattr(ro|nosuid|dev|exec|symfollow|private): operation not permitted (hint: "
        ),
        "{text}"
    );
    let source = plan.handed.iter().position(
        |source| matches!(source, HandedSource::Bind { path, .. } if path.ends_with("data")),
    );
    assert_eq!(
        render_source(
            &plan,
            source.expect("handed"),
            &Refused::new("open_tree(clone)", "/srv/data", Errno(2))
        )
        .to_string(),
        format!(
            "{CREATE}config.json#/mounts/7: failed to fulfil mount request: open /srv/data: no such file or directory"
        )
    );
    let failure = Failure {
        step: step(&plan, "MountNew") + 1,
        ..Failure::new(Call::Mount, 22)
    };
    assert_eq!(
        render(&plan, &failure).to_string(),
        format!(
            "{CREATE}config.json#/mounts/1: error mounting \"tmpfs\" to rootfs at \"/dev\": mount(tmpfs, tmpfs, nosuid|strictatime, mode=755,size=65536k): invalid argument"
        )
    );
}

#[test]
fn hooks_tell_how_they_ended() {
    let plan = plan_of(|config| config.hooks.create_container = vec![hook("/bin/h")]);
    let begin = format!("{CREATE}error running createContainer hook #0: ");
    let end = "(config.json#/hooks/createContainer/0)";
    for (call, errno, text) in [
        (
            Call::HookExit,
            1 << 8,
            "exit status 1, stdout and stderr: oh no",
        ),
        (Call::HookExit, 9, "signal 9, stdout and stderr: oh no"),
        (
            Call::HookExit,
            -1,
            "hook ran past its timeout, stdout and stderr: oh no",
        ),
        // Not the words that engines read as "command not found".
        (Call::Clone3, 2, "clone3: ENOENT"),
    ] {
        assert_eq!(
            failed(&plan, "Hook", call, errno, "oh no\n"),
            format!("{begin}{text} {end}")
        );
    }
}

#[test]
fn the_rest_names_pointer_call_path_and_errno() {
    let plan = plan_of(|config| {
        config.process.cwd = path("/y");
        config.process.apparmor_profile = Some(c"web".to_owned());
        config.sysctl = vec![Sysctl {
            key: "net.x".to_owned(),
            path: c"net/x".to_owned(),
            value: c"7".to_owned(),
            scope: SysctlScope::Network,
        }];
    });
    for (name, call, errno, text) in [
        (
            "MakeCwd",
            Call::Open,
            20,
            "mkdir /y: not a directory (config.json#/process/cwd)",
        ),
        (
            "Sysctl",
            Call::Open,
            2,
            "config.json#/linux/sysctl/net.x: openat2 on /proc/sys/net/x: ENOENT",
        ),
        (
            "Sysctl",
            Call::Write,
            22,
            "config.json#/linux/sysctl/net.x: write(\"7\") on /proc/sys/net/x: invalid argument",
        ),
        (
            "ExecLabel",
            Call::Write,
            2,
            "unable to apply apparmor profile: config.json#/process/apparmorProfile: web: write `/proc/self/attr/apparmor/exec`: ENOENT",
        ),
        (
            "Device",
            Call::Mknod,
            30,
            "config.json#/linux/devices: mknodat(c 1:3, 0666) on /dev/null: read-only file system",
        ),
        (
            "Hostname",
            Call::Sethostname,
            22,
            "config.json#/hostname: sethostname(garboard): invalid argument",
        ),
    ] {
        assert_eq!(
            failed(&plan, name, call, errno, ""),
            format!("{CREATE}{text}")
        );
    }
}

#[test]
fn what_makes_no_sense_is_our_bug() {
    let plan = plan_of(|_| {});
    for failure in [
        Failure {
            step: 10_000,
            ..Failure::new(Call::Open, 2)
        },
        Failure::new(Call::Protocol, 71),
    ] {
        assert_eq!(render(&plan, &failure).kind(), ErrorKind::Internal);
    }
    let keyring = Failure {
        step: step(&plan, "SessionKeyring"),
        ..Failure::new(Call::Keyctl, 38)
    };
    assert_eq!(
        render_note(&plan, &keyring),
        "config.json#: keyctl: function not implemented; went on without"
    );
}
