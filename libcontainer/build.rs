//! Builds the stage (stage/program) as a static no_std program of its own and hands the library its bytes.
//!
//! A nested cargo with a target directory of its own: sharing the outer one would wait for the outer lock for ever. Everything the outer
//! build put into the environment is taken out, since flags meant for the host program break a program without a C library.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// The linker flags of a program that has no C library and no loader.
const FLAGS: &[&str] = &[
    "--cfg=garboard_stage",
    "-Crelocation-model=static",
    "-Ctarget-feature=+crt-static",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-Wl,--build-id=none",
    "-Clink-arg=-Wl,-z,noexecstack",
    "-Clink-arg=-Wl,--gc-sections",
    // One page-aligned segment less to map: nothing in the stage is secret or long-lived.
    "-Clink-arg=-Wl,-z,norelro",
];

const UNSET: &[&str] = &[
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
    "TARGET",
    "HOST",
    "OPT_LEVEL",
    "DEBUG",
    "PROFILE",
    "NUM_JOBS",
    "OUT_DIR",
    "MAKEFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_INCREMENTAL",
];

const UNSET_PREFIXES: &[&str] = &[
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_BUILD_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for source in [
        "stage/src",
        "stage/Cargo.toml",
        "stage/program",
        "../Cargo.toml",
        "../Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={source}");
    }
    let variable = |name: &str| {
        env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
    };
    let out = PathBuf::from(variable("OUT_DIR"));
    let target = variable("TARGET");
    let target_directory = out.join("stage-target");

    let mut cargo = Command::new(variable("CARGO"));
    cargo.current_dir("stage/program");
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if UNSET.contains(&&*text) || UNSET_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    cargo.args([
        "build",
        "--quiet",
        "--profile",
        "stage",
        "--locked",
        "-p",
        "garboard-stage-program",
        "--target",
        &target,
        "--target-dir",
    ]);
    cargo.arg(&target_directory);
    if env::var_os("CARGO_NET_OFFLINE").is_some_and(|offline| offline == "true") {
        cargo.arg("--offline");
    }
    let status = cargo
        .status()
        .unwrap_or_else(|error| panic!("cannot run cargo for the stage: {error}"));
    assert!(status.success(), "building the stage failed");
    let built = target_directory.join(&target).join("stage/stage");
    std::fs::copy(&built, out.join("stage.elf"))
        .unwrap_or_else(|error| panic!("cannot copy {}: {error}", built.display()));
}
