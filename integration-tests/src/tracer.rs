//! Follows a command and everything it starts with ptrace, counts system calls, and strikes at one of them.
//!
//! The tracer is a process of its own, one for each command: when it ends, the kernel lets go of whatever it still held, which then goes on
//! by itself. Programs that the *user* named are let go of at their exec: their calls are not the runtime's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::case::Failure;
use crate::processes;

/// Whose system calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The command's own process, with its threads.
    Command,
    /// Every process that it clones.
    Children,
}

/// What happens at the chosen call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strike {
    /// Nothing: only count.
    Nothing,
    /// The process that makes the call is killed before the call is done.
    Kill,
    /// The call is not done and gives this errno.
    Fail(i32),
    /// Two names of a directory tree change places before the call is done: an attacker who shares the directory wins every race.
    Exchange(PathBuf, PathBuf),
}

impl Strike {
    /// Reads `nothing`, `kill`, an errno, or `exchange:PATH:PATH`.
    pub fn parse(word: &str) -> Result<Strike, Failure> {
        if let Some((one, other)) = word
            .strip_prefix("exchange:")
            .and_then(|pair| pair.split_once(':'))
        {
            return Ok(Strike::Exchange(PathBuf::from(one), PathBuf::from(other)));
        }
        Ok(match word {
            "nothing" => Strike::Nothing,
            "kill" => Strike::Kill,
            errno => Strike::Fail(errno.parse()?),
        })
    }
}

/// Lets two names change places.
pub fn exchange(one: &Path, other: &Path) -> Result<(), Errno> {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)
}

/// What is traced and what is done to it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whose calls.
    pub scope: Scope,
    /// What to do.
    pub strike: Strike,
    /// At which call of the scope, from 1.
    pub at: u64,
    /// Names of programs that are the user's.
    pub users: Vec<String>,
    /// Where the outcome is written, and first the strike itself, in case the command never ends.
    pub report: PathBuf,
    /// A process that runs already and belongs to [`Scope::Children`].
    pub attach: Option<i32>,
}

/// How the command ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// System calls of the scope that were seen.
    pub calls: u64,
    /// The call that was struck, by number; none if the command ended before.
    pub struck: Option<u64>,
    /// The exit status, 128 + the signal for a killed one.
    pub code: i32,
}

impl Ended {
    /// For the pipe between the tracer and who asked for it.
    pub fn to_json(&self) -> Value {
        json!({"calls": self.calls, "struck": self.struck, "code": self.code})
    }

    /// The reverse of [`Ended::to_json`].
    pub fn from_json(value: &Value) -> Option<Ended> {
        let code = i32::try_from(value["code"].as_i64()?).ok()?;
        Some(Ended {
            calls: value["calls"].as_u64()?,
            struck: value["struck"].as_u64(),
            code,
        })
    }
}

/// The calls that cannot be made to fail: they do not return, or their failure is no failure of the kernel's.
const EXEMPT: [i64; 5] = [
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_rt_sigreturn,
];

#[derive(Debug, Clone, Copy, Default)]
struct Tracee {
    command: bool,
    failing: Option<i32>,
    fresh: bool,
}

struct Tracer {
    plan: Plan,
    root: Pid,
    tracees: BTreeMap<i32, Tracee>,
    calls: u64,
    struck: Option<u64>,
}

/// Becomes the program named by `args`, traced by the parent. Returns only on failure.
pub fn become_tracee(args: &[String]) -> Failure {
    use std::os::unix::process::CommandExt;
    let Some((program, rest)) = args.split_first() else {
        return Failure::new("no program");
    };
    match ptrace::traceme() {
        Ok(()) => Command::new(program).args(rest).exec().into(),
        Err(errno) => errno.into(),
    }
}

/// Runs `args` to its end under the plan. The caller has no other children.
pub fn trace(plan: Plan, args: &[String]) -> Result<Ended, Failure> {
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC;
    let mut tracees = BTreeMap::new();
    if let Some(pid) = plan.attach {
        ptrace::seize(Pid::from_raw(pid), options)?;
        ptrace::interrupt(Pid::from_raw(pid))?;
        tracees.insert(pid, Tracee::default());
    }
    let child = Command::new(std::env::current_exe()?)
        .arg("--tracee")
        .args(args)
        .stdin(Stdio::null())
        .spawn()?;
    let root = Pid::from_raw(child.id().cast_signed());
    // The stop at the exec of the command itself.
    waitpid(root, Some(WaitPidFlag::__WALL))?;
    ptrace::setoptions(root, options)?;
    ptrace::syscall(root, None)?;
    tracees.insert(
        root.as_raw(),
        Tracee {
            command: true,
            ..Tracee::default()
        },
    );
    let mut tracer = Tracer {
        plan,
        root,
        tracees,
        calls: 0,
        struck: None,
    };
    let code = tracer.follow()?;
    tracer.release();
    Ok(Ended {
        calls: tracer.calls,
        struck: tracer.struck,
        code,
    })
}

impl Tracer {
    /// Handles stops until the command has ended; a process that was attached is followed until then too.
    fn follow(&mut self) -> Result<i32, Failure> {
        loop {
            let status = waitpid(None, Some(WaitPidFlag::__WALL))?;
            let outcome = match status {
                WaitStatus::Exited(pid, code) => {
                    self.tracees.remove(&pid.as_raw());
                    if pid == self.root {
                        return Ok(code);
                    }
                    Ok(())
                }
                WaitStatus::Signaled(pid, signal, _) => {
                    self.tracees.remove(&pid.as_raw());
                    if pid == self.root {
                        return Ok(128 + signal as i32);
                    }
                    Ok(())
                }
                WaitStatus::PtraceSyscall(pid) => self.at_call(pid),
                WaitStatus::PtraceEvent(pid, _, event) => self.at_event(pid, event),
                WaitStatus::Stopped(pid, signal) => self.at_signal(pid, signal),
                _ => Ok(()),
            };
            match outcome {
                // It was killed meanwhile: its end will be reported.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Lets new tracees go whose first stop has not been seen: it is of our making, and would outlast us.
    fn release(&mut self) {
        for (&pid, _) in self.tracees.iter().filter(|(_, tracee)| tracee.fresh) {
            let pid = Pid::from_raw(pid);
            // It may have been killed before it ever ran.
            if let Ok(WaitStatus::Stopped(..)) = waitpid(pid, Some(WaitPidFlag::__WALL)) {
                let _ = ptrace::detach(pid, None);
            }
        }
    }

    fn record(&mut self, number: u64) {
        self.struck = Some(number);
        let so_far = Ended {
            calls: self.calls,
            struck: self.struck,
            code: -1,
        };
        // If it cannot be written, only a message about a hang is the poorer for it.
        let _ = std::fs::write(&self.plan.report, so_far.to_json().to_string());
    }

    fn counts(&self, tracee: Tracee) -> bool {
        tracee.command == (self.plan.scope == Scope::Command)
    }

    fn at_call(&mut self, pid: Pid) -> Result<(), Errno> {
        let entering = ptrace::syscall_info(pid)?.op == libc::PTRACE_SYSCALL_INFO_ENTRY;
        let tracee = self.tracees.entry(pid.as_raw()).or_default();
        if !entering {
            if let Some(errno) = tracee.failing.take() {
                let mut regs = ptrace::getregs(pid)?;
                regs.rax = i64::from(-errno).cast_unsigned();
                ptrace::setregs(pid, regs)?;
            }
            return ptrace::syscall(pid, None);
        }
        let tracee = *tracee;
        if self.counts(tracee) && self.struck.is_none() {
            let mut regs = ptrace::getregs(pid)?;
            let number = regs.orig_rax;
            let may_fail = !EXEMPT.contains(&number.cast_signed());
            let counted = match &self.plan.strike {
                Strike::Fail(_) => may_fail,
                Strike::Kill | Strike::Nothing | Strike::Exchange(..) => true,
            };
            self.calls += u64::from(counted);
            if counted && self.calls == self.plan.at {
                match self.plan.strike.clone() {
                    Strike::Nothing => {}
                    Strike::Exchange(one, other) => {
                        self.record(number);
                        exchange(&one, &other)?;
                    }
                    Strike::Kill => {
                        self.record(number);
                        return kill(pid, Signal::SIGKILL);
                    }
                    Strike::Fail(errno) => {
                        self.record(number);
                        // No call has this number: the kernel does nothing, and the result is put in at the exit. A close is done all
                        // the same: Linux never keeps a descriptor open whose close failed (close(2)).
                        if number.cast_signed() != libc::SYS_close {
                            regs.orig_rax = u64::MAX;
                            ptrace::setregs(pid, regs)?;
                        }
                        self.tracees.entry(pid.as_raw()).or_default().failing = Some(errno);
                    }
                }
            }
        }
        ptrace::syscall(pid, None)
    }

    fn at_event(&mut self, pid: Pid, event: i32) -> Result<(), Errno> {
        if event == Event::PTRACE_EVENT_EXEC as i32 {
            let name = processes::stat(pid.as_raw())
                .map(|stat| stat.comm)
                .unwrap_or_default();
            if self.plan.users.contains(&name) {
                self.tracees.remove(&pid.as_raw());
                return ptrace::detach(pid, None);
            }
        } else if event != Event::PTRACE_EVENT_STOP as i32 {
            let new = i32::try_from(ptrace::getevent(pid)?).unwrap_or(0);
            let of_command = processes::status_field(new, "Tgid")
                .is_some_and(|tgid| tgid == self.root.to_string());
            let known = self.tracees.entry(new).or_insert(Tracee {
                fresh: true,
                ..Tracee::default()
            });
            known.command = of_command;
        }
        ptrace::syscall(pid, None)
    }

    fn at_signal(&mut self, pid: Pid, signal: Signal) -> Result<(), Errno> {
        let own_root = self.root.to_string();
        let tracee = self.tracees.entry(pid.as_raw()).or_insert_with(|| Tracee {
            command: processes::status_field(pid.as_raw(), "Tgid")
                .is_some_and(|tgid| tgid == own_root),
            fresh: true,
            failing: None,
        });
        // A new tracee begins with a stop of the tracer's making.
        let ours = signal == Signal::SIGSTOP && std::mem::take(&mut tracee.fresh)
            || signal == Signal::SIGTRAP;
        ptrace::syscall(pid, (!ours).then_some(signal))
    }
}
