//! Which superblock salvage starts from: the newest that opens.

use crate::block::{RingSlot, Sealer, SlotState, StoreKeys, inspect_ring, is_outdated};
use crate::crypto::Slot;
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{RING_SLOTS, Superblock, UnverifiedSuperblock};
use crate::txn::newest::Unlocked;

/// A superblock that opens, and what is wrong with the others.
pub(super) struct Chosen {
    pub superblock: Superblock,
    pub sealer: Sealer,
    /// Superblocks that have a fitting crc and do not open.
    pub refused: Vec<Error>,
    /// Whether slots hold what is no superblock, or one that does not open and says that it is
    /// newer: they would be tried first, or be taken for a lost one another time.
    pub unsound: bool,
    /// Whether the same superblock is missing in the other place.
    pub alone: bool,
    /// Whether a newer superblock may have been lost.
    pub outdated: bool,
    /// Place and slot of those that may be newer and that the device does not read.
    pub unread: Vec<(u8, u8)>,
}

/// Finds the newest superblock that opens with keys that `unlock` makes of one. That one may be
/// older: a rewrap changes the wraps and not the keys, and where it was interrupted both wraps are
/// there. Repairing with the old ones does not undo it.
pub(super) fn choose(
    device: &dyn Device,
    unlock: &mut dyn FnMut(&UnverifiedSuperblock) -> Result<Unlocked>,
) -> Result<Chosen> {
    let ring = inspect_ring(device)?;
    let slots = sound(&ring)?;
    let (mut tried, mut failure) = (Vec::new(), None);
    for slot in &slots {
        if tried.iter().any(|keys| slot.has_keys(keys)) {
            continue;
        }
        tried.push(slot.keys);
        match unlock(slot) {
            Ok(keys) => {
                if let Some(chosen) = newest_under(keys, &slots, &ring) {
                    return Ok(chosen);
                }
            }
            Err(error) => failure = Some(failure.unwrap_or(error)),
        }
    }
    Err(failure.unwrap_or(Error::corrupt(Object::Store, "no superblock opens")))
}

/// The newest superblock that opens with some keys, if one does.
fn newest_under(
    (meta, rng): Unlocked,
    slots: &[&UnverifiedSuperblock],
    ring: &[RingSlot],
) -> Option<Chosen> {
    let (mut chosen, mut twins) = (None::<(Superblock, Slot<StoreKeys>)>, 0);
    let (mut refused, mut newest) = (Vec::new(), 0);
    for &slot in slots {
        let generation = slot.header.generation.get();
        if let Some((chosen, _)) = &chosen
            && chosen.header.generation.get() != generation
        {
            break;
        }
        match Sealer::open_superblock(&meta, slot.clone()) {
            Ok(opened) => {
                twins += 1;
                chosen.get_or_insert(opened);
            }
            Err(error) => {
                refused.push(error);
                newest = newest.max(generation);
            }
        }
    }
    let (superblock, store_keys) = chosen?;
    let sealer = Sealer::new(superblock.header.store_id, rng, meta, store_keys);
    let generation = superblock.header.generation.get();
    let outdated = newest > generation || is_outdated(ring, generation);
    let is_sound = |slot: &RingSlot| matches!(slot.state, SlotState::Sound(_) | SlotState::Empty);
    let unsound = outdated || !ring.iter().all(is_sound);
    let unread = unread_next(ring, generation);
    Some(Chosen { superblock, sealer, refused, unsound, alone: twins < 2, outdated, unread })
}

/// The sound slots, newest generation first. Slots that cannot be read are left out: whoever
/// salvages a store takes what there is.
fn sound(ring: &[RingSlot]) -> Result<Vec<&UnverifiedSuperblock>> {
    let has = |state: fn(&SlotState) -> bool| ring.iter().any(|slot| state(&slot.state));
    let is_newer = |slot: &RingSlot| matches!(slot.state, SlotState::Newer);
    let agreed = ring.iter().filter(|slot| is_newer(slot)).any(|one| {
        ring.iter().any(|two| is_newer(two) && (two.place, two.slot) == (1 - one.place, one.slot))
    });
    let mut slots: Vec<&UnverifiedSuperblock> = ring
        .iter()
        .filter_map(|slot| match &slot.state {
            SlotState::Sound(found) => Some(&**found),
            _ => None,
        })
        .collect();
    slots.sort_by_key(|slot| std::cmp::Reverse(slot.header.generation.get()));
    if agreed || (slots.is_empty() && has(|state| matches!(state, SlotState::Newer))) {
        return Err(Error::Unsupported("its format version is unknown"));
    }
    if !slots.is_empty() {
        return Ok(slots);
    }
    match has(|state| matches!(state, SlotState::Torn | SlotState::Unread)) {
        true => Err(Error::corrupt(Object::Store, "no sound superblock is left")),
        false => Err(Error::NotAStore),
    }
}

/// The slots of lost generations behind this one that cannot be read.
fn unread_next(ring: &[RingSlot], generation: u64) -> Vec<(u8, u8)> {
    let mut unread = Vec::new();
    for next in 1..RING_SLOTS {
        let slots = slots_of(ring, generation.wrapping_add(next));
        // An older one says that the store did not get there.
        if slots.iter().any(|slot| is_older(slot, generation)) {
            break;
        }
        let missing = slots.into_iter().filter(|slot| matches!(slot.state, SlotState::Unread));
        unread.extend(missing.map(|slot| (slot.place, slot.slot)));
    }
    unread
}

/// The slots of a generation in both places.
fn slots_of(ring: &[RingSlot], generation: u64) -> Vec<&RingSlot> {
    let number = (generation % RING_SLOTS) as u8;
    ring.iter().filter(|slot| slot.slot == number).collect()
}

fn is_older(slot: &RingSlot, generation: u64) -> bool {
    matches!(&slot.state, SlotState::Sound(found) if found.header.generation.get() < generation)
}
