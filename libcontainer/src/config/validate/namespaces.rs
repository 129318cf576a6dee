//! The namespaces, the mappings of the user namespace and the offsets of the time namespace.

use std::path::{Path, PathBuf};

use super::{Input, ids};
use crate::config::errors::{Findings, Place, quoted};
use crate::config::path::host_path;
use crate::config::{IdMaps, Namespace, Namespaces, TimeOffset, User, raw};

/// The namespaces and the mappings; `user` is who the process will be, if that is known.
pub(super) fn namespaces(
    input: Input<'_>,
    user: Option<&User>,
    found: &mut Findings,
) -> (Namespaces, IdMaps) {
    let (linux, at) = (input.linux, input.linux_at);
    let namespaces = listed(
        linux.namespaces.as_deref().unwrap_or_default(),
        &at.key("namespaces"),
        found,
    );
    let (uid_at, gid_at) = (at.key("uidMappings"), at.key("gidMappings"));
    let maps = IdMaps {
        uid: ids::mappings(
            linux.uid_mappings.as_deref().unwrap_or_default(),
            &uid_at,
            found,
        ),
        gid: ids::mappings(
            linux.gid_mappings.as_deref().unwrap_or_default(),
            &gid_at,
            found,
        ),
    };
    match &namespaces.user {
        Namespace::Host => {
            for (map, at) in [(&maps.uid, &uid_at), (&maps.gid, &gid_at)] {
                if !map.is_empty() {
                    found.error(at, "user namespace mappings specified, but user namespace isn't enabled in the config");
                }
            }
            if input.facts.unprivileged {
                found.error(
                    &at.key("namespaces"),
                    "rootless container requires user namespaces",
                );
            }
        }
        Namespace::New => {
            if let Some(user) = user {
                ids::process_ids_are_mapped(user, &maps, input.at, found);
            }
        }
        Namespace::Path(..) if maps.uid.is_empty() != maps.gid.is_empty() => {
            found.error(
                &uid_at,
                "a joined user namespace needs both uidMappings and gidMappings, or neither",
            );
        }
        Namespace::Path(..) => {}
    }
    (namespaces, maps)
}

fn listed(raw: &[raw::Namespace<'_>], at: &Place<'_>, found: &mut Findings) -> Namespaces {
    let mut namespaces = Namespaces::default();
    for (index, entry) in raw.iter().enumerate() {
        let at = at.index(index);
        let kind = entry.kind.as_deref().unwrap_or_default();
        let slot = match kind {
            "mount" => &mut namespaces.mount,
            "pid" => &mut namespaces.pid,
            "network" => &mut namespaces.network,
            "ipc" => &mut namespaces.ipc,
            "uts" => &mut namespaces.uts,
            "user" => &mut namespaces.user,
            "cgroup" => &mut namespaces.cgroup,
            "time" => &mut namespaces.time,
            _ => {
                found.error(
                    &at.key("type"),
                    format!("namespace {} does not exist", quoted(kind)),
                );
                continue;
            }
        };
        if *slot != Namespace::Host {
            found.error(
                &at.key("type"),
                format!("malformed spec file: duplicated ns {}", quoted(kind)),
            );
        }
        *slot = match entry.path.as_deref().unwrap_or_default() {
            "" => Namespace::New,
            path => Namespace::Path(joined(path, &at.key("path"), found), index),
        };
    }
    namespaces
}

fn joined(path: &str, at: &Place<'_>, found: &mut Findings) -> PathBuf {
    if !path.starts_with('/') {
        found.error(
            at,
            format!("a namespace's path must be absolute, not {}", quoted(path)),
        );
        return PathBuf::new();
    }
    // Cleaning by text would change what a symlink followed by `..` means; the path is only checked.
    found
        .check(at, host_path(path, Path::new("/")))
        .map(|_| PathBuf::from(path))
        .unwrap_or_default()
}

/// In the order clock by clock; offsets of a joined namespace are fixed.
pub(super) fn time_offsets(
    input: Input<'_>,
    namespace: &Namespace,
    found: &mut Findings,
) -> Vec<TimeOffset> {
    let at = &input.linux_at.key("timeOffsets");
    let raw = input.linux.time_offsets.as_ref();
    let Some(raw) = raw.filter(|raw| !raw.is_empty()) else {
        return Vec::new();
    };
    match namespace {
        Namespace::Host => found.error(
            at,
            "time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
        Namespace::Path(..) => found.error(
            at,
            "the offsets of a joined time namespace cannot be changed",
        ),
        Namespace::New => {}
    }
    let mut offsets = Vec::new();
    for (clock, offset) in raw.iter() {
        let at = at.key(clock);
        let clock = match &**clock {
            "monotonic" => "monotonic",
            "boottime" => "boottime",
            _ => {
                found.error(&at, "only the clocks monotonic and boottime have offsets");
                continue;
            }
        };
        let nanoseconds = offset.nanoseconds.unwrap_or_default();
        if nanoseconds >= 1_000_000_000 {
            found.error(
                &at.key("nanosecs"),
                format!("{nanoseconds} is not below 1000000000"),
            );
        }
        offsets.push(TimeOffset {
            clock,
            seconds: offset.seconds.unwrap_or_default(),
            nanoseconds,
        });
    }
    offsets
}
