//! The plan on its way from the library to the stage: one relocatable buffer without pointers.
//!
//! ```text
//! u32 steps   u32 preserved   u8 slots   i32 fd × slots   entry × steps
//! entry: u8 on_error   u8 errno × 4   u8 tag   fields in order
//! string: u32 length (NUL included)   bytes   NUL        list: u32 count   u32 bytes   string × count
//! ```
//! The writer is the library, which is trusted; still every read is checked, since an overrun here would happen with host privilege.

use core::ffi::CStr;

/// Where encoded bytes go; the library implements it for its buffer, so that this crate needs no heap.
pub trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

/// The two forms a plan has: owned by the library, borrowed from the buffer by the stage.
pub trait Form {
    type Text;
    type List;
    type Words;
}

/// The stage's form: everything points into the buffer.
#[derive(Debug, Clone, Copy)]
pub struct Wire<'p>(core::marker::PhantomData<&'p ()>);

impl<'p> Form for Wire<'p> {
    type Text = &'p CStr;
    type List = List<'p>;
    type Words = Words<'p>;
}

/// A value that can be written into a plan.
pub trait Put {
    fn put(&self, sink: &mut impl Sink);
}

/// A value that can be read from a plan; `None` when the buffer does not hold one.
pub trait Take<'p>: Sized {
    fn take(reader: &mut Reader<'p>) -> Option<Self>;
}

/// Reads a plan from its start to its end.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'p> {
    rest: &'p [u8],
}

impl<'p> Reader<'p> {
    pub fn new(bytes: &'p [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub fn bytes(&mut self, count: usize) -> Option<&'p [u8]> {
        let (head, tail) = self.rest.split_at_checked(count)?;
        self.rest = tail;
        Some(head)
    }

    pub fn take<T: Take<'p>>(&mut self) -> Option<T> {
        T::take(self)
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Put for $number {
            fn put(&self, sink: &mut impl Sink) {
                sink.put(&self.to_le_bytes());
            }
        }
        impl<'p> Take<'p> for $number {
            fn take(reader: &mut Reader<'p>) -> Option<Self> {
                let bytes = reader.bytes(size_of::<$number>())?;
                Some(<$number>::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, i32, i64);

impl Put for bool {
    fn put(&self, sink: &mut impl Sink) {
        u8::from(*self).put(sink);
    }
}

impl<'p> Take<'p> for bool {
    fn take(reader: &mut Reader<'p>) -> Option<Self> {
        Some(u8::take(reader)? != 0)
    }
}

impl Put for CStr {
    fn put(&self, sink: &mut impl Sink) {
        let bytes = self.to_bytes_with_nul();
        // Strings of a config.json are far below 4 GiB; the reader would refuse a cut length.
        (u32::try_from(bytes.len()).unwrap_or(u32::MAX)).put(sink);
        sink.put(bytes);
    }
}

impl<'p> Take<'p> for &'p CStr {
    fn take(reader: &mut Reader<'p>) -> Option<Self> {
        let length = usize::try_from(u32::take(reader)?).ok()?;
        CStr::from_bytes_with_nul(reader.bytes(length)?).ok()
    }
}

/// A list of strings inside the buffer.
#[derive(Clone, Copy)]
pub struct List<'p> {
    count: u32,
    reader: Reader<'p>,
}

impl<'p> List<'p> {
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &'p CStr> + use<'p> {
        let mut reader = self.reader;
        (0..self.count).map_while(move |_| reader.take::<&CStr>())
    }

    pub fn first(&self) -> Option<&'p CStr> {
        self.iter().next()
    }
}

/// Prints the strings, so that both forms of a step look alike.
impl core::fmt::Debug for List<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'p> Take<'p> for List<'p> {
    fn take(reader: &mut Reader<'p>) -> Option<Self> {
        let count = u32::take(reader)?;
        let bytes = usize::try_from(u32::take(reader)?).ok()?;
        Some(List {
            count,
            reader: Reader::new(reader.bytes(bytes)?),
        })
    }
}

/// Writes a list the way [`List`] reads it.
pub fn put_list<'a>(strings: impl Iterator<Item = &'a CStr> + Clone, sink: &mut impl Sink) {
    let (mut count, mut bytes) = (0u32, 0u32);
    for string in strings.clone() {
        count = count.saturating_add(1);
        let length = u32::try_from(string.to_bytes_with_nul().len()).unwrap_or(u32::MAX);
        bytes = bytes.saturating_add(4).saturating_add(length);
    }
    count.put(sink);
    bytes.put(sink);
    for string in strings {
        string.put(sink);
    }
}

/// An array of u64 inside the buffer.
#[derive(Clone, Copy)]
pub struct Words<'p>(&'p [u8]);

/// Prints the numbers, so that both forms of a step look alike.
impl core::fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'p> Words<'p> {
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<'p> {
        self.0
            .chunks_exact(8)
            .filter_map(|chunk| chunk.try_into().ok().map(u64::from_le_bytes))
    }
}

impl<'p> Take<'p> for Words<'p> {
    fn take(reader: &mut Reader<'p>) -> Option<Self> {
        let count = usize::try_from(u32::take(reader)?).ok()?;
        Some(Words(reader.bytes(count.checked_mul(8)?)?))
    }
}

/// Writes an array the way [`Words`] reads it.
pub fn put_words(words: &[u64], sink: &mut impl Sink) {
    (u32::try_from(words.len()).unwrap_or(u32::MAX)).put(sink);
    for word in words {
        word.put(sink);
    }
}

/// What the stage does when a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Report and end.
    Fail,
    /// On one of these errnos (all zero: on any) tell the parent and go on.
    Ignore([u8; 4]),
    /// On one of these errnos (all zero: on any) run the following step in this one's place; it is passed over otherwise.
    Instead([u8; 4]),
}

impl OnError {
    fn parts(self) -> (u8, [u8; 4]) {
        match self {
            OnError::Fail => (0, [0; 4]),
            OnError::Ignore(errnos) => (1, errnos),
            OnError::Instead(errnos) => (2, errnos),
        }
    }

    /// Whether `errno` is one of those listed.
    pub fn covers(self, errno: i32) -> bool {
        let (_, errnos) = self.parts();
        errnos == [0; 4]
            || errnos
                .iter()
                .any(|&listed| listed != 0 && i32::from(listed) == errno)
    }
}

impl Put for OnError {
    fn put(&self, sink: &mut impl Sink) {
        let (tag, errnos) = self.parts();
        tag.put(sink);
        sink.put(&errnos);
    }
}

impl<'p> Take<'p> for OnError {
    fn take(reader: &mut Reader<'p>) -> Option<Self> {
        let tag = u8::take(reader)?;
        let errnos = reader.bytes(4)?.try_into().ok()?;
        match tag {
            0 => Some(OnError::Fail),
            1 => Some(OnError::Ignore(errnos)),
            2 => Some(OnError::Instead(errnos)),
            _ => None,
        }
    }
}

/// Most fds that the stage can be started with, besides stdio and the preserved ones.
pub const SLOTS_MAX: usize = 24;

/// What stands before the entries.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    pub steps: u32,
    /// `--preserve-fds` and LISTEN_FDS: fds 3 to 2 + `preserved` go to the container.
    pub preserved: u32,
    pub slots: usize,
    /// Fd numbers; slot 0 is the control socket.
    pub fds: [i32; SLOTS_MAX],
}

impl<'p> Take<'p> for Header {
    fn take(reader: &mut Reader<'p>) -> Option<Self> {
        let (steps, preserved) = (reader.take()?, reader.take()?);
        let slots = usize::from(reader.take::<u8>()?);
        let mut fds = [-1; SLOTS_MAX];
        for fd in fds.get_mut(..slots)? {
            *fd = reader.take()?;
        }
        Some(Header {
            steps,
            preserved,
            slots,
            fds,
        })
    }
}

/// Writes a header the way [`Header`] reads it; at most [`SLOTS_MAX`] fds.
pub fn put_header(steps: u32, preserved: u32, fds: &[i32], sink: &mut impl Sink) {
    steps.put(sink);
    preserved.put(sink);
    (u8::try_from(fds.len()).unwrap_or(u8::MAX)).put(sink);
    for fd in fds {
        fd.put(sink);
    }
}
