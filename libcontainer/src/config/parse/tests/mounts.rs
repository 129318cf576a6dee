//! Mounts: kinds, options, and where none may stand.

use super::*;

fn mount(mount: Value) -> Mount {
    parsed(&[("/mounts/-", mount)])
        .mounts
        .pop()
        .expect("just added")
}

fn refused(mount: Value) -> String {
    errors(&[("/mounts/-", mount)]).join("; ")
}

#[test]
fn any_of_the_bind_words_makes_a_bind_mount() {
    for (value, path, deep) in [
        (
            json!({"destination": "/x", "source": "/srv", "options": ["bind"]}),
            "/srv",
            false,
        ),
        (
            json!({"destination": "/x", "source": "/srv", "type": "tmpfs", "options": ["rbind", "ro"]}),
            "/srv",
            true,
        ),
        (
            json!({"destination": "/x", "source": "data/./a", "type": "bind"}),
            "/bundle/data/a",
            false,
        ),
        (
            json!({"destination": "/x", "source": "/a", "type": "bind", "options": ["rbind"]}),
            "/a",
            true,
        ),
    ] {
        let mount = mount(value);
        assert!(
            matches!(&mount.kind, MountKind::Bind { source, recursive } if source == Path::new(path) && *recursive == deep),
            "{mount:?}"
        );
    }
}

#[test]
fn targets_are_cleaned_and_relative_ones_warned_of() {
    assert_eq!(
        mount(json!({"destination": "/a/../b//c/", "type": "tmpfs"}))
            .target
            .to_string(),
        "/b/c"
    );
    let config = parsed(&[("/mounts/-", json!({"destination": "data", "type": "tmpfs"}))]);
    assert_eq!(config.mounts[7].target.to_string(), "/data");
    assert_eq!(
        config.warnings,
        [
            "config.json#/mounts/7/destination: mount destination \"data\" is not absolute, taken below /"
        ]
    );
}

#[test]
fn options_become_attributes_flags_and_data() {
    let mount = mount(
        json!({"destination": "/x", "type": "tmpfs", "source": "t", "options": ["ro", "noexec", "size=1m", "tmpcopyup", "rshared", "rro"]}),
    );
    assert_eq!(
        (mount.attr_set, mount.recursive_set, mount.propagation),
        (0x9, 0x1, vec![1 << 20 | 1 << 14])
    );
    let MountKind::Filesystem {
        fstype,
        source,
        flags,
        data,
        copy_up,
    } = mount.kind
    else {
        panic!("{:?}", mount.kind)
    };
    assert_eq!(
        (fstype, source, data, copy_up),
        (
            c"tmpfs".to_owned(),
            c"t".to_owned(),
            vec![c"size=1m".to_owned()],
            true
        )
    );
    assert!(
        flags.is_empty(),
        "a tmpfs becomes read-only at the end: {flags:?}"
    );
}

#[test]
fn superblock_flags_of_a_bind_mount_are_warned_of() {
    let bind = json!({"destination": "/x", "source": "/s", "options": ["bind", "ro", "sync"]});
    let config = parsed(&[("/mounts/-", bind)]);
    assert_eq!(
        config.warnings,
        ["config.json#/mounts/7/options: sync has no effect on a bind mount or a remount"]
    );
}

#[test]
fn over_proc_only_what_belongs_there() {
    for value in [
        json!({"destination": "/proc", "type": "proc"}),
        json!({"destination": "/proc/", "source": "/proc", "options": ["rbind"]}),
        json!({"destination": "/proc/cpuinfo", "source": "/var/lib/lxcfs/proc/cpuinfo", "options": ["bind"]}),
        json!({"destination": "/proc/sys/kernel/ns_last_pid", "source": "/x", "options": ["bind"]}),
        json!({"destination": "/process", "type": "tmpfs"}),
    ] {
        mount(value);
    }
    let at = "/mounts/7/destination: ";
    for value in [
        json!({"destination": "/proc", "type": "tmpfs"}),
        json!({"destination": "/x/../proc", "source": "/srv", "options": ["bind"]}),
    ] {
        assert_eq!(
            refused(value),
            format!("{at}\"/proc\" cannot be mounted because it is not of type proc")
        );
    }
    for path in [
        "/proc/self",
        "/proc/self/attr",
        "/proc/sys",
        "/proc/sys/kernel/core_pattern",
        "/proc/cpuinfo/x",
        "/a/../proc/1",
    ] {
        let text = refused(json!({"destination": path, "type": "tmpfs"}));
        assert!(
            text.starts_with(at) && text.ends_with("cannot be mounted because it is inside /proc"),
            "{text}"
        );
    }
}

#[test]
fn id_mapped_mounts_are_bind_mounts_with_both_mappings() {
    let map = json!([{"containerID": 0, "hostID": 100, "size": 10}]);
    let good = mount(
        json!({"destination": "/x", "source": "/s", "options": ["bind", "ridmap"], "uidMappings": map, "gidMappings": map}),
    );
    assert_eq!(
        good.idmap
            .map(|idmap| (idmap.recursive, idmap.maps.uid.len())),
        Some((true, 1))
    );
    let plain = mount(json!({"destination": "/x", "source": "/s", "options": ["bind", "idmap"]}));
    assert_eq!(
        plain
            .idmap
            .map(|idmap| (idmap.recursive, idmap.maps.uid.len())),
        Some((false, 0))
    );
    assert_eq!(
        refused(json!({"destination": "/x", "type": "tmpfs", "uidMappings": map})),
        "/mounts/7: id-mapped mounts are only supported for bind-mounts; /mounts/7: id-mapped mounts must have both uid and gid mappings specified"
    );
}

#[test]
fn what_no_mount_can_be_is_refused() {
    for (value, error) in [
        (
            json!({"destination": "/x", "source": "/s", "options": ["bind", "size=1"]}),
            "/mounts/7/options: bind mounts cannot have any filesystem-specific options applied: \"size=1\"",
        ),
        (
            json!({"destination": "/x", "options": ["bind"]}),
            "/mounts/7/source: the path is empty",
        ),
        (
            json!({"destination": "/x", "source": "a\u{0}", "options": ["bind"]}),
            "/mounts/7/source: the path contains a NUL byte",
        ),
        (
            json!({"destination": "/x"}),
            "/mounts/7/type: a mount that is no bind mount needs a type",
        ),
        (
            json!({"destination": "/", "type": "tmpfs"}),
            "/mounts/7/destination: a mount over / would hide the root file system",
        ),
        (
            json!({"destination": "/a/..", "type": "tmpfs"}),
            "/mounts/7/destination: a mount over / would hide the root file system",
        ),
        (
            json!({"type": "tmpfs"}),
            "/mounts/7/destination: the path is empty",
        ),
        (
            json!({"destination": "/a\u{0}", "type": "tmpfs"}),
            "/mounts/7/destination: the path contains a NUL byte",
        ),
        (
            json!({"destination": "/x", "type": "ext4", "options": ["tmpcopyup"]}),
            "/mounts/7/options: tmpcopyup is for tmpfs only",
        ),
        (
            json!({"destination": "/x", "type": "a\u{0}"}),
            "/mounts/7/type: contains a NUL byte at offset 1",
        ),
        (
            json!({"destination": "/x", "type": "tmpfs", "options": ["a\u{0}"]}),
            "/mounts/7/options: contains a NUL byte at offset 1",
        ),
        (
            json!({"destination": "/x", "type": "tmpfs", "options": ["remount", "size=1"]}),
            "/mounts/7/options: a remount cannot change filesystem-specific options",
        ),
    ] {
        assert_eq!(refused(value), error);
    }
}
