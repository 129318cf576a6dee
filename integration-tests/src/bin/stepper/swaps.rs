//! Races, made certain: at the n-th system call two names of a directory that the attacker shares change places, for every n.
//!
//! Each line is a CVE in which a runtime looked at a path, decided, and used the path again. A start may fail or succeed; the host's
//! directories stay untouched either way, and what was to be masked is masked.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Failure, Test};
use garboard_integration_tests::container::Container;
use garboard_integration_tests::leaks::Snapshot;
use garboard_integration_tests::sockets::FdSocket;
use garboard_integration_tests::tracer;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use crate::rounds::{self, Line, Tally};

/// The attacks, by the names that their lines bear.
pub const NAMES: [&str; 4] = [
    "CVE-2021-30465",
    "CVE-2025-31133",
    "CVE-2025-52565",
    "CVE-2025-52881",
];

/// What an attack needs: the bundle, and the two names that change places.
struct Attack {
    bundle: Bundle,
    names: [PathBuf; 2],
    /// The names are in the rootfs, which is made with the bundle.
    in_rootfs: bool,
    /// The container gets a terminal.
    console: bool,
    /// Directories of the host that nothing may be made in.
    canary: PathBuf,
    /// Emptied before each round, so that everything in it has to be made anew.
    fresh: Option<PathBuf>,
}

/// A volume in which a mount's destination becomes a link out of the container.
fn destination(test: &Test, canary: PathBuf) -> Result<Attack, Failure> {
    let volume = test.scratch("volume")?;
    fs::create_dir(volume.join("a"))?;
    symlink(&canary, volume.join("evil"))?;
    let source = test.scratch("source")?;
    let bundle = Bundle::args(["true"]).writable().bind(&volume, "/vol", &[]);
    let bundle =
        bundle
            .mount("tmpfs", "tmpfs", "/vol/a/one", &[])
            .bind(&source, "/vol/a/two/deep", &["ro"]);
    let bundle = bundle
        .mount("tmpfs", "tmpfs", "/vol/a/three", &["ro"])
        .bind("/etc/passwd", "/vol/a/four", &[]);
    Ok(Attack {
        bundle,
        names: [volume.join("a"), volume.join("evil")],
        in_rootfs: false,
        console: false,
        canary,
        fresh: Some(volume.join("a")),
    })
}

/// A shared `/dev` without mounts below it.
fn shared_dev(test: &Test, bundle: Bundle) -> Result<(Bundle, PathBuf), Failure> {
    let dev = test.scratch("dev")?;
    let node = |name: &str, major, minor| {
        mknod(
            &dev.join(name),
            SFlag::S_IFCHR,
            Mode::from_bits_truncate(0o666),
            makedev(major, minor),
        )
    };
    for (name, minor) in [
        ("null", 3),
        ("zero", 5),
        ("full", 7),
        ("random", 8),
        ("urandom", 9),
    ] {
        node(name, 1, minor)?;
    }
    node("tty", 5, 0)?;
    let bundle = bundle
        .without_mount("/dev/pts")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .without_mount("/dev");
    Ok((bundle.bind(&dev, "/dev", &[]), dev))
}

/// `/dev/null`, the source of masks, becomes a link into procfs; one to a file that is the container's own affair.
fn null(test: &Test, canary: PathBuf) -> Result<Attack, Failure> {
    let bundle = Bundle::shell("cat /secret; stat -c %t:%T /secret")
        .root(|root| root.file("secret", 0o644, "SECRET"));
    let (bundle, dev) = shared_dev(
        test,
        bundle.set("/linux/maskedPaths", json!(["/secret", "/proc/keys"])),
    )?;
    symlink("/proc/sys/kernel/domainname", dev.join("evil"))?;
    Ok(Attack {
        bundle,
        names: [dev.join("null"), dev.join("evil")],
        in_rootfs: false,
        console: false,
        canary,
        fresh: None,
    })
}

/// `/dev/console`, which the terminal is mounted on, becomes a link out of the container.
fn console(test: &Test, canary: PathBuf) -> Result<Attack, Failure> {
    let (bundle, dev) = shared_dev(
        test,
        Bundle::sleeper().set("/process/terminal", json!(true)),
    )?;
    let bundle = bundle.mount(
        "devpts",
        "devpts",
        "/dev/pts",
        &["newinstance", "ptmxmode=0666"],
    );
    fs::write(dev.join("console"), "")?;
    symlink(canary.join("console"), dev.join("evil"))?;
    Ok(Attack {
        bundle,
        names: [dev.join("console"), dev.join("evil")],
        in_rootfs: false,
        console: true,
        canary,
        fresh: None,
    })
}

/// `/proc`, which labels and sysctls are written below, becomes a link to a directory of files.
fn proc(_: &Test, canary: PathBuf) -> Result<Attack, Failure> {
    let bundle = Bundle::args(["true"])
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}))
        .set("/process/oomScoreAdj", json!(500))
        .writable();
    let bundle = bundle.root(|root| {
        root.link("evil", "/trap")
            .file("trap/sys/net/ipv4/ip_forward", 0o666, "trap")
            .file("trap/self/oom_score_adj", 0o666, "trap")
    });
    Ok(Attack {
        bundle,
        names: ["proc".into(), "evil".into()],
        in_rootfs: true,
        console: false,
        canary,
        fresh: None,
    })
}

/// Runs the attack at every `every`-th call.
pub fn run(line: &Line, test: &Test, every: u64) -> Result<Tally, Failure> {
    let canary = test.scratch("canary")?;
    let attack = match line.verb() {
        "CVE-2021-30465" => destination(test, canary)?,
        "CVE-2025-31133" => null(test, canary)?,
        "CVE-2025-52565" => console(test, canary)?,
        _ => proc(test, canary)?,
    };
    let c = test.container(&attack.bundle)?;
    let names = attack.names.clone().map(|name| {
        if attack.in_rootfs {
            c.path("").join(name)
        } else {
            name
        }
    });
    let socket = FdSocket::listen(&test.dir.join("socket"))?;
    let mut tally = Tally::default();
    let before = Snapshot::take()?;
    let mut at = 1;
    loop {
        if let Some(fresh) = &attack.fresh {
            fs::remove_dir_all(fresh)?;
            fs::create_dir(fresh)?;
        }
        let word = format!("exchange:{}:{}", names[0].display(), names[1].display());
        let traced = rounds::traced(
            test,
            line.scope(),
            &word,
            at,
            0,
            &command(&attack, &c, &socket),
        )?;
        let mut trouble = verdict(&attack, &c, &traced.stdout)?;
        if traced.ended.struck.is_some() {
            tracer::exchange(&names[0], &names[1])?;
        }
        trouble.extend(rounds::settle(line, test, &c, &before)?);
        tally.hangs += u64::from(traced.hung);
        tally.leaks += u64::from(!trouble.is_empty());
        if traced.hung || !trouble.is_empty() {
            println!(
                "{} at {at}: {}{}",
                line.name(),
                if traced.hung { "hung; " } else { "" },
                trouble.join("; ")
            );
            rounds::clear(test, &c)?;
            empty(&attack.canary)?;
        }
        if traced.ended.struck.is_none() {
            break;
        }
        tally.points += 1;
        if tally.leaks + tally.hangs > 20 {
            println!("{}: given up", line.name());
            break;
        }
        at += every;
    }
    Ok(tally)
}

fn command(attack: &Attack, c: &Container<'_>, socket: &FdSocket) -> Command {
    if attack.console {
        c.create_command(&["--console-socket", &socket.path.to_string_lossy()])
    } else {
        c.run_command(&[])
    }
}

/// What the attack has gained.
fn verdict(attack: &Attack, c: &Container<'_>, stdout: &str) -> Result<Vec<String>, Failure> {
    let mut trouble = Vec::new();
    for entry in fs::read_dir(&attack.canary)?.flatten() {
        trouble.push(format!("{} was made on the host", entry.path().display()));
    }
    if stdout.contains("SECRET") || stdout.contains("0:0") {
        trouble.push(format!("the mask is gone: {stdout:?}"));
    }
    for file in ["sys/net/ipv4/ip_forward", "self/oom_score_adj"] {
        if fs::read_to_string(c.path("/trap").join(file)).is_ok_and(|text| text != "trap") {
            trouble.push(format!("{file} of a false procfs was written to"));
        }
    }
    if attack.console && c.call("state", &[], &[])?.code() == 0 {
        let mounts =
            fs::read_to_string(format!("/proc/{}/mountinfo", c.pid()?)).unwrap_or_default();
        // A mount goes with the name it is mounted on: if that is exchanged later, the console is at the other one.
        let places = ["/dev/console", "/dev/evil"].map(Some);
        let line = mounts
            .lines()
            .find(|line| places.contains(&line.split(' ').nth(4)));
        if !line.is_some_and(|line| line.contains(" - devpts ")) {
            trouble.push(format!("the console is {line:?}"));
        }
    }
    Ok(trouble)
}

fn empty(dir: &Path) -> Result<(), Failure> {
    fs::remove_dir_all(dir)?;
    Ok(fs::create_dir(dir)?)
}
