//! Tells a program which commit it was built from, for `garboard --version` and the shim's `-v`: both packages use this file.

use std::process::Command;

fn main() {
    let commit = git(&["rev-parse", "HEAD"]);
    println!(
        "cargo::rustc-env=GARBOARD_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
    // The file that every commit and checkout appends to; without one the answer is "unknown" until the next clean build.
    if let Some(path) = git(&[
        "rev-parse",
        "--path-format=absolute",
        "--git-path",
        "logs/HEAD",
    ]) && std::fs::metadata(&path).is_ok()
    {
        println!("cargo::rerun-if-changed={path}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
