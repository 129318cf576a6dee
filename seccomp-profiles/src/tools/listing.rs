//! A filter that was read back from the kernel, for people: each instruction in words, numbers of calls and architectures with their names.

use std::fmt;

use crate::action::Action;
use crate::arch::Arch;
use crate::program::{Instruction, Program};
use crate::rules::X32;
use crate::tables::Syscall;

/// What is in the accumulator before an instruction, on all ways to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Number,
    Arch,
    Something,
}

/// What is known before an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    holds: Holds,
    /// AUDIT_ARCH_…, where the ways here have all compared with it.
    arch: Option<u32>,
}

/// A program in words.
#[derive(Debug)]
pub struct Listing<'a> {
    program: &'a Program,
    /// The machine that runs it: its names are used where the program has asked for no architecture.
    native: Arch,
    known: Vec<Option<Known>>,
}

impl<'a> Listing<'a> {
    pub fn new(program: &'a Program, native: Arch) -> Listing<'a> {
        let mut listing = Listing {
            program,
            native,
            known: vec![None; program.len()],
        };
        listing.follow();
        listing
    }

    /// Jumps only go forward: one pass sees each instruction after all that lead to it.
    fn follow(&mut self) {
        let start = Known {
            holds: Holds::Something,
            arch: None,
        };
        self.reach(0, start);
        for (at, instruction) in self.program.instructions.iter().enumerate() {
            let Some(known) = self.known[at] else {
                continue;
            };
            let Instruction { code, jt, jf, k } = *instruction;
            let next = at + 1;
            match code {
                0x06 | 0x16 => {}
                0x05 => self.reach(next.saturating_add(k as usize), known),
                _ if code & 0x07 == 0x05 => {
                    let equal_arch = code == 0x15 && known.holds == Holds::Arch;
                    let yes = Known {
                        arch: if equal_arch { Some(k) } else { known.arch },
                        ..known
                    };
                    self.reach(next + usize::from(jt), yes);
                    self.reach(next + usize::from(jf), known);
                }
                _ => {
                    let holds = match (code, k) {
                        (0x20, 0) => Holds::Number,
                        (0x20, 4) => Holds::Arch,
                        // Into the index register or into memory.
                        (0x01 | 0x61 | 0x81 | 0x02 | 0x03 | 0x07, _) => known.holds,
                        _ => Holds::Something,
                    };
                    self.reach(next, Known { holds, ..known });
                }
            }
        }
    }

    fn reach(&mut self, at: usize, from: Known) {
        let Some(known) = self.known.get_mut(at) else {
            return;
        };
        *known = Some(match *known {
            None => from,
            Some(before) => Known {
                holds: if before.holds == from.holds {
                    from.holds
                } else {
                    Holds::Something
                },
                arch: before.arch.filter(|arch| from.arch == Some(*arch)),
            },
        });
    }

    /// The constant of a comparison, and what it is the number of.
    fn constant(&self, at: usize, k: u32) -> String {
        let Some(known) = self.known[at] else {
            return format!("{k:#x}");
        };
        match known.holds {
            Holds::Arch => {
                let named = Arch::ALL.into_iter().find(|arch| arch.audit() == k);
                named.map_or_else(|| format!("{k:#x}"), |arch| format!("{k:#x} ({arch})"))
            }
            Holds::Number => {
                let audit = known.arch.unwrap_or(self.native.audit());
                match name(audit, k) {
                    Some(name) => format!("{k} ({name})"),
                    None if k < X32 => k.to_string(),
                    None => format!("{k:#x}"),
                }
            }
            Holds::Something => format!("{k:#x}"),
        }
    }

    fn words(&self, at: usize, instruction: Instruction) -> String {
        let Instruction { code, jt, jf, k } = instruction;
        let operand = || match code & 0x08 {
            0 => format!("{k:#x}"),
            _ => "x".to_owned(),
        };
        match code {
            0x20 => format!("load {}", self.word(k)),
            0x00 => format!("load {k:#x}"),
            0x01 => format!("x = {k:#x}"),
            0x80 => "load 64".to_owned(),
            0x81 => "x = 64".to_owned(),
            0x60 => format!("load memory[{k}]"),
            0x61 => format!("x = memory[{k}]"),
            0x02 => format!("memory[{k}] = a"),
            0x03 => format!("memory[{k}] = x"),
            0x07 => "x = a".to_owned(),
            0x87 => "load x".to_owned(),
            0x06 => format!("return {}", Action::from_return(k)),
            0x16 => "return a".to_owned(),
            0x05 => format!("goto {}", at as u64 + 1 + u64::from(k)),
            _ if code & 0x07 == 0x05 => {
                let sign = match code & 0xf0 {
                    0x10 => "==",
                    0x20 => ">",
                    0x30 => ">=",
                    _ => "&",
                };
                let right = if code & 0x08 == 0 && sign != "&" {
                    self.constant(at, k)
                } else {
                    operand()
                };
                let (yes, no) = (at + 1 + usize::from(jt), at + 1 + usize::from(jf));
                format!("if {sign} {right} goto {yes} else {no}")
            }
            0x84 => "a = -a".to_owned(),
            _ if code & 0x07 == 0x04 => {
                let sign = match code & 0xf0 {
                    0x00 => "+",
                    0x10 => "-",
                    0x20 => "*",
                    0x30 => "/",
                    0x40 => "|",
                    0x50 => "&",
                    0x60 => "<<",
                    0x70 => ">>",
                    _ => "^",
                };
                format!("a {sign}= {}", operand())
            }
            _ => format!("{code:#06x} {jt} {jf} {k:#x}"),
        }
    }

    /// The word of `struct seccomp_data` at an offset.
    fn word(&self, offset: u32) -> String {
        let half = |offset: u32| {
            let second = offset % 8 == 4;
            if second == self.native.big_endian() {
                "low"
            } else {
                "high"
            }
        };
        match offset {
            0 => "number".to_owned(),
            4 => "arch".to_owned(),
            8 | 12 => format!("instruction pointer, {} half", half(offset)),
            _ => format!(
                "args[{}], {} half",
                offset.saturating_sub(16) / 8,
                half(offset)
            ),
        }
    }
}

/// The call of a number, as `seccomp_data` has number and architecture.
fn name(audit: u32, number: u32) -> Option<&'static str> {
    Arch::ALL
        .into_iter()
        .filter(|arch| arch.audit() == audit)
        .find_map(|arch| Syscall::numbered(arch, number))
        .map(Syscall::name)
}

/// One instruction a line; each ends with a line feed.
impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, instruction) in self.program.instructions.iter().enumerate() {
            writeln!(f, "{at:5}: {}", self.words(at, *instruction))?;
        }
        Ok(())
    }
}
