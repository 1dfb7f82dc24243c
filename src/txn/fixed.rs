//! Fixed keys, for tests of the engine below the key hierarchy. Never for data.

use std::sync::Arc;

use super::Keys;
use crate::block::MetaKeys;
use crate::crypto::{KeyArena, Rng, Slot};
use crate::error::Result;
use crate::format::{KEY_SLOTS, KeySlot, StoreId};
use crate::secret::Secret;

/// A moment of 2001.
const CREATED: u64 = 1_000_000_000_000_000_000;
const STORE_ID: StoreId = *b"fixed test store";

/// Keys that are the same for every store, with nonces by the seed.
pub fn fixed_keys(seed: u64) -> Result<Keys> {
    fixed_keys_in(&KeyArena::new()?, seed)
}

/// As [`fixed_keys`], in an arena that the caller keeps for many stores.
pub fn fixed_keys_in(arena: &Arc<KeyArena>, seed: u64) -> Result<Keys> {
    let (meta, rng) = fixed_unlock_in(arena, seed)?;
    let slots = [KeySlot::EMPTY; KEY_SLOTS];
    Ok(Keys { store_id: STORE_ID, slots, meta, rng, created: CREATED })
}

/// What opens a store that was made with [`fixed_keys`].
pub fn fixed_unlock(seed: u64) -> Result<(Slot<MetaKeys>, Arc<Rng>)> {
    fixed_unlock_in(&KeyArena::new()?, seed)
}

/// As [`fixed_unlock`], in an arena that the caller keeps for many stores.
pub fn fixed_unlock_in(arena: &Arc<KeyArena>, seed: u64) -> Result<(Slot<MetaKeys>, Arc<Rng>)> {
    let rng = Arc::new(Rng::seeded(arena, seed)?);
    let kek = Secret::take(&mut [0x42; 32]);
    Ok((MetaKeys::derive(arena, &kek, &STORE_ID, 1)?, rng))
}
