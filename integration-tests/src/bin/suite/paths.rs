//! Paths that are masked, read-only, over /proc, behind symlinks; the views of cgroups and of sysfs.

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Test};
use garboard_integration_tests::cases;
use serde_json::json;
use std::fs;

pub fn cases() -> Vec<Case> {
    cases![
        masked_paths_are_empty,
        readonly_paths_are_read_only,
        paths_that_are_not_there_are_passed_over,
        masks_apply_to_what_was_mounted,
        a_mount_on_a_symlink_stays_inside,
        a_relative_destination_is_taken_from_the_root,
        a_mount_over_proc_is_refused,
        cgroups_are_visible_and_read_only,
        no_pivot_works,
        sysfs_shows_the_containers_network,
        nosymfollow_is_applied,
    ]
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
        t.place.is_unified() && t.runtime.is_runc() || out.stderr().is_empty(),
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
        refused == 2 || refused == 1 && t.runtime.is_runc() && !t.place.is_unified(),
        "{lines:?}"
    );
    let has = |name: &str| lines.iter().any(|line| line == name);
    if t.place.is_unified() {
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
    if t.place.is_unified() {
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
