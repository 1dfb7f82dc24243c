//! Commit: one transaction, from its edits to its place in the order.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::checkpoint::Reason;
use super::queue::Lsn;
use super::{Edits, Engine};
use crate::error::{Error, Result};
use crate::format::Edit;
use crate::limits::{NODE_SIZE, NODE_UNITS};

/// How far a transaction may go when space is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Leaves the reserve alone.
    Normal,
    /// Gives space back in the end, and so may use the reserve: a full store can be emptied. The
    /// reserve holds one transaction of any size; a checkpoint after it fills the reserve again.
    Freeing,
}

/// Places that are asked for at once, so that nodes written together stand together.
const BATCH: usize = 64;
/// Transactions after which the next writer in line has its turn, whoever is faster.
const TURN: u64 = 64;

impl Engine {
    /// Applies a transaction: readers see all of it from now on. It is durable after
    /// [`Engine::sync`] or the next checkpoint, together with everything before it.
    ///
    /// May write a checkpoint, to make space free or to bound what is dirty. Who holds locks that
    /// others want calls [`Engine::try_commit`].
    ///
    /// # Errors
    /// [`Error::NoSpace`], those of reading nodes, [`Error::ReadOnly`], [`Error::Poisoned`]: in
    /// each case nothing changed.
    pub fn commit(&self, edits: &mut Edits, class: Class) -> Result<Lsn> {
        let since = self.checkpoints();
        let mut result = self.try_commit(edits, class);
        if matches!(result, Err(Error::NoSpace)) && self.make_room(since)? {
            result = self.try_commit(edits, class);
        }
        if result.is_ok() && self.forest.dirty_bytes() > self.dirty_cap() * 2 {
            // Also where nobody calls [`Engine::relieve`].
            let _poisoned = self.checkpoint_with(Reason::Memory);
        }
        result
    }

    /// As [`Engine::commit`], without ever waiting for a checkpoint. After [`Error::NoSpace`] the
    /// caller lets its locks go, calls [`Engine::make_room`] and may try again; in any case it
    /// calls [`Engine::relieve`] once it holds none.
    ///
    /// # Errors
    /// As there.
    pub fn try_commit(&self, edits: &mut Edits, class: Class) -> Result<Lsn> {
        if self.options.read_only {
            return Err(Error::ReadOnly);
        }
        if !edits.is_bounded() {
            return Err(Error::Internal("transaction too large"));
        }
        self.healthy()?;
        let writer = self.writer.lock();
        let lsn = self.whole(|| {
            self.prepare(edits, class)?;
            let applied = self.apply(edits);
            self.or_poison(applied)?;
            Ok(self.queue.append(edits.encode()))
        })?;
        if lsn.is_multiple_of(TURN) {
            // The lock is not fair by itself, and a busy writer takes it again at once.
            MutexGuard::unlock_fair(writer);
        }
        if self.forest.dirty_bytes() > self.dirty_cap() || self.space.is_hoarded() {
            self.crowded.store(true, Ordering::Relaxed);
        }
        Ok(lsn)
    }

    /// How many checkpoints are durable, in the life of the store: for [`Engine::make_room`].
    pub fn checkpoints(&self) -> u64 {
        self.committed.read().header.generation.get()
    }

    /// Makes free what was given back, for an attempt that found no space and began after
    /// [`Engine::checkpoints`] returned `since`: by a checkpoint, unless somebody wrote one
    /// meanwhile. Returns whether another attempt may find more.
    ///
    /// # Errors
    /// Those of the device, which poison the store.
    pub fn make_room(&self, since: u64) -> Result<bool> {
        let mut made = self.checkpoints() > since;
        if !made && self.could_reclaim() {
            self.checkpoint()?;
            made = true;
        }
        self.space.reclaim(self.pins.oldest());
        Ok(made)
    }

    /// Everything of a transaction that can fail. The caller holds the writer lock.
    pub(super) fn prepare(&self, edits: &Edits, class: Class) -> Result<()> {
        let spare = match class {
            Class::Normal => self.reserve,
            Class::Freeing => 0,
        };
        let prepared = self.forest.prepare(edits, spare, |missing| self.refill(missing));
        // Also where that failed: what it retired is given back by the next checkpoint.
        self.expect_retired();
        prepared?;
        // Replay for reading checks the same, but where the map cannot be read.
        for edit in edits.iter() {
            match edit? {
                Edit::Take { unit, units, .. } => self.space.prepare_take(unit, units)?,
                Edit::Give { unit, units } => self.space.prepare_give(unit, units)?,
                Edit::Put { .. } | Edit::Del { .. } => {}
            }
        }
        Ok(())
    }

    /// Changes trees and space as prepared. The caller holds the writer lock.
    pub(super) fn apply(&self, edits: &Edits) -> Result<()> {
        self.forest.apply(edits)?;
        // Neighbours that were merged.
        self.expect_retired();
        for edit in edits.iter() {
            match edit? {
                Edit::Take { unit, units, .. } => self.space.take(unit, units)?,
                Edit::Give { unit, units } => self.space.give(unit, units)?,
                Edit::Put { .. } | Edit::Del { .. } => {}
            }
        }
        Ok(())
    }

    /// Reads what the next checkpoint needs to give back the nodes that were retired. A failure
    /// shows there.
    fn expect_retired(&self) {
        self.forest.announce_retired(|unit| {
            let _later = self.space.prepare_give(unit, NODE_UNITS as u32);
        });
    }

    /// Reserves more places for nodes: a batch where there is room, else what is missing.
    fn refill(&self, missing: usize) -> Result<()> {
        if self.options.read_only {
            // Replay into memory: no checkpoint will ever write to these places.
            self.forest.add_places(vec![u64::MAX; missing]);
            return Ok(());
        }
        let batch = BATCH.min(self.reserve);
        let mut places = Vec::new();
        let mut result = self.space.reserve_nodes(missing.max(batch), &mut places);
        if matches!(result, Err(Error::NoSpace)) && places.len() < missing {
            self.space.await_discard();
            self.space.reclaim(self.pins.oldest());
            result = self.space.reserve_nodes(missing - places.len(), &mut places);
        }
        let enough = places.len() >= missing;
        self.forest.add_places(places);
        match result {
            Err(Error::NoSpace) if enough => Ok(()),
            other => other,
        }
    }

    /// Whether a checkpoint may make space free.
    pub(super) fn could_reclaim(&self) -> bool {
        self.space.has_given() || self.forest.dirty_bytes() > 0
    }

    /// Writes a checkpoint where much is dirty, or was given back; waits for the one at work where
    /// far too much is dirty. Callers of [`Engine::try_commit`] call this after they let their own
    /// locks go, so that nobody waits for them meanwhile. A failure shows at the next change.
    #[inline]
    pub fn relieve(&self) {
        if self.crowded.load(Ordering::Relaxed) {
            self.write_dirty();
        }
    }

    #[cold]
    fn write_dirty(&self) {
        let (dirty, cap) = (self.forest.dirty_bytes(), self.dirty_cap());
        let _poisoned = if dirty > cap * 3 / 2 {
            self.checkpoint_with(Reason::Memory)
        } else if dirty > cap || self.space.is_hoarded() {
            self.try_checkpoint()
        } else {
            self.crowded.store(false, Ordering::Relaxed);
            Ok(())
        };
    }

    /// Bytes of dirty nodes from which on a checkpoint is due.
    pub(super) fn dirty_cap(&self) -> usize {
        (self.options.cache_bytes / 4).max(32 * NODE_SIZE)
    }
}
