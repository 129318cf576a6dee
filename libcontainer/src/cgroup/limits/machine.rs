//! What a limit needs of this machine, looked for before anything is made: its controller, and a size of huge pages that there is.

use std::path::Path;

use rustix::fs::{CWD, stat};

use crate::config::{ConfigErrors, HugepageLimit, Resources};
use crate::error::{Error, Refused};
use crate::kernel_file::read_record;

use super::super::{Place, Version};
use super::{Origin, Step, Write};

const HUGEPAGES: &str = "/sys/kernel/mm/hugepages";

/// Errors: Unsupported with the key's pointer for a controller that no hierarchy here has, or a page size that this machine has not;
/// Refused when that cannot be read.
pub fn check(
    places: &[Place],
    resources: &Resources,
    steps: &[Step],
    origin: Origin,
) -> Result<(), Error> {
    missing_controllers(places, steps)?;
    for (index, limit) in resources.hugepage_limits.iter().enumerate() {
        if !has_hugepages(limit) {
            let text = format!(
                "this machine has no huge pages of {} (hint: {HUGEPAGES} lists the sizes that it has)",
                limit.page_size
            );
            let at = origin.pointer(&["hugepageLimits", &index.to_string(), "pageSize"]);
            return Err(ConfigErrors::unsupported(at, text).into());
        }
    }
    Ok(())
}

/// On a unified machine the root tells what can be passed on.
fn missing_controllers(places: &[Place], steps: &[Step]) -> Result<(), Error> {
    let mut unified: Option<Vec<u8>> = None;
    for write in steps.iter().flat_map(Step::writes) {
        if write.controller.is_empty() {
            continue;
        }
        let Some(place) = places.iter().find(|place| has(place, &write.controller)) else {
            return Err(missing(write));
        };
        if place.version == Version::V1 {
            continue;
        }
        let available = match &unified {
            Some(available) => available,
            None => {
                let file = place.mount.join("cgroup.controllers");
                let read = read_record(CWD, &file)
                    .map_err(|errno| Error::from(Refused::new("read", file, errno)))?;
                unified.insert(read)
            }
        };
        if !lists(available, &write.controller) {
            return Err(missing(write));
        }
    }
    Ok(())
}

/// The same for a cgroup2 directory of somebody else's in which ours will lie: what it has not got it cannot pass on.
pub fn check_delegated(top: &Path, steps: &[Step]) -> Result<(), Error> {
    let file = top.join("cgroup.controllers");
    let available =
        read_record(CWD, &file).map_err(|errno| Error::from(Refused::new("read", file, errno)))?;
    let mut writes = steps.iter().flat_map(Step::writes);
    let lacking =
        writes.find(|write| !write.controller.is_empty() && !lists(&available, &write.controller));
    lacking.map_or(Ok(()), |write| Err(missing(write)))
}

/// Whether the directory of `place` is where the files of `controller` are, if anywhere.
pub(super) fn has(place: &Place, controller: &str) -> bool {
    place.is_unified() || (place.version == Version::V1 && place.has(controller))
}

/// Whether the content of a `cgroup.controllers` names `controller`.
pub(super) fn lists(controllers: &[u8], controller: &str) -> bool {
    controllers
        .split(u8::is_ascii_whitespace)
        .any(|name| name == controller.as_bytes())
}

pub(super) fn missing(write: &Write) -> Error {
    let text = format!(
        "cgroup controller \"{}\" is not available here: {} cannot be set (hint: /sys/fs/cgroup/cgroup.controllers and /proc/cgroups \
         list what the kernel has; a parent cgroup may not pass it on)",
        write.controller, write.file
    );
    ConfigErrors::unsupported(write.at.clone(), text).into()
}

fn has_hugepages(limit: &HugepageLimit) -> bool {
    kilobytes(&limit.page_size)
        .is_some_and(|size| stat(format!("{HUGEPAGES}/hugepages-{size}kB")).is_ok())
}

/// `2MB` in units of 1024 bytes.
fn kilobytes(size: &str) -> Option<u64> {
    let (digits, unit) = [("KB", 1), ("MB", 1 << 10), ("GB", 1 << 20)]
        .into_iter()
        .find_map(|(unit, factor)| Some((size.strip_suffix(unit)?, factor)))?;
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::kilobytes;

    #[test]
    fn sizes_of_huge_pages() {
        for (size, expected) in [
            ("64KB", Some(64)),
            ("2MB", Some(2048)),
            ("1GB", Some(1 << 20)),
            ("99999999999999999999GB", None),
            ("9999999999999999GB", None),
            ("2M", None),
        ] {
            assert_eq!(kilobytes(size), expected, "{size}");
        }
    }
}
