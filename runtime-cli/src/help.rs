//! `--help` texts, made from the table.

use std::fmt::Write;

use crate::table::{Command, Flag, commands, flags, shown_commands};

/// Width of the text column.
const WIDTH: usize = 100;

/// The help of the whole program.
pub fn program() -> String {
    let mut text = String::from(
        "garboard - an OCI container runtime\n\nUSAGE:\n   garboard [OPTION...] COMMAND [ARGUMENT...]\n\nCOMMANDS:\n",
    );
    let width = shown_commands()
        .map(|command| command.name.len())
        .max()
        .unwrap_or(0);
    for command in shown_commands() {
        let _ = writeln!(text, "   {:width$}  {}", command.name, command.summary); // a String takes any write
    }
    options(
        &mut text,
        flags::GLOBAL.iter().copied().filter(|flag| !flag.hidden),
    );
    text.push_str("\n`garboard COMMAND --help` shows the options of a command.\n");
    text
}

/// The help of one command.
pub fn command(command: &Command) -> String {
    let mut text = format!(
        "garboard {} - {}\n\nUSAGE:\n   {}\n\nDESCRIPTION:\n",
        command.name,
        command.summary,
        usage(command)
    );
    for paragraph in command.description.split("\n\n") {
        wrapped(&mut text, paragraph, 3);
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    options(&mut text, command.shown_flags());
    text
}

/// `garboard kill [OPTION...] ID [SIGNAL]`.
pub fn usage(command: &Command) -> String {
    let mut line = format!("garboard {}", command.name);
    if command.shown_flags().next().is_some() {
        line.push_str(" [OPTION...]");
    }
    for positional in command.positionals {
        line.push(' ');
        line.push_str(positional.name);
    }
    line
}

/// `--bundle DIR, -b DIR`.
pub fn forms(flag: &Flag) -> String {
    let value = flag
        .placeholder()
        .map(|word| format!(" {word}"))
        .unwrap_or_default();
    match flag.short {
        Some(letter) => format!("--{}{value}, -{letter}{value}", flag.name),
        None => format!("--{}{value}", flag.name),
    }
}

/// What the help and the manual add to a flag's sentence.
pub fn note(flag: &Flag) -> &'static str {
    if flag.repeat {
        " (may be repeated)"
    } else {
        ""
    }
}

fn options(text: &mut String, shown: impl Iterator<Item = &'static Flag>) {
    text.push_str("\nOPTIONS:\n");
    let rows: Vec<(String, String)> = shown
        .chain(commands::COMMON.iter().copied())
        .map(|flag| (forms(flag), format!("{}{}", flag.help, note(flag))))
        .collect();
    let width = rows
        .iter()
        .map(|(forms, _)| forms.len())
        .max()
        .unwrap_or(0)
        .min(40);
    for (forms, help) in rows {
        let _ = write!(text, "   {forms:width$}  "); // a String takes any write
        let indent = width + 5;
        let mut help_text = String::new();
        wrapped(&mut help_text, &help, indent);
        text.push_str(help_text.trim_start());
    }
}

/// Appends `paragraph` in lines of [`WIDTH`], each indented.
fn wrapped(text: &mut String, paragraph: &str, indent: usize) {
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column == 0 {
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shown_flag_and_command_is_in_the_help() {
        let whole = program();
        for flag in flags::GLOBAL {
            assert_eq!(
                whole.contains(&format!("--{}", flag.name)),
                !flag.hidden,
                "--{}",
                flag.name
            );
        }
        for shown in shown_commands() {
            assert!(
                whole.contains(&format!("   {} ", shown.name)),
                "{}",
                shown.name
            );
            let text = command(shown);
            for flag in shown.flags {
                assert_eq!(
                    text.contains(&format!("--{}", flag.name)),
                    !flag.hidden,
                    "{} --{}",
                    shown.name,
                    flag.name
                );
                if let (Some(letter), false) = (flag.short, flag.hidden) {
                    assert!(
                        text.contains(&format!("-{letter}")),
                        "{} -{letter}",
                        shown.name
                    );
                }
            }
        }
    }

    #[test]
    fn lines_are_not_longer_than_the_width() {
        for text in shown_commands().map(command).chain([program()]) {
            for line in text.lines().filter(|line| !line.contains("garboard")) {
                assert!(line.len() <= WIDTH, "{line}");
            }
        }
    }

    #[test]
    fn the_help_of_kill() {
        let expected = "garboard kill - send a signal to the init process of a container\n\nUSAGE:\n   garboard kill ID [SIGNAL]\n\nDESCRIPTION:\n   \
            SIGNAL is a number or a name, with or without SIG, in any case; the default is SIGTERM. SIGKILL\n   to a container that shares its pid \
            namespace ends every process in its cgroup.\n\nOPTIONS:\n   --help, -h  show this help\n";
        assert_eq!(command(Command::named("kill").expect("kill")), expected);
    }
}
