//! Where a systemd listens.
//!
//! Its own socket comes first: what is said there goes to systemd itself, needs no bus daemon and no greeting, and costs two round trips. The
//! bus comes second. An address in the environment that names another bus is what the user wants instead of both.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::stat;

use crate::error::{Error, ErrorKind};
use crate::host::Host;

use super::bus::{Address, parse_addresses};
use super::unit::Manager;

/// Exists where systemd is process 1 (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
const PRIVATE: &str = "/run/systemd/private";
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// A socket on which a systemd can be reached.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Endpoint {
    pub address: Address,
    /// systemd's own socket, without a bus between.
    pub private: bool,
}

/// Whose systemd is to make a container's unit: the machine's for root, the user's own for everybody else. Root of a user namespace is root
/// where systemd runs in that namespace too. Errors: Unsupported where systemd is not process 1.
pub fn manager(host: &Host) -> Result<Manager, Error> {
    let running = stat(BOOTED).is_ok_and(|found| found.st_mode & 0o170_000 == 0o040_000);
    if !running {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "systemd not running on this host, cannot use systemd cgroups manager (hint: without --systemd-cgroup the cgroup is made in the \
             filesystem)",
        ));
    }
    let own = host.euid() == 0 && stat(PRIVATE).is_ok_and(|found| found.st_uid == 0);
    Ok(if own || !host.rootless()? {
        Manager::System
    } else {
        Manager::User
    })
}

/// Where to look for it, in this order. Errors: Unsupported when the environment of a user names nothing.
pub fn endpoints(
    manager: Manager,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<Endpoint>, Error> {
    let addresses = |name: &str| {
        let text = variable(name).unwrap_or_default();
        parse_addresses(&text.to_string_lossy())
    };
    let found = match manager {
        Manager::System => choose(
            addresses("DBUS_SYSTEM_BUS_ADDRESS"),
            Some((PathBuf::from(PRIVATE), PathBuf::from(SYSTEM_BUS))),
        ),
        Manager::User => {
            let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
            let runtime = runtime.filter(|path| path.is_absolute());
            choose(
                addresses("DBUS_SESSION_BUS_ADDRESS"),
                runtime.map(|path| (path.join("systemd/private"), path.join("bus"))),
            )
        }
    };
    if found.is_empty() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "no bus of the user's systemd: neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set (hint: log in anew, or make the user \
             linger with loginctl enable-linger)",
        ));
    }
    Ok(found)
}

/// `usual`: systemd's own socket and the bus that belongs to it.
fn choose(asked: Vec<Address>, usual: Option<(PathBuf, PathBuf)>) -> Vec<Endpoint> {
    let other = |bus: &Path| !asked.contains(&Address::Path(bus.to_path_buf()));
    match usual {
        Some((private, bus)) if asked.is_empty() || !other(&bus) => vec![
            Endpoint {
                address: Address::Path(private),
                private: true,
            },
            Endpoint {
                address: Address::Path(bus),
                private: false,
            },
        ],
        _ => asked
            .into_iter()
            .map(|address| Endpoint {
                address,
                private: false,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(manager: Manager, environment: &[(&str, &str)]) -> String {
        let variable = |name: &str| {
            let mut all = environment.iter();
            all.find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        };
        match endpoints(manager, variable) {
            Ok(found) => found
                .iter()
                .map(|one| {
                    format!(
                        "{}{}",
                        one.address,
                        if one.private { " itself" } else { "" }
                    )
                })
                .collect::<Vec<_>>()
                .join(", "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn systemds_own_socket_first_and_the_environment_before_it() {
        let session = "DBUS_SESSION_BUS_ADDRESS";
        let usual = "unix:path=/run/systemd/private itself, unix:path=/run/dbus/system_bus_socket";
        let users = "unix:path=/run/user/7/systemd/private itself, unix:path=/run/user/7/bus";
        let runtime = ("XDG_RUNTIME_DIR", "/run/user/7");
        assert_eq!(shown(Manager::System, &[]), usual);
        assert_eq!(
            shown(Manager::System, &[("DBUS_SYSTEM_BUS_ADDRESS", "")]),
            usual
        );
        let own = (
            "DBUS_SYSTEM_BUS_ADDRESS",
            "unix:path=/run/dbus/system_bus_socket",
        );
        assert_eq!(shown(Manager::System, &[own]), usual);
        let other = ("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/x");
        assert_eq!(shown(Manager::System, &[other]), "unix:path=/x");
        assert_eq!(shown(Manager::User, &[runtime]), users);
        assert_eq!(
            shown(
                Manager::User,
                &[runtime, (session, "unix:path=/run/user/7/bus,guid=1")]
            ),
            users
        );
        assert_eq!(
            shown(Manager::User, &[runtime, (session, "unix:path=/x")]),
            "unix:path=/x"
        );
        assert_eq!(
            shown(Manager::User, &[(session, "unix:path=/x")]),
            "unix:path=/x"
        );
        let nothing = shown(Manager::User, &[("XDG_RUNTIME_DIR", "relative")]);
        assert!(
            nothing.starts_with("no bus of the user's systemd"),
            "{nothing}"
        );
    }
}
