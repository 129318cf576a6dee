//! `garboard start`.

use super::Invocation;
use crate::failure::Failure;

/// Lets the user's program run.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    invocation.container()?.start()?;
    Ok(0)
}
