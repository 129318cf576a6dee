//! Which unit `linux.cgroupsPath` means, and where systemd puts its cgroup: runc's rules, without touching anything.
//!
//! `slice:prefix:name` is the scope `prefix-name.scope` in that slice; a name that ends in `.slice` is a slice unit itself. Without a path
//! it is `:runc:<id>`, and without a slice `system.slice` (of a user's systemd `user.slice`): the kubelet and cAdvisor find containers by
//! these names. A slice `a-b.slice` lies in `a.slice`: systemd's own rule.

use std::path::{Path, PathBuf};

use crate::config::ConfigErrors;
use crate::error::Error;

use super::super::path::POINTER;

/// What of the unit kind differs for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitKind {
    /// Made around processes, and gone with the last of them.
    Scope,
    /// Holds other units; stays until it is stopped.
    Slice,
}

/// A unit that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `docker-1234.scope`
    pub name: String,
    pub kind: UnitKind,
    /// The slice it lies in, as systemd is told: `system.slice`.
    pub slice: String,
    /// The container's name in the unit's description.
    pub container: String,
    /// Its cgroup, relative to that of its systemd: `system.slice/docker-1234.scope`.
    pub path: PathBuf,
}

/// Whose systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// The machine's: process 1.
    System,
    /// The calling user's.
    User,
}

impl Manager {
    fn default_slice(self) -> &'static str {
        match self {
            Manager::System => "system.slice",
            Manager::User => "user.slice",
        }
    }
}

/// The longest name that systemd takes (UNIT_NAME_MAX).
const NAME_MAX: usize = 255;

impl Unit {
    /// The unit for a container. Errors: InvalidConfig at `linux.cgroupsPath`, with runc's texts where it has one.
    pub fn new(asked: Option<&str>, id: &str, manager: Manager) -> Result<Unit, Error> {
        Unit::parse(asked, id, manager).map_err(|reason| ConfigErrors::one(POINTER, reason).into())
    }

    fn parse(asked: Option<&str>, id: &str, manager: Manager) -> Result<Unit, String> {
        let (slice, prefix, container) = match asked.filter(|path| !path.is_empty()) {
            None => ("", "runc", id),
            Some(path) => split(path).ok_or_else(|| {
                format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
                )
            })?,
        };
        let slice = if slice.is_empty() {
            manager.default_slice()
        } else {
            slice
        };
        let parent = expand_slice(slice)?;
        let (kind, name, path) = if container.ends_with(".slice") {
            // systemd knows one place for a slice: the one in its name.
            (
                UnitKind::Slice,
                container.to_owned(),
                expand_slice(container)?,
            )
        } else {
            let name = format!("{prefix}-{container}.scope");
            let path = parent.join(&name);
            (UnitKind::Scope, name, path)
        };
        check_name(&name)?;
        if path.as_os_str().is_empty() {
            return Err("the root cgroup cannot be a container's".to_owned());
        }
        Ok(Unit {
            name,
            kind,
            slice: slice.to_owned(),
            container: container.to_owned(),
            path,
        })
    }
}

/// `slice:prefix:name`, with two colons and no more.
fn split(path: &str) -> Option<(&str, &str, &str)> {
    let mut parts = path.split(':');
    let all = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(all)
}

/// The cgroup of a slice, relative to its systemd's: `a-b.slice` is `a.slice/a-b.slice`, `-.slice` the top itself. Errors: runc's text.
fn expand_slice(slice: &str) -> Result<PathBuf, String> {
    let invalid = || format!("invalid slice name: {slice}");
    let stem = slice.strip_suffix(".slice").ok_or_else(invalid)?;
    if stem == "-" {
        return Ok(PathBuf::new());
    }
    check_name(slice).map_err(|reason| format!("{}: {reason}", invalid()))?;
    let mut path = PathBuf::new();
    for (end, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
        let name = &stem[..end];
        // `-a`, `a--b` and `a-` have an empty part.
        if name.is_empty() || name.ends_with('-') {
            return Err(invalid());
        }
        path.push(Path::new(&format!("{name}.slice")));
    }
    Ok(path)
}

/// What systemd takes for a unit's name (systemd.unit(5)).
fn check_name(name: &str) -> Result<(), String> {
    let wrong = |letter: &char| !(letter.is_ascii_alphanumeric() || ":-_.\\@".contains(*letter));
    if let Some(letter) = name.chars().find(wrong) {
        return Err(format!(
            "{letter:?} cannot stand in the name of a systemd unit, as in {name:?}"
        ));
    }
    if name.len() > NAME_MAX {
        return Err(format!(
            "the name of a systemd unit has at most {NAME_MAX} characters, {name:?} has {}",
            name.len()
        ));
    }
    if name.starts_with(['@', '.']) {
        return Err(format!("{name:?} is not the name of a systemd unit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(asked: Option<&str>, manager: Manager) -> String {
        match Unit::new(asked, "c1", manager) {
            Ok(unit) => format!(
                "{} {:?} in {} at {} for {}",
                unit.name,
                unit.kind,
                unit.slice,
                unit.path.display(),
                unit.container
            ),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_names_that_engines_ask_for() {
        use Manager::{System, User};
        let table = [
            (
                None,
                System,
                "runc-c1.scope Scope in system.slice at system.slice/runc-c1.scope for c1",
            ),
            (
                Some(""),
                System,
                "runc-c1.scope Scope in system.slice at system.slice/runc-c1.scope for c1",
            ),
            (
                None,
                User,
                "runc-c1.scope Scope in user.slice at user.slice/runc-c1.scope for c1",
            ),
            (
                Some(":runc:c1"),
                System,
                "runc-c1.scope Scope in system.slice at system.slice/runc-c1.scope for c1",
            ),
            (
                Some("system.slice:docker:1234"),
                System,
                "docker-1234.scope Scope in system.slice at system.slice/docker-1234.scope for 1234",
            ),
            (
                Some("kubepods-burstable-podaf_1.slice:cri-containerd:ab"),
                System,
                "cri-containerd-ab.scope Scope in kubepods-burstable-podaf_1.slice at \
                 kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podaf_1.slice/cri-containerd-ab.scope for ab",
            ),
            (
                Some("-.slice:p:n"),
                System,
                "p-n.scope Scope in -.slice at p-n.scope for n",
            ),
            (
                Some("::n"),
                System,
                "-n.scope Scope in system.slice at system.slice/-n.scope for n",
            ),
            (
                Some("machine.slice:ignored:machine-a.slice"),
                System,
                "machine-a.slice Slice in machine.slice at machine.slice/machine-a.slice for machine-a.slice",
            ),
        ];
        for (asked, manager, expected) in table {
            assert_eq!(shown(asked, manager), expected, "{asked:?}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_pointer() {
        let shape =
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got";
        let table = [
            ("/docker/c1", format!("{shape} \"/docker/c1\" instead")),
            ("a.slice:b", format!("{shape} \"a.slice:b\" instead")),
            (
                "a.slice:b:c:d",
                format!("{shape} \"a.slice:b:c:d\" instead"),
            ),
            ("a:b:c", "invalid slice name: a".to_owned()),
            (
                ".slice:b:c",
                "invalid slice name: .slice: \".slice\" is not the name of a systemd unit"
                    .to_owned(),
            ),
            ("-a.slice:b:c", "invalid slice name: -a.slice".to_owned()),
            ("a-.slice:b:c", "invalid slice name: a-.slice".to_owned()),
            (
                "a--b.slice:b:c",
                "invalid slice name: a--b.slice".to_owned(),
            ),
            (
                "system.slice:p:-.slice",
                "the root cgroup cannot be a container's".to_owned(),
            ),
        ];
        for (asked, expected) in table {
            let expected = format!("config.json#/linux/cgroupsPath: {expected}");
            assert_eq!(shown(Some(asked), Manager::System), expected);
        }
        for asked in [
            "../x.slice:b:c",
            "a/b.slice:b:c",
            "system.slice:../../p:c",
            "system.slice:p:a/../../b",
            "system.slice:p:a b",
            "system.slice:p:a\0b",
            "system.slice:p:a/b.slice",
            "system.slice:@p:a",
            &format!("system.slice:p:{}", "x".repeat(255)),
        ] {
            let said = shown(Some(asked), Manager::System);
            assert!(
                said.starts_with("config.json#/linux/cgroupsPath: "),
                "{asked}: {said}"
            );
        }
        // An id may hold what a unit's name may not.
        assert!(Unit::new(None, "a+b", Manager::System).is_err());
    }

    #[test]
    fn no_text_leads_out_of_the_slice() {
        let parts = ["..", "a", "/", "-", ".slice", ":", "\0", "@", "\\x2f", "ü"];
        let mut seed = 12345_u64;
        for _ in 0..50_000 {
            let mut text = String::new();
            for _ in 0..8 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(parts[usize::try_from(seed >> 33).unwrap() % parts.len()]);
            }
            if let Ok(unit) = Unit::parse(Some(&text), "c", Manager::System) {
                let normal = unit
                    .path
                    .components()
                    .all(|part| matches!(part, std::path::Component::Normal(_)));
                assert!(
                    normal && !unit.path.as_os_str().is_empty(),
                    "{text:?}: {unit:?}"
                );
                assert!(unit.path.ends_with(&unit.name), "{text:?}: {unit:?}");
            }
        }
    }
}
