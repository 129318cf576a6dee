//! What belongs to a process is, after each call of the library, what it was before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use libcontainer::{ExecProcess, ExecRequest, Runtime};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use serde_json::json;

use crate::bundles::{self, Place};
use crate::{null, quiet, sys};

/// The lines of /proc/self/status that a program sets for itself.
const STATUS: &[&str] = &[
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "Threads",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Cpus_allowed",
];

#[derive(Debug, PartialEq, Eq)]
struct Snapshot {
    status: Vec<String>,
    directory: PathBuf,
    root: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    /// Resource limits, cgroup, mounts, oom_score_adj, personality, as the files have them.
    files: Vec<String>,
    namespaces: Vec<PathBuf>,
}

impl Snapshot {
    fn take() -> Snapshot {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).expect(name);
        let link = |path: &str| fs::read_link(path).expect("link of /proc/self");
        let status = read("status");
        let wanted = |line: &&str| {
            let key = line.split(':').next();
            key.is_some_and(|key| STATUS.contains(&key))
        };
        Snapshot {
            status: status.lines().filter(wanted).map(str::to_owned).collect(),
            directory: link("/proc/self/cwd"),
            root: link("/proc/self/root"),
            environment: std::env::vars_os().collect(),
            files: [
                "limits",
                "cgroup",
                "mountinfo",
                "oom_score_adj",
                "personality",
                "comm",
            ]
            .map(read)
            .into(),
            namespaces: [
                "cgroup",
                "ipc",
                "mnt",
                "net",
                "pid_for_children",
                "time_for_children",
                "user",
                "uts",
            ]
            .map(|kind| link(&format!("/proc/self/ns/{kind}")))
            .into(),
        }
    }
}

/// Number and target of every open fd.
fn fds() -> BTreeMap<OsString, PathBuf> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc/self/fd");
    entries
        .map(|entry| entry.expect("entry").file_name())
        .filter_map(|name| {
            // The directory itself is closed when the list is made.
            let target = fs::read_link(Path::new("/proc/self/fd").join(&name)).ok()?;
            Some((name, target))
        })
        .filter(|(_, target)| !target.ends_with("fd"))
        .collect()
}

pub fn nothing_changes() {
    let place = Place::new("snapshot");
    // Nothing that a library could take for the usual.
    nix::unistd::chdir(place.path()).expect("chdir");
    umask(Mode::from_bits_truncate(0o031));
    sys::set_action(Signal::SIGUSR2, true);
    sys::set_action(Signal::SIGWINCH, false);
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR1);
    blocked.thread_block().expect("sigprocmask");
    let (before, open) = (Snapshot::take(), fds());
    whole_life(&place, &|call| {
        assert_eq!(Snapshot::take(), before, "after {call}");
    });
    assert_eq!(fds(), open, "fds");
    assert_eq!(bundles::left_cgroups(""), Vec::<PathBuf>::new());
}

/// Every call of the library; all handles are dropped at its end.
fn whole_life(place: &Place, check: &dyn Fn(&str)) {
    let runtime = Runtime::open(&place.root()).expect("state root");
    check("open");
    let sleeper = place.bundle(&place.config("life", &["sleep", "1000"]));
    let container = runtime.create("life", &sleeper, &quiet()).expect("create");
    check("create");
    container.start().expect("start");
    check("start");
    let process =
        json!({"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    let mut request = ExecRequest::new(ExecProcess::Document(process.to_string().into_bytes()));
    request.stdio = [Some(null()), Some(null()), Some(null())];
    let exec = container.exec(request).expect("exec");
    check("exec");
    exec.wait().expect("status");
    check("wait of an exec");
    container.state().expect("state");
    runtime.list().expect("list");
    container.processes().expect("processes");
    check("state, list and processes");
    container.kill(9, false).expect("kill");
    check("kill");
    container.wait().expect("status");
    check("wait");
    runtime.delete("life", false).expect("delete");
    check("delete");
    let short = place.bundle(&place.config("life", &["true"]));
    let container = runtime.run("life", &short, &quiet()).expect("run");
    check("run");
    container.wait().expect("status");
    runtime.delete("life", false).expect("delete");
    let wrong = place.bundle(&place.config("life", &["/no/such/program"]));
    runtime
        .run("life", &wrong, &quiet())
        .expect_err("no program");
    check("a run that fails");
}
