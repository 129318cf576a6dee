//! The device policy as systemd's `DevicePolicy=` and `DeviceAllow=`, so that it stands after a `daemon-reload`. Pure.
//!
//! systemd knows allow-lists only, and sets its own policy again at each reload. On cgroup2 both its program and ours are asked then and both
//! must allow: so what it allows must be no less than what we do, and where no allow-list says that, it is told to allow everything and our
//! program, which no reload touches, decides alone. On v1 there is one policy for both: what is left out there is denied after a reload.

use crate::config::{DeviceKind, DeviceRule};

use super::super::device::{ALL, MKNOD, READ, WRITE, access, default_allow};
use super::super::path::Version;
use super::bus::Value;
use super::properties::Property;

/// One kind, major and minor number (`None`: all), and the accesses that are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowed {
    block: bool,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

/// What a list of rules comes to.
#[derive(Debug, PartialEq, Eq)]
enum Policy {
    Everything,
    /// Just these. `exact`: nothing that the rules allow is missing.
    List {
        allowed: Vec<Allowed>,
        exact: bool,
    },
}

/// `DevicePolicy` and `DeviceAllow` for the rules of `config.json`, the default allow-list after them.
pub fn properties(rules: &[DeviceRule], version: Version) -> [Property; 3] {
    let (policy, list) = match policy(rules) {
        Policy::Everything => ("auto", Vec::new()),
        Policy::List { exact: false, .. } if version == Version::V2 => ("auto", Vec::new()),
        Policy::List { allowed, .. } => ("strict", allowed.iter().filter_map(entry).collect()),
    };
    [
        Property::new("DevicePolicy", policy),
        // An empty list takes away what was there before.
        Property::new("DeviceAllow", Value::Pairs(Vec::new())),
        Property::new("DeviceAllow", Value::Pairs(list)),
    ]
}

fn policy(rules: &[DeviceRule]) -> Policy {
    let mut everything = false;
    let mut allowed: Vec<Allowed> = Vec::new();
    let mut exact = true;
    for rule in rules.iter().chain(default_allow()) {
        let total = rule.kind == DeviceKind::All && rule.major.is_none() && rule.minor.is_none();
        if total && access(rule) == ALL {
            everything = rule.allow;
            allowed.clear();
            exact = true;
            continue;
        }
        let kinds: &[bool] = match rule.kind {
            DeviceKind::All => &[false, true],
            DeviceKind::Char => &[false],
            DeviceKind::Block => &[true],
        };
        for &block in kinds {
            let one = Allowed {
                block,
                major: rule.major,
                minor: rule.minor,
                access: access(rule),
            };
            match (rule.allow, everything) {
                (true, true) => {}
                (true, false) => allow(&mut allowed, one),
                // Everything but something: no allow-list says that.
                (false, true) => {
                    return Policy::List {
                        allowed: Vec::new(),
                        exact: false,
                    };
                }
                (false, false) => exact &= deny(&mut allowed, one),
            }
        }
    }
    if everything {
        return Policy::Everything;
    }
    exact &= allowed.iter().all(|one| entry(one).is_some()) && !any_split(&allowed);
    Policy::List { allowed, exact }
}

/// Whether one entry gives a device its reads and another its writes: systemd wants a single entry that gives all that an open(2) asks for.
/// (mknod is asked for by itself.)
fn any_split(list: &[Allowed]) -> bool {
    list.iter().enumerate().any(|(index, one)| {
        list[..index].iter().any(|other| {
            let both = (one.access | other.access) & (READ | WRITE);
            one.overlaps(other) && both & !one.access != 0 && both & !other.access != 0
        })
    })
}

fn allow(list: &mut Vec<Allowed>, one: Allowed) {
    let same = list.iter_mut().find(|other| other.same_devices(&one));
    match same {
        Some(other) => other.access |= one.access,
        None => list.push(one),
    }
}

/// Takes the accesses off every entry that the rule may touch. False when that took more than the rule asks: an entry of other devices too.
fn deny(list: &mut Vec<Allowed>, one: Allowed) -> bool {
    let mut exact = true;
    for other in list.iter_mut().filter(|other| other.overlaps(&one)) {
        exact &= other.access & one.access == 0 || one.covers(other);
        other.access &= !one.access;
    }
    list.retain(|other| other.access != 0);
    exact
}

impl Allowed {
    fn same_devices(&self, other: &Allowed) -> bool {
        (self.block, self.major, self.minor) == (other.block, other.major, other.minor)
    }

    fn overlaps(&self, other: &Allowed) -> bool {
        let meet =
            |one: Option<u32>, other: Option<u32>| one.is_none() || other.is_none() || one == other;
        self.block == other.block && meet(self.major, other.major) && meet(self.minor, other.minor)
    }

    /// Whether every device of `other` is one of these.
    fn covers(&self, other: &Allowed) -> bool {
        self.block == other.block
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }
}

/// An element of DeviceAllow: a path is taken by its numbers, whether the node is there or not (systemd 240). `None`: one minor number of
/// every major cannot be said.
fn entry(allowed: &Allowed) -> Option<(String, String)> {
    let kind = if allowed.block { "block" } else { "char" };
    let devices = match (allowed.major, allowed.minor) {
        (None, None) => format!("{kind}-*"),
        (Some(major), None) => format!("{kind}-{major}"),
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (None, Some(_)) => return None,
    };
    let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
    let access = letters.iter().filter(|(bit, _)| allowed.access & bit != 0);
    Some((devices, access.map(|(_, letter)| letter).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, text: &str) -> DeviceRule {
        let mut words = text.split(' ');
        let kind = match words.next().unwrap() {
            "c" => DeviceKind::Char,
            "b" => DeviceKind::Block,
            _ => DeviceKind::All,
        };
        let (major, minor) = words.next().unwrap().split_once(':').unwrap();
        let access = words.next().unwrap();
        DeviceRule {
            allow,
            kind,
            major: major.parse().ok(),
            minor: minor.parse().ok(),
            read: access.contains('r'),
            write: access.contains('w'),
            mknod: access.contains('m'),
        }
    }

    /// `+c 1:3 rw` allows, `-a *:* rwm` denies.
    fn shown(rules: &[&str], version: Version) -> String {
        let rules: Vec<_> = rules
            .iter()
            .map(|text| rule(text.starts_with('+'), &text[1..]))
            .collect();
        let [policy, cleared, list] = properties(&rules, version);
        assert_eq!(cleared.value, Value::Pairs(Vec::new()));
        let (Value::Text(policy), Value::Pairs(list)) = (policy.value, list.value) else {
            panic!("not a policy and a list");
        };
        // What every container gets, in its order.
        let usual = "char-* m, block-* m, /dev/char/1:3 rwm, /dev/char/1:8 rwm, /dev/char/1:7 rwm, /dev/char/5:0 rwm, \
            /dev/char/1:5 rwm, /dev/char/1:9 rwm, char-136 rwm, /dev/char/5:2 rwm, /dev/char/10:200 rwm";
        let list: Vec<_> = list
            .iter()
            .map(|(devices, access)| format!("{devices} {access}"))
            .collect();
        format!("{policy}: {}", list.join(", ").replace(usual, "…"))
    }

    #[test]
    fn rules_become_an_allow_list_where_one_says_the_same() {
        let table: [(&[&str], &str); 8] = [
            (&[], "strict: …"),
            (&["-a *:* rwm"], "strict: …"),
            (&["+a *:* rwm"], "auto: "),
            (
                &["-a *:* rwm", "+c 195:0 rw", "+b 8:* r"],
                "strict: /dev/char/195:0 rw, block-8 r, …",
            ),
            (
                &["+c 195:0 r", "+c 195:0 w"],
                "strict: /dev/char/195:0 rw, …",
            ),
            (
                &["+c 195:0 rwm", "-c 195:* rw"],
                "strict: /dev/char/195:0 m, …",
            ),
            (
                &["+c 195:0 rwm", "-a *:* rwm", "+c 7:7 r"],
                "strict: /dev/char/7:7 r, …",
            ),
            (
                &["+a 9:9 r"],
                "strict: /dev/char/9:9 r, /dev/block/9:9 r, …",
            ),
        ];
        for (rules, expected) in table {
            assert_eq!(shown(rules, Version::V2), expected, "{rules:?}");
        }
    }

    #[test]
    fn where_none_does_our_program_decides_alone_and_v1_denies() {
        let table: [(&[&str], &str); 5] = [
            (
                &["+c 195:* r", "+c 195:3 w"],
                "strict: char-195 r, /dev/char/195:3 w, …",
            ),
            (&["+c 195:* rwm", "-c 195:3 rwm"], "strict: …"),
            (&["+a *:* rwm", "-c 10:229 rwm"], "strict: "),
            (&["+c *:3 r"], "strict: …"),
            (&["+c 195:* rwm", "-c *:3 w"], "strict: char-195 rm, …"),
        ];
        for (rules, on_v1) in table {
            assert_eq!(shown(rules, Version::V2), "auto: ", "{rules:?}");
            assert_eq!(shown(rules, Version::V1), on_v1, "{rules:?}");
        }
    }
}
