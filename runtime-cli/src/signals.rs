//! Signal names and numbers, x86_64 and arm64 (signal(7), "Standard signals").

/// Name without `SIG`, and number.
const STANDARD: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The C library keeps the first two real-time signals for itself, so SIGRTMIN is 34 in user space (signal(7)).
const RTMIN: i32 = 34;
/// The highest signal number there is.
const RTMAX: i32 = 64;

/// The number of a signal written as a number or as a name with or without `SIG`, in any case; `None` if there is no such signal.
/// 0 sends nothing and only asks whether there is a process, as in kill(2).
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = STANDARD.iter().find(|(standard, _)| *standard == name) {
        return Some(*number);
    }
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => RTMIN,
        (_, Some("")) => RTMAX,
        (Some(offset), _) => RTMIN.checked_add(offset.strip_prefix('+')?.parse().ok()?)?,
        (_, Some(offset)) => RTMAX.checked_sub(offset.strip_prefix('-')?.parse().ok()?)?,
        (None, None) => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

/// The names that completions offer.
pub fn names() -> impl Iterator<Item = String> {
    STANDARD.iter().map(|(name, _)| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_in_any_form() {
        let cases = [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("sigkill", Some(9)),
            ("Term", Some(15)),
            ("64", Some(64)),
            ("SIGRTMIN", Some(34)),
            ("RTMIN+3", Some(37)),
            ("sigrtmax-1", Some(63)),
            ("RTMAX", Some(64)),
            ("0", Some(0)),
            ("-9", None),
            ("65", None),
            ("", None),
            ("SIG", None),
            ("FOO", None),
            ("RTMIN-1", None),
            ("RTMIN+99", None),
            ("RTMAX+1", None),
            ("RTMIN+4294967295", None),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
