//! What is wrong with a configuration, all of it at once, each with its place in the input.

use std::fmt;

use crate::{Error, ErrorKind, Pointer};

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// Where it stands.
    pub pointer: Pointer,
    /// Without the pointer: `expected an unsigned integer, found string "0"`.
    pub message: String,
    /// The value is right, and this version cannot do what it asks.
    pub unsupported: bool,
}

/// Everything wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// A single error.
    pub fn one(pointer: Pointer, message: impl Into<String>) -> ConfigErrors {
        ConfigErrors(vec![ConfigError {
            pointer,
            message: message.into(),
            unsupported: false,
        }])
    }

    /// A single thing that is right and cannot be done here.
    pub fn unsupported(pointer: Pointer, message: impl Into<String>) -> ConfigErrors {
        ConfigErrors(vec![ConfigError {
            pointer,
            message: message.into(),
            unsupported: true,
        }])
    }

    /// All of them; Ok when there are none.
    pub(super) fn from_all(errors: Vec<ConfigError>) -> Result<(), ConfigErrors> {
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ConfigErrors(errors))
        }
    }

    /// In the order of the schema, not of the file.
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }

    /// Whether the file is right and only asks for what this version cannot do.
    pub fn only_unsupported(&self) -> bool {
        self.0.iter().all(|error| error.unsupported)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.message)
    }
}

impl fmt::Display for ConfigErrors {
    /// One line, because engines take one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Error {
        let kind = if errors.only_unsupported() {
            ErrorKind::Unsupported
        } else {
            ErrorKind::InvalidConfig
        };
        Error::new(kind, errors)
    }
}

/// A text of the user's in quotes, with its control characters escaped; a long one is cut.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((cut, _)) => format!(
            "{:?}... ({} bytes)",
            text.get(..cut).unwrap_or_default(),
            text.len()
        ),
        None => format!("{text:?}"),
    }
}

/// Where the validation stands; becomes a [`Pointer`] only when something is wrong there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    above: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Document(&'static Pointer),
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    pub(super) const fn document(pointer: &'static Pointer) -> Place<'static> {
        Place {
            above: None,
            step: Step::Document(pointer),
        }
    }

    pub(super) fn key<'b>(&'b self, name: &'b str) -> Place<'b> {
        Place {
            above: Some(self),
            step: Step::Key(name),
        }
    }

    pub(super) fn index(&self, index: usize) -> Place<'_> {
        Place {
            above: Some(self),
            step: Step::Index(index),
        }
    }

    pub(super) fn pointer(&self) -> Pointer {
        let above = || self.above.map_or(Pointer::CONFIG, Place::pointer);
        match self.step {
            Step::Document(pointer) => pointer.clone(),
            Step::Key(name) => above().key(name),
            Step::Index(index) => above().index(index),
        }
    }
}

/// Collects what a validation finds.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    pub(super) fn error(&mut self, at: &Place<'_>, message: impl Into<String>) {
        self.errors.push(ConfigError {
            pointer: at.pointer(),
            message: message.into(),
            unsupported: false,
        });
    }

    /// The same further down: `below` is an RFC 6901 pointer from `at` on.
    pub(super) fn error_below(&mut self, at: &Place<'_>, below: &str, message: impl Into<String>) {
        self.errors.push(ConfigError {
            pointer: at.pointer().join(below),
            message: message.into(),
            unsupported: false,
        });
    }

    pub(super) fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }

    /// Adds the errors of another check.
    pub(super) fn add(&mut self, result: Result<(), ConfigErrors>) {
        if let Err(ConfigErrors(errors)) = result {
            self.errors.extend(errors);
        }
    }

    /// `Some` value, or its error at `at`.
    pub(super) fn check<T, E: fmt::Display>(
        &mut self,
        at: &Place<'_>,
        result: Result<T, E>,
    ) -> Option<T> {
        result
            .map_err(|error| self.error(at, error.to_string()))
            .ok()
    }

    /// Drops what was found after the first `count` errors at, above or below the place of one of them.
    pub(super) fn drop_consequences(&mut self, count: usize) {
        let later = self.errors.split_off(count.min(self.errors.len()));
        let causes = &self.errors;
        let follows = |error: &ConfigError| {
            causes
                .iter()
                .any(|cause| related(cause.pointer.as_str(), error.pointer.as_str()))
        };
        let own: Vec<_> = later.into_iter().filter(|error| !follows(error)).collect();
        self.errors.extend(own);
    }

    /// The value with the warnings, or everything that is wrong.
    pub(super) fn into_result<T>(
        self,
        value: Option<T>,
        at: &Place<'_>,
    ) -> Result<(T, Vec<String>), ConfigErrors> {
        match value {
            Some(value) if self.errors.is_empty() => Ok((value, self.warnings)),
            None if self.errors.is_empty() => Err(ConfigErrors::one(at.pointer(), "invalid")),
            _ => Err(ConfigErrors(self.errors)),
        }
    }
}

fn related(one: &str, other: &str) -> bool {
    let below = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(one, other) || below(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(unsupported: bool) -> ConfigError {
        ConfigError {
            pointer: Pointer::CONFIG.key("a").index(1),
            message: "wrong".to_owned(),
            unsupported,
        }
    }

    #[test]
    fn all_errors_stand_on_one_line() {
        let errors = ConfigErrors(vec![error(false), error(true)]);
        assert_eq!(
            errors.to_string(),
            "config.json#/a/1: wrong; config.json#/a/1: wrong"
        );
    }

    #[test]
    fn only_what_later_versions_can_do_is_unsupported() {
        assert_eq!(
            Error::from(ConfigErrors(vec![error(true)])).kind(),
            ErrorKind::Unsupported
        );
        assert_eq!(
            Error::from(ConfigErrors(vec![error(true), error(false)])).kind(),
            ErrorKind::InvalidConfig
        );
    }

    #[test]
    fn a_place_becomes_an_escaped_pointer() {
        let document = Place::document(&Pointer::CONFIG);
        let map = document.key("annotations");
        assert_eq!(
            map.key("a/b~c").pointer().as_str(),
            "config.json#/annotations/a~1b~0c"
        );
    }
}
