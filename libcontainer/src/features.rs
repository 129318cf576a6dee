//! The features document of this library on this machine (runtime-spec features.md), for engines to read.

use crate::config;
use crate::error::Error;
use crate::host::Host;

/// The document as JSON with 4 spaces and a newline at its end: what config.json may hold here. Generated from the tables that the
/// validation itself uses. Errors: Refused when procfs cannot be read.
pub fn features() -> Result<String, Error> {
    let host = Host::new();
    Ok(config::features(host.facts()?.last_cap))
}
