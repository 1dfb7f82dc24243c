//! The commit of a salvaged state.

use std::sync::Arc;

use zerocopy::IntoBytes;

use super::Salvage;
use crate::block::{Identity, LogTail, Ownership, Takeover, read_ring};
use crate::error::{Error, Object, Result};
use crate::format::{
    Edits, FIRST_FS_TREE, RootRow, STORE_TREE, StoreKey, Superblock, UnverifiedSuperblock,
};
use crate::limits::NODE_UNITS;
use crate::txn::checkpoint::Reason;
use crate::txn::numbers::COUNT_BITS;
use crate::txn::recovery::make_durable;

impl Salvage {
    /// Writes the state as the store's newest. Durable when it returns; whenever it is interrupted
    /// the store is as it was, or this. Returns what kept the superblock ring from being written
    /// anew afterwards, which may leave an older superblock that the next open refuses.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where there is no room for the nodes that changed, [`Error::Corrupt`]
    /// where units have two owners, [`Error::InUseBy`] where somebody has the store open, as
    /// `takeover` says: nothing was written. Those of the device.
    pub fn commit(mut self, takeover: Takeover) -> Result<Option<Error>> {
        let mut edits = Edits::new();
        // Its value is filled in by the checkpoint.
        let row = StoreKey::Root(FIRST_FS_TREE).encode();
        edits.put(STORE_TREE, &row, RootRow::EMPTY.as_bytes());
        self.amend(&edits)?;
        if !self.owners()?.is_disjoint() {
            return Err(Error::corrupt(Object::Store, "units would have two owners"));
        }
        self.recount()?;
        let Salvage { mut engine, superblock, unsound, kept, tail, .. } = self;
        let count = engine.forest.clear_places();
        let mut places = Vec::new();
        if let Err(error) = engine.space.reserve_nodes(count, &mut places) {
            let Error::NoSpace = error else { return Err(error) };
            // What was reserved counts as nobody's once everything is counted anew.
            for unit in places.drain(..) {
                engine.space.release(unit, NODE_UNITS as u32);
            }
            engine.space.release_unowned(&kept.regions);
            engine.space.reserve_nodes(count, &mut places)?;
        }
        engine.forest.add_places(places);
        // From here on a store of the length that there is.
        let have = engine.device.len();
        let have = have.map_err(|error| Error::io("measure", Object::Store, error))?;
        let body = &mut engine.committed.get_mut().body;
        body.device_len = body.device_len.get().min(have).into();
        let (device, sealer) = (Arc::clone(&engine.device), Arc::clone(&engine.sealer));
        let (own, watched) = Ownership::claim(device, sealer, &Identity::this(), takeover)?;
        if watched && read_ring(&*engine.device).is_ok_and(|ring| is_newer(&ring, &superblock)) {
            return Err(Error::corrupt(Object::Store, "it changed while it was read"));
        }
        engine.ownership = Some(own);
        engine.options.read_only = false;
        make_durable(&*engine.device, &engine.sealer, &superblock)?;
        let epoch = engine.epoch();
        let first = LogTail { seq: epoch << COUNT_BITS, ..tail };
        engine.checkpoint_with(Reason::Epoch(epoch, first))?;
        engine.queue.restart(first);
        // No slot is left empty: an empty one behind the newest says that a state was lost.
        let unfinished = if unsound { engine.write_keys(superblock.keys).err() } else { None };
        let open = engine.disown().err();
        Ok(unfinished.or(open))
    }
}

/// Whether a ring has a superblock that is newer than one.
fn is_newer(ring: &[UnverifiedSuperblock], than: &Superblock) -> bool {
    let generation = than.header.generation.get();
    let own = ring.iter().filter(|slot| slot.header.store_id == than.header.store_id);
    own.map(|slot| slot.header.generation.get()).any(|newer| newer > generation)
}
