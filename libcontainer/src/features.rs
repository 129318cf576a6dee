//! The features document of this library on this machine (runtime-spec features.md), for engines to read.

use seccomp_profiles::Flags;
use seccomp_profiles::profile::Flag;

use crate::config;
use crate::error::Error;
use crate::host::Host;

/// The document as JSON with 4 spaces and a newline at its end: what config.json may hold here. Generated from the tables that the
/// validation itself uses. Errors: Refused when procfs cannot be read.
pub fn features() -> Result<String, Error> {
    let host = Host::new();
    Ok(config::features(
        host.facts()?.last_cap,
        &supported_seccomp_flags(),
    ))
}

/// What the kernel answers when asked for each flag; no filter is loaded.
fn supported_seccomp_flags() -> Vec<&'static str> {
    Flag::ALL
        .into_iter()
        .filter(|flag| {
            let asked = match flag {
                // It says how a listener waits.
                Flag::WaitKillableRecv => Flags::from(*flag).with(Flags::NEW_LISTENER),
                Flag::Tsync | Flag::Log | Flag::SpecAllow => Flags::from(*flag),
            };
            stage::sys::knows_seccomp_flags(asked.0).is_ok()
        })
        .map(Flag::name)
        .collect()
}
