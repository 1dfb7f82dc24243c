//! Layout: where on the device the fixed structures stand: the superblock ring in two places, the
//! log ring, and the pool of units.

use crate::error::{Error, Object, Result};
use crate::format::{ENTRIES_PER_PAGE, RING_SLOTS, SLOT_SIZE, SPACE_ROOTS};
use crate::limits::{REGION_UNITS, UNIT};

const PLACES: [u64; 2] = [0, 256 << 10];
/// First byte of the log ring.
const LOG_BASE: u64 = 512 << 10;
/// Smallest and largest log ring, bytes: a quarter of the smallest holds any transaction.
const LOG_RANGE: std::ops::RangeInclusive<u64> = (512 << 10)..=(1 << 30);

/// Fixed places of a store, in bytes for the log and units for the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// First byte of the log ring.
    pub log_base: u64,
    /// Bytes of the log ring.
    pub log_len: u64,
    /// First unit of the pool.
    pub pool_base: u64,
    /// Units of the pool.
    pub pool_units: u64,
}

impl Layout {
    /// The layout of a new store on a device of `capacity` bytes, or of one that grows.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where the device is too small: a store needs its log and 5 MiB.
    pub fn new(log_len: u64, capacity: Option<u64>) -> Result<Layout> {
        if !LOG_RANGE.contains(&log_len) || !log_len.is_multiple_of(UNIT as u64) {
            return Err(Error::InvalidArgument("the log must have 512 KiB to 1 GiB"));
        }
        let pool_base = (LOG_BASE + log_len) / UNIT as u64;
        let pool_units = match capacity {
            None => Self::MOST_UNITS,
            Some(bytes) => (bytes / UNIT as u64).saturating_sub(pool_base).min(Self::MOST_UNITS),
        };
        if pool_units < Self::LEAST_UNITS {
            return Err(Error::NoSpace);
        }
        Layout { log_base: LOG_BASE, log_len, pool_base, pool_units }.check()
    }

    /// The most units that the space map covers.
    pub const MOST_UNITS: u64 =
        (SPACE_ROOTS * ENTRIES_PER_PAGE * ENTRIES_PER_PAGE) as u64 * REGION_UNITS;

    /// The fewest units of a pool: room for the reserve of nodes and some contents.
    pub const LEAST_UNITS: u64 = (4 << 20) / UNIT as u64;

    /// Refuses a layout that no store can have: its numbers come from the device.
    pub fn check(self) -> Result<Layout> {
        let sound = self.log_base == LOG_BASE
            && LOG_RANGE.contains(&self.log_len)
            && self.log_len.is_multiple_of(UNIT as u64)
            && self.pool_base == (LOG_BASE + self.log_len) / UNIT as u64
            && (Self::LEAST_UNITS..=Self::MOST_UNITS).contains(&self.pool_units);
        if sound { Ok(self) } else { Err(Error::corrupt(Object::Store, "layout")) }
    }

    /// First byte of a ring slot.
    pub fn slot(place: u8, slot: u64) -> u64 {
        PLACES[usize::from(place)] + (slot % RING_SLOTS) * SLOT_SIZE as u64
    }

    /// First byte of one place of the ring.
    pub fn place(place: u8) -> u64 {
        PLACES[usize::from(place)]
    }

    /// Bytes before the pool.
    pub fn fixed_bytes(&self) -> u64 {
        self.log_base + self.log_len
    }
}
