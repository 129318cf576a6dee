//! Threads for what may block: everything that calls the library. A job returns what is to be done with its outcome, and that is done on the
//! daemon's own thread, which alone knows the tasks: no lock is held by anybody.
//!
//! Threads are made when there is work and none is free, and end when they have been idle for a while, so that a shim that only waits
//! is one thread. Jobs that run a user's hooks may take long; of those a few run at once fewer than there may be threads, so that a kill
//! or an exec always finds one.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// What a job returns.
type Outcome<S> = Box<dyn FnOnce(&mut S) + Send>;
type Job<S> = Box<dyn FnOnce() -> Outcome<S> + Send>;

/// How long a job may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Milliseconds, or seconds where the kernel is slow.
    Quick,
    /// As long as a hook takes.
    Slow,
}

const THREADS: usize = 24;
const SLOW: usize = 16;
const IDLE: Duration = Duration::from_secs(2);
/// The library's deepest call, with room to spare; untouched pages cost nothing.
const STACK: usize = 512 << 10;

#[derive(Debug)]
pub struct Workers<S> {
    shared: Arc<Shared<S>>,
    outcomes: Receiver<Outcome<S>>,
}

struct Shared<S> {
    queue: Mutex<Queue<S>>,
    work: Condvar,
    outcomes: Sender<Outcome<S>>,
    /// Readable when an outcome waits.
    wake: OwnedFd,
}

struct Queue<S> {
    quick: VecDeque<Job<S>>,
    slow: VecDeque<Job<S>>,
    running_slow: usize,
    threads: usize,
    idle: usize,
}

impl<S> std::fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl<S: 'static> Workers<S> {
    pub fn new() -> Result<Workers<S>, Errno> {
        let (sender, outcomes) = channel();
        Ok(Workers {
            shared: Arc::new(Shared {
                queue: Mutex::new(Queue {
                    quick: VecDeque::new(),
                    slow: VecDeque::new(),
                    running_slow: 0,
                    threads: 0,
                    idle: 0,
                }),
                work: Condvar::new(),
                outcomes: sender,
                wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            }),
            outcomes,
        })
    }

    pub fn wake(&self) -> &OwnedFd {
        &self.shared.wake
    }

    pub fn run<F, O>(&self, patience: Patience, job: F)
    where
        F: FnOnce() -> O + Send + 'static,
        O: FnOnce(&mut S) + Send + 'static,
    {
        let mut queue = self.shared.lock();
        let job: Job<S> = Box::new(move || Box::new(job()));
        match patience {
            Patience::Quick => queue.quick.push_back(job),
            Patience::Slow => queue.slow.push_back(job),
        }
        let queued = queue.quick.len() + queue.slow.len();
        if queued <= queue.idle || queue.threads == THREADS {
            self.shared.work.notify_one();
            return;
        }
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("worker".to_owned())
            .stack_size(STACK);
        // At a limit of processes the threads there are do the work; without any, the caller does.
        match thread.spawn(move || shared.serve()) {
            Ok(_) => queue.threads += 1,
            Err(_) if queue.threads > 0 => {}
            Err(_) => {
                let job = queue.take();
                drop(queue);
                if let Some((patience, job)) = job {
                    self.shared.done(job());
                    self.shared.lock().finished(patience);
                }
            }
        }
    }

    /// For another thread that has something to tell.
    pub fn mailbox(&self) -> Mailbox<S> {
        Mailbox(Arc::clone(&self.shared))
    }

    /// The outcomes that have come since the last call.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome<S>> + use<S> {
        // The counter of an eventfd is reset by one read.
        let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
        self.outcomes.try_iter().collect::<Vec<_>>().into_iter()
    }
}

/// Takes what is to be done on the daemon's own thread.
#[derive(Debug)]
pub struct Mailbox<S>(Arc<Shared<S>>);

impl<S> Mailbox<S> {
    pub fn send(&self, outcome: impl FnOnce(&mut S) + Send + 'static) {
        self.0.done(Box::new(outcome));
    }
}

impl<S> Queue<S> {
    fn take(&mut self) -> Option<(Patience, Job<S>)> {
        if let Some(job) = self.quick.pop_front() {
            return Some((Patience::Quick, job));
        }
        if self.running_slow == SLOW {
            return None;
        }
        let job = self.slow.pop_front()?;
        self.running_slow += 1;
        Some((Patience::Slow, job))
    }

    fn finished(&mut self, patience: Patience) {
        if patience == Patience::Slow {
            self.running_slow -= 1;
        }
    }
}

impl<S> Shared<S> {
    /// A job that panicked ends the process (panic = abort), so the queue is never seen half changed.
    fn lock(&self) -> MutexGuard<'_, Queue<S>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self, outcome: Outcome<S>) {
        // The receiver is gone when the daemon ends: then nobody wants to know.
        let _ = self.outcomes.send(outcome);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn serve(&self) {
        let mut queue = self.lock();
        loop {
            if let Some((patience, job)) = queue.take() {
                drop(queue);
                self.done(job());
                queue = self.lock();
                queue.finished(patience);
                continue;
            }
            queue.idle += 1;
            let (woken, timeout) = self
                .work
                .wait_timeout(queue, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if timeout.timed_out() && queue.quick.is_empty() && queue.slow.is_empty() {
                queue.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::sync::Barrier;

    fn collect(workers: &Workers<Vec<usize>>, count: usize) -> Vec<usize> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let mut fds = [PollFd::new(workers.wake(), PollFlags::IN)];
            poll(&mut fds, None).expect("poll");
            for outcome in workers.outcomes() {
                outcome(&mut seen);
            }
        }
        seen
    }

    #[test]
    fn every_outcome_comes_back_once() {
        let workers = Workers::new().expect("workers");
        for number in 0..500 {
            workers.run(Patience::Quick, move || {
                move |seen: &mut Vec<usize>| seen.push(number)
            });
        }
        let mut seen = collect(&workers, 500);
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn slow_jobs_leave_room_for_quick_ones() {
        let workers = Workers::new().expect("workers");
        let gate = Arc::new(Barrier::new(SLOW + 1));
        for _ in 0..SLOW {
            let gate = Arc::clone(&gate);
            workers.run(Patience::Slow, move || {
                gate.wait();
                |seen: &mut Vec<usize>| seen.push(1)
            });
        }
        // More than there are threads for: they wait, and the quick one does not.
        for _ in 0..2 * THREADS {
            workers.run(Patience::Slow, || |seen: &mut Vec<usize>| seen.push(2));
        }
        workers.run(Patience::Quick, || |seen: &mut Vec<usize>| seen.push(0));
        assert_eq!(collect(&workers, 1), [0]);
        gate.wait();
        assert_eq!(
            collect(&workers, SLOW + 2 * THREADS).len(),
            SLOW + 2 * THREADS
        );
    }

    #[test]
    fn idle_threads_end() {
        let workers = Workers::new().expect("workers");
        workers.run(Patience::Quick, || |seen: &mut Vec<usize>| seen.push(0));
        collect(&workers, 1);
        thread::sleep(IDLE + Duration::from_millis(500));
        assert_eq!(workers.shared.lock().threads, 0);
    }
}
