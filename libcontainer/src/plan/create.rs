//! The plan of a container: create, and run, which differs only in not waiting for `start`.

use std::ffi::CString;

use super::draft::{CONTAINER_PROCESS, Draft};
use super::{CreateRequest, LaunchKind, LaunchPlan, PlanFacts, PlannedFilter, namespaces, order};
use crate::config::Config;
use crate::error::Pointer;

/// What the subject files read from and add to.
pub(super) struct Create<'a> {
    pub config: &'a Config,
    pub request: &'a CreateRequest,
    pub facts: &'a PlanFacts,
    pub draft: Draft<'a>,
    /// Mount points that stay writable until all mount points in them are made (R18), relative to the root.
    pub readonly_last: Vec<(super::Text, Pointer)>,
}

impl LaunchPlan {
    /// Plans a container.
    pub fn create(config: &Config, request: &CreateRequest, facts: &PlanFacts) -> LaunchPlan {
        let mut create = Create {
            config,
            request,
            facts,
            draft: Draft::new(
                LaunchKind::Create,
                namespaces::shape(&config.namespaces, facts),
                &config.process,
                &config.process,
                CONTAINER_PROCESS,
                facts.process,
            ),
            readonly_last: Vec::new(),
        };
        create.draft.plan.preserved = create.preserved();
        create.draft.plan.filter = config.seccomp.as_ref().map(PlannedFilter::of);
        order::create(&mut create);
        create.draft.plan
    }
}

impl Create<'_> {
    /// How many fds from 3 on the program keeps: systemd's sockets first, then those of `--preserve-fds`.
    pub fn preserved(&self) -> u32 {
        self.request
            .listen_fds
            .saturating_add(self.request.preserve_fds)
    }

    /// The program's environment: the configuration's, and what tells it of sockets we hand through.
    pub fn env(&self) -> Vec<CString> {
        let mut env = self.config.process.env.clone();
        let mut add = |text: String| env.extend(CString::new(text));
        if self.request.listen_fds > 0 {
            add(format!("LISTEN_FDS={}", self.request.listen_fds));
            add("LISTEN_PID=1".to_owned());
        }
        if self.request.notify_dir.is_some() {
            add("NOTIFY_SOCKET=/run/notify/notify.sock".to_owned());
        }
        env
    }
}

/// The pointer to a key of `linux`.
pub(super) fn linux(key: &str) -> Pointer {
    Pointer::fixed("config.json#/linux").key(key)
}
