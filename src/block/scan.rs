//! Scan: blocks of a store found by their clear headers, for checks and salvage.
//!
//! Nothing that is found is believed: a header, and the crc in it, can be written by anyone. Who
//! has the META keys opens what was found; who has not learns what rot did, and no more.

use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{LogHeader, NodeHeader, SpaceHeader, StoreId};
use crate::limits::{NODE_SIZE, NODE_UNITS, UNIT};

/// Units that are read together.
const WINDOW: u64 = 256;

/// A block that has a header.
pub enum Found<'a> {
    /// A node: its header, its 16 KiB where the device has so many, and whether the crc fits.
    Node(&'a NodeHeader, &'a [u8], bool),
    /// A page of the space map, and whether the crc fits.
    Page(bool),
    /// A record of the log. It has no crc.
    Record,
    /// The device does not read the unit.
    Unread,
}

/// Visits all blocks of a store with a header, from unit `first` on and below `end`, in order.
/// `wanted` says of a unit whether it is looked at; `visit` gets the unit.
///
/// # Errors
/// [`Error::Io`] where the device does not say how long it is.
pub fn scan(
    device: &dyn Device,
    store_id: &StoreId,
    first: u64,
    end: u64,
    wanted: impl Fn(u64) -> bool,
    visit: &mut dyn FnMut(u64, Found<'_>),
) -> Result<()> {
    let len = device.len().map_err(|error| Error::io("measure", Object::Store, error))?;
    let last = (len / UNIT as u64).min(end);
    let mut window = Vec::new();
    let mut at = first;
    while at < last {
        let next = (at + WINDOW).min(last);
        if !(at..next).any(&wanted) {
            at = next;
            continue;
        }
        // A node that starts in the window may end behind it.
        let units = (next + NODE_UNITS - 1).min(len / UNIT as u64) - at;
        let bad = read(device, at, units, &mut window);
        let mut unit = at;
        while unit < next {
            let bytes = &window[(unit - at) as usize * UNIT..];
            unit += match () {
                () if bad.contains(&unit) => {
                    visit(unit, Found::Unread);
                    1
                }
                () if wanted(unit) => look(store_id, unit, bytes, visit),
                () => 1,
            };
        }
        at = unit;
    }
    Ok(())
}

/// Looks at one unit, with what follows it, and says how many units it takes.
fn look(store_id: &StoreId, unit: u64, bytes: &[u8], visit: &mut dyn FnMut(u64, Found<'_>)) -> u64 {
    if let Some(header) = NodeHeader::find(bytes).filter(|found| found.store_id == *store_id) {
        let block = &bytes[..bytes.len().min(NODE_SIZE)];
        let sound = header.is_sound(block);
        visit(unit, Found::Node(&header, block, sound));
        return if sound { NODE_UNITS } else { 1 };
    }
    let page = &bytes[..UNIT];
    if let Some(header) = SpaceHeader::find(page).filter(|found| found.store_id == *store_id) {
        visit(unit, Found::Page(header.is_sound(page)));
    } else if LogHeader::parse_any(page).is_some() {
        visit(unit, Found::Record);
    }
    1
}

/// Reads units, one by one where they cannot be read together, and returns those that cannot be
/// read at all, which are zeros.
fn read(device: &dyn Device, unit: u64, units: u64, window: &mut Vec<u8>) -> Vec<u64> {
    window.clear();
    window.resize(units as usize * UNIT, 0);
    if device.read_at(unit * UNIT as u64, window).is_ok() {
        return Vec::new();
    }
    let mut bad = Vec::new();
    for (at, bytes) in (unit..).zip(window.chunks_exact_mut(UNIT)) {
        if device.read_at(at * UNIT as u64, bytes).is_err() {
            bytes.fill(0);
            bad.push(at);
        }
    }
    bad
}
