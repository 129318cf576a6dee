//! The file system of a container: its root, every kind of mount and every option, propagation, masked and read-only paths.

use std::fs;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::needs::Need;
use garboard_integration_tests::place::HostMount;
use garboard_integration_tests::probe::Report;
use serde_json::json;

pub fn cases() -> Vec<Case> {
    cases![
        the_default_mounts_are_there_with_their_flags,
        the_root_is_read_only_or_not,
        a_root_may_be_given_by_an_absolute_path,
        options_set_flags_on_a_bind,
        options_unset_flags,
        the_last_of_two_options_wins,
        file_system_options_reach_the_file_system,
        a_bind_target_is_made_as_file_or_directory,
        a_tmpfs_takes_the_mode_of_its_target,
        tmpcopyup_copies_what_was_there,
        a_read_only_tmpfs_can_still_hold_mount_points,
        an_overlay_of_thirty_layers,
        a_missing_source_is_refused,
        a_directory_onto_a_file_is_refused,
        a_file_onto_a_directory_is_refused,
        data_with_a_bind_is_refused,
        an_unknown_file_system_is_refused,
        the_order_of_mounts_is_kept,
        a_file_can_be_mounted_over_a_file,
        a_hundred_mounts,
    ]
}

fn the_default_mounts_are_there_with_their_flags(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let seen = t.container(&Bundle::probe())?.report()?;
    for (point, kind, flags) in [
        ("/proc", "proc", &[][..]),
        ("/dev", "tmpfs", &["nosuid"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec"]),
        ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ] {
        let mount = seen.mount(point)?;
        assert_eq!(mount.kind, kind, "{point}");
        for flag in flags {
            assert!(mount.has(flag), "{point} has no {flag}: {mount:?}");
        }
    }
    assert!(seen.mount("/dev/shm")?.super_has("size=65536k"));
    assert!(seen.mount("/dev/pts")?.super_has("gid=5"));
    assert!(!seen.mount("/dev")?.has("relatime"), "strictatime");
    let host: Vec<&str> = seen
        .at("/mountinfo")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|line| line.as_str())
        .filter(|line| line.contains(" /tmp/garboard"))
        .collect();
    assert!(
        host.iter()
            .all(|line| line.contains(" / / ") || line.split(' ').nth(4) == Some("/")),
        "nothing of the host's: {host:?}"
    );
    Ok(())
}

fn the_root_is_read_only_or_not(t: &Test) -> Done {
    let out = t
        .container(&Bundle::shell("touch /x 2>&1; echo $?"))?
        .run_ok()?;
    assert!(
        out.stdout().contains("Read-only file system"),
        "{}",
        out.stdout()
    );
    let c = t.container(&Bundle::shell("echo hi > /x").writable())?;
    c.run_ok()?;
    assert_eq!(fs::read_to_string(c.path("/x"))?, "hi\n");
    Ok(())
}

fn a_root_may_be_given_by_an_absolute_path(t: &Test) -> Done {
    let other = t.container(&Bundle::default())?;
    let c = t.container(&Bundle::args(["echo", "hi"]).set("/root/path", json!(other.path(""))))?;
    assert_eq!(c.run_ok()?.stdout(), "hi\n");
    Ok(())
}

/// One bind with these options; what mountinfo then says.
pub fn bound(t: &Test, options: &[&str]) -> Result<Report, Failure> {
    let source = t.scratch(&format!("source{}", t.ids().len()))?;
    t.container(&Bundle::probe().bind(&source, "/mnt", options))?
        .report()
}

fn options_set_flags_on_a_bind(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    for (option, flag) in [
        ("ro", "ro"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
    ] {
        let seen = bound(t, &[option])?;
        assert!(
            seen.mount("/mnt")?.has(flag),
            "{option}: {:?}",
            seen.mount("/mnt")?
        );
    }
    let seen = bound(t, &["ro", "nosuid", "nodev", "noexec", "relatime"])?;
    let mount = seen.mount("/mnt")?;
    assert!(
        ["ro", "nosuid", "nodev", "noexec", "relatime"]
            .iter()
            .all(|flag| mount.has(flag)),
        "{mount:?}"
    );
    let seen = bound(t, &["strictatime"])?;
    assert!(
        !seen.mount("/mnt")?.has("relatime"),
        "{:?}",
        seen.mount("/mnt")?
    );
    Ok(())
}

fn options_unset_flags(t: &Test) -> Done {
    let source = t.scratch("strict")?;
    let host = HostMount::tmpfs(&source)?;
    let flags = nix::mount::MsFlags::MS_REMOUNT
        | nix::mount::MsFlags::MS_BIND
        | nix::mount::MsFlags::MS_NOSUID
        | nix::mount::MsFlags::MS_NOEXEC;
    nix::mount::mount(None::<&str>, &source, None::<&str>, flags, None::<&str>)?;
    let seen = t
        .container(&Bundle::probe().bind(&source, "/mnt", &["suid", "exec", "ro"]))?
        .report()?;
    let mount = seen.mount("/mnt")?;
    assert!(
        !mount.has("nosuid") && !mount.has("noexec") && mount.has("ro"),
        "{mount:?}"
    );
    drop(host);
    Ok(())
}

fn the_last_of_two_options_wins(t: &Test) -> Done {
    assert!(bound(t, &["ro", "rw"])?.mount("/mnt")?.has("rw"));
    assert!(bound(t, &["rw", "ro"])?.mount("/mnt")?.has("ro"));
    assert!(
        !bound(t, &["noexec", "exec", "nodev"])?
            .mount("/mnt")?
            .has("noexec")
    );
    Ok(())
}

fn file_system_options_reach_the_file_system(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let bundle = Bundle::probe().mount(
        "tmpfs",
        "name",
        "/mnt",
        &[
            "size=4096k",
            "mode=700",
            "nr_inodes=100",
            "uid=7",
            "nosuid",
            "ro",
        ],
    );
    let seen = t.container(&bundle)?.report()?;
    let mount = seen.mount("/mnt")?;
    assert!(
        ["size=4096k", "mode=700", "nr_inodes=100", "uid=7"]
            .iter()
            .all(|option| mount.super_has(option)),
        "{mount:?}"
    );
    assert_eq!(
        (mount.kind, mount.source, mount.has("ro")),
        ("tmpfs", "name", true)
    );
    Ok(())
}

fn a_bind_target_is_made_as_file_or_directory(t: &Test) -> Done {
    let dir = t.scratch("dir")?;
    fs::write(dir.join("file"), "content")?;
    let bundle =
        Bundle::shell("cat /new/file; ls -d /new/deep/dir; cat /new/deep/dir/file").writable();
    let c = t.container(&bundle.bind(dir.join("file"), "/new/file", &[]).bind(
        &dir,
        "/new/deep/dir",
        &[],
    ))?;
    assert_eq!(c.run_ok()?.stdout(), "content/new/deep/dir\ncontent");
    assert!(c.path("/new/file").is_file() && c.path("/new/deep/dir").is_dir());
    Ok(())
}

fn a_tmpfs_takes_the_mode_of_its_target(t: &Test) -> Done {
    let bundle = Bundle::shell("stat -c %a /data /given")
        .root(|root| root.dir("data", 0o1751).dir("given", 0o700));
    let c = t.container(&bundle.mount("tmpfs", "tmpfs", "/data", &[]).mount(
        "tmpfs",
        "tmpfs",
        "/given",
        &["mode=0711"],
    ))?;
    let modes = c.run_ok()?.stdout();
    // runc 1.1 takes the target's mode even when one is given.
    assert_eq!(
        modes,
        if t.runtime.is_runc() {
            "1751\n700\n"
        } else {
            "1751\n711\n"
        }
    );
    Ok(())
}

fn tmpcopyup_copies_what_was_there(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let root = |bundle: Bundle| {
        bundle.root(|root| {
            root.file("data/sub/file", 0o640, "content")
                .owner("data/sub/file", 5, 6)
                .link("data/link", "sub/file")
                .dir("data/empty", 0o710)
        })
    };
    let script = "cd /data && cat link && stat -c '%a %u %g' sub/file && readlink link && stat -c %a empty && echo new > sub/file";
    let bundle = root(Bundle::shell(script))
        .capabilities(&["CAP_DAC_OVERRIDE"])
        .mount("tmpfs", "tmpfs", "/data", &["tmpcopyup"]);
    let c = t.container(&bundle)?;
    assert_eq!(c.run_ok()?.stdout(), "content640 5 6\nsub/file\n710\n");
    assert_eq!(
        fs::read_to_string(c.path("/data/sub/file"))?,
        "content",
        "the copy was changed, not the rootfs"
    );
    Ok(())
}

fn a_read_only_tmpfs_can_still_hold_mount_points(t: &Test) -> Done {
    let source = t.scratch("source")?;
    let bundle = Bundle::probe()
        .mount("tmpfs", "tmpfs", "/mnt", &["ro"])
        .bind(&source, "/mnt/a/b", &["ro"]);
    let seen = t.container(&bundle)?.report()?;
    assert!(seen.mount("/mnt")?.has("ro"));
    assert!(seen.mount("/mnt/a/b")?.has("ro"));
    Ok(())
}

fn an_overlay_of_thirty_layers(t: &Test) -> Done {
    let mut lower = Vec::new();
    for number in 0..30 {
        let dir = t.scratch(&format!("a-layer-with-a-rather-long-name-{number:02}"))?;
        fs::write(dir.join(format!("f{number}")), "")?;
        lower.push(dir.display().to_string());
    }
    let (upper, work) = (t.scratch("upper")?, t.scratch("work")?);
    let lower = format!("lowerdir={}", lower.join(":"));
    let (upper_option, work) = (
        format!("upperdir={}", upper.display()),
        format!("workdir={}", work.display()),
    );
    let bundle = Bundle::shell("ls /mnt | wc -l; touch /mnt/new").mount(
        "overlay",
        "overlay",
        "/mnt",
        &[&lower, &upper_option, &work],
    );
    assert_eq!(t.container(&bundle)?.run_ok()?.stdout(), "30\n");
    assert!(upper.join("new").is_file());
    Ok(())
}

fn a_missing_source_is_refused(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["true"]).bind("/no/such/source", "/mnt", &[]))?;
    c.try_create()?
        .exits_with(1)?
        .fails_with("no such file or directory")?
        .fails_with("/no/such/source")?;
    Ok(())
}

fn a_directory_onto_a_file_is_refused(t: &Test) -> Done {
    let source = t.scratch("source")?;
    let c = t.container(&Bundle::args(["true"]).bind(&source, "/etc/passwd", &[]))?;
    c.try_create()?
        .exits_with(1)?
        .fails_with("not a directory")?
        .fails_with("/etc/passwd")?;
    Ok(())
}

fn a_file_onto_a_directory_is_refused(t: &Test) -> Done {
    let source = t.scratch("source")?.join("file");
    std::fs::write(&source, "x")?;
    let c = t.container(&Bundle::args(["true"]).bind(&source, "/mnt", &[]))?;
    c.try_create()?
        .exits_with(1)?
        .fails_with("not a directory")?
        .fails_with("/mnt")?;
    Ok(())
}

fn data_with_a_bind_is_refused(t: &Test) -> Done {
    let source = t.scratch("source")?;
    let c = t.container(&Bundle::args(["true"]).bind(&source, "/mnt", &["size=1m"]))?;
    if t.runtime.is_runc() {
        Ok(())
    } else {
        c.try_create()?
            .exits_with(1)?
            .fails_with("size=1m")
            .map(drop)
    }
}

fn an_unknown_file_system_is_refused(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["true"]).mount("nosuchfs", "none", "/mnt", &[]))?;
    c.try_create()?
        .exits_with(1)?
        .fails_with("no such device")?;
    let c =
        t.container(&Bundle::args(["true"]).mount("tmpfs", "tmpfs", "/mnt", &["nosuchoption=1"]))?;
    c.try_create()?
        .exits_with(1)?
        .fails_with("invalid argument")?;
    Ok(())
}

fn the_order_of_mounts_is_kept(t: &Test) -> Done {
    let (a, b) = (t.scratch("a")?, t.scratch("b")?);
    fs::write(a.join("from-a"), "")?;
    fs::write(b.join("from-b"), "")?;
    let bundle = Bundle::args(["ls", "/mnt"])
        .bind(&a, "/mnt", &[])
        .bind(&b, "/mnt", &[]);
    assert_eq!(t.container(&bundle)?.run_ok()?.stdout(), "from-b\n");
    Ok(())
}

fn a_file_can_be_mounted_over_a_file(t: &Test) -> Done {
    let file = t.dir.join("hosts");
    fs::write(&file, "127.0.0.1 x\n")?;
    let bundle =
        Bundle::shell("cat /etc/passwd; echo more >> /etc/passwd").bind(&file, "/etc/passwd", &[]);
    assert_eq!(t.container(&bundle)?.run_ok()?.stdout(), "127.0.0.1 x\n");
    assert_eq!(fs::read_to_string(&file)?, "127.0.0.1 x\nmore\n");
    Ok(())
}

fn a_hundred_mounts(t: &Test) -> Done {
    let source = t.scratch("source")?;
    let mut bundle = Bundle::shell("grep -c ' /many/' /proc/self/mountinfo").writable();
    for number in 0..100 {
        bundle = bundle.bind(&source, &format!("/many/{number}"), &["ro", "nosuid"]);
    }
    assert_eq!(t.container(&bundle)?.run_ok()?.stdout(), "100\n");
    Ok(())
}
