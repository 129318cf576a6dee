//! `garboard delete`.

use super::Invocation;
use crate::failure::Failure;
use crate::table::flags;

/// Removes the container.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    invocation
        .runtime()?
        .delete(invocation.id()?, invocation.matches.is_set(&flags::FORCE))?;
    Ok(0)
}
