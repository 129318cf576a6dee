//! The cgroup: its path and the device rules.

use super::limits;
use super::linux::{MOST, device_number};
use crate::config::errors::{Findings, Place, quoted};
use crate::config::{Cgroup, DeviceKind, DeviceRule, HostFacts, raw};

pub(super) fn cgroup(
    linux: &raw::Linux<'_>,
    at: &Place<'_>,
    facts: &HostFacts,
    found: &mut Findings,
) -> Cgroup {
    let raw = linux.resources.as_ref();
    let resources_at = at.key("resources");
    let rules = raw
        .and_then(|raw| raw.devices.as_deref())
        .unwrap_or_default();
    let rules_at = resources_at.key("devices");
    let resources = raw.map(|raw| limits::resources(raw, &resources_at, found));
    if let Some(resources) = &resources {
        limits::together(resources, &resources_at, facts, found);
    }
    Cgroup {
        path: cgroups_path(linux.cgroups_path.as_deref(), &at.key("cgroupsPath"), found),
        device_rules: rules
            .iter()
            .enumerate()
            .filter_map(|(index, raw)| device_rule(raw, &rules_at.index(index), found))
            .collect(),
        resources: resources.unwrap_or_default(),
    }
}

/// As written: what it means depends on the driver. It must stay below where that driver puts it (R9).
fn cgroups_path(raw: Option<&str>, at: &Place<'_>, found: &mut Findings) -> Option<String> {
    let path = raw.filter(|path| !path.is_empty())?;
    if path.contains('\0') {
        found.error(at, "the path contains a NUL byte");
    } else if path.len() > 4095 {
        found.error(at, "the path is longer than 4095 bytes");
    } else if path.split('/').any(|component| component == "..") {
        found.error(
            at,
            format!("cgroupsPath {} must not contain ..", quoted(path)),
        );
    }
    Some(path.to_owned())
}

fn device_rule(
    raw: &raw::DeviceRule<'_>,
    at: &Place<'_>,
    found: &mut Findings,
) -> Option<DeviceRule> {
    let kind = match raw.kind.as_deref().unwrap_or_default() {
        "" | "a" => Some(DeviceKind::All),
        "c" => Some(DeviceKind::Char),
        "b" => Some(DeviceKind::Block),
        other => {
            found.error(
                &at.key("type"),
                format!(
                    "invalid cgroup device type {}: not a, c or b",
                    quoted(other)
                ),
            );
            None
        }
    };
    let access = raw.access.as_deref().unwrap_or_default();
    let access_at = at.key("access");
    if access.is_empty() {
        found.error(&access_at, "device access cannot be empty");
    } else if !access.bytes().all(|letter| b"rwm".contains(&letter)) {
        found.error(
            &access_at,
            format!(
                "device access {} has other letters than r, w and m",
                quoted(access)
            ),
        );
    }
    // -1 is how some engines write "any".
    let mut number = |name, value: Option<i64>, most| match value {
        None | Some(-1) => None,
        Some(value) => device_number(value, most, &at.key(name), found),
    };
    Some(DeviceRule {
        major: number("major", raw.major, MOST.0),
        minor: number("minor", raw.minor, MOST.1),
        allow: raw.allow.unwrap_or_default(),
        kind: kind?,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    })
}
