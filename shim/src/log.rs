//! What a shim logs: lines in the form of logrus's text, which containerd copies from the bundle's `log` fifo into its own log.
//!
//! A line is one write(2) of at most PIPE_BUF bytes, so that those of a hook or of a panic do not land inside it. The fifo is opened by
//! `start` with O_NONBLOCK and handed over as stderr: when nobody reads it and it is full, lines are lost, and nobody waits.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{LevelFilter, Metadata, Record};

/// POSIX's least, and Linux's: what is written at once up to this length is not mixed with other writes (pipe(7)).
const PIPE_BUF: usize = 4096;

/// Of an id or a namespace in a line: containerd allows 76.
const NAME_MAX: usize = 256;

#[derive(Debug)]
struct Logger {
    /// Ends every line: whose shim it is.
    fields: String,
}

/// Logs from now on, to stderr; with `debug` more than a warning's worth of what goes on. A second call has no effect.
pub fn install(id: &str, namespace: &str, debug: bool) {
    let mut fields = String::new();
    for (name, value) in [(" id=", id), (" namespace=", namespace)] {
        fields.push_str(name);
        push_quoted(&mut fields, value, NAME_MAX);
    }
    // Fails when there is a logger, which then is this one.
    let _ = log::set_boxed_logger(Box::new(Logger { fields }));
    log::set_max_level(match debug {
        true => LevelFilter::Debug,
        false => LevelFilter::Info,
    });
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let line = line(record, now.unwrap_or_default(), &self.fields);
            // Full, or nobody's: see above.
            let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
        }
    }

    fn flush(&self) {}
}

fn line(record: &Record, now: Duration, fields: &str) -> String {
    let level = match record.level() {
        log::Level::Warn => "warning",
        log::Level::Error => "error",
        log::Level::Info => "info",
        log::Level::Debug => "debug",
        log::Level::Trace => "trace",
    };
    let mut line = format!("time=\"{}\" level={level} msg=", Time(now));
    let room = PIPE_BUF - line.len() - fields.len() - 1;
    push_quoted(&mut line, &record.args().to_string(), room);
    line.push_str(fields);
    line.push('\n');
    line
}

/// In quotes, on one line, in at most `room` bytes: what is too much is left out.
fn push_quoted(line: &mut String, text: &str, room: usize) {
    let end = line.len() + room - 1;
    line.push('"');
    for char in text.chars() {
        let before = line.len();
        match char {
            '"' | '\\' => line.extend(['\\', char]),
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            '\r' => line.push_str("\\r"),
            char if char.is_control() => line.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => line.push(char),
        }
        if line.len() > end {
            line.truncate(before);
            break;
        }
    }
    line.push('"');
}

/// Since 1970, as RFC 3339 writes it in UTC with nanoseconds.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, second) = (seconds / 86400, seconds % 86400);
        // Years that begin with March, in which the day that comes and goes is the last: eras of 400 years, from the year 0.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 {
            (month + 3, 0)
        } else {
            (month - 9, 1)
        };
        write!(
            f,
            "{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
            era * 400 + year + next,
            second / 3600,
            second / 60 % 60,
            second % 60,
            self.0.subsec_nanos()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(level: log::Level, message: &str) -> String {
        let record = (level, message);
        let args = format_args!("{}", record.1);
        let record = Record::builder().level(level).args(args).build();
        line(&record, Duration::new(1_700_000_000, 5), " id=\"c\"")
    }

    #[test]
    fn a_line_as_logrus_writes_it() {
        assert_eq!(
            said(log::Level::Warn, "a \"b\"\\\n\u{1}ü"),
            "time=\"2023-11-14T22:13:20.000000005Z\" level=warning msg=\"a \\\"b\\\"\\\\\\n\\u0001ü\" id=\"c\"\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_to_what_a_pipe_takes_at_once() {
        for filler in ["x", "\"", "ü", "\n", "\\", "\u{1}"] {
            for length in 3900..4100 {
                let line = said(log::Level::Info, &filler.repeat(length));
                assert!(line.len() <= PIPE_BUF, "{length} {filler:?}");
                assert!(line.ends_with("\" id=\"c\"\n"), "{line}");
                let quoted = line.split_once("msg=").expect("a message").1;
                let quoted = quoted.strip_suffix(" id=\"c\"\n").expect("the field");
                let text: String = serde_json::from_str(quoted).expect("quoted as JSON has it too");
                assert!(text.chars().all(|char| filler.contains(char)), "{text}");
            }
        }
    }

    #[test]
    fn days_of_a_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(Time(Duration::from_secs(seconds)).to_string(), expected);
        }
    }
}
