//! Attacks that once worked on a container runtime, each under the name of its CVE. They are tried for real and must come to nothing.
//!
//! The rootfs and the shared volumes are the attacker's; `config.json` is trusted. A start that is refused is as good as one that stays inside:
//! what counts is that the canaries outside are silent. The races among them are driven to every system call by `stepper swap`.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::probe::Report;
use garboard_integration_tests::runtime::Runtime;
use garboard_integration_tests::sockets::FdSocket;
use garboard_integration_tests::{cases, processes};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use crate::canary::Canary;

pub fn cases() -> Vec<Case> {
    cases![
        cve_2019_5736_an_interpreter_line_cannot_overwrite_the_binary,
        cve_2019_5736_the_waiting_process_cannot_be_written_to,
        cve_2024_21626_the_working_directory_cannot_be_outside,
        cve_2024_21626_exec_cannot_be_outside,
        cve_2021_30465_a_destination_behind_a_link_stays_inside,
        cve_2025_31133_a_false_null_does_not_unmask,
        cve_2025_52565_a_console_behind_a_link_stays_inside,
        cve_2025_52881_a_false_proc_is_not_written_to,
        cve_2019_19921_proc_and_sys_are_not_mounted_behind_a_link,
        cve_2022_29162_inheritable_capabilities_are_empty,
        cve_2026_41579_dev_behind_a_link_stays_inside,
        cve_2016_9962_an_exec_cannot_be_looked_into,
        cve_2025_23266_hooks_do_not_run_the_images_code,
        a_stranger_in_the_recorded_cgroup_is_never_killed,
    ]
}

/// A copy of the runtime, so that an attack that works harms nobody.
fn private_copy(t: &Test) -> Result<Runtime, Failure> {
    let name = t
        .runtime
        .program
        .file_name()
        .ok_or_else(|| Failure::new("no name"))?;
    let copy = t.scratch("bin")?.join(name);
    fs::copy(&t.runtime.program, &copy)?;
    Ok(Runtime {
        program: copy,
        ..t.runtime.clone()
    })
}

fn hash(path: &Path) -> Result<u64, Failure> {
    let mut hasher = DefaultHasher::new();
    fs::read(path)?.hash(&mut hasher);
    Ok(hasher.finish())
}

const ALL_POWERFUL: [&str; 8] = [
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_CHOWN",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

fn cve_2019_5736_an_interpreter_line_cannot_overwrite_the_binary(t: &Test) -> Done {
    let runtime = private_copy(t)?;
    let before = hash(&runtime.program)?;
    // Whoever executes this file executes itself, inside the container.
    let evil = "#!/proc/self/exe\n";
    let overwrite = "for i in 1 2 3 4 5 6 7 8 9 10; do for p in /proc/[0-9]*; do echo evil 2>/dev/null > $p/exe; done; usleep 2000; done; sleep 1000";
    let bundle = Bundle::shell(overwrite)
        .writable()
        .capabilities(&ALL_POWERFUL)
        .root(|root| root.file("evil", 0o755, evil));
    let c = t.container(&bundle)?;
    let command = |verb: &str, flags: &[&str], rest: &[&str]| {
        let mut command = runtime.command([verb]);
        command.args(flags).arg(&c.id).args(rest);
        command
    };
    runtime
        .finish(command(
            "run",
            &["--detach", "--bundle", &c.bundle.to_string_lossy()],
            &[],
        ))?
        .success()?;
    for _ in 0..10 {
        runtime.finish(command("exec", &[], &["/evil"]))?;
        runtime.finish(command("exec", &[], &["/proc/self/exe"]))?;
    }
    runtime
        .finish(command("delete", &["--force"], &[]))?
        .success()?;
    let other = t.container(
        &Bundle::args(["/evil"])
            .writable()
            .root(|root| root.file("evil", 0o755, evil)),
    )?;
    let mut run = runtime.command(["run", "--bundle"]);
    run.arg(&other.bundle).arg(&other.id);
    runtime.finish(run)?;
    assert_eq!(
        hash(&runtime.program)?,
        before,
        "the runtime's own file was changed"
    );
    Ok(())
}

fn cve_2019_5736_the_waiting_process_cannot_be_written_to(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    let exe = format!("/proc/{}/exe", c.pid()?);
    let refused = fs::OpenOptions::new().write(true).open(&exe);
    assert!(refused.is_err(), "{exe} could be opened for writing");
    if !t.runtime.is_runc() {
        let link = fs::read_link(&exe)?.display().to_string();
        assert!(link.starts_with("/memfd:"), "{link}");
        // Sealed: the inode itself refuses, not only the running program.
        let text = fs::read(&exe)?;
        assert!(
            text.len() < 512 * 1024,
            "a tiny program, not the runtime: {} bytes",
            text.len()
        );
    }
    Ok(())
}

fn cve_2024_21626_the_working_directory_cannot_be_outside(t: &Test) -> Done {
    let canary = Canary::new(t)?;
    let leak = format!("exec 7<{0} 8<{0} 10</", canary.dir.display());
    let escape = "for d in . .. ../.. ../../..; do ls -a $d 2>/dev/null; done";
    let mut places: Vec<String> = (3..32).map(|fd| format!("/proc/self/fd/{fd}")).collect();
    places.extend(
        [
            "/proc/thread-self/cwd",
            "/proc/1/cwd",
            "/proc/1/root",
            "/proc/self/fd/7/../..",
        ]
        .map(str::to_owned),
    );
    for cwd in places {
        let c = t.container(
            &Bundle::shell(escape)
                .writable()
                .set("/process/cwd", json!(cwd)),
        )?;
        let out = t
            .runtime
            .finish(t.runtime.from_shell(&leak, &c.run_command(&[])))?;
        assert!(
            !out.stdout().contains("host-canary") && !out.stdout().contains("lost+found"),
            "{cwd}: {}",
            out.stdout()
        );
        if out.code() == 0 {
            assert!(out.stdout().contains(".."), "{cwd}: {}", out.stdout());
        }
    }
    canary.is_silent()
}

fn cve_2024_21626_exec_cannot_be_outside(t: &Test) -> Done {
    let canary = Canary::new(t)?;
    let c = t.container(&Bundle::sleeper())?;
    c.run_detached()?;
    let leak = format!("exec 7<{0} 8<{0} 10</", canary.dir.display());
    for fd in 3..24 {
        let cwd = format!("/proc/self/fd/{fd}");
        let command = c.command(
            "exec",
            &["--cwd", &cwd],
            &["sh", "-c", "ls -a . .. ../.. 2>/dev/null"],
        );
        let out = t.runtime.finish(t.runtime.from_shell(&leak, &command))?;
        assert!(
            !out.stdout().contains("host-canary") && !out.stdout().contains("lost+found"),
            "{cwd}: {}",
            out.stdout()
        );
    }
    canary.is_silent()
}

fn cve_2021_30465_a_destination_behind_a_link_stays_inside(t: &Test) -> Done {
    let canary = Canary::new(t)?;
    let volume = t.scratch("volume")?;
    for (number, link) in canary.links().iter().enumerate() {
        std::os::unix::fs::symlink(link, volume.join(format!("evil{number}")))?;
    }
    let bundle = Bundle::args(["true"]).writable().bind(&volume, "/vol", &[]);
    let bundle = bundle
        .mount("tmpfs", "tmpfs", "/vol/evil0/sub", &[])
        .mount("tmpfs", "tmpfs", "/vol/evil1", &[])
        .bind(&volume, "/vol/evil0", &[]);
    t.container(&bundle)?.run()?;
    canary.is_silent()
}

/// A directory of the host that a container gets as `/dev`.
fn shared_dev(t: &Test) -> Result<PathBuf, Failure> {
    let dev = t.scratch("dev")?;
    for (name, minor) in [
        ("null", 3),
        ("zero", 5),
        ("full", 7),
        ("random", 8),
        ("urandom", 9),
    ] {
        mknod(
            &dev.join(name),
            SFlag::S_IFCHR,
            Mode::from_bits_truncate(0o666),
            makedev(1, minor),
        )?;
    }
    mknod(
        &dev.join("tty"),
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o666),
        makedev(5, 0),
    )?;
    Ok(dev)
}

fn without_dev(bundle: Bundle) -> Bundle {
    bundle
        .without_mount("/dev/pts")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .without_mount("/dev")
}

fn cve_2025_31133_a_false_null_does_not_unmask(t: &Test) -> Done {
    t.not_for_runc("1.1.5 is open to it")?;
    let dev = shared_dev(t)?;
    let secret = |bundle: Bundle| {
        bundle
            .root(|root| root.file("secret", 0o644, "SECRET"))
            .set("/linux/maskedPaths", json!(["/secret"]))
    };
    let script = "cat /secret; stat -c %t:%T /secret; echo evil > /secret";
    // Of the files of procfs, one that belongs to the container's own namespace: the attack must not harm the machine if it works.
    for (what, target) in [
        ("link", Some("/proc/sys/kernel/domainname")),
        ("other link", Some("/secret")),
        ("nothing", None),
    ] {
        fs::remove_file(dev.join("null"))?;
        if let Some(target) = target {
            std::os::unix::fs::symlink(target, dev.join("null"))?;
        }
        let bundle = secret(without_dev(Bundle::shell(script)))
            .bind(&dev, "/dev", &[])
            .capabilities(&ALL_POWERFUL);
        let out = t
            .container(&bundle.without("/linux/readonlyPaths"))?
            .run()?;
        assert!(
            !out.stdout().contains("SECRET"),
            "with {what} as /dev/null the masked file was read"
        );
        let masked = out.stdout().is_empty() || out.stdout().starts_with("1:3\n");
        assert!(masked, "with {what}: {}", out.stdout());
        if target.is_none() {
            fs::write(dev.join("null"), "")?;
        }
    }
    Ok(())
}

fn cve_2025_52565_a_console_behind_a_link_stays_inside(t: &Test) -> Done {
    let canary = Canary::new(t)?;
    for (number, link) in canary.links().iter().enumerate() {
        let dev = shared_dev(t)?;
        std::os::unix::fs::symlink(format!("{link}/console"), dev.join("console"))?;
        let bundle = Bundle::args(["/bin/probe"])
            .set("/process/terminal", json!(true))
            .writable();
        let bundle = bundle
            .without_mount("/dev")
            .without_mount("/dev/shm")
            .without_mount("/dev/mqueue")
            .without_mount("/dev/pts");
        let bundle = bundle.bind(&dev, "/dev", &[]).mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["newinstance", "ptmxmode=0666"],
        );
        let c = t.container(&bundle)?;
        let socket = FdSocket::listen(&t.dir.join(format!("socket{number}")))?;
        let out = t
            .runtime
            .finish(c.create_command(&["--console-socket", &socket.path.to_string_lossy()]))?;
        if out.code() == 0 {
            let points = fs::read_to_string(format!("/proc/{}/mountinfo", c.pid()?))?;
            assert!(!points.contains("host-canary"), "{points}");
            c.delete_force()?;
        }
        canary.is_silent()?;
        fs::remove_dir_all(&dev)?;
    }
    Ok(())
}

fn cve_2025_52881_a_false_proc_is_not_written_to(t: &Test) -> Done {
    let canary = Canary::new(t)?;
    let trap = t.scratch("proc")?;
    for file in [
        "self/attr/exec",
        "self/attr/current",
        "sys/net/ipv4/ip_forward",
        "self/oom_score_adj",
        "1/oom_score_adj",
        "sysrq-trigger",
    ] {
        let path = trap.join(file);
        fs::create_dir_all(path.parent().unwrap_or(&trap))?;
        fs::write(&path, "trap")?;
    }
    let ask = |bundle: Bundle| {
        bundle
            .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}))
            .set("/process/oomScoreAdj", json!(500))
    };
    let mut bundles: Vec<Bundle> = canary
        .links()
        .iter()
        .map(|link| ask(Bundle::probe()).root(|root| root.link("proc", link)))
        .collect();
    bundles.push(ask(Bundle::probe()).root(|root| root.link("proc", "/tmp")));
    bundles.push(
        ask(Bundle::probe())
            .without_mount("/proc")
            .bind(&trap, "/proc", &[])
            .without("/linux/maskedPaths")
            .without("/linux/readonlyPaths"),
    );
    bundles.push(ask(Bundle::probe()).root(|root| root.link("sys", "/tmp")));
    for bundle in bundles {
        let out = t.container(&bundle)?.run()?;
        if let Ok(seen) = Report::parse(&out.stdout()) {
            assert!(
                seen.at("/oom_score_adj").is_null()
                    || seen.at("/oom_score_adj") == "500"
                    || seen.at("/oom_score_adj") == "trap",
                "{}",
                out.stdout()
            );
        }
        for file in [
            "self/attr/exec",
            "sys/net/ipv4/ip_forward",
            "self/oom_score_adj",
            "1/oom_score_adj",
        ] {
            assert_eq!(
                fs::read_to_string(trap.join(file))?,
                "trap",
                "{file} of the false proc was written to"
            );
        }
        canary.is_silent()?;
    }
    Ok(())
}

fn cve_2019_19921_proc_and_sys_are_not_mounted_behind_a_link(t: &Test) -> Done {
    for (path, target) in [("proc", "/tmp"), ("sys", "/proc"), ("proc", "nowhere")] {
        let bundle = Bundle::args(["true"])
            .writable()
            .root(|root| root.link(path, target));
        t.container(&bundle)?
            .run()?
            .fails_with("must be mounted on ordinary directory")?;
    }
    Ok(())
}

fn cve_2022_29162_inheritable_capabilities_are_empty(t: &Test) -> Done {
    let names = ["CAP_NET_RAW", "CAP_CHOWN", "CAP_SETUID"];
    let seen = t
        .container(&Bundle::probe().capabilities(&names))?
        .report()?;
    assert_eq!((seen.mask("CapInh"), seen.mask("CapAmb")), (0, 0));
    let c = t.container(&Bundle::sleeper().capabilities(&names))?;
    c.run_detached()?;
    for flags in [
        &[][..],
        &["--cap", "CAP_SYS_ADMIN"],
        &["--cap", "CAP_SYS_ADMIN", "--user", "1000"],
    ] {
        let seen = c.exec_report(flags)?;
        assert_eq!(
            (seen.mask("CapInh"), seen.mask("CapAmb")),
            (0, 0),
            "{flags:?}"
        );
    }
    Ok(())
}

fn cve_2026_41579_dev_behind_a_link_stays_inside(t: &Test) -> Done {
    t.not_for_runc("1.1.5 is open to it")?;
    let canary = Canary::new(t)?;
    for link in canary.links() {
        for path in [
            "dev",
            "dev/pts",
            "dev/shm",
            "dev/ptmx",
            "dev/null",
            "dev/fd",
            "dev/console",
        ] {
            let bare = Bundle::args(["true"])
                .writable()
                .root(|root| root.link(path, &link));
            t.container(&bare)?.run()?;
            canary.is_silent()?;
            let bundle = without_dev(Bundle::args(["true"]))
                .writable()
                .root(|root| root.link(path, &link));
            t.container(&bundle)?.run()?;
            canary.is_silent()?;
        }
    }
    Ok(())
}

fn cve_2016_9962_an_exec_cannot_be_looked_into(t: &Test) -> Done {
    let canary = Canary::new(t)?;
    // Everything that can be seen of every process, over and over.
    let spy = "while :; do for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null; readlink $p/root $p/cwd $p/exe 2>/dev/null; ls $p/root/canary 2>/dev/null; done; done >> /out/seen";
    let out = t.scratch("out")?;
    for powers in [&["CAP_KILL"][..], &ALL_POWERFUL] {
        let bundle = Bundle::shell(spy)
            .writable()
            .bind(&out, "/out", &[])
            .capabilities(powers);
        let c = t.container(&bundle)?;
        c.run_detached()?;
        let leak = format!("exec 7<{0} 8<{0}", canary.dir.display());
        for _ in 0..20 {
            t.runtime
                .finish(
                    t.runtime
                        .from_shell(&leak, &c.command("exec", &[], &["true"])),
                )?
                .success()?;
        }
        c.delete_force()?;
        let seen = fs::read_to_string(out.join("seen"))?;
        let of_host = t.dir.display().to_string();
        let foreign: Vec<&str> = seen
            .lines()
            .filter(|line| {
                line.contains(&of_host) && !line.contains("/logs/") && !line.contains("/out")
            })
            .collect();
        assert!(foreign.is_empty(), "the host shows through: {foreign:?}");
        assert!(seen.len() > 100, "the spy saw something");
        fs::remove_file(out.join("seen"))?;
    }
    Ok(())
}

fn cve_2025_23266_hooks_do_not_run_the_images_code(t: &Test) -> Done {
    t.not_for_runc("1.1 gives createContainer hooks the rootfs as their directory")?;
    let out = t.scratch("hooks")?;
    let at = out.display().to_string();
    let mut bundle = Bundle::sleeper()
        .bind(&out, &at, &[])
        .root(|root| root.dir(at.trim_start_matches('/'), 0o755));
    for kind in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        let text = format!(
            "busybox env > {at}/env-{kind}; busybox readlink /proc/self/cwd > {at}/cwd-{kind}"
        );
        let hook = json!({"path": "/bin/busybox", "args": ["busybox", "sh", "-c", text], "env": ["PATH=/bin:/usr/bin"]});
        bundle = bundle.set(&format!("/hooks/{kind}/-"), hook);
    }
    let c =
        t.container(&bundle.set("/process/env/-", json!("LD_PRELOAD=/proc/self/cwd/evil.so")))?;
    c.run_detached()?;
    wait_until("poststart", || {
        Ok(fs::read_to_string(out.join("cwd-poststart")).is_ok_and(|text| !text.is_empty()))
    })?;
    let rootfs = c.path("").display().to_string();
    c.delete_force()?;
    for kind in [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ] {
        assert!(
            !fs::read_to_string(out.join(format!("env-{kind}")))?.contains("LD_PRELOAD"),
            "{kind}"
        );
        let cwd = fs::read_to_string(out.join(format!("cwd-{kind}")))?;
        assert!(
            !cwd.starts_with(rootfs.trim_end_matches('/')),
            "{kind} runs in {cwd}"
        );
    }
    Ok(())
}

fn a_stranger_in_the_recorded_cgroup_is_never_killed(t: &Test) -> Done {
    t.not_for_runc("1.1 does not mark its cgroups")?;
    let c = t.container(&Bundle::sleeper().without_namespace("pid"))?;
    c.run_detached()?;
    let init = c.pid()?;
    let dirs = garboard_integration_tests::cgroups::named(&c.id)?;
    // The container dies, its cgroup goes, and another of the same name comes.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(init),
        nix::sys::signal::Signal::SIGKILL,
    )?;
    wait_until("an empty cgroup", || {
        processes::reap();
        Ok(dirs
            .iter()
            .all(|dir| fs::remove_dir(dir).is_ok() || !dir.is_dir()))
    })?;
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn()?;
    // A new cpuset of v1 holds nothing that a process could run on.
    let inherited: &[&str] = if t.place.is_unified() {
        &[]
    } else {
        &["cpuset.cpus", "cpuset.mems"]
    };
    for dir in &dirs {
        fs::create_dir_all(dir)?;
        for inherited in inherited {
            if let (Some(parent), true) = (
                dir.parent().and_then(Path::parent),
                dir.join(inherited).is_file(),
            ) {
                let value = fs::read(parent.join(inherited))?;
                fs::write(dir.parent().unwrap_or(dir).join(inherited), &value)?;
                fs::write(dir.join(inherited), &value)?;
            }
        }
        fs::write(dir.join("cgroup.procs"), stranger.id().to_string())?;
    }
    let outcomes = [
        c.call("kill", &["--all"], &["9"]),
        c.call("kill", &[], &["9"]),
        c.call("delete", &["--force"], &[]),
    ];
    let alive = processes::stat(stranger.id().cast_signed()).is_some_and(|stat| stat.state != 'Z');
    stranger.kill()?;
    stranger.wait()?;
    wait_until("the stranger's cgroups", || {
        Ok(dirs
            .iter()
            .all(|dir| fs::remove_dir(dir).is_ok() || !dir.is_dir()))
    })?;
    assert!(
        alive,
        "a process that is none of the container's was killed"
    );
    let [_, _, deleted] = outcomes;
    deleted?.success()?;
    Ok(())
}
