//! From what the JSON says to what it asks for: every rule about the content of a configuration.
//!
//! Pure. Each rule adds what it finds and goes on, so that one run names everything that is wrong. Where the kernel or the file system has the last
//! word, nothing is guessed here: the launch finds out, with the same pointers.

mod hooks;
mod ids;
mod intel_rdt;
mod limits;
mod linux;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod scheduling;
mod seccomp;
mod sysctl;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;

use super::errors::{Findings, Place, quoted};
use super::names::{self, lookup};
use super::path::host_path;
use super::{Config, ContainerPath, HostFacts, Namespace, Process, Root, raw};

pub(super) use intel_rdt::flags as rdt_flags;
pub(super) use limits::resources;
pub(super) use process::process;

/// What every rule may look at.
#[derive(Clone, Copy)]
struct Input<'a> {
    spec: &'a raw::Spec<'a>,
    linux: &'a raw::Linux<'a>,
    bundle: &'a Path,
    facts: &'a HostFacts,
    /// The place of the whole document, and that of its `linux`.
    at: &'a Place<'a>,
    linux_at: &'a Place<'a>,
}

/// Checks a whole `config.json`; `None` if something is wrong with it.
pub(super) fn config(
    spec: &raw::Spec<'_>,
    bundle: &Path,
    at: &Place<'_>,
    facts: &HostFacts,
    found: &mut Findings,
) -> Option<Config> {
    let no_linux = raw::Linux::default();
    let input = Input {
        spec,
        linux: spec.linux.as_ref().unwrap_or(&no_linux),
        bundle,
        facts,
        at,
        linux_at: &at.key("linux"),
    };
    let oci_version = oci_version(input, found);
    let root = root(input, found);
    let process = container_process(input, found);
    let user = process.as_ref().map(|process| &process.user);
    let (namespaces, id_maps) = namespaces::namespaces(input, user, found);
    let config = Config {
        hostname: hostname(input, &namespaces.uts, found),
        domainname: domainname(input, &namespaces.uts, found),
        time_offsets: namespaces::time_offsets(input, &namespaces.time, found),
        mounts: mounts::mounts(input, &id_maps, found),
        devices: linux::devices(input, found),
        masked_paths: masked_paths(input, found),
        readonly_paths: readonly_paths(input, found),
        mount_label: mount_label(input, found),
        sysctl: sysctl::sysctl(input, &namespaces, found),
        hooks: hooks::hooks(spec.hooks.as_ref(), &at.key("hooks"), found),
        annotations: annotations(input, found),
        personality: linux::personality(input, found),
        memory_policy: linux::memory_policy(input, found),
        net_devices: linux::net_devices(input, &namespaces.network, found),
        intel_rdt: intel_rdt::intel_rdt(input, found),
        cgroup: resources::cgroup(input.linux, input.linux_at, input.facts, found),
        seccomp: seccomp::seccomp(input, found),
        oci_version: oci_version?,
        root: root?,
        process: process?,
        namespaces,
        id_maps,
        warnings: Vec::new(),
    };
    needs_mount_namespace(&config, at, found);
    Some(config)
}

fn container_process(input: Input<'_>, found: &mut Findings) -> Option<Process> {
    let at = input.at.key("process");
    match &input.spec.process {
        Some(raw) => process(raw, &at, input.facts, found),
        None => {
            found.error(&at, "process property must not be empty");
            None
        }
    }
}

fn hostname(input: Input<'_>, uts: &Namespace, found: &mut Findings) -> Option<CString> {
    uts_name(
        input.spec.hostname.as_deref(),
        "hostname",
        uts,
        input.at,
        found,
    )
}

fn domainname(input: Input<'_>, uts: &Namespace, found: &mut Findings) -> Option<CString> {
    uts_name(
        input.spec.domainname.as_deref(),
        "domainname",
        uts,
        input.at,
        found,
    )
}

fn masked_paths(input: Input<'_>, found: &mut Findings) -> Vec<ContainerPath> {
    let at = input.linux_at.key("maskedPaths");
    paths(input.linux.masked_paths.as_deref(), &at, found)
}

fn readonly_paths(input: Input<'_>, found: &mut Findings) -> Vec<ContainerPath> {
    let at = input.linux_at.key("readonlyPaths");
    paths(input.linux.readonly_paths.as_deref(), &at, found)
}

fn mount_label(input: Input<'_>, found: &mut Findings) -> Option<CString> {
    let at = input.linux_at.key("mountLabel");
    process::selinux_label(input.linux.mount_label.as_deref(), &at, input.facts, found)
}

/// Any 1.x.y: the specification's minor versions only add keys, so a newer one is a warning.
fn oci_version(input: Input<'_>, found: &mut Findings) -> Option<String> {
    let at = &input.at.key("ociVersion");
    let raw = input.spec.oci_version.as_deref();
    let Some(version) = raw.filter(|version| !version.is_empty()) else {
        found.error(at, "ociVersion must be set");
        return None;
    };
    match semantic_version(version) {
        None => found.error(at, format!("{} is no semantic version", quoted(version))),
        Some((1, minor)) => {
            if minor > 3 {
                found.warn(format!(
                    "ociVersion {version} is newer than 1.3.0: keys that it added have no effect"
                ));
            }
        }
        Some(_) => found.error(
            at,
            format!(
                "version {} is not supported: garboard reads 1.0.0 to 1.3.x",
                quoted(version)
            ),
        ),
    }
    Some(version.to_owned())
}

/// Major and minor number of a version by semver.org.
fn semantic_version(version: &str) -> Option<(u32, u32)> {
    let (version, build) = version.split_once('+').unwrap_or((version, "0"));
    let (core, prerelease) = version.split_once('-').unwrap_or((version, "0"));
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !build.split('.').all(word) || !prerelease.split('.').all(word) {
        return None;
    }
    let number = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        plain.then(|| text.parse::<u32>().ok()).flatten()
    };
    let mut numbers = core.split('.').map(number);
    let (major, minor, _patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some((major, minor))
}

fn root(input: Input<'_>, found: &mut Findings) -> Option<Root> {
    let Input {
        spec,
        linux,
        bundle,
        at,
        ..
    } = input;
    let word = linux
        .rootfs_propagation
        .as_deref()
        .filter(|word| !word.is_empty());
    let propagation = word.map(|word| lookup(names::PROPAGATIONS, word));
    if let (Some(word), Some(None)) = (word, propagation) {
        let message = format!("rootfsPropagation={} is not supported", quoted(word));
        found.error(&at.key("linux").key("rootfsPropagation"), message);
    }
    let at = at.key("root");
    let Some(root) = &spec.root else {
        found.error(&at, "root must be specified");
        return None;
    };
    let path = found.check(
        &at.key("path"),
        host_path(root.path.as_deref().unwrap_or_default(), bundle),
    )?;
    if path == Path::new("/") {
        // The host's own root would be the container's, with all that is mounted below it.
        found.warn("the container's root is the host's root directory");
    }
    Some(Root {
        path,
        readonly: root.readonly.unwrap_or_default(),
        propagation: propagation.flatten().unwrap_or(names::DEFAULT_PROPAGATION),
        propagation_asked: word.is_some(),
    })
}

fn uts_name(
    raw: Option<&str>,
    key: &'static str,
    uts: &Namespace,
    at: &Place<'_>,
    found: &mut Findings,
) -> Option<CString> {
    /// `__NEW_UTS_LEN` of the kernel.
    const LONGEST: usize = 64;
    let name = raw.filter(|name| !name.is_empty())?;
    let at = at.key(key);
    if *uts == Namespace::Host {
        found.error(
            &at,
            format!("unable to set {key} without a private UTS namespace"),
        );
    }
    if name.len() > LONGEST {
        found.error(
            &at,
            format!(
                "{} bytes are more than the 64 that the kernel takes",
                name.len()
            ),
        );
        return None;
    }
    text(name, &at, found)
}

/// A string for a system call.
fn text(text: &str, at: &Place<'_>, found: &mut Findings) -> Option<CString> {
    found.check(
        at,
        CString::new(text)
            .map_err(|error| format!("contains a NUL byte at offset {}", error.nul_position())),
    )
}

fn paths(
    raw: Option<&[raw::Text<'_>]>,
    at: &Place<'_>,
    found: &mut Findings,
) -> Vec<ContainerPath> {
    let raw = raw.unwrap_or_default();
    raw.iter()
        .enumerate()
        .filter_map(|(index, path)| found.check(&at.index(index), ContainerPath::parse(path)))
        .collect()
}

fn annotations(input: Input<'_>, found: &mut Findings) -> BTreeMap<String, String> {
    let at = input.at.key("annotations");
    let Some(raw) = &input.spec.annotations else {
        return BTreeMap::new();
    };
    if raw.keys().any(|key| key.is_empty()) {
        found.error(&at.key(""), "an annotation's key must not be empty");
    }
    raw.iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

/// Nothing is ever mounted in the runtime's own mount namespace.
fn needs_mount_namespace(config: &Config, at: &Place<'_>, found: &mut Findings) {
    if config.namespaces.mount != Namespace::Host {
        return;
    }
    let linux = at.key("linux");
    for (asked, at) in [
        (config.masked_paths.is_empty(), linux.key("maskedPaths")),
        (config.readonly_paths.is_empty(), linux.key("readonlyPaths")),
    ] {
        if !asked {
            found.error(
                &at,
                "unable to restrict sys entries without a private MNT namespace",
            );
        }
    }
    if !config.mounts.is_empty() {
        found.error(
            &at.key("mounts"),
            "unable to mount without a private MNT namespace",
        );
    }
    if config.root.readonly {
        found.error(
            &at.key("root").key("readonly"),
            "unable to make the root read-only without a private MNT namespace",
        );
    }
    if config.root.propagation_asked {
        found.error(
            &linux.key("rootfsPropagation"),
            "unable to change the propagation of the root without a private MNT namespace",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::semantic_version;

    #[test]
    fn versions_are_semantic() {
        for (version, numbers) in [
            ("1.0.0", Some((1, 0))),
            ("1.3.0", Some((1, 3))),
            ("1.0.2-dev", Some((1, 0))),
            ("1.0.0-rc5+git.1", Some((1, 0))),
            ("1.2.1+dev", Some((1, 2))),
            ("2.0.0", Some((2, 0))),
            ("0.9.0", Some((0, 9))),
            ("1.0", None),
            ("1", None),
            ("1.0.0.0", None),
            ("v1.0.0", None),
            ("1.01.0", None),
            ("1.0.0-", None),
            ("1.0.0-a..b", None),
            ("1.0.x", None),
            ("+1.0.0", None),
            ("1.99999999999.0", None),
            (" 1.0.0", None),
        ] {
            assert_eq!(semantic_version(version), numbers, "{version}");
        }
    }
}
