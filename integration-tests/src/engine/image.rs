//! Images made here, without a registry: an archive as `docker save` writes it, which containerd, Docker, Podman and Buildah all read.
//!
//! One layer, made from a [`Rootfs`], and the configuration that a case asks for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::case::{Failure, Test};
use crate::rootfs::Rootfs;

/// The name under which every engine knows the usual image. The host part keeps Docker and containerd from adding theirs, Podman from asking around.
pub const BUSYBOX: &str = "localhost/busybox:latest";

/// An archive with one image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The image's name, with a tag.
    pub name: String,
    /// Where the archive is.
    pub archive: PathBuf,
}

/// The usual image: busybox and the probe; `sh` is what it runs.
pub fn busybox(test: &Test) -> Result<Image, Failure> {
    build(
        test,
        BUSYBOX,
        &Rootfs::default(),
        json!({"Cmd": ["/bin/sh"]}),
    )
}

/// Makes an image. `config` is the `config` object of the OCI image specification: `Cmd`, `Entrypoint`, `Env`, `User`, `WorkingDir`, `Volumes`, …
pub fn build(
    test: &Test,
    name: &str,
    rootfs: &Rootfs,
    mut config: Value,
) -> Result<Image, Failure> {
    let dir = test.scratch(&format!("image-{}", name.replace(['/', ':'], "-")))?;
    let root = dir.join("root");
    rootfs.build(&root)?;
    if let Some(object) = config.as_object_mut() {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        object.entry("Env").or_insert_with(|| json!([path]));
    }
    let layer = dir.join("layer.tar");
    tar(test, &layer, &root, &["."])?;
    fs::remove_dir_all(&root)?;
    let document = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2020-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(test, &layer)?)]},
        "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "a test"}],
    });
    fs::write(dir.join("config.json"), document.to_string())?;
    // An image's number, which Docker takes from the file's name.
    let id = format!("{}.json", sha256(test, &dir.join("config.json"))?);
    fs::rename(dir.join("config.json"), dir.join(&id))?;
    let manifest = json!([{"Config": id, "RepoTags": [name], "Layers": ["layer.tar"]}]);
    fs::write(dir.join("manifest.json"), manifest.to_string())?;
    let archive = dir.with_extension("tar");
    tar(test, &archive, &dir, &["manifest.json", &id, "layer.tar"])?;
    fs::remove_dir_all(&dir)?;
    Ok(Image {
        name: name.to_owned(),
        archive,
    })
}

/// Packs these entries of `dir`, all owned by root.
pub fn tar(test: &Test, archive: &Path, dir: &Path, entries: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("tar");
    command
        .args(["--create", "--numeric-owner", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(dir)
        .args(entries);
    test.runtime.finish(command)?.success()?;
    Ok(())
}

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256(test: &Test, path: &Path) -> Result<String, Failure> {
    let mut command = Command::new("sha256sum");
    command.arg(path);
    let text = test.runtime.finish(command)?.success()?.stdout();
    let sum = text.split_whitespace().next().unwrap_or("");
    Ok(sum.to_owned())
}
