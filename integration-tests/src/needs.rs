//! What a case needs of the machine, so that it runs wherever it can and says elsewhere why not.

use std::fs;
use std::path::Path;

use crate::case::{Failure, Test};
use crate::place::{Driver, Place, own_cgroup};

/// One thing that is not everywhere.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// To be root on the host.
    Root,
    /// systemd as init, which the runtime can ask for units.
    Systemd,
    /// The driver that writes to the cgroup filesystem: the case looks for a cgroup where it named it.
    Cgroupfs,
    /// cgroup v1 hierarchies.
    V1,
    /// cgroup v2 alone.
    V2,
    /// These controllers, mounted and, for a user, delegated.
    Controllers(&'static [&'static str]),
    /// AppArmor switched on, and the program that loads profiles.
    AppArmor,
    /// A capability in the bounding set, by its number.
    Capability(u8),
    /// A kernel of this version or a newer one.
    Kernel(u32, u32),
}

/// `CAP_SYS_RESOURCE`: raising a hard limit, lowering a score.
pub const SYS_RESOURCE: Need = Need::Capability(24);

impl Need {
    /// What is missing for it; none if it is here.
    pub fn missing(&self, t: &Test) -> Result<Option<String>, Failure> {
        let (here, what) = match self {
            Need::Root => (t.place != Place::User, "root".to_owned()),
            Need::Systemd => (
                Path::new("/run/systemd/system").is_dir(),
                "systemd as init".to_owned(),
            ),
            Need::Cgroupfs => (
                t.driver == Driver::Cgroupfs,
                "the cgroupfs driver".to_owned(),
            ),
            Need::V1 => (!t.place.is_unified(), "cgroup v1".to_owned()),
            Need::V2 => (t.place.is_unified(), "cgroup v2 alone".to_owned()),
            Need::Controllers(names) => {
                let found = controllers(t)?;
                let missing: Vec<&str> = names
                    .iter()
                    .copied()
                    .filter(|name| !found.iter().any(|one| one == name))
                    .collect();
                (
                    missing.is_empty(),
                    format!("the controllers {}", missing.join(", ")),
                )
            }
            Need::AppArmor => (has_apparmor(), "AppArmor and apparmor_parser".to_owned()),
            Need::Capability(number) => (
                bounding_set()? >> number & 1 == 1,
                format!("capability {number}"),
            ),
            Need::Kernel(major, minor) => (
                kernel()? >= (*major, *minor),
                format!("a kernel from {major}.{minor} on"),
            ),
        };
        Ok((!here).then_some(what))
    }
}

/// The controllers a container of this case can have.
pub(crate) fn controllers(t: &Test) -> Result<Vec<String>, Failure> {
    if !t.place.is_unified() {
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let names = text.lines().filter_map(|line| line.split(':').nth(1));
        return Ok(names
            .flat_map(|names| names.split(','))
            .map(str::to_owned)
            .collect());
    }
    let top = Path::new("/sys/fs/cgroup");
    let dir = match t.place {
        Place::User => own_cgroup()?,
        _ => Path::new("/").to_owned(),
    };
    let file = top
        .join(dir.strip_prefix("/").unwrap_or(&dir))
        .join("cgroup.controllers");
    let text = fs::read_to_string(file)?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with('Y'))
        && Path::new("/sbin/apparmor_parser").is_file()
}

fn bounding_set() -> Result<u64, Failure> {
    let set = crate::processes::status_field(std::process::id().cast_signed(), "CapBnd")
        .ok_or_else(|| Failure::new("no CapBnd in /proc/self/status"))?;
    Ok(u64::from_str_radix(&set, 16)?)
}

fn kernel() -> Result<(u32, u32), Failure> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || parts.next().and_then(|part| part.parse().ok());
    next()
        .zip(next())
        .ok_or_else(|| Failure::new(format!("a strange kernel version: {release}")))
}
