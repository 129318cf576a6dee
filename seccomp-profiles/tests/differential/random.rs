//! Profiles at random, and arguments that come close to what their rules ask for.

use seccomp_profiles::profile::{Condition, Name, Operator, Rule};
use seccomp_profiles::{Action, Arch, Profile};

/// How a profile is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As engines' profiles are: equality with or without a mask, one action for all conditional rules of a call.
    Plain,
    /// With comparisons of size too.
    Ordered,
    /// Anything, contradictions included.
    Wild,
}

/// splitmix64: every run of a seed is the same.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Numbers that profiles use, and their neighbours.
    fn value(&mut self) -> u64 {
        let base = self.one(&[
            0,
            1,
            2,
            8,
            9,
            16,
            40,
            0xffff,
            0x2_0000,
            0x7e02_0000,
            0xffff_ffff,
            0x1_0000_0000,
            0x5_0000_0005,
            u64::MAX,
            1 << 63,
        ]);
        match self.below(8) {
            0 => base.wrapping_add(1),
            1 => base.wrapping_sub(1),
            2 => self.next(),
            3 => self.next() >> 32,
            _ => base,
        }
    }

    fn operator(&mut self, style: Style) -> Operator {
        let below = if style == Style::Plain { 4 } else { 8 };
        match below - 1 - self.below(below) {
            0 => Operator::NotEqual,
            1 => Operator::MaskedEqual(self.value()),
            4 => Operator::Less,
            5 => Operator::LessOrEqual,
            6 => Operator::GreaterOrEqual,
            7 => Operator::Greater,
            _ => Operator::Equal,
        }
    }

    fn condition(&mut self, style: Style) -> Condition {
        Condition {
            argument: self.one(&[0, 0, 1, 1, 2, 3, 4, 5]),
            operator: self.operator(style),
            value: self.value(),
        }
    }

    fn action(&mut self) -> Action {
        let errno = self.one(&[0, 1, 13, 22, 38, 95, 4094]);
        let other = [
            Action::KillThread,
            Action::KillProcess,
            Action::Trap,
            Action::Notify,
            Action::Trace(errno),
            Action::Log,
        ];
        match self.below(10) {
            0..4 => Action::Allow,
            4..8 => Action::Errno(errno),
            _ => self.one(&other),
        }
    }

    /// A profile of some of these names.
    pub fn profile(
        &mut self,
        names: &[&'static str],
        architectures: &[Arch],
        style: Style,
    ) -> Profile {
        let mut default = self.action();
        while default == Action::Notify {
            default = self.action();
        }
        let mut profile = Profile {
            architectures: architectures.to_vec(),
            ..Profile::new(default)
        };
        if style == Style::Plain {
            // Without an unconditional rule libseccomp's filter may never look at the number (docs/differences.md).
            let action = if default == Action::Allow {
                Action::Errno(1)
            } else {
                Action::Allow
            };
            profile.rules.push(Rule {
                names: vec![Name::new("read")],
                action,
                conditions: Vec::new(),
            });
        }
        let count = self.one(&[1, 3, 3, 8, 8, 20, 60, 200]);
        let mut chosen: Vec<_> = (0..count).map(|_| self.one(names)).collect();
        if self.chance(50) {
            chosen.push(self.one(&[
                "socket",
                "connect",
                "semop",
                "shmat",
                "accept4",
                "ipc",
                "socketcall",
            ]));
        }
        if style != Style::Wild {
            chosen.sort_unstable();
            chosen.dedup();
            chosen.retain(|name| *name != "read");
        }
        while !chosen.is_empty() {
            let rest = chosen.split_off(chosen.len().min(1 + self.below(20)));
            let names: Vec<_> = std::mem::replace(&mut chosen, rest)
                .into_iter()
                .map(Name::new)
                .collect();
            let mut action = self.action();
            if self.chance(50) {
                profile.rules.push(Rule {
                    names: names.clone(),
                    action,
                    conditions: Vec::new(),
                });
            }
            if self.chance(50) {
                continue;
            }
            if style == Style::Plain {
                profile.rules.extend(
                    names
                        .iter()
                        .filter(|name| !crate::folds(name))
                        .flat_map(|name| self.plain(name, action)),
                );
                continue;
            }
            let few = self.one(&[1, 1, 2, 4]);
            for name in names.iter().take(if style == Style::Wild { 3 } else { 20 }) {
                for _ in 0..=self.below(few) {
                    let conditions = (0..=self.below(3)).map(|_| self.condition(style)).collect();
                    profile.rules.push(Rule {
                        names: vec![name.clone()],
                        action,
                        conditions,
                    });
                    if style == Style::Wild {
                        action = self.action();
                    }
                }
            }
        }
        profile
    }

    /// The rules of one call in the shapes that engines' profiles have: values of one argument, or one rule about several arguments.
    fn plain(&mut self, name: &str, action: Action) -> Vec<Rule> {
        let rule = |conditions| Rule {
            names: vec![Name::new(name)],
            action,
            conditions,
        };
        let mut conditions: Vec<_> = (0..=self.below(4))
            .map(|_| self.condition(Style::Plain))
            .collect();
        if self.chance(50) {
            let argument = conditions[0].argument;
            let one = |condition| {
                rule(vec![Condition {
                    argument,
                    ..condition
                }])
            };
            return conditions.into_iter().map(one).collect();
        }
        conditions.sort_by_key(|condition| condition.argument);
        conditions.dedup_by_key(|condition| condition.argument);
        vec![rule(conditions)]
    }

    /// Arguments near a rule's values.
    pub fn arguments(&mut self, near: &[Condition]) -> [u64; 6] {
        let mut arguments = [0; 6].map(|_: u64| if self.chance(70) { 0 } else { self.value() });
        for condition in near {
            let mask = if let Operator::MaskedEqual(mask) = condition.operator {
                mask
            } else {
                u64::MAX
            };
            let value = condition.value;
            arguments[usize::from(condition.argument)] = match self.below(10) {
                0 => value.wrapping_add(1),
                1 => value.wrapping_sub(1),
                2 => value ^ (1 << 32),
                3 => value.wrapping_add(1 << 32),
                4 => value.wrapping_sub(1 << 32),
                5 => value & 0xffff_ffff,
                6 => (value & mask) | (self.next() & !mask),
                7 => self.next(),
                _ => value,
            };
        }
        arguments
    }
}
