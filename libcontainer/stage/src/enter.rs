//! Getting into the container's namespaces, and what has to happen on the way in.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Gid, Uid};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space,
    move_into_thread_name_spaces, set_thread_res_gid, set_thread_res_uid,
};

use crate::channel::Channel;
use crate::fault::{Fault, On, Result};
use crate::message::{Call, ToParent};
use crate::sys::{self, Forked};

const CLONE_NEWUSER: u32 = 0x1000_0000;
const CLONE_NEWTIME: u32 = 0x80;

/// setns(2) with a namespace's fd; the kernel checks that it is one of `kind`.
pub fn join(namespace: BorrowedFd<'_>, kind: u32) -> Result<()> {
    let kind = match kind {
        0x80 => LinkNameSpaceType::Time,
        0x2_0000 => LinkNameSpaceType::Mount,
        0x200_0000 => LinkNameSpaceType::ControlGroup,
        0x400_0000 => LinkNameSpaceType::HostNameAndNISDomainName,
        0x800_0000 => LinkNameSpaceType::InterProcessCommunication,
        0x1000_0000 => LinkNameSpaceType::User,
        0x2000_0000 => LinkNameSpaceType::ProcessID,
        0x4000_0000 => LinkNameSpaceType::Network,
        _ => return Err(Fault::new(Call::Setns, rustix::io::Errno::INVAL)),
    };
    move_into_link_name_space(namespace, Some(kind)).on(Call::Setns)
}

/// setns(2) with a pidfd: the kernel joins the user namespace first and all of them or none.
pub fn join_init(init: BorrowedFd<'_>, kinds: u32) -> Result<()> {
    move_into_thread_name_spaces(init, ThreadNameSpaceType::from_bits_retain(kinds))
        .on(Call::Setns)
        .map(drop)
}

/// unshare(2).
pub fn unshare(kinds: u32) -> Result<()> {
    sys::unshare(kinds).on(Call::Unshare)
}

/// A user namespace of our own; the parent, which has the privilege, writes its id maps before we go on.
pub fn new_user(channel: &Channel) -> Result<()> {
    unshare(CLONE_NEWUSER)?;
    channel.ask(ToParent::WantMaps, 0).map(drop)
}

/// Root inside the user namespace: until then we are the overflow user, who owns nothing.
pub fn become_root() -> Result<()> {
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).on(Call::Setresgid)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).on(Call::Setresuid)
}

/// Goes on as a child of our parent, inside the pid namespace that unshare or setns chose for children. The old process leaves.
pub fn fork(channel: &Channel) -> Result<()> {
    match sys::fork(sys::CLONE_PARENT).on(Call::Clone3)? {
        Forked::Child => Ok(()),
        Forked::Parent(pid, pidfd) => {
            let [a, b, c, d] = pid.to_le_bytes();
            let sent = channel.send(&[ToParent::Init as u8, a, b, c, d], Some(pidfd.as_fd()));
            if sent.is_err() {
                // Nobody would ever know of the child; it has done nothing yet.
                let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
                return sent;
            }
            sys::exit(0)
        }
    }
}

/// Writes a file of our own below the parent's verified procfs: no other filesystem and no magic link on the way (CVE-2025-52881).
pub fn write_proc(proc: BorrowedFd<'_>, path: &CStr, text: &[u8]) -> Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(
        proc,
        path,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
    .on(Call::Open)?;
    let written = write(file, text).on(Call::Write)?;
    if written == text.len() {
        Ok(())
    } else {
        Err(Fault::new(Call::Write, rustix::io::Errno::IO))
    }
}

/// Enters the time namespace that unshare(CLONE_NEWTIME) made for children; its offsets are fixed from here on.
pub fn enter_new_time(proc: BorrowedFd<'_>) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace =
        openat(proc, c"self/ns/time_for_children", flags, Mode::empty()).on(Call::Open)?;
    join(namespace.as_fd(), CLONE_NEWTIME)
}

/// Writes the label of the next exec, and reads it back: a kernel without the LSM takes some writes without a word.
pub fn label_exec(proc: BorrowedFd<'_>, path: &CStr, label: &CStr) -> Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(
        proc,
        path,
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
    .on(Call::Open)?;
    write(&file, label.to_bytes()).on(Call::Write)?;
    let mut buffer = [0u8; 512];
    let length = rustix::io::pread(&file, &mut buffer, 0).on(Call::Read)?;
    let stuck = buffer.get(..length).unwrap_or(&[]);
    // AppArmor takes `exec PROFILE` and answers `PROFILE (mode)`; SELinux answers the context it was given.
    let wanted = label
        .to_bytes()
        .strip_prefix(b"exec ")
        .unwrap_or(label.to_bytes());
    if stuck.starts_with(wanted) {
        Ok(())
    } else {
        Err(Fault::check(rustix::io::Errno::ACCESS))
    }
}

/// Brings `lo` up: a new network namespace has it, down.
pub fn loopback_up() -> Result<()> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .on(Call::Socket)?;
    sys::loopback_up(socket.as_fd()).on(Call::Ioctl)
}

/// CLONE_CLEAR_SIGHAND keeps what is ignored, and exec hands it on (R19): finds the ignored ones and resets them.
pub fn default_signals() -> Result<()> {
    sys::unblock_all().on(Call::Sigaction)?;
    let ignored = ignored_signals();
    for signal in 1..=64usize {
        // SIGKILL and SIGSTOP cannot be set. One read of the status file stands for 62 calls in the usual case.
        let bit = 1u64
            .checked_shl(u32::try_from(signal).unwrap_or(64).saturating_sub(1))
            .unwrap_or(0);
        if ignored & bit != 0 && signal != 9 && signal != 19 {
            sys::default_disposition(signal).on(Call::Sigaction)?;
        }
    }
    Ok(())
}

/// `SigIgn` of /proc/self/status as seen before anything is unshared; all bits where it cannot be read, so that all are reset.
fn ignored_signals() -> u64 {
    let mut buffer = [0u8; 2048];
    let status = openat(
        rustix::fs::CWD,
        c"/proc/self/status",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let Ok(length) = status.and_then(|file| read(file, &mut buffer)) else {
        return u64::MAX;
    };
    let text = buffer.get(..length).unwrap_or(&[]);
    let marker = b"SigIgn:\t";
    let Some(at) = text
        .windows(marker.len())
        .position(|window| window == marker)
    else {
        return u64::MAX;
    };
    let digits = text.get(at.saturating_add(marker.len())..).unwrap_or(&[]);
    digits
        .iter()
        .map_while(|&digit| char::from(digit).to_digit(16))
        .fold(0, |mask: u64, digit| (mask << 4) | u64::from(digit))
}
