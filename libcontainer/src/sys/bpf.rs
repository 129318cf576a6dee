//! bpf(2): the device program of a cgroup, loaded and attached. Nothing else of BPF is here.

use std::ffi::c_long;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::check;
use crate::cgroup::device::Instruction;

// linux/bpf.h
const BPF_PROG_LOAD: c_long = 5;
const BPF_PROG_ATTACH: c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// How often a load is tried that a signal has ended; libbpf tries 5 times.
const LOAD_ATTEMPTS: u32 = 20;

/// The head of `union bpf_attr` for BPF_PROG_LOAD, as far as anything but zero stands in it.
#[repr(C)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The same for BPF_PROG_ATTACH.
#[repr(C)]
struct AttachAttributes {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads a program of type BPF_PROG_TYPE_CGROUP_DEVICE. Source: bpf(2).
pub fn bpf_load_cgroup_device(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let attributes = LoadAttributes {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"garboard_device\0",
    };
    // The verifier gives up with EAGAIN when a signal is pending, which in a host program with children and threads is nothing special.
    let mut attempts = LOAD_ATTEMPTS;
    let fd = loop {
        // SAFETY: `insns` and `license` point at memory that outlives the call, `insn_cnt` is the slice's length in `struct bpf_insn`
        // (`Instruction` is repr(C) with the same fields), and the kernel only reads the attributes, of which it is told the size.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_LOAD,
                &raw const attributes,
                size_of::<LoadAttributes>(),
            )
        };
        attempts -= 1;
        match check(result) {
            Err(Errno::AGAIN | Errno::INTR) if attempts > 0 => {}
            result => break result?,
        }
    };
    // SAFETY: the kernel has just returned this descriptor (close-on-exec, as all of bpf's) and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device program to a cgroup, beside those of its ancestors (every one of them must allow). Source: bpf(2).
pub fn bpf_attach_cgroup_device(cgroup: impl AsFd, program: impl AsFd) -> Result<(), Errno> {
    let attributes = AttachAttributes {
        target_fd: cgroup.as_fd().as_raw_fd().cast_unsigned(),
        attach_bpf_fd: program.as_fd().as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the kernel only reads the attributes, of which it is told the size; they hold two borrowed descriptors and no pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &raw const attributes,
            size_of::<AttachAttributes>(),
        )
    };
    check(result).map(drop)
}
