//! The one table of commands and flags.
//!
//! The parser, `--help`, the manual pages and the shell completions are all made from it, so a flag that is added here is added
//! everywhere, and nothing can be documented that is not parsed. Names and shapes are runc's, because engines send them.

pub mod commands;
pub mod flags;

use crate::commands::Run;

/// What the shell should offer where a value is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing sensible can be offered.
    Nothing,
    /// Any file.
    File,
    /// A directory.
    Directory,
    /// The id of a container in the state root.
    Container,
    /// A signal name.
    Signal,
    /// One of these words.
    Words(&'static [&'static str]),
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: present or absent. As in Go, `--flag=false` takes it back.
    Nothing,
    /// Any text; the word is how the help calls it.
    Text(&'static str),
    /// A whole number, checked while parsing.
    Number(&'static str),
    /// A duration in Go's notation, checked while parsing.
    Duration(&'static str),
}

/// One flag of a command or of the program.
#[derive(Debug)]
pub struct Flag {
    /// Long name, without dashes.
    pub name: &'static str,
    /// One-letter name.
    pub short: Option<char>,
    /// Its value.
    pub takes: Takes,
    /// Every occurrence counts; otherwise the last one wins.
    pub repeat: bool,
    /// One sentence without a full stop.
    pub help: &'static str,
    /// Accepted but not shown.
    pub hidden: bool,
    /// What the shell should offer as the value.
    pub hint: Hint,
}

impl Flag {
    /// A flag without a value.
    pub const fn switch(name: &'static str, help: &'static str) -> Flag {
        Flag {
            name,
            short: None,
            takes: Takes::Nothing,
            repeat: false,
            help,
            hidden: false,
            hint: Hint::Nothing,
        }
    }

    /// A flag with a value.
    pub const fn value(name: &'static str, takes: Takes, hint: Hint, help: &'static str) -> Flag {
        Flag {
            name,
            short: None,
            takes,
            repeat: false,
            help,
            hidden: false,
            hint,
        }
    }

    /// The same with a one-letter name.
    pub const fn short(mut self, letter: char) -> Flag {
        self.short = Some(letter);
        self
    }

    /// The same, collecting every occurrence.
    pub const fn repeated(mut self) -> Flag {
        self.repeat = true;
        self
    }

    /// The same, accepted but not shown.
    pub const fn hidden(mut self) -> Flag {
        self.hidden = true;
        self
    }

    /// How the help calls the value; `None` for a switch.
    pub fn placeholder(&self) -> Option<&'static str> {
        match self.takes {
            Takes::Nothing => None,
            Takes::Text(word) | Takes::Number(word) | Takes::Duration(word) => Some(word),
        }
    }

    /// Whether `name`, given with one dash or two, means this flag.
    pub fn answers_to(&self, name: &str) -> bool {
        let mut letters = name.chars();
        self.name == name
            || (self.short.is_some() && letters.next() == self.short && letters.next().is_none())
    }
}

/// A positional argument, for the help and the completions; how many there must be is [`Command::least`] and [`Command::most`].
#[derive(Debug)]
pub struct Positional {
    /// As shown in the usage line, brackets of an optional one included.
    pub name: &'static str,
    /// What the shell should offer.
    pub hint: Hint,
}

/// One command.
#[derive(Debug)]
pub struct Command {
    /// The word after the program's name.
    pub name: &'static str,
    /// One sentence without a full stop.
    pub summary: &'static str,
    /// Paragraphs for the help and the manual page.
    pub description: &'static str,
    /// In order.
    pub positionals: &'static [Positional],
    /// Fewest positional arguments.
    pub least: usize,
    /// Most positional arguments; `None` for any number.
    pub most: Option<usize>,
    /// `true` where everything after the first positional argument belongs to somebody else (`exec`, `kill`, `ps`).
    pub flags_end_at_positional: bool,
    /// The command's own flags; `--help` is understood by all.
    pub flags: &'static [&'static Flag],
    /// Works, but is not shown.
    pub hidden: bool,
    /// What it does.
    pub run: Run,
}

impl Command {
    /// The command called `name`.
    pub fn named(name: &str) -> Option<&'static Command> {
        commands::ALL
            .iter()
            .copied()
            .find(|command| command.name == name)
    }

    /// The flags that are shown.
    pub fn shown_flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().copied().filter(|flag| !flag.hidden)
    }
}

/// The commands that are shown.
pub fn shown_commands() -> impl Iterator<Item = &'static Command> {
    commands::ALL
        .iter()
        .copied()
        .filter(|command| !command.hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_level() -> Vec<(&'static str, &'static [&'static Flag])> {
        let mut levels = vec![("garboard", flags::GLOBAL)];
        levels.extend(
            commands::ALL
                .iter()
                .map(|command| (command.name, command.flags)),
        );
        levels
    }

    #[test]
    fn no_two_flags_of_a_command_share_a_name() {
        for (level, flags) in every_level() {
            let mut names: Vec<String> = vec!["help".into(), "h".into()];
            for flag in flags {
                names.push(flag.name.into());
                names.extend(flag.short.map(String::from));
            }
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "{level}");
        }
    }

    #[test]
    fn texts_are_one_sentence_without_a_full_stop() {
        for (level, flags) in every_level() {
            for flag in flags {
                assert!(
                    !flag.help.is_empty() && !flag.help.ends_with('.'),
                    "{level} --{}",
                    flag.name
                );
            }
        }
        for command in commands::ALL {
            assert!(
                !command.summary.is_empty() && !command.summary.ends_with('.'),
                "{}",
                command.name
            );
        }
    }

    #[test]
    fn every_flag_that_engines_send_is_in_the_table() {
        let expected: &[(&str, &[&str])] = &[
            (
                "create",
                &[
                    "bundle",
                    "console-socket",
                    "pidfd-socket",
                    "pid-file",
                    "no-pivot",
                    "no-new-keyring",
                    "preserve-fds",
                ],
            ),
            (
                "run",
                &[
                    "bundle",
                    "console-socket",
                    "pidfd-socket",
                    "pid-file",
                    "no-pivot",
                    "no-new-keyring",
                    "preserve-fds",
                    "detach",
                    "keep",
                    "no-subreaper",
                ],
            ),
            ("start", &[]),
            ("state", &[]),
            ("kill", &["all"]),
            ("delete", &["force"]),
            (
                "exec",
                &[
                    "console-socket",
                    "pidfd-socket",
                    "cwd",
                    "env",
                    "tty",
                    "user",
                    "additional-gids",
                    "process",
                    "detach",
                    "pid-file",
                    "process-label",
                    "apparmor",
                    "no-new-privs",
                    "cap",
                    "preserve-fds",
                    "cgroup",
                    "ignore-paused",
                ],
            ),
            ("pause", &[]),
            ("resume", &[]),
            (
                "update",
                &[
                    "resources",
                    "blkio-weight",
                    "cpu-period",
                    "cpu-quota",
                    "cpu-burst",
                    "cpu-share",
                    "cpu-rt-period",
                    "cpu-rt-runtime",
                    "cpuset-cpus",
                    "cpuset-mems",
                    "cpu-idle",
                    "memory",
                    "memory-reservation",
                    "memory-swap",
                    "pids-limit",
                    "l3-cache-schema",
                    "mem-bw-schema",
                    "kernel-memory",
                    "kernel-memory-tcp",
                ],
            ),
            ("list", &["format", "quiet"]),
            ("ps", &["format"]),
            ("events", &["interval", "stats"]),
            ("spec", &["bundle", "rootless"]),
            ("features", &[]),
        ];
        for (name, flags) in expected {
            let command = Command::named(name).expect("a command that engines call");
            for flag in *flags {
                assert!(
                    command.flags.iter().any(|f| f.name == *flag),
                    "{name} --{flag}"
                );
            }
        }
        for global in [
            "root",
            "log",
            "log-format",
            "debug",
            "systemd-cgroup",
            "rootless",
            "version",
            "criu",
            "cgroup-manager",
        ] {
            assert!(
                flags::GLOBAL.iter().any(|flag| flag.name == global),
                "--{global}"
            );
        }
    }
}
