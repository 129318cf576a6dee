//! Where the container's cgroup will be: decided before anything is made, and written into the intent record as it stands.

use std::path::{Path, PathBuf};

use crate::config;
use crate::error::{Error, ErrorKind};
use crate::host::Host;

use super::layout::{CgroupLayout, MOUNT_POINT};
use super::limits::{self, Origin, Step};
use super::path::{Version, directory};
use super::systemd::UnitPlan;

/// One directory of the container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// Mount point of the hierarchy: `/sys/fs/cgroup/memory`.
    pub mount: PathBuf,
    /// Relative to the mount; normal, never empty.
    pub path: PathBuf,
    pub version: Version,
    /// v1: the hierarchy's controllers. Empty for cgroup2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<String>,
}

impl Place {
    /// The absolute path on the host.
    pub fn host_path(&self) -> PathBuf {
        self.mount.join(&self.path)
    }

    /// Whether this is the only hierarchy of a unified machine, not the cgroup2 one of a hybrid.
    pub(super) fn is_unified(&self) -> bool {
        self.version == Version::V2 && self.mount == Path::new(MOUNT_POINT)
    }

    /// Whether this v1 hierarchy has `controller`.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// The keys under which runc's `cgroup_paths` lists this directory.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let v2 = (self.version == Version::V2).then_some("");
        v2.into_iter()
            .chain(self.controllers.iter().map(String::as_str))
    }
}

/// The directories to make, and how to take a refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct CgroupPlan {
    /// One on a unified machine; one a hierarchy on the others; empty when a rootless runtime sees no cgroup filesystem.
    pub places: Vec<Place>,
    /// What is written once they are made.
    pub limits: Vec<Step>,
    /// The unit that systemd is to make of them; `None`: we make them.
    pub unit: Option<UnitPlan>,
    /// Without real privileges, and with no limits asked: a directory that may not be made is done without.
    pub tolerant: bool,
    /// Without real privileges: a device policy that is refused is done without, also where a delegated cgroup holds limits.
    pub rootless: bool,
}

impl CgroupPlan {
    /// Whether it lies below a cgroup other than the root: one that can be frozen, and the container's with it.
    pub fn is_below_another(&self) -> bool {
        let mut places = self.places.iter();
        places.any(|place| place.path.components().count() > 1)
    }

    /// Whether the container's only directory is one of cgroup2.
    pub fn is_unified(&self) -> bool {
        matches!(self.places.as_slice(), [only] if only.is_unified())
    }

    /// Which files its limits are.
    pub fn version(&self) -> Version {
        if self.is_unified() {
            Version::V2
        } else {
            Version::V1
        }
    }

    /// Whether it is there before the first process, and can be cloned into.
    pub fn is_cloned_into(&self) -> bool {
        self.is_unified() && self.unit.is_none()
    }

    /// Where the container's cgroup will be and what its limits are. Errors: as [`CgroupPlan::placed`]; Unsupported with the key's pointer
    /// when a limit needs a controller or a page size that is not there.
    pub fn new(config: &config::Cgroup, id: &str, host: &Host) -> Result<CgroupPlan, Error> {
        let mut plan = CgroupPlan::placed(config, id, host)?;
        if !config.resources.is_empty() {
            let (resources, origin) = (&config.resources, Origin::Config);
            plan.limits = limits::plan(plan.version(), resources, origin)?;
            limits::check_machine(&plan.places, resources, &plan.limits, origin)?;
            plan.tolerant &= plan.limits.is_empty();
        }
        Ok(plan)
    }

    /// Applies the rules of [`super::path`] on this machine. Reads facts of the host only, and only those that the path needs.
    /// Errors: InvalidConfig for a path with `..` or the root's; Unsupported when no cgroup filesystem is mounted and real root asks.
    fn placed(config: &config::Cgroup, id: &str, host: &Host) -> Result<CgroupPlan, Error> {
        let asked = config.path.as_deref();
        let tolerant = host.rootless()?;
        let layout = host.cgroup_layout()?;
        let hierarchies = match layout {
            CgroupLayout::Unified { .. } => {
                let absolute = asked.is_some_and(|path| path.starts_with('/'));
                let own = if absolute {
                    PathBuf::new()
                } else {
                    layout.own_unified(host)?
                };
                let path = directory(asked, id, &own, Version::V2)?;
                let place = Place {
                    mount: PathBuf::from(MOUNT_POINT),
                    path,
                    version: Version::V2,
                    controllers: Vec::new(),
                };
                return Ok(CgroupPlan {
                    places: vec![place],
                    limits: Vec::new(),
                    unit: None,
                    tolerant,
                    rootless: tolerant,
                });
            }
            CgroupLayout::Legacy(hierarchies) => hierarchies,
        };
        if hierarchies.is_empty() && !tolerant {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "no cgroup filesystem is mounted below /sys/fs/cgroup",
            ));
        }
        let mut places = Vec::with_capacity(hierarchies.len());
        for hierarchy in hierarchies {
            let version = if hierarchy.is_v2() {
                Version::V2
            } else {
                Version::V1
            };
            // The cgroup2 tree of a hybrid machine carries no controllers that matter here: it follows the rules of its v1 siblings.
            let path = directory(asked, id, &hierarchy.own, Version::V1)?;
            places.push(Place {
                mount: hierarchy.mount_point.clone(),
                path,
                version,
                controllers: hierarchy.controllers.clone(),
            });
        }
        Ok(CgroupPlan {
            places,
            limits: Vec::new(),
            unit: None,
            tolerant,
            rootless: tolerant,
        })
    }

    /// A container without a cgroup.
    pub fn none() -> CgroupPlan {
        CgroupPlan {
            places: Vec::new(),
            limits: Vec::new(),
            unit: None,
            tolerant: true,
            rootless: true,
        }
    }
}
