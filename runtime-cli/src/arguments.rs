//! The parser: Go's flag rules over the table.
//!
//! `-flag`, `--flag`, `--flag=value` and `--flag value` mean the same, for long and one-letter names alike; a flag may be repeated, and the
//! last one wins unless the table says that all count. Engines depend on each of these: go-runc sends `-no-subreaper`, and wrappers put
//! global flags in front of others that repeat them. One letter does not combine with the next (`-td` is a flag called `td`, and refused).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::duration;
use crate::table::{Command, Flag, Takes, commands, flags};

/// Why the arguments were refused; the usage is shown with it.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(pub String);

/// What one level (the program, or a command) was given.
#[derive(Debug, Default)]
pub struct Matches {
    given: Vec<(&'static Flag, Option<OsString>)>,
    /// What was no flag, in order.
    pub positionals: Vec<OsString>,
    /// `--help` was among the flags.
    pub help: bool,
}

/// When flags end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlagsEnd {
    AtPositional,
    AtDashes,
}

impl Matches {
    /// Whether a switch is on. The last occurrence decides.
    pub fn is_set(&self, flag: &'static Flag) -> bool {
        self.last(flag)
            .is_some_and(|value| value.is_none_or(|text| text == "true"))
    }

    /// The value of the last occurrence.
    pub fn value(&self, flag: &'static Flag) -> Option<&OsStr> {
        self.last(flag).flatten().map(OsString::as_os_str)
    }

    /// The value of the last occurrence as a path; `None` if it is absent or empty, which Go programs do not tell apart.
    pub fn path(&self, flag: &'static Flag) -> Option<PathBuf> {
        self.value(flag)
            .filter(|text| !text.is_empty())
            .map(PathBuf::from)
    }

    /// The value of the last occurrence as text.
    pub fn text(&self, flag: &'static Flag) -> Result<Option<&str>, UsageError> {
        self.value(flag).map(|value| utf8(value, flag)).transpose()
    }

    /// The value of the last occurrence as a number, 0 if it is absent.
    pub fn number(&self, flag: &'static Flag) -> Result<u32, UsageError> {
        self.value(flag).map_or(Ok(0), |value| number(value, flag))
    }

    /// The value of the last occurrence as a duration, in nanoseconds.
    pub fn duration(&self, flag: &'static Flag) -> Result<Option<i64>, UsageError> {
        self.value(flag)
            .map(|value| duration(value, flag))
            .transpose()
    }

    /// The values of every occurrence, in order.
    pub fn texts(&self, flag: &'static Flag) -> Result<Vec<String>, UsageError> {
        self.all(flag)
            .map(|value| utf8(value, flag).map(str::to_owned))
            .collect()
    }

    /// The same as numbers.
    pub fn numbers(&self, flag: &'static Flag) -> Result<Vec<u32>, UsageError> {
        self.all(flag).map(|value| number(value, flag)).collect()
    }

    /// The positional argument `index` as text; the empty string, which no name can be, where there is none.
    pub fn positional(&self, index: usize) -> Result<&str, UsageError> {
        let Some(argument) = self.positionals.get(index) else {
            return Ok("");
        };
        argument
            .to_str()
            .ok_or_else(|| UsageError(format!("argument {argument:?} is not UTF-8")))
    }

    fn last(&self, flag: &'static Flag) -> Option<Option<&OsString>> {
        self.given
            .iter()
            .rev()
            .find(|(given, _)| std::ptr::eq(*given, flag))
            .map(|(_, value)| value.as_ref())
    }

    fn all(&self, flag: &'static Flag) -> impl Iterator<Item = &OsStr> {
        self.given
            .iter()
            .filter(move |(given, _)| std::ptr::eq(*given, flag))
            .filter_map(|(_, value)| value.as_deref())
    }
}

fn utf8<'a>(value: &'a OsStr, flag: &Flag) -> Result<&'a str, UsageError> {
    value.to_str().ok_or_else(|| {
        UsageError(format!(
            "invalid value {value:?} for flag -{}: not UTF-8",
            flag.name
        ))
    })
}

fn number(value: &OsStr, flag: &Flag) -> Result<u32, UsageError> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| unreadable(value, flag))
}

fn duration(value: &OsStr, flag: &Flag) -> Result<i64, UsageError> {
    let duration = value.to_str().and_then(duration::parse);
    duration.ok_or_else(|| unreadable(value, flag))
}

fn unreadable(value: &OsStr, flag: &Flag) -> UsageError {
    UsageError(format!(
        "invalid value {value:?} for flag -{}: parse error",
        flag.name
    ))
}

/// Go's `strconv.ParseBool`.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Parses the flags in front of the command; what is left over, the command's name first, is returned as it came.
pub fn parse_global(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Matches, Vec<OsString>), UsageError> {
    let mut matches = parse(flags::GLOBAL, FlagsEnd::AtPositional, arguments)?;
    let rest = std::mem::take(&mut matches.positionals);
    Ok((matches, rest))
}

/// Parses what stands behind the name of `command`, and counts the positional arguments.
pub fn parse_command(
    command: &'static Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Matches, UsageError> {
    let end = if command.flags_end_at_positional {
        FlagsEnd::AtPositional
    } else {
        FlagsEnd::AtDashes
    };
    let matches = parse(command.flags, end, arguments)?;
    let count = matches.positionals.len();
    let name = command.name;
    if matches.help || (command.least <= count && command.most.is_none_or(|most| count <= most)) {
        return Ok(matches);
    }
    Err(UsageError(match command.most {
        Some(most) if most == command.least => {
            format!("\"{name}\" requires exactly {most} argument(s)")
        }
        Some(most) if count > most => {
            format!("\"{name}\" requires a maximum of {most} argument(s)")
        }
        _ => format!(
            "\"{name}\" requires a minimum of {} argument(s)",
            command.least
        ),
    }))
}

fn parse(
    known: &'static [&'static Flag],
    end: FlagsEnd,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Matches, UsageError> {
    let mut matches = Matches::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let Some(body) = dashes_stripped(&argument) else {
            matches.positionals.push(argument);
            if end == FlagsEnd::AtPositional {
                break;
            }
            continue;
        };
        if body.is_empty() {
            break; // `--`: the rest is positional.
        }
        let (name, attached) = split_at_equals(body);
        let name = name.to_str().unwrap_or_default();
        let flag = known
            .iter()
            .chain(commands::COMMON)
            .find(|flag| flag.answers_to(name));
        let Some(flag) = flag.copied() else {
            return Err(UsageError(format!(
                "flag provided but not defined: -{name}"
            )));
        };
        let value = match flag.takes {
            Takes::Nothing => attached.map(|text| switch_value(text, name)).transpose()?,
            Takes::Text(_) | Takes::Number(_) | Takes::Duration(_) => {
                let value = attached.map(OsStr::to_owned).or_else(|| arguments.next());
                Some(value.ok_or_else(|| UsageError(format!("flag needs an argument: -{name}")))?)
            }
        };
        match (flag.takes, &value) {
            (Takes::Number(_), Some(text)) => drop(number(text, flag)?),
            (Takes::Duration(_), Some(text)) => drop(duration(text, flag)?),
            _ => {}
        }
        matches.help |=
            std::ptr::eq(flag, &flags::HELP) && value.as_ref().is_none_or(|text| text == "true");
        matches.given.push((flag, value));
    }
    matches.positionals.extend(arguments);
    Ok(matches)
}

/// What follows one dash or two; `None` for a positional argument, which a lone `-` is.
fn dashes_stripped(argument: &OsStr) -> Option<&OsStr> {
    let bytes = argument.as_bytes();
    match bytes {
        [b'-', b'-', rest @ ..] => Some(OsStr::from_bytes(rest)),
        [b'-', rest @ ..] if !rest.is_empty() => Some(OsStr::from_bytes(rest)),
        _ => None,
    }
}

fn split_at_equals(body: &OsStr) -> (&OsStr, Option<&OsStr>) {
    let bytes = body.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (
            OsStr::from_bytes(&bytes[..at]),
            Some(OsStr::from_bytes(&bytes[at + 1..])),
        ),
        None => (body, None),
    }
}

fn switch_value(text: &OsStr, name: &str) -> Result<OsString, UsageError> {
    let refused = || {
        UsageError(format!(
            "invalid boolean value {text:?} for -{name}: parse error"
        ))
    };
    let value = text.to_str().and_then(boolean).ok_or_else(refused)?;
    Ok(OsString::from_vec(if value {
        b"true".to_vec()
    } else {
        b"false".to_vec()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn parsed(command: &str, line: &str) -> Result<Matches, UsageError> {
        parse_command(Command::named(command).expect("a command"), arguments(line))
    }

    fn refusal(command: &str, line: &str) -> String {
        parsed(command, line).expect_err(line).0
    }

    #[test]
    fn every_form_of_a_value_is_understood() {
        for line in [
            "--bundle /b c1",
            "-bundle /b c1",
            "--bundle=/b c1",
            "-bundle=/b c1",
            "-b /b c1",
            "-b=/b c1",
            "--b /b c1",
            "c1 --bundle /b",
            "c1 -b=/b",
        ] {
            let matches = parsed("create", line).expect(line);
            assert_eq!(
                matches.path(&flags::BUNDLE),
                Some(PathBuf::from("/b")),
                "{line}"
            );
            assert_eq!(matches.positional(0), Ok("c1"), "{line}");
        }
    }

    #[test]
    fn every_form_of_a_switch_is_understood() {
        let lines = [
            ("-d c", true),
            ("--detach c", true),
            ("-detach c", true),
            ("c -d", true),
            ("--detach=true c", true),
            ("-d=1 c", true),
            ("-d --detach=false c", false),
            ("--detach=f --detach c", true),
            ("c", false),
            ("-no-subreaper -d c", true),
        ];
        for (line, on) in lines {
            assert_eq!(
                parsed("run", line).expect(line).is_set(&flags::DETACH),
                on,
                "{line}"
            );
        }
        assert!(
            parsed("run", "-no-subreaper c")
                .expect("one dash")
                .is_set(&flags::NO_SUBREAPER)
        );
    }

    #[test]
    fn the_last_of_a_repeated_scalar_wins_and_repeated_flags_collect() {
        let matches = parsed("create", "--bundle /a --bundle /b c --bundle=/c").expect("repeats");
        assert_eq!(matches.path(&flags::BUNDLE), Some(PathBuf::from("/c")));
        let matches = parsed(
            "exec",
            "-e A=1 --env B=2 --env=C=3 -g 5 --additional-gids=6 c1 env -e D=4",
        )
        .expect("repeats");
        assert_eq!(
            matches.texts(&flags::ENV).expect("UTF-8"),
            ["A=1", "B=2", "C=3"]
        );
        assert_eq!(
            matches.numbers(&flags::ADDITIONAL_GIDS).expect("numbers"),
            [5, 6]
        );
        assert_eq!(matches.positionals, arguments("c1 env -e D=4"));
    }

    #[test]
    fn flags_end_at_the_first_positional_of_exec_kill_and_ps() {
        assert_eq!(
            refusal("kill", "c1 9 --all"),
            "\"kill\" requires a maximum of 2 argument(s)"
        );
        assert!(
            parsed("kill", "--all c1 9")
                .expect("flags first")
                .is_set(&flags::ALL)
        );
        assert_eq!(
            parsed("ps", "c1 -ax --format json")
                .expect("ps")
                .positionals,
            arguments("c1 -ax --format json")
        );
        assert!(
            parsed("delete", "c1 --force")
                .expect("flags last")
                .is_set(&flags::FORCE)
        );
        assert!(!parsed("exec", "c1 ls --help").expect("not our help").help);
    }

    #[test]
    fn two_dashes_end_the_flags() {
        assert_eq!(
            parsed("exec", "-t -- c1 -x").expect("dashes").positionals,
            arguments("c1 -x")
        );
        assert_eq!(
            parsed("delete", "-- --force").expect("dashes").positionals,
            arguments("--force")
        );
        assert_eq!(
            refusal("state", "- -- b"),
            "\"state\" requires exactly 1 argument(s)"
        );
    }

    #[test]
    fn refusals_have_the_words_that_engines_probe_for() {
        assert_eq!(
            refusal("create", "--bundle"),
            "flag needs an argument: -bundle"
        );
        assert_eq!(
            refusal("state", "--frob c"),
            "flag provided but not defined: -frob"
        );
        assert_eq!(
            refusal("run", "-td c"),
            "flag provided but not defined: -td"
        );
        assert_eq!(
            refusal("run", "--preserve-fds x c"),
            "invalid value \"x\" for flag -preserve-fds: parse error"
        );
        assert_eq!(
            refusal("run", "--preserve-fds -1 c"),
            "invalid value \"-1\" for flag -preserve-fds: parse error"
        );
        assert_eq!(
            refusal("run", "--detach=maybe c"),
            "invalid boolean value \"maybe\" for -detach: parse error"
        );
        assert_eq!(
            refusal("kill", ""),
            "\"kill\" requires a minimum of 1 argument(s)"
        );
        assert_eq!(
            refusal("start", "a b"),
            "\"start\" requires exactly 1 argument(s)"
        );
        assert_eq!(
            refusal("exec", "-t"),
            "\"exec\" requires a minimum of 1 argument(s)"
        );
    }

    #[test]
    fn global_flags_repeat_and_stop_at_the_command() {
        let line = "--root /a --systemd-cgroup -root=/b --log-format json --systemd-cgroup --debug create --root /c x";
        let (matches, rest) = parse_global(arguments(line)).expect("globals");
        assert_eq!(matches.path(&flags::ROOT), Some(PathBuf::from("/b")));
        assert!(matches.is_set(&flags::SYSTEMD_CGROUP) && matches.is_set(&flags::DEBUG));
        assert_eq!(rest, arguments("create --root /c x"));
    }

    #[test]
    fn help_is_found_at_any_place_before_the_end_of_the_flags() {
        assert!(parsed("state", "--help").expect("help").help);
        assert!(parsed("run", "c1 -h").expect("help").help);
        assert!(parse_global(arguments("-h")).expect("help").0.help);
    }

    #[test]
    fn arguments_that_are_not_utf8_reach_paths_and_are_refused_elsewhere() {
        let odd = OsString::from_vec(b"/b\xff".to_vec());
        let command = Command::named("create").expect("create");
        let matches =
            parse_command(command, vec!["-b".into(), odd.clone(), odd.clone()]).expect("any bytes");
        assert_eq!(matches.path(&flags::BUNDLE), Some(PathBuf::from(odd)));
        assert!(matches.positional(0).is_err());
    }
}
