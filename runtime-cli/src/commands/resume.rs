//! `garboard resume`.

use super::Invocation;
use crate::failure::Failure;

/// Lets a paused container go on.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    invocation.container()?.resume()?;
    Ok(0)
}
