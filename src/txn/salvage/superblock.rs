//! Which superblock salvage starts from: the newest that opens.

use std::sync::Arc;

use crate::block::{MetaKeys, RingSlot, Sealer, SlotState, inspect_ring, read_ring};
use crate::crypto::{Rng, Slot};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{RING_SLOTS, Superblock, UnverifiedSuperblock};
use zerocopy::IntoBytes;

/// A superblock that opens, and what is wrong with the others.
pub(super) struct Chosen {
    pub superblock: Superblock,
    pub meta: Slot<MetaKeys>,
    pub rng: Arc<Rng>,
    /// Superblocks that have a fitting crc and do not open.
    pub refused: Vec<Error>,
    /// Place and slot of those among them that say they are newer: they would be tried first.
    pub forged: Vec<(u8, u8)>,
    /// Whether the same superblock is missing in the other place.
    pub alone: bool,
    /// Whether a newer superblock may have been lost.
    pub outdated: bool,
}

/// Finds the newest superblock that opens with the keys that `unlock` makes of it.
pub(super) fn choose(
    device: &dyn Device,
    unlock: &mut dyn FnMut(&UnverifiedSuperblock) -> Result<(Slot<MetaKeys>, Arc<Rng>)>,
) -> Result<Chosen> {
    let slots = read_ring(device)?;
    let ring = inspect_ring(device)?;
    let mut keys: Option<(Slot<MetaKeys>, Arc<Rng>)> = None;
    let (mut chosen, mut failure) = (None::<Superblock>, None);
    let (mut refused, mut newer, mut tried) = (Vec::new(), Vec::new(), Vec::<Vec<u8>>::new());
    let mut twins = 0;
    for slot in slots {
        let (place, number) = (slot.header.place, slot.header.slot);
        let generation = slot.header.generation.get();
        if let Some(chosen) = &chosen
            && chosen.header.generation.get() != generation
        {
            break;
        }
        if keys.is_none() && !tried.contains(&slot.keys.as_bytes().to_vec()) {
            tried.push(slot.keys.as_bytes().to_vec());
            match unlock(&slot) {
                Ok(unlocked) => keys = Some(unlocked),
                Err(error) => failure = Some(failure.unwrap_or(error)),
            }
        }
        let object = Object::Superblock { place, slot: number };
        let opened = match &keys {
            Some((meta, _)) => Sealer::open_superblock(meta.get()?, slot),
            None => Err(Error::corrupt(object, "its keys cannot be unlocked")),
        };
        match opened {
            Ok(superblock) => {
                twins += 1;
                chosen.get_or_insert(superblock);
            }
            Err(error) => {
                refused.push(error);
                newer.push((place, number, generation));
            }
        }
    }
    let none = || Error::corrupt(Object::Store, "no superblock opens");
    let (Some(superblock), Some((meta, rng))) = (chosen, keys) else {
        return Err(failure.unwrap_or_else(none));
    };
    let generation = superblock.header.generation.get();
    newer.retain(|(.., claimed)| *claimed > generation);
    let outdated = !newer.is_empty() || is_outdated(&ring, generation);
    let forged = newer.into_iter().map(|(place, slot, _)| (place, slot)).collect();
    Ok(Chosen { superblock, meta, rng, refused, forged, alone: twins < 2, outdated })
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
