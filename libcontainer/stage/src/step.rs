//! The vocabulary of a launch: every kernel-level action that the stage can take, one variant each.
//!
//! The library writes steps in the [`Form`] it owns, the stage reads them in [`crate::wire::Wire`]; the macro below makes both codings from
//! one declaration, so that they cannot differ. The order of steps is the planner's business (`plan/order.rs`), their meaning is here.
//!
//! Paths inside the container are relative to its root and carry no leading slash (`proc/sys`): they are only ever resolved by
//! `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)` below the rootfs.

use crate::wire::{Form, Put, Reader, Sink, Take};

/// Index into the plan's table of fds that the stage holds from its start.
pub type Slot = u8;

/// Index of an fd that the parent hands over when asked: a detached clone of a bind source, or of a device node.
pub type Handed = u16;

macro_rules! steps {
    ($( $(#[$doc:meta])* $tag:literal $name:ident { $( $(#[$fdoc:meta])* $field:ident : $kind:ty ),* $(,)? } )*) => {
        /// One action. Fields named `*_flags`, `attr_*`, `kind` hold the kernel's own constants.
        #[derive(Debug, Clone)]
        pub enum Step<F: Form> {
            $( $(#[$doc])* $name { $( $(#[$fdoc])* $field: $kind ),* } ),*
        }

        impl<F: Form> Step<F> {
            /// The variant's name, for `explain` and for messages.
            pub fn name(&self) -> &'static str {
                match self { $( Step::$name { .. } => stringify!($name) ),* }
            }
        }

        impl<F: Form> Put for Step<F>
        where
            F::Text: Put,
            F::List: Put,
            F::Words: Put,
        {
            fn put(&self, sink: &mut impl Sink) {
                match self { $( Step::$name { $( $field ),* } => {
                    let tag: u8 = $tag;
                    tag.put(sink);
                    $( $field.put(sink); )*
                } )* }
            }
        }

        impl<'p, F: Form> Take<'p> for Step<F>
        where
            F::Text: Take<'p>,
            F::List: Take<'p>,
            F::Words: Take<'p>,
        {
            fn take(reader: &mut Reader<'p>) -> Option<Self> {
                match u8::take(reader)? {
                    $( $tag => Some(Step::$name { $( $field: reader.take()? ),* }), )*
                    _ => None,
                }
            }
        }
    };
}

steps! {
    // Entering: nothing of the container happens before these.

    /// Enters the v1 hierarchies that the parent names, until it says that we are in our cgroup (v1, hybrid, systemd). On v2 the clone itself placed us.
    1 AwaitGo {}
    /// setns(2): a namespace given by path. `kind` is its CLONE_NEW*.
    2 Join { namespace: Slot, kind: u32 }
    /// setns(2) with a pidfd: several namespaces of the container's init at once (exec).
    3 JoinInit { init: Slot, kinds: u32 }
    /// unshare(CLONE_NEWUSER); asks the parent to write the id maps and waits for it.
    4 NewUser {}
    /// setresgid 0, setresuid 0: root inside a user namespace just made or joined.
    5 BecomeRoot {}
    /// unshare(2).
    6 Unshare { kinds: u32 }
    /// clone3(CLONE_PARENT | CLONE_PIDFD): the child goes on as the container's process, its pidfd goes to the parent, we leave.
    7 Fork {}
    /// Writes `/proc/self/timens_offsets` through the procfs slot; follows `Unshare(CLONE_NEWTIME)`.
    8 TimeOffsets { proc: Slot, text: F::Text }
    /// setns to the time namespace just made: unshare(CLONE_NEWTIME) moves only children.
    9 EnterNewTime { proc: Slot }
    /// setsid(2); the container never shares a session with its caller.
    10 NewSession {}
    /// Writes `/proc/self/oom_score_adj` through the procfs slot, while we may.
    11 OomScoreAdj { proc: Slot, value: F::Text }
    /// sched_setaffinity(2) for ourselves.
    12 Affinity { mask: F::Words }
    /// Brings `lo` up in a new network namespace.
    13 LoopbackUp {}
    /// The parent runs prestart and createRuntime hooks (and moves network devices) now; waits for it. Follows the mounts: a hook may add
    /// its own below the rootfs.
    14 HostHooks {}
    /// close(2) of a slot that a container must not see.
    15 CloseSlot { slot: Slot }
    /// Joins the session keyring `name`, and adds `permissions` (KEY_* bits) to it; 0 (exec): no change.
    16 SessionKeyring { name: F::Text, permissions: u32 }

    // The root filesystem.

    /// mount(NULL, "/", NULL, flags): propagation of the copied tree, before anything is attached.
    20 TreePropagation { flags: u64 }
    /// Takes the fd of the rootfs: a detached clone in `slot`, attached at the host path `at` in our own mount namespace, so that it can be
    /// pivoted to and that hooks find it where the state says. `at` empty: over `/`, where the path may not be walked (a 0700 directory
    /// above it, seen from a user namespace).
    21 AttachRoot { root: Slot, at: F::Text }
    /// The same for a parent without privilege: the stage clones `path` (a host path) onto itself.
    22 CloneRoot { path: F::Text, recursive: bool }
    /// A new filesystem: the target is opened (made when missing), entered, and mount(2) is given `.`; the kernel looks no path up. Faster
    /// than fsopen by four calls, and no option string is too long for it. `flags` are MS_* of the superblock, `attr_flags` MOUNT_ATTR_*.
    /// `copy_up`: what the target directory held is copied into the new filesystem before it covers it. `inherit_mode`: a target directory
    /// that existed gives the new root its mode (tmpfs).
    23 MountNew { fstype: F::Text, source: F::Text, flags: u64, data: F::Text, attr_flags: u64, target: F::Text, copy_up: bool, inherit_mode: bool }
    /// Asks the parent for the detached clone `source` and attaches it. The target is made (file or directory, like the source) when missing.
    25 Bind { source: Handed, target: F::Text, attr_set: u64, attr_clear: u64, recursive_set: u64, recursive_clear: u64, propagation: u64 }
    /// The same for a parent without privilege: the stage clones the host path itself.
    26 BindPath { source: F::Text, recursive: bool, target: F::Text, attr_set: u64, attr_clear: u64, recursive_set: u64, recursive_clear: u64, propagation: u64 }
    /// Further propagation words of a mount, after the first.
    27 Propagation { target: F::Text, flags: u64 }
    /// mknod below the rootfs, with mode (type bits included) and owner; an existing node of the same device is kept.
    28 Device { path: F::Text, mode: u32, major: u32, minor: u32, uid: u32, gid: u32 }
    /// The alternative to `Device` where mknod is refused: an empty file with the host's node bound over it.
    29 BindDevice { source: F::Text, path: F::Text }
    /// symlinkat; an existing entry stays, unless `replace`.
    30 Symlink { content: F::Text, path: F::Text, replace: bool }
    /// A new terminal of the container's own devpts: its master goes to the parent, its slave to fds 0 to 2, to our controlling terminal, and
    /// (`bind_console`) over /dev/console. Rows and columns 0: leave.
    31 Console { rows: u16, columns: u16, bind_console: bool }
    /// /dev/null on fd 0 to 2 is opened anew from the container's own (device 1:3), so that no host fd is kept.
    32 ReopenNull {}
    /// An in-container hook. `state` holds a run of spaces at `pid_at` where our pid is printed; on failure the hook's output goes to the parent.
    /// `point` is a [`hook_point`]. `timeout_s` 0: none.
    33 Hook { point: u8, index: u16, path: F::Text, args: F::List, env: F::List, timeout_s: u32, state: F::Text, pid_at: u32 }
    /// fchdir(root), pivot_root(".", "."), umount2(".", MNT_DETACH).
    34 PivotRoot {}
    /// Without pivot_root (initramfs): the rootfs is moved onto `/`, then chroot; the host's proc and sysfs are detached first.
    35 MoveRoot {}
    /// Propagation of the container's root mount, after pivot (MS_* flags).
    36 RootPropagation { flags: u64 }
    /// mount_setattr(MOUNT_ATTR_RDONLY) on a mount point that had to stay writable until now; empty path: the root.
    37 RemountReadonly { path: F::Text }
    /// /dev/null over a file, an empty read-only directory over a directory.
    38 Mask { path: F::Text }
    /// The path, cloned onto itself read-only, recursively.
    39 Readonly { path: F::Text }
    /// Writes below /proc/sys through the procfs slot.
    40 Sysctl { proc: Slot, path: F::Text, value: F::Text }
    41 Hostname { name: F::Text }
    42 Domainname { name: F::Text }
    /// mkdir -p of the working directory, as root, mode 0755.
    43 MakeCwd { path: F::Text }
    /// mount_setattr on the mount that stands at the target already (`remount` in a mount's options).
    44 Remount { target: F::Text, attr_set: u64, attr_clear: u64, recursive_set: u64, recursive_clear: u64 }

    // The process.

    /// prlimit(2); RLIM_INFINITY is u64::MAX.
    50 Rlimit { resource: u32, soft: u64, hard: u64 }
    /// sched_setattr(2).
    51 Scheduler { policy: u32, flags: u64, nice: i32, priority: u32, runtime: u64, deadline: u64, period: u64 }
    /// ioprio_set(IOPRIO_WHO_PROCESS).
    52 IoPriority { value: u32 }
    /// set_mempolicy(2).
    53 MemoryPolicy { mode: u32, nodes: F::Words }
    /// personality(2).
    54 Personality { value: u64 }
    55 Umask { mask: u32 }
    /// PR_CAPBSET_DROP of every capability up to `last` that is not in `keep`.
    56 DropBounding { keep: u64, last: u8 }
    /// fchown of fds 0 to 2 to the user where they are not /dev/null; refusals are ignored, as runc does.
    57 OwnStdio { uid: u32 }
    /// setgroups (unless `keep_groups`), setresgid, setresuid, with PR_SET_KEEPCAPS.
    58 User { uid: u32, gid: u32, groups: F::Words, keep_groups: bool }
    /// capset, then the ambient set.
    59 Capabilities { effective: u64, permitted: u64, inheritable: u64, ambient: u64 }
    /// The label of the next exec, through `/proc/self/attr` of the procfs slot: `attribute` is `exec` or `apparmor/exec`,
    /// `label` what is written (for AppArmor `exec PROFILE`); read back.
    60 ExecLabel { proc: Slot, attribute: F::Text, label: F::Text }
    /// prctl(PR_SET_NO_NEW_PRIVS).
    61 NoNewPrivileges {}
    /// chdir as we are, and proof that it led inside the root. Planned twice: as root, where a refusal is ignored, and as the user, where it is
    /// passed over if the first one worked (runc tries in that order, so that a user may start in a directory only root can enter).
    62 Cwd { path: F::Text }
    /// The alternative to `Cwd` where we ourselves were refused: the same with the user's fsuid and fsgid, put back afterwards (a directory
    /// that only the user may enter: FUSE, NFS with root_squash).
    74 CwdAsUser { path: F::Text, uid: u32, gid: u32 }
    /// PATH look-up of the program as the user; reports what execve would say.
    63 FindProgram { name: F::Text, path: F::Text }

    // The end.

    /// Tells the parent, waits for commit; then, unless the commit says to start at once, for a byte on the start fifo.
    70 AwaitStart { fifo: Slot }
    /// Tells the parent and waits for its commit; nothing to wait for after it (exec, run).
    71 AwaitCommit {}
    /// The program's arguments and environment, HOME from the container's /etc/passwd among it.
    79 Arguments { args: F::List, env: F::List, find_home: bool, uid: u32 }
    /// Asks the parent for the seccomp filter, which it compiles meanwhile, and sees whether the kernel knows `flags`.
    76 TakeFilter { flags: u32 }
    /// Has the kernel kill this process when the parent ends: it may wait for something then, and not notice.
    81 DieWithParent { lifeline: Slot }
    /// Makes room for the filter, which comes with the parent's word, and sees whether the kernel knows `flags`.
    80 ExpectFilter { flags: u32 }
    /// Marks every fd but 0 to 2 + `preserved` close-on-exec and loads the filter: what follows is execve. Without no-new-privileges the
    /// kernel wants CAP_SYS_ADMIN: the sets are raised to these first, and execve, which computes new ones from the bounding, inheritable
    /// and ambient sets alone, takes it away again. All 0: they are left as they are.
    77 Seccomp { flags: u32, effective: u64, permitted: u64, inheritable: u64, preserved: u32 }
    /// The same for a filter that notifies: says *ready* with the number that the listener will have, and takes no call after the load that
    /// somebody would have to answer for before the parent has the listener.
    78 Listen { flags: u32, effective: u64, permitted: u64, inheritable: u64, preserved: u32 }
    /// Marks every fd but 0 to 2 + `preserved` close-on-exec, unless that is done, and executes.
    72 Exec { preserved: u32 }
    /// PR_SET_DUMPABLE 0, so that nobody who shares a pid namespace with us can look into us.
    73 Undumpable {}
    /// PR_SET_DUMPABLE 1, last of all in a user namespace: an unprivileged runtime may join only namespaces of a process that can be looked
    /// into (pidfd setns asks ptrace_may_access), and the waiting init is by now no more than the container itself.
    75 Dumpable {}
}

/// Values of [`Step::Hook`]'s `point`.
pub mod hook_point {
    pub const CREATE_CONTAINER: u8 = 0;
    pub const START_CONTAINER: u8 = 1;
}
