//! `linux.seccomp`: the profile's own rules are its crate's; here stand those of a runtime: who answers, and what flags a filter is loaded with.

use std::path::PathBuf;

use seccomp_profiles::profile::{Given, Invalid, RawCondition, RawRule, Reading};
use seccomp_profiles::{Flags, Profile};

use super::Input;
use crate::config::errors::{Findings, quoted};
use crate::config::{Agent, Seccomp, raw};

pub(super) fn seccomp(input: Input<'_>, found: &mut Findings) -> Option<Seccomp> {
    let raw = input.linux.seccomp.as_ref()?;
    let no_filter = asks_for_nothing(raw);
    let at = input.linux_at.key("seccomp");
    let profile = match profile(raw) {
        Ok(profile) => profile,
        Err(invalid) => {
            for fault in invalid.faults {
                if !(no_filter && fault.pointer == "/defaultAction") {
                    found.error_below(&at, &fault.pointer, fault.problem.to_string());
                }
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

fn profile(raw: &raw::Seccomp<'_>) -> Result<Profile, Invalid> {
    let mut reading = Reading::default();
    reading.default_action(text(&raw.default_action), raw.default_errno.into());
    reading.architectures(texts(&raw.architectures));
    reading.flags(texts(&raw.flags));
    reading.listener_path(text(&raw.listener_path));
    reading.listener_metadata(text(&raw.listener_metadata));
    reading.rules(Given::from(raw.rules.as_deref()).map(|rules| {
        rules.iter().map(|rule| {
            Given::Value(RawRule {
                names: texts(&rule.names),
                action: text(&rule.action),
                errno: rule.errno.into(),
                conditions: Given::from(rule.conditions.as_deref()).map(conditions),
            })
        })
    }));
    reading.finish()
}

fn conditions<'a>(
    list: &'a [raw::SeccompCondition<'_>],
) -> impl Iterator<Item = Given<RawCondition<'a>>> {
    list.iter().map(|condition| {
        Given::Value(RawCondition {
            index: condition.index.into(),
            value: condition.value.into(),
            second: condition.second.into(),
            operator: text(&condition.operator),
        })
    })
}

fn texts<'a>(
    list: &'a Option<raw::List<raw::Text<'_>>>,
) -> Given<impl Iterator<Item = Given<&'a str>>> {
    Given::from(list.as_deref()).map(|list| list.iter().map(|text| Given::Value(&**text)))
}

fn text<'a>(text: &'a Option<raw::Text<'_>>) -> Given<&'a str> {
    text.as_deref().into()
}

/// Neither a default action nor a rule: no filter, as with runc.
fn asks_for_nothing(raw: &raw::Seccomp<'_>) -> bool {
    raw.default_action.as_deref().is_none_or(str::is_empty)
        && raw.rules.as_deref().is_none_or(<[_]>::is_empty)
}
