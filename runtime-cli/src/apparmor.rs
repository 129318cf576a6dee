//! Signals to containers that AppArmor confines, where it knows this program by name.
//!
//! The package brings a profile that confines nothing and lets garboard make user namespaces (packaging/apparmor). By it garboard is no longer
//! `unconfined`, and that is the only sender whose signals the profiles of Docker, containerd and Podman let in, runc and crun apart
//! (<https://github.com/moby/moby/issues/47720>). A signal that was refused is sent once more as `unconfined`.

use std::fs;

use libcontainer::Error;
use rustix::io::Errno;

/// The calling process's label; the second one is for kernels before 5.1, where no other module has one.
const LABELS: [&str; 2] = [
    "/proc/self/attr/apparmor/current",
    "/proc/self/attr/current",
];

/// What `send` gives; asked again without the profile if it was refused with EACCES, which is AppArmor's: kill(2) itself says EPERM.
pub fn send_as_unconfined<T>(send: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    match send() {
        Err(error)
            if error.errno() == Some(Errno::ACCESS.into())
                && LABELS.iter().any(|path| leave_profile(path)) =>
        {
            send()
        }
        done => done,
    }
}

/// Only a profile that confines nothing is left: another one is somebody's decision about garboard.
fn leave_profile(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|label| confines_nothing(label.trim_end()))
        && fs::write(path, "changeprofile unconfined").is_ok()
}

/// `NAME (unconfined)`; plain `unconfined` is no profile.
fn confines_nothing(label: &str) -> bool {
    label.ends_with(" (unconfined)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_profile_that_confines_nothing_is_left() {
        for (label, left) in [
            ("garboard (unconfined)", true),
            ("garboard (enforce)", false),
            ("garboard (complain)", false),
            ("unconfined", false),
            ("", false),
        ] {
            assert_eq!(confines_nothing(label), left, "{label}");
        }
    }
}
