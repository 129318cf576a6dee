//! Which function runs a step: a flat table in the groups of `step.rs`, and what of the stage each step is given.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Stage;
use crate::bind::{self, Attributes};
use crate::fault::{Fault, On, Result};
use crate::hook::{self, Hook};
use crate::message::{Call, ToParent};
use crate::mount::{self, New};
use crate::node::{self, Device};
use crate::path::{self, Buffer};
use crate::step::{Slot, Step};
use crate::sys::{self, SchedAttributes, Scratch};
use crate::wire::Wire;
use crate::{attributes, console, enter, identity, program, restrict, root, stdio};

impl<'p> Stage<'p> {
    /// Runs one step. The groups follow `step.rs`.
    pub(super) fn take(&mut self, step: &Step<Wire<'p>>) -> Result<()> {
        match *step {
            Step::AwaitGo {} => self.await_go(),
            Step::Join { namespace, kind } => enter::join(self.slot(namespace)?, kind),
            Step::JoinInit { init, kinds } => enter::join_init(self.slot(init)?, kinds),
            Step::NewUser {} => enter::new_user(self.channel()?),
            Step::BecomeRoot {} => enter::become_root(),
            Step::Unshare { kinds } => enter::unshare(kinds),
            Step::Fork {} => enter::fork(self.channel()?),
            Step::TimeOffsets { proc, text } => {
                enter::write_proc(self.slot(proc)?, c"self/timens_offsets", text.to_bytes())
            }
            Step::EnterNewTime { proc } => enter::enter_new_time(self.slot(proc)?),
            Step::NewSession {} => rustix::process::setsid().on(Call::Setsid).map(drop),
            Step::OomScoreAdj { proc, value } => {
                enter::write_proc(self.slot(proc)?, c"self/oom_score_adj", value.to_bytes())
            }
            Step::Affinity { mask } => attributes::affinity(mask),
            Step::LoopbackUp {} => enter::loopback_up(),
            Step::HostHooks {} => self.channel()?.ask(ToParent::WantHostHooks, 0).map(drop),
            Step::CloseSlot { slot } => self.take_slot(slot).map(drop),
            Step::SessionKeyring { name, permissions } => {
                attributes::session_keyring(name, permissions)
            }
            Step::Dumpable {} => {
                rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
                    .on(Call::Prctl)
            }
            Step::Undumpable {} => rustix::process::set_dumpable_behavior(
                rustix::process::DumpableBehavior::NotDumpable,
            )
            .on(Call::Prctl),
            _ => self.take_filesystem(step),
        }
    }

    fn take_filesystem(&mut self, step: &Step<Wire<'p>>) -> Result<()> {
        match *step {
            Step::TreePropagation { flags } => root::tree_propagation(flags),
            Step::AttachRoot { root: slot, at } => {
                self.caller_umask = Some(root::attach(self.slot(slot)?, at)?);
                // Only now: where this place was refused, the plan names another.
                self.root = Some(self.take_slot(slot)?);
                Ok(())
            }
            Step::CloneRoot { path, recursive } => {
                let (root, mask) = root::clone(path, recursive)?;
                (self.root, self.caller_umask) = (Some(root), Some(mask));
                Ok(())
            }
            Step::Device {
                path,
                mode,
                major,
                minor,
                uid,
                gid,
            } => {
                let root = opened(&self.root)?;
                self.parent.make_device(
                    root,
                    &Device {
                        path,
                        mode,
                        device: (major, minor),
                        owner: (uid, gid),
                    },
                )
            }
            Step::Symlink {
                content,
                path,
                replace,
            } => {
                let root = opened(&self.root)?;
                self.parent.make_symlink(root, content, path, replace)
            }
            Step::BindDevice { source, path } => node::bind_device(self.root()?, source, path),
            _ => self.take_stdio(step),
        }
    }

    fn take_stdio(&mut self, step: &Step<Wire<'p>>) -> Result<()> {
        match *step {
            Step::Console {
                rows,
                columns,
                bind_console,
            } => {
                self.ensure_root()?;
                console::open(self.root()?, self.channel()?, (rows, columns), bind_console)
            }
            Step::ReopenNull {} => {
                self.ensure_root()?;
                self.nulls = stdio::reopen_null(self.root()?)?;
                Ok(())
            }
            Step::Hook {
                point,
                index,
                path,
                args,
                env,
                timeout_s,
                state,
                pid_at,
            } => {
                let hook = Hook {
                    path,
                    args,
                    env,
                    timeout_s,
                    state,
                    pid_at,
                    // Before pivot_root it works for the host, like the hooks of our parent; after it the process's umask is set.
                    umask: self.caller_umask,
                };
                hook::run(&hook, &mut self.output).map_err(|fault| Fault {
                    argument: hook_argument(point, index),
                    ..fault
                })
            }
            _ => self.take_restriction(step),
        }
    }

    fn take_restriction(&mut self, step: &Step<Wire<'p>>) -> Result<()> {
        match *step {
            Step::PivotRoot {} => {
                root::pivot(opened(&self.root)?)?;
                self.in_root = true;
                self.caller_umask = None;
                Ok(())
            }
            Step::MoveRoot {} => {
                self.caller_umask = None;
                root::switch(opened(&self.root)?)
            }
            Step::RootPropagation { flags } => mount::set_propagation(self.root()?, flags),
            Step::Mask { path } => {
                let root = opened(&self.root)?;
                self.masks.mask(root, path)
            }
            Step::Readonly { path } => restrict::readonly(self.root()?, path),
            Step::RemountReadonly { path } => restrict::remount_readonly(self.root()?, path),
            Step::Sysctl { proc, path, value } => self.sysctl(proc, path, value),
            Step::Hostname { name } => {
                rustix::system::sethostname(name.to_bytes()).on(Call::Sethostname)
            }
            Step::Domainname { name } => {
                rustix::system::setdomainname(name.to_bytes()).on(Call::Setdomainname)
            }
            Step::MakeCwd { path } => path::make_directory(self.root()?, path).map(drop),
            _ => self.take_mount(step),
        }
    }

    fn take_mount(&mut self, step: &Step<Wire<'p>>) -> Result<()> {
        match *step {
            Step::MountNew {
                fstype,
                source,
                flags,
                data,
                attr_flags,
                target,
                copy_up,
                inherit_mode,
            } => {
                self.parent.forget();
                let new = New {
                    fstype,
                    source,
                    flags,
                    data,
                    attr_flags,
                    target,
                    copy_up,
                    inherit_mode,
                };
                mount::mount_new(self.root()?, &new)
            }
            _ => self.take_bind(step),
        }
    }

    fn take_bind(&mut self, step: &Step<Wire<'p>>) -> Result<()> {
        match *step {
            Step::Bind {
                source,
                target,
                attr_set,
                attr_clear,
                recursive_set,
                recursive_clear,
                propagation,
            } => {
                self.parent.forget();
                let tree = self
                    .channel()?
                    .ask(ToParent::WantSource, source)?
                    .ok_or(Fault::new(Call::Protocol, Errno::BADF))?;
                let attributes = Attributes {
                    set: attr_set,
                    clear: attr_clear,
                    recursive_set,
                    recursive_clear,
                    propagation,
                };
                bind::bind(self.root()?, &Scratch::from(tree), target, &attributes)
            }
            Step::BindPath {
                source,
                recursive,
                target,
                attr_set,
                attr_clear,
                recursive_set,
                recursive_clear,
                propagation,
            } => {
                self.parent.forget();
                let tree = mount::clone_path(source, recursive)?;
                let attributes = Attributes {
                    set: attr_set,
                    clear: attr_clear,
                    recursive_set,
                    recursive_clear,
                    propagation,
                };
                bind::bind(self.root()?, &tree, target, &attributes)
            }
            Step::Propagation { target, flags } => {
                mount::set_propagation(path::look(self.root()?, target).on(Call::Open)?, flags)
            }
            Step::Remount {
                target,
                attr_set,
                attr_clear,
                recursive_set,
                recursive_clear,
            } => {
                let mount = path::look(self.root()?, target).on(Call::Open)?;
                let attributes = Attributes {
                    set: attr_set,
                    clear: attr_clear,
                    recursive_set,
                    recursive_clear,
                    propagation: 0,
                };
                bind::set_attributes(&mount, &attributes)
            }
            _ => self.take_process(step),
        }
    }

    fn take_process(&mut self, step: &Step<Wire<'p>>) -> Result<()> {
        match *step {
            Step::Rlimit {
                resource,
                soft,
                hard,
            } => sys::set_rlimit(resource, soft, hard).on(Call::Prlimit),
            Step::Scheduler {
                policy,
                flags,
                nice,
                priority,
                runtime,
                deadline,
                period,
            } => {
                let size = u32::try_from(size_of::<SchedAttributes>()).unwrap_or(0);
                attributes::scheduler(SchedAttributes {
                    size,
                    policy,
                    flags,
                    nice,
                    priority,
                    runtime,
                    deadline,
                    period,
                })
            }
            Step::IoPriority { value } => sys::set_io_priority(value).on(Call::IoprioSet),
            Step::MemoryPolicy { mode, nodes } => attributes::memory_policy(mode, nodes),
            Step::Personality { value } => sys::personality(value).on(Call::Personality),
            Step::Umask { mask } => {
                rustix::process::umask(Mode::from_raw_mode(mask));
                Ok(())
            }
            Step::DropBounding { keep, last } => identity::drop_bounding(keep, last),
            Step::OwnStdio { uid } => {
                stdio::own(uid, self.nulls);
                Ok(())
            }
            _ => self.take_identity(step),
        }
    }

    fn take_identity(&mut self, step: &Step<Wire<'p>>) -> Result<()> {
        match *step {
            Step::User {
                uid,
                gid,
                groups,
                keep_groups,
            } => identity::become_user(uid, gid, groups, keep_groups),
            Step::Capabilities {
                effective,
                permitted,
                inheritable,
                ambient,
            } => identity::set_sets(effective, permitted, inheritable, ambient),
            Step::ExecLabel {
                proc,
                attribute,
                label,
            } => self.label(proc, attribute, label),
            Step::NoNewPrivileges {} => rustix::thread::set_no_new_privs(true).on(Call::Prctl),
            Step::Cwd { path } => self.change_directory(path),
            Step::CwdAsUser { path, uid, gid } => {
                sys::set_filesystem_user(uid, gid);
                let changed = self.change_directory(path);
                sys::set_filesystem_user(0, 0);
                changed
            }
            Step::FindProgram { name, path } => {
                self.program = Some(program::find(name, path)?);
                Ok(())
            }
            Step::AwaitStart { fifo } => self.await_start(Some(fifo)),
            Step::AwaitCommit {} => self.await_start(None),
            _ => self.take_ending(step),
        }
    }

    fn take_ending(&mut self, step: &Step<Wire<'p>>) -> Result<()> {
        match *step {
            Step::Arguments {
                args,
                env,
                find_home,
                uid,
            } => {
                if find_home {
                    self.home = Some(program::home(self.root.as_ref(), uid));
                }
                self.image = Some(program::image(args, env, self.home.as_ref())?);
                Ok(())
            }
            Step::TakeFilter { flags } => self.take_filter(flags),
            Step::ExpectFilter { flags } => self.expect_filter(flags),
            Step::DieWithParent { lifeline } => {
                sys::kill_on_hangup(self.slot(lifeline)?).on(Call::Fcntl)
            }
            Step::Seccomp {
                flags,
                effective,
                permitted,
                inheritable,
                preserved,
            } => {
                self.seal(preserved)?;
                self.load_filter(flags, [effective, permitted, inheritable])
            }
            Step::Listen {
                flags,
                effective,
                permitted,
                inheritable,
                preserved,
            } => {
                self.let_go()?;
                self.seal(preserved)?;
                self.listen(flags, [effective, permitted, inheritable])
            }
            Step::Exec { preserved } => {
                self.seal(preserved)?;
                let path = self.program.as_ref().map_or(c"", Buffer::as_c_str);
                let image = self.image.as_ref().ok_or(Fault::check(Errno::INVAL))?;
                Err(program::exec(path, image))
            }
            _ => Err(Fault::new(Call::Protocol, Errno::NOSYS)),
        }
    }

    fn sysctl(&self, proc: Slot, path: &CStr, value: &CStr) -> Result<()> {
        let path = below(b"sys/", path)?;
        enter::write_proc(self.slot(proc)?, path.as_c_str(), value.to_bytes())
    }

    fn label(&self, proc: Slot, attribute: &CStr, label: &CStr) -> Result<()> {
        let path = below(b"self/attr/", attribute)?;
        enter::label_exec(self.slot(proc)?, path.as_c_str(), label)
    }

    /// Into the working directory by fd, and then the proof that it lies below our root (CVE-2024-21626): getcwd of a directory outside it
    /// starts with `(unreachable)`.
    fn change_directory(&mut self, path: &CStr) -> Result<()> {
        if path.to_bytes() == b"/" && core::mem::take(&mut self.in_root) {
            return Ok(());
        }
        self.ensure_root()?;
        let directory =
            path::open(self.root()?, path, OFlags::PATH | OFlags::DIRECTORY).on(Call::Open)?;
        rustix::process::fchdir(directory).on(Call::Fchdir)?;
        if !sys::cwd_is_reachable().on(Call::Getcwd)? {
            return Err(Fault::check(Errno::ACCESS));
        }
        Ok(())
    }
}

fn hook_argument(point: u8, index: u16) -> u64 {
    (u64::from(point) << 16) | u64::from(index)
}

/// The root, borrowed apart from all else that the stage holds.
fn opened(root: &Option<OwnedFd>) -> Result<BorrowedFd<'_>> {
    root.as_ref()
        .map(AsFd::as_fd)
        .ok_or(Fault::check(Errno::BADF))
}

/// A path of procfs: `directory` ends in a slash.
fn below(directory: &[u8], path: &CStr) -> Result<Buffer> {
    let mut whole = Buffer::new(directory)?;
    whole
        .push(path.to_bytes())
        .ok_or(Fault::check(Errno::NAMETOOLONG))?;
    Ok(whole)
}
