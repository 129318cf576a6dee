//! What the probe program saw inside the container, and short ways to ask for it.

use serde_json::Value;

use crate::case::Failure;

/// The probe's report. The members are listed in `src/bin/probe/main.rs`.
#[derive(Debug, Clone)]
pub struct Report(pub Value);

impl Report {
    /// Reads the last line of the probe's output.
    pub fn parse(text: &str) -> Result<Report, Failure> {
        let line = text.lines().last().unwrap_or("");
        Ok(Report(serde_json::from_str(line).map_err(|e| {
            Failure::new(format!("the probe said {text:?}: {e}"))
        })?))
    }

    /// The value at an RFC 6901 pointer; null if there is none.
    pub fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// A line of `/proc/self/status`.
    pub fn status(&self, name: &str) -> &str {
        self.0["status"][name].as_str().unwrap_or("")
    }

    /// A hexadecimal line of `/proc/self/status`, such as `CapEff`.
    pub fn mask(&self, name: &str) -> u64 {
        u64::from_str_radix(self.status(name), 16).unwrap_or(u64::MAX)
    }

    /// An environment variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.0["env"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// The mount at this point: the last line of mountinfo that has it.
    pub fn mount(&self, point: &str) -> Result<Mount<'_>, Failure> {
        let lines = self.0["mountinfo"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let found = lines
            .iter()
            .filter_map(Value::as_str)
            .filter_map(Mount::parse)
            .rfind(|mount| mount.point == point);
        found.ok_or_else(|| Failure::new(format!("nothing is mounted at {point}: {lines:#?}")))
    }

    /// The descriptor numbers above 2.
    pub fn extra_fds(&self) -> Vec<String> {
        let fds = self.0["fds"].as_object();
        let mut found: Vec<_> = fds
            .into_iter()
            .flatten()
            .filter(|(number, _)| !matches!(number.as_str(), "0" | "1" | "2"))
            .collect();
        found.sort_by_key(|(number, _)| number.parse::<u32>().unwrap_or(0));
        found
            .into_iter()
            .map(|(number, fd)| format!("{number} -> {}", fd["link"].as_str().unwrap_or("?")))
            .collect()
    }
}

/// A line of mountinfo.
#[derive(Debug, Clone)]
pub struct Mount<'a> {
    /// Where it is mounted.
    pub point: &'a str,
    /// Which directory of its file system.
    pub root: &'a str,
    /// The flags of the mount.
    pub options: Vec<&'a str>,
    /// `shared:N`, `master:N`, `unbindable`.
    pub propagation: Vec<&'a str>,
    /// Its file system's type.
    pub kind: &'a str,
    /// Its source.
    pub source: &'a str,
    /// The flags and options of the file system.
    pub super_options: Vec<&'a str>,
}

impl<'a> Mount<'a> {
    /// Reads a line of `/proc/PID/mountinfo`.
    pub fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let mut right = right.splitn(3, ' ');
        Some(Mount {
            point: left.get(4)?,
            root: left.get(3)?,
            options: left.get(5)?.split(',').collect(),
            propagation: left[6..]
                .iter()
                .map(|word| word.split(':').next().unwrap_or(word))
                .collect(),
            kind: right.next()?,
            source: right.next()?,
            super_options: right.next()?.split(',').collect(),
        })
    }

    /// Whether the mount has this flag.
    pub fn has(&self, flag: &str) -> bool {
        self.options.contains(&flag)
    }

    /// Whether the file system has this option.
    pub fn super_has(&self, option: &str) -> bool {
        self.super_options.contains(&option)
    }
}
