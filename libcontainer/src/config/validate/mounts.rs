//! The rules of `mounts`.

use std::path::Path;

use super::{Input, ids, text};
use crate::config::errors::{Findings, Place, quoted};
use crate::config::mount_options::Options;
use crate::config::path::host_path;
use crate::config::{BadPath, ContainerPath, IdMaps, Idmap, Mount, MountKind, raw};

/// Files of procfs that may be covered; everything else below `/proc` decides what the runtime itself reads and writes there.
const COVERABLE: &[&[u8]] = &[
    b"cpuinfo",
    b"diskstats",
    b"loadavg",
    b"meminfo",
    b"slabinfo",
    b"stat",
    b"swaps",
    b"sys/crypto/fips_enabled",
    b"sys/kernel/ns_last_pid",
    b"uptime",
];

/// All mounts in their order; `maps` are those of the container's user namespace.
pub(super) fn mounts(input: Input<'_>, maps: &IdMaps, found: &mut Findings) -> Vec<Mount> {
    let at = input.at.key("mounts");
    let raw = input.spec.mounts.as_deref().unwrap_or_default();
    let rules = Rules { input, maps };
    raw.iter()
        .enumerate()
        .filter_map(|(index, raw)| rules.mount(index, raw, &at.index(index), found))
        .collect()
}

struct Rules<'a> {
    input: Input<'a>,
    maps: &'a IdMaps,
}

impl Rules<'_> {
    fn mount(
        &self,
        index: usize,
        raw: &raw::Mount<'_>,
        at: &Place<'_>,
        found: &mut Findings,
    ) -> Option<Mount> {
        let target = target(
            raw.destination.as_deref().unwrap_or_default(),
            &at.key("destination"),
            found,
        );
        let options_at = at.key("options");
        let options = Options::parse(
            raw.options
                .as_deref()
                .unwrap_or_default()
                .iter()
                .map(|word| &**word),
        );
        self.mapped_owners(&options, &options_at, found);
        let idmap = self.idmap(raw, &options, at, found);
        let kind = self.kind(raw, &options, at, found);
        if let (Some(target), Some(kind)) = (&target, &kind) {
            over_proc(target, kind, at, found);
        }
        Some(Mount {
            index,
            target: target?,
            kind: kind?,
            attr_set: options.attr_set,
            attr_clear: options.attr_clear,
            recursive_set: options.recursive_set,
            recursive_clear: options.recursive_clear,
            propagation: options.propagation,
            idmap,
        })
    }

    fn kind(
        &self,
        raw: &raw::Mount<'_>,
        options: &Options<'_>,
        at: &Place<'_>,
        found: &mut Findings,
    ) -> Option<MountKind> {
        let options_at = at.key("options");
        let fstype = raw.fstype.as_deref().unwrap_or_default();
        let source = raw.source.as_deref().unwrap_or_default();
        let bind = options.bind.or_else(|| (fstype == "bind").then_some(false));
        if options.copy_up && (fstype != "tmpfs" || bind.is_some()) {
            found.error(&options_at, "tmpcopyup is for tmpfs only");
        }
        if options.remount || bind.is_some() {
            superblock_flags_do_nothing(options, &options_at, found);
        }
        if options.remount {
            if !options.data.is_empty() {
                found.error(
                    &options_at,
                    "a remount cannot change filesystem-specific options",
                );
            }
            return Some(MountKind::Remount);
        }
        if let Some(recursive) = bind {
            return self.bind(recursive, source, options, at, found);
        }
        match fstype {
            "" => {
                found.error(
                    &at.key("type"),
                    "a mount that is no bind mount needs a type",
                );
                None
            }
            "cgroup" | "cgroup2" => {
                if !options.data.is_empty() {
                    found.warn(format!(
                        "{}: ignoring {} on a cgroup mount",
                        options_at.pointer(),
                        quoted(&options.data.join(","))
                    ));
                }
                Some(MountKind::Cgroup)
            }
            fstype => filesystem(fstype, source, options, at, found),
        }
    }

    fn bind(
        &self,
        recursive: bool,
        source: &str,
        options: &Options<'_>,
        at: &Place<'_>,
        found: &mut Findings,
    ) -> Option<MountKind> {
        if !options.data.is_empty() {
            let words = quoted(&options.data.join(","));
            found.error(
                &at.key("options"),
                format!("bind mounts cannot have any filesystem-specific options applied: {words}"),
            );
        }
        let source = found.check(&at.key("source"), host_path(source, self.input.bundle))?;
        Some(MountKind::Bind { source, recursive })
    }

    /// In a container without root's privileges an owner that is nobody would only show as EINVAL.
    fn mapped_owners(&self, options: &Options<'_>, at: &Place<'_>, found: &mut Findings) {
        if !self.input.facts.unprivileged {
            return;
        }
        for word in &options.data {
            let (map, id) = match word.split_once('=') {
                Some(("uid", id)) => (&self.maps.uid, id),
                Some(("gid", id)) => (&self.maps.gid, id),
                _ => continue,
            };
            if !id.parse().is_ok_and(|id| ids::is_mapped(id, map)) {
                found.error(
                    at,
                    format!(
                        "cannot specify {} for rootless container: the id is not mapped",
                        quoted(word)
                    ),
                );
            }
        }
    }

    fn idmap(
        &self,
        raw: &raw::Mount<'_>,
        options: &Options<'_>,
        at: &Place<'_>,
        found: &mut Findings,
    ) -> Option<Idmap> {
        let uid = raw.uid_mappings.as_deref().unwrap_or_default();
        let gid = raw.gid_mappings.as_deref().unwrap_or_default();
        let given = !uid.is_empty() || !gid.is_empty();
        if !given && options.idmap.is_none() {
            return None;
        }
        if options.bind.is_none() && raw.fstype.as_deref() != Some("bind") {
            found.error(at, "id-mapped mounts are only supported for bind-mounts");
        }
        if self.input.facts.unprivileged {
            found.error(
                at,
                "id-mapped mounts are not supported for rootless containers",
            );
        }
        if given && (uid.is_empty() || gid.is_empty()) {
            found.error(
                at,
                "id-mapped mounts must have both uid and gid mappings specified",
            );
        }
        let maps = IdMaps {
            uid: ids::mappings(uid, &at.key("uidMappings"), found),
            gid: ids::mappings(gid, &at.key("gidMappings"), found),
        };
        Some(Idmap {
            maps,
            recursive: options.idmap == Some(true),
        })
    }
}

/// They are of the superblock, which neither a bind mount nor a change of attributes touches; `ro` is of the mount as well.
fn superblock_flags_do_nothing(options: &Options<'_>, at: &Place<'_>, found: &mut Findings) {
    for flag in options.flags.iter().filter(|flag| **flag != "ro") {
        found.warn(format!(
            "{}: {flag} has no effect on a bind mount or a remount",
            at.pointer()
        ));
    }
}

/// A relative destination is taken below `/`, as it was before the specification forbade it.
fn target(raw: &str, at: &Place<'_>, found: &mut Findings) -> Option<ContainerPath> {
    let target = match ContainerPath::parse(raw) {
        Err(BadPath::NotAbsolute) => {
            found.warn(format!(
                "{}: mount destination {} is not absolute, taken below /",
                at.pointer(),
                quoted(raw)
            ));
            ContainerPath::parse_below_root(raw)
        }
        target => target,
    };
    let target = found.check(at, target)?;
    if target.is_root() {
        found.error(at, "a mount over / would hide the root file system");
    }
    Some(target)
}

fn filesystem(
    fstype: &str,
    source: &str,
    options: &Options<'_>,
    at: &Place<'_>,
    found: &mut Findings,
) -> Option<MountKind> {
    let options_at = at.key("options");
    let name = text(fstype, &at.key("type"), found)?;
    let data = options
        .data
        .iter()
        .filter_map(|word| text(word, &options_at, found))
        .collect();
    let source = if source.is_empty() { fstype } else { source };
    // The mount points inside a tmpfs are made after it is mounted; only its mount becomes read-only, at the end.
    let flags = options
        .flags
        .iter()
        .copied()
        .filter(|flag| fstype != "tmpfs" || *flag != "ro")
        .collect();
    Some(MountKind::Filesystem {
        source: text(source, &at.key("source"), found)?,
        fstype: name,
        flags,
        data,
        copy_up: options.copy_up,
    })
}

/// Over `/proc` stands procfs and nothing else, and over what is in it only the files that LXCFS and the like fill in (CVE-2019-16884).
fn over_proc(target: &ContainerPath, kind: &MountKind, at: &Place<'_>, found: &mut Findings) {
    match (target.below("/proc"), kind) {
        (None, _) | (_, MountKind::Remount) => {}
        (Some(b""), MountKind::Filesystem { fstype, .. }) if fstype.as_bytes() == b"proc" => {}
        (Some(b""), MountKind::Bind { source, .. }) if source == Path::new("/proc") => {}
        (Some(b""), _) => found.error(
            &at.key("destination"),
            "\"/proc\" cannot be mounted because it is not of type proc",
        ),
        (Some(inside), _) if COVERABLE.contains(&inside) => {}
        (Some(_), _) => found.error(
            &at.key("destination"),
            format!(
                "{} cannot be mounted because it is inside /proc",
                quoted(&target.to_string())
            ),
        ),
    }
}
