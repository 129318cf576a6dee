//! User and group ids, and the mappings of a user namespace.

use crate::config::errors::{Findings, Place};
use crate::config::{IdMap, IdMaps, User, raw};

/// The kernel takes at most this many lines (`UID_GID_MAP_MAX_EXTENTS`).
const MOST_LINES: usize = 340;

/// An id; 2^32-1 means "none" to the kernel and "unchanged" to its calls, so it is refused everywhere.
pub(super) fn id(id: u32, at: &Place<'_>, found: &mut Findings) -> u32 {
    if id == u32::MAX {
        found.error(
            at,
            "4294967295 is no id: the kernel keeps it for \"no change\"",
        );
    }
    id
}

/// One list of mappings, by the rules of user_namespaces(7).
pub(super) fn mappings(raw: &[raw::IdMapping], at: &Place<'_>, found: &mut Findings) -> Vec<IdMap> {
    if raw.len() > MOST_LINES {
        found.error(
            at,
            format!(
                "{} mappings are more than the 340 that the kernel takes",
                raw.len()
            ),
        );
        return Vec::new();
    }
    let mut maps: Vec<IdMap> = Vec::with_capacity(raw.len());
    for (index, mapping) in raw.iter().enumerate() {
        let at = at.index(index);
        let map = IdMap {
            container: mapping.container.unwrap_or_default(),
            host: mapping.host.unwrap_or_default(),
            size: mapping.size.unwrap_or_default(),
        };
        if map.size == 0 {
            found.error(&at.key("size"), "a mapping of size 0 maps nothing");
        } else if map.container.checked_add(map.size).is_none()
            || map.host.checked_add(map.size).is_none()
        {
            found.error(&at, "the mapping goes beyond the last id, 4294967294");
        } else if maps
            .iter()
            .any(|other| overlap(map.container, other.container, map.size, other.size))
        {
            found.error(&at.key("containerID"), "the mapping overlaps another one");
        } else if maps
            .iter()
            .any(|other| overlap(map.host, other.host, map.size, other.size))
        {
            found.error(&at.key("hostID"), "the mapping overlaps another one");
        }
        maps.push(map);
    }
    maps
}

fn overlap(one: u32, other: u32, size_of_one: u32, size_of_other: u32) -> bool {
    one < other.saturating_add(size_of_other) && other < one.saturating_add(size_of_one)
}

/// Whether the container's `id` is anybody on the host.
pub(super) fn is_mapped(id: u32, maps: &[IdMap]) -> bool {
    maps.iter()
        .any(|map| id >= map.container && id - map.container < map.size)
}

/// Every id that the process takes must be mapped, and so must 0, with which the namespace is set up.
pub(super) fn process_ids_are_mapped(
    user: &User,
    maps: &IdMaps,
    document: &Place<'_>,
    found: &mut Findings,
) {
    let linux = document.key("linux");
    for (name, map, kind) in [
        ("uidMappings", &maps.uid, "user"),
        ("gidMappings", &maps.gid, "group"),
    ] {
        if map.is_empty() {
            found.error(
                &linux.key(name),
                format!("User namespaces enabled, but no {kind} mappings found"),
            );
        } else if !is_mapped(0, map) {
            found.error(
                &linux.key(name),
                format!("User namespaces enabled, but {kind} 0 of the container is not mapped"),
            );
        }
    }
    let process = document.key("process");
    let at = process.key("user");
    // Of 0 the mappings themselves are blamed, above.
    let unmapped = |id: u32, map: &[IdMap]| id != 0 && !map.is_empty() && !is_mapped(id, map);
    let message = |id: u32, name: &str| format!("{id} is not in /linux/{name}");
    if unmapped(user.uid, &maps.uid) {
        found.error(&at.key("uid"), message(user.uid, "uidMappings"));
    }
    if unmapped(user.gid, &maps.gid) {
        found.error(&at.key("gid"), message(user.gid, "gidMappings"));
    }
    for (index, gid) in user
        .additional_gids
        .iter()
        .enumerate()
        .filter(|(_, gid)| unmapped(**gid, &maps.gid))
    {
        found.error(
            &at.key("additionalGids").index(index),
            message(*gid, "gidMappings"),
        );
    }
}
