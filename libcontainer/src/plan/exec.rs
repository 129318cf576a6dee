//! The plan of a further process in a running container.

use super::draft::Draft;
use super::{ExecRequest, ExecTarget, LaunchKind, LaunchPlan, ProcessFacts, Shape, order};
use crate::config::Process;

/// What the subject files read from and add to.
pub(super) struct Exec<'a> {
    pub target: ExecTarget<'a>,
    pub draft: Draft<'a>,
}

impl LaunchPlan {
    /// Plans `process` in the container `target`. What it leaves open (capabilities, labels, limits, scheduler, io priority, umask) is the
    /// container's own; `oomScoreAdj` always is.
    pub fn exec(
        process: &Process,
        target: ExecTarget<'_>,
        request: &ExecRequest,
        facts: ProcessFacts,
    ) -> LaunchPlan {
        let document = request.document.clone();
        let mut draft = Draft::new(
            LaunchKind::Exec,
            Shape::Joins,
            process,
            target.container,
            document,
            facts,
        );
        draft.plan.preserved = request.preserve_fds;
        draft.plan.filter = target.filter;
        let mut exec = Exec { target, draft };
        order::exec(&mut exec);
        exec.draft.plan
    }
}
