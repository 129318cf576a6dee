//! The unit of a container that is to be: decided, and recorded, before anything is made.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::host::Host;

use super::super::layout::{CgroupLayout, MOUNT_POINT};
use super::super::limits::{self, Origin};
use super::super::path::Version;
use super::super::{CgroupPlan, Place};
use super::client::{Systemd, UnitError};
use super::endpoint::{self, Endpoint};
use super::properties::{self, Property};
use super::unit::{Manager, Unit, UnitKind};
use super::{annotations, devices};

/// A unit to start, and all that it is told but its processes.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitPlan {
    pub record: UnitRecord,
    pub properties: Vec<Property>,
    /// How long systemd may take to start it.
    pub patience: Duration,
}

/// A unit as later commands must know it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UnitRecord {
    /// `docker-1234.scope`
    pub name: String,
    pub kind: UnitKind,
    pub manager: Manager,
    /// Where its systemd listens, whatever the environment of a later command says.
    pub endpoints: Vec<Endpoint>,
}

impl UnitPlan {
    /// The plan of the cgroup of the container `id` as a unit. For a user it asks their systemd for its own cgroup, and nothing else.
    /// Errors: InvalidConfig for a `cgroupsPath` or an annotation; Unsupported without systemd; Refused when it does not answer.
    pub fn cgroup(
        config: &Config,
        id: &str,
        host: &Host,
        patience: Duration,
    ) -> Result<CgroupPlan, Error> {
        let asked = &config.cgroup;
        let manager = endpoint::manager(host)?;
        let layout = host.cgroup_layout()?;
        let version = match layout {
            CgroupLayout::Unified { .. } => Version::V2,
            CgroupLayout::Legacy(_) if manager == Manager::User => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "cannot use rootless systemd cgroups manager on cgroup v1",
                ));
            }
            CgroupLayout::Legacy(_) => Version::V1,
        };
        let unit = Unit::new(asked.path.as_deref(), id, manager)?;
        let extra = annotations::properties(&config.annotations)?;
        let record = UnitRecord {
            name: unit.name.clone(),
            kind: unit.kind,
            manager,
            endpoints: endpoint::endpoints(manager, |name| std::env::var_os(name))?,
        };
        let top = match manager {
            Manager::System => PathBuf::new(),
            Manager::User => record.top(Instant::now() + patience)?,
        };
        let places = places(layout, &top.join(&unit.path));

        let origin = Origin::Config;
        let mut limits = limits::plan(version, &asked.resources, origin)?;
        if !limits.is_empty() {
            limits::check_machine(&places, &asked.resources, &limits, origin)?;
            if manager == Manager::User {
                limits::check_delegated(&Path::new(MOUNT_POINT).join(&top), &limits)?;
            }
        }
        properties::round_quota(&mut limits, &asked.resources);
        let mut properties = properties::of_every_unit(&unit, version);
        properties.retain(|one| !extra.iter().any(|other| other.name == one.name));
        properties.extend(extra);
        properties.extend(devices::properties(&asked.device_rules, version));
        for property in properties::of_steps(version, &limits, &asked.resources) {
            properties.retain(|other| other.name != property.name);
            properties.push(property);
        }
        Ok(CgroupPlan {
            places,
            tolerant: manager == Manager::User && limits.is_empty(),
            rootless: manager == Manager::User,
            limits,
            unit: Some(UnitPlan {
                record,
                properties,
                patience,
            }),
        })
    }
}

impl UnitRecord {
    /// The cgroup of the unit's systemd, relative to the mount.
    fn top(&self, deadline: Instant) -> Result<PathBuf, Error> {
        let asked = Systemd::connect(&self.endpoints, deadline)
            .and_then(|mut systemd| systemd.control_group());
        let path = asked.map_err(|source| UnitError::Bus {
            act: "start",
            unit: self.name.clone(),
            source: Box::new(source),
        })?;
        let normal = Path::new(&path)
            .components()
            .filter_map(|part| match part {
                std::path::Component::Normal(name) => Some(Ok(name)),
                std::path::Component::ParentDir => Some(Err(())),
                _ => None,
            })
            .collect::<Result<PathBuf, ()>>();
        normal.map_err(|()| {
            let text = format!("systemd says that its own cgroup is {path:?}");
            Error::new(ErrorKind::Internal, text)
        })
    }
}

fn places(layout: &CgroupLayout, path: &Path) -> Vec<Place> {
    match layout {
        CgroupLayout::Unified { .. } => vec![Place {
            mount: PathBuf::from(MOUNT_POINT),
            path: path.to_path_buf(),
            version: Version::V2,
            controllers: Vec::new(),
        }],
        CgroupLayout::Legacy(hierarchies) => hierarchies
            .iter()
            .map(|hierarchy| Place {
                mount: hierarchy.mount_point.clone(),
                path: path.to_path_buf(),
                version: if hierarchy.is_v2() {
                    Version::V2
                } else {
                    Version::V1
                },
                controllers: hierarchy.controllers.clone(),
            })
            .collect(),
    }
}
