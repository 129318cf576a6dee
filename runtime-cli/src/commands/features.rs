//! `garboard features`.

use libcontainer::config;
use libcontainer::host::Host;

use super::Invocation;
use crate::failure::Failure;
use crate::output;

/// Prints the features structure.
pub fn run(_: &Invocation) -> Result<u8, Failure> {
    let facts = Host::new().facts()?;
    output::print(&config::features(facts.last_cap))?;
    Ok(0)
}
