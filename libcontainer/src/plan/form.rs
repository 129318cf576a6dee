//! The library's own form of a plan, and how it becomes the buffer that the stage reads.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use stage::wire::{Form, Put, Sink, put_header, put_list, put_words};

use super::Planned;

/// Steps whose strings and arrays live on the library's heap.
#[derive(Debug, Clone, Copy)]
pub struct Owned;

impl Form for Owned {
    type Text = Text;
    type List = Texts;
    type Words = Numbers;
}

/// A string for the kernel.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Text(pub CString);

/// Strings for the kernel: an argv, an envp, mount options.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Texts(pub Vec<CString>);

/// An array of numbers: groups, a bit mask.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Numbers(pub Vec<u64>);

impl Text {
    /// `bytes` up to its first NUL; the validation leaves none in, and cut short the string cannot mean more than what was checked.
    pub fn new(bytes: impl AsRef<[u8]>) -> Text {
        let bytes = bytes.as_ref();
        let end = bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len());
        Text(CString::new(&bytes[..end]).unwrap_or_default())
    }

    /// A host path.
    pub fn path(path: &Path) -> Text {
        Text::new(path.as_os_str().as_bytes())
    }

    /// For people.
    pub fn show(&self) -> std::borrow::Cow<'_, str> {
        self.0.to_string_lossy()
    }
}

impl From<&CStr> for Text {
    fn from(text: &CStr) -> Text {
        Text(text.to_owned())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::new(text)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Put for Text {
    fn put(&self, sink: &mut impl Sink) {
        self.0.as_c_str().put(sink);
    }
}

impl Put for Texts {
    fn put(&self, sink: &mut impl Sink) {
        put_list(self.0.iter().map(CString::as_c_str), sink);
    }
}

impl Put for Numbers {
    fn put(&self, sink: &mut impl Sink) {
        put_words(&self.0, sink);
    }
}

/// The buffer the stage reads (see [`stage::wire`]): `fds` are the numbers that the plan's slots have in the stage, in the slots' order.
pub(super) fn encode(steps: &[Planned], preserved: u32, fds: &[RawFd]) -> Vec<u8> {
    let mut length = Length(0);
    write(steps, preserved, fds, &mut length);
    let mut buffer = Buffer(Vec::with_capacity(length.0));
    write(steps, preserved, fds, &mut buffer);
    buffer.0
}

fn write(steps: &[Planned], preserved: u32, fds: &[RawFd], sink: &mut impl Sink) {
    // Neither count comes near its type's end: a plan has some hundreds of steps and at most a dozen slots.
    let count = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    put_header(count, preserved, fds, sink);
    for planned in steps {
        planned.on_error.put(sink);
        planned.step.put(sink);
    }
}

/// Measures a plan, so that its buffer is allocated once.
struct Length(usize);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

struct Buffer(Vec<u8>);

impl Sink for Buffer {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}
