//! Traffic: who is at the disk, so that those whom somebody waits for come first.
//!
//! A flush writes all that the host's cache holds for the file, and waits for it. A bulk writer
//! would have put much there, and everybody's flush would be as slow as the bulk. So while flushes
//! are brisk, large writes go around the cache, in steps, and each step lets urgent work pass:
//! small writes and flushes. It waits a bounded time, so bulk work goes on whatever others do.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Flushes that are remembered. A checkpoint makes two, so two are no sign of anything.
const FLUSHES: usize = 4;
/// Time within which all of them must have begun to be brisk, and for which a collision counts.
const LATELY: Duration = Duration::from_millis(200);
/// Longest wait of a large write before each step.
const PATIENCE: Duration = Duration::from_micros(200);
/// Bytes of a step where nobody urgent comes.
const STEP: usize = 256 << 10;
/// Bytes of a step where somebody does: about as long as a small request takes.
const SHORT_STEP: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Traffic {
    state: Mutex<State>,
    calm: Condvar,
}

#[derive(Debug, Default)]
struct State {
    urgent: u32,
    bulk: u32,
    /// When urgent work last met a large write.
    met: Option<Instant>,
    /// When the last flushes began; the oldest stands at `next`.
    flushes: [Option<Instant>; FLUSHES],
    next: usize,
}

impl State {
    fn is_brisk(&self) -> bool {
        self.flushes[self.next].is_some_and(|oldest| oldest.elapsed() < LATELY)
    }
}

impl Traffic {
    /// Begins urgent work.
    pub(super) fn urgent(&self) -> Urgent<'_> {
        let mut state = self.state.lock();
        state.urgent += 1;
        if state.bulk > 0 {
            state.met = Some(Instant::now());
        }
        Urgent { traffic: self, beside_bulk: state.bulk > 0 }
    }

    /// Begins a flush.
    pub(super) fn flush(&self) -> Urgent<'_> {
        {
            let mut state = self.state.lock();
            let next = state.next;
            state.flushes[next] = Some(Instant::now());
            state.next = (next + 1) % FLUSHES;
        }
        self.urgent()
    }

    /// Makes flushes brisk from now on, whatever the clock says.
    #[cfg(test)]
    pub(super) fn hurry(&self) {
        let later = Instant::now() + Duration::from_secs(3600);
        self.state.lock().flushes = [Some(later); FLUSHES];
    }

    /// Whether flushes follow one another closely just now.
    pub(super) fn is_brisk(&self) -> bool {
        self.state.lock().is_brisk()
    }

    /// Begins a large write, where it has to go in steps.
    pub(super) fn bulk(&self) -> Option<Bulk<'_>> {
        let mut state = self.state.lock();
        if !state.is_brisk() {
            return None;
        }
        state.bulk += 1;
        Some(Bulk { traffic: self })
    }
}

/// Urgent work; dropped, it is done.
pub(super) struct Urgent<'a> {
    traffic: &'a Traffic,
    /// Whether it began beside a large write, which holds the file shared: what goes through the
    /// cache would wait for the whole step.
    pub(super) beside_bulk: bool,
}

impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        let mut state = self.traffic.state.lock();
        state.urgent -= 1;
        if state.urgent == 0 && state.bulk > 0 {
            self.traffic.calm.notify_all();
        }
    }
}

/// A large write; dropped, it is done.
pub(super) struct Bulk<'a> {
    traffic: &'a Traffic,
}

impl Bulk<'_> {
    /// Lets urgent work pass, and says how many bytes to write next.
    pub(super) fn step(&self) -> usize {
        let mut state = self.traffic.state.lock();
        let until = Instant::now() + PATIENCE;
        while state.urgent > 0 && !self.traffic.calm.wait_until(&mut state, until).timed_out() {}
        match state.met.is_some_and(|met| met.elapsed() < LATELY) {
            true => SHORT_STEP,
            false => STEP,
        }
    }
}

impl Drop for Bulk<'_> {
    fn drop(&mut self) {
        self.traffic.state.lock().bulk -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brisk() -> Traffic {
        let traffic = Traffic::default();
        (0..FLUSHES).for_each(|_| drop(traffic.flush()));
        traffic
    }

    #[test]
    fn large_writes_go_in_steps_while_flushes_are_brisk() {
        let traffic = Traffic::default();
        for _ in 0..FLUSHES - 1 {
            drop(traffic.flush());
            assert!(traffic.bulk().is_none());
        }
        drop(traffic.flush());
        assert_eq!(traffic.bulk().unwrap().step(), STEP);
        let mut state = traffic.state.lock();
        state.flushes = [Instant::now().checked_sub(LATELY); FLUSHES];
        assert!(!state.is_brisk());
    }

    #[test]
    fn a_step_lets_urgent_work_pass_and_gets_shorter() {
        let traffic = brisk();
        let bulk = traffic.bulk().unwrap();
        let urgent = traffic.urgent();
        assert!(urgent.beside_bulk);
        let start = Instant::now();
        assert_eq!(bulk.step(), SHORT_STEP);
        assert!(start.elapsed() >= PATIENCE, "it did not wait");
        std::thread::scope(|scope| {
            scope.spawn(|| drop(urgent));
            bulk.step();
        });
        assert_eq!(traffic.state.lock().urgent, 0);
        drop(bulk);
        assert!(!traffic.urgent().beside_bulk);
    }
}
