//! Which containers share a shim: those of a pod, which say so by an annotation.

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Deserialize;

/// As much as the library reads.
const LONGEST: u64 = 64 << 20;

/// The little of config.json that is looked at; the library reads it in earnest.
#[derive(Deserialize)]
struct Config<'a> {
    #[serde(borrow)]
    annotations: Option<Annotations<'a>>,
}

/// The first that is there counts, as with containerd's own shim.
#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(rename = "io.containerd.runc.v2.group", borrow)]
    group: Option<Cow<'a, str>>,
    #[serde(rename = "io.kubernetes.cri.sandbox-id", borrow)]
    sandbox: Option<Cow<'a, str>>,
}

/// The name of the group of the container in `bundle`: its own id if it belongs to none.
pub fn of_bundle(bundle: &Path, id: &str) -> io::Result<String> {
    // Neither a fifo in its place nor one without an end holds us up.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(CWD, bundle.join("config.json"), flags, Mode::empty())?;
    let mut text = Vec::new();
    std::fs::File::from(file)
        .take(LONGEST)
        .read_to_end(&mut text)?;
    Ok(of_config(&text, id)?.into_owned())
}

fn of_config<'a>(text: &'a [u8], id: &'a str) -> serde_json::Result<Cow<'a, str>> {
    let config: Config = serde_json::from_slice(text)?;
    Ok(config
        .annotations
        .and_then(|said| said.group.or(said.sandbox))
        .filter(|group| !group.is_empty())
        .unwrap_or(Cow::Borrowed(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(config: &str) -> String {
        of_config(config.as_bytes(), "own")
            .expect("JSON")
            .into_owned()
    }

    #[test]
    fn the_first_annotation_that_is_there() {
        let (group, sandbox) = (
            "io.containerd.runc.v2.group",
            "io.kubernetes.cri.sandbox-id",
        );
        for (annotations, expected) in [
            ("{}".to_owned(), "own"),
            ("null".to_owned(), "own"),
            (r#"{"a": "b"}"#.to_owned(), "own"),
            (format!(r#"{{"{group}": ""}}"#), "own"),
            (format!(r#"{{"{sandbox}": "pod"}}"#), "pod"),
            (
                format!(r#"{{"{sandbox}": "pod", "{group}": "g\u0031"}}"#),
                "g1",
            ),
        ] {
            let config = format!(
                r#"{{"ociVersion": "1.0.2", "annotations": {annotations}, "process": {{"args": ["sh"]}}}}"#
            );
            assert_eq!(of(&config), expected, "{config}");
        }
        assert_eq!(of("{}"), "own");
        assert!(of_config(b"[", "own").is_err());
    }
}
