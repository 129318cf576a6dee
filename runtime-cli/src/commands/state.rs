//! `garboard state`.

use super::Invocation;
use crate::failure::Failure;
use crate::output;

/// Prints the state, without a newline at the end, as runc does.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let state = invocation.container()?.state()?;
    output::print(&output::state(&state))?;
    Ok(0)
}
