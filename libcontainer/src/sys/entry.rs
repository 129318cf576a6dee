//! The entry of a program that the C library calls directly.

/// Makes `$main`, a `fn() -> c_int`, the program's `main`, without Rust's start-up in between: that reads `/proc/self/maps` and sets up a
/// signal stack for a report of stack overflows, which is nothing to a command that engines run many times for each container. Here, and
/// not in the command, because an exported symbol is unsafe: one `main` more in the link would be undefined behaviour.
#[doc(hidden)]
#[macro_export]
macro_rules! program_entry {
    ($main:path) => {
        // SAFETY: `main` is the name that crt1.o calls, once; a program invokes this macro once, under `no_main`. C's two arguments are left
        // alone, since the standard library keeps its own copy of them (glibc hands them to its initialiser).
        #[unsafe(no_mangle)]
        extern "C" fn main() -> ::std::ffi::c_int {
            $main()
        }
    };
}
