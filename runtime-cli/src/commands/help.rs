//! `garboard help`.

use super::Invocation;
use crate::failure::{Failure, UNKNOWN_COMMAND};
use crate::table::Command;
use crate::{help, output};

/// Prints the help of the program, or of the command that the argument names.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let text = match invocation.matches.positional(0)? {
        "" => help::program(),
        name => help::command(Command::named(name).ok_or_else(|| unknown(name))?),
    };
    output::print(&text)?;
    Ok(0)
}

/// The failure of a command that there is none of.
pub fn unknown(name: &str) -> Failure {
    Failure::Failed {
        message: format!("No help topic for '{name}'"),
        code: UNKNOWN_COMMAND,
    }
}
