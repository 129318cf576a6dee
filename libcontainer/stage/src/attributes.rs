//! What a process has besides its identity: limits, scheduling, memory policy, keyring.

use core::ffi::CStr;

use rustix::io::Errno;

use crate::fault::{Fault, On, Result};
use crate::message::Call;
use crate::sys::{self, SchedAttributes};
use crate::wire::Words;

/// Most words of a CPU or node mask: 8192 processors, NR_CPUS_RANGE_END of x86_64.
const MASK_WORDS: usize = 128;

/// Copies a mask out of the plan, whose bytes need not be aligned.
fn mask<'b>(words: Words<'_>, buffer: &'b mut [u64; MASK_WORDS]) -> &'b [u64] {
    let mut length = 0usize;
    for (place, word) in buffer.iter_mut().zip(words.iter()) {
        *place = word;
        length = length.saturating_add(1);
    }
    buffer.get(..length).unwrap_or(&[])
}

pub fn affinity(words: Words<'_>) -> Result<()> {
    sys::sched_setaffinity(mask(words, &mut [0; MASK_WORDS])).on(Call::SchedSetaffinity)
}

pub fn memory_policy(mode: u32, nodes: Words<'_>) -> Result<()> {
    sys::set_mempolicy(mode, mask(nodes, &mut [0; MASK_WORDS])).on(Call::SetMempolicy)
}

pub fn scheduler(attributes: SchedAttributes) -> Result<()> {
    sys::sched_setattr(&attributes).on(Call::SchedSetattr)
}

/// A session keyring of the container's own: without it, it would share its caller's keys.
pub fn session_keyring(name: &CStr, permissions: u32) -> Result<()> {
    let serial = sys::join_session_keyring(name).on(Call::Keyctl)?;
    if permissions == 0 {
        return Ok(());
    }
    let mut buffer = [0u8; 256];
    let length = sys::describe_key(serial, &mut buffer).on(Call::Keyctl)?;
    let text = buffer.get(..length.min(buffer.len())).unwrap_or(&[]);
    let now = text
        .split(|&byte| byte == b';')
        .nth(3)
        .ok_or(Fault::new(Call::Keyctl, Errno::IO))?;
    let now = now
        .iter()
        .map_while(|&digit| char::from(digit).to_digit(16))
        .fold(0u32, |value, digit| (value << 4) | digit);
    if now & permissions == permissions {
        return Ok(());
    }
    sys::set_key_permissions(serial, now | permissions).on(Call::Keyctl)
}
