//! The rendered text of every error type, and the fields that an embedder reads instead of it. The stage's errors, whose texts depend on the
//! step, are in `plan/tests/failure.rs`; those of the configuration in `config/parse/tests/broken.rs`.

use std::time::Duration;

use super::*;
use crate::cgroup::CreateError;
use crate::config::{BadPath, ContainerPath};
use crate::hooks::{HookEnd, HookKind};
use crate::state::{ContainerId, Event, Status};

const ENOENT: rustix::io::Errno = rustix::io::Errno::NOENT;
const EPERM: rustix::io::Errno = rustix::io::Errno::PERM;

/// Kind, text, pointers, errno, call, path.
fn shown(error: &Error) -> String {
    let pointers: Vec<_> = error.pointers();
    let pointers: Vec<_> = pointers.iter().map(Pointer::as_str).collect();
    format!(
        "{:?}\n{error}\n{} / {} / {} / {}",
        error.kind(),
        pointers.join(" "),
        error.errno().map_or(0, |errno| errno.0),
        error.call().unwrap_or_default(),
        error.path().unwrap_or(Path::new("")).display()
    )
}

fn hook(failure: HookFailure) -> Error {
    let kind = HookKind::CreateRuntime;
    let index = 2;
    Error::new(
        ErrorKind::Refused,
        HookError {
            kind,
            index,
            failure,
        },
    )
}

#[test]
fn refusals_of_the_kernel() {
    let at = Pointer::CONFIG.key("mounts").index(3);
    for (error, text) in [
        (
            Refused::new("open", "/a/b", ENOENT),
            "Refused\nopen on /a/b: no such file or directory\n / 2 / open / /a/b",
        ),
        (
            Refused::call("pidfd_open(7)", rustix::io::Errno::MFILE),
            "Refused\npidfd_open(7): too many open files\n / 24 / pidfd_open(7) / ",
        ),
        (
            Refused::new("mount_setattr(ro)", "/srv", EPERM).at(at),
            "Refused\nconfig.json#/mounts/3: mount_setattr(ro) on /srv: operation not permitted (hint: the mount's flags may be locked by a \
             parent user namespace: keep its nosuid, nodev and noexec; or an outer seccomp profile denies mount_setattr)\n\
             config.json#/mounts/3 / 1 / mount_setattr(ro) / /srv",
        ),
    ] {
        assert_eq!(shown(&error.into()), text);
    }
}

#[test]
fn failures_of_hooks() {
    let (stdout, stderr) = (b"out".to_vec(), b"bad\n".to_vec());
    let ended = |end| HookFailure::Ended {
        end,
        stdout: stdout.clone(),
        stderr: stderr.clone(),
    };
    let path = "/no/hook".to_owned();
    for (failure, text, fields) in [
        (
            ended(HookEnd::Exited(3)),
            "exit status 3, stdout: out, stderr: bad\n",
            "0 /  / ",
        ),
        (
            ended(HookEnd::Killed(9)),
            "signal 9, stdout: out, stderr: bad\n",
            "0 /  / ",
        ),
        (
            ended(HookEnd::Unknown),
            "exit status unknown: the host process reaps children that are not its own, stdout: out, stderr: bad\n",
            "0 /  / ",
        ),
        (
            HookFailure::Timeout {
                limit: Duration::from_secs(2),
            },
            "hook ran past specified timeout of 2.0s",
            "0 /  / ",
        ),
        (
            HookFailure::Spawn {
                path,
                errno: ENOENT,
            },
            "cannot execute /no/hook: ENOENT",
            "2 /  / /no/hook",
        ),
        (
            HookFailure::Kernel {
                call: "pipe2",
                errno: Errno(24),
            },
            "pipe2: too many open files",
            "24 / pipe2 / ",
        ),
    ] {
        assert_eq!(
            shown(&hook(failure)),
            format!(
                "Refused\nerror running createRuntime hook #2: {text}\nconfig.json#/hooks/createRuntime/2 / {fields}"
            )
        );
    }
}

#[test]
fn errors_of_cgroups() {
    let path = || PathBuf::from("/sys/fs/cgroup/c1");
    for (error, text) in [
        (
            CreateError::Refused(Refused::new("mkdir(cgroup)", path(), EPERM)),
            "Refused\nmkdir(cgroup) on /sys/fs/cgroup/c1: operation not permitted (hint: this user may not make cgroups there: have a cgroup delegated (systemd: Delegate=yes), or ask for no limits)\n / 1 / mkdir(cgroup) / /sys/fs/cgroup/c1",
        ),
        (
            CreateError::NotEmpty {
                path: path(),
                processes: 2,
            },
            "AlreadyExists\nconfig.json#/linux/cgroupsPath: container's cgroup is not empty: 2 process(es) found in /sys/fs/cgroup/c1 (hint: another container may run there; each needs a path of its own)\nconfig.json#/linux/cgroupsPath / 0 /  / /sys/fs/cgroup/c1",
        ),
        (
            CreateError::HasChildren { path: path() },
            "AlreadyExists\nconfig.json#/linux/cgroupsPath: container's cgroup is not empty: /sys/fs/cgroup/c1 has sub-cgroups (hint: another container may run there; each needs a path of its own)\nconfig.json#/linux/cgroupsPath / 0 /  / /sys/fs/cgroup/c1",
        ),
        (
            CreateError::NotCgroup { path: path() },
            "Unsupported\nconfig.json#/linux/cgroupsPath: /sys/fs/cgroup/c1 is not a cgroup filesystem\nconfig.json#/linux/cgroupsPath / 0 /  / /sys/fs/cgroup/c1",
        ),
        (
            CreateError::NotDomain {
                path: path(),
                kind: "threaded".to_owned(),
            },
            "Unsupported\nconfig.json#/linux/cgroupsPath: cannot enter cgroupv2 /sys/fs/cgroup/c1: its cgroup.type is \"threaded\" (hint: a cgroup above it is threaded; choose a path where every cgroup.type is \"domain\")\nconfig.json#/linux/cgroupsPath / 0 /  / /sys/fs/cgroup/c1",
        ),
    ] {
        assert_eq!(shown(&error.into()), text);
    }
    let survivors = Survivors {
        path: path(),
        processes: vec![(7, "sh".to_owned()), (8, "cat".to_owned())],
    };
    assert_eq!(
        shown(&Error::new(ErrorKind::Internal, survivors)),
        "Internal\ncgroup /sys/fs/cgroup/c1 still has processes: 7 (sh), 8 (cat)\n / 0 /  / /sys/fs/cgroup/c1"
    );
}

#[test]
fn errors_of_requests_and_statuses() {
    let invalid = ContainerId::parse("a/b").expect_err("a slash");
    assert_eq!(
        shown(&invalid.into()),
        "InvalidConfig\ninvalid container ID format\n / 0 /  / "
    );
    for (status, event, text) in [
        (
            Status::Stopped,
            Event::Start,
            "cannot start a container that has stopped",
        ),
        (
            Status::Running,
            Event::Start,
            "cannot start an already running container",
        ),
        (Status::Stopped, Event::Pause, "container not running"),
        (Status::Running, Event::Resume, "container not paused"),
        (
            Status::Running,
            Event::Ready,
            "Ready of a container that is running",
        ),
        (
            Status::Stopped,
            Event::Exit,
            "Exit of a container that is stopped",
        ),
    ] {
        let error = status.after(event).expect_err("not possible");
        assert_eq!(
            shown(&error.into()),
            format!("WrongStatus\n{text}\n / 0 /  / ")
        );
    }
}

#[test]
fn errors_of_paths_and_configurations() {
    for (path, text) in [
        ("", "the path is empty"),
        ("a", "the path is not absolute"),
        ("/\0", "the path contains a NUL byte"),
        (&*"/a".repeat(2048), "the path is longer than 4095 bytes"),
    ] {
        let error: BadPath = ContainerPath::parse(path).expect_err("no path");
        assert_eq!(error.to_string(), text);
    }
    let errors = ConfigErrors::one(Pointer::CONFIG.key("hostname"), "too long");
    let error = Error::from(errors);
    assert_eq!(
        shown(&error),
        "InvalidConfig\nconfig.json#/hostname: too long\nconfig.json#/hostname / 0 /  / "
    );
    assert_eq!(error.config_errors()[0].message, "too long");
}
