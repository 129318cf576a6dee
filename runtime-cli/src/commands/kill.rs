//! `garboard kill`.

use super::Invocation;
use crate::apparmor;
use crate::failure::Failure;
use crate::signals;
use crate::table::flags;

/// Sends the signal.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let signal = match invocation.matches.positional(1)? {
        "" => "SIGTERM",
        given => given,
    };
    let number = signals::number(signal)
        .ok_or_else(|| Failure::new(format!("unknown signal {signal:?}")))?;
    let container = invocation.container()?;
    let all = invocation.matches.is_set(&flags::ALL);
    apparmor::send_as_unconfined(|| container.kill(number, all))?;
    Ok(0)
}
