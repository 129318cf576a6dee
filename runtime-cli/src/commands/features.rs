//! `garboard features`.

use super::Invocation;
use crate::failure::Failure;
use crate::output;

/// Prints the features structure.
pub fn run(_: &Invocation) -> Result<u8, Failure> {
    output::print(&libcontainer::features()?)?;
    Ok(0)
}
