//! Gate: how much a walk has open and in memory at one time.
//!
//! The thread that reads directories waits here while too many are open or too many jobs wait.
//! It cannot wait in vain: what it does not hold itself is held by jobs, and jobs come to their
//! end without it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::monitor::Monitor;

/// Between two looks at whether the work was stopped.
const LOOK: Duration = Duration::from_millis(50);

/// What may be held at most.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Directories on the way to a job.
    pub nodes: usize,
    pub jobs: usize,
}

/// Counts directories and jobs.
pub struct Gate {
    bounds: Bounds,
    held: Mutex<Held>,
    fewer: Condvar,
}

#[derive(Default)]
struct Held {
    nodes: usize,
    jobs: usize,
}

impl Gate {
    pub fn new(bounds: Bounds) -> Gate {
        Gate { bounds, held: Mutex::default(), fewer: Condvar::new() }
    }

    /// One more directory. Waits while too many are open, unless only the `own` ones of the caller
    /// are left.
    pub fn enter(&self, own: usize, monitor: &Monitor) {
        self.wait(monitor, |held| held.nodes < self.bounds.nodes || held.nodes <= own).nodes += 1;
    }

    /// A directory fewer.
    pub fn leave(&self) {
        self.lock().nodes -= 1;
        self.fewer.notify_one();
    }

    /// One more job; waits while there are too many.
    pub fn begin(&self, monitor: &Monitor) {
        self.wait(monitor, |held| held.jobs < self.bounds.jobs).jobs += 1;
    }

    /// A job fewer.
    pub fn end(&self) {
        self.lock().jobs -= 1;
        self.fewer.notify_one();
    }

    fn wait(&self, monitor: &Monitor, room: impl Fn(&Held) -> bool) -> MutexGuard<'_, Held> {
        let mut held = self.lock();
        while !room(&held) && !monitor.has_stopped() {
            let waited = self.fewer.wait_timeout(held, LOOK);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        held
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_full_gate_opens_when_something_ends() {
        let (gate, monitor) =
            (Gate::new(Bounds { nodes: 1, jobs: 2 }), Monitor::new("testing", true));
        gate.begin(&monitor);
        gate.begin(&monitor);
        let third = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                gate.begin(&monitor);
                third.store(true, Ordering::SeqCst);
            });
            thread::sleep(4 * LOOK);
            assert!(!third.load(Ordering::SeqCst), "a third job came in");
            gate.end();
        });
        assert!(third.load(Ordering::SeqCst));
    }

    #[test]
    fn directories_of_the_caller_alone_do_not_block_it() {
        let (gate, monitor) =
            (Gate::new(Bounds { nodes: 1, jobs: 1 }), Monitor::new("testing", true));
        for own in 0..100 {
            gate.enter(own, &monitor);
        }
    }

    #[test]
    fn nobody_waits_after_a_stop() {
        let (gate, monitor) =
            (Gate::new(Bounds { nodes: 1, jobs: 0 }), Monitor::new("testing", true));
        monitor.stop();
        gate.begin(&monitor);
    }
}
