//! The signal mask of the calling thread, changed for the time of a call and then as it was.

/// Runs `work` with every signal blocked in this thread; a thread that it starts inherits the mask.
pub fn with_signals_blocked<T>(work: impl FnOnce() -> T) -> T {
    /// Restores on the way out of a panic too.
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            restore_signals(&self.0);
        }
    }
    let _restore = Restore(block_signals());
    work()
}

fn block_signals() -> libc::sigset_t {
    // SAFETY: sigset_t is plain bits, for which all zero is a value.
    let mut old = unsafe { std::mem::zeroed::<libc::sigset_t>() };
    // SAFETY: as above.
    let mut all = unsafe { std::mem::zeroed::<libc::sigset_t>() };
    // SAFETY: writes the set that it is given.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: reads one set and writes the other, both ours.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old) };
    old
}

fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: reads the set; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}
