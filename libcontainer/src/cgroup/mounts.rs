//! What a mount of type `cgroup` shows: the facts the planner turns into mounts inside the container.
//!
//! On a unified machine it is one cgroup2 mount. On a legacy or hybrid one it is a tmpfs with one directory for each v1 hierarchy and links
//! for the joined ones (`cpu -> cpu,cpuacct`); the cgroup2 tree of a hybrid machine is not shown, as with runc.

use std::path::PathBuf;

use super::layout::{CgroupLayout, Hierarchy};
use super::{CgroupPlan, Version};
use crate::error::Error;
use crate::host::Host;

/// The view of cgroups a container may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupMounts {
    /// `own`: the container's directory on the host, for the bind that stands in when a cgroup2 mount is refused; `None` without a cgroup.
    Unified { own: Option<PathBuf> },
    Legacy {
        hierarchies: Vec<HierarchyMount>,
        /// (name, target): `("cpu", "cpu,cpuacct")`.
        links: Vec<(String, String)>,
    },
}

/// One v1 hierarchy as the container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HierarchyMount {
    /// Name of the directory: `cpu,cpuacct`, `systemd`.
    pub name: String,
    /// The options that name the hierarchy in a mount of type `cgroup`: `cpu,cpuacct`, `name=systemd`.
    pub options: String,
    /// The container's directory on the host.
    pub own: PathBuf,
    /// Who may not make that directory runs the container where it is itself; this is there.
    pub instead: Option<PathBuf>,
}

impl CgroupPlan {
    /// What mounts of type `cgroup` consist of under this plan. Errors: the host's layout cannot be read.
    pub(crate) fn mounts(&self, host: &Host) -> Result<CgroupMounts, Error> {
        if let [only] = self.places.as_slice()
            && only.is_unified()
        {
            return Ok(CgroupMounts::Unified {
                own: Some(only.host_path()),
            });
        }
        let callers: &[Hierarchy] = match host.cgroup_layout()? {
            CgroupLayout::Legacy(hierarchies) if self.tolerant => hierarchies,
            _ => &[],
        };
        let v1 = self
            .places
            .iter()
            .filter(|place| place.version == Version::V1);
        let mut links = Vec::new();
        let hierarchies = v1
            .map(|place| {
                let name = place
                    .mount
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let joined = place
                    .controllers
                    .iter()
                    .filter(|controller| place.controllers.len() > 1 && **controller != name);
                links.extend(joined.map(|controller| (controller.clone(), name.clone())));
                HierarchyMount {
                    name,
                    options: place.controllers.join(","),
                    own: place.host_path(),
                    instead: callers
                        .iter()
                        .find(|caller| caller.mount_point == place.mount)
                        .map(|caller| caller.mount_point.join(&caller.own)),
                }
            })
            .collect::<Vec<_>>();
        Ok(if hierarchies.is_empty() {
            CgroupMounts::Unified { own: None }
        } else {
            CgroupMounts::Legacy { hierarchies, links }
        })
    }
}
