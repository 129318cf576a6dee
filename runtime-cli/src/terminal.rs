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

    /// Every key goes to the container as it is typed, and its output is shown as its own terminal made it. Is the output sent elsewhere,
    /// this terminal's own processing stays on, for the program that gets it (`exec --tty ID ls | less`).
    pub fn raw() -> Option<HostTerminal> {
        let fd = HostTerminal::find()?;
        let before = tcgetattr(fd).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        if !isatty(rustix::stdio::stdout()) {
            raw.output_modes |= OutputModes::OPOST;
        }
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

/// Sets the container's terminal up for copying to a file or a pipe, which want newlines without carriage returns. For a terminal the mode
/// must stay: an exec'ed shell that runs already may have read it, would set it back, and newlines would get two carriage returns.
pub fn prepare(master: impl AsFd) {
    if isatty(rustix::stdio::stdout()) {
        return;
    }
    let Ok(mut modes) = tcgetattr(&master) else {
        return;
    };
    modes.output_modes &= !OutputModes::ONLCR;
    let _ = tcsetattr(&master, OptionalActions::Now, &modes); // best effort: the output is readable all the same
}
