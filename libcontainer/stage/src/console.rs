//! The container's terminal, from its own devpts instance (R13: no terminal of the host inside).

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstatfs, openat2};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::channel::Channel;
use crate::fault::{Fault, On, Result};
use crate::message::{Call, ToParent};
use crate::{mount, path, stdio};

/// DEVPTS_SUPER_MAGIC of linux/magic.h.
const DEVPTS: i64 = 0x1cd1;

/// Opens a pair, sends the master to the parent, makes the slave our controlling terminal and stdio.
pub fn open(
    root: BorrowedFd<'_>,
    channel: &Channel,
    size: (u16, u16),
    bind_console: bool,
) -> Result<()> {
    let master = open_master(root)?;
    unlockpt(&master).on(Call::Ioctl)?;
    // TIOCGPTPEER and not /dev/pts/N: the name could lead to anything (CVE-2025-52565).
    let slave = ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .on(Call::Ioctl)?;
    let (rows, columns) = size;
    if rows != 0 || columns != 0 {
        tcsetwinsize(
            &slave,
            Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )
        .on(Call::Ioctl)?;
    }
    if bind_console {
        let target = path::make_target(root, c"dev/console", false)?;
        mount::attach(mount::clone_of(&slave, false)?, target)?;
    }
    channel.send(&[ToParent::Console as u8], Some(master.as_fd()))?;
    rustix::process::ioctl_tiocsctty(&slave).on(Call::Ioctl)?;
    stdio::replace(&slave)
}

/// `ptmx` of whatever devpts stands at /dev/pts: on devpts nobody can make a node, and NO_XDEV keeps out what is mounted over one.
fn open_master(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let pts = path::open(root, c"dev/pts", OFlags::PATH | OFlags::DIRECTORY).on(Call::Open)?;
    if fstatfs(&pts).on(Call::Statfs)?.f_type != DEVPTS {
        return Err(Fault::check(Errno::NOTTY));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    openat2(&pts, c"ptmx", flags, Mode::empty(), resolve).on(Call::Open)
}
