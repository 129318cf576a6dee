//! `garboard pause`.

use super::Invocation;
use crate::failure::Failure;

/// Freezes the container.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    invocation.container()?.pause()?;
    Ok(0)
}
