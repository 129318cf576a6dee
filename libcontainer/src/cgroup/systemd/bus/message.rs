//! D-Bus messages: a call as bytes, and what comes back (dbus-specification.html "Message Format").

use super::value::Value;
use super::wire::{MESSAGE_MAX, Malformed, Reader, Writer};

/// What a message is. Kinds that we do not know must be passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Call,
    Return,
    Error,
    Signal,
    Unknown,
}

// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

const NO_REPLY_EXPECTED: u8 = 1;
/// Bytes before the header fields, the length of their array included.
pub const HEAD: usize = 16;

/// A method to call.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub arguments: &'a [Argument<'a>],
    /// Whether an answer is wanted.
    pub answered: bool,
}

/// An argument of a method.
#[derive(Debug, Clone, Copy)]
pub enum Argument<'a> {
    Text(&'a str),
    Bool(bool),
    /// `a(sv)`: unit properties.
    Properties(&'a [(String, Value)]),
    /// `a(sa(sv))`: the auxiliary units of StartTransientUnit, of which we have none.
    NoUnits,
    /// `au`
    Numbers(&'a [u32]),
}

impl Argument<'_> {
    fn signature(&self) -> &'static str {
        match self {
            Argument::Text(_) => "s",
            Argument::Bool(_) => "b",
            Argument::Properties(_) => "a(sv)",
            Argument::NoUnits => "a(sa(sv))",
            Argument::Numbers(_) => "au",
        }
    }

    fn write(&self, to: &mut Writer) {
        match self {
            Argument::Text(text) => to.text(text),
            Argument::Bool(value) => to.u32(u32::from(*value)),
            Argument::Properties(properties) => to.array(8, |to| {
                for (name, value) in *properties {
                    to.align(8);
                    to.text(name);
                    value.write_variant(to);
                }
            }),
            Argument::NoUnits => to.array(8, |_| {}),
            Argument::Numbers(numbers) => {
                to.array(4, |to| numbers.iter().for_each(|&number| to.u32(number)));
            }
        }
    }
}

impl Call<'_> {
    /// The message. Errors: an argument that cannot be sent.
    pub fn encode(&self, serial: u32) -> Result<Vec<u8>, Malformed> {
        let mut body = Writer::default();
        self.arguments.iter().for_each(|one| one.write(&mut body));
        let body = body.finish()?;
        let signature: String = self.arguments.iter().map(Argument::signature).collect();

        let mut message = Writer::default();
        message.byte(b'l');
        message.byte(1);
        message.byte(if self.answered { 0 } else { NO_REPLY_EXPECTED });
        message.byte(1);
        message.u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
        message.u32(serial);
        message.array(8, |to| {
            let fields = [
                (PATH, "o", self.path),
                (INTERFACE, "s", self.interface),
                (MEMBER, "s", self.member),
                (DESTINATION, "s", self.destination),
            ];
            for (field, kind, text) in fields {
                to.align(8);
                to.byte(field);
                to.signature(kind);
                to.text(text);
            }
            if !signature.is_empty() {
                to.align(8);
                to.byte(SIGNATURE);
                to.signature("g");
                to.signature(&signature);
            }
        });
        message.align(8);
        let mut message = message.finish()?;
        message.extend_from_slice(&body);
        Ok(message)
    }
}

/// A message that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    pub reply_serial: Option<u32>,
    pub path: Option<String>,
    pub interface: Option<String>,
    pub member: Option<String>,
    pub error_name: Option<String>,
    /// Absent between two ends without a bus.
    pub sender: Option<String>,
    pub signature: String,
    body: Vec<u8>,
    big_endian: bool,
}

/// The length of the message that begins with `head`. Errors: no D-Bus of version 1, or longer than we take.
pub fn length(head: &[u8; HEAD]) -> Result<usize, Malformed> {
    let big_endian = match head[0] {
        b'l' => false,
        b'B' => true,
        _ => return Err(Malformed("the message has no byte order")),
    };
    if head[3] != 1 {
        return Err(Malformed("the message is not of protocol version 1"));
    }
    let mut reader = Reader::new(head, big_endian);
    reader.skip("yyyy")?;
    let body = u64::from(reader.u32()?);
    reader.u32()?;
    let fields = u64::from(reader.u32()?);
    let length = HEAD as u64 + fields.next_multiple_of(8) + body;
    usize::try_from(length)
        .ok()
        .filter(|&length| length <= MESSAGE_MAX)
        .ok_or(Malformed("the message is too long"))
}

impl Message {
    /// The message that `bytes`, of the [`length`] that their head says, hold.
    pub fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
        let short = Malformed("the message is cut short");
        let head = bytes.first_chunk::<HEAD>().ok_or(short)?;
        if length(head)? != bytes.len() {
            return Err(short);
        }
        let big_endian = head[0] == b'B';
        let mut message = Message {
            kind: match head[1] {
                1 => Kind::Call,
                2 => Kind::Return,
                3 => Kind::Error,
                4 => Kind::Signal,
                _ => Kind::Unknown,
            },
            reply_serial: None,
            path: None,
            interface: None,
            member: None,
            error_name: None,
            sender: None,
            signature: String::new(),
            body: Vec::new(),
            big_endian,
        };
        let mut reader = Reader::new(bytes, big_endian);
        reader.skip("yyyyuu")?;
        let end = reader.array(8)?;
        while reader.position() < end {
            reader.align(8)?;
            message.read_field(&mut reader)?;
        }
        if reader.position() != end {
            return Err(Malformed("a header field is longer than the header"));
        }
        reader.align(8)?;
        message.body = bytes[reader.position()..].to_vec();
        Ok(message)
    }

    fn read_field(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let (field, signature) = (reader.byte()?, reader.signature()?);
        let text = |reader: &mut Reader<'_>| Ok(Some(reader.text()?.to_owned()));
        match (field, signature) {
            (PATH, "o") => self.path = text(reader)?,
            (INTERFACE, "s") => self.interface = text(reader)?,
            (MEMBER, "s") => self.member = text(reader)?,
            (ERROR_NAME, "s") => self.error_name = text(reader)?,
            (SENDER, "s") => self.sender = text(reader)?,
            (REPLY_SERIAL, "u") => self.reply_serial = Some(reader.u32()?),
            (SIGNATURE, "g") => self.signature = reader.signature()?.to_owned(),
            (PATH..=SIGNATURE, "o" | "s" | "u" | "g") if field != DESTINATION => {
                return Err(Malformed("a header field is of the wrong type"));
            }
            // The destination is us; fields that we do not know must be passed over.
            (_, signature) => reader.skip(signature)?,
        }
        Ok(())
    }

    /// The body, which must be of this signature.
    pub fn body(&self, signature: &str) -> Result<Reader<'_>, Malformed> {
        if self.signature != signature {
            return Err(Malformed("the answer is of another type than asked for"));
        }
        Ok(Reader::new(&self.body, self.big_endian))
    }

    /// The text of an error, which is its first argument if that is one.
    pub fn error_text(&self) -> String {
        if !self.signature.starts_with('s') {
            return String::new();
        }
        let text = Reader::new(&self.body, self.big_endian)
            .text()
            .map(str::to_owned);
        text.unwrap_or_default()
    }
}
