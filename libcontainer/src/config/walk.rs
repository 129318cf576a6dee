//! Walks a JSON document along the table of keys: what has the wrong type, and what has no effect.
//!
//! Only off the normal path: after the typed reading failed, so that every wrong value is named at once, and for `explain`.

use serde_json::Value;

use super::Ignored;
use super::errors::{Findings, Place};
use super::keys::{self, Key, Kind, Standing};
use crate::Pointer;

/// A document of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    /// `config.json`.
    Config,
    /// The file given to `exec --process`: the object at `/process` of the schema.
    Process,
    /// The file given to `update --resources`: the object at `/linux/resources` of the schema.
    Resources,
}

impl Document {
    pub(super) fn pointer(self) -> &'static Pointer {
        match self {
            Document::Config => &Pointer::CONFIG,
            Document::Process => &Pointer::PROCESS,
            Document::Resources => &Pointer::RESOURCES,
        }
    }

    fn pattern(self) -> &'static str {
        match self {
            Document::Config => "",
            Document::Process => "/process",
            Document::Resources => "/linux/resources",
        }
    }
}

/// Takes out every value of a wrong type, with an error for each; what is left reads without failure.
pub(super) fn take_out_wrong_types(document: Document, value: &mut Value, findings: &mut Findings) {
    let place = Place::document(document.pointer());
    if value.is_object() {
        check(value, &mut document.pattern().to_owned(), &place, findings);
    } else {
        findings.error(&place, wrong(Kind::Object, value));
        *value = Value::Null;
    }
}

fn check(value: &mut Value, pattern: &mut String, place: &Place<'_>, findings: &mut Findings) {
    let above = pattern.len();
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if step_into(pattern, name).is_some_and(|key| fits(key.kind, member)) {
                    check(member, pattern, &place.key(name), findings);
                } else if let Some(key) = keys::find(pattern) {
                    findings.error(&place.key(name), wrong(key.kind, member));
                    *member = Value::Null;
                }
                pattern.truncate(above);
            }
        }
        Value::Array(elements) => {
            pattern.push_str("/*");
            let Some(key) = keys::find(pattern) else {
                return;
            };
            for (index, element) in elements.iter_mut().enumerate() {
                let place = place.index(index);
                if fits(key.kind, element) {
                    check(element, pattern, &place, findings);
                } else {
                    findings.error(&place, wrong(key.kind, element));
                    *element = Value::Null;
                }
            }
            pattern.truncate(above);
        }
        _ => {}
    }
}

/// Appends the member `name` to the pattern: as it is, or `*` where names are the user's.
fn step_into(pattern: &mut String, name: &str) -> Option<&'static Key> {
    let above = pattern.len();
    pattern.push_str("/*");
    if let Some(key) = keys::find(pattern) {
        return Some(key);
    }
    pattern.truncate(above + 1);
    // A name with a slash or a star is no key of the schema, and must not look like one.
    pattern.push_str(if name.contains(['/', '*']) { "?" } else { name });
    keys::find(pattern)
}

/// `null` fits everywhere: it is an absent key.
fn fits(kind: Kind, value: &Value) -> bool {
    let unsigned = |most: u64| value.as_u64().is_some_and(|n| n <= most);
    value.is_null()
        || match kind {
            Kind::Object => value.is_object(),
            Kind::Array => value.is_array(),
            Kind::Text => value.is_string(),
            Kind::Bool => value.is_boolean(),
            Kind::U16 => unsigned(u16::MAX.into()),
            Kind::U32 => unsigned(u32::MAX.into()),
            Kind::U64 => unsigned(u64::MAX),
            Kind::I32 => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Kind::I64 => value.as_i64().is_some(),
            Kind::Any => true,
        }
}

/// `expected an unsigned integer, found string "0"`.
fn wrong(kind: Kind, value: &Value) -> String {
    let number = value.is_number();
    let expected = match kind {
        Kind::Object => "an object",
        Kind::Array => "an array",
        Kind::Text => "a string",
        Kind::Bool => "a boolean",
        Kind::U16 if number => "an unsigned 16-bit integer",
        Kind::U32 if number => "an unsigned 32-bit integer",
        Kind::U64 if number => "an unsigned 64-bit integer",
        Kind::U16 | Kind::U32 | Kind::U64 => "an unsigned integer",
        Kind::I32 if number => "a 32-bit integer",
        Kind::I64 if number => "a 64-bit integer",
        Kind::I32 | Kind::I64 => "an integer",
        Kind::Any => "a value",
    };
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("boolean {flag}"),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("string {}", super::errors::quoted(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    format!("expected {expected}, found {found}")
}

/// Every key of a `config.json` that has no effect: those unknown to the specification and those of other platforms. Empty if it is no JSON.
pub fn ignored_keys(config: &[u8]) -> Vec<Ignored> {
    let mut ignored = Vec::new();
    match serde_json::Deserializer::from_slice(config)
        .into_iter::<Value>()
        .next()
    {
        Some(Ok(value)) => list_ignored(&value, &mut String::new(), &Pointer::CONFIG, &mut ignored),
        Some(Err(error)) if error.to_string().starts_with("recursion limit") => {
            let reason = "nests too deep for the keys without effect to be listed";
            ignored.push(Ignored {
                pointer: Pointer::CONFIG,
                reason,
            });
        }
        _ => {}
    }
    ignored
}

fn list_ignored(
    value: &Value,
    pattern: &mut String,
    pointer: &Pointer,
    ignored: &mut Vec<Ignored>,
) {
    let above = pattern.len();
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                let pointer = pointer.key(name);
                match step_into(pattern, name).map(|key| key.standing) {
                    None => ignored.push(Ignored {
                        pointer,
                        reason: "unknown to runtime-spec 1.3",
                    }),
                    Some(Standing::NoEffect(reason)) => ignored.push(Ignored { pointer, reason }),
                    Some(_) => list_ignored(member, pattern, &pointer, ignored),
                }
                pattern.truncate(above);
            }
        }
        Value::Array(elements) => {
            pattern.push_str("/*");
            for (index, element) in elements.iter().enumerate() {
                list_ignored(element, pattern, &pointer.index(index), ignored);
            }
            pattern.truncate(above);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(document: Document, json: &str) -> Vec<String> {
        let mut value: Value = serde_json::from_str(json).expect("JSON");
        let mut findings = Findings::default();
        take_out_wrong_types(document, &mut value, &mut findings);
        findings.errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_wrong_type_is_named_with_its_pointer() {
        let json = r#"{"process":{"user":{"uid":"0","gid":-1,"additionalGids":[1,"x",4294967296]},"args":"sh","terminal":1,"env":[null,2]},
            "mounts":[{"options":{}},7],"annotations":{"a/b":1},"root":[],"linux":{"sysctl":{"net.x":1},"devices":[{"major":1.5}]}}"#;
        assert_eq!(
            errors(Document::Config, json),
            [
                r#"config.json#/annotations/a~1b: expected a string, found 1"#,
                r#"config.json#/linux/devices/0/major: expected a 64-bit integer, found 1.5"#,
                r#"config.json#/linux/sysctl/net.x: expected a string, found 1"#,
                r#"config.json#/mounts/0/options: expected an array, found an object"#,
                r#"config.json#/mounts/1: expected an object, found 7"#,
                r#"config.json#/process/args: expected an array, found string "sh""#,
                r#"config.json#/process/env/1: expected a string, found 2"#,
                r#"config.json#/process/terminal: expected a boolean, found 1"#,
                r#"config.json#/process/user/additionalGids/1: expected an unsigned integer, found string "x""#,
                r#"config.json#/process/user/additionalGids/2: expected an unsigned 32-bit integer, found 4294967296"#,
                r#"config.json#/process/user/gid: expected an unsigned 32-bit integer, found -1"#,
                r#"config.json#/process/user/uid: expected an unsigned integer, found string "0""#,
                r#"config.json#/root: expected an object, found an array"#,
            ]
        );
        assert_eq!(
            errors(Document::Process, r#"{"cwd":false}"#),
            ["process.json#/cwd: expected a string, found boolean false"]
        );
        assert_eq!(
            errors(Document::Config, "[]"),
            ["config.json#: expected an object, found an array"]
        );
    }

    #[test]
    fn long_strings_are_cut_in_messages() {
        let json = format!(r#"{{"root":"{}"}}"#, "a".repeat(1 << 20));
        assert!(errors(Document::Config, &json)[0].len() < 200);
    }

    #[test]
    fn keys_without_effect_are_listed() {
        let json = r#"{"ociVersion":"1.0.0","x-me":{"y":1},"windows":{},"vm":null,"process":{"user":{"username":"u"},"arg":[]},
            "mounts":[{"Options":[]}],"annotations":{"any":"thing"},"linux":{"sysctl":{"*":"1"},"*":1,"seccomp":{"defaultAktion":"x"}}}"#;
        let listed: Vec<_> = ignored_keys(json.as_bytes())
            .iter()
            .map(|i| format!("{}: {}", i.pointer, i.reason))
            .collect();
        assert_eq!(
            listed,
            [
                "config.json#/linux/*: unknown to runtime-spec 1.3",
                "config.json#/linux/seccomp/defaultAktion: unknown to runtime-spec 1.3",
                "config.json#/mounts/0/Options: unknown to runtime-spec 1.3",
                "config.json#/process/arg: unknown to runtime-spec 1.3",
                "config.json#/process/user/username: for another platform than Linux",
                "config.json#/windows: for another platform than Linux",
                "config.json#/x-me: unknown to runtime-spec 1.3",
            ]
        );
    }

    #[test]
    fn a_document_too_deep_to_list_says_so() {
        let json = format!(r#"{{"x":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(ignored_keys(json.as_bytes()).len(), 1);
    }
}
