//! The kernel's constants that plans are made of, and their names for people (`include/uapi/linux/{sched,mount}.h`).

pub const CLONE_NEWTIME: u32 = 0x80;
pub const CLONE_NEWNS: u32 = 0x2_0000;
pub const CLONE_NEWCGROUP: u32 = 0x200_0000;
pub const CLONE_NEWUTS: u32 = 0x400_0000;
pub const CLONE_NEWIPC: u32 = 0x800_0000;
pub const CLONE_NEWUSER: u32 = 0x1000_0000;
pub const CLONE_NEWPID: u32 = 0x2000_0000;
pub const CLONE_NEWNET: u32 = 0x4000_0000;

pub const MS_RDONLY: u64 = 1;
pub const MS_SYNCHRONOUS: u64 = 0x10;
pub const MS_MANDLOCK: u64 = 0x40;
pub const MS_DIRSYNC: u64 = 0x80;
pub const MS_REC: u64 = 0x4000;
pub const MS_UNBINDABLE: u64 = 1 << 17;
pub const MS_PRIVATE: u64 = 1 << 18;
pub const MS_SLAVE: u64 = 1 << 19;
pub const MS_SHARED: u64 = 1 << 20;
pub const MS_SILENT: u64 = 1 << 15;
pub const MS_I_VERSION: u64 = 1 << 23;
pub const MS_LAZYTIME: u64 = 1 << 25;

pub const MOUNT_ATTR_RDONLY: u64 = 1;
pub const MOUNT_ATTR_NOSUID: u64 = 2;
pub const MOUNT_ATTR_NODEV: u64 = 4;
pub const MOUNT_ATTR_NOEXEC: u64 = 8;
/// The field that holds one of relatime (0), noatime and strictatime.
pub const MOUNT_ATTR__ATIME: u64 = 0x70;
pub const MOUNT_ATTR_NODIRATIME: u64 = 0x80;
pub const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x20_0000;

pub const S_IFMT: u32 = 0o170_000;
pub const S_IFCHR: u32 = 0o020_000;
pub const S_IFIFO: u32 = 0o010_000;

pub const EPERM: u8 = 1;
pub const ENOENT: u8 = 2;
pub const EACCES: u8 = 13;
pub const EBUSY: u8 = 16;
pub const EINVAL: u8 = 22;
pub const ENOSYS: u8 = 38;
