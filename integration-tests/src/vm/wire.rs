//! Frames on a serial port: the two ends find each other again after either has been killed in the middle of one.
//!
//! A frame is a session's number, a kind and a payload, between two END bytes, with END and ESC escaped inside as in RFC 1055. What is cut short
//! is thus ended by the next frame's first byte, and frames of a session that is over are told by their number. The port itself loses nothing.

use std::io::{self, BufRead, Write};

const END: u8 = 0xc0;
const ESC: u8 = 0xdb;
const ESC_END: u8 = 0xdc;
const ESC_ESC: u8 = 0xdd;
/// More than any sender puts into one.
const LONGEST: usize = 1 << 20;

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To the guest: a [`Request`](super::session::Request) as JSON, which begins a session.
    Open = 1,
    /// To the guest: bytes of stdin, or of the file.
    Input = 2,
    /// To the guest: no more of them.
    InputEnd = 3,
    /// To the host: bytes of stdout.
    Output = 4,
    /// To the host: bytes of stderr.
    Errors = 5,
    /// To the host: the status, four bytes, little endian. The session is over.
    Exit = 6,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        use Kind::{Errors, Exit, Input, InputEnd, Open, Output};
        [Open, Input, InputEnd, Output, Errors, Exit]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// A number that the host chose when it opened the session.
    pub session: u32,
    /// What it is about.
    pub kind: Kind,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Writes the frame in one call.
    pub fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = vec![END];
        let head = self.session.to_le_bytes();
        for byte in head
            .iter()
            .chain(&[self.kind as u8])
            .chain(&self.payload)
            .copied()
        {
            match byte {
                END => bytes.extend([ESC, ESC_END]),
                ESC => bytes.extend([ESC, ESC_ESC]),
                other => bytes.push(other),
            }
        }
        bytes.push(END);
        to.write_all(&bytes)?;
        to.flush()
    }

    /// The next whole frame; none when nobody is at the other end.
    pub fn receive(from: &mut impl BufRead) -> io::Result<Option<Frame>> {
        let mut raw = Vec::new();
        loop {
            if from.read_until(END, &mut raw)? == 0 {
                return Ok(None);
            }
            if raw.last() != Some(&END) {
                continue;
            }
            raw.pop();
            if let Some(frame) = parse(&raw) {
                return Ok(Some(frame));
            }
            // Nothing between two frames, or one that was cut short.
            raw.clear();
        }
    }
}

fn parse(raw: &[u8]) -> Option<Frame> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut left = raw.iter();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            &ESC => match left.next() {
                Some(&ESC_END) => END,
                Some(&ESC_ESC) => ESC,
                _ => return None,
            },
            other => *other,
        });
    }
    let (head, payload) = bytes.split_at_checked(5)?;
    if payload.len() > LONGEST {
        return None;
    }
    Some(Frame {
        session: u32::from_le_bytes(head[..4].try_into().ok()?),
        kind: Kind::of(head[4])?,
        payload: payload.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Frame {
        Frame {
            session: 0xc0db_dcdd,
            kind: Kind::Input,
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn every_byte_comes_through() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        let mut sent = Vec::new();
        frame(&all).send(&mut sent).unwrap();
        frame(b"").send(&mut sent).unwrap();
        let mut from = sent.as_slice();
        assert_eq!(Frame::receive(&mut from).unwrap(), Some(frame(&all)));
        assert_eq!(Frame::receive(&mut from).unwrap(), Some(frame(b"")));
        assert_eq!(Frame::receive(&mut from).unwrap(), None);
    }

    #[test]
    fn what_was_cut_short_is_passed_over() {
        let mut sent = Vec::new();
        frame(b"lost").send(&mut sent).unwrap();
        sent.truncate(7);
        frame(b"whole").send(&mut sent).unwrap();
        assert_eq!(
            Frame::receive(&mut sent.as_slice()).unwrap(),
            Some(frame(b"whole"))
        );
    }
}
