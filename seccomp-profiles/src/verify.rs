//! Would the kernel take this program? The rules of `bpf_check_classic` (net/core/filter.c) and `seccomp_check_filter` (kernel/seccomp.c).
//!
//! A program that passes ends in every case: jumps go forward only, and the last instruction returns.

use crate::program::{DATA_LENGTH, Instruction, MOST_INSTRUCTIONS, Program};

/// Why the kernel would answer EINVAL. Indices count from the first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    #[error("{0} instructions: the kernel takes 1 to {MOST_INSTRUCTIONS}")]
    Length(usize),
    #[error("instruction {at}: {code:#06x} is not for filters of system calls")]
    Code { at: usize, code: u16 },
    #[error("instruction {at} jumps out of the program")]
    Jump { at: usize },
    #[error("instruction {at} loads from {offset}, not a word of the 64 bytes it is given")]
    Load { at: usize, offset: u32 },
    #[error("instruction {at} divides by zero, or shifts by more than 31")]
    Operand { at: usize },
    #[error("instruction {at} reads scratch memory that may never have been written")]
    Memory { at: usize },
    #[error("the last instruction does not return")]
    End,
}

const SCRATCH: u32 = 16;

/// What the kernel checks before it takes a filter. Errors: the first thing it would refuse.
pub fn verify(program: &Program) -> Result<(), Refused> {
    let instructions = &program.instructions;
    if instructions.is_empty() || instructions.len() > MOST_INSTRUCTIONS {
        return Err(Refused::Length(instructions.len()));
    }
    for (at, instruction) in instructions.iter().enumerate() {
        check(instruction, at, instructions.len())?;
    }
    match instructions.last() {
        // BPF_RET with a constant or the accumulator.
        Some(last) if matches!(last.code, 0x06 | 0x16) => scratch_memory(instructions),
        _ => Err(Refused::End),
    }
}

fn check(instruction: &Instruction, at: usize, length: usize) -> Result<(), Refused> {
    let Instruction { code, jt, jf, k } = *instruction;
    let inside = |skip: u32| (skip as usize) < length - at - 1;
    match code {
        // Loads: a word of the data; the length of the data; constants.
        0x20 if k >= DATA_LENGTH || k & 3 != 0 => Err(Refused::Load { at, offset: k }),
        0x20 | 0x80 | 0x81 | 0x00 | 0x01 => Ok(()),
        // Scratch memory: BPF_LD, BPF_LDX, BPF_ST, BPF_STX.
        0x60 | 0x61 | 0x02 | 0x03 if k >= SCRATCH => Err(Refused::Memory { at }),
        0x60 | 0x61 | 0x02 | 0x03 => Ok(()),
        0x06 | 0x16 | 0x07 | 0x87 => Ok(()),
        // BPF_DIV by a constant; seccomp has no BPF_MOD.
        0x34 if k == 0 => Err(Refused::Operand { at }),
        0x64 | 0x74 if k >= 32 => Err(Refused::Operand { at }),
        0x04 | 0x14 | 0x24 | 0x34 | 0x44 | 0x54 | 0x64 | 0x74 | 0xa4 | 0x84 => Ok(()),
        0x0c | 0x1c | 0x2c | 0x3c | 0x4c | 0x5c | 0x6c | 0x7c | 0xac => Ok(()),
        0x05 if !inside(k) => Err(Refused::Jump { at }),
        0x05 => Ok(()),
        0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d
            if inside(jt.into()) && inside(jf.into()) =>
        {
            Ok(())
        }
        0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => Err(Refused::Jump { at }),
        code => Err(Refused::Code { at, code }),
    }
}

/// No cell of scratch memory is read before it was written, on any way there (check_load_and_stores).
fn scratch_memory(instructions: &[Instruction]) -> Result<(), Refused> {
    // What is certainly written when control comes to an instruction.
    let mut written = vec![u16::MAX; instructions.len()];
    let mut now = 0_u16;
    for (at, Instruction { code, jt, jf, k }) in instructions.iter().enumerate() {
        now &= written[at];
        match code {
            0x02 | 0x03 => now |= 1 << k,
            0x60 | 0x61 if now & (1 << k) == 0 => return Err(Refused::Memory { at }),
            0x05 => {
                written[at + 1 + *k as usize] &= now;
                now = u16::MAX;
            }
            0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
                written[at + 1 + usize::from(*jt)] &= now;
                written[at + 1 + usize::from(*jf)] &= now;
                now = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}
