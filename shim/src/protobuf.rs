//! The little of protobuf's wire format that a reply needs: fields of strings, bytes and messages (protobuf.dev, "Encoding").

/// A message being written; its fields stand in the order of the calls.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// A field of type string, bytes or message: all three are a length and the bytes.
    #[must_use]
    pub fn field(mut self, number: u8, bytes: impl AsRef<[u8]>) -> Message {
        const LENGTH_DELIMITED: u8 = 2;
        let bytes = bytes.as_ref();
        debug_assert!((1..=15).contains(&number), "the tag is one byte");
        self.0.push(number << 3 | LENGTH_DELIMITED);
        let mut length = bytes.len();
        while length > 0x7f {
            self.0.push(0x80 | (length & 0x7f) as u8);
            length >>= 7;
        }
        self.0.push(length as u8);
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_format() {
        assert_eq!(
            Message::default().field(2, "testing").into_bytes(),
            b"\x12\x07testing"
        );
        let inner = Message::default().field(1, [0u8; 0]);
        assert_eq!(
            Message::default().field(3, inner).into_bytes(),
            b"\x1a\x02\x0a\x00"
        );
    }

    #[test]
    fn a_long_field_has_a_length_of_two_bytes() {
        let bytes = Message::default().field(1, [7u8; 300]).into_bytes();
        assert_eq!(&bytes[..4], b"\x0a\xac\x02\x07");
        assert_eq!(bytes.len(), 303);
    }
}
