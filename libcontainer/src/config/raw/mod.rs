//! What the JSON says, as it says it: the shape of `config.json` without any rule about its content.
//!
//! Borrowed from the input where it can be. Reads as Go's decoder does, because that is what wrote the file: `null` is an absent key (or a zero
//! element of an array), of a key given twice the last one counts, unknown keys are passed over. These types end at the validation.
//!
//! A file is read once, by cold code: the readers are kept out of each other (`inline(never)`), which made them a quarter of the size and the first
//! reading a third faster.

mod linux;
mod process;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

pub use linux::*;
pub use process::*;

/// Declares an object: for each key of the JSON the field and its type; every field is an `Option`.
macro_rules! object {
    ($name:ident $(<$a:lifetime>)? { $($key:literal => $field:ident: $type:ty,)* }) => {
        #[derive(Debug, Default)]
        pub struct $name $(<$a>)? {
            $(pub $field: Option<$type>,)*
        }

        impl<'de $(: $a, $a)?> serde::Deserialize<'de> for $name $(<$a>)? {
            #[inline(never)]
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_map($crate::config::raw::Members::<Self>(std::marker::PhantomData))
            }
        }

        impl<'de $(: $a, $a)?> serde::de::Visitor<'de> for $crate::config::raw::Members<$name $(<$a>)?> {
            type Value = $name $(<$a>)?;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut object = $name::default();
                while let Some(key) = map.next_key::<$crate::config::raw::Text<'_>>()? {
                    match &*key {
                        $($key => object.$field = map.next_value()?,)*
                        _ => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(object)
            }
        }
    };
}
use object;

/// The visitor of a type that [`object!`] declares.
pub struct Members<T>(pub PhantomData<T>);

object! { Spec<'a> {
    "ociVersion" => oci_version: Text<'a>,
    "root" => root: Root<'a>,
    "process" => process: Process<'a>,
    "hostname" => hostname: Text<'a>,
    "domainname" => domainname: Text<'a>,
    "mounts" => mounts: List<Mount<'a>>,
    "hooks" => hooks: Hooks<'a>,
    "annotations" => annotations: Map<'a, Text<'a>>,
    "linux" => linux: Linux<'a>,
}}

object! { Root<'a> {
    "path" => path: Text<'a>,
    "readonly" => readonly: bool,
}}

object! { Mount<'a> {
    "destination" => destination: Text<'a>,
    "type" => fstype: Text<'a>,
    "source" => source: Text<'a>,
    "options" => options: List<Text<'a>>,
    "uidMappings" => uid_mappings: List<IdMapping>,
    "gidMappings" => gid_mappings: List<IdMapping>,
}}

object! { IdMapping {
    "containerID" => container: u32,
    "hostID" => host: u32,
    "size" => size: u32,
}}

object! { Hooks<'a> {
    "prestart" => prestart: List<Hook<'a>>,
    "createRuntime" => create_runtime: List<Hook<'a>>,
    "createContainer" => create_container: List<Hook<'a>>,
    "startContainer" => start_container: List<Hook<'a>>,
    "poststart" => poststart: List<Hook<'a>>,
    "poststop" => poststop: List<Hook<'a>>,
}}

object! { Hook<'a> {
    "path" => path: Text<'a>,
    "args" => args: List<Text<'a>>,
    "env" => env: List<Text<'a>>,
    "timeout" => timeout: i64,
}}

/// A string, borrowed unless it holds escapes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    #[inline(never)]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// An array; `null` elements are zero values.
#[derive(Debug)]
pub struct List<T>(Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for List<T> {
    #[inline(never)]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Members(PhantomData::<List<T>>))
    }
}

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Members<List<T>> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element::<Option<T>>()? {
            list.push(element.unwrap_or_default());
        }
        Ok(List(list))
    }
}

/// An object with keys of the user's choice; `null` values are zero values.
#[derive(Debug)]
pub struct Map<'a, T>(BTreeMap<Text<'a>, T>);

impl<T> Default for Map<'_, T> {
    fn default() -> Self {
        Map(BTreeMap::new())
    }
}

impl<'a, T> Deref for Map<'a, T> {
    type Target = BTreeMap<Text<'a>, T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de> + Default> Deserialize<'de> for Map<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData::<Map<'a, T>>))
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de> + Default> Visitor<'de> for Members<Map<'a, T>> {
    type Value = Map<'a, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<Text<'a>, Option<T>>()? {
            members.insert(key, value.unwrap_or_default());
        }
        Ok(Map(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_gos_decoder_does() {
        let json = r#"{"hostname":"a","hostname":"b","domainname":null,"mounts":[null,{"options":[null,"ro"]}],"x":{"y":[]},"annotations":{"k":"1","k":null}}"#;
        let spec: Spec<'_> = serde_json::from_str(json).expect("valid");
        assert_eq!(spec.hostname.as_deref(), Some("b"));
        assert!(spec.domainname.is_none());
        let mounts = spec.mounts.expect("given");
        assert_eq!(mounts.len(), 2);
        assert_eq!(
            mounts[1]
                .options
                .as_ref()
                .map(|o| (o.len(), &*o[0], &*o[1])),
            Some((2, "", "ro"))
        );
        assert_eq!(
            spec.annotations
                .expect("given")
                .values()
                .map(|v| &**v)
                .collect::<Vec<_>>(),
            [""]
        );
    }

    #[test]
    fn strings_are_borrowed_unless_escaped() {
        let spec: Spec<'_> =
            serde_json::from_str(r#"{"hostname":"plain","domainname":"a\u0062"}"#).expect("valid");
        assert!(matches!(spec.hostname, Some(Text(Cow::Borrowed("plain")))));
        assert!(matches!(spec.domainname, Some(Text(Cow::Owned(text))) if text == "ab"));
    }

    #[test]
    fn unknown_keys_may_nest_without_bound() {
        let json = format!(
            r#"{{"x":{}{},"hostname":"h"}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        let spec: Spec<'_> = serde_json::from_str(&json).expect("valid");
        assert_eq!(spec.hostname.as_deref(), Some("h"));
    }
}
