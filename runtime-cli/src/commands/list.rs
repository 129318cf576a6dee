//! `garboard list`.

use libcontainer::{ErrorKind, Runtime, State};

use super::Invocation;
use crate::failure::Failure;
use crate::log;
use crate::output::{self, Row};
use crate::root::{Chosen, StateRoot};
use crate::table::flags;

/// Prints the containers of the state root.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let format = match invocation.matches.text(&flags::FORMAT)?.unwrap_or("table") {
        "table" if invocation.matches.is_set(&flags::QUIET) => output::ids,
        "table" => output::table,
        "json" => output::array,
        _ => return Err(Failure::new("invalid format option")),
    };
    let states = states(&invocation.state_root()?)?;
    let rows: Vec<Row<'_>> = states
        .iter()
        .map(|(state, owner)| Row { state, owner })
        .collect();
    output::print(&format(&rows))?;
    Ok(0)
}

/// The readable states with the names of their owners; the others are told on standard error.
fn states(root: &StateRoot) -> Result<Vec<(State, String)>, Failure> {
    let runtime = match Runtime::open_existing(&root.path) {
        Ok(runtime) => runtime,
        // Nobody has made a container yet. A root that was asked for by name is expected to be there.
        Err(why) if why.kind() == ErrorKind::NotFound && root.chosen == Chosen::ByDefault => {
            return Ok(Vec::new());
        }
        Err(why) => return Err(why.into()),
    };
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut states = Vec::new();
    for (id, state) in runtime.list()? {
        match state {
            Ok(state) => {
                let owner = owner(state.owner_uid, &passwd);
                states.push((state, owner));
            }
            Err(why) => log::to_stderr(&format!("load container {id}: {why}\n")),
        }
    }
    states.sort_by(|(left, _), (right, _)| left.id.cmp(&right.id));
    Ok(states)
}

/// Name of a user, or `#UID`.
fn owner(uid: u32, passwd: &str) -> String {
    user_name(uid, passwd).map_or_else(|| format!("#{uid}"), str::to_owned)
}

/// The first name of `uid` in the text of passwd(5).
fn user_name(uid: u32, passwd: &str) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n\nme:x:1000:100::/:/bin/sh\nalso:x:1000:100::/:/bin/sh";
        assert_eq!(user_name(0, passwd), Some("root"));
        assert_eq!(user_name(1000, passwd), Some("me"));
        assert_eq!(user_name(100, passwd), None);
    }
}
