//! What this machine and this process are: facts that decide between plans, each read at most once and only when asked for.
//!
//! A default start as root pays for what it needs and nothing else, so every fact is lazy. Nothing here is changed, and nothing comes from
//! the environment: the kernel is the only witness.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, open, statat};
use rustix::thread::CapabilitySet;

use crate::cgroup::layout::CgroupLayout;
use crate::config::HostFacts;
use crate::error::{Error, ErrorKind, Refused};
use crate::kernel_file::read_record;

/// Inode number of the root of every procfs instance (`PROC_ROOT_INO`, linux/proc_ns.h).
const PROC_ROOT_INO: u64 = 1;
/// Inode number of the initial user namespace (`PROC_USER_INIT_INO`, linux/proc_ns.h).
const PROC_USER_INIT_INO: u64 = 0xEFFF_FFFD;
/// The highest capability that we know by name, CAP_CHECKPOINT_RESTORE: every supported kernel has it (since 5.9), so none need be asked.
const LAST_CAP_KNOWN: u32 = 40;

/// The facts about this machine and this process. Make one for each operation: a long-lived program may change its own credentials.
#[derive(Debug)]
pub struct Host {
    euid: OnceLock<u32>,
    user_namespace: OnceLock<bool>,
    proc: OnceLock<OwnedFd>,
    layout: OnceLock<CgroupLayout>,
    facts: OnceLock<HostFacts>,
}

/// A process as `/proc/PID/stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// Field 3: `R`, `S`, `D`, `Z` (zombie), `X` (dead), …
    pub state: u8,
    /// Field 22, in clock ticks since boot: together with the pid it names one process.
    pub start_time: u64,
}

impl ProcessStat {
    /// Whether nothing of the process runs any more.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

impl Host {
    /// Nothing is read yet.
    pub fn new() -> Host {
        Host {
            euid: OnceLock::new(),
            user_namespace: OnceLock::new(),
            proc: OnceLock::new(),
            layout: OnceLock::new(),
            facts: OnceLock::new(),
        }
    }

    /// The effective user id of this process.
    pub fn euid(&self) -> u32 {
        *self
            .euid
            .get_or_init(|| rustix::process::geteuid().as_raw())
    }

    /// Whether this process lives in a user namespace other than the initial one.
    /// Errors: Refused without procfs. Source: the inode of `/proc/self/ns/user`.
    pub fn in_user_namespace(&self) -> Result<bool, Error> {
        cached(&self.user_namespace, || {
            let own = statat(self.proc_dir()?, c"self/ns/user", AtFlags::empty())
                .map_err(|errno| Refused::new("stat", "/proc/self/ns/user", errno))?;
            Ok(own.st_ino != PROC_USER_INIT_INO)
        })
        .copied()
    }

    /// Whether the real privileges of root are missing: another user, or root of a user namespace (Podman calls its runtime so).
    pub fn rootless(&self) -> Result<bool, Error> {
        Ok(self.euid() != 0 || self.in_user_namespace()?)
    }

    /// Bit n stands for capability n of this thread's effective set. Source: capget(2).
    pub fn effective_capabilities(&self) -> Result<CapabilitySet, Error> {
        match rustix::thread::capabilities(None) {
            Ok(sets) => Ok(sets.effective),
            Err(errno) => Err(Refused::call("capget", errno).into()),
        }
    }

    /// Whether mounts can be cloned here: CAP_SYS_ADMIN over the mount namespace of this process. The owner of that namespace is this
    /// process's user namespace unless somebody joined them apart, so the capability alone decides.
    pub fn has_sys_admin(&self) -> Result<bool, Error> {
        Ok(self
            .effective_capabilities()?
            .contains(CapabilitySet::SYS_ADMIN))
    }

    /// Whether AppArmor profiles can be applied. Source: `/sys/module/apparmor/parameters/enabled`.
    pub fn apparmor_enabled(&self) -> bool {
        read_record(CWD, c"/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.starts_with(b"Y"))
    }

    /// Whether the kernel has `/proc/kcore`, to which `/dev/core` leads.
    pub fn has_kcore(&self) -> bool {
        self.proc_dir().is_ok_and(|proc| {
            rustix::fs::accessat(proc, c"kcore", rustix::fs::Access::EXISTS, AtFlags::empty())
                .is_ok()
        })
    }

    /// Whether SELinux is on: its filesystem is mounted at the usual place. Source: selinuxfs.
    pub fn selinux_enabled(&self) -> bool {
        const SELINUX_MAGIC: u64 = 0xf97c_ff8c;
        rustix::fs::statfs(c"/sys/fs/selinux")
            .is_ok_and(|found| found.f_type.cast_unsigned() == SELINUX_MAGIC)
    }

    /// An O_PATH descriptor of `/proc`, proven to be the root of a procfs (R2: a directory tree that looks like one is refused).
    /// Errors: Refused when it is absent; Unsupported when it is something else.
    pub fn proc_dir(&self) -> Result<BorrowedFd<'_>, Error> {
        cached(&self.proc, open_proc).map(AsFd::as_fd)
    }

    /// A random name of this boot, which a process outlives no other of. Source: `/proc/sys/kernel/random/boot_id`.
    pub fn boot_id(&self) -> Result<&'static str, Error> {
        static BOOT_ID: OnceLock<String> = OnceLock::new();
        cached(&BOOT_ID, || {
            let text = self.read_proc("sys/kernel/random/boot_id")?;
            Ok(String::from_utf8_lossy(text.trim_ascii()).into_owned())
        })
        .map(String::as_str)
    }

    /// Where cgroups are mounted. Source: statfs of `/sys/fs/cgroup`; for v1 and hybrid also mountinfo and `/proc/self/cgroup`.
    pub fn cgroup_layout(&self) -> Result<&CgroupLayout, Error> {
        cached(&self.layout, || CgroupLayout::read(self))
    }

    /// The process `pid` as it is now; `None` when there is no such process.
    pub fn process(&self, pid: i32) -> Result<Option<ProcessStat>, Error> {
        let path = format!("{pid}/stat");
        match read_record(self.proc_dir()?, path.as_str()) {
            Ok(stat) => Ok(parse_stat(&stat)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::SRCH) => Ok(None),
            Err(errno) => Err(Refused::new("read", format!("/proc/{path}"), errno).into()),
        }
    }

    /// The name (`comm`) of a process, for messages; empty when it has gone.
    pub fn process_name(&self, pid: i32) -> String {
        let Ok(proc) = self.proc_dir() else {
            return String::new();
        };
        let name = read_record(proc, format!("{pid}/comm")).unwrap_or_default();
        String::from_utf8_lossy(name.trim_ascii()).into_owned()
    }

    /// The facts that the validation of `document` needs: whether there is an LSM is asked only where a label is, as its key has to be
    /// spelt there. (Escaped, it would not be found, and the label would be refused as for a machine without the LSM.)
    pub fn facts_for(&self, document: &[u8]) -> Result<HostFacts, Error> {
        // One that is no text names nothing, and is refused for it.
        let text = std::str::from_utf8(document).unwrap_or_default();
        let selinux = text.contains("selinuxLabel") || text.contains("mountLabel");
        Ok(HostFacts {
            selinux: selinux && self.selinux_enabled(),
            apparmor: text.contains("apparmorProfile") && self.apparmor_enabled(),
            ..self.facts()?.clone()
        })
    }

    /// The same without those of LSMs.
    pub fn facts(&self) -> Result<&HostFacts, Error> {
        cached(&self.facts, || {
            Ok(HostFacts {
                last_cap: LAST_CAP_KNOWN,
                selinux: false,
                apparmor: false,
                unprivileged: self.euid() != 0,
                rootless: self.rootless()?,
                cgroup_v2: matches!(self.cgroup_layout()?, CgroupLayout::Unified { .. }),
            })
        })
    }

    /// One record of the file `path` below `/proc`.
    pub(crate) fn read_proc(&self, path: &str) -> Result<Vec<u8>, Error> {
        read_record(self.proc_dir()?, path)
            .map_err(|errno| Refused::new("read", format!("/proc/{path}"), errno).into())
    }
}

impl Default for Host {
    fn default() -> Host {
        Host::new()
    }
}

/// `OnceLock::get_or_try_init` is not stable; two threads may both compute, and the first to finish wins.
fn cached<T>(cell: &OnceLock<T>, compute: impl FnOnce() -> Result<T, Error>) -> Result<&T, Error> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = compute()?;
    Ok(cell.get_or_init(|| value))
}

fn open_proc() -> Result<OwnedFd, Error> {
    let fd = open(
        c"/proc",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| Refused::new("open", "/proc", errno))?;
    let filesystem = fstatfs(&fd).map_err(|errno| Refused::new("fstatfs", "/proc", errno))?;
    let root = statat(&fd, c"", AtFlags::EMPTY_PATH)
        .map_err(|errno| Refused::new("fstat", "/proc", errno))?;
    if filesystem.f_type != PROC_SUPER_MAGIC || root.st_ino != PROC_ROOT_INO {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "/proc is not the root of a proc filesystem",
        ));
    }
    Ok(fd)
}

fn parse_stat(stat: &[u8]) -> Option<ProcessStat> {
    // The second field is the program's name in parentheses and may hold anything, parentheses and spaces included.
    let after_name = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = stat[after_name + 1..]
        .split(|&byte| byte == b' ')
        .filter(|field| !field.is_empty());
    let state = *fields.next()?.first()?;
    // Field 3 was the first after the name, so field 22 is the 19th after that.
    let start_time = parse_number(fields.nth(18)?)?;
    Some(ProcessStat { state, start_time })
}

/// A decimal number and nothing else.
pub(crate) fn parse_number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_program_named_to_confuse() {
        let stat = b"42 (a) Z (b) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        assert_eq!(
            parse_stat(stat),
            Some(ProcessStat {
                state: b'S',
                start_time: 987_654
            })
        );
        assert_eq!(parse_stat(b"42 (a"), None);
        assert_eq!(parse_stat(b"42 (a) S 1 2"), None);
    }

    #[test]
    fn this_process_is_found_alive_and_pid_0_is_not() {
        let host = Host::new();
        let own = i32::try_from(std::process::id()).unwrap();
        let stat = host.process(own).unwrap().unwrap();
        assert!(!stat.is_dead());
        assert!(stat.start_time > 0);
        assert_eq!(host.process(0).unwrap(), None);
        assert_eq!(host.boot_id().unwrap().len(), 36);
        assert!(
            LAST_CAP_KNOWN
                <= std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
                    .unwrap()
                    .trim()
                    .parse::<u32>()
                    .unwrap()
        );
    }
}
