//! The name of a container: letters, digits and `_+.-`, as every runtime has it; never `.` or `..`, so that it is a plain file name.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// Longer ids are refused before the filesystem is asked (which takes 255 bytes).
const MAX_LENGTH: usize = 1024;

/// A valid container id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

/// Not a container id. The text is runc's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid container ID format")]
pub struct InvalidId;

impl From<InvalidId> for Error {
    fn from(invalid: InvalidId) -> Error {
        Error::new(ErrorKind::InvalidConfig, invalid)
    }
}

impl ContainerId {
    /// Checks the grammar.
    pub fn parse(text: &str) -> Result<ContainerId, InvalidId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte);
        if text.is_empty()
            || text.len() > MAX_LENGTH
            || matches!(text, "." | "..")
            || !text.bytes().all(allowed)
        {
            return Err(InvalidId);
        }
        Ok(ContainerId(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar() {
        for good in ["a", "c1", "A_b+c.d-9", "...", "-x", &"x".repeat(1024)] {
            assert_eq!(ContainerId::parse(good).map(|id| id.0), Ok(good.to_owned()));
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "a b",
            "a\n",
            "a\0",
            "ä",
            "a:b",
            &"x".repeat(1025),
        ] {
            assert_eq!(ContainerId::parse(bad), Err(InvalidId), "{bad:?}");
        }
        assert_eq!(InvalidId.to_string(), "invalid container ID format");
    }
}
