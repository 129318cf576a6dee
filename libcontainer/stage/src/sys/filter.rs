//! seccomp(2), and where a filter waits for it.

use rustix::io::Errno;

use super::{Result, arch, check};

/// Zeroed memory for a filter, never given back: exec replaces it.
pub fn filter_space() -> Result<&'static mut [u8]> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let address = unsafe {
        mmap_anonymous(
            core::ptr::null_mut(),
            crate::message::FILTER_MAX,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    }?;
    // SAFETY: the mapping is that long, zeroed, and ours alone for ever.
    Ok(unsafe { core::slice::from_raw_parts_mut(address.cast(), crate::message::FILTER_MAX) })
}

const SECCOMP_SET_MODE_FILTER: usize = 1;

/// seccomp(SECCOMP_SET_MODE_FILTER) with a filter of whole instructions; the fd that it returns, or 0.
pub fn seccomp(flags: u32, filter: &[u8]) -> Result<usize> {
    /// `struct sock_fprog` (linux/filter.h).
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const u8,
    }
    let length = filter.len().checked_div(8).unwrap_or(0);
    let program = Program {
        length: u16::try_from(length).map_err(|_| Errno::INVAL)?,
        instructions: filter.as_ptr(),
    };
    // SAFETY: the kernel reads the struct and `length` instructions of eight bytes, which lie in `filter`, and writes nothing.
    let result = unsafe {
        arch::syscall(
            arch::SECCOMP,
            [
                SECCOMP_SET_MODE_FILTER,
                flags as usize,
                &raw const program as usize,
                0,
                0,
                0,
            ],
        )
    };
    check(result)
}

/// Whether the kernel knows these flags of seccomp(2): it looks at them before it reads the filter, and there is none to read.
pub fn knows_seccomp_flags(flags: u32) -> Result<()> {
    // SAFETY: the filter's address is null, so the call can only be refused.
    let result = unsafe {
        arch::syscall(
            arch::SECCOMP,
            [SECCOMP_SET_MODE_FILTER, flags as usize, 0, 0, 0, 0],
        )
    };
    match check(result) {
        Err(Errno::FAULT) => Ok(()),
        other => other.map(drop),
    }
}
