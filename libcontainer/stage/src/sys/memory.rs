//! The memory functions that the compiler calls by name. There is no C library in the stage to bring them.

use core::arch::asm;

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller promises `count` bytes at both addresses; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags))
    };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: ascending order is right unless `to` lies inside the source.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: from the last byte down, for a target inside the source; the direction flag is set back at once.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rcx") count => _, inout("rdi") to.wrapping_add(count).wrapping_sub(1) => _, inout("rsi") from.wrapping_add(count).wrapping_sub(1) => _,
            options(nostack)
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller promises `count` writable bytes.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8, options(nostack, preserves_flags))
    };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the caller promises `count` readable bytes; volatile, or the loop would be compiled into a call of this function.
        let a = unsafe { left.add(index).read_volatile() };
        // SAFETY: as above, for the other side.
        let b = unsafe { right.add(index).read_volatile() };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: bcmp promises less than memcmp and asks the same of its caller.
    unsafe { memcmp(left, right, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const u8) -> usize {
    let mut length = 0usize;
    // SAFETY: the caller promises a NUL; volatile for the same reason as in memcmp.
    while unsafe { string.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
