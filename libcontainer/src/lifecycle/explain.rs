//! What a create would do with a bundle, without doing it: facts of this machine are read, nothing is made.

use std::path::Path;

use super::create::plan_facts;
use crate::bundle::Bundle;
use crate::cgroup::CgroupPlan;
use crate::cgroup::limits::{self, Origin};
use crate::config::{Ignored, ignored_keys};
use crate::error::Error;
use crate::host::Host;
use crate::intel_rdt::RdtPlan;
use crate::launch::Joined;
use crate::plan::{self, CreateRequest, Format, LaunchPlan, Start};
use crate::state::ContainerId;

/// Stands for the id that `create` would be given, where the bundle's own name is none.
const SOME_ID: &str = "container";

/// The plan of `bundle` as text or JSON: every action of both sides in order, each with its place in config.json, and the keys without effect.
/// Errors: those of the bundle and its config.json, as create has them; Refused when facts of the machine cannot be read.
pub fn explain(bundle: &Path, format: Format) -> Result<String, Error> {
    let host = Host::new();
    let bundle = Bundle::open(bundle)?;
    let config = bundle.parse(&host)?;
    let name = bundle.path().file_name().and_then(|name| name.to_str());
    let id = name
        .filter(|name| ContainerId::parse(name).is_ok())
        .unwrap_or(SOME_ID);
    // The namespaces of a pod that is not there need not exist yet; they are taken to belong to the user namespace that is joined.
    let joined = Joined::open(&config.namespaces).unwrap_or_default();
    let cgroup_plan = CgroupPlan::new(&config.cgroup, id, &host)?;
    if let Some(rdt) = &config.intel_rdt {
        RdtPlan::new(rdt, id, &host)?;
    }
    let request = CreateRequest {
        id: id.to_owned(),
        bundle: bundle.path().to_path_buf(),
        no_pivot: false,
        no_new_keyring: false,
        listen_fds: 0,
        preserve_fds: 0,
        notify_dir: None,
        start: Start::AwaitFifo,
        host_env: Vec::new(),
    };
    let facts = plan_facts(&host, &config, &cgroup_plan, &joined)?;
    let plan = LaunchPlan::create(&config, &request, &facts);
    let mut ignored = ignored_keys(&bundle.read()?);
    let (version, resources) = (cgroup_plan.version(), &config.cgroup.resources);
    let of_v1 = limits::without_effect(version, resources, Origin::Config);
    ignored.extend(of_v1.into_iter().map(|pointer| Ignored {
        pointer,
        reason: "only cgroup v1 has it",
    }));
    let limits = &cgroup_plan.limits;
    Ok(plan::explain(&plan, &config, limits, &ignored, format))
}
