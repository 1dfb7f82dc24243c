//! The superblock ring: finding the newest slot, writing the next.

use crate::device::{Device, UNFINISHED_LEN, is_unfinished};
use crate::error::{Error, Object, Result};
use crate::format::{KEY_SLOTS, KeySlot, RING_SLOTS, SLOT_SIZE, Superblock, UnverifiedSuperblock};

use super::{Layout, Sealer};

const PLACE_LEN: usize = RING_SLOTS as usize * SLOT_SIZE;

const _: () = assert!(UNFINISHED_LEN == SLOT_SIZE);

/// Reads the ring in both places: two device reads, unless one fails. The sound slots, newest
/// generation first, and of one generation that of place 0 first.
///
/// # Errors
/// Those of the device, where a slot cannot be read in either place that may be the newest;
/// [`Error::NotAStore`] where nothing has the magic, [`Error::Corrupt`] where slots have it but
/// none is sound, [`Error::Unsupported`] where only newer versions are found.
pub fn read_ring(device: &dyn Device) -> Result<Vec<UnverifiedSuperblock>> {
    let io = |error| Error::io("read", Object::Store, error);
    let len = device.len().map_err(io)?;
    let (mut slots, mut magic) = (Vec::new(), false);
    // Which slots ask for a newer version, by place.
    let mut newer: [Vec<usize>; 2] = Default::default();
    let mut refusal = None;
    let mut failure = None;
    // Which slots cannot be read, by place.
    let mut unread: [Vec<u64>; 2] = Default::default();
    for place in 0..2u8 {
        let mut bytes = vec![0; PLACE_LEN];
        let there = len.saturating_sub(Layout::place(place)).min(PLACE_LEN as u64) as usize;
        if device.read_at(Layout::place(place), &mut bytes[..there]).is_err() {
            for (slot, bytes) in bytes[..there].chunks_mut(SLOT_SIZE).enumerate() {
                if let Err(error) = device.read_at(Layout::slot(place, slot as u64), bytes) {
                    bytes.fill(0);
                    unread[usize::from(place)].push(slot as u64);
                    failure = Some(io(error));
                }
            }
        }
        if Layout::place(place) == 0 && is_unfinished(&bytes) {
            return Err(Error::NotAStore);
        }
        for (slot, bytes) in bytes.chunks_exact(SLOT_SIZE).enumerate() {
            magic |= UnverifiedSuperblock::has_magic(bytes);
            match UnverifiedSuperblock::parse(bytes, place, slot as u8) {
                Ok(found) => slots.extend(found),
                Err(error) => {
                    newer[usize::from(place)].push(slot);
                    refusal = Some(error);
                }
            }
        }
    }
    // One rotten version field does not close a store: both places must ask, or nothing is left.
    let agreed = newer[0].iter().any(|slot| newer[1].contains(slot));
    let newer = refusal.filter(|_| agreed || slots.is_empty());
    slots.sort_by_key(|slot| std::cmp::Reverse(slot.header.generation.get()));
    // Whatever follows the newest that was found stands in the slot behind it.
    let newest = slots.first().map(|slot| slot.header.generation.get());
    let hidden = |newest: u64| {
        let next = newest.wrapping_add(1) % RING_SLOTS;
        unread.iter().all(|unread| unread.contains(&next))
    };
    if let Some(error) = failure.take_if(|_| newest.is_some_and(hidden)) {
        return Err(error);
    }
    match (slots.is_empty(), newer, failure) {
        (false, None, _) => Ok(slots),
        (_, Some(error), _) | (true, None, Some(error)) => Err(error),
        (true, None, None) if magic => {
            Err(Error::corrupt(Object::Store, "no sound superblock is left"))
        }
        (true, None, None) => Err(Error::NotAStore),
    }
}

/// Whether a slot of the ring, sound or not, holds other wrapped keys than these: those of before
/// a rewrap, which a crash kept from being overwritten. What cannot be read is not looked at.
pub fn holds_other_keys(device: &dyn Device, keys: &[KeySlot; KEY_SLOTS]) -> bool {
    let len = device.len().unwrap_or(0);
    (0..2).any(|place| {
        let mut bytes = vec![0; PLACE_LEN];
        let there = len.saturating_sub(Layout::place(place)).min(PLACE_LEN as u64) as usize;
        let read = device.read_at(Layout::place(place), &mut bytes[..there]);
        let mut slots = bytes.chunks_exact(SLOT_SIZE);
        read.is_ok() && slots.any(|slot| UnverifiedSuperblock::has_other_keys(slot, keys))
    })
}

/// One slot of the ring as it stands in one place.
pub struct RingSlot {
    /// Place 0 or 1.
    pub place: u8,
    /// Number in the ring.
    pub slot: u8,
    /// What is there.
    pub state: SlotState,
}

/// What stands in a slot of the ring, as far as that shows without a key.
pub enum SlotState {
    /// Zeros: nothing was written there yet.
    Empty,
    /// A superblock whose crc fits.
    Sound(Box<UnverifiedSuperblock>),
    /// A superblock that needs a newer version.
    Newer,
    /// Something that begins as a superblock, and whose crc does not fit or whose place is another.
    Torn,
    /// Something else.
    Other,
    /// The device does not read it.
    Unread,
}

/// Reads all slots of the ring in both places, one by one.
///
/// # Errors
/// [`Error::Io`] where the device does not say how long it is; [`Error::NotAStore`] where the store
/// was never finished.
pub fn inspect_ring(device: &dyn Device) -> Result<Vec<RingSlot>> {
    let len = device.len().map_err(|error| Error::io("measure", Object::Store, error))?;
    let mut start = vec![0; UNFINISHED_LEN];
    if device.read_at(0, &mut start).is_ok() && is_unfinished(&start) {
        return Err(Error::NotAStore);
    }
    let all = (0..2u8).flat_map(|place| (0..RING_SLOTS as u8).map(move |slot| (place, slot)));
    Ok(all.map(|(place, slot)| inspect_slot(device, len, place, slot)).collect())
}

fn inspect_slot(device: &dyn Device, len: u64, place: u8, slot: u8) -> RingSlot {
    let at = Layout::slot(place, u64::from(slot));
    let mut bytes = vec![0; SLOT_SIZE];
    let there = len.saturating_sub(at).min(SLOT_SIZE as u64) as usize;
    let state = match device.read_at(at, &mut bytes[..there]) {
        Err(_) => SlotState::Unread,
        Ok(()) => match UnverifiedSuperblock::parse(&bytes, place, slot) {
            Ok(Some(found)) => SlotState::Sound(Box::new(found)),
            Ok(None) if bytes.iter().all(|byte| *byte == 0) => SlotState::Empty,
            Ok(None) if UnverifiedSuperblock::has_magic(&bytes) => SlotState::Torn,
            Ok(None) => SlotState::Other,
            Err(_) => SlotState::Newer,
        },
    };
    RingSlot { place, slot, state }
}

/// Whether a superblock of the generation behind this one may have been lost: its slot, among those
/// given, is sound in neither place, and holds something or did.
pub fn is_outdated(slots: &[RingSlot], generation: u64) -> bool {
    let next = (generation.wrapping_add(1) % RING_SLOTS) as u8;
    let mut slots = slots.iter().filter(|slot| slot.slot == next).map(|slot| &slot.state);
    // Each slot was written by then.
    let mut lost = generation >= RING_SLOTS;
    slots.all(|state| {
        lost |= !matches!(state, SlotState::Empty);
        !matches!(state, SlotState::Sound(_))
    }) && lost
}

/// As [`is_outdated`], with the two slots that it needs from the device: two reads.
///
/// # Errors
/// [`Error::Io`] where the device does not say how long it is.
pub fn may_be_outdated(device: &dyn Device, generation: u64) -> Result<bool> {
    let len = device.len().map_err(|error| Error::io("measure", Object::Store, error))?;
    let next = (generation.wrapping_add(1) % RING_SLOTS) as u8;
    Ok(is_outdated(&[0, 1].map(|place| inspect_slot(device, len, place, next)), generation))
}

/// Writes a superblock to its slot in both places. Durable only after the caller's flush.
pub fn write_superblock(
    device: &dyn Device,
    sealer: &Sealer,
    superblock: &Superblock,
) -> Result<()> {
    write_place(device, sealer, superblock, 0)?;
    write_place(device, sealer, superblock, 1)
}

/// Writes a superblock to its slot in one place.
pub fn write_place(
    device: &dyn Device,
    sealer: &Sealer,
    superblock: &Superblock,
    place: u8,
) -> Result<()> {
    let generation = superblock.header.generation.get();
    let bytes = sealer.seal_superblock(superblock, place)?;
    let object = Object::Superblock { place, slot: (generation % RING_SLOTS) as u8 };
    device
        .write_at(Layout::slot(place, generation), &bytes)
        .map_err(|error| Error::io("write", object, error))
}
