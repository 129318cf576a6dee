//! Hooks: when the parent runs those on the host, and what the stage needs to run those inside.

use std::ffi::CString;

use serde::Serialize;
use stage::step::{Step, hook_point};

use super::create::Create;
use super::form::{Text, Texts};
use crate::config::Hook;
use crate::error::Pointer;

/// Room for the largest pid (PID_MAX_LIMIT is 2^22) and then some.
const PID_ROOM: &str = "          ";

/// The parent's turn: prestart and createRuntime hooks, and network devices, which must be there before a hook looks at them.
pub(super) fn host(c: &mut Create<'_>) {
    let hooks = &c.config.hooks;
    let wanted = !(hooks.prestart.is_empty()
        && hooks.create_runtime.is_empty()
        && c.config.net_devices.is_empty());
    if wanted {
        c.draft
            .push(&Pointer::CONFIG.key("hooks"), Step::HostHooks {});
        c.draft.plan.host_hooks = true;
    }
}

/// In the container's namespaces, before pivot; without `env` they get the runtime's own environment.
pub(super) fn create_container(c: &mut Create<'_>) {
    let hooks = &c.config.hooks.create_container;
    let env = c.request.host_env.as_slice();
    point(
        c,
        hooks,
        hook_point::CREATE_CONTAINER,
        "createContainer",
        "creating",
        env,
    );
}

/// Inside the container, as its user; without `env` they get the program's.
pub(super) fn start_container(c: &mut Create<'_>) {
    let hooks = &c.config.hooks.start_container;
    let env = c.env();
    point(
        c,
        hooks,
        hook_point::START_CONTAINER,
        "startContainer",
        "created",
        &env,
    );
}

fn point(
    c: &mut Create<'_>,
    hooks: &[Hook],
    point: u8,
    key: &str,
    status: &str,
    default_env: &[CString],
) {
    if hooks.is_empty() {
        return;
    }
    let (state, pid_at) = state(c, status);
    let at = Pointer::CONFIG.key("hooks").key(key);
    for (index, hook) in hooks.iter().enumerate() {
        let step = Step::Hook {
            point,
            index: u16::try_from(index).unwrap_or(u16::MAX),
            path: Text(hook.path.clone()),
            args: Texts(hook.args.clone()),
            env: Texts(hook.env.clone().unwrap_or_else(|| default_env.to_vec())),
            timeout_s: hook.timeout_s.unwrap_or(0),
            state: state.clone(),
            pid_at,
        };
        c.draft.push(&at.index(index), step);
    }
}

/// The state on a hook's stdin (runtime.md, "State"), up to the pid.
#[derive(Serialize)]
struct BeforePid<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
}

/// The rest of it. `root` is crun's addition, which CDI hooks read.
#[derive(Serialize)]
struct AfterPid<'a> {
    bundle: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: &'a std::collections::BTreeMap<String, String>,
    root: std::borrow::Cow<'a, str>,
}

/// The state's text, and where in it the stage prints the pid: only the stage knows the one inside.
fn state(c: &Create<'_>, status: &str) -> (Text, u32) {
    let before = BeforePid {
        oci_version: &c.config.oci_version,
        id: &c.request.id,
        status,
    };
    let after = AfterPid {
        bundle: c.request.bundle.to_string_lossy(),
        annotations: &c.config.annotations,
        root: c.config.root.path.to_string_lossy(),
    };
    // Strings and a map of strings always serialise.
    let before = serde_json::to_string(&before).unwrap_or_default();
    let after = serde_json::to_string(&after).unwrap_or_default();
    let head = format!("{},\"pid\":", before.trim_end_matches('}'));
    let pid_at = u32::try_from(head.len()).unwrap_or(u32::MAX);
    let text = format!(
        "{head}{PID_ROOM},{}",
        after.strip_prefix('{').unwrap_or(&after)
    );
    (Text::new(text), pid_at)
}
