//! Who the process is: bounding set, groups, user, capabilities. In this order, since each step gives up what the one before it needs.

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_thread_res_gid, set_thread_res_uid,
};

use crate::fault::{Fault, On, Result};
use crate::message::Call;
use crate::sys;
use crate::wire::Words;

const PR_SET_KEEPCAPS: usize = 8;
const PR_CAPBSET_DROP: usize = 24;
const PR_CAP_AMBIENT: usize = 47;
const PR_CAP_AMBIENT_RAISE: usize = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;

/// NGROUPS_MAX is 65536; more than this many are never given, and the array stands on the stack.
const GROUPS_MAX: usize = 1024;

/// Drops every capability up to `last` that is not in `keep` from the bounding set: one call each, the kernel has no other way.
pub fn drop_bounding(keep: u64, last: u8) -> Result<()> {
    for capability in 0..=usize::from(last.min(63)) {
        if (keep >> capability) & 1 == 0 {
            sys::prctl(PR_CAPBSET_DROP, capability, 0).on(Call::Prctl)?;
        }
    }
    Ok(())
}

/// Groups before the gid, the gid before the uid: each needs a capability that the next one may take away.
pub fn become_user(uid: u32, gid: u32, groups: Words<'_>, keep_groups: bool) -> Result<()> {
    if uid != 0 {
        // Permitted capabilities would be cleared by the change of uid; the capabilities step trims them to what was asked for.
        sys::prctl(PR_SET_KEEPCAPS, 1, 0).on(Call::Prctl)?;
    }
    if !keep_groups {
        let mut list = [0u32; GROUPS_MAX];
        let mut length = 0usize;
        for group in groups.iter() {
            *list
                .get_mut(length)
                .ok_or(Fault::new(Call::Setgroups, Errno::INVAL))? =
                u32::try_from(group).unwrap_or(u32::MAX);
            length = length.saturating_add(1);
        }
        sys::set_groups(list.get(..length).unwrap_or(&[])).on(Call::Setgroups)?;
    }
    let gid = Gid::from_raw(gid);
    set_thread_res_gid(gid, gid, gid).on(Call::Setresgid)?;
    let uid = Uid::from_raw(uid);
    set_thread_res_uid(uid, uid, uid).on(Call::Setresuid)
}

/// The sets as config.json lists them. Inheritable ones only where it does (CVE-2022-29162).
pub fn set_sets(effective: u64, permitted: u64, inheritable: u64, ambient: u64) -> Result<()> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::from_bits_retain(inheritable),
    };
    set_capabilities(None, sets).on(Call::Capset)?;
    if inheritable & permitted == 0 {
        // capset cuts the ambient set down to inheritable and permitted: there is nothing left of it.
        return Ok(());
    }
    sys::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0).on(Call::Prctl)?;
    for capability in (0..64usize).filter(|&capability| (ambient >> capability) & 1 == 1) {
        match sys::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability) {
            // Not permitted or not inheritable: runc warns and goes on, since engines list more than they grant.
            Ok(_) | Err(Errno::PERM) => {}
            Err(errno) => return Err(Fault::new(Call::Prctl, errno)),
        }
    }
    Ok(())
}
