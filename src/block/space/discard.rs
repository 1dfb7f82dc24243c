//! Discard: free space goes back to the host.
//!
//! ```text
//! give, checkpoint -> fresh -> another checkpoint -> ripe -> discarded
//! ```

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::atomic::Ordering;

use super::search::CHUNK;
use super::{Bitmap, Region, Space, State};
use crate::error::{Error, Object, Result};
use crate::limits::{REGION_UNITS, UNIT};

/// Most units that are busy for one step of discarding: who needs them waits for it.
const STEP: u64 = REGION_UNITS;
/// Most ranges of one step.
const STEP_RUNS: usize = 256;

/// Free units that were not discarded, in runs that are long enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loose {
    /// That may be discarded now.
    pub ripe: u64,
    /// That may be, or will be after another checkpoint.
    pub all: u64,
}

/// What one step of discarding did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Units that were discarded.
    pub units: u64,
    /// Whether there was nothing to discard any more.
    pub done: bool,
}

impl Space {
    /// Units handed out since the store was opened.
    pub fn handed_out(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }

    /// Whether the device said that it never discards.
    pub fn keeps_all(&self) -> bool {
        self.state.lock().keeps_all
    }

    /// What was not discarded, in runs of at least so many units.
    pub fn loose(&self, least: u64) -> Loose {
        let state = self.state.lock();
        let mut loose = Loose::default();
        for region in state.regions.values() {
            let count = |bits: &Bitmap| {
                let (mut end, mut count) = (REGION_UNITS, 0);
                while let Some(run) = bits.last_run(end, least) {
                    count += run.end - run.start;
                    end = run.start;
                }
                count
            };
            let ripe = region.ripe.as_ref().map_or(0, count);
            loose.ripe += ripe;
            loose.all += match (&region.fresh, &region.ripe) {
                (Some(fresh), Some(ripe)) => {
                    let mut all = ripe.clone();
                    all.set_all(fresh);
                    count(&all)
                }
                (Some(fresh), None) => count(fresh),
                (None, _) => ripe,
            };
        }
        loose
    }

    /// Takes everything that is free in some regions for something that was not discarded.
    /// Returns whether there are regions behind them.
    ///
    /// # Errors
    /// Those of reading the map, other than damage: what cannot be read is left alone.
    pub fn loosen(&self, regions: Range<u64>, device_len: u64) -> Result<bool> {
        let mut state = self.state.lock();
        let units = (device_len / UNIT as u64).saturating_sub(self.layout.pool_base);
        let end = units.min(self.layout.pool_units);
        for number in regions.start..regions.end.min(end.div_ceil(REGION_UNITS)) {
            let Some(region) = self.readable(&mut state, number)? else { continue };
            let fresh = region.fresh.get_or_insert_with(Bitmap::new);
            let inside = (end - number * REGION_UNITS).min(REGION_UNITS);
            fresh.set_clear_in(&region.busy, 0..inside);
            if let Some(ripe) = &region.ripe {
                fresh.clear_all(ripe);
            }
        }
        Ok(regions.end * REGION_UNITS < end)
    }

    /// Forgets regions of which the map on the device says all.
    pub fn unload(&self, regions: Range<u64>) {
        let mut state = self.state.lock();
        if state.freezing {
            // The map that is being written is not known yet.
            return;
        }
        for number in regions {
            let unavailable = self.unavailable(number);
            let Some(region) = state.regions.get(&number) else { continue };
            let mut known = region.live.clone();
            known.set_all(&unavailable);
            let held = state.withheld.iter().any(|(withheld, _)| *withheld == number);
            if !region.dirty && region.busy == known && !held {
                state.regions.remove(&number);
            }
        }
    }

    /// Discards ripe units in runs of at least `least`, the last first: one step. Whoever finds no
    /// other space meanwhile calls [`Space::await_discard`].
    ///
    /// # Errors
    /// Those of the device but that it never discards. Nothing is harmed by them.
    pub fn discard_step(&self, least: u64, most: u64) -> Result<Step> {
        let _one = self.discarding.lock();
        let runs = self.state.lock().begin_discard(least, most.min(STEP), self.is_rash());
        let mut step = Step { units: 0, done: runs.is_empty() };
        let mut failure = None;
        for run in runs {
            let discarded = match failure {
                None => self.device.discard(
                    (self.layout.pool_base + run.start) * UNIT as u64,
                    (run.end - run.start) * UNIT as u64,
                ),
                Some(_) => Ok(()),
            };
            match discarded {
                Ok(()) if failure.is_none() => step.units += run.end - run.start,
                Ok(()) => {}
                Err(error) => failure = Some(error),
            }
            // Also where it failed: what stands there now is not known, nor whether it is backed.
            self.state.lock().end_discard(run);
        }
        match failure {
            None => Ok(step),
            Some(error) if error.kind() == ErrorKind::Unsupported => {
                self.state.lock().keep_all();
                Ok(Step { done: true, ..step })
            }
            Some(error) => Err(Error::io("discard", Object::Store, error)),
        }
    }

    /// For who found no space: waits for the step of discarding that is at work, and raises the
    /// ceiling where the device was to be cut off. Returns whether another search may find more.
    pub fn await_discard(&self) -> bool {
        let waited = match self.discarding.try_lock() {
            Some(_) => false,
            None => {
                drop(self.discarding.lock());
                true
            }
        };
        self.state.lock().raise_ceiling(self.layout.pool_units) || waited
    }

    /// Has the next searches begin at the start of the store: for when much of it was given back.
    pub fn rewind(&self) {
        let mut state = self.state.lock();
        (state.data_cursor, state.small_cursor, state.node_cursor) = (0, 0, 0);
    }

    /// Whether invariant 10 is broken on purpose.
    pub fn is_rash(&self) -> bool {
        #[cfg(any(test, feature = "sim"))]
        return self.rash.load(Ordering::Relaxed);
        #[cfg(not(any(test, feature = "sim")))]
        false
    }
}

impl State {
    /// Says that another checkpoint is durable: what was free before it is ripe.
    pub(super) fn ripen(&mut self) {
        for region in self.regions.values_mut() {
            let Some(fresh) = region.fresh.take() else { continue };
            match &mut region.ripe {
                Some(ripe) => {
                    ripe.set_all(&fresh);
                }
                None => region.ripe = Some(fresh),
            }
        }
    }

    /// Picks ripe runs, units of the pool, and makes them busy.
    fn begin_discard(&mut self, least: u64, most: u64, rash: bool) -> Vec<Range<u64>> {
        if rash {
            self.ripen();
        }
        let (mut runs, mut units) = (Vec::new(), 0);
        for (number, region) in self.regions.iter_mut().rev() {
            let Some(ripe) = &mut region.ripe else { continue };
            let mut end = REGION_UNITS;
            while let Some(run) = ripe.last_run(end, least) {
                if units >= most || runs.len() >= STEP_RUNS {
                    return runs;
                }
                let run = run.start.max(run.end.saturating_sub(most - units))..run.end;
                end = run.start;
                ripe.clear(run.clone());
                region.free -= region.busy.set(run.clone());
                units += run.end - run.start;
                let first = number * REGION_UNITS;
                runs.push(first + run.start..first + run.end);
            }
        }
        runs
    }

    /// Makes a run free that was discarded.
    fn end_discard(&mut self, run: Range<u64>) {
        let (number, start) = (run.start / REGION_UNITS, run.start % REGION_UNITS);
        if let Some(region) = self.regions.get_mut(&number) {
            let range = start..start + (run.end - run.start);
            for chunk in range.start / CHUNK..range.end.div_ceil(CHUNK) {
                region.backed &= !(1 << chunk);
            }
            region.free += region.busy.clear(range);
            self.holes = self.holes.max(region.freed(start, false));
        }
    }

    /// Says that the device never discards.
    fn keep_all(&mut self) {
        self.keeps_all = true;
        self.regions.values_mut().for_each(Region::keep);
    }
}

impl Region {
    /// Forgets what may be discarded.
    fn keep(&mut self) {
        (self.fresh, self.ripe) = (None, None);
    }
}
