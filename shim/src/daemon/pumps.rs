//! The streams of processes, as the daemon knows them: by their numbers. What copies is [`super::pumper`]'s.

use std::time::Instant;

use super::pumper::{Order, Pumper};
use super::reactor::Interest;
use super::task::{Key, Output};
use super::{Daemon, Source};
use crate::stdio::{Direction, Logger, Pump, Running};

impl Daemon {
    /// A process has begun: what is copied for it, until it is deleted.
    pub(super) fn attach(&mut self, key: &Key, running: Running) {
        let logger = running.logger.and_then(|logger| self.attach_logger(logger));
        let mut inputs = Vec::new();
        let mut outputs = Vec::new();
        for pump in running.pumps {
            let direction = pump.direction();
            let Some(number) = self.copy(key, pump) else {
                continue;
            };
            match direction {
                Direction::Input => inputs.push(number),
                Direction::Output => outputs.push(Output {
                    number,
                    through: false,
                }),
            }
        }
        let Some(process) = self.process(key) else {
            return;
        };
        let streams = &mut process.streams;
        streams.inputs = inputs;
        streams.outputs = outputs;
        streams.logger = logger;
        streams.terminal = running.terminal;
        streams.stdin = running.stdin.filter(|_| !streams.stdin_closed);
    }

    fn attach_logger(&mut self, logger: Logger) -> Option<u64> {
        let number = self.number();
        let added = self
            .reactor
            .add(logger.fd(), Interest::Readable, Source::Logger(number));
        let token = added
            .inspect_err(|errno| log::error!("epoll_ctl(pidfd): {errno}"))
            .ok()?;
        self.loggers.insert(number, (logger, token));
        Some(number)
    }

    fn copy(&mut self, key: &Key, pump: Pump) -> Option<u64> {
        if self.pumper.is_none() {
            self.pumper = Pumper::new(self.workers.mailbox())
                .inspect_err(|errno| log::error!("no thread for the streams: {errno}"))
                .ok();
        }
        let number = self.number();
        self.pumper.as_ref()?.order(Order::Copy(number, pump));
        self.pumps.insert(number, key.clone());
        Some(number)
    }

    fn order(&self, order: Order) {
        if let Some(pumper) = &self.pumper {
            pumper.order(order);
        }
    }

    /// Whether all that the process had written has gone to its reader. If not, that will be told.
    pub(super) fn is_through(&mut self, key: &Key) -> bool {
        let outputs = self
            .process(key)
            .map_or_else(Vec::new, |process| process.streams.outputs.clone());
        for output in &outputs {
            self.order(Order::Settle(output.number));
        }
        outputs.is_empty()
    }

    /// It waits for what may never come: a pipe that is empty, and that another process holds open.
    pub(super) fn pump_through(&mut self, number: u64) {
        let Some(key) = self.pumps.get(&number).cloned() else {
            return;
        };
        if let Some(process) = self.process(&key) {
            let outputs = &mut process.streams.outputs;
            for output in outputs.iter_mut().filter(|one| one.number == number) {
                output.through = true;
            }
            if outputs.iter().all(|output| output.through) {
                self.tell_held(&key);
            }
        }
    }

    /// It is no more.
    pub(super) fn pump_done(&mut self, number: u64) {
        let Some(key) = self.pumps.remove(&number) else {
            return;
        };
        let Some(process) = self.process(&key) else {
            return;
        };
        let streams = &mut process.streams;
        let input = streams.inputs.contains(&number);
        streams.inputs.retain(|one| *one != number);
        streams.outputs.retain(|one| one.number != number);
        let drained = streams.outputs.is_empty();
        let through = streams.outputs.iter().all(|output| output.through);
        // A client that closes the stdin of a terminal has hung up, and the programs on it hear that, as with containerd's own shim.
        if input && streams.terminal.take().is_some() {
            let outputs = streams.outputs.clone();
            for output in outputs {
                self.order(Order::Finish(output.number));
            }
        }
        if through {
            self.tell_held(&key);
        }
        if drained {
            self.drained_or_not(&key);
        }
    }

    /// Its streams end, whatever is still in them.
    pub(super) fn detach(&mut self, key: &Key) {
        let Some(process) = self.process(key) else {
            return;
        };
        let streams = std::mem::take(&mut process.streams);
        let outputs = streams.outputs.into_iter().map(|output| output.number);
        for number in streams.inputs.into_iter().chain(outputs) {
            self.pumps.remove(&number);
            self.order(Order::Drop(number));
        }
        if let Some(number) = streams.logger
            && let Some((logger, _)) = self.loggers.get_mut(&number)
        {
            logger.terminate(Instant::now());
            if let Some(deadline) = logger.deadline() {
                self.reactor.at(deadline, Source::LoggerTimer(number));
            }
        }
    }

    pub(super) fn logger_ended(&mut self, number: u64) {
        if let Some((logger, token)) = self.loggers.get_mut(&number)
            && logger.reap()
        {
            self.reactor.remove(logger.fd(), *token);
            self.loggers.remove(&number);
        }
    }

    pub(super) fn logger_overdue(&mut self, number: u64) {
        if let Some((logger, _)) = self.loggers.get_mut(&number) {
            logger.tick(Instant::now());
        }
    }
}
