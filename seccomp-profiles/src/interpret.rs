//! Runs a filter the way the kernel does, for tests and explanations. It takes any program, also one the kernel would refuse, and never panics.

mod symbolic;

use crate::program::{DATA_LENGTH, Instruction, Program};
pub(crate) use symbolic::{Next, Symbolic};

/// `struct seccomp_data`: what a filter can know of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Call {
    pub number: u32,
    /// AUDIT_ARCH_…
    pub arch: u32,
    pub instruction_pointer: u64,
    pub arguments: [u64; 6],
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// SECCOMP_RET_…
    pub value: u32,
    /// Instructions executed, the return included.
    pub steps: u32,
}

/// The program does something no program may: the kernel would not have taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {at} cannot be executed")]
pub struct Stray {
    pub at: usize,
}

impl Call {
    /// The word at an offset, as a machine of this byte order has it in memory.
    fn word(&self, offset: u32, big_endian: bool) -> Option<u32> {
        let half = |value: u64, second: bool| {
            if second == big_endian {
                value as u32
            } else {
                (value >> 32) as u32
            }
        };
        match offset {
            0 => Some(self.number),
            4 => Some(self.arch),
            8 | 12 => Some(half(self.instruction_pointer, offset == 12)),
            16..DATA_LENGTH if offset.is_multiple_of(4) => {
                let argument = self.arguments.get(((offset - 16) / 8) as usize)?;
                Some(half(*argument, offset % 8 == 4))
            }
            _ => None,
        }
    }
}

/// Runs a program on a call. `big_endian` is the byte order of the machine the program is for: it decides which half of an argument comes first.
/// Errors: [`Stray`].
pub fn run(program: &Program, call: &Call, big_endian: bool) -> Result<Ran, Stray> {
    let mut machine = Machine {
        accumulator: 0,
        index: 0,
        scratch: [0; 16],
    };
    let mut at = 0_usize;
    let mut steps = 0;
    loop {
        let instruction = program.instructions.get(at).ok_or(Stray { at })?;
        steps += 1;
        match machine
            .step(instruction, call, big_endian)
            .ok_or(Stray { at })?
        {
            Step::Return(value) => return Ok(Ran { value, steps }),
            // Jumps only go forward, so this ends.
            Step::Skip(skip) => at = at.saturating_add(1).saturating_add(skip as usize),
        }
    }
}

enum Step {
    Return(u32),
    Skip(u32),
}

struct Machine {
    accumulator: u32,
    index: u32,
    scratch: [u32; 16],
}

impl Machine {
    fn step(&mut self, instruction: &Instruction, call: &Call, big_endian: bool) -> Option<Step> {
        let Instruction { code, jt, jf, k } = *instruction;
        // Operands of ALU and jumps: the constant, or the index register (BPF_X).
        let operand = if code & 0x08 == 0 { k } else { self.index };
        let branch = |holds: bool| Step::Skip(u32::from(if holds { jt } else { jf }));
        match code {
            0x20 => self.accumulator = call.word(k, big_endian)?,
            0x80 => self.accumulator = DATA_LENGTH,
            0x81 => self.index = DATA_LENGTH,
            0x00 => self.accumulator = k,
            0x01 => self.index = k,
            0x60 => self.accumulator = *self.scratch.get(k as usize)?,
            0x61 => self.index = *self.scratch.get(k as usize)?,
            0x02 => *self.scratch.get_mut(k as usize)? = self.accumulator,
            0x03 => *self.scratch.get_mut(k as usize)? = self.index,
            0x07 => self.index = self.accumulator,
            0x87 => self.accumulator = self.index,
            0x06 => return Some(Step::Return(k)),
            0x16 => return Some(Step::Return(self.accumulator)),
            0x05 => return Some(Step::Skip(k)),
            0x15 | 0x1d => return Some(branch(self.accumulator == operand)),
            0x25 | 0x2d => return Some(branch(self.accumulator > operand)),
            0x35 | 0x3d => return Some(branch(self.accumulator >= operand)),
            0x45 | 0x4d => return Some(branch(self.accumulator & operand != 0)),
            // Division by a zero index register ends the filter with 0, as in the kernel.
            0x3c if operand == 0 => return Some(Step::Return(0)),
            _ => self.accumulator = arithmetic(code, self.accumulator, operand)?,
        }
        Some(Step::Skip(0))
    }
}

fn arithmetic(code: u16, left: u32, right: u32) -> Option<u32> {
    Some(match code {
        0x04 | 0x0c => left.wrapping_add(right),
        0x14 | 0x1c => left.wrapping_sub(right),
        0x24 | 0x2c => left.wrapping_mul(right),
        0x34 | 0x3c => left.checked_div(right)?,
        0x44 | 0x4c => left | right,
        0x54 | 0x5c => left & right,
        // The kernel shifts by the low five bits of the index register.
        0x64 | 0x6c => left.wrapping_shl(right),
        0x74 | 0x7c => left.wrapping_shr(right),
        0xa4 | 0xac => left ^ right,
        0x84 => left.wrapping_neg(),
        _ => return None,
    })
}
