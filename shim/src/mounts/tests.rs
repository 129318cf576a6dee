//! Real mounts, in a mount namespace of the test's own thread. They need root.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use super::*;

/// A directory with `rootfs` in it, on a thread that sees mounts of its own.
struct Bundle(PathBuf);

impl Bundle {
    fn new(name: &str) -> Option<Bundle> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: mounts need root");
            return None;
        }
        #[allow(deprecated)] // as in layers.rs
        rustix::thread::unshare(UnshareFlags::NEWNS).expect("a mount namespace");
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .expect("private");
        let name = format!("garboard-test-mounts-{name}-{}", std::process::id());
        let bundle = Bundle(std::env::temp_dir().join(name));
        for directory in ["lower", "upper", "work"] {
            fs::create_dir_all(bundle.0.join(directory)).expect("bundle");
        }
        fs::write(bundle.0.join("lower/file"), "lower").expect("write");
        Some(bundle)
    }

    fn path(&self, below: &str) -> String {
        self.0
            .join(below)
            .into_os_string()
            .into_string()
            .expect("text")
    }

    fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    /// The lines of mountinfo for the rootfs and below, as far as a reader cares.
    fn mounted(&self) -> Vec<String> {
        let all = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
        let rootfs = self.path("rootfs");
        all.lines()
            .filter(|line| {
                line.split(' ')
                    .nth(4)
                    .is_some_and(|on| on.starts_with(&rootfs))
            })
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = unmount_all(&self.rootfs()); // the assertion that failed is what matters
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mount(type_: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        type_: type_.to_owned(),
        source: source.to_owned(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Mount::new()
    }
}

#[test]
fn an_overlay_and_its_end() {
    let Some(bundle) = Bundle::new("overlay") else {
        return;
    };
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| bundle.path(name));
    // An overlay on an overlay needs xattrs that not every test machine has there.
    let tmpfs = mount("tmpfs", "tmpfs", &[]);
    mount_all(&[tmpfs], Path::new(&bundle.0)).expect("tmpfs");
    for directory in [&lower, &upper, &work] {
        fs::create_dir(directory).expect("directory");
    }
    fs::write(bundle.0.join("lower/file"), "lower").expect("write");
    let words = [
        format!("lowerdir={lower}"),
        format!("upperdir={upper}"),
        format!("workdir={work}"),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    mount_all(&[mount("overlay", "overlay", &words)], &bundle.rootfs()).expect("overlay");
    fs::write(bundle.rootfs().join("file"), "changed").expect("write");
    assert_eq!(
        fs::read_to_string(bundle.path("lower/file")).expect("lower"),
        "lower"
    );
    assert_eq!(
        fs::read_to_string(bundle.path("upper/file")).expect("upper"),
        "changed"
    );
    unmount_all(&bundle.rootfs()).expect("unmount");
    assert_eq!(fs::read_dir(bundle.rootfs()).expect("rootfs").count(), 0);
    unmount_all(&bundle.rootfs()).expect("again");
    unmount_all(&bundle.0).expect("the tmpfs");
}

#[test]
fn an_option_longer_than_a_page_is_shortened() {
    let Some(bundle) = Bundle::new("layers") else {
        return;
    };
    mount_all(&[mount("tmpfs", "tmpfs", &[])], &bundle.0).expect("tmpfs");
    let layers: Vec<String> = (100..250)
        .map(|number| {
            let layer = bundle.path(&format!("snapshots/{number}/fs"));
            fs::create_dir_all(&layer).expect("layer");
            fs::write(format!("{layer}/{number}"), "").expect("write");
            layer
        })
        .collect();
    let lower = format!("lowerdir={}", layers.join(":"));
    assert!(lower.len() > 4096);
    let before = std::env::current_dir().expect("cwd");
    mount_all(
        &[mount("overlay", "overlay", &[&lower, "X-something"])],
        &bundle.rootfs(),
    )
    .expect("overlay");
    assert_eq!(fs::read_dir(bundle.rootfs()).expect("rootfs").count(), 150);
    assert_eq!(std::env::current_dir().expect("cwd"), before);
    unmount_all(&bundle.rootfs()).expect("unmount");
    unmount_all(&bundle.0).expect("the tmpfs");
}

#[test]
fn a_bind_mount_becomes_read_only_and_keeps_its_other_flags() {
    let Some(bundle) = Bundle::new("bind") else {
        return;
    };
    let lower = bundle.0.join("lower");
    mount_all(&[mount("tmpfs", "tmpfs", &["nosuid", "nodev"])], &lower).expect("tmpfs");
    fs::write(lower.join("file"), "x").expect("write");
    let source = bundle.path("lower");
    mount_all(
        &[mount("bind", &source, &["rbind", "ro"])],
        &bundle.rootfs(),
    )
    .expect("bind");
    let refused = fs::write(bundle.rootfs().join("file"), "y").expect_err("read-only");
    assert_eq!(refused.raw_os_error(), Some(Errno::ROFS.raw_os_error()));
    let mounted = bundle.mounted();
    assert!(mounted[0].contains(" ro,nosuid,nodev"), "{mounted:?}");
    // The source is not.
    fs::write(lower.join("file"), "y").expect("writable");
    unmount_all(&bundle.rootfs()).expect("unmount");
    mount_all(
        &[mount("bind", &source, &["rbind", "rw"])],
        &bundle.rootfs(),
    )
    .expect("bind");
    fs::write(bundle.rootfs().join("file"), "z").expect("writable");
    unmount_all(&bundle.rootfs()).expect("unmount");
    unmount_all(&lower).expect("unmount");
}

#[test]
fn several_mounts_lie_on_each_other_and_targets_stay_inside() {
    let Some(bundle) = Bundle::new("stack") else {
        return;
    };
    let lower = bundle.path("lower");
    symlink("/", bundle.path("lower/out")).expect("symlink");
    fs::create_dir(bundle.path("lower/data")).expect("directory");
    let mut below = mount("tmpfs", "tmpfs", &["size=1m"]);
    // A symlink of the image that leads to the rootfs's own /data, not to the host's.
    below.target = "/out/data".into();
    let mounts = [
        mount("tmpfs", "tmpfs", &[]),
        mount("bind", &lower, &["bind"]),
        below,
    ];
    mount_all(&mounts, &bundle.rootfs()).expect("mounts");
    let mounted = bundle.mounted();
    assert_eq!(mounted.len(), 3, "{mounted:?}");
    assert!(
        mounted[2].contains(&bundle.path("rootfs/data ")),
        "{mounted:?}"
    );
    unmount_all(&bundle.rootfs()).expect("unmount");
    assert!(bundle.mounted().is_empty());
}

#[test]
fn what_fails_is_undone_and_named() {
    let Some(bundle) = Bundle::new("undo") else {
        return;
    };
    let tmpfs = mount("tmpfs", "tmpfs", &[]);
    let said = |wrong: Mount| {
        let error = mount_all(&[tmpfs.clone(), wrong], &bundle.rootfs()).expect_err("wrong");
        assert!(bundle.mounted().is_empty(), "{error}");
        error.to_string()
    };
    let missing = said(mount("bind", "/no/such/source", &["bind"]));
    assert!(
        missing.contains("mount(/no/such/source, bind)"),
        "{missing}"
    );
    assert!(said(mount("no-such-fs", "none", &[])).contains("no-such-fs"));
    assert!(said(mount("fuse3.x", "none", &[])).contains("not supported"));
    assert!(said(mount("format/overlay", "none", &[])).contains("not supported"));
    for word in [
        "loop",
        "uidmap=0:1000:1",
        "gidmap=0:1000:1",
        "X-containerd.dmverity=auto",
    ] {
        let text = said(mount("ext4", "/img", &["ro", word]));
        assert!(
            text.contains(word) && text.contains("not supported"),
            "{text}"
        );
    }
    assert!(said(mount("tmpfs", "a\0b", &[])).contains("NUL"));
}

#[test]
fn a_symlink_for_a_rootfs_is_not_followed() {
    let Some(bundle) = Bundle::new("symlink") else {
        return;
    };
    symlink(bundle.0.join("lower"), bundle.rootfs()).expect("symlink");
    let refused =
        mount_all(&[mount("tmpfs", "tmpfs", &[])], &bundle.rootfs()).expect_err("symlink");
    assert!(
        matches!(
            refused,
            Error::Refused {
                errno: Errno::NOTDIR,
                ..
            }
        ),
        "{refused}"
    );
    mount_all(&[mount("tmpfs", "tmpfs", &[])], &bundle.0.join("lower")).expect("mount");
    // umount2 takes the symlink itself for no mount point.
    unmount_all(&bundle.rootfs()).expect("nothing there");
    assert_eq!(
        fs::read_dir(bundle.0.join("lower")).expect("lower").count(),
        0
    );
    unmount_all(&bundle.0.join("lower")).expect("unmount");
    assert!(bundle.0.join("lower/file").is_file());
}

#[test]
fn a_missing_target_is_unmounted() {
    unmount_all(Path::new("/no/such/bundle/rootfs")).expect("nothing");
}
