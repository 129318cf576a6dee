//! Which directory `linux.cgroupsPath` means: the rules of the cgroupfs driver, without touching anything.
//!
//! An absolute path is taken below the mount of each hierarchy. A relative one, or the container's id when there is none, is taken below
//! the cgroup of this process on v1 and below the *parent* of that on v2 (where a cgroup with processes cannot enable controllers for its
//! children): engines and the kubelet's cAdvisor find containers by these names. A path with `..` is refused, as is the root itself.

use std::path::{Component, Path, PathBuf};

use crate::config::ConfigErrors;
use crate::error::{Error, Pointer};

/// Where `linux.cgroupsPath` stands.
pub(super) const POINTER: Pointer = Pointer::fixed("config.json#/linux/cgroupsPath");

/// The version of one hierarchy; a hybrid machine has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Version {
    #[serde(rename = "v1")]
    V1,
    #[serde(rename = "v2")]
    V2,
}

/// Why a `cgroupsPath` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{POINTER}: {reason}")]
pub struct BadPath {
    reason: &'static str,
}

impl From<BadPath> for Error {
    fn from(bad: BadPath) -> Error {
        ConfigErrors::one(POINTER, bad.reason).into()
    }
}

/// The directory relative to the mount of a hierarchy in which this process is in the cgroup `own`. Never empty, never with `..`.
pub(super) fn directory(
    asked: Option<&str>,
    id: &str,
    own: &Path,
    version: Version,
) -> Result<PathBuf, BadPath> {
    let asked = asked.unwrap_or("");
    let name = normal(Path::new(if asked.is_empty() { id } else { asked }))?;
    if name.as_os_str().is_empty() {
        return Err(BadPath {
            reason: "the root cgroup cannot be a container's",
        });
    }
    if asked.starts_with('/') {
        return Ok(name);
    }
    let own = normal(own)?;
    let base = match version {
        Version::V1 => own.as_path(),
        Version::V2 => own.parent().unwrap_or(Path::new("")),
    };
    Ok(base.join(name))
}

/// The path without `/` at the start, `.` and `//`.
fn normal(path: &Path) -> Result<PathBuf, BadPath> {
    let mut result = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) if name.as_encoded_bytes().contains(&0) => {
                return Err(BadPath {
                    reason: "a path cannot hold a NUL",
                });
            }
            Component::Normal(name) => result.push(name),
            Component::ParentDir => {
                return Err(BadPath {
                    reason: "a cgroup path must not contain \"..\"",
                });
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(asked: Option<&str>, own: &str, version: Version) -> String {
        match directory(asked, "c1", Path::new(own), version) {
            Ok(path) => path.to_str().unwrap().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_rules_of_the_cgroupfs_driver() {
        use Version::{V1, V2};
        let table = [
            (Some("/docker/c1"), "/user", V2, "docker/c1"),
            (Some("//docker/./c1/"), "/user", V1, "docker/c1"),
            (None, "/a/b", V1, "a/b/c1"),
            (None, "/a/b", V2, "a/c1"),
            (Some(""), "/a", V2, "c1"),
            (None, "/", V2, "c1"),
            (None, "/", V1, "c1"),
            (Some("x/y"), "/a/b", V1, "a/b/x/y"),
            (Some("x/y"), "/a/b", V2, "a/x/y"),
            // Without the systemd driver this is a plain name.
            (
                Some("system.slice:docker:c1"),
                "/",
                V2,
                "system.slice:docker:c1",
            ),
        ];
        for (asked, own, version, expected) in table {
            assert_eq!(at(asked, own, version), expected, "{asked:?} from {own}");
        }
    }

    #[test]
    fn a_path_that_leaves_the_hierarchy_is_refused() {
        for asked in ["../x", "/a/../../x", "/..", "a/.."] {
            assert_eq!(
                at(Some(asked), "/", Version::V2),
                "config.json#/linux/cgroupsPath: a cgroup path must not contain \"..\""
            );
        }
        assert_eq!(
            at(Some("/"), "/", Version::V2),
            "config.json#/linux/cgroupsPath: the root cgroup cannot be a container's"
        );
        assert!(at(Some("a\0b"), "/", Version::V2).contains("NUL"));
    }
}
