//! The lines of `docs/engines.md`: what a reader copies from there is what the tests run the engines with.

use std::path::Path;

use crate::case::Failure;

const ENGINES: &str = include_str!("../../../docs/engines.md");

/// The program's path in the document.
pub const PROGRAM: &str = "/usr/bin/garboard";
/// The shim's.
pub const SHIM: &str = "/usr/bin/containerd-shim-garboard-v2";

/// The block in this language below this heading, with the paths of what is tested in place of those of what is installed.
pub fn block(heading: &str, language: &str, instead: &[(&str, &Path)]) -> Result<String, Failure> {
    let none = || Failure::new(format!("docs/engines.md: no {language} below {heading:?}"));
    let (_, below) = ENGINES
        .split_once(&format!("# {heading}"))
        .ok_or_else(none)?;
    let section = below.split("\n##").next().unwrap_or(below);
    let (_, block) = section
        .split_once(&format!("\n```{language}\n"))
        .ok_or_else(none)?;
    let (block, _) = block.split_once("```").ok_or_else(none)?;
    let mut text = block.to_owned();
    for (path, tested) in instead {
        if !text.contains(path) {
            return Err(Failure::new(format!(
                "docs/engines.md: no {path} in: {text}"
            )));
        }
        text = text.replace(path, &tested.display().to_string());
    }
    Ok(text)
}
