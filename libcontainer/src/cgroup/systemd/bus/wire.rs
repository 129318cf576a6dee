//! D-Bus marshalling: bytes from values and values from bytes (dbus-specification.html "Marshaling").
//!
//! The reader is given what a bus sent, which may be anything: every length is checked before it is used, every step is bounded by the
//! bytes that are there, and nothing panics. The writer writes little-endian; the reader takes both orders.

/// The nesting that the specification allows: 32 arrays and 32 structs.
const DEPTH_MAX: usize = 64;
/// What we send is far smaller; the specification allows 128 MiB.
pub const MESSAGE_MAX: usize = 4 << 20;

/// Bytes that are no valid D-Bus, or more than we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Values appended, each at its alignment.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    /// What cannot be written, found on the way and told at the end.
    wrong: Option<Malformed>,
}

impl Writer {
    /// What was written. Errors: a text with a NUL, or more than [`MESSAGE_MAX`].
    pub fn finish(self) -> Result<Vec<u8>, Malformed> {
        match self.wrong {
            Some(wrong) => Err(wrong),
            None if self.bytes.len() > MESSAGE_MAX => Err(Malformed("the message is too long")),
            None => Ok(self.bytes),
        }
    }

    pub fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.align(2);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A string or an object path.
    pub fn text(&mut self, text: &str) {
        if text.contains('\0') {
            self.wrong = Some(Malformed("a text cannot hold a NUL"));
        }
        self.u32(self.length(text.len()));
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    pub fn signature(&mut self, signature: &str) {
        let length = u8::try_from(signature.len()).unwrap_or_else(|_| {
            self.wrong = Some(Malformed("the signature is too long"));
            0
        });
        self.bytes.push(length);
        self.bytes.extend_from_slice(signature.as_bytes());
        self.bytes.push(0);
    }

    /// An array of elements with this alignment, which `fill` appends.
    pub fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let place = self.bytes.len();
        // The padding before the first element does not count, and is there even without one.
        self.align(alignment);
        let start = self.bytes.len();
        fill(self);
        let length = self.length(self.bytes.len() - start);
        self.bytes[place - 4..place].copy_from_slice(&length.to_le_bytes());
    }

    /// A length over 4 GiB is over [`MESSAGE_MAX`] too, and told at the end.
    fn length(&self, length: usize) -> u32 {
        u32::try_from(length).unwrap_or(u32::MAX)
    }
}

/// Values taken off, each at its alignment relative to the start of the bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8], big_endian: bool) -> Reader<'a> {
        Reader {
            bytes,
            at: 0,
            big_endian,
        }
    }

    /// How much was taken.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let aligned = self.at.next_multiple_of(to);
        self.take(aligned - self.at).map(drop)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(Malformed("the message is cut short"))?;
        self.at += length;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.u32()?).map_err(|_| Malformed("a length is too large"))
    }

    /// A string or an object path.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.length()?;
        self.terminated(length)
    }

    pub fn signature(&mut self) -> Result<&'a str, Malformed> {
        let length = usize::from(self.byte()?);
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let text = self.take(length)?;
        if self.byte()? != 0 || text.contains(&0) {
            return Err(Malformed("a text is not NUL-terminated"));
        }
        std::str::from_utf8(text).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// The start of an array whose elements have this alignment: where it ends.
    pub fn array(&mut self, alignment: usize) -> Result<usize, Malformed> {
        let length = self.length()?;
        self.align(alignment)?;
        let end = self.at.checked_add(length);
        end.filter(|&end| end <= self.bytes.len())
            .ok_or(Malformed("an array is longer than its message"))
    }

    /// Passes over one value of each type in `signature`.
    pub fn skip(&mut self, signature: &str) -> Result<(), Malformed> {
        self.skip_all(signature.as_bytes(), 0)
    }

    fn skip_all(&mut self, mut signature: &[u8], depth: usize) -> Result<(), Malformed> {
        while !signature.is_empty() {
            let (first, rest) = split_first_type(signature)?;
            self.skip_one(first, depth)?;
            signature = rest;
        }
        Ok(())
    }

    /// `signature` is one complete type.
    fn skip_one(&mut self, signature: &[u8], depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed("a value is nested too deeply"));
        }
        match signature {
            [b's' | b'o'] => self.text().map(drop),
            [b'g'] => self.signature().map(drop),
            [b'v'] => {
                let inner = self.signature()?.as_bytes();
                let (first, rest) = split_first_type(inner)?;
                if !rest.is_empty() {
                    return Err(Malformed("a variant holds more than one value"));
                }
                self.skip_one(first, depth + 1)
            }
            // Its length says where it ends; its elements are not looked at.
            [b'a', element @ ..] => {
                self.at = self.array(alignment_of(element))?;
                Ok(())
            }
            [b'(', members @ .., b')'] | [b'{', members @ .., b'}'] => {
                self.align(8)?;
                self.skip_all(members, depth + 1)
            }
            // Everything else is as long as it is aligned.
            simple => {
                let length = alignment_of(simple);
                self.align(length)?;
                self.take(length).map(drop)
            }
        }
    }
}

/// The first complete type of a signature, and the rest.
fn split_first_type(signature: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let wrong = Malformed("a signature is not valid");
    let mut open = Vec::new();
    for (place, &letter) in signature.iter().enumerate() {
        match letter {
            b'(' => open.push(b')'),
            b'{' => open.push(b'}'),
            b')' | b'}' if open.pop() != Some(letter) => return Err(wrong),
            b')' | b'}' | b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b'h'
            | b's' | b'o' | b'g' | b'v' => {}
            // What it is an array of follows.
            b'a' => continue,
            _ => return Err(wrong),
        }
        if open.is_empty() {
            return Ok(signature.split_at(place + 1));
        }
    }
    Err(wrong)
}

fn alignment_of(signature: &[u8]) -> usize {
    match signature.first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}
