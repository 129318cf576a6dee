//! What the validation must know of the machine: pure data, so that every rule can be tested without one.

/// Facts about the machine and the caller, gathered before a configuration is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// `/proc/sys/kernel/cap_last_cap`.
    pub last_cap: u32,
    /// SELinux is on (selinuxfs is mounted).
    pub selinux: bool,
    /// AppArmor is on.
    pub apparmor: bool,
    /// The caller's effective uid is not 0: no mount, no mapping without a user namespace.
    pub unprivileged: bool,
    /// `unprivileged`, or root of a user namespace only: the host's cgroups and devices are out of reach.
    pub rootless: bool,
    /// The pure (unified) cgroup v2 layout.
    pub cgroup_v2: bool,
}
