//! The command line of a shim (containerd, core/runtime/v2/README.md): flags in the form of Go's flag package, then a word.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `-v`, `-version`
    Version,
    /// `-info`
    Info,
    /// `start`: makes sure that a shim serves the container's group, and tells where.
    Start(Task),
    /// `delete`: removes what a dead shim has left of a container.
    Delete(Task),
    /// No word: a shim's own long life, as `start` begins it.
    Serve(Task),
}

/// What every call for a container is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    /// containerd's namespace.
    pub namespace: String,
    /// The container; for a shim's own life, the first of its group.
    pub id: String,
    /// Where containerd serves gRPC. A part of the shim's own address, as containerd's own shim has it.
    pub address: String,
    /// Only `delete` is told; for the others it is the working directory.
    pub bundle: Option<PathBuf>,
    /// Log more.
    pub debug: bool,
}

/// What is wrong with a command line. The texts are those of Go's flag package, and of containerd's own shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// `-nonsense`
    UnknownFlag(String),
    /// `-id` at the end.
    NoValue(String),
    /// `-debug=maybe`
    NoBoolean(String, String),
    /// `-id` with bytes that are no text, which neither a reply nor a request could repeat.
    NotText(&'static str),
    /// A call for a container without one of these.
    Missing(&'static str),
    /// `restart`
    UnknownWord(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::UnknownFlag(flag) => {
                write!(f, "flag provided but not defined: -{}", flag.escape_debug())
            }
            Wrong::NoValue(flag) => write!(f, "flag needs an argument: -{flag}"),
            Wrong::NoBoolean(flag, value) => {
                write!(f, "invalid boolean value {value:?} for -{flag}")
            }
            Wrong::NotText(flag) => write!(f, "the value of -{flag} is not UTF-8"),
            Wrong::Missing(flag) => write!(f, "shim {flag} cannot be empty"),
            Wrong::UnknownWord(word) => write!(
                f,
                "unknown word {word:?}: containerd says start, delete or nothing"
            ),
        }
    }
}

/// Reads flags up to the first word. `-v` comes before `-info`, and both before anything else, as in containerd's own shim.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Action, Wrong> {
    let mut arguments = arguments;
    let (mut version, mut info) = (false, false);
    let mut task = Task::default();
    let mut word = OsString::new();
    while let Some(argument) = arguments.next() {
        let Some((name, value)) = split(&argument) else {
            word = argument;
            break;
        };
        let on = |value: Option<&OsStr>| value.map_or(Ok(true), |value| boolean(&name, value));
        match name.as_str() {
            "v" | "version" => version = on(value)?,
            "info" => info = on(value)?,
            "debug" => task.debug = on(value)?,
            _ => {
                let known = FLAGS.iter().find(|(flag, _)| *flag == name);
                let (flag, set) = known.ok_or_else(|| Wrong::UnknownFlag(name.clone()))?;
                let value = value.map(OsStr::to_owned).or_else(|| arguments.next());
                let value = value.ok_or(Wrong::NoValue(name))?;
                set(&mut task, value).map_err(|_| Wrong::NotText(flag))?;
            }
        }
    }
    match (version, info) {
        (true, _) => return Ok(Action::Version),
        (false, true) => return Ok(Action::Info),
        (false, false) => {}
    }
    let action = match word.as_bytes() {
        b"start" => Action::Start,
        b"delete" => Action::Delete,
        b"" => Action::Serve,
        _ => return Err(Wrong::UnknownWord(word.to_string_lossy().into_owned())),
    };
    for (flag, value) in [("namespace", &task.namespace), ("id", &task.id)] {
        if value.is_empty() {
            return Err(Wrong::Missing(flag));
        }
    }
    Ok(action(task))
}

type Set = fn(&mut Task, OsString) -> Result<(), OsString>;

/// Flags with a value, and where it goes.
const FLAGS: &[(&str, Set)] = &[
    ("namespace", |task, value| {
        value.into_string().map(|value| task.namespace = value)
    }),
    ("id", |task, value| {
        value.into_string().map(|value| task.id = value)
    }),
    ("address", |task, value| {
        value.into_string().map(|value| task.address = value)
    }),
    ("bundle", |task, value| {
        task.bundle = Some(value.into()).filter(|path: &PathBuf| !path.as_os_str().is_empty());
        Ok(())
    }),
    // Events go to TTRPC_ADDRESS, and the socket is the standard input of a shim's own life.
    ("publish-binary", |_, _| Ok(())),
    ("socket", |_, _| Ok(())),
    ("debug-socket", |_, _| Ok(())),
];

/// A flag and the value behind its `=`; None for what is no flag.
fn split(argument: &OsStr) -> Option<(String, Option<&OsStr>)> {
    let bytes = argument.as_bytes();
    let flag = bytes
        .strip_prefix(b"--")
        .or_else(|| bytes.strip_prefix(b"-"))
        .filter(|flag| !flag.is_empty())?;
    let (name, value) = match flag.iter().position(|&byte| byte == b'=') {
        Some(end) => (&flag[..end], flag.get(end + 1..)),
        None => (flag, None),
    };
    let name = OsString::from_vec(name.to_vec());
    Some((
        name.to_string_lossy().into_owned(),
        value.map(OsStr::from_bytes),
    ))
}

/// What Go's strconv.ParseBool takes.
fn boolean(flag: &str, value: &OsStr) -> Result<bool, Wrong> {
    match value.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok(false),
        _ => {
            let value = value.to_string_lossy().into_owned();
            Err(Wrong::NoBoolean(flag.to_owned(), value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Action, Wrong> {
        parse(text.split_whitespace().map(OsString::from))
    }

    fn task(namespace: &str, id: &str) -> Task {
        Task {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
            ..Task::default()
        }
    }

    #[test]
    fn what_containerd_calls() {
        let k8s = Task {
            address: "/run/c.sock".to_owned(),
            debug: true,
            ..task("k8s.io", "c1")
        };
        let dead = Task {
            bundle: Some("/run/b".into()),
            ..task("k8s.io", "c1")
        };
        for (text, action) in [
            ("-v", Action::Version),
            ("--version", Action::Version),
            ("-info", Action::Info),
            ("-info -v", Action::Version),
            ("-v=false -info=1", Action::Info),
            (
                "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id c1 -debug start",
                Action::Start(k8s.clone()),
            ),
            (
                "-namespace=k8s.io -id c1 -bundle /run/b delete",
                Action::Delete(dead),
            ),
            (
                "--namespace k8s.io --id=c1 -address /run/c.sock -debug",
                Action::Serve(k8s),
            ),
            // What follows the word is the word's.
            (
                "-id c1 -namespace n start -v",
                Action::Start(task("n", "c1")),
            ),
            ("-namespace n -id -v start", Action::Start(task("n", "-v"))),
            (
                "-namespace n -id c -debug=F delete",
                Action::Delete(task("n", "c")),
            ),
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
        assert_eq!(
            said("-debug=maybe"),
            "invalid boolean value \"maybe\" for -debug"
        );
        assert_eq!(said("start"), "shim namespace cannot be empty");
        assert_eq!(said("-namespace n"), "shim id cannot be empty");
        assert!(said("-namespace n -id c restart").starts_with("unknown word \"restart\""));
        let id = OsString::from_vec(b"-id=\xff".to_vec());
        let wrong = parse([id].into_iter()).expect_err("wrong");
        assert_eq!(wrong.to_string(), "the value of -id is not UTF-8");
    }
}
