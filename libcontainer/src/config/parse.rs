//! The way in: bytes of a `config.json` or a `process.json` to a validated value, or to everything that is wrong with it.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::errors::{Findings, Place};
use super::walk::{self, Document};
use super::{Config, ConfigErrors, HostFacts, Process, Resources, raw, validate};

impl Config {
    /// Reads and checks a `config.json`. `bundle_dir` is absolute; relative paths of the host are taken below it.
    ///
    /// Errors: everything that is wrong, each with its pointer. Source: runtime-spec 1.3, `config.md` and `config-linux.md`.
    pub fn parse(
        bytes: &[u8],
        bundle_dir: &Path,
        facts: &HostFacts,
    ) -> Result<Config, ConfigErrors> {
        let check = |raw: &raw::Spec<'_>, at: &Place<'_>, found: &mut Findings| {
            validate::config(raw, bundle_dir, at, facts, found)
        };
        let (mut config, warnings) = parse::<SpecFile, _>(bytes, check)?;
        config.warnings = warnings;
        Ok(config)
    }
}

impl Process {
    /// Reads and checks a file for `exec --process`: one `process` object; what follows it in the file is not looked at.
    ///
    /// The second value are the warnings. Errors: as [`Config::parse`], with pointers into `process.json`.
    pub fn parse(bytes: &[u8], facts: &HostFacts) -> Result<(Process, Vec<String>), ConfigErrors> {
        parse::<ProcessFile, _>(bytes, |raw, at, found| {
            validate::process(raw, at, facts, found)
        })
    }
}

/// Reads and checks the document of an update: one `resources` object, of which the keys without effect are passed over, and the devices
/// too, since an update never touches them. What only contradicts another value is not looked for, as the other may be the container's:
/// see [`Resources::check_together`].
///
/// Errors: as [`Config::parse`], with pointers into `resources.json`.
pub fn resources_document(bytes: &[u8]) -> Result<Resources, ConfigErrors> {
    parse::<ResourcesFile, _>(bytes, |raw, at, found| {
        Some(validate::resources(raw, at, found))
    })
    .map(|(resources, _)| resources)
}

/// A document and the type it is read into.
trait File {
    type Raw<'a>: Deserialize<'a>;
    const DOCUMENT: Document;
}

struct SpecFile;

impl File for SpecFile {
    type Raw<'a> = raw::Spec<'a>;
    const DOCUMENT: Document = Document::Config;
}

struct ProcessFile;

impl File for ProcessFile {
    type Raw<'a> = raw::Process<'a>;
    const DOCUMENT: Document = Document::Process;
}

struct ResourcesFile;

impl File for ResourcesFile {
    type Raw<'a> = raw::Resources<'a>;
    const DOCUMENT: Document = Document::Resources;
}

/// Reads the first JSON value of `bytes` and checks it. Only a document that does not read is read a second time, slowly, for its errors.
fn parse<F: File, T>(
    bytes: &[u8],
    check: impl Fn(&F::Raw<'_>, &Place<'_>, &mut Findings) -> Option<T>,
) -> Result<(T, Vec<String>), ConfigErrors> {
    let place = Place::document(F::DOCUMENT.pointer());
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ConfigErrors::one(
            place.pointer(),
            format!("not UTF-8 text from byte {} on", error.valid_up_to()),
        )
    })?;
    let mut found = Findings::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = match F::Raw::deserialize(&mut reader) {
        Ok(raw) => check(&raw, &place, &mut found),
        Err(error) => {
            explain_failure::<F, T>(text, &error, &check, &mut found);
            None
        }
    };
    if F::DOCUMENT == Document::Config && found.errors.is_empty() && reader.end().is_err() {
        found.warn("config.json: what follows the first JSON value is not looked at");
    }
    found.into_result(value, &place)
}

/// Finds every value of a wrong type, and what is wrong with the rest.
fn explain_failure<F: File, T>(
    text: &str,
    error: &serde_json::Error,
    check: &impl Fn(&F::Raw<'_>, &Place<'_>, &mut Findings) -> Option<T>,
    found: &mut Findings,
) {
    let place = Place::document(F::DOCUMENT.pointer());
    let value = serde_json::Deserializer::from_str(text)
        .into_iter::<Value>()
        .next();
    let mut value = match value {
        Some(Ok(value)) => value,
        Some(Err(error)) => return found.error(&place, format!("not valid JSON: {error}")),
        None => return found.error(&place, "the file is empty"),
    };
    walk::take_out_wrong_types(F::DOCUMENT, &mut value, found);
    let wrong_types = found.errors.len();
    if wrong_types == 0 {
        // The table of keys and the types disagree: say at least what the reader said.
        return found.error(&place, error.to_string());
    }
    // What depends on the namespaces cannot be judged without them.
    let unsure = |pointer: &str| {
        matches!(pointer, "config.json#" | "config.json#/linux")
            || pointer.starts_with("config.json#/linux/namespaces")
    };
    if found
        .errors
        .iter()
        .any(|error| unsure(error.pointer.as_str()))
    {
        return;
    }
    if let Ok(raw) = F::Raw::deserialize(&value) {
        check(&raw, &place, found);
        found.drop_consequences(wrong_types);
    }
}

#[cfg(test)]
mod tests;
