//! The stage's program and its plan, each in a memfd of its own.
//!
//! A fresh memfd each launch: whatever a container can see as `/proc/PID/exe` is a sealed private copy, so that neither the host's binary
//! nor an embedder's can be overwritten (CVE-2019-5736), nor poisoned through the page cache.

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{Errno, write};

use crate::error::{Error, Refused};
use crate::sys::MFD_EXEC;

/// The program that build.rs made of `stage/program`.
static STAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stage.elf"));

/// The stage in a sealed memfd, executable.
/// Errors: Refused, also where `vm.memfd_noexec` is 2 (the hint says so).
pub fn stage_file() -> Result<OwnedFd, Error> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC says what is meant where vm.memfd_noexec is set (6.3 and later); older kernels do not know it.
    let file = match memfd_create(c"garboard", flags | MemfdFlags::from_bits_retain(MFD_EXEC)) {
        Err(Errno::INVAL) => memfd_create(c"garboard", flags),
        result => result,
    };
    let file = file.map_err(|errno| Refused::call("memfd_create(MFD_EXEC)", errno))?;
    write_all(&file, STAGE)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals).map_err(|errno| Refused::call("fcntl(F_ADD_SEALS)", errno))?;
    Ok(file)
}

/// The encoded plan. Not sealed: the stage gets it alone, maps it privately and closes it before anything else.
pub fn plan_file(encoded: &[u8]) -> Result<OwnedFd, Error> {
    let file = memfd_create(c"plan", MemfdFlags::CLOEXEC)
        .map_err(|errno| Refused::call("memfd_create(plan)", errno))?;
    write_all(&file, encoded)?;
    Ok(file)
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        match write(file, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Refused::call("write(memfd)", errno).into()),
        }
    }
    Ok(())
}
