//! `linux.seccomp`: the profile's own rules are its crate's; here stand those of a runtime: who answers, and what flags a filter is loaded with.

use std::path::PathBuf;

use seccomp_profiles::profile::Problem;
use seccomp_profiles::{Flags, Profile};
use serde_json::Value;

use super::Input;
use crate::config::errors::{Findings, quoted};
use crate::config::{Agent, Seccomp, walk};

pub(super) fn seccomp(input: Input<'_>, found: &mut Findings) -> Option<Seccomp> {
    let value = input
        .linux
        .seccomp
        .as_ref()
        .filter(|value| !value.is_null())?;
    let no_filter = asks_for_nothing(value);
    let at = input.linux_at.key("seccomp");
    let profile = match Profile::from_value(value) {
        Ok(profile) => profile,
        Err(invalid) => {
            for fault in invalid.faults {
                if no_filter && fault.pointer == "/defaultAction" {
                    continue;
                }
                let text = fault.problem.to_string();
                let text = match fault.problem {
                    Problem::Type { .. } => {
                        walk::wrong_type("/linux/seccomp", value, &fault.pointer, &text)
                    }
                    _ => text,
                };
                found.error_below(&at, &fault.pointer, text);
            }
            return None;
        }
    };
    // The listener is asked for by the launch, which knows when.
    let flags = Flags::of(&profile).0 & !Flags::NEW_LISTENER.0;
    let path = profile.listener_path.clone().unwrap_or_default();
    let agent = if !profile.notifies() {
        None
    } else if path.is_empty() {
        found.error(
            &at.key("listenerPath"),
            "SCMP_ACT_NOTIFY is used and listenerPath is not set: nobody would answer",
        );
        None
    } else if !path.starts_with('/') {
        found.error(
            &at.key("listenerPath"),
            format!("listenerPath {} must be absolute", quoted(&path)),
        );
        None
    } else {
        Some(Agent::Socket {
            path: PathBuf::from(path),
            metadata: profile.listener_metadata.clone().unwrap_or_default(),
        })
    };
    Some(Seccomp {
        profile,
        flags,
        agent,
    })
}

/// Neither a default action nor a rule: no filter, as with runc.
fn asks_for_nothing(value: &Value) -> bool {
    let empty = |key: &str| match value.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    match value {
        Value::Object(_) => empty("defaultAction") && empty("syscalls"),
        _ => false,
    }
}
