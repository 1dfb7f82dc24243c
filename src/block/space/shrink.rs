//! Shrink: the device is cut off behind the last unit that is busy.

use std::io::ErrorKind;

use super::search::CHUNK;
use super::{Space, State};
use crate::error::{Error, Object, Result};
use crate::format::SpacePage;
use crate::limits::{REGION_UNITS, UNIT};

impl Space {
    /// Lowers the ceiling to behind the last busy unit, where the device gets shorter by at least
    /// `gain` bytes, and returns whether it did. After two durable checkpoints
    /// [`Space::cut_off`] may follow.
    ///
    /// # Errors
    /// Those of reading the map, other than damage.
    pub fn plan_cut(&self, device_len: u64, gain: u64) -> Result<bool> {
        let mut state = self.state.lock();
        let end = self.end_of_use(&mut state)?.next_multiple_of(CHUNK);
        let bytes = (self.layout.pool_base + end) * UNIT as u64;
        if end >= state.limit || bytes.saturating_add(gain) > device_len {
            return Ok(false);
        }
        state.ceiling = end;
        state.relax();
        Ok(true)
    }

    /// The length that a superblock may promise of a device of `len` bytes.
    pub fn promised_len(&self, len: u64) -> u64 {
        let ceiling = self.state.lock().ceiling;
        match ceiling < self.layout.pool_units {
            true => len.min((self.layout.pool_base + ceiling) * UNIT as u64),
            false => len,
        }
    }

    /// Cuts the device off at the ceiling, unless somebody needed room above it, and raises it
    /// again in any case.
    ///
    /// # Errors
    /// Those of the device but that it is never cut off.
    pub fn cut_off(&self, durable: bool) -> Result<()> {
        let _one = self.discarding.lock();
        let ceiling = self.state.lock().ceiling;
        if ceiling == self.layout.pool_units {
            return Ok(());
        }
        // Nothing is handed out above the ceiling, and nobody raises it while this is at work.
        let cut = match durable {
            true => self.device.shrink((self.layout.pool_base + ceiling) * UNIT as u64),
            false => Ok(()),
        };
        let mut state = self.state.lock();
        if durable && cut.is_ok() {
            state.forget_above(ceiling);
        }
        state.raise_ceiling(self.layout.pool_units);
        match cut {
            Err(error) if error.kind() != ErrorKind::Unsupported => {
                Err(Error::io("shrink", Object::Store, error))
            }
            _ => Ok(()),
        }
    }

    /// Where, in units of the pool, the last busy unit ends; of a region without a unit in use the
    /// homes do not count.
    fn end_of_use(&self, state: &mut State) -> Result<u64> {
        let last = state.frontier.div_ceil(REGION_UNITS);
        for number in (0..last).rev() {
            let page = SpacePage { level: 0, index: number };
            let loaded = state.regions.contains_key(&number);
            if !loaded && self.entry(state, page).is_ok_and(|entry| entry.is_untouched()) {
                continue;
            }
            let end = match self.readable(state, number)? {
                None => Some(REGION_UNITS),
                Some(region) => {
                    let end = self.layout.pool_units.saturating_sub(number * REGION_UNITS);
                    let last = region.busy.last_set(end.min(REGION_UNITS)).map(|last| last + 1);
                    last.filter(|end| *end > SpacePage::reserved_units(number))
                }
            };
            if let Some(end) = end {
                return Ok(number * REGION_UNITS + end);
            }
        }
        Ok(0)
    }
}

impl State {
    /// Ends a plan to cut the device off; returns whether there was one.
    pub(super) fn raise_ceiling(&mut self, pool_units: u64) -> bool {
        let lowered = self.ceiling < pool_units;
        if lowered {
            self.ceiling = pool_units;
            self.relax();
        }
        lowered
    }

    /// Says that nothing above a unit is there any more, or backed.
    fn forget_above(&mut self, unit: u64) {
        self.frontier = self.frontier.min(unit);
        let first = unit / REGION_UNITS;
        for (number, region) in self.regions.range_mut(first..) {
            let start = unit.saturating_sub(number * REGION_UNITS).min(REGION_UNITS);
            let chunk = start.div_ceil(CHUNK);
            region.backed &= 1u64.checked_shl(chunk as u32).unwrap_or(0).wrapping_sub(1);
            for loose in [&mut region.fresh, &mut region.ripe].into_iter().flatten() {
                loose.clear(start..REGION_UNITS);
            }
        }
    }
}
