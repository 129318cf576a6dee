//! Places that no container can be given: each refused with the key, the reason and a hint, and nothing left.

use std::fs;
use std::path::{Path, PathBuf};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::Container;
use garboard_integration_tests::needs::Need;
use garboard_integration_tests::{cases, cgroups, processes};
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};
use serde_json::json;

use crate::nesting::CGROUPS;

pub fn cases() -> Vec<Case> {
    cases![
        a_cgroup_below_a_threaded_one_is_refused,
        a_threaded_cgroup_is_refused,
        a_path_in_use_is_refused,
        read_only_cgroups_are_refused,
    ]
}

/// Directories made by a case outside any container, which go with it.
struct Made(Vec<PathBuf>);

impl Made {
    fn dirs(t: &Test, paths: &[&str]) -> Result<Made, Failure> {
        let top = Path::new(CGROUPS).join(&t.token);
        let all: Vec<_> = paths.iter().map(|path| top.join(path)).collect();
        let made = Made(std::iter::once(top).chain(all).collect());
        made.0.iter().try_for_each(fs::create_dir_all)?;
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for dir in self.0.iter().rev() {
            // What is left would be found by the leak check.
            let _ = fs::remove_dir(dir);
        }
    }
}

fn refused(t: &Test, c: &Container<'_>, texts: &[&str]) -> Done {
    let before = cgroups::named(&t.token)?;
    let out = c.try_create()?.exits_with(1)?;
    for text in texts {
        assert!(
            out.stderr().contains(text),
            "{text:?} is not in {}",
            out.stderr()
        );
    }
    assert!(
        out.stderr().contains("config.json#/linux/cgroupsPath") && out.stderr().contains("hint: "),
        "{}",
        out.stderr()
    );
    assert_eq!(cgroups::named(&t.token)?, before, "something was left");
    assert_eq!(c.call("state", &[], &[])?.code(), 1);
    Ok(())
}

fn a_cgroup_below_a_threaded_one_is_refused(t: &Test) -> Done {
    t.needs(&[Need::V2, Need::Root, Need::Cgroupfs])?;
    t.not_for_runc("it names neither key nor hint")?;
    let made = Made::dirs(t, &["t"])?;
    fs::write(made.0[1].join("cgroup.type"), "threaded")?;
    let path = format!("/{}/t/below", t.token);
    let c = t.container(&Bundle::sleeper().set("/linux/cgroupsPath", json!(path)))?;
    refused(t, &c, &["cannot enter cgroupv2", "domain invalid"])
}

fn a_threaded_cgroup_is_refused(t: &Test) -> Done {
    t.needs(&[Need::V2, Need::Root, Need::Cgroupfs])?;
    t.not_for_runc("it takes one for threaded controllers")?;
    let made = Made::dirs(t, &["t"])?;
    fs::write(made.0[1].join("cgroup.type"), "threaded")?;
    let path = format!("/{}/t", t.token);
    let c = t.container(&Bundle::sleeper().set("/linux/cgroupsPath", json!(path)))?;
    refused(t, &c, &["cannot enter cgroupv2", "threaded"])
}

fn a_path_in_use_is_refused(t: &Test) -> Done {
    t.needs(&[Need::Root, Need::Cgroupfs])?;
    t.not_for_runc("1.1 warns only")?;
    let first = t.container(&Bundle::sleeper())?;
    first.run_detached()?;
    let path = format!("/{}/{}", t.token, first.id);
    let second = t.container(&Bundle::sleeper().set("/linux/cgroupsPath", json!(path)))?;
    refused(
        t,
        &second,
        &["container's cgroup is not empty: 1 process(es) found"],
    )?;
    let below = t.container(&Bundle::sleeper().set(
        "/linux/cgroupsPath",
        json!(format!("{path}/../{}", first.id)),
    ))?;
    below
        .try_create()?
        .exits_with(1)?
        .fails_with("must not contain ..")?;
    assert_eq!(first.status()?, "running");
    assert!(processes::stat(first.pid()?).is_some());
    first.delete_force()?;
    Ok(())
}

fn read_only_cgroups_are_refused(t: &Test) -> Done {
    t.needs(&[Need::Root, Need::Cgroupfs])?;
    t.not_for_runc("it names neither key nor hint")?;
    let none: Option<&str> = None;
    let tops: Vec<PathBuf> = cgroups::hierarchies()?
        .into_iter()
        .filter(|top| top.starts_with(CGROUPS))
        .collect();
    let change = |flags: MsFlags| -> Done {
        for top in &tops {
            // What the mount has besides stays.
            let kept = statvfs(top)?.flags()
                & (FsFlags::ST_NOSUID | FsFlags::ST_NODEV | FsFlags::ST_NOEXEC);
            let kept = MsFlags::from_bits_truncate(kept.bits());
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | kept | flags;
            mount(none, top, none, flags, none)?;
        }
        Ok(())
    };
    let c = t.container(&Bundle::sleeper())?;
    change(MsFlags::MS_RDONLY)?;
    let judged = refused(t, &c, &["mkdir(cgroup)", "read-only file system"]);
    change(MsFlags::empty())?;
    judged?;
    // Nothing about the container was wrong.
    c.create()?;
    c.delete_force()?;
    Ok(())
}
