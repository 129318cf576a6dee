//! A filter as the kernel takes it: classic BPF over `struct seccomp_data`.
//!
//! Source: linux/filter.h, linux/bpf_common.h, seccomp(2).

use std::fmt;

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Instruction {
    pub code: u16,
    /// How many instructions to skip if the test holds.
    pub jt: u8,
    /// … and if not.
    pub jf: u8,
    pub k: u32,
}

/// The most instructions the kernel takes in one filter (BPF_MAXINSNS).
pub const MOST_INSTRUCTIONS: usize = 4096;

/// BPF_LD | BPF_W | BPF_ABS
pub(crate) const LOAD: u16 = 0x20;
/// BPF_JMP | BPF_JA
pub(crate) const JUMP: u16 = 0x05;
/// BPF_JMP | BPF_JEQ | BPF_K
pub(crate) const JUMP_EQUAL: u16 = 0x15;
/// BPF_JMP | BPF_JGT | BPF_K
pub(crate) const JUMP_GREATER: u16 = 0x25;
/// BPF_JMP | BPF_JGE | BPF_K
pub(crate) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
/// BPF_ALU | BPF_AND | BPF_K
pub(crate) const AND: u16 = 0x54;
/// BPF_RET | BPF_K
pub(crate) const RETURN: u16 = 0x06;

/// Where `struct seccomp_data` has what.
pub(crate) const NUMBER_OFFSET: u32 = 0;
pub(crate) const ARCH_OFFSET: u32 = 4;
pub(crate) const ARGUMENTS_OFFSET: u32 = 16;
pub(crate) const DATA_LENGTH: u32 = 64;

/// A sequence of instructions. One that the compiler made passes [`crate::verify::verify`]; one that was read need not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    pub instructions: Vec<Instruction>,
}

impl Instruction {
    /// As the kernel reads it, in this machine's order.
    pub fn to_bytes(self) -> [u8; 8] {
        let ([c0, c1], [k0, k1, k2, k3]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [c0, c1, self.jt, self.jf, k0, k1, k2, k3]
    }
}

impl Program {
    /// The bytes of the array the kernel is given, in this machine's order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let instructions = self.instructions.iter();
        instructions.flat_map(|one| one.to_bytes()).collect()
    }

    /// The inverse of [`Program::to_bytes`]. None if the length is no multiple of eight.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let instructions = chunks
            .iter()
            .map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| Instruction {
                code: u16::from_ne_bytes([c0, c1]),
                jt,
                jf,
                k: u32::from_ne_bytes([k0, k1, k2, k3]),
            })
            .collect();
        rest.is_empty().then_some(Self { instructions })
    }

    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }
}

/// One instruction a line, jumps with the index they go to.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Instruction { code, jt, jf, k }) in self.instructions.iter().enumerate() {
            let to = |skip: u32| at as u64 + 1 + u64::from(skip);
            let (yes, no) = (to(u32::from(*jt)), to(u32::from(*jf)));
            match *code {
                LOAD => writeln!(f, "{at:4}: ld [{k}]"),
                AND => writeln!(f, "{at:4}: and {k:#x}"),
                RETURN => writeln!(f, "{at:4}: ret {}", crate::action::Action::from_return(*k)),
                JUMP => writeln!(f, "{at:4}: ja {}", to(*k)),
                JUMP_EQUAL => writeln!(f, "{at:4}: jeq {k:#x}, {yes}, {no}"),
                JUMP_GREATER => writeln!(f, "{at:4}: jgt {k:#x}, {yes}, {no}"),
                JUMP_GREATER_OR_EQUAL => writeln!(f, "{at:4}: jge {k:#x}, {yes}, {no}"),
                _ => writeln!(f, "{at:4}: {code:#06x} {jt} {jf} {k:#x}"),
            }?;
        }
        Ok(())
    }
}
