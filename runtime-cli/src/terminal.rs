//! The command's own terminal and the container's, while the container runs in the foreground.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// The terminal that the command was started from, in raw mode until this is dropped.
#[derive(Debug)]
pub struct HostTerminal {
    fd: BorrowedFd<'static>,
    before: Termios,
}

impl HostTerminal {
    /// The first of the standard streams that is a terminal; `None` if none is, and then there is nothing to set or to resize by.
    fn find() -> Option<BorrowedFd<'static>> {
        [
            rustix::stdio::stdin(),
            rustix::stdio::stdout(),
            rustix::stdio::stderr(),
        ]
        .into_iter()
        .find(|fd| isatty(fd))
    }

    /// Whether standard input is a terminal, which makes it likely that the container wants one.
    pub fn is_likely() -> bool {
        isatty(rustix::stdio::stdin())
    }

    /// Every key goes to the container as it is typed. Output processing stays on: the container's newlines come without carriage
    /// returns (see [`prepare`]), and this terminal adds them.
    pub fn raw() -> Option<HostTerminal> {
        let fd = HostTerminal::find()?;
        let before = tcgetattr(fd).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.output_modes |= OutputModes::OPOST;
        tcsetattr(fd, OptionalActions::Now, &raw).ok()?;
        Some(HostTerminal { fd, before })
    }

    /// Gives the terminal behind `master` the size of this one. Best effort: a size is a convenience.
    pub fn copy_size(&self, master: impl AsFd) {
        if let Ok(size) = tcgetwinsize(self.fd) {
            let _ = tcsetwinsize(master, size); // best effort, see above
        }
    }
}

impl Drop for HostTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(self.fd, OptionalActions::Now, &self.before); // a terminal that is gone needs no restoring
    }
}

/// Sets the container's terminal up for copying: newlines are left alone, or they would get two carriage returns on the way.
pub fn prepare(master: impl AsFd) {
    let Ok(mut modes) = tcgetattr(&master) else {
        return;
    };
    modes.output_modes &= !OutputModes::ONLCR;
    let _ = tcsetattr(&master, OptionalActions::Now, &modes); // best effort: the output is readable all the same
}
