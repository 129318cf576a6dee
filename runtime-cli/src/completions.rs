//! Completion scripts for bash, zsh and fish, made from the table. They need no helper of the shell's completion packages.

use std::fmt::Write;

use crate::signals;
use crate::table::{Command, Flag, Hint, commands, flags, shown_commands};

/// The script for bash: one function, with a case for each command.
pub fn bash() -> String {
    let mut script = String::from(BASH_HEAD);
    let takes_value: Vec<String> = flags::GLOBAL
        .iter()
        .filter(|flag| !flag.hidden && flag.placeholder().is_some())
        .flat_map(|flag| dashed(flag))
        .collect();
    let _ = writeln!(
        script,
        "            {}) i=$((i + 1)) ;;",
        takes_value.join("|")
    ); // a String takes any write
    script.push_str(BASH_MIDDLE);
    bash_level(
        &mut script,
        "",
        flags::GLOBAL.iter().copied().filter(|flag| !flag.hidden),
        &command_names(),
    );
    for shown in shown_commands() {
        let operands = shown
            .positionals
            .iter()
            .map(|positional| bash_words(positional.hint))
            .collect::<Vec<_>>()
            .join(" ");
        bash_level(&mut script, shown.name, shown.shown_flags(), &operands);
    }
    script.push_str("    esac\n}\ncomplete -F _garboard garboard\n");
    script
}

const BASH_HEAD: &str = r#"# bash completion for garboard
_garboard() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= root=() i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --root) root=(--root "${COMP_WORDS[i+1]}") ;;&
"#;

const BASH_MIDDLE: &str = r#"            -*) ;;
            *) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    COMPREPLY=()
    case $command in
"#;

fn bash_level(
    script: &mut String,
    name: &str,
    shown: impl Iterator<Item = &'static Flag>,
    operands: &str,
) {
    let shown: Vec<&Flag> = shown.chain(commands::COMMON.iter().copied()).collect();
    let _ = writeln!(
        script,
        "        {})\n            case $previous in",
        if name.is_empty() { "''" } else { name }
    ); // as above
    for flag in shown.iter().filter(|flag| flag.placeholder().is_some()) {
        let answer = match flag.hint {
            Hint::File => "COMPREPLY=($(compgen -f -- \"$current\"))".to_owned(),
            Hint::Directory => "COMPREPLY=($(compgen -d -- \"$current\"))".to_owned(),
            other => format!(
                "COMPREPLY=($(compgen -W \"{}\" -- \"$current\"))",
                bash_words(other)
            ),
        };
        let _ = writeln!(
            script,
            "                {}) {answer}; return ;;",
            dashed(flag).join("|")
        );
    }
    let all: Vec<String> = shown.iter().flat_map(|flag| dashed(flag)).collect();
    let _ = writeln!(
        script,
        "            esac\n            case $current in\n                -*) COMPREPLY=($(compgen -W \"{}\" -- \"$current\")) ;;",
        all.join(" ")
    );
    let _ = writeln!(
        script,
        "                *) COMPREPLY=($(compgen -W \"{operands}\" -- \"$current\")) ;;\n            esac ;;"
    );
}

fn bash_words(hint: Hint) -> String {
    match hint {
        Hint::Container => "$(garboard \"${root[@]}\" list -q 2>/dev/null)".to_owned(),
        Hint::Signal => signals::names().collect::<Vec<_>>().join(" "),
        Hint::Words(words) => words.join(" "),
        Hint::Directory => "$(compgen -d -- \"$current\")".to_owned(),
        Hint::Nothing | Hint::File => String::new(),
    }
}

/// The script for zsh: `_arguments` specifications.
pub fn zsh() -> String {
    let mut script = String::from(
        "#compdef garboard\n_garboard_containers() {\n    local -a ids\n    ids=(${(f)\"$(garboard list -q 2>/dev/null)\"})\n    compadd -a ids\n}\n",
    );
    script.push_str("_garboard() {\n    local state\n    local -a commands\n    commands=(\n");
    for shown in shown_commands() {
        let _ = writeln!(
            script,
            "        {}",
            single_quoted(&format!("{}:{}", shown.name, shown.summary))
        );
    }
    script.push_str("    )\n    _arguments -C \\\n");
    zsh_flags(
        &mut script,
        flags::GLOBAL.iter().copied().filter(|flag| !flag.hidden),
        "        ",
    );
    script.push_str("        '1:command:->command' '*::argument:->argument'\n    case $state in\n        command) _describe command commands ;;\n        argument)\n            case $words[1] in\n");
    for shown in shown_commands() {
        let _ = writeln!(
            script,
            "                {})\n                    _arguments \\",
            shown.name
        );
        zsh_flags(&mut script, shown.shown_flags(), "                        ");
        let operands: Vec<String> = zsh_operands(shown);
        let _ = writeln!(script, "                        {} ;;", operands.join(" "));
    }
    script.push_str("            esac ;;\n    esac\n}\n_garboard \"$@\"\n");
    script
}

fn zsh_operands(command: &Command) -> Vec<String> {
    let mut operands = Vec::new();
    for (place, positional) in (1..).zip(command.positionals) {
        let action = zsh_action(positional.hint);
        let last = place == command.positionals.len();
        let position = if last && command.most.is_none() {
            "*".to_owned()
        } else {
            place.to_string()
        };
        operands.push(single_quoted(&format!(
            "{position}:{}:{action}",
            positional.name.replace(['[', ']', '.'], "").to_lowercase()
        )));
    }
    operands
}

fn zsh_flags(script: &mut String, shown: impl Iterator<Item = &'static Flag>, indent: &str) {
    for flag in shown.chain(commands::COMMON.iter().copied()) {
        let help = flag.help.replace(['[', ']'], "").replace(':', "\\:");
        let star = if flag.repeat { "*" } else { "" };
        for name in dashed(flag) {
            let value = flag
                .placeholder()
                .map(|word| {
                    format!(
                        ":{}:{}",
                        word.replace([':', '[', ']'], " "),
                        zsh_action(flag.hint)
                    )
                })
                .unwrap_or_default();
            let _ = writeln!(
                script,
                "{indent}{} \\",
                single_quoted(&format!("{star}{name}[{help}]{value}"))
            );
        }
    }
}

fn zsh_action(hint: Hint) -> String {
    match hint {
        Hint::Nothing => " ".to_owned(),
        Hint::File => "_files".to_owned(),
        Hint::Directory => "_files -/".to_owned(),
        Hint::Container => "_garboard_containers".to_owned(),
        Hint::Signal => format!("({})", signals::names().collect::<Vec<_>>().join(" ")),
        Hint::Words(words) => format!("({})", words.join(" ")),
    }
}

/// The script for fish: one `complete` line for each flag.
pub fn fish() -> String {
    let mut script = String::from("# fish completion for garboard\ncomplete -c garboard -f\n");
    for flag in flags::GLOBAL
        .iter()
        .copied()
        .filter(|flag| !flag.hidden)
        .chain(commands::COMMON.iter().copied())
    {
        fish_flag(&mut script, "__fish_use_subcommand", flag);
    }
    for shown in shown_commands() {
        let _ = writeln!(
            script,
            "complete -c garboard -n __fish_use_subcommand -a {} -d {}",
            shown.name,
            single_quoted(shown.summary)
        );
        let condition = format!("'__fish_seen_subcommand_from {}'", shown.name);
        for flag in shown.shown_flags().chain(commands::COMMON.iter().copied()) {
            fish_flag(&mut script, &condition, flag);
        }
        for words in shown
            .positionals
            .iter()
            .filter_map(|positional| fish_words(positional.hint))
        {
            let _ = writeln!(script, "complete -c garboard -n {condition} -a {words}");
        }
    }
    script
}

fn fish_flag(script: &mut String, condition: &str, flag: &Flag) {
    let short = flag
        .short
        .map(|letter| format!(" -s {letter}"))
        .unwrap_or_default();
    let value = match (flag.placeholder(), fish_words(flag.hint)) {
        (None, _) => String::new(),
        (Some(_), None) if flag.hint == Hint::File => " -r -F".to_owned(),
        (Some(_), None) => " -x".to_owned(),
        (Some(_), Some(words)) => format!(" -x -a {words}"),
    };
    let _ = writeln!(
        script,
        "complete -c garboard -n {condition} -l {}{short}{value} -d {}",
        flag.name,
        single_quoted(flag.help)
    );
}

fn fish_words(hint: Hint) -> Option<String> {
    match hint {
        Hint::Nothing | Hint::File => None,
        Hint::Directory => Some("'(__fish_complete_directories)'".to_owned()),
        Hint::Container => Some("'(garboard list -q 2>/dev/null)'".to_owned()),
        Hint::Signal => Some(single_quoted(
            &signals::names().collect::<Vec<_>>().join(" "),
        )),
        Hint::Words(words) => Some(single_quoted(&words.join(" "))),
    }
}

fn command_names() -> String {
    shown_commands()
        .map(|shown| shown.name)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `--bundle`, `-b`.
fn dashed(flag: &Flag) -> Vec<String> {
    let mut names = vec![format!("--{}", flag.name)];
    names.extend(flag.short.map(|letter| format!("-{letter}")));
    names
}

/// All three shells close and reopen single quotes the same way.
fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command as Process, Stdio};

    use super::*;

    #[test]
    fn every_shown_flag_is_in_each_script() {
        let scripts = [
            ("bash", bash(), "--"),
            ("zsh", zsh(), "--"),
            ("fish", fish(), "-l "),
        ];
        for (shell, script, dashes) in scripts {
            let all = flags::GLOBAL
                .iter()
                .chain(shown_commands().flat_map(|shown| shown.flags));
            for flag in all {
                assert_eq!(
                    script.contains(&format!("{dashes}{}", flag.name)),
                    !flag.hidden,
                    "{shell}: {}",
                    flag.name
                );
            }
            for shown in shown_commands() {
                assert!(script.contains(shown.name), "{shell}: {}", shown.name);
            }
            assert!(!script.contains("generate"), "{shell}");
        }
    }

    fn bash_says(arguments: &[&str], input: &str) -> (bool, String) {
        let mut bash = Process::new("bash")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash");
        bash.stdin
            .take()
            .expect("a pipe")
            .write_all(input.as_bytes())
            .expect("bash reads");
        let output = bash.wait_with_output().expect("bash ends");
        (
            output.status.success(),
            String::from_utf8(output.stdout).expect("UTF-8"),
        )
    }

    #[test]
    fn bash_accepts_its_script() {
        assert!(bash_says(&["-n"], &bash()).0);
    }

    #[test]
    fn bash_completes_commands_flags_and_values() {
        let cases: &[(&[&str], &str)] = &[
            (&["garboard", "sp"], "spec"),
            (&["garboard", "--log-format", "j"], "json"),
            (&["garboard", "--root", "/x", "create", "--bun"], "--bundle"),
            (&["garboard", "kill", "c1", "SIGUSR1"], "SIGUSR1"),
            (&["garboard", "list", "-f", "ta"], "table"),
            (&["garboard", "run", "--no-sub"], "--no-subreaper"),
        ];
        for (words, expected) in cases {
            let script = format!(
                "{}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_garboard\necho \"${{COMPREPLY[@]}}\"\n",
                bash(),
                words.join(" "),
                words.len() - 1
            );
            assert_eq!(bash_says(&[], &script).1.trim(), *expected, "{words:?}");
        }
    }
}
