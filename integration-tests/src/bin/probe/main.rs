//! Prints, as one line of JSON, everything a process can know of the box it is in. Runs as the container's own process.
//!
//! It has no Rust runtime around `main`: that would ignore SIGPIPE and catch SIGSEGV, and the report is about what the *container runtime* left.
//! With an argument `sleep` it stays after the report until it is killed; with `exit N` it exits with N. Instead of the report, some other
//! words make it use up what a limit bounds, or make system calls by number: see `load.rs` and `calls.rs`.

#![no_main]

mod calls;
mod load;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use garboard_integration_tests::sys;
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Map, Value, json};

// SAFETY: the C runtime calls `main` once, and no other function of this program has that name.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const std::ffi::c_char) -> i32 {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(status) = load::act(&args).or_else(|| calls::act(&args)) {
        return status;
    }
    // The descriptors first: everything else opens some.
    let descriptors = descriptors();
    let mut report = json!({
        "fds": descriptors,
        "pid": std::process::id(),
        "ppid": nix::unistd::getppid().as_raw(),
        "sid": nix::unistd::getsid(None).map_or(-1, nix::unistd::Pid::as_raw),
        "pgid": nix::unistd::getpgrp().as_raw(),
        "args": std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "env": environment(),
        "cwd": std::env::current_dir().map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_else(|e| format!("error: {e}")),
        "status": status(),
        "hostname": trimmed("/proc/sys/kernel/hostname"),
        "domainname": trimmed("/proc/sys/kernel/domainname"),
        "cgroup": lines("/proc/self/cgroup"),
        "mountinfo": lines("/proc/self/mountinfo"),
        "oom_score_adj": trimmed("/proc/self/oom_score_adj"),
        "uid_map": lines("/proc/self/uid_map"),
        "gid_map": lines("/proc/self/gid_map"),
        "setgroups": trimmed("/proc/self/setgroups"),
        "timens_offsets": lines("/proc/self/timens_offsets"),
        "affinity": affinity(),
        "exe": fs::read_link("/proc/self/exe").map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
    });
    report["namespaces"] = namespaces();
    report["rlimits"] = rlimits();
    report["terminal"] = terminal();
    if let Ok(at) = sys::scheduling() {
        report["scheduler"] =
            json!({"policy": at.policy, "nice": at.nice, "priority": at.priority});
    }
    if let Ok((class, level)) = sys::io_priority() {
        report["io_priority"] = json!({"class": class, "level": level});
    }
    report["personality"] = json!(sys::personality().unwrap_or(-1));
    report["memory_policy"] = json!(sys::memory_policy().unwrap_or(-1));
    if let Ok((id, description)) = sys::session_keyring() {
        report["keyring"] = json!({"id": id, "description": description});
    }
    if let Ok(now) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME) {
        report["boottime"] = json!(now.tv_sec());
    }
    println!("{report}");
    // A broken stdout is the reader's concern: there is nobody else to tell.
    let _ = std::io::stdout().flush();
    last_act()
}

fn last_act() -> i32 {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("sleep") => loop {
            std::thread::sleep(std::time::Duration::from_secs(1000));
        },
        Some("exit") => args.get(2).and_then(|code| code.parse().ok()).unwrap_or(1),
        _ => 0,
    }
}

fn descriptors() -> Value {
    let mut found = Map::new();
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return Value::Null;
    };
    let numbers: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    for number in numbers {
        let path = format!("/proc/self/fd/{number}");
        // The listing's own descriptor is closed by now.
        let Ok(link) = fs::read_link(&path) else {
            continue;
        };
        let mut fd = json!({"link": link.to_string_lossy()});
        if let Ok(meta) = fs::metadata(&path) {
            fd["dev"] = json!(meta.dev());
            fd["ino"] = json!(meta.ino());
            fd["mode"] = json!(meta.mode());
            fd["rdev"] = json!(meta.rdev());
            fd["uid"] = json!(meta.uid());
            fd["gid"] = json!(meta.gid());
            fd["socket"] = json!(meta.file_type().is_socket());
            fd["dir"] = json!(meta.is_dir());
        }
        found.insert(number, fd);
    }
    Value::Object(found)
}

fn environment() -> Value {
    // The block itself, so that what occurs twice is seen twice.
    let bytes = fs::read("/proc/self/environ").unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty())
        .map(|entry| String::from_utf8_lossy(entry).into_owned())
        .collect()
}

fn status() -> Value {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let entries = text.lines().filter_map(|line| line.split_once(':'));
    Value::Object(
        entries
            .map(|(name, value)| (name.to_owned(), json!(value.trim())))
            .collect(),
    )
}

fn namespaces() -> Value {
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    Value::Object(
        names
            .iter()
            .map(|name| {
                (
                    (*name).to_owned(),
                    json!(
                        fs::metadata(format!("/proc/self/ns/{name}")).map_or(0, |meta| meta.ino())
                    ),
                )
            })
            .collect(),
    )
}

fn rlimits() -> Value {
    use Resource as R;
    let all = [
        ("RLIMIT_AS", R::RLIMIT_AS),
        ("RLIMIT_CORE", R::RLIMIT_CORE),
        ("RLIMIT_CPU", R::RLIMIT_CPU),
        ("RLIMIT_DATA", R::RLIMIT_DATA),
        ("RLIMIT_FSIZE", R::RLIMIT_FSIZE),
        ("RLIMIT_LOCKS", R::RLIMIT_LOCKS),
        ("RLIMIT_MEMLOCK", R::RLIMIT_MEMLOCK),
        ("RLIMIT_MSGQUEUE", R::RLIMIT_MSGQUEUE),
        ("RLIMIT_NICE", R::RLIMIT_NICE),
        ("RLIMIT_NOFILE", R::RLIMIT_NOFILE),
        ("RLIMIT_NPROC", R::RLIMIT_NPROC),
        ("RLIMIT_RSS", R::RLIMIT_RSS),
        ("RLIMIT_RTPRIO", R::RLIMIT_RTPRIO),
        ("RLIMIT_RTTIME", R::RLIMIT_RTTIME),
        ("RLIMIT_SIGPENDING", R::RLIMIT_SIGPENDING),
        ("RLIMIT_STACK", R::RLIMIT_STACK),
    ];
    Value::Object(
        all.iter()
            .filter_map(|(name, kind)| {
                getrlimit(*kind)
                    .ok()
                    .map(|(soft, hard)| ((*name).to_owned(), json!([soft, hard])))
            })
            .collect(),
    )
}

/// The processors this thread may run on.
fn affinity() -> Vec<usize> {
    let Ok(set) = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..nix::sched::CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect()
}

fn terminal() -> Value {
    let Ok((rows, columns)) = sys::terminal_size(0) else {
        return Value::Null;
    };
    let opens = |path: &str| {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .is_ok()
    };
    json!({
        "name": fs::read_link("/proc/self/fd/0").map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        "rows": rows,
        "columns": columns,
        "controlling": opens("/dev/tty"),
        "console": fs::metadata("/dev/console").map_or(0, |meta| meta.rdev()),
        "rdev": fs::metadata("/proc/self/fd/0").map_or(0, |meta| meta.rdev()),
    })
}

fn lines(path: &str) -> Value {
    fs::read_to_string(path).map_or(Value::Null, |text| {
        text.lines().map(str::to_owned).collect()
    })
}

fn trimmed(path: &str) -> Value {
    fs::read_to_string(path).map_or(Value::Null, |text| json!(text.trim_end()))
}
