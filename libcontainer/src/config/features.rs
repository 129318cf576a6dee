//! The `features` document: what this runtime can do, for engines to read. Generated from the tables that the validation itself uses.

use seccomp_profiles::profile::{Flag, Operator};
use seccomp_profiles::{Action, Arch};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use std::collections::BTreeMap;

use super::keys::{self, Standing};
use super::{mount_options, names};

/// The text of the document: JSON with 4 spaces, a newline at the end. `last_cap` is the kernel's last capability, `seccomp_flags` are those of
/// seccomp(2) that it takes.
pub fn features(last_cap: u32, seccomp_flags: &[&'static str]) -> String {
    let mut text = Vec::with_capacity(8192);
    let document = document(last_cap, seccomp_flags);
    let written = document.serialize(&mut Serializer::with_formatter(
        &mut text,
        PrettyFormatter::with_indent(b"    "),
    ));
    text.push(b'\n');
    written
        .ok()
        .and_then(|()| String::from_utf8(text).ok())
        .unwrap_or_default()
}

/// Source: runtime-spec 1.3, `features.md` and `features-linux.md`; the fields stand in the order of the document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: Vec<&'static str>,
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    potentially_unsafe_config_annotations: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: &'static [&'static str],
    capabilities: Vec<&'static str>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: Vec<&'static str>,
    operators: Vec<&'static str>,
    archs: Vec<&'static str>,
    known_flags: Vec<&'static str>,
    supported_flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: Vec<&'static str>,
    flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

/// The words of the profiles, sorted as runc sorts them.
fn seccomp(supported: &[&'static str]) -> Seccomp {
    let sorted = |words: &mut dyn Iterator<Item = &'static str>| {
        let mut words: Vec<_> = words.collect();
        words.sort_unstable();
        words
    };
    Seccomp {
        enabled: true,
        actions: sorted(&mut Action::NAMES.into_iter()),
        operators: sorted(&mut Operator::NAMES.into_iter()),
        archs: sorted(&mut Arch::ALL.into_iter().map(Arch::name)),
        known_flags: sorted(&mut Flag::ALL.into_iter().map(Flag::name)),
        supported_flags: sorted(&mut supported.iter().copied()),
    }
}

fn document(last_cap: u32, seccomp_flags: &[&'static str]) -> Features {
    let done =
        |pattern: &str| keys::find(pattern).is_some_and(|key| key.standing == Standing::Done);
    let enabled = |pattern| Enabled {
        enabled: done(pattern),
    };
    let hooks = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ];
    Features {
        oci_version_min: "1.0.0",
        oci_version_max: "1.3.0",
        hooks: hooks
            .into_iter()
            .filter(|name| done(&format!("/hooks/{name}")))
            .collect(),
        mount_options: mount_options::words(),
        linux: Linux {
            namespaces: names::NAMESPACES,
            capabilities: (0..=last_cap)
                .zip(names::CAPABILITIES)
                .map(|(_, name)| *name)
                .collect(),
            cgroup: Cgroup {
                v1: true,
                v2: true,
                systemd: true,
                systemd_user: true,
                rdma: done("/linux/resources/rdma"),
            },
            seccomp: seccomp(seccomp_flags),
            apparmor: enabled("/process/apparmorProfile"),
            selinux: enabled("/process/selinuxLabel"),
            intel_rdt: IntelRdt {
                enabled: done("/linux/intelRdt"),
                schemata: done("/linux/intelRdt/schemata"),
                monitoring: done("/linux/intelRdt/enableMonitoring"),
            },
            memory_policy: MemoryPolicy {
                modes: names::MEMORY_MODES.iter().map(|(name, _)| *name).collect(),
                flags: names::MEMORY_FLAGS.iter().map(|(name, _)| *name).collect(),
            },
            mount_extensions: MountExtensions {
                idmap: enabled("/mounts/*/uidMappings"),
            },
            net_devices: enabled("/linux/netDevices"),
        },
        annotations: BTreeMap::from([("org.opencontainers.runc.checkpoint.enabled", "false")]),
        potentially_unsafe_config_annotations: vec!["org.systemd.property."],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn another_parser_reads_it() {
        let theirs: oci_spec::runtime::Features =
            serde_json::from_str(&features(40, &[])).expect("a features document");
        assert_eq!(theirs.oci_version_max(), "1.3.0");
    }

    #[test]
    fn what_engines_look_for_is_there() {
        let text = features(40, &[]);
        assert!(text.starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n    \"ociVersionMax\": \"1.3.0\",\n    \"hooks\": [\n"));
        assert!(text.ends_with("}\n"));
        let document: Value = serde_json::from_str(&text).expect("JSON");
        assert!(
            document["mountOptions"]
                .as_array()
                .expect("a list")
                .contains(&json!("rro"))
        );
        assert_eq!(
            document["linux"]["mountExtensions"]["idmap"]["enabled"],
            true
        );
        assert_eq!(
            document["linux"]["namespaces"].as_array().map(Vec::len),
            Some(8)
        );
        assert_eq!(
            document["linux"]["capabilities"].as_array().map(Vec::len),
            Some(41)
        );
        let seccomp = &document["linux"]["seccomp"];
        assert_eq!(seccomp["enabled"], true);
        let lengths = [
            "actions",
            "operators",
            "archs",
            "knownFlags",
            "supportedFlags",
        ]
        .map(|key| seccomp[key].as_array().map(Vec::len));
        assert_eq!(lengths, [9, 7, 18, 4, 0].map(Some));
        assert_eq!(
            document["linux"]["intelRdt"],
            json!({"enabled": true, "schemata": true, "monitoring": true})
        );
    }

    #[test]
    fn a_kernel_without_the_newest_capabilities_offers_fewer() {
        let document: Value = serde_json::from_str(&features(37, &[])).expect("JSON");
        assert_eq!(
            document["linux"]["capabilities"]
                .as_array()
                .and_then(|caps| caps.last()),
            Some(&json!("CAP_AUDIT_READ"))
        );
    }
}
