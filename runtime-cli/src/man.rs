//! Manual pages, made from the table: `garboard.8` and one page for each command.

use std::fmt::Write;

use crate::help;
use crate::table::{Command, Flag, commands, flags, shown_commands};

/// File name and text of every page.
pub fn pages() -> Vec<(String, String)> {
    let mut pages = vec![("garboard.8".to_owned(), program())];
    pages.extend(
        shown_commands().map(|shown| (format!("garboard-{}.8", shown.name), command(shown))),
    );
    pages
}

fn program() -> String {
    let mut page = header("GARBOARD");
    page.push_str(".SH NAME\ngarboard \\- an OCI container runtime\n.SH SYNOPSIS\n.B garboard\n[OPTION...] COMMAND [ARGUMENT...]\n");
    page.push_str(".SH DESCRIPTION\nRuns containers from OCI bundles. Container engines call it; its flags, output and exit codes are runc's.\n");
    page.push_str(".SH COMMANDS\n");
    for shown in shown_commands() {
        let _ = writeln!(
            page,
            ".TP\n.B {}\n{}.",
            roff(shown.name),
            roff(shown.summary)
        ); // a String takes any write
    }
    options(
        &mut page,
        flags::GLOBAL.iter().copied().filter(|flag| !flag.hidden),
    );
    page.push_str(".SH EXIT STATUS\n0 on success, 1 on failure, 3 for an unknown command, 255 if \\fBexec\\fR could not start its process. ");
    page.push_str("\\fBrun\\fR and \\fBexec\\fR in the foreground exit as their process did, with 128+N if signal N ended it.\n");
    page.push_str(
        ".SH ENVIRONMENT\n\\fBXDG_RUNTIME_DIR\\fR and \\fBUSER\\fR choose the default root. ",
    );
    page.push_str("\\fBLISTEN_FDS\\fR, \\fBLISTEN_PID\\fR and \\fBNOTIFY_SOCKET\\fR are honoured as systemd sets them.\n.SH SEE ALSO\n");
    let others: Vec<String> = shown_commands()
        .map(|shown| format!(".BR garboard\\-{} (8)", roff(shown.name)))
        .collect();
    page.push_str(&others.join(" ,\n"));
    page.push('\n');
    page
}

fn command(command: &Command) -> String {
    let mut page = header(&format!("GARBOARD-{}", command.name.to_uppercase()));
    let name = roff(command.name);
    let usage = help::usage(command);
    let synopsis = usage
        .strip_prefix(&format!("garboard {}", command.name))
        .unwrap_or_default();
    let _ = writeln!(
        page,
        ".SH NAME\ngarboard\\-{name} \\- {}",
        roff(command.summary)
    ); // a String takes any write
    let _ = writeln!(
        page,
        ".SH SYNOPSIS\n.B garboard {name}\n{}",
        roff(synopsis.trim_start())
    );
    page.push_str(".SH DESCRIPTION\n");
    for paragraph in command.description.split("\n\n") {
        let _ = writeln!(page, ".PP\n{}", roff(paragraph));
    }
    options(&mut page, command.shown_flags());
    page.push_str(".SH SEE ALSO\n.BR garboard (8)\n");
    page
}

fn header(title: &str) -> String {
    format!(
        ".TH {} 8 \"\" \"garboard {}\" \"System administration\"\n",
        roff(title),
        env!("CARGO_PKG_VERSION")
    )
}

fn options(page: &mut String, shown: impl Iterator<Item = &'static Flag>) {
    page.push_str(".SH OPTIONS\n");
    for flag in shown.chain(commands::COMMON.iter().copied()) {
        let _ = writeln!(
            page,
            ".TP\n.B {}\n{}{}.",
            roff(&help::forms(flag)),
            roff(flag.help),
            help::note(flag)
        ); // a String takes any write
    }
}

/// Escapes what roff(7) would take for markup. A line of ours never begins with `.` or `'`, because the words do not.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shown_flag_is_in_its_page() {
        let pages = pages();
        let page = |name: &str| {
            pages
                .iter()
                .find(|(file, _)| file == name)
                .map(|(_, text)| text.as_str())
                .expect("a page")
        };
        for flag in flags::GLOBAL.iter().filter(|flag| !flag.hidden) {
            assert!(
                page("garboard.8").contains(&format!("\\-\\-{}", roff(flag.name))),
                "--{}",
                flag.name
            );
        }
        for shown in shown_commands() {
            let text = page(&format!("garboard-{}.8", shown.name));
            for flag in shown.flags {
                assert_eq!(
                    text.contains(&format!("\\-\\-{}", roff(flag.name))),
                    !flag.hidden,
                    "{} --{}",
                    shown.name,
                    flag.name
                );
            }
        }
    }

    #[test]
    fn no_line_begins_with_an_accidental_request() {
        const REQUESTS: [&str; 6] = [".TH ", ".SH ", ".TP", ".B ", ".BR ", ".PP"];
        for (file, page) in pages() {
            for line in page.lines() {
                let control = line.starts_with('.') || line.starts_with('\'');
                assert!(
                    !control || REQUESTS.iter().any(|request| line.starts_with(request)),
                    "{file}: {line}"
                );
            }
        }
    }
}
