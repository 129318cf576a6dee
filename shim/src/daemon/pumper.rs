//! The thread that copies. It has the streams of all processes, and nothing else: a pipe is locked by the kernel while its writer's page
//! fault is served, however long that takes (a mapping of FUSE, of a network file system that is gone, of userfaultfd), and until then a
//! read, a splice and even a close of the other end wait, uninterruptibly. Whoever writes so stops this thread, and no call, no exit and
//! no kill: the daemon's own never touches a pipe of a container.
//!
//! It is begun with the first stream. Each pump is registered with the end that it waits for, and with no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::Daemon;
use super::reactor::{Interest, Reactor, Token};
use super::workers::Mailbox;
use crate::stdio::{Progress, Pump};

/// More than any pipe holds: what was written before the end of a process is through after as many turns, unless its reader is slow.
const TURNS_AT_THE_END: usize = 4;
const STACK: usize = 128 << 10;
/// How long output is through only when its reader has it. The end of a process waits no longer either.
const UNREAD: Duration = Duration::from_millis(500);
/// How soon it is looked whether the reader has it, and then after twice as long each time.
const FIRST_LOOK: Duration = Duration::from_micros(500);

#[derive(Debug)]
pub struct Pumper {
    orders: Sender<Order>,
    /// Readable when there is an order.
    wake: Arc<OwnedFd>,
}

#[derive(Debug)]
pub enum Order {
    Copy(u64, Pump),
    /// Its process has ended: say when all that it had written is through.
    Settle(u64),
    /// Copy what is there, and drop it.
    Finish(u64),
    Drop(u64),
}

#[derive(Debug)]
struct Pumped {
    pump: Pump,
    waits: Option<(End, Token)>,
    settle: bool,
    unread: Option<Unread>,
}

/// All is written, and not all is read.
#[derive(Debug, Clone, Copy)]
struct Unread {
    until: Instant,
    pause: Duration,
    looking: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Sink,
}

#[derive(Debug, Clone, Copy)]
enum Due {
    Orders,
    Pump(u64),
    Look(u64),
}

impl Pumper {
    pub fn new(mailbox: Mailbox<Daemon>) -> Result<Pumper, Errno> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let wake = Arc::new(wake);
        let (sender, orders) = channel();
        let mut reactor = Reactor::new()?;
        reactor.add(&wake, Interest::Readable, Due::Orders)?;
        let thread = Thread {
            orders,
            wake: Arc::clone(&wake),
            reactor,
            pumps: HashMap::new(),
            mailbox,
        };
        thread::Builder::new()
            .name("streams".to_owned())
            .stack_size(STACK)
            .spawn(|| thread.run())
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        Ok(Pumper {
            orders: sender,
            wake,
        })
    }

    pub fn order(&self, order: Order) {
        // The thread ends with the process.
        let _ = self.orders.send(order);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

struct Thread {
    orders: Receiver<Order>,
    wake: Arc<OwnedFd>,
    reactor: Reactor<Due>,
    pumps: HashMap<u64, Pumped>,
    mailbox: Mailbox<Daemon>,
}

impl Thread {
    fn run(mut self) {
        let mut due = Vec::new();
        loop {
            if let Err(errno) = self.reactor.wait(None, &mut due) {
                return log::error!("epoll_wait of the streams: {errno}");
            }
            for (token, source) in due.drain(..) {
                match source {
                    Due::Orders => self.take_orders(),
                    Due::Pump(number) if self.reactor.knows(token) => drop(self.advance(number)),
                    Due::Pump(_) => {}
                    Due::Look(number) => self.look(number),
                }
            }
        }
    }

    fn take_orders(&mut self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Copy(number, pump) => {
                    let pumped = Pumped {
                        pump,
                        waits: None,
                        settle: false,
                        unread: None,
                    };
                    self.pumps.insert(number, pumped);
                    self.advance(number);
                }
                Order::Settle(number) => {
                    if let Some(pumped) = self.pumps.get_mut(&number) {
                        pumped.settle = true;
                    }
                    self.take_turns(number);
                }
                Order::Finish(number) => {
                    self.take_turns(number);
                    self.done(number);
                }
                Order::Drop(number) => self.remove(number),
            }
        }
    }

    fn take_turns(&mut self, number: u64) {
        for _ in 0..TURNS_AT_THE_END {
            if self.advance(number) != Some(Progress::More) {
                break;
            }
        }
    }

    fn advance(&mut self, number: u64) -> Option<Progress> {
        let pumped = self.pumps.get_mut(&number)?;
        let progress = pumped.pump.advance();
        let end = match progress {
            Progress::Done => {
                self.written(number);
                return Some(progress);
            }
            Progress::Sink => End::Sink,
            Progress::Source => End::Source,
            // Both ends are ready: whichever it is registered with brings the next turn.
            Progress::More if pumped.waits.is_some() => return Some(progress),
            Progress::More => End::Source,
        };
        // A pipe that another process holds open is through when it is empty.
        let through = pumped.settle && progress == Progress::Source && !pumped.pump.is_elsewhere();
        let unread = through && pumped.await_reader();
        if through && !unread {
            pumped.settle = false;
            self.mailbox
                .send(move |daemon: &mut Daemon| daemon.pump_through(number));
        }
        if pumped.waits.is_none_or(|(waits, _)| waits != end) {
            self.register(number, end);
        }
        if unread {
            self.look_again(number);
        }
        Some(progress)
    }

    /// All has gone into the client's fifo. It is through when the client has it: `ctr` for one gives up what it has not begun to read
    /// when it hears of the end, and it may begin later than a short process ends. With no reader at all nobody is waited for.
    fn written(&mut self, number: u64) {
        let Some(pumped) = self.pumps.get_mut(&number) else {
            return;
        };
        if !pumped.await_reader() {
            return self.done(number);
        }
        // Its source is at its end for good, and would always be ready.
        pumped.unregister(&mut self.reactor);
        if !pumped.pump.has_reader() {
            return self.done(number);
        }
        self.look_again(number);
    }

    fn look_again(&mut self, number: u64) {
        if let Some(pumped) = self.pumps.get_mut(&number)
            && let Some(unread) = &mut pumped.unread
            && !unread.looking
        {
            self.reactor
                .at(Instant::now() + unread.pause, Due::Look(number));
            unread.looking = true;
            unread.pause *= 2;
        }
    }

    /// What waits for a reader goes the way again that it came.
    fn look(&mut self, number: u64) {
        if let Some(pumped) = self.pumps.get_mut(&number)
            && let Some(unread) = &mut pumped.unread
        {
            unread.looking = false;
            self.advance(number);
        }
    }

    fn register(&mut self, number: u64, end: End) {
        let Some(pumped) = self.pumps.get_mut(&number) else {
            return;
        };
        pumped.unregister(&mut self.reactor);
        let added = match end {
            End::Source => {
                let source = pumped.pump.source();
                self.reactor
                    .add(source, Interest::Readable, Due::Pump(number))
            }
            End::Sink => {
                let sink = pumped.pump.sink();
                self.reactor
                    .add(sink, Interest::Writable, Due::Pump(number))
            }
        };
        match added {
            Ok(token) => pumped.waits = Some((end, token)),
            Err(errno) => {
                // Nobody would ever call it again: better an end that shows than a stream that stands still.
                log::error!("epoll_ctl(stream): {errno}");
                self.done(number);
            }
        }
    }

    fn done(&mut self, number: u64) {
        if self.pumps.contains_key(&number) {
            self.remove(number);
            self.mailbox
                .send(move |daemon: &mut Daemon| daemon.pump_done(number));
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(mut pumped) = self.pumps.remove(&number) {
            pumped.unregister(&mut self.reactor);
        }
    }
}

impl Pumped {
    /// Whether there is something to read yet, and time to wait for that.
    fn await_reader(&mut self) -> bool {
        if !self.pump.is_unread() {
            self.unread = None;
            return false;
        }
        let now = Instant::now();
        let unread = self.unread.get_or_insert(Unread {
            until: now + UNREAD,
            pause: FIRST_LOOK,
            looking: false,
        });
        now < unread.until
    }

    fn unregister(&mut self, reactor: &mut Reactor<Due>) {
        match self.waits.take() {
            Some((End::Source, token)) => reactor.remove(self.pump.source(), token),
            Some((End::Sink, token)) => reactor.remove(self.pump.sink(), token),
            None => {}
        }
    }
}
