//! Says READY=1 to `$NOTIFY_SOCKET`, as a service does when it has started. Runs inside a container.

use std::os::unix::net::UnixDatagram;

fn main() -> std::io::Result<()> {
    let path = std::env::var_os("NOTIFY_SOCKET")
        .ok_or_else(|| std::io::Error::other("no NOTIFY_SOCKET"))?;
    UnixDatagram::unbound()?.send_to(b"READY=1", path)?;
    Ok(())
}
