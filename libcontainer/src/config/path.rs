//! Paths inside the container, cleaned by text alone.
//!
//! Nothing here looks at a file system: `..` is resolved against the text, as Go's `filepath.Clean` does, and can never climb above `/`.
//! What the path leads to is decided later, beneath the rootfs fd.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// PATH_MAX without its NUL: the kernel takes no longer path.
const LONGEST: usize = 4095;

/// A path inside the container: absolute, without `.`, `..`, `//` or NUL. Never a host path: it is only resolved beneath the rootfs fd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPath(CString);

/// Why a text is no path of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("the path is empty")]
    Empty,
    #[error("the path is not absolute")]
    NotAbsolute,
    #[error("the path contains a NUL byte")]
    Nul,
    #[error("the path is longer than 4095 bytes")]
    TooLong,
}

impl ContainerPath {
    /// Cleans an absolute path.
    pub fn parse(text: &str) -> Result<ContainerPath, BadPath> {
        check(text)?;
        if !text.starts_with('/') {
            return Err(BadPath::NotAbsolute);
        }
        cleaned(text)
    }

    /// The same, taking a relative path below `/`.
    pub fn parse_below_root(text: &str) -> Result<ContainerPath, BadPath> {
        check(text)?;
        cleaned(text)
    }

    /// The container's `/`.
    pub fn root() -> ContainerPath {
        ContainerPath(c"/".to_owned())
    }

    /// With its leading slash, for system calls.
    pub fn as_c_str(&self) -> &CStr {
        &self.0
    }

    /// With its leading slash, for people.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.0.as_bytes()))
    }

    /// With its leading slash and without a NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether it is the container's `/`.
    pub fn is_root(&self) -> bool {
        self.0.as_bytes() == b"/"
    }

    /// The path below `above`, without a leading slash; empty for `above` itself, `None` outside it.
    pub fn below(&self, above: &str) -> Option<&[u8]> {
        let rest = self
            .0
            .as_bytes()
            .strip_prefix(above.trim_end_matches('/').as_bytes())?;
        match rest {
            [] => Some(rest),
            [b'/', rest @ ..] => Some(rest),
            _ => None,
        }
    }
}

impl std::fmt::Display for ContainerPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_path().display().fmt(f)
    }
}

fn check(text: &str) -> Result<(), BadPath> {
    match text {
        "" => Err(BadPath::Empty),
        text if text.len() > LONGEST => Err(BadPath::TooLong),
        text if text.as_bytes().contains(&0) => Err(BadPath::Nul),
        _ => Ok(()),
    }
}

fn cleaned(text: &str) -> Result<ContainerPath, BadPath> {
    CString::new(clean_absolute(text.as_bytes()))
        .map(ContainerPath)
        .map_err(|_| BadPath::Nul)
}

/// The components of `text` below `/`, with `.` and `..` resolved by text.
fn clean_absolute(text: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(text.len() + 2);
    for component in text.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                let parent = clean.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                clean.truncate(parent);
            }
            name => {
                clean.push(b'/');
                clean.extend_from_slice(name);
            }
        }
    }
    if clean.is_empty() {
        clean.push(b'/');
    }
    clean
}

/// A host path of the bundle: relative ones are taken below `base` (absolute), and both are cleaned by text, as Go's `filepath.Join` does.
pub(super) fn host_path(text: &str, base: &Path) -> Result<PathBuf, BadPath> {
    check(text)?;
    let joined = if text.starts_with('/') {
        clean_absolute(text.as_bytes())
    } else {
        let mut bytes = base.as_os_str().as_bytes().to_vec();
        bytes.push(b'/');
        bytes.extend_from_slice(text.as_bytes());
        clean_absolute(&bytes)
    };
    Ok(PathBuf::from(std::ffi::OsString::from_vec(joined)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_text_and_never_leave_the_root() {
        for (text, clean) in [
            ("/", "/"),
            ("//", "/"),
            ("/.", "/"),
            ("/..", "/"),
            ("/../../etc", "/etc"),
            ("/a/b/../c", "/a/c"),
            ("/a/./b//c/", "/a/b/c"),
            ("/a/../..", "/"),
            ("/...", "/..."),
            ("/a/..b", "/a/..b"),
        ] {
            assert_eq!(
                ContainerPath::parse(text).map(|p| p.to_string()),
                Ok(clean.to_owned()),
                "{text}"
            );
        }
        assert_eq!(
            ContainerPath::parse_below_root("../x/y").map(|p| p.to_string()),
            Ok("/x/y".to_owned())
        );
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let long = format!("/{}", "a".repeat(1 << 20));
        for (text, bad) in [
            ("", BadPath::Empty),
            ("a/b", BadPath::NotAbsolute),
            ("/a\0b", BadPath::Nul),
            (&long, BadPath::TooLong),
        ] {
            assert_eq!(ContainerPath::parse(text), Err(bad));
        }
    }

    #[test]
    fn below_goes_by_components() {
        let path = ContainerPath::parse("/proc/sys/kernel").expect("absolute");
        assert_eq!(path.below("/proc"), Some(&b"sys/kernel"[..]));
        assert_eq!(path.below("/"), Some(&b"proc/sys/kernel"[..]));
        assert_eq!(path.below("/proc/sys/kernel"), Some(&b""[..]));
        assert_eq!(path.below("/pro"), None);
    }

    #[test]
    fn host_paths_are_taken_below_the_bundle() {
        let base = Path::new("/bundle");
        assert_eq!(
            host_path("rootfs", base),
            Ok(PathBuf::from("/bundle/rootfs"))
        );
        assert_eq!(host_path("../x", base), Ok(PathBuf::from("/x")));
        assert_eq!(host_path("/srv//a/.", base), Ok(PathBuf::from("/srv/a")));
    }
}
