//! The streams of processes in the loop: each pump is registered with the end that it waits for, and with no other.

use std::time::Instant;

use super::reactor::{Interest, Token};
use super::task::Key;
use super::{Daemon, Source};
use crate::stdio::{Direction, Progress, Pump, Running};

#[derive(Debug)]
pub struct Pumped {
    pump: Pump,
    key: Key,
    waits: Option<(End, Token)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Sink,
}

/// More than any pipe holds: what was written before the end is through after as many turns, unless its reader is slow.
const TURNS_AT_THE_END: usize = 4;

impl Daemon {
    /// A process has begun: what is copied for it, until it is deleted.
    pub(super) fn attach(&mut self, key: &Key, running: Running) {
        let logger = running.logger.and_then(|logger| {
            let number = self.number();
            let added = self
                .reactor
                .add(logger.fd(), Interest::Readable, Source::Logger(number));
            match added {
                Ok(token) => {
                    self.loggers.insert(number, (logger, token));
                    Some(number)
                }
                Err(errno) => {
                    log::error!("epoll_ctl(pidfd): {errno}");
                    None
                }
            }
        });
        let mut numbers = Vec::with_capacity(running.pumps.len());
        for pump in running.pumps {
            let number = self.number();
            numbers.push((number, pump.direction()));
            let pumped = Pumped {
                pump,
                key: key.clone(),
                waits: None,
            };
            self.pumps.insert(number, pumped);
        }
        let Some(process) = self.process(key) else {
            return;
        };
        let streams = &mut process.streams;
        streams.logger = logger;
        streams.terminal = running.terminal;
        streams.stdin = running.stdin.filter(|_| !streams.stdin_closed);
        for (number, direction) in &numbers {
            match direction {
                Direction::Input => streams.inputs.push(*number),
                Direction::Output => streams.outputs.push(*number),
            }
        }
        for (number, _) in numbers {
            self.advance(number);
        }
    }

    pub(super) fn pump(&mut self, number: u64, token: Token) {
        if self.reactor.knows(token) {
            self.advance(number);
        }
    }

    fn advance(&mut self, number: u64) -> Option<Progress> {
        let pumped = self.pumps.get_mut(&number)?;
        let progress = pumped.pump.advance();
        let end = match progress {
            Progress::Done => {
                self.drop_pump(number);
                return Some(progress);
            }
            Progress::Sink => End::Sink,
            Progress::Source => End::Source,
            // Both ends are ready: whichever it is registered with brings the next turn.
            Progress::More if pumped.waits.is_some() => return Some(progress),
            Progress::More => End::Source,
        };
        if pumped.waits.is_some_and(|(waits, _)| waits == end) {
            return Some(progress);
        }
        if let Some((end, token)) = pumped.waits.take() {
            match end {
                End::Source => self.reactor.remove(pumped.pump.source(), token),
                End::Sink => self.reactor.remove(pumped.pump.sink(), token),
            }
        }
        let source = Source::Pump(number);
        let added = match end {
            End::Source => self
                .reactor
                .add(pumped.pump.source(), Interest::Readable, source),
            End::Sink => self
                .reactor
                .add(pumped.pump.sink(), Interest::Writable, source),
        };
        match added {
            Ok(token) => pumped.waits = Some((end, token)),
            Err(errno) => {
                // Nobody would ever call it again: better an end that shows than a stream that stands still.
                log::error!("epoll_ctl(stream of {}): {errno}", pumped.key.container);
                self.drop_pump(number);
            }
        }
        Some(progress)
    }

    /// What a process that has ended had written goes out as far as it is taken.
    pub(super) fn drain(&mut self, key: &Key) {
        let outputs = self
            .process(key)
            .map_or_else(Vec::new, |process| process.streams.outputs.clone());
        for number in outputs {
            for _ in 0..TURNS_AT_THE_END {
                if self.advance(number) != Some(Progress::More) {
                    break;
                }
            }
        }
    }

    fn drop_pump(&mut self, number: u64) {
        let Some(pumped) = self.pumps.remove(&number) else {
            return;
        };
        if let Some((end, token)) = pumped.waits {
            match end {
                End::Source => self.reactor.remove(pumped.pump.source(), token),
                End::Sink => self.reactor.remove(pumped.pump.sink(), token),
            }
        }
        let key = &pumped.key;
        let hang_up = pumped.pump.direction() == Direction::Input;
        let Some(process) = self.process(key) else {
            return;
        };
        process.streams.inputs.retain(|one| *one != number);
        process.streams.outputs.retain(|one| *one != number);
        // A client that closes the stdin of a terminal has hung up, and the programs on it hear that, as with containerd's own shim.
        if hang_up && process.streams.terminal.take().is_some() {
            self.drain(key);
            let outputs = self
                .process(key)
                .map_or_else(Vec::new, |process| process.streams.outputs.clone());
            outputs
                .into_iter()
                .for_each(|output| self.drop_pump(output));
        }
        self.go_on_if_drained(key);
    }

    fn go_on_if_drained(&mut self, key: &Key) {
        let Some(process) = self.process(key) else {
            return;
        };
        if process.streams.outputs.is_empty() && process.streams.draining.is_some() {
            self.drained_or_not(key);
        }
    }

    /// Its streams end, whatever is still in them.
    pub(super) fn detach(&mut self, key: &Key) {
        let Some(process) = self.process(key) else {
            return;
        };
        let streams = std::mem::take(&mut process.streams);
        for number in streams.inputs.into_iter().chain(streams.outputs) {
            self.drop_pump(number);
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
