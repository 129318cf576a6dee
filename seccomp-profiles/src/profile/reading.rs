//! From words and numbers to a [`Profile`]: every fault is found in one walk, and named by its JSON pointer.
//!
//! The walk is the same wherever the words come from: from any JSON ([`Profile::from_value`]), or from a reader that knows the shape of the
//! object and borrows its text. Nothing is allocated but the profile; a pointer is written out only for a fault.

use std::fmt;

use super::{Condition, Fault, Flag, Invalid, Name, Operator, Problem, Profile, Rule};
use crate::action::Action;
use crate::arch::Arch;

/// The kernel gives 4095 (MAX_ERRNO) for anything above: a profile that asks for more does not get what it says.
const MAX_ERRNO: u64 = 4095;

/// What an object has at a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Given<T> {
    /// Nothing, or null.
    #[default]
    Absent,
    /// A value of another type than this one, in words: `a string`.
    Other(&'static str),
    Value(T),
}

impl<T> Given<T> {
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Given<U> {
        match self {
            Self::Absent => Given::Absent,
            Self::Other(expected) => Given::Other(expected),
            Self::Value(value) => Given::Value(with(value)),
        }
    }
}

impl<T> From<Option<T>> for Given<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }
}

/// An entry of `syscalls` as it is written.
#[derive(Clone, Copy, Debug)]
pub struct RawRule<'a, Names, Conditions> {
    pub names: Given<Names>,
    pub action: Given<&'a str>,
    /// `errnoRet`
    pub errno: Given<u64>,
    /// `args`
    pub conditions: Given<Conditions>,
}

/// An entry of `args` as it is written.
#[derive(Clone, Copy, Debug)]
pub struct RawCondition<'a> {
    pub index: Given<u64>,
    pub value: Given<u64>,
    /// `valueTwo`
    pub second: Given<u64>,
    /// `op`
    pub operator: Given<&'a str>,
}

/// A profile that is being read, key after key.
#[derive(Debug, Default)]
pub struct Reading {
    faults: Vec<Fault>,
    default_action: Option<Action>,
    architectures: Vec<Arch>,
    flags: Option<Vec<Flag>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    rules: Vec<Rule>,
}

/// Where in the object.
#[derive(Clone, Copy)]
enum At {
    Top,
    Rule(usize),
    Condition(usize, usize),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top => Ok(()),
            Self::Rule(rule) => write!(f, "/syscalls/{rule}"),
            Self::Condition(rule, condition) => write!(f, "/syscalls/{rule}/args/{condition}"),
        }
    }
}

impl Reading {
    /// `defaultAction` and `defaultErrnoRet`.
    pub fn default_action(&mut self, name: Given<&str>, errno: Given<u64>) {
        self.default_action =
            self.action(At::Top, ["defaultAction", "defaultErrnoRet"], name, errno);
    }

    pub fn architectures<'a>(&mut self, names: Given<impl IntoIterator<Item = Given<&'a str>>>) {
        let words = self.words(
            "architectures",
            names,
            Arch::named,
            Problem::UnknownArchitecture,
        );
        self.architectures = words.unwrap_or_default();
    }

    pub fn flags<'a>(&mut self, names: Given<impl IntoIterator<Item = Given<&'a str>>>) {
        self.flags = self.words("flags", names, Flag::named, Problem::UnknownFlag);
    }

    pub fn listener_path(&mut self, path: Given<&str>) {
        self.listener_path = self.text("listenerPath", path);
    }

    pub fn listener_metadata(&mut self, metadata: Given<&str>) {
        self.listener_metadata = self.text("listenerMetadata", metadata);
    }

    /// `syscalls`.
    pub fn rules<'a, Names, Conditions>(
        &mut self,
        rules: Given<impl IntoIterator<Item = Given<RawRule<'a, Names, Conditions>>>>,
    ) where
        Names: IntoIterator<Item = Given<&'a str>>,
        Conditions: IntoIterator<Item = Given<RawCondition<'a>>>,
    {
        let Some(rules) = self.value(At::Top, "syscalls", rules) else {
            return;
        };
        let rules = rules.into_iter();
        self.rules.reserve(rules.size_hint().0);
        for (index, rule) in rules.enumerate() {
            let at = At::Rule(index);
            if let Some(rule) = self.element(at, rule)
                && let Some(rule) = self.rule(index, rule)
            {
                self.rules.push(rule);
            }
        }
    }

    /// The profile. Errors: every fault, with its pointer, in the order of reading.
    pub fn finish(self) -> Result<Profile, Invalid> {
        match self.default_action {
            Some(default_action) if self.faults.is_empty() => Ok(Profile {
                default_action,
                architectures: self.architectures,
                flags: self.flags,
                listener_path: self.listener_path,
                listener_metadata: self.listener_metadata,
                rules: self.rules,
            }),
            _ => Err(Invalid {
                faults: self.faults,
            }),
        }
    }

    fn rule<'a>(
        &mut self,
        index: usize,
        rule: RawRule<
            'a,
            impl IntoIterator<Item = Given<&'a str>>,
            impl IntoIterator<Item = Given<RawCondition<'a>>>,
        >,
    ) -> Option<Rule> {
        let at = At::Rule(index);
        let mut names = Vec::new();
        if let Some(given) = self.required(at, "names", rule.names) {
            let given = given.into_iter();
            names.reserve_exact(given.size_hint().0);
            for (place, name) in given.enumerate() {
                let problem = match name {
                    Given::Value(name) if !name.is_empty() => {
                        names.push(Name::new(name));
                        continue;
                    }
                    Given::Other(expected) => Problem::Type { expected },
                    Given::Value(_) | Given::Absent => Problem::EmptyName,
                };
                self.fault(format!("{at}/names/{place}"), problem);
            }
        }
        let action = self.action(at, ["action", "errnoRet"], rule.action, rule.errno);
        let mut conditions = Vec::new();
        let given = self.value(at, "args", rule.conditions);
        for (place, condition) in given.into_iter().flatten().enumerate() {
            let at = At::Condition(index, place);
            if let Some(condition) = self.element(at, condition)
                && let Some(condition) = self.condition(at, condition)
            {
                conditions.push(condition);
            }
        }
        Some(Rule {
            names,
            action: action?,
            conditions,
        })
    }

    fn condition(&mut self, at: At, condition: RawCondition<'_>) -> Option<Condition> {
        let index = self.required(at, "index", condition.index);
        let value = self.required(at, "value", condition.value);
        let second = self.value(at, "valueTwo", condition.second).unwrap_or(0);
        let name = self.required(at, "op", condition.operator);
        let operator = name.and_then(|name| {
            Operator::named(name).or_else(|| {
                let problem = Problem::UnknownOperator(name.to_owned());
                self.fault(format!("{at}/op"), problem);
                None
            })
        });
        let argument = match index? {
            index @ 0..=5 => index as u8,
            index => {
                self.fault(format!("{at}/index"), Problem::Index(index));
                return None;
            }
        };
        let value = value?;
        Some(match operator? {
            Operator::MaskedEqual(_) => Condition {
                argument,
                operator: Operator::MaskedEqual(value),
                value: second,
            },
            operator => Condition {
                argument,
                operator,
                value,
            },
        })
    }

    fn action(
        &mut self,
        at: At,
        [key, errno_key]: [&str; 2],
        name: Given<&str>,
        errno: Given<u64>,
    ) -> Option<Action> {
        let name = self.required(at, key, name);
        let action = name.and_then(|name| {
            Action::named(name).or_else(|| {
                let problem = Problem::UnknownAction(name.to_owned());
                self.fault(format!("{at}/{key}"), problem);
                None
            })
        });
        let number = self.value(at, errno_key, errno);
        let (action, Some(number)) = (action?, number) else {
            return action;
        };
        let most = if matches!(action, Action::Trace(_)) {
            u64::from(u16::MAX)
        } else {
            MAX_ERRNO
        };
        let with = u16::try_from(number)
            .ok()
            .and_then(|number| action.with_number(number));
        let problem = match (with, action.with_number(0)) {
            // config-linux.md: "When the action doesn't support an errno, the runtime MUST print and error and fail."
            (_, None) => Problem::ErrnoForAction {
                action: action.name(),
            },
            (Some(with), _) if number <= most => return Some(with),
            _ => Problem::Errno { number, most },
        };
        self.fault(format!("{at}/{errno_key}"), problem);
        None
    }

    /// Words from a fixed vocabulary, at the top of the object. None: the key is absent.
    fn words<'a, T>(
        &mut self,
        key: &str,
        words: Given<impl IntoIterator<Item = Given<&'a str>>>,
        named: fn(&str) -> Option<T>,
        unknown: fn(String) -> Problem,
    ) -> Option<Vec<T>> {
        let words = self.value(At::Top, key, words)?;
        let mut known = Vec::new();
        for (place, word) in words.into_iter().enumerate() {
            let problem = match word {
                Given::Other(expected) => Problem::Type { expected },
                Given::Absent => unknown(String::new()),
                Given::Value(word) => match named(word) {
                    Some(word) => {
                        known.push(word);
                        continue;
                    }
                    None => unknown(word.to_owned()),
                },
            };
            self.fault(format!("/{key}/{place}"), problem);
        }
        Some(known)
    }

    /// Empty and absent are the same.
    fn text(&mut self, key: &str, text: Given<&str>) -> Option<String> {
        let text = self.value(At::Top, key, text)?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn required<T>(&mut self, at: At, key: &str, given: Given<T>) -> Option<T> {
        if matches!(given, Given::Absent) {
            self.fault(format!("{at}/{key}"), Problem::Missing);
        }
        self.value(at, key, given)
    }

    fn value<T>(&mut self, at: At, key: &str, given: Given<T>) -> Option<T> {
        match given {
            Given::Value(value) => Some(value),
            Given::Absent => None,
            Given::Other(expected) => {
                self.fault(format!("{at}/{key}"), Problem::Type { expected });
                None
            }
        }
    }

    /// An element of an array of objects.
    fn element<T>(&mut self, at: At, given: Given<T>) -> Option<T> {
        match given {
            Given::Value(value) => Some(value),
            Given::Absent => {
                self.fault(at.to_string(), Problem::Missing);
                None
            }
            Given::Other(expected) => {
                self.fault(at.to_string(), Problem::Type { expected });
                None
            }
        }
    }

    #[cold]
    fn fault(&mut self, pointer: String, problem: Problem) {
        self.faults.push(Fault { pointer, problem });
    }
}
