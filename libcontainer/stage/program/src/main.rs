//! The binary around `garboard-stage`. libcontainer's build script builds it with `--cfg garboard_stage` and embeds it; in the workspace's
//! own build it is an empty program, so that every tool sees the crate.
#![cfg_attr(garboard_stage, no_std, no_main)]

#[cfg(garboard_stage)]
use stage as _;

#[cfg(garboard_stage)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    stage::sys::abort()
}

#[cfg(not(garboard_stage))]
fn main() {}
