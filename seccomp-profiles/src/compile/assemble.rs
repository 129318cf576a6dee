//! Puts a program together from its end: a jump is written after everything it can go to, so that its distance is known.
//!
//! A conditional jump reaches 255 instructions. Returns are written again when the last copy is too far (cheaper than a jump to it); for
//! anything else that is too far, a jump without a condition is put in between.

use crate::program::{Instruction, JUMP, LOAD, Program, RETURN};

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// End with this value: at any copy of that return, or a new one.
    Return(u32),
    /// An instruction, counted from the end of the program.
    At(usize),
}

/// How far a conditional jump may go when it is planned: two jumps may still be put in between for its own two ways.
const REACH: usize = 250;

pub(super) struct Assembler {
    /// The last instruction first.
    reversed: Vec<Instruction>,
    /// The newest copy of each return.
    returns: Vec<(u32, usize)>,
}

impl Assembler {
    pub fn new() -> Self {
        Self {
            reversed: Vec::with_capacity(1024),
            returns: Vec::with_capacity(8),
        }
    }

    /// The program that starts at a place: the instruction put in last, or a return and nothing else.
    pub fn finish(mut self, start: Place) -> Program {
        if let Place::Return(value) = start {
            self.reversed = vec![Instruction {
                code: RETURN,
                jt: 0,
                jf: 0,
                k: value,
            }];
        }
        self.reversed.reverse();
        Program {
            instructions: self.reversed,
        }
    }

    /// A test of the accumulator.
    pub fn branch(&mut self, code: u16, k: u32, yes: Place, no: Place) -> Place {
        if yes == no {
            return yes;
        }
        let yes = self.near(yes);
        let no = self.near(no);
        let (jt, jf) = (self.distance(yes), self.distance(no));
        // Near, as planned: both fit.
        self.push(Instruction {
            code,
            jt: jt as u8,
            jf: jf as u8,
            k,
        })
    }

    /// Loads a word and goes on.
    pub fn load(&mut self, offset: u32, then: Place) -> Place {
        self.follow(
            Instruction {
                code: LOAD,
                jt: 0,
                jf: 0,
                k: offset,
            },
            then,
        )
    }

    /// An instruction without a jump, and what comes after it.
    pub fn follow(&mut self, instruction: Instruction, then: Place) -> Place {
        match then {
            // What the instruction computes is of no use to a return.
            Place::Return(_) => return then,
            Place::At(at) if at + 1 == self.reversed.len() => {}
            Place::At(at) => {
                self.jump(at);
            }
        }
        self.push(instruction)
    }

    fn near(&mut self, place: Place) -> usize {
        match place {
            Place::At(at) if self.distance(at) <= REACH => at,
            Place::At(at) => self.jump(at),
            Place::Return(value) => {
                let known = self.returns.iter().position(|(known, _)| *known == value);
                match known {
                    Some(known) if self.distance(self.returns[known].1) <= REACH => {
                        return self.returns[known].1;
                    }
                    Some(known) => self.returns[known].1 = self.reversed.len(),
                    None => self.returns.push((value, self.reversed.len())),
                }
                self.reversed.push(Instruction {
                    code: RETURN,
                    jt: 0,
                    jf: 0,
                    k: value,
                });
                self.reversed.len() - 1
            }
        }
    }

    fn jump(&mut self, to: usize) -> usize {
        let k = self.distance(to) as u32;
        self.reversed.push(Instruction {
            code: JUMP,
            jt: 0,
            jf: 0,
            k,
        });
        self.reversed.len() - 1
    }

    /// How many instructions the next one skips to get there.
    fn distance(&self, to: usize) -> usize {
        self.reversed.len() - 1 - to
    }

    fn push(&mut self, instruction: Instruction) -> Place {
        self.reversed.push(instruction);
        Place::At(self.reversed.len() - 1)
    }
}
