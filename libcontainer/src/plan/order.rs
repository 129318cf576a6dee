//! The order of a launch: the one place that decides what comes before what, each line with its reason.

use super::create::Create;
use super::draft::Draft;
use super::exec::Exec;
use super::flags::CLONE_NEWUSER;
use super::{devices, hooks, identity, limits, mounts, namespaces, process, rootfs, seccomp};

/// create and run.
pub(super) fn create(c: &mut Create<'_>) {
    // Nothing of the container happens outside its limits.
    namespaces::await_cgroup(&mut c.draft);
    // From here on the caller's CPU mask is not ours (R19).
    limits::all_cpus(&mut c.draft);
    // Lowering the score needs the host's CAP_SYS_RESOURCE, and the file must be ours: before any user namespace, while dumpable.
    limits::oom_score_adj(&mut c.draft);
    // Joined and new ones in the order their owners ask for; from here on nobody in a shared pid namespace may look into us (R6).
    namespaces::enter(c);
    // After the fork, if there is one: the session is the init's.
    namespaces::new_session(&mut c.draft);
    // Configures the new network namespace; net.* sysctls and hooks may count on `lo`.
    namespaces::loopback(c);

    // Before anything is attached: nothing we mount may reach the host.
    rootfs::tree_propagation(c);
    rootfs::attach(c);
    // In the order of config.json: later mounts may lie in earlier ones.
    mounts::all(c);
    // After the mounts, since /dev is one; unless it is a bind mount, which belongs to somebody else.
    devices::all(c);
    // After devpts: the terminal is one of the container's own (R13).
    process::console(&mut c.draft, true);
    // After the mounts, before pivot: a hook adds its own mounts below the rootfs' host path (legacy GPU hooks, libnetwork).
    hooks::host(c);
    // In our namespaces, but still with the host's tree.
    hooks::create_container(c);
    // By fds: no path of the container is looked up.
    rootfs::pivot(c);
    // Only now: before pivot a shared root would propagate back to the host.
    rootfs::root_propagation(c);
    // The host's /dev/null goes (CVE-2025-31133: device 1:3 is proven).
    rootfs::reopen_null(c);
    // Last of what needs a writable root.
    rootfs::make_cwd(c);
    // After every mount point exists (R18).
    rootfs::readonly(c);
    // Through the parent's procfs, so that neither mounts over /proc nor read-only paths are in the way (R2, CVE-2025-52881).
    process::sysctls(c);
    process::names(c);
    // After sysctl. Read-only before masked: a mask below a read-only path stays a mask.
    rootfs::readonly_paths(c);
    rootfs::masked_paths(c);

    // Before seccomp and the user change: each may need a capability, or a call that a profile denies (R18).
    identity::new_keyring(c);
    limits::memory_policy(c);
    limits::personality(c);
    let in_user_namespace = namespaces::enters_user(c);
    become_the_process(&mut c.draft, Some(0o022), in_user_namespace);

    let env = c.env();
    process::arguments(&mut c.draft, env);
    // The parent compiles it while we mount; nobody is there to ask after `start`.
    let early = seccomp::waits_among_strangers(c);
    seccomp::take(&mut c.draft, early);
    // Before `start`: an agent sees the program's first call, and whoever calls `start` has no part in it.
    seccomp::listen(&mut c.draft);
    // Where strangers can see us wait, we wait without a privilege that is not the program's.
    seccomp::load_before_strangers(c);
    // Nothing of config.json can fail any more.
    process::await_start(c);
    // With the user's credentials, after `start`.
    hooks::start_container(c);
    // The last act: no call of ours is the filter's business, with and without no-new-privileges.
    if !seccomp::waits_among_strangers(c) {
        seccomp::load(&mut c.draft);
    }
    process::exec(&mut c.draft);
}

/// exec: no mount, no device, no file of the container is touched.
pub(super) fn exec(e: &mut Exec<'_>) {
    namespaces::await_cgroup(&mut e.draft);
    // execCPUAffinity.initial: what the process may run on until it is set up.
    limits::first_affinity(&mut e.draft);
    // While `/proc/self` is ours to write to.
    limits::oom_score_adj(&mut e.draft);
    // Before the container can see us (CVE-2016-9962).
    namespaces::enter_init(e);
    namespaces::new_session(&mut e.draft);
    process::console(&mut e.draft, false);
    process::reopen_null(&mut e.draft);
    identity::join_keyring(e);
    let in_user_namespace = e.target.namespaces & CLONE_NEWUSER != 0;
    become_the_process(&mut e.draft, None, in_user_namespace);
    limits::last_affinity(&mut e.draft);
    let env = e.draft.process.env.clone();
    process::arguments(&mut e.draft, env);
    seccomp::take(&mut e.draft, false);
    seccomp::listen(&mut e.draft);
    process::await_commit(&mut e.draft);
    seccomp::load(&mut e.draft);
    process::exec(&mut e.draft);
}

/// From root to the process's own identity; what create and exec have in common.
fn become_the_process(draft: &mut Draft<'_>, umask: Option<u32>, in_user_namespace: bool) {
    // Raising a priority needs CAP_SYS_NICE.
    limits::scheduler(draft);
    limits::io_priority(draft);
    identity::umask(draft, umask);
    // As root: a directory that only root may enter (an image with WORKDIR /root and another user) is no error.
    identity::cwd(draft);
    // While the fds are root's to give away.
    identity::own_stdio(draft);
    // PR_CAPBSET_DROP needs CAP_SETPCAP, which the user change or capset takes away.
    identity::drop_bounding(draft);
    // Before no-new-privileges, which lets through only transitions to less; it takes effect at execve.
    identity::label(draft);
    // After our last open but that of /etc/passwd (R19), while we may still raise them.
    limits::rlimits(draft, in_user_namespace);
    // With PR_SET_KEEPCAPS, since the capabilities are set after it.
    identity::user(draft);
    identity::capabilities(draft);
    // After it execve grants nothing; nothing of ours execs.
    identity::no_new_privileges(draft);
    // As the user, with the user's capabilities: what execve would say is said by create, not by start.
    process::find_program(draft);
}
