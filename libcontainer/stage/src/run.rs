//! The stage's life: take the plan, run its steps in order, say what failed, become the container's program.

mod dispatch;
mod filter;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::Mode;
use rustix::io::{Errno, read, write};

use crate::channel::Channel;
use crate::fault::{Fault, On, Result};
use crate::hook::Output;
use crate::message::{Call, Failure, ToParent, ToStage};
use crate::path::{self, Buffer};
use crate::restrict::Masks;
use crate::stdio::{self, Nulls};
use crate::step::{Slot, Step};
use crate::sys;
use crate::wire::{Header, OnError, Reader, SLOTS_MAX, Wire};
use crate::{enter, node, program};

/// Exit status of a container whose program could not be executed, as with runc.
const EXIT_NOT_STARTED: i32 = 255;

/// The program's entry. Its arguments are `garboard`, `init` and `CONTROL PLAN LENGTH` in decimal.
///
/// # Safety
/// `stack` is the stack pointer as the kernel left it for a new program.
#[allow(unsafe_code)]
pub unsafe fn stage_main(stack: *const usize) -> ! {
    // SAFETY: the caller's promise is that of `arguments`.
    let [_, _, numbers] = unsafe { sys::arguments(stack) };
    let mut numbers = numbers.split(|&byte| byte == b' ').map(decimal);
    let (Some(control), Some(plan), Some(length)) =
        (numbers.next(), numbers.next(), numbers.next())
    else {
        sys::exit(1)
    };
    let channel = Channel(sys::adopt(i32::try_from(control).unwrap_or(-1)));
    let plan = sys::adopt(i32::try_from(plan).unwrap_or(-1));
    let Ok(bytes) = sys::map_plan(plan.as_fd(), length) else {
        fail(
            &channel,
            &Failure::new(Call::Mmap, Errno::NOMEM.raw_os_error()),
        )
    };
    // Mapped: the sweep closes it with the rest.
    core::mem::forget(plan);
    let mut reader = Reader::new(bytes);
    let Some(header) = reader.take::<Header>() else {
        fail(
            &channel,
            &Failure::new(Call::Protocol, Errno::PROTO.raw_os_error()),
        )
    };
    let mut stage = Stage::new(channel, &header);
    match stage
        .prepare(&header)
        .and_then(|()| stage.run(reader, header.steps))
    {
        // A plan ends in exec: coming here means that it did not.
        Ok(()) => stage.end(Fault::new(Call::Protocol, Errno::PROTO)),
        Err(fault) => stage.end(fault),
    }
}

fn decimal(digits: &[u8]) -> usize {
    digits.iter().fold(0, |value: usize, digit| {
        value
            .saturating_mul(10)
            .saturating_add(usize::from(digit.wrapping_sub(b'0')))
    })
}

fn fail(channel: &Channel, failure: &Failure) -> ! {
    let _ = channel.report(ToParent::Failure, failure); // a parent that is gone cannot be told
    sys::exit(1)
}

use filter::Filter;

/// Who is told of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// The process that waits for us in create, run or exec.
    Parent,
    /// Whoever reads the container's stderr: after `start` nobody waits any more.
    Stderr,
}

/// All that steps leave behind for later steps.
struct Stage<'p> {
    channel: Option<Channel>,
    audience: Audience,
    slots: [Option<OwnedFd>; SLOTS_MAX],
    root: Option<OwnedFd>,
    parent: node::Parent<'p>,
    masks: Masks,
    nulls: Nulls,
    program: Option<Buffer>,
    /// `HOME=…`: the image points into it.
    home: Option<Buffer>,
    image: Option<program::Image>,
    filter: Option<Filter>,
    /// Every fd that the program must not have is marked close-on-exec.
    sealed: bool,
    /// The parent has been told.
    ready: bool,
    output: Output,
    step: u32,
    first_scratch: u32,
    /// Nothing has left `/` since pivot_root entered it.
    in_root: bool,
    /// The umask before we emptied it; until the root is changed.
    caller_umask: Option<Mode>,
}

impl<'p> Stage<'p> {
    fn new(channel: Channel, header: &Header) -> Stage<'p> {
        let mut slots = [const { None }; SLOTS_MAX];
        // Slot 0 is the control socket, which the channel owns.
        for (slot, &fd) in slots.iter_mut().zip(&header.fds).take(header.slots).skip(1) {
            *slot = Some(sys::adopt(fd));
        }
        Stage {
            channel: Some(channel),
            audience: Audience::Parent,
            slots,
            root: None,
            parent: node::Parent::default(),
            masks: Masks::default(),
            nulls: Nulls::default(),
            program: None,
            home: None,
            image: None,
            filter: None,
            sealed: false,
            ready: false,
            output: Output::new(),
            step: 0,
            first_scratch: 3,
            in_root: false,
            caller_umask: None,
        }
    }

    /// What every launch needs: a name in `ps`, signals as a new program expects them, and none of the caller's fds (R5, R19).
    fn prepare(&mut self, header: &Header) -> Result<()> {
        rustix::thread::set_name(c"garboard:[init]").on(Call::Prctl)?;
        enter::default_signals()?;
        self.first_scratch = header.preserved.saturating_add(3);
        self.sweep()
    }

    /// Closes every fd that no later step needs.
    fn sweep(&mut self) -> Result<()> {
        let mut kept = [-1; SLOTS_MAX + 5];
        let channel = self.channel.as_ref().map(|channel| channel.0.as_raw_fd());
        let root = self.root.as_ref().map(AsRawFd::as_raw_fd);
        let slots = self
            .slots
            .iter()
            .map(|slot| slot.as_ref().map(AsRawFd::as_raw_fd));
        let others = [channel, root, self.parent.kept()]
            .into_iter()
            .chain(self.masks.kept());
        for (place, fd) in kept.iter_mut().zip(slots.chain(others)) {
            *place = fd.unwrap_or(-1);
        }
        kept.sort_unstable();
        sys::close_scratch(self.first_scratch, &kept).on(Call::CloseRange)
    }

    fn run(&mut self, mut reader: Reader<'p>, steps: u32) -> Result<()> {
        let mut pass_over = false;
        for index in 0..steps {
            let on_error = reader
                .take::<OnError>()
                .ok_or(Fault::new(Call::Protocol, Errno::PROTO))?;
            let step = reader
                .take::<Step<Wire<'p>>>()
                .ok_or(Fault::new(Call::Protocol, Errno::PROTO))?;
            let passed_over = core::mem::take(&mut pass_over);
            if passed_over {
                continue;
            }
            self.step = index;
            if sys::scratch_is_many() {
                self.sweep()?;
            }
            match (self.take(&step), on_error) {
                (Ok(()), OnError::Instead(_)) => pass_over = true,
                (Ok(()), _) => {}
                (Err(fault), OnError::Instead(_)) if on_error.covers(fault.errno) => {}
                (Err(fault), OnError::Ignore(_)) if on_error.covers(fault.errno) => {
                    self.note(fault)?
                }
                (Err(fault), _) => return Err(fault),
            }
        }
        Ok(())
    }

    fn channel(&self) -> Result<&Channel> {
        self.channel
            .as_ref()
            .ok_or(Fault::new(Call::Protocol, Errno::PIPE))
    }

    fn root(&self) -> Result<BorrowedFd<'_>> {
        self.root
            .as_ref()
            .map(AsFd::as_fd)
            .ok_or(Fault::check(Errno::BADF))
    }

    fn slot(&self, slot: Slot) -> Result<BorrowedFd<'_>> {
        let fd = self.slots.get(usize::from(slot)).and_then(Option::as_ref);
        fd.map(|fd| fd.as_fd()).ok_or(Fault::check(Errno::BADF))
    }

    fn take_slot(&mut self, slot: Slot) -> Result<OwnedFd> {
        self.slots
            .get_mut(usize::from(slot))
            .and_then(Option::take)
            .ok_or(Fault::check(Errno::BADF))
    }

    /// The directory that container paths start from: the rootfs, or for exec the root that setns gave us.
    fn ensure_root(&mut self) -> Result<()> {
        if self.root.is_none() {
            self.root = Some(path::look(rustix::fs::CWD, c"/").on(Call::Open)?.keep());
        }
        Ok(())
    }

    /// A thread that writes itself into a `tasks` file is moved at once (Linux 5.19, cgroup_procs_write_start); whoever moves another one
    /// waits for an RCU grace period, 6 ms and more, to keep it from forking meanwhile. 0: whoever writes.
    fn await_go(&self) -> Result<()> {
        loop {
            match self.channel()?.receive()? {
                (ToStage::Enter, Some(tasks)) => {
                    write(&tasks, b"0").on(Call::Write)?;
                }
                (ToStage::Go, _) => return Ok(()),
                _ => return Err(Fault::new(Call::Protocol, Errno::PROTO)),
            }
        }
    }

    /// *Ready*, and then as long as it takes. Before the parent's word nothing of the user's runs; after it nobody needs the parent.
    fn await_start(&mut self, fifo: Option<Slot>) -> Result<()> {
        if !self.ready {
            if fifo.is_some() {
                self.let_go()?;
            }
            self.channel()?.send(&[ToParent::Ready as u8], None)?;
        }
        match (self.word()?, fifo) {
            (ToStage::Start, _) => self.audience = Audience::Stderr,
            (ToStage::Commit, None) => {}
            (ToStage::Commit, Some(fifo)) => {
                self.channel = None;
                self.audience = Audience::Stderr;
                let fifo = self.take_slot(fifo)?;
                // Both ends are ours, so the read never sees EOF: it waits for the byte of `start`.
                // A filter that is loaded already may deny it: that is no start.
                loop {
                    match read(&fifo, &mut [0u8; 1]) {
                        Err(Errno::INTR) => {}
                        result => {
                            result.on(Call::Read)?;
                            break;
                        }
                    }
                }
            }
            _ => return Err(Fault::new(Call::Protocol, Errno::PROTO)),
        }
        Ok(())
    }

    /// Nothing of the launch stays open: a container's init may wait for its start for days, where others of the container can look at it.
    fn let_go(&mut self) -> Result<()> {
        self.parent.forget();
        self.masks = Masks::default();
        self.sweep()
    }

    fn failure(&self, fault: Fault) -> Failure {
        let failure = Failure {
            step: self.step,
            arguments: [fault.argument, 0],
            ..Failure::new(fault.call, fault.errno)
        };
        match fault.call {
            Call::HookExit => {
                failure.about(self.output.bytes.get(..self.output.length).unwrap_or(&[]))
            }
            Call::Execve => failure.about(
                self.program
                    .as_ref()
                    .map(|program| program.as_c_str().to_bytes())
                    .unwrap_or(&[]),
            ),
            _ => failure,
        }
    }

    fn note(&self, fault: Fault) -> Result<()> {
        match &self.channel {
            Some(channel) if self.audience == Audience::Parent => {
                channel.report(ToParent::Note, &self.failure(fault))
            }
            _ => Ok(()),
        }
    }

    /// Says what failed and ends the process.
    fn end(&self, fault: Fault) -> ! {
        let failure = self.failure(fault);
        match (&self.channel, self.audience) {
            (Some(channel), Audience::Parent) => fail(channel, &failure),
            _ => {
                let about: &[u8] = if fault.call == Call::Execve {
                    b"exec "
                } else {
                    b"garboard: "
                };
                let what = if fault.call == Call::HookExit {
                    b"error running startContainer hook: "
                } else {
                    fault.call.name().as_bytes()
                };
                let (what, detail) = if fault.call == Call::Execve {
                    (failure.detail(), &b""[..])
                } else {
                    (what, failure.detail())
                };
                let errno = Errno::from_raw_os_error(fault.errno.clamp(1, 4095));
                let text = if fault.call == Call::HookExit {
                    ""
                } else {
                    program::text(errno)
                };
                let separator: &[u8] = if text.is_empty() { b"" } else { b": " };
                stdio::say(&[about, what, detail, separator, text.as_bytes(), b"\n"]);
                sys::exit(EXIT_NOT_STARTED)
            }
        }
    }
}
