//! The rules of device nodes, network devices, the memory policy and the personality.

use std::collections::BTreeSet;

use super::{Input, ids};
use crate::config::errors::{Findings, Place, quoted};
use crate::config::names::{self, Nodes, is_interface_name, lookup};
use crate::config::{ContainerPath, Device, MemoryPolicy, Namespace, NetDevice, raw};

const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFIFO: u32 = 0o010_000;
/// A `dev_t` of the kernel has 12 bits for the major number and 20 for the minor.
const MOST_MAJOR: i64 = (1 << 12) - 1;
const MOST_MINOR: i64 = (1 << 20) - 1;
/// MAX_NUMNODES of the largest kernels.
const MOST_NODES: u32 = 1024;

pub(super) fn devices(input: Input<'_>, found: &mut Findings) -> Vec<Device> {
    let at = input.linux_at.key("devices");
    let raw = input.linux.devices.as_deref().unwrap_or_default();
    raw.iter()
        .enumerate()
        .filter_map(|(index, raw)| device(index, raw, &at.index(index), found))
        .collect()
}

fn device(
    index: usize,
    raw: &raw::Device<'_>,
    at: &Place<'_>,
    found: &mut Findings,
) -> Option<Device> {
    let path = found.check(
        &at.key("path"),
        ContainerPath::parse(raw.path.as_deref().unwrap_or_default()),
    );
    let format = match raw.kind.as_deref().unwrap_or_default() {
        "c" | "u" => Some(S_IFCHR),
        "b" => Some(S_IFBLK),
        "p" => Some(S_IFIFO),
        other => {
            found.error(
                &at.key("type"),
                format!("invalid device type {}: not c, u, b or p", quoted(other)),
            );
            None
        }
    };
    let mut number = |name, value: Option<i64>, most| {
        device_number(value.unwrap_or_default(), most, &at.key(name), found)
    };
    let (major, minor) = (
        number("major", raw.major, MOST_MAJOR),
        number("minor", raw.minor, MOST_MINOR),
    );
    let mut owner = |name, id: Option<u32>| id.map(|id| ids::id(id, &at.key(name), found));
    let (uid, gid) = (owner("uid", raw.uid), owner("gid", raw.gid));
    // Some engines leave the node's type in the mode.
    let mode = format? | raw.file_mode.unwrap_or(0o666) & 0o7777;
    Some(Device {
        index,
        path: path?,
        mode,
        major: major?,
        minor: minor?,
        uid,
        gid,
    })
}

/// A major or minor number.
pub(super) fn device_number(
    value: i64,
    most: i64,
    at: &Place<'_>,
    found: &mut Findings,
) -> Option<u32> {
    let number = u32::try_from(value).ok().filter(|_| value <= most);
    found.check(
        at,
        number.ok_or_else(|| format!("{value} is not between 0 and {most}")),
    )
}

/// The largest major and minor number.
pub(super) const MOST: (i64, i64) = (MOST_MAJOR, MOST_MINOR);

pub(super) fn net_devices(
    input: Input<'_>,
    network: &Namespace,
    found: &mut Findings,
) -> Vec<NetDevice> {
    let at = &input.linux_at.key("netDevices");
    let raw = input.linux.net_devices.as_ref();
    let Some(raw) = raw.filter(|raw| !raw.is_empty()) else {
        return Vec::new();
    };
    if *network == Namespace::Host {
        found.error(
            at,
            "unable to move network devices without a private NET namespace",
        );
    }
    if input.facts.unprivileged {
        found.error(
            at,
            "network devices are not supported for rootless containers",
        );
    }
    let mut inside = BTreeSet::new();
    let mut devices = Vec::with_capacity(raw.len());
    for (host, device) in raw.iter() {
        let at = at.key(host);
        let container = device
            .name
            .as_deref()
            .filter(|name| !name.is_empty())
            .unwrap_or(host);
        for (name, at) in [(&**host, &at), (container, &at.key("name"))] {
            if !is_interface_name(name) {
                found.error(at, format!("invalid network device name {}", quoted(name)));
            }
        }
        if !inside.insert(container) {
            found.error(
                &at.key("name"),
                format!("two network devices are to be named {}", quoted(container)),
            );
        }
        devices.push(NetDevice {
            host: host.to_string(),
            container: container.to_owned(),
        });
    }
    devices
}

pub(super) fn memory_policy(input: Input<'_>, found: &mut Findings) -> Option<MemoryPolicy> {
    let at = input.linux_at.key("memoryPolicy");
    let raw = input.linux.memory_policy.as_ref()?;
    let name = raw.mode.as_deref().unwrap_or_default();
    let mode = lookup(names::MEMORY_MODES, name)
        .ok_or_else(|| format!("invalid memory policy mode {}", quoted(name)));
    let mode = found.check(&at.key("mode"), mode);
    let mut flags = 0;
    for (index, flag) in raw.flags.as_deref().unwrap_or_default().iter().enumerate() {
        match lookup(names::MEMORY_FLAGS, flag) {
            Some(bit) => flags |= bit,
            None => found.error(
                &at.key("flags").index(index),
                format!("invalid memory policy flag {}", quoted(flag)),
            ),
        }
    }
    let both = names::MPOL_F_STATIC_NODES | names::MPOL_F_RELATIVE_NODES;
    if flags & both == both {
        found.error(
            &at.key("flags"),
            "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
        );
    }
    let nodes_at = at.key("nodes");
    let list = raw.nodes.as_deref().unwrap_or_default();
    let nodes = names::number_list(list, MOST_NODES)
        .ok_or_else(|| format!("{} is no list of nodes such as 0-3,7", quoted(list)));
    let nodes = found.check(&nodes_at, nodes)?;
    let (mode, takes) = mode?;
    match takes {
        Nodes::None if !nodes.is_empty() => {
            found.error(&nodes_at, format!("{name} takes no nodes"))
        }
        Nodes::Some if nodes.is_empty() => found.error(&nodes_at, format!("{name} needs nodes")),
        _ => {}
    }
    if nodes.is_empty() && flags & both != 0 {
        found.error(&at.key("flags"), "flags about nodes need nodes");
    }
    Some(MemoryPolicy {
        mode: mode | flags,
        nodes,
    })
}

pub(super) fn personality(input: Input<'_>, found: &mut Findings) -> Option<u64> {
    let at = input.linux_at.key("personality");
    let raw = input.linux.personality.as_ref()?;
    if raw.flags.as_deref().is_some_and(|flags| !flags.is_empty()) {
        found.error(
            &at.key("flags"),
            "additional flags for personality are not supported: the specification defines none",
        );
    }
    let name = raw.domain.as_deref().unwrap_or_default();
    let domain = lookup(names::PERSONALITIES, name).ok_or_else(|| {
        format!(
            "unknown personality domain {}: not LINUX or LINUX32",
            quoted(name)
        )
    });
    found.check(&at.key("domain"), domain)
}
