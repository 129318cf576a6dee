//! The file system of a container: its root, every kind of mount and every option, propagation, masked and read-only paths.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::place::{HostMount, Place};
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
        rbind_takes_submounts_and_bind_does_not,
        recursive_options_reach_submounts,
        propagation_options_are_applied,
        the_root_propagation_is_applied,
        a_shared_source_does_not_propagate_back,
        a_slave_receives_what_the_host_mounts_later,
        a_tmpfs_takes_the_mode_of_its_target,
        tmpcopyup_copies_what_was_there,
        a_read_only_tmpfs_can_still_hold_mount_points,
        an_idmapped_bind_shows_mapped_owners,
        an_idmapped_bind_in_a_user_namespace,
        an_overlay_of_thirty_layers,
        a_source_below_a_private_directory,
        a_source_below_a_private_directory_in_a_user_namespace,
        masked_paths_are_empty,
        readonly_paths_are_read_only,
        paths_that_are_not_there_are_passed_over,
        masks_apply_to_what_was_mounted,
        a_mount_on_a_symlink_stays_inside,
        a_relative_destination_is_taken_from_the_root,
        a_missing_source_is_refused,
        a_directory_onto_a_file_is_refused,
        data_with_a_bind_is_refused,
        an_unknown_file_system_is_refused,
        a_mount_over_proc_is_refused,
        cgroups_are_visible_and_read_only,
        no_pivot_works,
        sysfs_shows_the_containers_network,
        the_order_of_mounts_is_kept,
        a_file_can_be_mounted_over_a_file,
        nosymfollow_is_applied,
        a_hundred_mounts,
    ]
}

fn the_default_mounts_are_there_with_their_flags(t: &Test) -> Done {
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
fn bound(t: &Test, options: &[&str]) -> Result<Report, Failure> {
    let source = t.scratch(&format!("source{}", t.ids().len()))?;
    t.container(&Bundle::probe().bind(&source, "/mnt", options))?
        .report()
}

fn options_set_flags_on_a_bind(t: &Test) -> Done {
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

fn rbind_takes_submounts_and_bind_does_not(t: &Test) -> Done {
    let source = t.scratch("tree")?;
    let below = HostMount::tmpfs(&source.join("sub"))?;
    fs::write(source.join("sub/file"), "below")?;
    let bundle =
        |option: &str| Bundle::shell("cat /mnt/sub/file").mount("bind", &source, "/mnt", &[option]);
    t.container(&bundle("bind"))?.run()?.exits_with(1)?;
    assert_eq!(t.container(&bundle("rbind"))?.run_ok()?.stdout(), "below");
    drop(below);
    Ok(())
}

fn recursive_options_reach_submounts(t: &Test) -> Done {
    let source = t.scratch("tree")?;
    let below = HostMount::tmpfs(&source.join("sub"))?;
    let with = |option: &str| -> Result<Report, Failure> {
        t.container(&Bundle::probe().mount("bind", &source, "/mnt", &["rbind", option]))?
            .report()
    };
    for (option, flag) in [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
    ] {
        let seen = with(option)?;
        assert!(seen.mount("/mnt")?.has(flag), "{option}");
        assert!(seen.mount("/mnt/sub")?.has(flag), "{option} below");
    }
    let seen = with("ro")?;
    assert!(
        seen.mount("/mnt")?.has("ro") && seen.mount("/mnt/sub")?.has("rw"),
        "ro is not recursive"
    );
    drop(below);
    Ok(())
}

fn propagation_options_are_applied(t: &Test) -> Done {
    for (option, wanted) in [
        ("shared", &["shared"][..]),
        ("rshared", &["shared"]),
        ("unbindable", &["unbindable"]),
        ("private", &[]),
        ("rprivate", &[]),
    ] {
        let seen = bound(t, &[option])?;
        assert_eq!(seen.mount("/mnt")?.propagation, wanted, "{option}");
    }
    let source = t.scratch("shared-source")?;
    let host = HostMount::tmpfs(&source)?;
    host.share()?;
    for option in ["slave", "rslave"] {
        let seen = t
            .container(&Bundle::probe().bind(&source, "/mnt", &[option]))?
            .report()?;
        assert_eq!(seen.mount("/mnt")?.propagation, ["master"], "{option}");
    }
    drop(host);
    Ok(())
}

fn the_root_propagation_is_applied(t: &Test) -> Done {
    for (word, wanted) in [
        ("shared", &["shared"][..]),
        ("private", &[]),
        ("slave", &[]),
        ("unbindable", &["unbindable"]),
    ] {
        if matches!(word, "shared" | "unbindable") && t.runtime.is_runc() {
            // Fixed in runc 1.4.
            continue;
        }
        let seen = t
            .container(&Bundle::probe().set("/linux/rootfsPropagation", json!(word)))?
            .report()?;
        let got: Vec<&str> = seen
            .mount("/")?
            .propagation
            .into_iter()
            .filter(|one| *one != "master")
            .collect();
        assert_eq!(got, wanted, "{word}");
    }
    Ok(())
}

fn a_shared_source_does_not_propagate_back(t: &Test) -> Done {
    let source = t.scratch("source")?;
    let host = HostMount::tmpfs(&source)?;
    host.share()?;
    fs::create_dir(source.join("sub"))?;
    let all = ["CAP_SYS_ADMIN"];
    for options in [&[][..], &["rslave"], &["rprivate"], &["slave"]] {
        let bundle =
            Bundle::shell("mount -t tmpfs x /mnt/sub && grep -c /mnt/sub /proc/self/mountinfo")
                .capabilities(&all);
        assert_eq!(
            t.container(&bundle.bind(&source, "/mnt", options))?
                .run_ok()?
                .stdout(),
            "1\n"
        );
        let points = garboard_integration_tests::leaks::mount_points()?;
        assert!(
            !points
                .iter()
                .any(|point| Path::new(point) == source.join("sub")),
            "it came back to the host: {options:?}"
        );
    }
    drop(host);
    Ok(())
}

fn a_slave_receives_what_the_host_mounts_later(t: &Test) -> Done {
    let source = t.scratch("source")?;
    let host = HostMount::tmpfs(&source)?;
    host.share()?;
    let c = t.container(&Bundle::sleeper().mount("bind", &source, "/mnt", &["rbind", "rslave"]))?;
    c.run_detached()?;
    let later = HostMount::tmpfs(&source.join("later"))?;
    fs::write(source.join("later/file"), "late")?;
    assert_eq!(
        c.exec(&["cat", "/mnt/later/file"])?.success()?.stdout(),
        "late"
    );
    c.delete_force()?;
    drop(later);
    drop(host);
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

fn an_idmapped_bind_shows_mapped_owners(t: &Test) -> Done {
    t.not_for_runc("1.1 has no idmapped mounts")?;
    let source = t.scratch("source")?;
    fs::write(source.join("file"), "x")?;
    std::os::unix::fs::chown(source.join("file"), Some(5), Some(5))?;
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let mount = json!({"destination": "/mnt", "type": "bind", "source": source, "options": ["bind"], "uidMappings": map, "gidMappings": map});
    let out = t
        .container(&Bundle::shell("stat -c '%u %g' /mnt/file").set("/mounts/-", mount))?
        .run_ok()?;
    assert_eq!(out.stdout(), "100005 100005\n");
    Ok(())
}

fn an_idmapped_bind_in_a_user_namespace(t: &Test) -> Done {
    t.not_for_runc("1.1 has no idmapped mounts")?;
    let source = t.scratch("source")?;
    fs::write(source.join("file"), "x")?;
    std::os::unix::fs::chown(source.join("file"), Some(5), Some(5))?;
    let mount = json!({"destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "idmap"]});
    let bundle = Bundle::shell("stat -c '%u %g' /mnt/file && touch /mnt/new")
        .user_namespace(100_000, 65536)
        .set("/mounts/-", mount);
    let c = t.container(&bundle)?;
    assert_eq!(c.run_ok()?.stdout(), "5 5\n");
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(source.join("new"))?),
        0,
        "root inside is root in the source"
    );
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

fn private_source(t: &Test) -> Result<std::path::PathBuf, Failure> {
    let source = t.scratch("private/source")?;
    fs::set_permissions(t.dir.join("private"), fs::Permissions::from_mode(0o700))?;
    fs::write(source.join("file"), "content")?;
    Ok(source)
}

fn a_source_below_a_private_directory(t: &Test) -> Done {
    let c = t.container(
        &Bundle::args(["cat", "/mnt/file"])
            .bind(private_source(t)?, "/mnt", &["ro"])
            .set("/process/user", json!({"uid": 1000, "gid": 1000})),
    )?;
    assert_eq!(c.run_ok()?.stdout(), "content");
    Ok(())
}

fn a_source_below_a_private_directory_in_a_user_namespace(t: &Test) -> Done {
    let c = t.container(
        &Bundle::args(["cat", "/mnt/file"])
            .bind(private_source(t)?, "/mnt", &["ro"])
            .user_namespace(100_000, 65536),
    )?;
    assert_eq!(c.run_ok()?.stdout(), "content");
    Ok(())
}

fn masked_paths_are_empty(t: &Test) -> Done {
    let bundle = Bundle::shell("cat /secret/file; ls -A /hidden; stat -c %F /secret/file /hidden; touch /hidden/x 2>/dev/null || echo refused")
        .root(|root| root.file("secret/file", 0o644, "secret").file("hidden/inside", 0o644, "x"))
        .set("/linux/maskedPaths", json!(["/secret/file", "/hidden", "/proc/kcore", "/proc/keys"]));
    let out = t.container(&bundle.writable())?.run_ok()?;
    assert_eq!(out.stdout(), "character special file\ndirectory\nrefused\n");
    let out = t
        .container(&Bundle::shell(
            "cat /proc/keys /proc/timer_list | wc -c; ls -A /sys/firmware | wc -l",
        ))?
        .run_ok()?;
    assert_eq!(out.stdout(), "0\n0\n");
    Ok(())
}

fn readonly_paths_are_read_only(t: &Test) -> Done {
    let bundle = Bundle::shell("touch /kept/x || echo refused; touch /free/x && echo done; echo 1 > /proc/sys/net/ipv4/ip_forward || echo refused")
        .root(|root| root.dir("kept", 0o777).dir("free", 0o777)).writable().set("/linux/readonlyPaths/-", json!("/kept"));
    let out = t.container(&bundle)?.run_ok()?;
    assert_eq!(out.stdout(), "refused\ndone\nrefused\n");
    let seen = t.container(&Bundle::probe())?.report()?;
    for path in ["/proc/bus", "/proc/irq", "/proc/sys"] {
        let mount = seen.mount(path)?;
        assert!(mount.has("ro"), "{mount:?}");
    }
    Ok(())
}

fn paths_that_are_not_there_are_passed_over(t: &Test) -> Done {
    let bundle = Bundle::args(["true"])
        .set("/linux/maskedPaths", json!(["/no/such", "/proc/nothing"]))
        .set("/linux/readonlyPaths", json!(["/none"]));
    let out = t.container(&bundle)?.run_ok()?;
    assert!(
        t.place == Place::V2 && t.runtime.is_runc() || out.stderr().is_empty(),
        "{}",
        out.stderr()
    );
    Ok(())
}

fn masks_apply_to_what_was_mounted(t: &Test) -> Done {
    let source = t.scratch("source")?;
    fs::write(source.join("file"), "secret")?;
    let bundle = Bundle::args(["cat", "/mnt/file"])
        .bind(&source, "/mnt", &[])
        .set("/linux/maskedPaths", json!(["/mnt/file"]));
    assert_eq!(t.container(&bundle)?.run_ok()?.stdout(), "");
    assert_eq!(fs::read_to_string(source.join("file"))?, "secret");
    Ok(())
}

fn a_mount_on_a_symlink_stays_inside(t: &Test) -> Done {
    let canary = t.scratch("canary")?;
    let source = t.scratch("source")?;
    fs::write(source.join("file"), "x")?;
    let absolute = canary.display().to_string();
    let bundle = Bundle::args(["cat", "/out/sub/file"]).root(|root| {
        root.link("out", &absolute)
            .link("up", "../../../../../../mnt")
    });
    let c = t.container(&bundle.writable().bind(&source, "/out/sub", &[]).bind(
        &source,
        "/up",
        &[],
    ))?;
    assert_eq!(c.run_ok()?.stdout(), "x");
    assert_eq!(
        fs::read_dir(&canary)?.count(),
        0,
        "the host's directory was touched"
    );
    assert!(
        c.path(&format!("{absolute}/sub")).is_dir(),
        "the link was followed inside the rootfs"
    );
    Ok(())
}

fn a_relative_destination_is_taken_from_the_root(t: &Test) -> Done {
    let source = t.scratch("source")?;
    fs::write(source.join("file"), "x")?;
    let out = t
        .container(&Bundle::args(["cat", "/mnt/file"]).bind(&source, "mnt", &[]))?
        .run_ok()?;
    assert_eq!(out.stdout(), "x");
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

fn a_mount_over_proc_is_refused(t: &Test) -> Done {
    let source = t.scratch("source")?;
    for target in ["/proc/self", "/proc/sys", "/proc/1/ns", "/proc/net"] {
        t.container(&Bundle::args(["true"]).bind(&source, target, &[]))?
            .try_create()?
            .exits_with(1)?
            .fails_with("/proc")?;
    }
    let file = t.dir.join("uptime");
    fs::write(&file, "mine\n")?;
    assert_eq!(
        t.container(&Bundle::args(["cat", "/proc/uptime"]).bind(&file, "/proc/uptime", &["ro"]))?
            .run_ok()?
            .stdout(),
        "mine\n"
    );
    Ok(())
}

fn cgroups_are_visible_and_read_only(t: &Test) -> Done {
    let script = "ls /sys/fs/cgroup; mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused; mkdir /sys/fs/cgroup/memory/x 2>/dev/null || echo refused";
    let out = t
        .container(&Bundle::shell(script).capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]))?
        .run_ok()?;
    let lines = out.lines();
    let refused = lines.iter().filter(|line| *line == "refused").count();
    // runc 1.1 leaves the tmpfs above the hierarchies writable.
    assert!(
        refused == 2 || refused == 1 && t.runtime.is_runc() && t.place == Place::Native,
        "{lines:?}"
    );
    let has = |name: &str| lines.iter().any(|line| line == name);
    if t.place == Place::V2 {
        assert!(
            has("cgroup.controllers") || has("cgroup.procs"),
            "{lines:?}"
        );
    } else {
        assert!(
            ["memory", "devices", "cpu", "freezer", "pids"]
                .iter()
                .all(|name| has(name)),
            "{lines:?}"
        );
        let out = t
            .container(&Bundle::shell("cat /sys/fs/cgroup/devices/cgroup.procs"))?
            .run_ok()?;
        assert!(!out.lines().is_empty(), "its own cgroup, with itself in it");
    }
    let own = Bundle::shell("cat /sys/fs/cgroup/cgroup.procs").namespace("cgroup", None);
    if t.place == Place::V2 {
        assert!(
            t.container(&own)?
                .run_ok()?
                .lines()
                .contains(&"1".to_owned())
        );
    }
    Ok(())
}

fn no_pivot_works(t: &Test) -> Done {
    let c = t.container(&Bundle::shell("ls / | wc -l; cat /proc/1/comm"))?;
    let out = t
        .runtime
        .finish(c.run_command(&["--no-pivot"]))?
        .success()?;
    assert_eq!(out.lines().len(), 2, "{:?}", out.lines());
    Ok(())
}

fn sysfs_shows_the_containers_network(t: &Test) -> Done {
    let out = t.container(&Bundle::shell("ls /sys/class/net"))?.run_ok()?;
    assert_eq!(out.stdout().trim(), "lo");
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

fn nosymfollow_is_applied(t: &Test) -> Done {
    t.not_for_runc("1.1 has no nosymfollow")?;
    let source = t.scratch("source")?;
    std::os::unix::fs::symlink("/etc/passwd", source.join("link"))?;
    let out = t
        .container(&Bundle::shell("cat /mnt/link 2>&1; true").bind(
            &source,
            "/mnt",
            &["nosymfollow"],
        ))?
        .run_ok()?;
    assert!(out.stdout().contains("Too many levels"), "{}", out.stdout());
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
