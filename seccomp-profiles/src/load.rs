//! Gives a program to the kernel. The only module that touches the machine, and the only one with `unsafe`; behind the feature `load`.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::flags::Flags;
use crate::program::Program;

/// SECCOMP_SET_MODE_FILTER
const SET_MODE_FILTER: libc::c_ulong = 1;

/// `struct sock_fprog`.
#[repr(C)]
struct FilterProgram {
    length: libc::c_ushort,
    filter: *const crate::program::Instruction,
}

/// Loads a program into the calling thread (with [`Flags::TSYNC`] into all of the process), for good; gives the listener if
/// [`Flags::NEW_LISTENER`] asks for one. The thread needs no-new-privileges or CAP_SYS_ADMIN.
///
/// Nothing is allocated, so that a child of a threaded process may call this between fork and exec.
///
/// Errors: EACCES without the privilege; EINVAL for a program the kernel refuses (see [`crate::verify`]) or flags it does not know; EBUSY
/// for a second listener; ESRCH if a thread has a filter of its own and cannot take this one.
pub fn load(program: &Program, flags: Flags) -> io::Result<Option<OwnedFd>> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let filter = FilterProgram {
        length,
        filter: program.instructions.as_ptr(),
    };
    // SAFETY: the structure and the instructions it points at have the kernel's layout (repr(C)), as many as `length` says, and outlive the
    // call, which copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            libc::c_ulong::from(flags.0),
            &raw const filter,
        )
    };
    match i32::try_from(result) {
        Ok(fd @ 0..) if flags.has(Flags::NEW_LISTENER) => {
            // SAFETY: the kernel just made this descriptor for us.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
        }
        Ok(0) => Ok(None),
        // TSYNC: the number of a thread that has another filter.
        Ok(1..) => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        _ => Err(io::Error::last_os_error()),
    }
}
