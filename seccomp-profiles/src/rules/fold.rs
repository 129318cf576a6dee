//! `socketcall` and `ipc`: one system call for many, the first argument says which (socketcall(2), ipc(2)).
//!
//! The other arguments of a folded call lie in memory, where a filter cannot look. A rule that tests them is carried over by position, as
//! libseccomp does, but its test of the first argument gives way to the one that selects the call.

use crate::arch::Arch;
use crate::tables::Syscall;

/// Where a folded call arrives.
pub(super) struct Folded {
    /// Of `socketcall` or `ipc`.
    pub number: u32,
    /// The first argument.
    pub selector: u64,
}

/// How a call arrives folded; None if it never does.
pub(super) fn folded(call: Syscall, arch: Arch) -> Option<Folded> {
    let (into, selector) = match call.name() {
        "socket" => ("socketcall", 1),
        "bind" => ("socketcall", 2),
        "connect" => ("socketcall", 3),
        "listen" => ("socketcall", 4),
        "accept" => ("socketcall", 5),
        "getsockname" => ("socketcall", 6),
        "getpeername" => ("socketcall", 7),
        "socketpair" => ("socketcall", 8),
        "send" => ("socketcall", 9),
        "recv" => ("socketcall", 10),
        "sendto" => ("socketcall", 11),
        "recvfrom" => ("socketcall", 12),
        "shutdown" => ("socketcall", 13),
        "setsockopt" => ("socketcall", 14),
        "getsockopt" => ("socketcall", 15),
        "sendmsg" => ("socketcall", 16),
        "recvmsg" => ("socketcall", 17),
        "accept4" => ("socketcall", 18),
        "recvmmsg" => ("socketcall", 19),
        "sendmmsg" => ("socketcall", 20),
        "semop" => ("ipc", 1),
        "semget" => ("ipc", 2),
        "semctl" => ("ipc", 3),
        "semtimedop" => ("ipc", 4),
        "msgsnd" => ("ipc", 11),
        "msgrcv" => ("ipc", 12),
        "msgget" => ("ipc", 13),
        "msgctl" => ("ipc", 14),
        "shmat" => ("ipc", 21),
        "shmdt" => ("ipc", 22),
        "shmget" => ("ipc", 23),
        "shmctl" => ("ipc", 24),
        _ => return None,
    };
    let number = Syscall::named(into)?.number(arch)?;
    Some(Folded { number, selector })
}
