//! From JSON to a [`Profile`].

use serde_json::{Map, Value};

use super::reading::{Given, RawCondition, RawRule, Reading};
use super::{Invalid, Profile};

const OBJECT: &str = "an object";
const ARRAY: &str = "an array";
const TEXT: &str = "a string";
const NUMBER: &str = "a whole number that is not negative";

impl Profile {
    /// Reads the OCI `linux.seccomp` object. Errors: every fault, with its pointer.
    pub fn from_value(value: &Value) -> Result<Self, Invalid> {
        let Value::Object(object) = value else {
            return Err(Invalid::type_of_all(OBJECT));
        };
        let mut reading = Reading::default();
        reading.default_action(
            text(object, "defaultAction"),
            number(object, "defaultErrnoRet"),
        );
        reading.architectures(list(object, "architectures").map(texts));
        reading.flags(list(object, "flags").map(texts));
        reading.listener_path(text(object, "listenerPath"));
        reading.listener_metadata(text(object, "listenerMetadata"));
        reading.rules(list(object, "syscalls").map(|rules| {
            rules.iter().map(|rule| {
                self::object(rule).map(|rule| RawRule {
                    names: list(rule, "names").map(texts),
                    action: text(rule, "action"),
                    errno: number(rule, "errnoRet"),
                    conditions: list(rule, "args").map(conditions),
                })
            })
        }));
        reading.finish()
    }
}

fn conditions(list: &[Value]) -> impl Iterator<Item = Given<RawCondition<'_>>> {
    list.iter().map(|condition| {
        object(condition).map(|condition| RawCondition {
            index: number(condition, "index"),
            value: number(condition, "value"),
            second: number(condition, "valueTwo"),
            operator: text(condition, "op"),
        })
    })
}

fn texts(list: &[Value]) -> impl Iterator<Item = Given<&str>> {
    list.iter().map(|word| match word {
        Value::String(text) => Given::Value(text.as_str()),
        _ => Given::Other(TEXT),
    })
}

fn object(value: &Value) -> Given<&Map<String, Value>> {
    value.as_object().map_or(Given::Other(OBJECT), Given::Value)
}

fn text<'v>(object: &'v Map<String, Value>, key: &str) -> Given<&'v str> {
    member(object, key, TEXT, Value::as_str)
}

fn number(object: &Map<String, Value>, key: &str) -> Given<u64> {
    member(object, key, NUMBER, Value::as_u64)
}

fn list<'v>(object: &'v Map<String, Value>, key: &str) -> Given<&'v [Value]> {
    member(object, key, ARRAY, |value| {
        value.as_array().map(Vec::as_slice)
    })
}

/// Null is an absent key.
fn member<'v, T>(
    object: &'v Map<String, Value>,
    key: &str,
    expected: &'static str,
    read: impl Fn(&'v Value) -> Option<T>,
) -> Given<T> {
    match object.get(key) {
        None | Some(Value::Null) => Given::Absent,
        Some(value) => read(value).map_or(Given::Other(expected), Given::Value),
    }
}
