//! The cgroup that containerd's configuration may put shims into (`ShimCgroup`), so that they do not count as containerd's.

use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::Error;

/// Joins it, on v1 in every hierarchy that has it. It must be there: nobody would know when to remove it.
pub fn join(path: &Path) -> Result<(), Error> {
    let failed = |why: String| Error::Cgroup {
        path: path.to_owned(),
        why,
    };
    let below: PathBuf = path
        .components()
        .filter(|part| *part != Component::RootDir)
        .collect();
    if below
        .components()
        .any(|part| !matches!(part, Component::Normal(_)))
    {
        return Err(failed("not a plain path".to_owned()));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| failed(format!("read /proc/self/mountinfo: {error}")))?;
    let mut joined = false;
    for hierarchy in hierarchies(&mounts) {
        let procs = hierarchy.join(&below).join("cgroup.procs");
        match write_own_pid(&procs) {
            Ok(()) => joined = true,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(format!("write to {}: {errno}", procs.display()))),
        }
    }
    match joined {
        true => Ok(()),
        false => Err(failed("no such cgroup".to_owned())),
    }
}

fn write_own_pid(procs: &Path) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let procs = openat(CWD, procs, flags, Mode::empty())?;
    // 0: whoever writes.
    rustix::io::write(procs, b"0").map(drop)
}

/// Where cgroups are mounted: the one of v2 if it has the place of all, else those of v1.
fn hierarchies(mountinfo: &str) -> Vec<PathBuf> {
    let mounted = |kind| {
        mountinfo.lines().filter_map(move |line| {
            let (before, after) = line.split_once(" - ")?;
            let mut fields = before.split(' ').skip(3);
            let whole = fields.next()? == "/";
            let at = Path::new(fields.next()?);
            (whole && after.split(' ').next()? == kind).then_some(at)
        })
    };
    let root = Path::new("/sys/fs/cgroup");
    match mounted("cgroup2").find(|at| *at == root) {
        Some(unified) => vec![unified.to_owned()],
        None => mounted("cgroup")
            .filter(|at| at.starts_with(root))
            .map(Path::to_owned)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_cgroups_are_mounted() {
        let tmpfs = "30 20 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n";
        let v2 = "31 20 0:27 / /sys/fs/cgroup rw shared:5 - cgroup2 cgroup2 rw\n";
        let memory = "33 30 0:29 / /sys/fs/cgroup/memory rw shared:12 - cgroup cgroup rw,memory\n";
        let below = "34 30 0:30 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let hybrid = "35 30 0:31 / /sys/fs/cgroup/unified rw shared:13 - cgroup2 cgroup2 rw\n";
        let at = |text: &str| hierarchies(text);
        assert_eq!(at(v2), [Path::new("/sys/fs/cgroup")]);
        assert_eq!(
            at(&[tmpfs, memory, below, hybrid].concat()),
            [Path::new("/sys/fs/cgroup/memory")]
        );
        assert!(at("").is_empty());
    }

    #[test]
    fn what_is_refused() {
        let said = |path: &str| join(Path::new(path)).expect_err("wrong").to_string();
        assert!(said("/garboard-test-no-such").contains("no such cgroup"));
        assert!(said("/../x").contains("not a plain path"));
    }
}
