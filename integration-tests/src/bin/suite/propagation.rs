//! What mounts share with each other and with the host, and what a bind takes from its source: submounts, propagation, mapped owners.

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::needs::Need;
use garboard_integration_tests::place::HostMount;
use garboard_integration_tests::probe::Report;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::mounts::bound;

pub fn cases() -> Vec<Case> {
    cases![
        rbind_takes_submounts_and_bind_does_not,
        recursive_options_reach_submounts,
        propagation_options_are_applied,
        the_root_propagation_is_applied,
        a_shared_source_does_not_propagate_back,
        a_slave_receives_what_the_host_mounts_later,
        an_idmapped_bind_shows_mapped_owners,
        an_idmapped_bind_in_a_user_namespace,
        a_source_below_a_private_directory,
        a_source_below_a_private_directory_in_a_user_namespace,
    ]
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
    t.needs(&[Need::Root])?;
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

fn an_idmapped_bind_shows_mapped_owners(t: &Test) -> Done {
    t.not_for_runc("1.1 has no idmapped mounts")?;
    // The source is on a tmpfs.
    t.needs(&[Need::Kernel(6, 3)])?;
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
    // The source is on a tmpfs.
    t.needs(&[Need::Kernel(6, 3)])?;
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
    t.needs(&[Need::Root])?;
    let c = t.container(
        &Bundle::args(["cat", "/mnt/file"])
            .bind(private_source(t)?, "/mnt", &["ro"])
            .user_namespace(100_000, 65536),
    )?;
    assert_eq!(c.run_ok()?.stdout(), "content");
    Ok(())
}
