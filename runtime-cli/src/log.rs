//! Where failures are told: one record in the log file and one line on standard error, or one record on standard error.
//!
//! Engines read the last error record of the file, or the whole file as one record, or the bytes on standard error. So a failed command
//! writes exactly one record, nothing else is ever written without `--debug`, and the file is not even opened by a command that succeeds.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::{json, timestamp};

/// The shape of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `time="…" level=error msg="…"`.
    #[default]
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`.
    Json,
}

/// Where to log, as the global flags say.
#[derive(Debug, Default)]
pub struct Log {
    /// `--log`; `None` for standard error.
    pub file: Option<PathBuf>,
    /// `--log-format`.
    pub format: Format,
    /// `--debug`.
    pub debug: bool,
}

impl Log {
    /// Tells that the command failed. To be called once, at the end.
    pub fn error(&self, message: &str) {
        let message = message.trim_end();
        let record = record(self.format, "error", message, SystemTime::now());
        match &self.file {
            Some(_) => {
                if let Err(why) = self.append(&record) {
                    // The caller must learn the reason of the failure all the same: it follows on standard error.
                    to_stderr(&format!("cannot write the log: {why}\n"));
                }
                to_stderr(&format!("{}\n", message.replace('\n', "; ")));
            }
            None if self.format == Format::Text && std::io::stderr().is_terminal() => {
                to_stderr(&format!("garboard: {message}\n"))
            }
            None => to_stderr(&record),
        }
    }

    /// Tells, under `--debug`, what the user may want to know of a command that goes on.
    pub fn warning(&self, message: &str) {
        if !self.debug {
            return;
        }
        let record = record(self.format, "warning", message, SystemTime::now());
        match &self.file {
            // A warning that cannot be written must not fail the command.
            Some(_) => drop(self.append(&record)),
            None => to_stderr(&record),
        }
    }

    /// One write of the whole record, so that two commands that share the file cannot mix theirs.
    fn append(&self, record: &str) -> std::io::Result<()> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .open(path)?
            .write_all(record.as_bytes())
    }
}

/// A plain line for a failure that does not end the command (`list`).
pub fn to_stderr(text: &str) {
    // There is nowhere left to tell that standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// One record with its newline.
fn record(format: Format, level: &str, message: &str, time: SystemTime) -> String {
    let time = timestamp::seconds(time);
    let mut out = String::with_capacity(message.len() + 80);
    match format {
        Format::Text => {
            out.push_str("time=\"");
            out.push_str(&time);
            out.push_str("\" level=");
            out.push_str(level);
            out.push_str(" msg=");
            push_quoted(&mut out, message);
        }
        Format::Json => {
            let mut object = json::Object::open(&mut out, None);
            object.string("level", level);
            object.string("msg", message);
            object.string("time", &time);
            object.close();
        }
    }
    out.push('\n');
    out
}

/// logrus quotes a text unless every character is one of these.
fn push_quoted(out: &mut String, text: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if text.chars().all(plain) && !text.is_empty() {
        out.push_str(text);
        return;
    }
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                out.extend(control.escape_unicode().filter(|c| !"{}".contains(*c)))
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn records_are_runcs() {
        let message = "exec: \"x\": <no> such\nfile";
        assert_eq!(
            record(Format::Json, "error", message, UNIX_EPOCH),
            "{\"level\":\"error\",\"msg\":\"exec: \\\"x\\\": \\u003cno\\u003e such\\nfile\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
        assert_eq!(
            record(Format::Text, "error", message, UNIX_EPOCH),
            "time=\"1970-01-01T00:00:00Z\" level=error msg=\"exec: \\\"x\\\": <no> such\\nfile\"\n"
        );
        assert_eq!(
            record(Format::Text, "error", "short", UNIX_EPOCH),
            "time=\"1970-01-01T00:00:00Z\" level=error msg=short\n"
        );
    }
}
