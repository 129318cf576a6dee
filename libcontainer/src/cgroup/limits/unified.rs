//! `linux.resources` on cgroup2.

use crate::config::Resources;

use super::{Origin, Step, Write};

/// The steps, in their order.
pub(super) fn plan(resources: &Resources, origin: Origin) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(limit) = resources.pids.limit {
        // 0 would mean "no process at all": runc gives room for one since 1.4.
        let value = match limit {
            ..0 => "max".to_owned(),
            0 => "1".to_owned(),
            _ => limit.to_string(),
        };
        steps.push(Step::Write(Write {
            controller: "pids".into(),
            file: "pids.max".into(),
            value,
            at: origin.pointer("pids/limit"),
        }));
    }
    steps
}
