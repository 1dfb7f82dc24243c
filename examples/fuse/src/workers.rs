//! Workers: threads for requests that may wait for the device.
//!
//! Those that take requests from the kernel are few, as the kernel wakes them in turn, and each of
//! many would come with cold caches. So what waits is handed on. Of the workers that are idle the
//! last one goes first, for the same reason.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

type Job = Box<dyn FnOnce() + Send>;

/// Threads that do what they are given, and end when this is dropped.
pub struct Workers {
    line: Arc<Line>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Line {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Bells of those who have nothing to do, the last one at the end.
    idle: Vec<Arc<Condvar>>,
    closed: bool,
}

impl Workers {
    /// Starts so many.
    pub fn start(count: usize) -> io::Result<Workers> {
        let mut workers = Workers { line: Arc::default(), threads: Vec::with_capacity(count) };
        for number in 0..count {
            let (line, name) = (Arc::clone(&workers.line), format!("worker-{number}"));
            let thread = thread::Builder::new().name(name).spawn(move || line.work())?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Has a worker do it: the next that has nothing to do. A panic is its own affair.
    pub fn give(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.line.lock();
        state.jobs.push_back(Box::new(job));
        let bell = state.idle.pop();
        drop(state);
        if let Some(bell) = bell {
            bell.notify_one();
        }
    }
}

impl Drop for Workers {
    /// Waits until everything is done.
    fn drop(&mut self) {
        let mut state = self.line.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        idle.iter().for_each(|bell| bell.notify_one());
        for thread in self.threads.drain(..) {
            let _its_own_affair = thread.join();
        }
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let bell = Arc::new(Condvar::new());
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
            } else if state.closed {
                return;
            } else {
                state.idle.push(Arc::clone(&bell));
                state = bell.wait(state).unwrap_or_else(PoisonError::into_inner);
                // Where nobody rang, it is still there.
                state.idle.retain(|idle| !Arc::ptr_eq(idle, &bell));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn what_waits_keeps_nothing_else_from_being_done() {
        let workers = Workers::start(4).unwrap();
        let (gate, done) = (Arc::new(Barrier::new(4)), Arc::new(AtomicU32::new(0)));
        for _ in 0..40 {
            let (gate, done) = (Arc::clone(&gate), Arc::clone(&done));
            workers.give(move || {
                gate.wait();
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        drop(workers);
        assert_eq!(done.load(Ordering::Relaxed), 40);
    }
}
