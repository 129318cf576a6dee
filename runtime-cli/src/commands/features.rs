//! `garboard features`.

use libcontainer::config;
use libcontainer::host::Host;

use super::Invocation;
use crate::failure::Failure;
use crate::output;

/// Prints the features structure.
pub fn run(_: &Invocation) -> Result<u8, Failure> {
    let host = Host::new();
    output::print(&config::features(host.facts()?.last_cap))?;
    Ok(0)
}
