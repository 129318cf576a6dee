//! Which directory holds the state of containers: the one that `--root` names, or the library's default.

use std::path::{Component, Path, PathBuf};

use crate::failure::Failure;

/// The state root, and how it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRoot {
    /// Absolute.
    pub path: PathBuf,
    /// Who chose it.
    pub chosen: Chosen,
}

/// Who chose the state root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// `--root`.
    ByFlag,
    /// Nobody: the default.
    ByDefault,
}

impl StateRoot {
    /// The state root for `--root` (as given) in the environment of this process.
    pub fn choose(flag: Option<&Path>) -> Result<StateRoot, Failure> {
        match flag {
            Some(path) => by_flag(path),
            None => {
                let path = libcontainer::default_root()?;
                Ok(StateRoot {
                    path,
                    chosen: Chosen::ByDefault,
                })
            }
        }
    }
}

fn by_flag(path: &Path) -> Result<StateRoot, Failure> {
    let absolute = std::path::absolute(path)
        .map_err(|why| Failure::new(format!("root {}: {why}", path.display())))?;
    let path = normal(&absolute);
    if path == Path::new("/") {
        return Err(Failure::new(
            "root \"/\" is refused: every directory of the system would be taken for a container",
        ));
    }
    Ok(StateRoot {
        path,
        chosen: Chosen::ByFlag,
    })
}

/// The path without `..`, read as text, as Go's filepath.Abs does.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_given_is_made_absolute_and_slash_is_refused() {
        let path = |text: &str| by_flag(Path::new(text)).map(|root| root.path).ok();
        assert_eq!(path("/a/../b/./c/"), Some(PathBuf::from("/b/c")));
        assert!(path("a").expect("relative").is_absolute());
        for slash in ["/", "//", "/a/..", "/.."] {
            assert_eq!(path(slash), None, "{slash}");
        }
    }
}
