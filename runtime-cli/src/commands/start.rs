//! `garboard start`.

use std::path::Path;

use super::Invocation;
use crate::failure::Failure;

/// Lets the user's program run. Under a service manager that listens for readiness, waits until the program has said that it is ready.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let container = invocation.container()?;
    match std::env::var_os("NOTIFY_SOCKET").filter(|text| !text.is_empty()) {
        None => container.start()?,
        Some(host) => {
            if let Some(proxy) = container.start_notifying(Path::new(&host))? {
                proxy.wait()?;
            }
        }
    }
    Ok(0)
}
