//! posix_spawn(3) of a hook. std's `Command` hands on what the caller of our host program has left ignored and open; this does not (R19).

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec};

/// A program to run on the host: with `/` as its directory, every signal at its default and unblocked, and no fd but these three.
#[derive(Debug)]
pub struct HookProgram<'a> {
    pub path: &'a CStr,
    pub args: &'a [CString],
    pub env: &'a [CString],
    pub stdio: [BorrowedFd<'a>; 3],
}

/// Starts it; its pid. Neither a copy of our memory is made nor does code of ours run in the child. Errors: those of execve(2) too.
pub fn spawn_hook(program: &HookProgram<'_>) -> Result<i32, Errno> {
    // A host program without stdio gets these numbers for its pipes; put in place one by one they would overwrite each other.
    let mut moved: Vec<OwnedFd> = Vec::new();
    let mut sources: [RawFd; 3] = [0; 3];
    for (source, fd) in sources.iter_mut().zip(program.stdio) {
        *source = fd.as_raw_fd();
        if *source < 3 {
            let high = fcntl_dupfd_cloexec(fd, 3)?;
            *source = high.as_raw_fd();
            moved.push(high);
        }
    }
    let attributes = Attributes::new()?;
    let actions = Actions::new(sources)?;
    let (args, env) = (pointers(program.args), pointers(program.env));
    let mut pid: libc::pid_t = 0;
    // SAFETY: both objects are initialised; path and both tables, which end in null, point at strings that outlive the call; posix_spawn
    // reads them only, although argv and envp are declared without const.
    let result = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.path.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            args.as_ptr(),
            env.as_ptr(),
        )
    };
    told(result).map(|()| pid)
}

fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    let strings = strings.iter().map(|string| string.as_ptr().cast_mut());
    strings.chain([std::ptr::null_mut()]).collect()
}

/// The functions of posix_spawn(3) return the errno.
fn told(result: c_int) -> Result<(), Errno> {
    match result {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> Result<Attributes, Errno> {
        let mut object = MaybeUninit::uninit();
        // SAFETY: initialises the object that it is given room for.
        told(unsafe { libc::posix_spawnattr_init(object.as_mut_ptr()) })?;
        // SAFETY: it was just initialised.
        let mut attributes = Attributes(unsafe { object.assume_init() });
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: writes the whole set.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: the set is written; the object is initialised.
        told(unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.0, set.as_ptr()) })?;
        // Not sigfillset: it leaves out the C library's own signals (32, 33), which posix_spawn then ignores in the child.
        // SAFETY: writes the whole set, which is plain bits.
        unsafe { set.as_mut_ptr().write_bytes(0xff, 1) };
        // SAFETY: as above.
        told(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, set.as_ptr()) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = libc::c_short::try_from(flags).map_err(|_| Errno::INVAL)?;
        // SAFETY: the object is initialised.
        told(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the object is initialised and not used after this.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new(sources: [RawFd; 3]) -> Result<Actions, Errno> {
        let mut object = MaybeUninit::uninit();
        // SAFETY: initialises the object that it is given room for.
        told(unsafe { libc::posix_spawn_file_actions_init(object.as_mut_ptr()) })?;
        // SAFETY: it was just initialised.
        let mut actions = Actions(unsafe { object.assume_init() });
        let it = &raw mut actions.0;
        for (source, number) in sources.into_iter().zip(0..) {
            // SAFETY: the object is initialised; numbers only.
            told(unsafe { libc::posix_spawn_file_actions_adddup2(it, source, number) })?;
        }
        // SAFETY: the object is initialised and copies the path.
        told(unsafe { posix_spawn_file_actions_addchdir_np(it, c"/".as_ptr()) })?;
        #[cfg(target_env = "gnu")]
        // SAFETY: the object is initialised; numbers only.
        told(unsafe { posix_spawn_file_actions_addclosefrom_np(it, 3) })?;
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: the object is initialised and not used after this.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

unsafe extern "C" {
    /// glibc 2.29, musl 1.1.24.
    fn posix_spawn_file_actions_addchdir_np(
        actions: *mut libc::posix_spawn_file_actions_t,
        path: *const c_char,
    ) -> c_int;
    /// glibc 2.34.
    #[cfg(target_env = "gnu")]
    fn posix_spawn_file_actions_addclosefrom_np(
        actions: *mut libc::posix_spawn_file_actions_t,
        from: c_int,
    ) -> c_int;
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, memfd_create, openat};

    use super::super::with_signals_blocked;
    use super::*;

    #[test]
    fn a_hook_inherits_neither_fds_nor_signals() {
        // SAFETY: SIG_IGN installs no code, and no other test of this program cares for SIGUSR2.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        let leaked = openat(CWD, c"/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
        let out = memfd_create(c"out", MemfdFlags::CLOEXEC).unwrap();
        let script = c"grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/$$/fd; pwd";
        let args = [c"sh", c"-c", script].map(ToOwned::to_owned);
        let pid = with_signals_blocked(|| {
            spawn_hook(&HookProgram {
                path: c"/bin/sh",
                args: &args,
                env: &[c"PATH=/usr/bin:/bin".to_owned()],
                stdio: [leaked.as_fd(), out.as_fd(), out.as_fd()],
            })
        });
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_DFL) };
        let pid = rustix::process::Pid::from_raw(pid.unwrap());
        let options = rustix::process::WaitOptions::empty();
        let (_, status) = rustix::process::waitpid(pid, options).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
        let mut text = [0; 4096];
        let length = rustix::io::pread(&out, &mut text, 0).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&text[..length]),
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n1\n2\n/\n"
        );
    }
}
