//! `/dev` and the device policy of the cgroup.

use std::fs;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::needs::Need;
use serde_json::json;

pub fn cases() -> Vec<Case> {
    cases![
        the_default_devices_and_links_are_there,
        a_listed_device_is_made_as_described,
        a_listed_device_replaces_a_default_one,
        a_bound_dev_is_left_alone,
        a_user_namespace_gets_working_devices,
        a_device_not_allowed_cannot_be_opened,
        an_allowed_device_can_be_opened,
        the_last_rule_wins,
        default_devices_cannot_be_denied,
        a_pseudo_terminal_can_be_made,
        an_empty_device_list_denies,
        exec_is_under_the_same_policy,
    ]
}

fn the_default_devices_and_links_are_there(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let script = "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %F %a %t:%T %u:%g' $d; done; for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done";
    let out = t.container(&Bundle::shell(script))?.run_ok()?;
    let wanted = "null character special file 666 1:3 0:0\nzero character special file 666 1:5 0:0\nfull character special file 666 1:7 0:0\n\
        random character special file 666 1:8 0:0\nurandom character special file 666 1:9 0:0\ntty character special file 666 5:0 0:0\n\
        fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\nptmx pts/ptmx\n";
    assert_eq!(out.stdout(), wanted);
    let out = t.container(&Bundle::shell("echo x > /dev/null; head -c 4 /dev/zero | od -An -tx1; head -c 8 /dev/urandom | wc -c; echo x > /dev/full"))?.run()?;
    assert_eq!(
        out.lines()[..2],
        [" 00 00 00 00".to_owned(), "8".to_owned()]
    );
    Ok(())
}

fn a_listed_device_is_made_as_described(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let devices = json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8},
        {"path": "/dev/sub/dir/block", "type": "b", "major": 7, "minor": 0, "fileMode": 0o600},
        {"path": "/dev/pipe", "type": "p"},
        {"path": "/dev/plain", "type": "c", "major": 1, "minor": 3},
    ]);
    let script = "cd /dev; for d in mine sub/dir/block pipe plain; do stat -c '%n %F %a %t:%T %u:%g' $d; done";
    let out = t
        .container(&Bundle::shell(script).set("/linux/devices", devices))?
        .run_ok()?;
    let wanted = "mine character special file 640 1:5 7:8\nsub/dir/block block special file 600 7:0 0:0\npipe fifo 666 0:0 0:0\nplain character special file 666 1:3 0:0\n";
    assert_eq!(out.stdout(), wanted);
    Ok(())
}

fn a_listed_device_replaces_a_default_one(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let device = json!([{"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o600, "uid": 3, "gid": 4}]);
    let out = t
        .container(
            &Bundle::shell("stat -c '%a %t:%T %u:%g' /dev/full").set("/linux/devices", device),
        )?
        .run_ok()?;
    assert_eq!(out.stdout(), "600 1:7 3:4\n");
    Ok(())
}

fn a_bound_dev_is_left_alone(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let source = t.scratch("dev")?;
    fs::write(source.join("only"), "")?;
    let (kind, mode) = (
        nix::sys::stat::SFlag::S_IFCHR,
        nix::sys::stat::Mode::from_bits_truncate(0o666),
    );
    nix::sys::stat::mknod(
        &source.join("null"),
        kind,
        mode,
        nix::sys::stat::makedev(1, 3),
    )?;
    let bundle = Bundle::shell("ls /dev")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .without_mount("/dev");
    let out = t
        .container(&bundle.bind(&source, "/dev", &["ro"]))?
        .run_ok()?;
    assert_eq!(out.stdout(), "null\nonly\n");
    assert_eq!(fs::read_dir(&source)?.count(), 2);
    Ok(())
}

fn a_user_namespace_gets_working_devices(t: &Test) -> Done {
    let script = "echo x > /dev/null && head -c 8 /dev/urandom | wc -c && stat -c %t:%T /dev/null /dev/tty && readlink /dev/fd";
    let out = t
        .container(&Bundle::shell(script).user_namespace(100_000, 65536))?
        .run_ok()?;
    assert_eq!(out.stdout(), "8\n1:3\n5:0\n/proc/self/fd\n");
    Ok(())
}

/// /dev/kmsg, 1:11: harmless to open for reading.
fn with_kmsg(script: &str) -> Bundle {
    let device = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]);
    Bundle::shell(script)
        .capabilities(&["CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_MKNOD"])
        .set("/linux/devices", device)
}

const OPEN: &str = "(exec 3< /dev/kmsg) 2>&1 && echo opened";

fn a_device_not_allowed_cannot_be_opened(t: &Test) -> Done {
    let out = t.container(&with_kmsg(OPEN))?.run()?;
    assert!(
        out.stdout().contains("Operation not permitted") && !out.stdout().contains("opened"),
        "{}",
        out.stdout()
    );
    Ok(())
}

fn an_allowed_device_can_be_opened(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    for rule in [
        json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}),
        json!({"allow": true, "type": "c", "major": 1, "access": "rwm"}),
        json!({"allow": true, "access": "rwm"}),
        json!({"allow": true, "type": "a", "access": "rwm"}),
    ] {
        let out = t
            .container(&with_kmsg(OPEN).set("/linux/resources/devices/-", rule.clone()))?
            .run()?;
        assert!(out.stdout().contains("opened"), "{rule}: {}", out.stdout());
    }
    let write = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"});
    let out = t
        .container(&with_kmsg(OPEN).set("/linux/resources/devices/-", write))?
        .run()?;
    assert!(
        !out.stdout().contains("opened"),
        "allowed to write, not to read"
    );
    Ok(())
}

fn the_last_rule_wins(t: &Test) -> Done {
    let bundle = with_kmsg(OPEN)
        .set(
            "/linux/resources/devices/-",
            json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm"}),
        )
        .set(
            "/linux/resources/devices/-",
            json!({"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm"}),
        );
    let out = t.container(&bundle)?.run()?;
    assert!(!out.stdout().contains("opened"), "{}", out.stdout());
    Ok(())
}

fn default_devices_cannot_be_denied(t: &Test) -> Done {
    let rule = json!({"allow": false, "type": "c", "major": 1, "minor": 3, "access": "rwm"});
    let out = t
        .container(
            &Bundle::shell("echo x > /dev/null && echo ok").set("/linux/resources/devices/-", rule),
        )?
        .run_ok()?;
    assert_eq!(out.stdout(), "ok\n");
    Ok(())
}

fn a_pseudo_terminal_can_be_made(t: &Test) -> Done {
    let out = t
        .container(&Bundle::shell("exec 3<> /dev/ptmx && ls /dev/pts"))?
        .run_ok()?;
    assert_eq!(out.stdout(), "0\nptmx\n");
    Ok(())
}

fn an_empty_device_list_denies(t: &Test) -> Done {
    t.not_for_runc("1.1 takes an empty list as given: it allows all")?;
    let out = t
        .container(&with_kmsg(OPEN).set("/linux/resources/devices", json!([])))?
        .run()?;
    assert!(
        out.stdout().contains("Operation not permitted"),
        "{}",
        out.stdout()
    );
    let out = t
        .container(&with_kmsg(OPEN).without("/linux/resources"))?
        .run()?;
    assert!(
        out.stdout().contains("Operation not permitted"),
        "{}",
        out.stdout()
    );
    Ok(())
}

fn exec_is_under_the_same_policy(t: &Test) -> Done {
    let c = t.container(&with_kmsg("sleep 1000"))?;
    c.run_detached()?;
    let out = c.exec(&["sh", "-c", OPEN])?;
    assert!(
        out.stdout().contains("Operation not permitted"),
        "{}",
        out.stdout()
    );
    Ok(())
}
