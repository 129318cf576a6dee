//! Cgroups given away: who owns them, what is seen of them, and what lives on them inside: another runtime, a systemd.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::needs::Need;
use garboard_integration_tests::place::HostMount;
use garboard_integration_tests::{cases, cgroups, processes};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    cases![
        a_writable_cgroup_is_the_containers_own,
        a_read_only_cgroup_is_not_handed_over,
        v1_hierarchies_are_shown_with_their_links,
        a_runtime_in_a_container_runs_containers,
        a_container_with_containers_in_it_is_deleted_at_once,
        systemd_boots_in_a_container,
    ]
}

const FIRST_ID: u32 = 100_000;
/// Where cgroups are, inside and outside.
pub const CGROUPS: &str = "/sys/fs/cgroup";
/// Prints the cgroup2 line of a process's own cgroups: with v1 hierarchies on the machine, others come before it.
pub const OWN: &[&str] = &["tail", "-n1", "/proc/self/cgroup"];

/// The names of capabilities, in the order of their bits (capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Every capability that this process has itself: a machine may withhold some.
fn all_capabilities() -> Vec<String> {
    let own =
        processes::status_field(std::process::id().cast_signed(), "CapEff").unwrap_or_default();
    let own = u64::from_str_radix(own.trim(), 16).unwrap_or(0);
    let has = |(bit, name): (usize, &&str)| (own >> bit & 1 == 1).then(|| format!("CAP_{name}"));
    NAMES.iter().enumerate().filter_map(has).collect()
}

/// A bundle that sees its own cgroups at the root, writable.
pub fn nested(bundle: Bundle) -> Bundle {
    let all = all_capabilities();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    bundle
        .namespace("cgroup", None)
        .without_mount(CGROUPS)
        .mount(
            "cgroup",
            "cgroup",
            CGROUPS,
            &["nosuid", "noexec", "nodev", "relatime", "rw"],
        )
        .capabilities(&all)
        .set("/process/noNewPrivileges", json!(false))
        .writable()
}

/// The only directory of a container's cgroup on v2.
pub fn directory(c: &Container<'_>) -> Result<PathBuf, Failure> {
    // The deepest come first.
    c.cgroups()?.pop().ok_or_else(|| Failure::new("no cgroup"))
}

fn owner(path: &Path) -> Result<u32, Failure> {
    Ok(fs::metadata(path)?.uid())
}

fn a_writable_cgroup_is_the_containers_own(t: &Test) -> Done {
    t.needs(&[Need::V2, Need::Root])?;
    t.not_for_runc("it hands over with systemd only")?;
    let script = "mkdir /sys/fs/cgroup/inner && echo 1 > /sys/fs/cgroup/inner/cgroup.procs && cat /proc/1/cgroup && \
                  ! echo 5 > /sys/fs/cgroup/cgroup.max.depth && rmdir /sys/fs/cgroup/nothing; exec sleep 1000";
    let bundle = nested(Bundle::shell(script)).user_namespace(FIRST_ID, 65536);
    let c = t.container(&bundle)?;
    c.create()?;
    let dir = directory(&c)?;
    for (file, wanted) in [
        ("", FIRST_ID),
        ("cgroup.procs", FIRST_ID),
        ("cgroup.subtree_control", FIRST_ID),
        ("cgroup.threads", FIRST_ID),
        ("cgroup.max.depth", 0),
        ("cgroup.freeze", 0),
    ] {
        assert_eq!(owner(&dir.join(file))?, wanted, "{file:?}");
    }
    c.start()?;
    wait_until("an inner cgroup", || {
        Ok(!cgroups::processes(&dir.join("inner")).is_empty())
    })?;
    assert_eq!(owner(&dir.join("inner"))?, FIRST_ID);
    assert_ne!(fs::read_to_string(dir.join("cgroup.max.depth"))?, "5\n");
    c.delete_force()?;
    assert!(!dir.is_dir());
    Ok(())
}

fn a_read_only_cgroup_is_not_handed_over(t: &Test) -> Done {
    t.needs(&[Need::V2, Need::Root])?;
    let bundle = Bundle::sleeper()
        .namespace("cgroup", None)
        .user_namespace(FIRST_ID, 65536);
    let c = t.container(&bundle)?;
    c.create()?;
    let dir = directory(&c)?;
    assert_eq!((owner(&dir)?, owner(&dir.join("cgroup.procs"))?), (0, 0));
    c.delete_force()?;
    Ok(())
}

fn v1_hierarchies_are_shown_with_their_links(t: &Test) -> Done {
    t.needs(&[Need::V1])?;
    let script = "cd /sys/fs/cgroup; for name in *; do [ -L $name ] && echo $name:$(readlink $name) || echo $name; done; \
                  mkdir systemd/x && cat /proc/self/cgroup | sed 's/^[0-9]*//'";
    let lines = t
        .container(&nested(Bundle::shell(script)))?
        .run_ok()?
        .lines();
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    for hierarchy in cgroups::hierarchies()? {
        let name = hierarchy
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name == "unified" || !hierarchy.starts_with(CGROUPS) {
            continue;
        }
        assert!(
            lines.contains(&name),
            "{name} is not among {lines:?}\n{text}"
        );
        for joined in name.split(',').filter(|joined| *joined != name) {
            let link = format!("{joined}:{name}");
            assert!(lines.contains(&link), "{link} is not among {lines:?}");
        }
    }
    let own = lines.iter().filter(|line| line.starts_with(':'));
    assert!(
        own.clone().count() > 1 && own.clone().all(|line| line.ends_with(":/")),
        "{lines:?}"
    );
    Ok(())
}

/// A container in which this runtime is `/bin/runtime`, with bundles of its own.
fn outer<'t>(t: &'t Test, script: &str) -> Result<Container<'t>, Failure> {
    let inner = |name: &str, script: &str| -> Result<PathBuf, Failure> {
        Bundle::shell(script)
            .namespace("cgroup", None)
            .set("/linux/cgroupsPath", json!(format!("/made-inside/{name}")))
            .write(&t.scratch("inner")?.join(name))
    };
    inner(
        "hello",
        "echo hello from pid $$; cat /proc/self/cgroup | sed 's/^[0-9]*//'",
    )?;
    inner("sleeper", "exec sleep 1000")?;
    let bundle = nested(Bundle::shell(script))
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .mount("tmpfs", "tmpfs", "/run", &["mode=755"])
        .bind(&t.runtime.program, "/bin/runtime", &["ro"])
        .bind(t.scratch("inner")?, "/inner", &["rbind"]);
    t.container(&bundle)
}

fn a_runtime_in_a_container_runs_containers(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let script = "set -e; rt() { /bin/runtime --root /run/rt \"$@\"; }; rt run --bundle /inner/hello one; \
                  rt create --bundle /inner/sleeper two </dev/null >/dev/null 2>&1; rt start two; rt exec two echo inside the inner; \
                  rt state two | grep -q running; rt delete --force two; rt list -q | wc -l; \
                  find /sys/fs/cgroup -name 'two' -o -name 'made-inside' | wc -l";
    let lines = outer(t, script)?.run_ok()?.lines();
    assert_eq!(
        lines.first().map(String::as_str),
        Some("hello from pid 1"),
        "{lines:?}"
    );
    let own: Vec<_> = lines.iter().filter(|line| line.starts_with(':')).collect();
    assert!(
        !own.is_empty() && own.iter().all(|line| line.ends_with(":/")),
        "{lines:?}"
    );
    let after: Vec<_> = lines
        .iter()
        .skip_while(|line| *line != "inside the inner")
        .collect();
    assert_eq!(after[1..], ["0", "0"], "{lines:?}");
    Ok(())
}

fn a_container_with_containers_in_it_is_deleted_at_once(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let script = "for n in 1 2 3; do /bin/runtime --root /run/rt run --detach --bundle /inner/sleeper c$n </dev/null >/dev/null 2>&1; \
                  sed -i s/sleeper/sleeper$n/ /inner/sleeper/config.json; done; touch /run/ready; exec sleep 1000";
    let script = script.replace(
        "sed -i s/sleeper/sleeper$n/",
        "sed -i s,/made-inside/.*\\\",/made-inside/s$n\\\",",
    );
    let c = outer(t, &script)?;
    c.run_detached()?;
    wait_until("three containers inside", || {
        Ok(c.exec(&["test", "-e", "/run/ready"])?.code() == 0)
    })?;
    let all = cgroups::named(&c.id)?;
    let inner = all
        .iter()
        .filter(|dir| dir.to_string_lossy().contains("made-inside/"));
    assert!(inner.count() >= 3, "{all:?}");
    c.call("delete", &["--force"], &[])?.success()?;
    assert_eq!(cgroups::named(&c.id)?, [] as [PathBuf; 0]);
    Ok(())
}

/// The machine's own systemd, in an overlay on the machine's own root.
fn systemd_boots_in_a_container(t: &Test) -> Done {
    t.needs(&[Need::V2, Need::Root])?;
    let program = Path::new("/lib/systemd/systemd");
    if !program.is_file() {
        return Err(Failure::skip("needs systemd"));
    }
    let bundle = nested(Bundle::args([
        "/lib/systemd/systemd",
        "--unit=sysinit.target",
    ]))
    .root(|root| root.bare())
    .set(
        "/process/env",
        json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=oci"]),
    )
    .set("/linux/maskedPaths", json!([]))
    .set("/linux/readonlyPaths", json!([]))
    .mount("tmpfs", "tmpfs", "/run", &["mode=755"])
    .mount("tmpfs", "tmpfs", "/tmp", &["mode=1777"]);
    let c = t.container(&bundle)?;
    let overlay = HostMount::overlay(Path::new("/"), &t.scratch("overlay")?, &c.path("/"))?;
    fs::write(c.path("/etc/fstab"), "")?;
    c.run_detached()?;
    let dir = directory(&c)?;
    let mut last = String::new();
    for _ in 0..600 {
        let out = c.exec(&["systemctl", "is-system-running"])?;
        last = out.stdout() + &out.stderr();
        if ["running", "degraded"].contains(&last.trim()) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(
        ["running", "degraded"].contains(&last.trim()),
        "systemctl says {last:?}"
    );
    assert!(dir.join("init.scope").is_dir() && dir.join("system.slice").is_dir());
    let own = c.exec(OWN)?.success()?.stdout();
    assert!(own.starts_with("0::/"), "{own}");
    // SIGRTMIN+3: halt. In a container PID 1 then ends.
    c.kill("RTMIN+3")?;
    c.await_status("stopped")?;
    c.delete()?;
    drop(overlay);
    assert!(!dir.is_dir());
    Ok(())
}
