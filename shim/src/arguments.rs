//! The command line of a shim (containerd, core/runtime/v2/README.md): flags in the form of Go's flag package, then a word.

use std::ffi::OsString;
use std::fmt;

/// Flags that take a value.
const WITH_VALUE: &[&str] = &[
    "address",
    "bundle",
    "debug-socket",
    "id",
    "namespace",
    "publish-binary",
    "socket",
];

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `-v`
    Version,
    /// `-info`
    Info,
    /// `start`, `delete`, or a shim's own long life without a word.
    Task,
}

/// What is wrong with a command line. The texts are those of Go's flag package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// `-nonsense`
    UnknownFlag(String),
    /// `-id` at the end.
    NoValue(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::UnknownFlag(flag) => {
                write!(f, "flag provided but not defined: -{}", flag.escape_debug())
            }
            Wrong::NoValue(flag) => write!(f, "flag needs an argument: -{flag}"),
        }
    }
}

/// Reads flags up to the first word. `-v` comes before `-info`, and both before anything else, as in containerd's own shim.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Action, Wrong> {
    let mut arguments = arguments;
    let (mut version, mut info) = (false, false);
    while let Some(argument) = arguments.next() {
        let argument = argument.to_string_lossy();
        let Some(flag) = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix('-'))
        else {
            break;
        };
        if flag.is_empty() {
            break;
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let on =
            value.is_none_or(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"));
        match name {
            "v" => version = on,
            "info" => info = on,
            "debug" => {}
            name if WITH_VALUE.contains(&name) => {
                if value.is_none() && arguments.next().is_none() {
                    return Err(Wrong::NoValue(name.to_owned()));
                }
            }
            name => return Err(Wrong::UnknownFlag(name.to_owned())),
        }
    }
    Ok(match (version, info) {
        (true, _) => Action::Version,
        (false, true) => Action::Info,
        (false, false) => Action::Task,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Action, Wrong> {
        parse(text.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_containerd_calls() {
        for (text, action) in [
            ("-v", Action::Version),
            ("--v", Action::Version),
            ("-info", Action::Info),
            ("-info=false", Action::Task),
            ("-info -v", Action::Version),
            (
                "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id c1 -debug start",
                Action::Task,
            ),
            (
                "-namespace=k8s.io -id c1 -bundle /run/b delete",
                Action::Task,
            ),
            // What follows the word is the word's.
            ("start -v", Action::Task),
            ("-id -v start", Action::Task),
            ("", Action::Task),
        ] {
            assert_eq!(read(text), Ok(action), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_go() {
        let said = |text| read(text).expect_err("wrong").to_string();
        assert_eq!(
            said("-nonsense"),
            "flag provided but not defined: -nonsense"
        );
        assert_eq!(said("-v -id"), "flag needs an argument: -id");
    }
}
