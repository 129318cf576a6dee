//! What `create` and `run` have in common: the options of a new container.

use std::path::PathBuf;

use libcontainer::{Console, CreateOptions};

use super::{CgroupManager, Invocation};
use crate::failure::Failure;
use crate::table::flags;

/// Whether the command stays while the container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// The container outlives the command.
    Detached,
    /// The command waits and copies.
    Foreground,
}

/// The bundle's directory.
pub fn bundle(invocation: &Invocation) -> PathBuf {
    invocation
        .matches
        .path(&flags::BUNDLE)
        .unwrap_or_else(|| PathBuf::from("."))
}

/// The options that the flags and the environment ask for.
pub fn options(invocation: &Invocation, attachment: Attachment) -> Result<CreateOptions, Failure> {
    let cgroup_manager = match invocation.cgroup_manager {
        CgroupManager::Cgroupfs => libcontainer::CgroupManager::Cgroupfs,
        CgroupManager::Systemd => libcontainer::CgroupManager::SYSTEMD,
        CgroupManager::Disabled => {
            return Err(Failure::new(
                "--cgroup-manager=disabled: not supported, a container always has its own cgroup",
            ));
        }
    };
    let matches = &invocation.matches;
    let console = match (matches.path(&flags::CONSOLE_SOCKET), attachment) {
        (Some(socket), _) => Console::Socket(socket),
        (None, Attachment::Detached) => Console::None,
        (None, Attachment::Foreground) => Console::Master,
    };
    let (preserve_fds, listen_fds) = (matches.number(&flags::PRESERVE_FDS)?, listen_fds());
    // Now, while nothing of our own is open: one of our fds in the place of a missing one would go to the container.
    libcontainer::check_preserved_fds(listen_fds.saturating_add(preserve_fds))?;
    Ok(CreateOptions {
        cgroup_manager,
        console,
        pid_file: matches.path(&flags::PID_FILE),
        pidfd_socket: matches.path(&flags::PIDFD_SOCKET),
        preserve_fds,
        listen_fds,
        no_pivot: matches.is_set(&flags::NO_PIVOT),
        no_new_keyring: matches.is_set(&flags::NO_NEW_KEYRING),
        notify_socket: std::env::var_os("NOTIFY_SOCKET")
            .filter(|text| !text.is_empty())
            .map(PathBuf::from),
        ..CreateOptions::default()
    })
}

/// The number of sockets that systemd, or an engine in its place, passed to this very process (sd_listen_fds(3)).
fn listen_fds() -> u32 {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
    };
    match number("LISTEN_PID") {
        Some(pid) if pid == std::process::id() => number("LISTEN_FDS").unwrap_or(0),
        _ => 0,
    }
}
