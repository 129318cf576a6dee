//! `explain`: a plan as text for people or as JSON for programs, in the order of the launch, each line with its place in config.json.
//!
//! Both come from the same list of sections, and that from the plan itself: nothing is explained that would not be done.

use serde::Serialize;

use super::describe::describe;
use super::words::{errnos, limit, namespaces, propagation};
use super::{HandedSource, LaunchPlan, OnError, Planned, SlotSource};
use crate::cgroup::limits::Step;
use crate::config::{Config, Hook, IdMap, Ignored};
use crate::error::Pointer;

/// How the plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people: a line an action.
    Text,
    /// For programs: one object.
    Json,
}

/// The plan of a container, in full: with the limits of its cgroup. `ignored` are the keys of its config.json without effect.
pub fn explain(
    plan: &LaunchPlan,
    config: &Config,
    limits: &[Step],
    ignored: &[Ignored],
    format: Format,
) -> String {
    let explanation = Explanation {
        sections: sections(plan, config, limits),
        ignored: ignored.iter().map(Without::from).collect(),
        warnings: &config.warnings,
    };
    match format {
        Format::Text => explanation.text(),
        // Strings and numbers only: always serialises.
        Format::Json => serde_json::to_string_pretty(&explanation)
            .map(|text| text + "\n")
            .unwrap_or_default(),
    }
}

#[derive(Serialize)]
struct Explanation<'a> {
    sections: Vec<Section>,
    ignored: Vec<Without>,
    warnings: &'a [String],
}

/// What one side does at one time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Section {
    /// `parent` or `stage`.
    actor: &'static str,
    when: &'static str,
    actions: Vec<Action>,
}

#[derive(Serialize)]
struct Action {
    /// The stage's step: its number, which errors and traces name, and its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    does: String,
    at: String,
    #[serde(rename = "onError", skip_serializing_if = "Option::is_none")]
    on_error: Option<Branch>,
}

/// The other branch of a conditional step.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Branch {
    GoOn { errors: String },
    Instead { errors: String, action: Box<Action> },
}

#[derive(Serialize)]
struct Without {
    at: String,
    reason: &'static str,
}

impl From<&Ignored> for Without {
    fn from(ignored: &Ignored) -> Without {
        Without {
            at: ignored.pointer.to_string(),
            reason: ignored.reason,
        }
    }
}

fn does(text: impl Into<String>, at: &Pointer) -> Action {
    Action {
        index: None,
        step: None,
        does: text.into(),
        at: at.to_string(),
        on_error: None,
    }
}

fn sections(plan: &LaunchPlan, config: &Config, limits: &[Step]) -> Vec<Section> {
    let mut sections = vec![
        Section {
            actor: "parent",
            when: "before the clone",
            actions: before_clone(plan, config, limits),
        },
        Section {
            actor: "parent",
            when: "beside the stage",
            actions: beside(plan, config),
        },
        Section {
            actor: "stage",
            when: "until it is ready, and after start",
            actions: stage(plan),
        },
        Section {
            actor: "parent",
            when: "when the stage is ready",
            actions: at_ready(plan),
        },
        Section {
            actor: "parent",
            when: "at start and delete",
            actions: later(config),
        },
    ];
    sections.retain(|section| !section.actions.is_empty());
    sections
}

fn before_clone(plan: &LaunchPlan, config: &Config, limits: &[Step]) -> Vec<Action> {
    let cgroups = Pointer::fixed("config.json#/linux/cgroupsPath");
    let mut actions = vec![
        does(
            "claim the id: make its state directory and record the intent",
            &Pointer::CONFIG,
        ),
        match &config.cgroup.path {
            Some(path) => does(
                format!("make the cgroup {path} and mark it as ours"),
                &cgroups,
            ),
            None => does(
                "make a cgroup named after the container and mark it as ours",
                &cgroups,
            ),
        },
    ];
    for (text, at) in limits.iter().flat_map(Step::describe) {
        actions.push(does(text, at));
    }
    if let Some(rdt) = &config.intel_rdt {
        let lines: Vec<_> = rdt.schemata.iter().map(|line| line.text.as_str()).collect();
        let at = Pointer::fixed("config.json#/linux/intelRdt");
        let text = match lines.as_slice() {
            [] => "see to the resctrl group".to_owned(),
            lines => format!("see to the resctrl group, with {}", lines.join(", ")),
        };
        actions.push(does(text, &at));
    }
    for slot in &plan.slots {
        actions.extend(match slot {
            SlotSource::Rootfs {
                path,
                propagation: flags,
                at,
            } => {
                let made = match flags {
                    0 => String::new(),
                    flags => format!(", made {}", propagation(*flags)),
                };
                Some(does(
                    format!("clone the mounts of {}{made}", path.display()),
                    at,
                ))
            }
            SlotSource::Namespace { kind, path, at } => Some(does(
                format!(
                    "open the {} namespace {}",
                    namespaces(*kind),
                    path.display()
                ),
                at,
            )),
            SlotSource::StartFifo => Some(does("make the start fifo", &Pointer::CONFIG)),
            SlotSource::Control
            | SlotSource::Proc
            | SlotSource::InitPidfd
            | SlotSource::Lifeline => None,
        });
    }
    if devices_first(plan, config) {
        actions.push(devices(config));
    }
    actions.push(clone(plan));
    actions
}

/// v1 takes many writes, of which the first denies everything; and hooks in the container do not wait for us.
fn devices_first(plan: &LaunchPlan, config: &Config) -> bool {
    !plan.into_cgroup || !config.hooks.create_container.is_empty()
}

fn devices(config: &Config) -> Action {
    let rules = config.cgroup.device_rules.len();
    does(
        format!("allow devices by {rules} rules, then the default devices, and no others"),
        &Pointer::fixed("config.json#/linux/resources/devices"),
    )
}

fn clone(plan: &LaunchPlan) -> Action {
    let kinds = u32::try_from(plan.clone_flags).unwrap_or(0);
    let new = match kinds {
        0 => ", still in our namespaces".to_owned(),
        kinds => format!(" with new namespaces: {}", namespaces(kinds)),
    };
    let place = if plan.into_cgroup {
        ", into the cgroup"
    } else {
        ""
    };
    does(
        format!("clone the stage{place}{new}"),
        &Pointer::fixed("config.json#/linux/namespaces"),
    )
}

fn beside(plan: &LaunchPlan, config: &Config) -> Vec<Action> {
    let linux = Pointer::fixed("config.json#/linux");
    let mut actions = Vec::new();
    if config.intel_rdt.is_some() {
        let at = linux.key("intelRdt");
        actions.push(does("put the stage into its resctrl group", &at));
    }
    if !plan.into_cgroup {
        actions.push(does(
            "put the stage into the cgroup, and let it go on",
            &linux.key("cgroupsPath"),
        ));
    }
    if !devices_first(plan, config) {
        actions.push(devices(config));
    }
    if plan.needs_maps {
        let (uid, gid) = (&config.id_maps.uid, &config.id_maps.gid);
        actions.push(does(
            format!("map uids {}", maps(uid)),
            &linux.key("uidMappings"),
        ));
        actions.push(does(
            format!("map gids {}", maps(gid)),
            &linux.key("gidMappings"),
        ));
    }
    for source in &plan.handed {
        let HandedSource::Bind {
            path,
            recursive,
            idmap,
            at,
            ..
        } = source;
        let all = if *recursive {
            " with the mounts below it"
        } else {
            ""
        };
        let mapped = if idmap.is_some() { ", id-mapped" } else { "" };
        actions.push(does(
            format!("when asked, clone {}{all}{mapped}", path.display()),
            at,
        ));
    }
    for device in &config.net_devices {
        let text = format!(
            "move the network device {} into the container as {}",
            device.host, device.container
        );
        actions.push(does(text, &linux.key("netDevices").key(&device.host)));
    }
    hooks(&mut actions, &config.hooks.prestart, "prestart");
    hooks(&mut actions, &config.hooks.create_runtime, "createRuntime");
    actions
}

fn maps(maps: &[IdMap]) -> String {
    let maps: Vec<_> = maps
        .iter()
        .map(|map| {
            format!(
                "{} to {} on the host, {} of them",
                map.container, map.host, map.size
            )
        })
        .collect();
    maps.join("; ")
}

fn hooks(actions: &mut Vec<Action>, hooks: &[Hook], key: &str) {
    let at = Pointer::CONFIG.key("hooks").key(key);
    for (index, hook) in hooks.iter().enumerate() {
        let limit = match hook.timeout_s {
            Some(seconds) => format!(", for at most {seconds} s"),
            None => String::new(),
        };
        let text = format!(
            "run {key} hook #{index}: {}{limit}",
            hook.path.to_string_lossy()
        );
        actions.push(does(text, &at.index(index)));
    }
}

/// Alternatives stand with the step they may replace, under their own number.
fn stage(plan: &LaunchPlan) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut steps = plan.steps.iter().enumerate();
    while let Some((index, planned)) = steps.next() {
        let mut action = step_action(plan, index, planned);
        action.on_error = match planned.on_error {
            OnError::Fail => None,
            OnError::Ignore(list) => Some(Branch::GoOn {
                errors: errnos(list),
            }),
            OnError::Instead(list) => steps.next().map(|(index, other)| {
                let action = Box::new(step_action(plan, index, other));
                Branch::Instead {
                    errors: errnos(list),
                    action,
                }
            }),
        };
        actions.push(action);
    }
    actions
}

fn step_action(plan: &LaunchPlan, index: usize, planned: &Planned) -> Action {
    Action {
        index: Some(index),
        step: Some(planned.step.name()),
        ..does(describe(plan, &planned.step), &planned.at)
    }
}

fn at_ready(plan: &LaunchPlan) -> Vec<Action> {
    let mut actions: Vec<_> = plan
        .rlimits
        .iter()
        .map(|rlimit| {
            let text = format!(
                "set {} to {}, at most {}",
                rlimit.name,
                limit(rlimit.soft),
                limit(rlimit.hard)
            );
            does(text, &rlimit.at)
        })
        .collect();
    actions.push(does(
        "record the state, write the pid file, give the stage the word",
        &Pointer::CONFIG,
    ));
    actions
}

fn later(config: &Config) -> Vec<Action> {
    let mut actions = Vec::new();
    hooks(&mut actions, &config.hooks.poststart, "poststart");
    hooks(&mut actions, &config.hooks.poststop, "poststop");
    actions
}

// Text.

/// Where the pointers stand, unless the line is longer.
const COLUMN: usize = 88;

impl Explanation<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            text.push_str(&format!("{}, {}:\n", section.actor, section.when));
            for action in &section.actions {
                action.print(&mut text);
            }
            text.push('\n');
        }
        if !self.ignored.is_empty() {
            text.push_str("without effect:\n");
            for ignored in &self.ignored {
                line(&mut text, &format!("      {}", ignored.reason), &ignored.at);
            }
            text.push('\n');
        }
        for warning in self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

impl Action {
    fn print(&self, text: &mut String) {
        line(
            text,
            &format!("{} {}", number(self.index), self.does),
            &self.at,
        );
        match &self.on_error {
            None => {}
            Some(Branch::GoOn { errors }) => {
                text.push_str(&format!("        on {errors}: go on without\n"))
            }
            Some(Branch::Instead { errors, action }) => {
                let instead = format!(
                    "        on {errors} instead, {}: {}",
                    number(action.index).trim(),
                    action.does
                );
                line(text, &instead, &action.at);
            }
        }
    }
}

fn number(index: Option<usize>) -> String {
    match index {
        Some(index) => format!("{index:5}"),
        None => "    -".to_owned(),
    }
}

fn line(text: &mut String, what: &str, at: &str) {
    text.push_str(&format!("{what:COLUMN$}  {at}\n"));
}
