//! The newest superblock: which slot of the ring counts.
//!
//! A slot whose checksum fits was written as it stands, by this store's writer or by somebody else.
//! Only its seal tells, and that only under the key that it names.
//!
//! - A generation that was ever acknowledged stands in both places, so where both have it and
//!   neither opens, opening fails: what is older would be a rollback that nobody asked for.
//! - A slot that stands alone and does not open was never acknowledged by this store, or is damage
//!   that a checksum was made for: its twin or the generation before counts, and the slot is
//!   counted as rejected. Who can forge a slot can also erase it, so this gives nothing away.
//! - A slot whose keys the provider refuses may be the store's own, and newer: while that is so
//!   nothing older counts, or a rewrap that was just committed would be undone. A rewrap keeps
//!   the KEK, so the KEK of an older slot opens such a slot if it is genuine.

use std::sync::Arc;

use crate::block::{MetaKeys, Sealer};
use crate::crypto::{Rng, Slot};
use crate::error::{Error, Result};
use crate::format::{KEY_SLOTS, KeySlot, StoreId, Superblock, UnverifiedSuperblock};

/// The keys that a slot of the ring needs, and a source of nonces.
pub(super) type Unlocked = (Slot<MetaKeys>, Arc<Rng>);

/// The newest superblock, open.
pub(super) struct Newest {
    pub(super) superblock: Superblock,
    /// What seals and opens the blocks of its store.
    pub(super) sealer: Arc<Sealer>,
    /// Newer slots, or others of its generation, that do not authenticate.
    pub(super) rejected: u32,
}

impl Newest {
    /// Refuses to write to what only a later version can write to.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub(super) fn check_writable(&self) -> Result<()> {
        match self.superblock.header.ro_compat.get() {
            0 => Ok(()),
            _ => Err(Error::Unsupported("it can only be opened read-only")),
        }
    }
}

/// Why a slot does not count.
enum Failure {
    /// It does not authenticate.
    Forged(Error),
    /// Its keys cannot be had.
    Refused(Error, Box<UnverifiedSuperblock>),
    /// So were the same keys before.
    RefusedBefore,
}

/// Opens the newest of the sound slots of a ring, which come newest first. `unlock` is called for
/// the first slot and for those whose wrapped keys differ from those of the slot before.
///
/// # Errors
/// [`Error::NotAStore`] without slots, [`Error::Corrupt`], and those of `unlock`.
pub(super) fn newest(
    slots: Vec<UnverifiedSuperblock>,
    unlock: impl FnMut(&UnverifiedSuperblock) -> Result<Unlocked>,
) -> Result<Newest> {
    let mut search = Search { unlock, last: None, refused: Vec::new() };
    let (mut doubtful, mut rejected, mut failure) = (Vec::new(), 0, None);
    let mut slots = slots.into_iter().peekable();
    while let Some(slot) = slots.next() {
        let generation = slot.header.generation;
        let twin = slots.next_if(|twin| twin.header.generation == generation);
        let alone = twin.is_none();
        for slot in [Some(slot), twin].into_iter().flatten() {
            match search.open(slot) {
                Ok((superblock, sealer)) => {
                    rejected += settle(&sealer, doubtful)?;
                    return Ok(Newest { superblock, sealer: Arc::new(sealer), rejected });
                }
                Err(Failure::Forged(error)) => {
                    rejected += 1;
                    failure.get_or_insert(error);
                }
                Err(Failure::Refused(error, slot)) => doubtful.push((error, slot)),
                Err(Failure::RefusedBefore) => {}
            }
        }
        if !alone {
            break;
        }
    }
    // Without the keys nothing is known of the slots.
    let refusal = doubtful.into_iter().next().map(|(error, _)| error);
    Err(refusal.or(failure).unwrap_or(Error::NotAStore))
}

/// Whether a slot whose keys were refused is this store's: then the refusal counts. Returns how
/// many are not.
fn settle(sealer: &Sealer, doubtful: Vec<(Error, Box<UnverifiedSuperblock>)>) -> Result<u32> {
    let mut rejected = 0;
    for (error, slot) in doubtful {
        if sealer.owns_superblock(*slot)? {
            return Err(error);
        }
        rejected += 1;
    }
    Ok(rejected)
}

/// Opens slots, with as few calls of `unlock` as will do.
struct Search<U> {
    unlock: U,
    /// The keys of the slot before.
    last: Option<(Wraps, Unlocked)>,
    refused: Vec<Wraps>,
}

/// What the keys of a slot depend on.
struct Wraps(StoreId, [KeySlot; KEY_SLOTS]);

impl Wraps {
    fn are_of(&self, slot: &UnverifiedSuperblock) -> bool {
        self.0 == slot.header.store_id && slot.has_keys(&self.1)
    }
}

impl<U: FnMut(&UnverifiedSuperblock) -> Result<Unlocked>> Search<U> {
    fn open(
        &mut self,
        slot: UnverifiedSuperblock,
    ) -> std::result::Result<(Superblock, Sealer), Failure> {
        let store_id = slot.header.store_id;
        if self.refused.iter().any(|wraps| wraps.are_of(&slot)) {
            return Err(Failure::RefusedBefore);
        }
        let (meta, rng) = match self.last.take() {
            Some((wraps, keys)) if wraps.are_of(&slot) => keys,
            _ => match (self.unlock)(&slot) {
                Ok(keys) => keys,
                Err(error) => {
                    self.refused.push(Wraps(store_id, slot.keys));
                    return Err(Failure::Refused(error, Box::new(slot)));
                }
            },
        };
        let wraps = Wraps(store_id, slot.keys);
        match Sealer::open_superblock(&meta, slot) {
            Ok((superblock, keys)) => Ok((superblock, Sealer::new(store_id, rng, meta, keys))),
            Err(error) => {
                self.last = Some((wraps, (meta, rng)));
                Err(Failure::Forged(error))
            }
        }
    }
}
