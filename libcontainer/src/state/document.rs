//! The OCI state as hooks get it on their standard input (runtime-spec runtime.md "State").
//!
//! `root` is not in the spec; crun gives it and NVIDIA's hooks use it. Hooks inside the container learn the pid as the container sees it,
//! which only the stage knows: for them the document has a slot of spaces that the stage writes digits into.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use super::{Record, Status};

/// Ten digits hold every pid.
const PID_SLOT: &str = "          ";

/// The state of a container at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct StateDocument<'a> {
    #[serde(rename = "ociVersion")]
    pub oci_version: &'a str,
    pub id: &'a str,
    pub status: Status,
    /// On the host, unless the hook runs inside. Left out when stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    pub bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
    /// For hooks: the specification has no such member, but they ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<&'a Path>,
}

impl<'a> StateDocument<'a> {
    /// The state that `record` describes, in a status and with a pid that the caller knows.
    pub fn new(record: &'a Record, status: Status, pid: Option<i32>) -> StateDocument<'a> {
        StateDocument {
            oci_version: &record.oci_version,
            id: &record.id,
            status,
            pid,
            bundle: &record.bundle,
            annotations: &record.annotations,
            root: Some(&record.rootfs),
        }
    }

    /// The document as one line of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // Fails only for a path that is not UTF-8, which no record can hold: it would not have been written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The document with ten spaces in place of the pid, and where they stand. Digits written from their start, the rest left blank,
    /// make it valid JSON.
    pub fn to_json_with_pid_slot(&self) -> (Vec<u8>, Range<usize>) {
        // Written in first place, so that no value of the user's can be mistaken for it.
        let rest = StateDocument {
            pid: None,
            ..self.clone()
        }
        .to_json();
        let head = b"{\"pid\":";
        let mut json = Vec::with_capacity(rest.len() + head.len() + PID_SLOT.len() + 1);
        json.extend_from_slice(head);
        json.extend_from_slice(PID_SLOT.as_bytes());
        json.push(b',');
        json.extend_from_slice(rest.strip_prefix(b"{").unwrap_or(&rest));
        (json, head.len()..head.len() + PID_SLOT.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_of_a_hook_and_its_slot() {
        let annotations = BTreeMap::from([("k".to_owned(), "\"pid\":          ".to_owned())]);
        let document = StateDocument {
            oci_version: "1.3.0",
            id: "c1",
            status: Status::Creating,
            pid: Some(7),
            bundle: Path::new("/b"),
            annotations: &annotations,
            root: Some(Path::new("/b/rootfs")),
        };
        assert_eq!(
            String::from_utf8(document.to_json()).unwrap(),
            r#"{"ociVersion":"1.3.0","id":"c1","status":"creating","pid":7,"bundle":"/b","annotations":{"k":"\"pid\":          "},"root":"/b/rootfs"}"#
        );
        let (mut json, slot) = document.to_json_with_pid_slot();
        json[slot.start..slot.start + 4].copy_from_slice(b"4711");
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(
            (read["pid"].as_i64(), read["id"].as_str()),
            (Some(4711), Some("c1"))
        );
    }
}
