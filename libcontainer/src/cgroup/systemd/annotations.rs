//! `org.systemd.property.NAME` annotations: more properties for the unit, from a list that is compiled in (R10).
//!
//! Annotations reach a runtime from people who may not administer the machine (CVE-2024-3154: a pod's annotation became a property that
//! executes a program). So only properties that concern the unit's own life are taken: none that runs anything, touches another unit, widens
//! access or lifts a limit. Any other is an error that names it; nothing is passed over in silence. Pure.

use std::collections::BTreeMap;

use crate::config::ConfigErrors;
use crate::error::{Error, Pointer};

use super::bus::Value;
use super::properties::Property;
use super::variant;

/// What the keys begin with.
pub const PREFIX: &str = "org.systemd.property.";

/// With the signature that systemd wants.
const ALLOWED: &[(&str, &str)] = &[
    ("After", "as"),
    ("Before", "as"),
    ("CollectMode", "s"),
    ("DefaultDependencies", "b"),
    ("Description", "s"),
    ("Documentation", "as"),
    ("FinalKillSignal", "i"),
    ("KillMode", "s"),
    ("KillSignal", "i"),
    ("ManagedOOMMemoryPressure", "s"),
    ("ManagedOOMMemoryPressureLimit", "u"),
    ("ManagedOOMSwap", "s"),
    ("OOMPolicy", "s"),
    ("RuntimeMaxUSec", "t"),
    ("SendSIGHUP", "b"),
    ("SendSIGKILL", "b"),
    ("TimeoutStopUSec", "t"),
];

/// The properties that annotations ask for, in the order of their keys. Errors: InvalidConfig with the annotation's pointer.
pub fn properties(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, Error> {
    let mut properties = Vec::new();
    for (key, value) in annotations {
        if let Some(name) = key.strip_prefix(PREFIX) {
            let at = Pointer::CONFIG.key("annotations").key(key);
            let property =
                property(name, value).map_err(|reason| ConfigErrors::one(at.clone(), reason))?;
            properties.push(Property {
                at: Some(at),
                ..property
            });
        }
    }
    Ok(properties)
}

fn property(name: &str, text: &str) -> Result<Property, String> {
    let in_seconds = name
        .strip_suffix("Sec")
        .filter(|stem| stem.ends_with(|letter: char| letter.is_ascii_lowercase()));
    let name = in_seconds.map_or_else(|| name.to_owned(), |stem| format!("{stem}USec"));
    let Some((_, signature)) = ALLOWED.iter().find(|(allowed, _)| *allowed == name) else {
        let names: Vec<_> = ALLOWED.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "the unit property {name:?} may not be set by an annotation (those that may: {})",
            names.join(", ")
        ));
    };
    let mut value = variant::parse(text).map_err(|reason| format!("{text:?} {reason}"))?;
    if in_seconds.is_some() {
        value = microseconds(&value).ok_or_else(|| format!("{text:?} is no number of seconds"))?;
    }
    let found = value.signature();
    let value = as_type(value, signature).ok_or_else(|| {
        format!("{text:?} has the D-Bus type {found:?}, the property {name:?} wants {signature:?}")
    })?;
    Ok(Property::new(&name, value))
}

fn microseconds(value: &Value) -> Option<Value> {
    const SECOND: f64 = 1e6;
    let whole = |seconds: i128| u64::try_from(seconds.checked_mul(1_000_000)?).ok();
    let result = match value {
        Value::F64(seconds) => {
            let micro = seconds * SECOND;
            // Up to here every whole number has its own f64.
            let exact = (0.0..=9_007_199_254_740_992.0).contains(&micro);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let micro = micro as u64;
            exact.then_some(micro)
        }
        number => whole(integer(number)?),
    };
    result.map(Value::U64)
}

fn integer(value: &Value) -> Option<i128> {
    Some(match value {
        Value::Byte(value) => (*value).into(),
        Value::I16(value) => (*value).into(),
        Value::U16(value) => (*value).into(),
        Value::I32(value) => (*value).into(),
        Value::U32(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        _ => return None,
    })
}

/// The value in the type that systemd wants: a number without a type is an int32 in GVariant, which hardly any property is.
fn as_type(value: Value, signature: &str) -> Option<Value> {
    if value.signature() == signature {
        return Some(value);
    }
    match (signature, &value) {
        ("t", _) => u64::try_from(integer(&value)?).ok().map(Value::U64),
        ("u", _) => u32::try_from(integer(&value)?).ok().map(Value::U32),
        ("i", _) => i32::try_from(integer(&value)?).ok().map(Value::I32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> String {
        let annotations = BTreeMap::from([
            ("other".to_owned(), "x".to_owned()),
            (format!("{PREFIX}{name}"), text.to_owned()),
        ]);
        match properties(&annotations) {
            Ok(properties) => {
                assert_eq!(properties.len(), 1);
                format!("{}={:?}", properties[0].name, properties[0].value)
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn annotations_become_properties() {
        let table = [
            (
                "CollectMode",
                "'inactive'",
                "CollectMode=Text(\"inactive\")",
            ),
            ("TimeoutStopUSec", "uint64 30", "TimeoutStopUSec=U64(30)"),
            ("TimeoutStopSec", "30", "TimeoutStopUSec=U64(30000000)"),
            ("TimeoutStopSec", "1.5", "TimeoutStopUSec=U64(1500000)"),
            ("TimeoutStopSec", "uint64 7", "TimeoutStopUSec=U64(7000000)"),
            (
                "DefaultDependencies",
                "true",
                "DefaultDependencies=Bool(true)",
            ),
            (
                "After",
                "['a.service', 'b.service']",
                "After=Texts([\"a.service\", \"b.service\"])",
            ),
            ("Before", "@as []", "Before=Texts([])"),
            ("KillSignal", "9", "KillSignal=I32(9)"),
        ];
        for (name, text, expected) in table {
            assert_eq!(of(name, text), expected, "{name} {text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_pointer() {
        for name in [
            "ExecStopPost",
            "OnFailure",
            "Conflicts",
            "DeviceAllow",
            "MemoryMax",
            "PIDs",
            "Slice",
            "Delegate",
            "",
            "x",
            "After/x",
        ] {
            let said = of(name, "true");
            let place = format!(
                "config.json#/annotations/org.systemd.property.{}: ",
                name.replace('/', "~1")
            );
            assert!(said.starts_with(&place), "{said}");
            assert!(said.contains("may not be set by an annotation"), "{said}");
        }
        let table = [
            (
                "CollectMode",
                "inactive",
                "is not a value in GVariant text form",
            ),
            ("CollectMode", "true", "has the D-Bus type \"b\""),
            ("CollectMode", "'a\0b'", "holds a NUL"),
            ("TimeoutStopSec", "'x'", "is no number of seconds"),
            ("TimeoutStopSec", "-1", "is no number of seconds"),
            (
                "TimeoutStopSec",
                "uint64 18446744073709551615",
                "is no number of seconds",
            ),
            ("TimeoutStopSec", "1e300", "is no number of seconds"),
            ("TimeoutStopUSec", "-1", "has the D-Bus type \"i\""),
        ];
        for (name, text, expected) in table {
            let said = of(name, text);
            assert!(said.contains(expected), "{said}");
        }
    }
}
