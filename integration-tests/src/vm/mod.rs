//! A virtual machine to test in: Debian with systemd, cgroup v2 with every controller, AppArmor and all capabilities, which the machine at hand may lack.
//!
//! [`image`] builds the disk once, into the user's cache, boots it, and saves the state of the machine that has come up. [`machine`] goes on from
//! that state in software emulation (KVM is not wanted), with the disk as a throwaway snapshot and a second disk that holds this build's programs.
//! [`agent`] is the program that the guest's systemd starts from that
//! second disk; [`session`] is its caller on the host. The two talk over virtio-serial ports in the frames of [`wire`]: no network, no keys, no
//! port numbers that two users could want at once, and it works before and without anything but the kernel and systemd in the guest.
//!
//! Every machine has a directory of its own with its sockets, its locks and its console. It ends with who started it: qemu is killed by the kernel
//! when its parent dies, and a machine that is kept for several calls ends when nobody has called it for an hour.

pub mod agent;
pub mod image;
pub mod machine;
pub mod qemu;
pub mod session;
pub mod wire;

/// The ordinary user of the guest: it has ranges of subordinate ids, and its systemd manager runs from boot on.
pub const USER: &str = "tester";
/// Where the guest mounts the second disk.
pub const LAB: &str = "/lab";
/// How many commands can run in a guest at the same time.
pub const PORTS: u32 = 6;
/// What a port is called in the guest, before its number.
pub const PORT_NAME: &str = "garboard.";
