//! Runs a filter on a call whose number and architecture are known and whose arguments are not: a branch on an argument goes both ways.

use super::{Call, arithmetic};
use crate::program::{Instruction, Program};

/// The machine between two instructions; None: a value that depends on an argument.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Symbolic {
    at: usize,
    accumulator: Option<u32>,
    index: Option<u32>,
    scratch: [Option<u32>; 16],
}

/// What comes after one instruction.
pub(crate) enum Next {
    /// A verdict; None: one that depends on an argument.
    Returns(Option<u32>),
    Goes(Vec<Symbolic>),
}

impl Symbolic {
    pub(crate) fn new() -> Self {
        Self {
            at: 0,
            accumulator: Some(0),
            index: Some(0),
            scratch: [Some(0); 16],
        }
    }

    /// An instruction that no program of the kernel's has ends the run like a verdict that nobody knows.
    pub(crate) fn step(mut self, program: &Program, call: &Call) -> Next {
        let Some(&Instruction { code, jt, jf, k }) = program.instructions.get(self.at) else {
            return Next::Returns(None);
        };
        let operand = if code & 0x08 == 0 {
            Some(k)
        } else {
            self.index
        };
        let slot = k as usize % 16;
        match code {
            0x20 => {
                self.accumulator = match k {
                    0 => Some(call.number),
                    4 => Some(call.arch),
                    _ => None,
                }
            }
            0x80 => self.accumulator = Some(crate::program::DATA_LENGTH),
            0x81 => self.index = Some(crate::program::DATA_LENGTH),
            0x00 => self.accumulator = Some(k),
            0x01 => self.index = Some(k),
            0x60 => self.accumulator = self.scratch[slot],
            0x61 => self.index = self.scratch[slot],
            0x02 => self.scratch[slot] = self.accumulator,
            0x03 => self.scratch[slot] = self.index,
            0x07 => self.index = self.accumulator,
            0x87 => self.accumulator = self.index,
            0x06 => return Next::Returns(Some(k)),
            0x16 => return Next::Returns(self.accumulator),
            0x05 => return Next::Goes(vec![self.after(k)]),
            0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
                let holds = self
                    .accumulator
                    .zip(operand)
                    .map(|(left, right)| match code & 0xf0 {
                        0x10 => left == right,
                        0x20 => left > right,
                        0x30 => left >= right,
                        _ => left & right != 0,
                    });
                let (yes, no) = (self.after(u32::from(jt)), self.after(u32::from(jf)));
                return Next::Goes(match holds {
                    Some(true) => vec![yes],
                    Some(false) => vec![no],
                    None => vec![yes, no],
                });
            }
            // Division by a zero index register ends the filter with 0, as in the kernel.
            0x3c if operand == Some(0) => return Next::Returns(Some(0)),
            _ => {
                self.accumulator = self
                    .accumulator
                    .zip(operand)
                    .and_then(|(left, right)| arithmetic(code, left, right));
            }
        }
        Next::Goes(vec![self.after(0)])
    }

    fn after(&self, skip: u32) -> Self {
        Self {
            at: self.at.saturating_add(1).saturating_add(skip as usize),
            ..self.clone()
        }
    }
}
