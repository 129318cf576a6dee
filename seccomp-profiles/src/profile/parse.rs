//! From JSON to a [`Profile`]: every fault of the object is found in one walk, and named by its JSON pointer.

use std::fmt;

use serde_json::{Map, Value};

use super::{Condition, Flag, Operator, Profile, Rule};
use crate::action::Action;
use crate::arch::Arch;

/// Why an object is no profile: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// At least one, in the object's order.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {problem}")]
pub struct Fault {
    /// RFC 6901, from the `seccomp` object on: `/syscalls/3/args/0/op`.
    pub pointer: String,
    pub problem: Problem,
}

/// The ways in which a profile can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    #[error("is required")]
    Missing,
    #[error("should be {expected}")]
    Type { expected: &'static str },
    #[error("unknown action \"{0}\"")]
    UnknownAction(String),
    #[error("unknown operator \"{0}\"")]
    UnknownOperator(String),
    #[error("unknown architecture \"{0}\"")]
    UnknownArchitecture(String),
    #[error("unknown flag \"{0}\"")]
    UnknownFlag(String),
    #[error("a system call has arguments 0 to 5, not {0}")]
    Index(u64),
    #[error("{action} gives no errno: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take one")]
    ErrnoForAction { action: &'static str },
    #[error("{number} is more than {most}")]
    Errno { number: u64, most: u64 },
    #[error("the name of a system call is empty")]
    EmptyName,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// The kernel gives 4095 (MAX_ERRNO) for anything above: a profile that asks for more does not get what it says.
const MAX_ERRNO: u64 = 4095;

impl Profile {
    /// Reads the OCI `linux.seccomp` object. Errors: every fault, with its pointer.
    pub fn from_value(value: &Value) -> Result<Self, Invalid> {
        let mut reader = Reader { faults: Vec::new() };
        let profile = match value {
            Value::Object(object) => reader.profile(object),
            _ => {
                reader.fault(
                    "",
                    Problem::Type {
                        expected: "an object",
                    },
                );
                None
            }
        };
        match profile {
            Some(profile) if reader.faults.is_empty() => Ok(profile),
            _ => Err(Invalid {
                faults: reader.faults,
            }),
        }
    }
}

/// Collects what is wrong; a method that gives None has said why.
struct Reader {
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, pointer: impl Into<String>, problem: Problem) {
        self.faults.push(Fault {
            pointer: pointer.into(),
            problem,
        });
    }

    fn profile(&mut self, object: &Map<String, Value>) -> Option<Profile> {
        let default_action = self.action(object, "", "defaultAction", "defaultErrnoRet");
        let architectures = self.words(
            object,
            "architectures",
            Arch::named,
            Problem::UnknownArchitecture,
        );
        let flags = self.words(object, "flags", Flag::named, Problem::UnknownFlag);
        let listener_path = self.text(object, "listenerPath");
        let listener_metadata = self.text(object, "listenerMetadata");
        let rules = self.list(object, "", "syscalls").unwrap_or_default();
        let rules = rules
            .iter()
            .enumerate()
            .filter_map(|(at, rule)| self.rule(&format!("/syscalls/{at}"), rule))
            .collect();
        Some(Profile {
            default_action: default_action?,
            architectures: architectures.unwrap_or_default(),
            flags,
            listener_path,
            listener_metadata,
            rules,
        })
    }

    fn rule(&mut self, at: &str, rule: &Value) -> Option<Rule> {
        let Value::Object(rule) = rule else {
            self.fault(
                at,
                Problem::Type {
                    expected: "an object",
                },
            );
            return None;
        };
        if rule.get("names").is_none_or(Value::is_null) {
            self.fault(format!("{at}/names"), Problem::Missing);
        }
        let names = self.list(rule, at, "names").unwrap_or_default();
        let names = names
            .iter()
            .enumerate()
            .filter_map(|(index, name)| self.name(at, index, name))
            .collect();
        let action = self.action(rule, at, "action", "errnoRet");
        let arguments = self.list(rule, at, "args").unwrap_or_default();
        let conditions = arguments
            .iter()
            .enumerate()
            .filter_map(|(index, condition)| {
                self.condition(&format!("{at}/args/{index}"), condition)
            })
            .collect();
        Some(Rule {
            names,
            action: action?,
            conditions,
        })
    }

    fn name(&mut self, at: &str, index: usize, name: &Value) -> Option<String> {
        match name {
            Value::String(name) if !name.is_empty() => return Some(name.clone()),
            Value::String(_) => self.fault(format!("{at}/names/{index}"), Problem::EmptyName),
            _ => self.fault(
                format!("{at}/names/{index}"),
                Problem::Type {
                    expected: "a string",
                },
            ),
        }
        None
    }

    fn condition(&mut self, at: &str, condition: &Value) -> Option<Condition> {
        let Value::Object(condition) = condition else {
            self.fault(
                at,
                Problem::Type {
                    expected: "an object",
                },
            );
            return None;
        };
        let index = self.required(condition, at, "index");
        let value = self.required(condition, at, "value");
        let second = self.number(condition, at, "valueTwo").ok()?.unwrap_or(0);
        let operator = self.operator(condition, at);
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

    fn operator(&mut self, condition: &Map<String, Value>, at: &str) -> Option<Operator> {
        let pointer = format!("{at}/op");
        match condition.get("op") {
            None | Some(Value::Null) => self.fault(pointer, Problem::Missing),
            Some(Value::String(name)) => match name.as_str() {
                "SCMP_CMP_NE" => return Some(Operator::NotEqual),
                "SCMP_CMP_LT" => return Some(Operator::Less),
                "SCMP_CMP_LE" => return Some(Operator::LessOrEqual),
                "SCMP_CMP_EQ" => return Some(Operator::Equal),
                "SCMP_CMP_GE" => return Some(Operator::GreaterOrEqual),
                "SCMP_CMP_GT" => return Some(Operator::Greater),
                "SCMP_CMP_MASKED_EQ" => return Some(Operator::MaskedEqual(0)),
                _ => self.fault(pointer, Problem::UnknownOperator(name.clone())),
            },
            Some(_) => self.fault(
                pointer,
                Problem::Type {
                    expected: "a string",
                },
            ),
        }
        None
    }

    fn action(
        &mut self,
        object: &Map<String, Value>,
        at: &str,
        key: &str,
        errno_key: &str,
    ) -> Option<Action> {
        let pointer = format!("{at}/{key}");
        let action = match object.get(key) {
            None | Some(Value::Null) => {
                self.fault(pointer, Problem::Missing);
                None
            }
            Some(Value::String(name)) => Action::named(name).or_else(|| {
                self.fault(pointer, Problem::UnknownAction(name.clone()));
                None
            }),
            Some(_) => {
                self.fault(
                    pointer,
                    Problem::Type {
                        expected: "a string",
                    },
                );
                None
            }
        };
        let number = self.number(object, at, errno_key).ok()?;
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
        match (with, action.with_number(0)) {
            // config-linux.md: "When the action doesn't support an errno, the runtime MUST print and error and fail."
            (_, None) => self.fault(
                format!("{at}/{errno_key}"),
                Problem::ErrnoForAction {
                    action: action.name(),
                },
            ),
            (Some(with), _) if number <= most => return Some(with),
            _ => self.fault(format!("{at}/{errno_key}"), Problem::Errno { number, most }),
        }
        None
    }

    fn required(&mut self, object: &Map<String, Value>, at: &str, key: &str) -> Option<u64> {
        let number = self.number(object, at, key).ok()?;
        if number.is_none() {
            self.fault(format!("{at}/{key}"), Problem::Missing);
        }
        number
    }

    /// Absent and null are the same; Err if it is anything but a number, which has been said.
    fn number(
        &mut self,
        object: &Map<String, Value>,
        at: &str,
        key: &str,
    ) -> Result<Option<u64>, ()> {
        match object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| {
                self.fault(
                    format!("{at}/{key}"),
                    Problem::Type {
                        expected: "a whole number that is not negative",
                    },
                );
            }),
        }
    }

    fn text(&mut self, object: &Map<String, Value>, key: &str) -> Option<String> {
        match object.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()).filter(|text| !text.is_empty()),
            Some(_) => {
                self.fault(
                    format!("/{key}"),
                    Problem::Type {
                        expected: "a string",
                    },
                );
                None
            }
        }
    }

    fn list<'v>(
        &mut self,
        object: &'v Map<String, Value>,
        at: &str,
        key: &str,
    ) -> Option<&'v [Value]> {
        match object.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::Array(list)) => Some(list),
            Some(_) => {
                self.fault(
                    format!("{at}/{key}"),
                    Problem::Type {
                        expected: "an array",
                    },
                );
                None
            }
        }
    }

    /// A list of words from a fixed vocabulary, at the top of the object.
    fn words<T>(
        &mut self,
        object: &Map<String, Value>,
        key: &str,
        named: fn(&str) -> Option<T>,
        unknown: fn(String) -> Problem,
    ) -> Option<Vec<T>> {
        let list = self.list(object, "", key)?;
        let mut words = Vec::with_capacity(list.len());
        for (at, word) in list.iter().enumerate() {
            match word.as_str().map(|word| named(word).ok_or(word)) {
                Some(Ok(word)) => words.push(word),
                Some(Err(word)) => self.fault(format!("/{key}/{at}"), unknown(word.to_owned())),
                None => self.fault(
                    format!("/{key}/{at}"),
                    Problem::Type {
                        expected: "a string",
                    },
                ),
            }
        }
        Some(words)
    }
}
