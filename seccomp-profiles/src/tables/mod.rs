//! Which number a system call has on which architecture.
//!
//! The numbers are data (`syscalls.rs`, with its source and date); `examples/syscall-tables.rs` renews them. Here they become what a compiler
//! of profiles needs: a name is found by one hash, then its number on any architecture by one load. All of it is laid out when this crate is
//! compiled, without pointers, so that a program that merely contains it does not pay for relocations at its start.

mod syscalls;

use crate::arch::Arch;
use syscalls::{CALLS, FAMILIES};

/// No such call.
const NONE: u32 = u32::MAX;

/// A power of two, four times the calls: most names are found at the first look.
const SLOTS: usize = 2048;

const EMPTY: u16 = u16::MAX;

const TEXT_LENGTH: usize = {
    let (mut length, mut call) = (0, 0);
    while call < CALLS.len() {
        length += CALLS[call].0.len();
        call += 1;
    }
    length
};

/// All names, one after the other.
static TEXT: [u8; TEXT_LENGTH] = {
    let mut text = [0; TEXT_LENGTH];
    let (mut at, mut call) = (0, 0);
    while call < CALLS.len() {
        let name = CALLS[call].0.as_bytes();
        let mut byte = 0;
        while byte < name.len() {
            text[at] = name[byte];
            at += 1;
            byte += 1;
        }
        call += 1;
    }
    text
};

/// Where each name starts in [`TEXT`], and where the last one ends.
static STARTS: [u16; CALLS.len() + 1] = {
    let mut starts = [0; CALLS.len() + 1];
    let mut call = 0;
    while call < CALLS.len() {
        starts[call + 1] = starts[call] + CALLS[call].0.len() as u16;
        call += 1;
    }
    starts
};

/// By family, then by call.
static NUMBERS: [[u32; CALLS.len()]; FAMILIES.len()] = {
    let mut numbers = [[NONE; CALLS.len()]; FAMILIES.len()];
    let mut family = 0;
    while family < FAMILIES.len() {
        let mut call = 0;
        while call < CALLS.len() {
            numbers[family][call] = CALLS[call].1[family];
            call += 1;
        }
        family += 1;
    }
    numbers
};

/// Open addressing: a name is in the slot of its hash or one of the next.
static SLOT: [u16; SLOTS] = {
    let mut slots = [EMPTY; SLOTS];
    let mut call = 0;
    while call < CALLS.len() {
        let mut at = hash(CALLS[call].0.as_bytes());
        while slots[at] != EMPTY {
            at = (at + 1) % SLOTS;
        }
        slots[at] = call as u16;
        call += 1;
    }
    slots
};

/// FNV-1a, folded to a slot. Nobody gains from names that collide: a profile cannot put new ones into the table.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut byte = 0;
    while byte < name.len() {
        hash = (hash ^ name[byte] as u32).wrapping_mul(0x0100_0193);
        byte += 1;
    }
    ((hash ^ (hash >> 16)) as usize) % SLOTS
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    let mut byte = 0;
    while byte < one.len() && byte < other.len() && one[byte] == other[byte] {
        byte += 1;
    }
    one.len() == other.len() && byte == one.len()
}

/// A system call known by name, on at least one architecture.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Syscall(u16);

impl Syscall {
    /// The call of this name; None if no architecture has it.
    pub fn named(name: &str) -> Option<Self> {
        let mut at = hash(name.as_bytes());
        loop {
            match SLOT[at] {
                EMPTY => return None,
                call if Self(call).text() == name.as_bytes() => return Some(Self(call)),
                _ => at = (at + 1) % SLOTS,
            }
        }
    }

    /// The call of this number on an architecture; the first by name if two names share it.
    pub fn numbered(arch: Arch, number: u32) -> Option<Self> {
        let at = NUMBERS[arch.family()]
            .iter()
            .position(|known| *known == number && number != NONE)?;
        u16::try_from(at).ok().map(Self)
    }

    /// Every known call, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..CALLS.len() as u16).map(Self)
    }

    pub fn name(self) -> &'static str {
        std::str::from_utf8(self.text()).unwrap_or_default() // the table is ASCII: a test walks it
    }

    /// Its number on an architecture, as the kernel sees it (for x32 with bit 30, for MIPS with the ABI's base); None if it has none there.
    pub fn number(self, arch: Arch) -> Option<u32> {
        Some(NUMBERS[arch.family()][usize::from(self.0)]).filter(|number| *number != NONE)
    }

    /// Its place among all calls: less than [`Syscall::COUNT`].
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) const COUNT: usize = CALLS.len();

    /// The index of a name, for tables that are made when this crate is compiled; a name that does not exist stops that.
    pub(crate) const fn index_of(name: &str) -> usize {
        let mut call = 0;
        while !equal(CALLS[call].0.as_bytes(), name.as_bytes()) {
            call += 1;
        }
        call
    }

    fn text(self) -> &'static [u8] {
        let call = usize::from(self.0);
        &TEXT[usize::from(STARTS[call])..usize::from(STARTS[call + 1])]
    }
}

impl std::fmt::Debug for Syscall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_with_its_numbers() {
        for (name, numbers) in CALLS {
            let call = Syscall::named(name).unwrap();
            assert_eq!(call.name(), name);
            for arch in Arch::ALL {
                assert_eq!(
                    call.number(arch).unwrap_or(NONE),
                    numbers[arch.family()],
                    "{name} on {arch}"
                );
            }
        }
        for unknown in ["", "reed", "READ", "read ", "\u{e9}"] {
            assert_eq!(Syscall::named(unknown), None);
        }
    }

    #[test]
    fn families_stand_where_the_architectures_look() {
        for arch in Arch::ALL {
            let family = FAMILIES[arch.family()];
            let own = arch
                .to_string()
                .to_lowercase()
                .replace("scmp_arch_", "")
                .replace("mipsel", "mips")
                .replace("ppc64le", "ppc64");
            assert_eq!(own, family);
        }
    }

    #[test]
    fn numbers_of_everyday_calls() {
        let number = |name, arch| Syscall::named(name).and_then(|call| call.number(arch));
        assert_eq!(number("read", Arch::X86_64), Some(0));
        assert_eq!(number("openat2", Arch::Aarch64), Some(437));
        assert_eq!(number("execve", Arch::X32), Some(0x4000_0000 + 520));
        assert_eq!(number("open", Arch::Aarch64), None);
        assert_eq!(number("set_tls", Arch::Arm), Some(0xf_0005));
        assert_eq!(
            Syscall::numbered(Arch::X86, 359).map(Syscall::name),
            Some("socket")
        );
    }
}
