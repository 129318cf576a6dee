//! The words of a mount's options: which are flags of mount(2), which are text for the filesystem, and which are neither.
//!
//! The words are those of mount(8) that containerd knows too (core/mount); all else is for the filesystem to understand or refuse.

use std::os::fd::AsFd;

use containerd_shim_protos::types::mount::Mount;
use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::mount::MountFlags;

use super::Error;

/// MS_REMOUNT (mount.h): rustix has a call for it instead, which takes no type and no source.
pub const REMOUNT: MountFlags = MountFlags::from_bits_retain(0x20);

/// A mount's options, in two piles.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    pub flags: MountFlags,
    /// For the filesystem, in their order.
    pub data: Vec<&'a str>,
}

impl<'a> Parsed<'a> {
    /// Errors: Unsupported for what needs more than mount(2).
    pub fn of(mount: &'a Mount) -> Result<Parsed<'a>, Error> {
        let unsupported = |what: String| Error::Unsupported {
            kind: mount.type_.clone(),
            origin: mount.source.clone(),
            what,
        };
        // A helper program mounts these; types with a slash are for containerd's mount manager.
        let type_ = mount.type_.as_str();
        if type_.starts_with("fuse.") || type_.starts_with("fuse3.") || type_.contains('/') {
            return Err(unsupported("this type".to_owned()));
        }
        let mut parsed = Parsed {
            flags: MountFlags::empty(),
            data: Vec::with_capacity(mount.options.len()),
        };
        for word in &mount.options {
            match (flag(word), word.as_str()) {
                (Some((flag, true)), _) => parsed.flags |= flag,
                (Some((flag, false)), _) => parsed.flags &= !flag,
                (None, "defaults") => {}
                (None, "loop" | "direct-io") => return Err(unsupported(format!("{word:?}"))),
                (None, word) if word.starts_with("uidmap=") || word.starts_with("gidmap=") => {
                    return Err(unsupported(format!("an id-mapped rootfs ({word:?})")));
                }
                // Preparations that containerd asks for, dm-verity among them: to leave one out would be to pretend.
                (None, word) if word.starts_with("X-containerd.") => {
                    return Err(unsupported(format!("{word:?}")));
                }
                // Comments for programs that read mount tables (mount(8)): never for the kernel.
                (None, word) if word.starts_with("x-") || word.starts_with("X-") => {}
                (None, word) => parsed.data.push(word),
            }
        }
        Ok(parsed)
    }
}

/// A word's flag, and whether the word sets it or takes it back.
fn flag(word: &str) -> Option<(MountFlags, bool)> {
    use MountFlags as F;
    Some(match word {
        "ro" => (F::RDONLY, true),
        "rw" => (F::RDONLY, false),
        "nosuid" => (F::NOSUID, true),
        "suid" => (F::NOSUID, false),
        "nodev" => (F::NODEV, true),
        "dev" => (F::NODEV, false),
        "noexec" => (F::NOEXEC, true),
        "exec" => (F::NOEXEC, false),
        "sync" => (F::SYNCHRONOUS, true),
        "async" => (F::SYNCHRONOUS, false),
        "dirsync" => (F::DIRSYNC, true),
        "mand" => (F::PERMIT_MANDATORY_FILE_LOCKING, true),
        "nomand" => (F::PERMIT_MANDATORY_FILE_LOCKING, false),
        "noatime" => (F::NOATIME, true),
        "atime" => (F::NOATIME, false),
        "nodiratime" => (F::NODIRATIME, true),
        "diratime" => (F::NODIRATIME, false),
        "relatime" => (F::RELATIME, true),
        "norelatime" => (F::RELATIME, false),
        "strictatime" => (F::STRICTATIME, true),
        "nostrictatime" => (F::STRICTATIME, false),
        "bind" => (F::BIND, true),
        "rbind" => (F::BIND.union(F::REC), true),
        "remount" => (REMOUNT, true),
        _ => return None,
    })
}

/// The flags that a mount has by now: a remount replaces them all, and in a user namespace the kernel refuses to let go of them.
pub fn of_mount(mount: impl AsFd) -> MountFlags {
    use {MountFlags as F, StatVfsMountFlags as S};
    // A filesystem that cannot tell loses what it had, which the remount then says.
    let Ok(stat) = fstatvfs(mount) else {
        return F::empty();
    };
    [
        (S::NOSUID, F::NOSUID),
        (S::NODEV, F::NODEV),
        (S::NOEXEC, F::NOEXEC),
        (S::NOATIME, F::NOATIME),
        (S::NODIRATIME, F::NODIRATIME),
        (S::RELATIME, F::RELATIME),
    ]
    .into_iter()
    .filter(|(has, _)| stat.f_flag.contains(*has))
    .fold(F::empty(), |flags, (_, flag)| flags | flag)
}
