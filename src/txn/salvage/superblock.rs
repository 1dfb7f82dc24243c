//! Which superblock salvage starts from: the newest that opens.

use crate::block::{RingSlot, Sealer, SlotState, StoreKeys, inspect_ring, read_ring};
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
    /// Place and slot of those among them that say they are newer: they would be tried first.
    pub forged: Vec<(u8, u8)>,
    /// Whether the same superblock is missing in the other place.
    pub alone: bool,
    /// Whether a newer superblock may have been lost.
    pub outdated: bool,
}

/// Finds the newest superblock that opens with keys that `unlock` makes of one. That one may be
/// older: a rewrap changes the wraps and not the keys, and where it was interrupted both wraps are
/// there. Repairing with the old ones does not undo it.
pub(super) fn choose(
    device: &dyn Device,
    unlock: &mut dyn FnMut(&UnverifiedSuperblock) -> Result<Unlocked>,
) -> Result<Chosen> {
    let (mut tried, mut failure) = (Vec::new(), None);
    for slot in read_ring(device)? {
        if tried.iter().any(|keys| slot.has_keys(keys)) {
            continue;
        }
        tried.push(slot.keys);
        match unlock(&slot) {
            Ok(keys) => {
                if let Some(chosen) = newest_under(keys, device)? {
                    return Ok(chosen);
                }
            }
            Err(error) => failure = Some(failure.unwrap_or(error)),
        }
    }
    Err(failure.unwrap_or(Error::corrupt(Object::Store, "no superblock opens")))
}

/// The newest superblock that opens with some keys, if one does.
fn newest_under((meta, rng): Unlocked, device: &dyn Device) -> Result<Option<Chosen>> {
    let (mut chosen, mut twins) = (None::<(Superblock, Slot<StoreKeys>)>, 0);
    let (mut refused, mut newer) = (Vec::new(), Vec::new());
    for slot in read_ring(device)? {
        let (place, number) = (slot.header.place, slot.header.slot);
        let generation = slot.header.generation.get();
        if let Some((chosen, _)) = &chosen
            && chosen.header.generation.get() != generation
        {
            break;
        }
        match Sealer::open_superblock(&meta, slot) {
            Ok(opened) => {
                twins += 1;
                chosen.get_or_insert(opened);
            }
            Err(error) => {
                refused.push(error);
                newer.push((place, number, generation));
            }
        }
    }
    let Some((superblock, store_keys)) = chosen else { return Ok(None) };
    let sealer = Sealer::new(superblock.header.store_id, rng, meta, store_keys);
    let generation = superblock.header.generation.get();
    newer.retain(|(.., claimed)| *claimed > generation);
    let outdated = !newer.is_empty() || is_outdated(&inspect_ring(device)?, generation);
    let forged = newer.into_iter().map(|(place, slot, _)| (place, slot)).collect();
    Ok(Some(Chosen { superblock, sealer, refused, forged, alone: twins < 2, outdated }))
}

/// Whether some slot is sound in neither place, and holds something: perhaps the newest state.
fn is_outdated(ring: &[RingSlot], generation: u64) -> bool {
    let own = (generation % RING_SLOTS) as u8;
    (0..RING_SLOTS as u8).filter(|slot| *slot != own).any(|number| {
        let mut states = ring.iter().filter(|slot| slot.slot == number).map(|slot| &slot.state);
        let sound = states.clone().any(|state| matches!(state, SlotState::Sound(_)));
        !sound && states.any(|state| !matches!(state, SlotState::Empty))
    })
}
