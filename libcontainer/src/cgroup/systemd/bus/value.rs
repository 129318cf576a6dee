//! The values that are sent to a bus: the types that systemd's unit properties have, and no others.

use super::wire::Writer;

/// A typed value, as it stands in a variant.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    F64(f64),
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

impl Value {
    /// Its D-Bus signature.
    pub fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::Byte(_) => "y",
            Value::I16(_) => "n",
            Value::U16(_) => "q",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::F64(_) => "d",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Bytes(_) => "ay",
            Value::Numbers(_) => "au",
            Value::Pairs(_) => "a(ss)",
        }
    }

    /// Writes it with its signature before it.
    pub(super) fn write_variant(&self, to: &mut Writer) {
        to.signature(self.signature());
        match self {
            Value::Bool(value) => to.u32(u32::from(*value)),
            Value::Byte(value) => to.byte(*value),
            Value::I16(value) => to.u16(value.cast_unsigned()),
            Value::U16(value) => to.u16(*value),
            Value::I32(value) => to.u32(value.cast_unsigned()),
            Value::U32(value) => to.u32(*value),
            Value::I64(value) => to.u64(value.cast_unsigned()),
            Value::U64(value) => to.u64(*value),
            Value::F64(value) => to.u64(value.to_bits()),
            Value::Text(text) => to.text(text),
            Value::Texts(texts) => to.array(4, |to| texts.iter().for_each(|text| to.text(text))),
            Value::Bytes(bytes) => to.array(1, |to| bytes.iter().for_each(|&byte| to.byte(byte))),
            Value::Numbers(numbers) => {
                to.array(4, |to| numbers.iter().for_each(|&number| to.u32(number)));
            }
            Value::Pairs(pairs) => to.array(8, |to| {
                for (first, second) in pairs {
                    to.align(8);
                    to.text(first);
                    to.text(second);
                }
            }),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}
