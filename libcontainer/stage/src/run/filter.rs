//! The seccomp filter: it comes with the parent's last word and is loaded as the last act.
//!
//! After the load the filter judges our own calls too, so there are none: what follows [`Step::Seccomp`] is execve, unless the plan loads it
//! before a wait among strangers. A filter that notifies is an exception too, because its listener must be somebody's before the first call
//! is asked about: it is loaded while the parent waits, and the calls that are left (a word from the parent, a byte from `start`) are for
//! the agent to answer like the program's own.
//!
//! [`Step::Seccomp`]: crate::step::Step::Seccomp

use rustix::fd::AsRawFd;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::Stage;
use crate::fault::{Fault, On, Result};
use crate::message::{Call, ToParent, ToStage};
use crate::sys;

/// SECCOMP_FILTER_FLAG_NEW_LISTENER (linux/seccomp.h).
const NEW_LISTENER: u32 = 1 << 3;

/// A filter as the parent compiled it: instructions of eight bytes.
pub(super) enum Filter {
    /// It comes with the parent's word, into this space.
    Expected(&'static mut [u8]),
    Here(&'static [u8]),
}

impl Stage<'_> {
    /// A flag that this kernel does not know is found here, while somebody can be told.
    pub(super) fn expect_filter(&mut self, flags: u32) -> Result<()> {
        sys::knows_seccomp_flags(flags).on(Call::Seccomp)?;
        self.filter = Some(Filter::Expected(sys::filter_space().on(Call::Mmap)?));
        Ok(())
    }

    /// The same, for one that is loaded before the parent's last word: asks for it.
    pub(super) fn take_filter(&mut self, flags: u32) -> Result<()> {
        self.expect_filter(flags)?;
        self.channel()?.send(&[ToParent::WantFilter as u8], None)?;
        match self.word()? {
            ToStage::Done => Ok(()),
            _ => Err(Fault::new(Call::Protocol, Errno::PROTO)),
        }
    }

    /// The parent's word, and with it the filter where one is expected.
    pub(super) fn word(&mut self) -> Result<ToStage> {
        match self.filter.take() {
            Some(Filter::Expected(space)) => {
                let (word, length) = self.channel()?.receive_filter(space)?;
                let filter = space.get(..length).ok_or(Fault::check(Errno::INVAL))?;
                self.filter = Some(Filter::Here(filter));
                Ok(word)
            }
            other => {
                self.filter = other;
                Ok(self.channel()?.receive()?.0)
            }
        }
    }

    /// The last thing before exec, or before the filter (CVE-2024-21626): whatever is still open here is not the container's.
    pub(super) fn seal(&mut self, preserved: u32) -> Result<()> {
        if core::mem::replace(&mut self.sealed, true) {
            return Ok(());
        }
        let first = preserved.saturating_add(3);
        sys::close_range(first, u32::MAX, sys::Closing::OnExec).on(Call::CloseRange)
    }

    /// `sets`: effective, permitted, inheritable; all 0 where no-new-privileges is right enough to load a filter.
    pub(super) fn load_filter(&self, flags: u32, sets: [u64; 3]) -> Result<()> {
        let Some(Filter::Here(filter)) = self.filter else {
            return Err(Fault::check(Errno::INVAL));
        };
        if sets != [0; 3] {
            let [effective, permitted, inheritable] = sets.map(CapabilitySet::from_bits_retain);
            let sets = CapabilitySets {
                effective,
                permitted,
                inheritable,
            };
            set_capabilities(None, sets).on(Call::Capset)?;
        }
        match sys::seccomp(flags, filter).on(Call::Seccomp)? {
            0 => Ok(()),
            // The listener.
            _ if flags & NEW_LISTENER != 0 => Ok(()),
            // TSYNC: the number of a thread that has another filter. Nothing was loaded.
            _ => Err(Fault::new(Call::Seccomp, Errno::SRCH)),
        }
    }

    /// Says *ready*, and which number the listener will have: the parent takes it from us as soon as it is there.
    pub(super) fn listen(&mut self, flags: u32, sets: [u64; 3]) -> Result<()> {
        let channel = self.channel()?;
        // The lowest free number is what the load will return: found by taking it for a moment.
        let number = fcntl_dupfd_cloexec(channel, 0).on(Call::Fcntl)?.as_raw_fd();
        let [a, b, c, d] = number.to_le_bytes();
        channel.send(&[ToParent::Listener as u8, a, b, c, d], None)?;
        self.ready = true;
        self.load_filter(flags | NEW_LISTENER, sets)
    }
}
