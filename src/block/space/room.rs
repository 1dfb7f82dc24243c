//! Room: what of the space can be had.

use super::{Space, State};
use crate::format::SpacePage;
use crate::limits::{NODE_UNITS, REGION_UNITS};

/// Most regions that are read to count places.
const UNKNOWN: u64 = 64;

/// Units by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Units of the pool.
    pub pool: u64,
    /// Those that are in use.
    pub used: u64,
    /// Those that somebody reserved.
    pub reserved: u64,
    /// Homes of regions that nothing uses.
    pub homes: u64,
    /// Where the device is full; else the end of the pool.
    pub end: u64,
}

impl Space {
    /// How the units of the pool are used.
    pub fn room(&self) -> Room {
        let state = self.state.lock();
        let (pool, used) = (self.layout.pool_units, state.used);
        let end = if state.ceiling < pool { pool } else { state.limit };
        // Of regions in between hardly any is untouched.
        let untouched = state.frontier.min(end).div_ceil(REGION_UNITS);
        let untouched = untouched.saturating_sub(used.div_ceil(REGION_UNITS));
        let homes = untouched.min(64) * SpacePage::reserved_units(1);
        Room { pool, used, reserved: state.reserved, homes, end }
    }

    /// Places for nodes that are free, also once older pins are gone: counted up to `most`.
    pub fn node_places(&self, most: u64) -> u64 {
        let mut state = self.state.lock();
        let mut places = state.given_places();
        let (end, mut unknown) = (state.limit, 0);
        for number in 0..end.div_ceil(REGION_UNITS) {
            if places >= most {
                break;
            }
            let untouched = number * REGION_UNITS >= state.frontier;
            if untouched {
                // The device is asked for them, and has said how many it has.
                return most;
            }
            unknown += u64::from(!state.regions.contains_key(&number));
            if unknown > UNKNOWN {
                // Not all of a large map is read for this.
                return most;
            }
            let Ok(Some(region)) = self.searched(&mut state, number, NODE_UNITS) else { continue };
            let mut at = 0;
            while let Some(place) = region.busy.find_node(at).filter(|_| places < most) {
                places += 1;
                at = place + NODE_UNITS;
            }
        }
        places
    }
}

impl State {
    /// Places for nodes among what was given back and waits to be free.
    fn given_places(&self) -> u64 {
        let waiting = self.waiting.iter().flat_map(|(_, units)| units);
        waiting.chain(&self.given).map(|(_, units)| u64::from(*units) / NODE_UNITS).sum()
    }
}
