//! Other schemata for a container that lives: `update --l3-cache-schema`, `--mem-bw-schema`.
//!
//! A container without a group gets one of its own, and every task of it is moved there (runc moves the first process alone). One in a
//! shared group changes it for all who share it, as with runc: whoever updates says so by name.

use std::collections::BTreeSet;
use std::fs;

use rustix::io::Errno;

use crate::config::{ConfigErrors, IntelRdt, RdtClass, SchemaLine};
use crate::error::{Error, ErrorKind};
use crate::host::Host;

use super::{Group, Placement, RdtPlan, Resctrl, schemata};

/// A container may make tasks while its tasks are moved; those of a task that was moved are born in the group.
const PASSES: usize = 64;

/// An update that was checked. Undone on drop until [`Update::commit`].
#[derive(Debug)]
pub struct Update {
    /// Where the container is afterwards.
    pub placement: Placement,
    lines: Vec<SchemaLine>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The container has no group yet.
    Planned(RdtPlan),
    Made(Group),
    /// It has one, with these lines so far.
    Existing {
        group: Group,
        former: Vec<SchemaLine>,
        written: bool,
    },
    Done,
}

impl Update {
    /// Checks whether `lines` (not empty) can be had; changes nothing. `now`: where the container is. Errors: Unsupported with the line's
    /// flag; AlreadyExists; Refused.
    pub fn plan(
        id: &str,
        now: Option<&Placement>,
        lines: Vec<SchemaLine>,
        host: &Host,
    ) -> Result<Update, Error> {
        let unsupported = |error: Error| match (error.kind(), lines.first()) {
            (ErrorKind::Unsupported, Some(line)) => not_enabled(line),
            _ => error,
        };
        let resctrl = Resctrl::find(host).map_err(unsupported)?;
        Update::within(resctrl, id, now, lines)
    }

    /// The same for a root that is at hand.
    pub(super) fn within(
        resctrl: Resctrl,
        id: &str,
        now: Option<&Placement>,
        lines: Vec<SchemaLine>,
    ) -> Result<Update, Error> {
        for line in &lines {
            resctrl.check_resource(line).map_err(|error| {
                if error.kind() == ErrorKind::Unsupported {
                    not_enabled(line)
                } else {
                    error
                }
            })?;
        }
        let Some(now) = now else {
            let config = IntelRdt {
                class: RdtClass::Own,
                schemata: lines.clone(),
                monitoring: false,
            };
            let plan = RdtPlan::within(resctrl, &config, id)?;
            return Ok(Update {
                placement: plan.placement.clone(),
                lines,
                state: State::Planned(plan),
            });
        };
        let former = schemata::current(&resctrl, &now.group, &lines)?;
        Ok(Update {
            placement: now.clone(),
            lines,
            state: State::Existing {
                group: Group::unmade(resctrl, now.clone()),
                former,
                written: false,
            },
        })
    }

    /// Makes or changes the group, and moves in whoever `processes` names. The new placement must be on disk by now.
    pub fn apply(&mut self, processes: impl Fn() -> Result<Vec<i32>, Error>) -> Result<(), Error> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Planned(plan) => {
                let group = Group::create(plan)?;
                let moved = move_in(&group, processes);
                self.state = State::Made(group);
                moved
            }
            State::Existing { group, former, .. } => {
                let set = group.set_schemata(&self.lines);
                self.state = State::Existing {
                    written: set.is_ok(),
                    group,
                    former,
                };
                set
            }
            state => {
                self.state = state;
                Ok(())
            }
        }
    }

    /// It stays as it is now.
    pub fn commit(mut self) {
        if let State::Made(group) = &mut self.state {
            group.commit();
        }
        self.state = State::Done;
    }
}

impl Drop for Update {
    fn drop(&mut self) {
        if let State::Existing {
            group,
            former,
            written: true,
        } = &self.state
        {
            // The update's own error is what the caller gets. A group that was made goes by its own guard.
            let _ = group.set_schemata(former);
        }
    }
}

/// runc's texts.
fn not_enabled(line: &SchemaLine) -> Error {
    let what = match line.resource.as_str() {
        "MB" => "Intel RDT/MBA: memory bandwidth schema is not enabled",
        _ => "Intel RDT/CAT: l3 cache schema is not enabled",
    };
    let text = format!(
        "{what} (hint: resctrl is not mounted, or the processor has no such resource: mount -t resctrl resctrl /sys/fs/resctrl)"
    );
    ConfigErrors::unsupported(line.at.clone(), text).into()
}

/// Moves every task of the processes, again and again until a pass finds none that was not moved.
fn move_in(group: &Group, processes: impl Fn() -> Result<Vec<i32>, Error>) -> Result<(), Error> {
    let mut moved = BTreeSet::new();
    for _ in 0..PASSES {
        let mut found = false;
        for pid in processes()? {
            for task in tasks(pid) {
                if moved.insert(task) {
                    found = true;
                    match group.enter(task) {
                        // It has ended.
                        Err(error) if error.errno() == Some(Errno::SRCH.into()) => {}
                        entered => entered?,
                    }
                }
            }
        }
        if !found {
            return Ok(());
        }
    }
    Err(Error::new(
        ErrorKind::Internal,
        "the container makes tasks faster than they can be moved to its resctrl group",
    ))
}

/// The thread ids of a process; none when it has gone.
fn tasks(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
