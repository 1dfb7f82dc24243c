//! Usage: how much is in use, and how much can be had.

use super::Engine;
use super::engine::Usage;
use crate::block::Room;
use crate::limits::{NODE_UNITS, UNIT};

/// Of so many units one is needed for the rows of those that stand in order.
const METADATA_PART: u64 = 64;
/// Units of the nodes that one transaction replaces, so that the last of them is none to be had.
const LAST: u64 = 16 * NODE_UNITS;
/// Below so many units it is looked at whether nodes find their place among them.
const SCARCE: u64 = 4096;
/// Of so many units of contents, where they are scattered, one is needed for nodes.
const SCATTERED_PART: u64 = 16;
/// Units in which a device grows: what its host has beyond a multiple of them it does not get.
const GRAIN: u64 = 256;

impl Engine {
    /// Units in all, as [`Usage::total`].
    pub fn total(&self) -> u64 {
        self.total_of(&self.space.room()).0
    }

    /// Units in all, and how many of them the device does not get as they are less than it grows
    /// by.
    fn total_of(&self, room: &Room) -> (u64, u64) {
        let (Ok(len), Ok(Some(host))) = (self.device.len(), self.device.room()) else {
            return (room.pool, 0);
        };
        // Where parts were discarded, a file does not have all that it is long.
        let occupied = self.device.occupied().ok().flatten();
        let has = occupied.map_or(len, |occupied| occupied.min(len));
        let units = has.saturating_add(host) / UNIT as u64;
        let total = units.saturating_sub(self.space.pool_base()).max(room.used).min(room.pool);
        let odd = if total < room.pool { host / UNIT as u64 % GRAIN } else { 0 };
        (total, odd)
    }

    /// Units in use, in all, and to be had. Reads a bounded number of pages of the space map, and
    /// those only where little is to be had.
    pub fn usage(&self) -> Usage {
        let room = self.space.room();
        let (total, odd) = self.total_of(&room);
        let (spare, retired) = self.forest.places();
        let reserve = self.reserve as u64;
        let (more, missing) = (spare.saturating_sub(reserve), reserve.saturating_sub(spare));
        // What a checkpoint makes free is to be had: a change without space writes one.
        let free = (total.min(room.end) + (more + retired) * NODE_UNITS)
            .saturating_sub(room.used + room.reserved + room.homes)
            .saturating_sub(missing * NODE_UNITS + odd);
        let mut available = free.saturating_sub(free / METADATA_PART + LAST);
        if available < SCARCE {
            let nodes = self.space.node_places(SCARCE) + more + retired;
            available = available.min(nodes * NODE_UNITS * SCATTERED_PART);
        }
        Usage { used: room.used, total, available }
    }
}
