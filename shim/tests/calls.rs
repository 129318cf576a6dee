//! The program as containerd calls it, against a real kernel: what it prints, what it leaves, what it inherits to the process behind it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use protobuf::Message;
use protobuf::well_known_types::any::Any;

const SHIM: &str = env!("CARGO_BIN_EXE_containerd-shim-garboard-v2");

fn shim(arguments: &[&str]) -> Output {
    Command::new(SHIM)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the shim runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn info(stdin: &[u8]) -> RuntimeInfo {
    let bundle = Bundle::new("info");
    std::fs::write(bundle.0.join("stdin"), stdin).expect("write");
    let output = Command::new(SHIM)
        .arg("-info")
        .stdin(std::fs::File::open(bundle.0.join("stdin")).expect("open"))
        .output()
        .expect("the shim runs");
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
    RuntimeInfo::parse_from_bytes(&output.stdout).expect("a RuntimeInfo")
}

#[test]
fn info_is_a_runtime_info_with_the_features_document() {
    let said = info(b"");
    assert_eq!(said.name, "io.containerd.garboard.v2");
    assert_eq!(said.version.version, env!("CARGO_PKG_VERSION"));
    assert!(!said.version.revision.is_empty());
    assert_eq!(
        said.features.type_url,
        "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
    );
    let document: serde_json::Value = serde_json::from_slice(&said.features.value).expect("JSON");
    assert_eq!(document["ociVersionMin"], "1.0.0");
    assert_eq!(document["linux"]["cgroup"]["v2"], true);
    assert!(said.options.is_none() && said.annotations.is_empty());
}

#[test]
fn info_repeats_the_options_and_bears_nonsense() {
    let options = Any {
        type_url: "containerd.runc.v1.Options".to_owned(),
        value: vec![0x48, 1],
        ..Any::new()
    };
    let bytes = options.write_to_bytes().expect("encodes");
    assert_eq!(info(&bytes).options.as_ref(), Some(&options));
    assert!(info(b"\xff\xff").options.is_none());
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
fn what_is_wrong_is_one_line_on_stderr() {
    for (arguments, said) in [
        (&["-nonsense"][..], "not defined: -nonsense"),
        (&["-id", "c1", "start"], "namespace cannot be empty"),
        (&["-id", "c1", "-namespace", "n", "restart"], "unknown word"),
    ] {
        let output = shim(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        let stderr = text(&output.stderr);
        assert!(stderr.starts_with("containerd-shim-garboard-v2: "));
        assert!(stderr.contains(said), "{stderr}");
        assert_eq!(stderr.matches('\n').count(), 1);
    }
}

/// A bundle's directory, and what containerd calls in it.
struct Bundle(PathBuf);

impl Bundle {
    fn new(name: &str) -> Bundle {
        // Tests run side by side.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let name = format!("garboard-test-call-{name}-{pid}-{number}");
        let bundle = Bundle(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&bundle.0).expect("bundle");
        bundle
    }

    fn call(&self, word: &str) -> Command {
        let mut command = Command::new(SHIM);
        command
            .args(["-namespace", "garboard-test", "-address", "/no/such.sock"])
            .args(["-publish-binary", "/bin/false", "-id", "c1", word])
            .current_dir(&self.0)
            .stdin(Stdio::null());
        command
    }

    fn delete(&self) -> (DeleteResponse, String) {
        let output = self.call("delete").output().expect("the shim runs");
        assert!(output.status.success());
        let reply = DeleteResponse::parse_from_bytes(&output.stdout).expect("a DeleteResponse");
        (reply, text(&output.stderr).to_owned())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // the assertion that failed is what matters
    }
}

#[test]
fn a_container_that_never_was_is_deleted() {
    let bundle = Bundle::new("delete");
    for _ in 0..2 {
        let (reply, warnings) = bundle.delete();
        assert_eq!((reply.pid, reply.exit_status), (0, 137));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let ago = now.expect("after 1970").as_secs() as i64 - reply.exited_at.seconds;
        assert!((0..60).contains(&ago), "{ago}");
        assert_eq!(warnings, "");
    }
    // A part that cannot be done is told, and the rest is done.
    std::fs::write(bundle.0.join("options.json"), "{").expect("write");
    let (reply, warnings) = bundle.delete();
    assert_eq!(reply.exit_status, 137);
    assert!(warnings.contains("options.json"), "{warnings}");
    assert_eq!(warnings.matches('\n').count(), 1);
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let bundle = Bundle::new("start");
    let output = bundle.call("start").output().expect("the shim runs");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert!(text(&output.stderr).contains("config.json"));
    assert_eq!(std::fs::read_dir(&bundle.0).expect("bundle").count(), 0);
}

/// The word that the shim starts itself with: its three streams become the descriptors 3 to 5 of a logging program.
#[test]
fn it_becomes_a_logging_program() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_containerd-shim-garboard-v2"))
        .args([
            "become-logger",
            "/bin/sh",
            "-c",
            "cat <&3 >&4; echo $0 >&5",
            "name",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shim runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"text").expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(text(&output.stdout), "text");
    assert_eq!(text(&output.stderr), "name\n");
}
