//! What a container uses, in containerd's messages: `io.containerd.cgroups.v1.Metrics` or `io.containerd.cgroups.v2.Metrics`, whichever
//! version its cgroup is of. Fields are filled as containerd/cgroups fills them, units included: nanoseconds on v1, microseconds on v2.
//! CRI, the kubelet, `docker stats` and `ctr task metrics` read them.

mod v1;
mod v2;

use libcontainer::{CgroupVersion, Statistics};
use protobuf::Message;
use protobuf::well_known_types::any::Any;

/// As the answer to `Stats`. On v1 the names of block devices are looked up in `/proc/partitions`: not for the loop's thread.
pub fn any(statistics: &Statistics) -> Any {
    match statistics.version {
        CgroupVersion::V1 => wrap("io.containerd.cgroups.v1.Metrics", &v1::metrics(statistics)),
        CgroupVersion::V2 => wrap("io.containerd.cgroups.v2.Metrics", &v2::metrics(statistics)),
    }
}

/// The type URL is the bare name, as containerd's typeurl has it. It is written out since the crate would parse all descriptors to tell it,
/// and keep them.
fn wrap(name: &str, metrics: &impl Message) -> Any {
    Any {
        type_url: name.to_owned(),
        // Writing to a vector fails only for a message without its required fields, which proto3 does not have.
        value: metrics.write_to_bytes().unwrap_or_default(),
        ..Any::default()
    }
}

#[cfg(test)]
mod tests;
