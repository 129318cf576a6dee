//! Network devices that move into the container's network namespace.

use crate::config::NetDevice;
use crate::error::{Error, ErrorKind, Pointer};
use crate::host::Host;

/// Moves each device into the network namespace of `pid`.
pub fn move_net_devices(_host: &Host, _pid: i32, devices: &[NetDevice]) -> Result<(), Error> {
    match devices {
        [] => Ok(()),
        [first, ..] => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{}: network devices cannot be moved yet",
                Pointer::CONFIG
                    .key("linux")
                    .key("netDevices")
                    .key(&first.host)
            ),
        )),
    }
}
