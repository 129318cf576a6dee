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

const SOCKETS: [(&str, u8); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

const IPC: [(&str, u8); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// By call: its selector, with this bit for `ipc`; 0 if it never arrives folded.
static SELECTORS: [u8; Syscall::COUNT] = {
    let mut selectors = [0; Syscall::COUNT];
    let mut at = 0;
    while at < SOCKETS.len() {
        selectors[Syscall::index_of(SOCKETS[at].0)] = SOCKETS[at].1;
        at += 1;
    }
    at = 0;
    while at < IPC.len() {
        selectors[Syscall::index_of(IPC[at].0)] = IPC[at].1 | OF_IPC;
        at += 1;
    }
    selectors
};

const OF_IPC: u8 = 0x80;

/// How calls arrive folded on one architecture.
pub(super) struct Folds {
    socketcall: Option<u32>,
    ipc: Option<u32>,
}

impl Folds {
    pub fn of(arch: Arch) -> Self {
        let number = |name| Syscall::named(name).filter(|_| arch.folds())?.number(arch);
        Self {
            socketcall: number("socketcall"),
            ipc: number("ipc"),
        }
    }

    /// None if the call never arrives folded here.
    pub fn folded(&self, call: Syscall) -> Option<Folded> {
        let selector = SELECTORS[call.index()];
        let number = match selector {
            0 => None,
            OF_IPC.. => self.ipc,
            _ => self.socketcall,
        };
        Some(Folded {
            number: number?,
            selector: u64::from(selector & !OF_IPC),
        })
    }
}
