//! The program as containerd calls it. The decoder here is this file's own: it does not share a mistake with the encoder.

use std::process::{Command, Output, Stdio};

fn shim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_containerd-shim-garboard-v2"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the shim runs")
}

/// The fields of a message that has only length-delimited ones: (number, bytes).
fn fields(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut fields = Vec::new();
    while let [tag, rest @ ..] = bytes {
        assert_eq!(tag & 7, 2, "length-delimited");
        let end = rest
            .iter()
            .position(|byte| byte & 0x80 == 0)
            .expect("end of the length");
        let length = rest[..=end]
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
        let (value, after) = rest[end + 1..].split_at(length);
        fields.push((tag >> 3, value.to_vec()));
        bytes = after;
    }
    fields
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn info_is_a_runtime_info_with_the_features_document() {
    let output = shim(&["-info"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
    let info = fields(&output.stdout);
    let numbers: Vec<u8> = info.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 4]);
    assert_eq!(text(&info[0].1), "io.containerd.garboard.v2");
    let version = fields(&info[1].1);
    assert_eq!(version[0], (1, env!("CARGO_PKG_VERSION").into()));
    assert_eq!(version[1].0, 2);
    assert!(!version[1].1.is_empty());
    let features = fields(&info[2].1);
    assert_eq!(
        (features[0].0, text(&features[0].1)),
        (
            1,
            "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
        )
    );
    assert_eq!(features[1].0, 2);
    let document: serde_json::Value = serde_json::from_slice(&features[1].1).expect("JSON");
    assert_eq!(document["ociVersionMin"], "1.0.0");
    assert_eq!(document["linux"]["cgroup"]["v2"], true);
}

#[test]
fn version_is_for_people() {
    let output = shim(&["-v"]);
    assert!(output.status.success());
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines[0], "containerd-shim-garboard-v2:");
    assert_eq!(lines[1], concat!("  Version:  ", env!("CARGO_PKG_VERSION")));
    assert!(lines[2].starts_with("  Revision: "));
}

#[test]
fn a_task_is_refused_with_one_line() {
    let flags = [
        "-namespace",
        "default",
        "-address",
        "/no/such.sock",
        "-id",
        "c1",
    ];
    for word in ["start", "delete"] {
        let output = shim(&[&flags[..], &[word]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        assert_eq!(
            text(&output.stderr),
            "containerd-shim-garboard-v2: this version of garboard cannot be used as a containerd shim yet; use the garboard command as \
             runc-binary\n"
        );
    }
    let output = shim(&["-nonsense"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not defined: -nonsense"));
}
