//! Inode in memory, and the table of all that are.
//!
//! Invariants:
//!
//! 1. The table holds one [`Inode`] per number. Whoever works on one holds an `Arc` of it, and an
//!    inode is only evicted while nobody but the table does: so all work on a number meets in one
//!    lock.
//! 2. `row` is `None` before it was read and after the inode was freed; reading it again finds the
//!    truth in the engine. It is set under `order`: exclusive to change it, shared to load it.
//! 3. `opens` rises under `order`, shared or exclusive, and falls under it, exclusive: whoever
//!    holds it exclusive decides by it. An open inode is not evicted: it may be out of the ring
//!    that the eviction goes round, until its last close puts it back.
//!
//! `order` may be held across I/O; the lock of `row` never is, so attributes are read without
//! waiting for a write under way.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use zerocopy::IntoBytes;

use super::attr::FileType;
use crate::error::{Error, Object, Result};
use crate::format::{FsKey, InodeRow, TreeId};
use crate::txn::Engine;

const SHARDS: usize = 16;

/// One inode in memory.
pub(in crate::fs) struct Inode {
    ino: u64,
    /// Held shared by what reads contents or names, exclusive by what changes anything.
    order: RwLock<()>,
    row: Mutex<Option<InodeRow>>,
    opens: AtomicU64,
    /// Whether it was used since the eviction last came by.
    used: AtomicBool,
}

impl Inode {
    fn new(ino: u64) -> Inode {
        Inode {
            ino,
            order: RwLock::new(()),
            row: Mutex::new(None),
            opens: AtomicU64::new(0),
            used: AtomicBool::new(true),
        }
    }

    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// How many times it is open.
    pub fn opens(&self) -> u64 {
        self.opens.load(Ordering::Relaxed)
    }

    /// Counts one more open; the caller holds the lock, shared or exclusive.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where there is no number for it.
    pub fn add_open(&self) -> Result<()> {
        let more = |opens: u64| opens.checked_add(1);
        let counted = self.opens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.map(drop).map_err(|_| Error::InvalidArgument("the inode is open too often"))
    }

    /// Changes the number of opens; the caller holds the exclusive lock.
    pub fn set_opens(&self, opens: u64) {
        self.opens.store(opens, Ordering::Relaxed);
    }

    /// The row as the last finished operation left it; waits for none that is under way.
    ///
    /// # Errors
    /// [`Error::Stale`] where there is no such inode, or it lost its last name and is not open.
    pub fn row(&self, engine: &Engine, tree: TreeId) -> Result<InodeRow> {
        let cached = *self.row.lock();
        let row = match cached {
            Some(row) => row,
            None => {
                let _order = self.order.read();
                self.load(engine, tree)?
            }
        };
        self.live(&row)?;
        Ok(row)
    }

    /// The row under the shared lock.
    ///
    /// # Errors
    /// As [`Inode::row`].
    pub fn read(&self, engine: &Engine, tree: TreeId) -> Result<RowRef<'_>> {
        let order = self.order.read();
        let row = self.load(engine, tree)?;
        self.live(&row)?;
        Ok(RowRef { _order: order, row })
    }

    /// The row under the exclusive lock.
    ///
    /// # Errors
    /// As [`Inode::row`].
    pub fn write(&self, engine: &Engine, tree: TreeId) -> Result<WriteGuard<'_>> {
        let (order, row) = self.write_any(engine, tree)?;
        self.live(&row)?;
        Ok((order, row))
    }

    /// As [`Inode::write`], also for an inode that waits to be freed.
    ///
    /// # Errors
    /// [`Error::Stale`] where there is no such inode.
    pub fn write_any(&self, engine: &Engine, tree: TreeId) -> Result<WriteGuard<'_>> {
        let order = self.order.write();
        let row = self.load(engine, tree)?;
        Ok((order, row))
    }

    /// The exclusive lock of an inode that has no row yet.
    pub fn write_new(&self) -> RwLockWriteGuard<'_, ()> {
        self.order.write()
    }

    /// Sets the row after it changed in the engine; the caller holds the exclusive lock.
    pub fn set_row(&self, row: Option<InodeRow>) {
        // Whatever an operation was given, what it wrote can be read again.
        debug_assert!(row.is_none_or(|row| InodeRow::parse(row.as_bytes(), self.ino).is_ok()));
        *self.row.lock() = row;
    }

    /// The row, read unless it is there. The caller holds `order`.
    fn load(&self, engine: &Engine, tree: TreeId) -> Result<InodeRow> {
        let cached = *self.row.lock();
        if let Some(row) = cached {
            return Ok(row);
        }
        let key = FsKey::Inode(self.ino).encode();
        let row = engine.get(tree, &key, |bytes| InodeRow::parse(bytes, self.ino))?;
        let row = row.ok_or(Error::Stale)??;
        if FileType::of_mode(row.mode.get()).is_none() {
            return Err(Error::corrupt(Object::Inode { ino: self.ino }, "inode type"));
        }
        *self.row.lock() = Some(row);
        Ok(row)
    }

    fn live(&self, row: &InodeRow) -> Result<()> {
        if row.nlink.get() == 0 && self.opens() == 0 { Err(Error::Stale) } else { Ok(()) }
    }
}

/// Whether anybody but the table holds an inode; asked under the shard's lock, where nobody can
/// take another hold.
///
/// Where the answer is no, what former holders did is seen: whether they opened it.
fn is_held(inode: &Arc<Inode>) -> bool {
    let held = Arc::strong_count(inode) > 1;
    fence(Ordering::Acquire);
    held
}

/// The exclusive lock, and the row as it is.
pub(in crate::fs) type WriteGuard<'a> = (RwLockWriteGuard<'a, ()>, InodeRow);

/// A row under the shared lock.
pub(in crate::fs) struct RowRef<'a> {
    /// While it is held the row stands still.
    _order: RwLockReadGuard<'a, ()>,
    row: InodeRow,
}

impl std::ops::Deref for RowRef<'_> {
    type Target = InodeRow;

    fn deref(&self) -> &InodeRow {
        &self.row
    }
}

/// All inodes in memory: a bounded number beside those that are in use.
pub(in crate::fs) struct InodeTable {
    shards: [Mutex<Shard>; SHARDS],
    /// Most inodes of one shard, beside those that are in use.
    cap: usize,
}

#[derive(Default)]
struct Shard {
    inodes: HashMap<u64, Place, BuildHasherDefault<NumberHasher>>,
    /// The numbers in the order in which the eviction visits them.
    ring: Vec<u64>,
    hand: usize,
}

struct Place {
    inode: Arc<Inode>,
    /// Whether the number stands in the ring; open inodes that the eviction met do not.
    in_ring: bool,
}

impl InodeTable {
    pub fn new(cap: usize) -> InodeTable {
        InodeTable { shards: Default::default(), cap: cap.div_ceil(SHARDS).max(4) }
    }

    /// The inode of a number, whether there is a row for it or not.
    pub fn get(&self, ino: u64) -> Arc<Inode> {
        let mut shard = self.shards[ino as usize % SHARDS].lock();
        if let Some(place) = shard.inodes.get(&ino) {
            place.inode.used.store(true, Ordering::Relaxed);
            return Arc::clone(&place.inode);
        }
        shard.evict(self.cap);
        let inode = Arc::new(Inode::new(ino));
        shard.inodes.insert(ino, Place { inode: Arc::clone(&inode), in_ring: true });
        shard.ring.push(ino);
        inode
    }

    /// Says that an inode is open no more, after [`Inode::set_opens`] said so.
    pub fn closed(&self, inode: &Inode) {
        let shard = &mut *self.shards[inode.ino() as usize % SHARDS].lock();
        if let Some(place) = shard.inodes.get_mut(&inode.ino())
            && !std::mem::replace(&mut place.in_ring, true)
        {
            shard.ring.push(inode.ino());
        }
    }

    /// The numbers of all inodes that are open.
    pub fn open_numbers(&self) -> Vec<u64> {
        let mut open = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let inodes = shard.inodes.values().map(|place| &place.inode);
            open.extend(inodes.filter(|inode| inode.opens() > 0).map(|inode| inode.ino()));
        }
        open
    }

    /// Forgets all inodes that nobody uses.
    pub fn clear(&self) {
        for shard in &self.shards {
            let shard = &mut *shard.lock();
            shard.inodes.retain(|_, place| is_held(&place.inode) || place.inode.opens() > 0);
            shard.ring.clear();
            for (ino, place) in &mut shard.inodes {
                place.in_ring = true;
                shard.ring.push(*ino);
            }
            shard.hand = 0;
        }
    }

    /// Inodes in memory.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().inodes.len()).sum()
    }
}

impl Shard {
    /// Makes room for one more: a clock goes round and takes out what was not used since it last
    /// came by. Open inodes leave the ring, so each is met once. Gives up after two rounds: what
    /// is left is held by operations then, which are few.
    fn evict(&mut self, cap: usize) {
        let mut steps = 2 * self.ring.len();
        while self.ring.len() >= cap && steps > 0 {
            steps -= 1;
            self.hand = if self.hand < self.ring.len() { self.hand } else { 0 };
            let ino = self.ring[self.hand];
            let Some(place) = self.inodes.get_mut(&ino) else { return };
            // In this order: who lets an inode go may have opened it before.
            if is_held(&place.inode) {
                self.hand += 1;
            } else if place.inode.opens() > 0 {
                place.in_ring = false;
                self.ring.swap_remove(self.hand);
            } else if place.inode.used.swap(false, Ordering::Relaxed) {
                self.hand += 1;
            } else {
                self.inodes.remove(&ino);
                self.ring.swap_remove(self.hand);
            }
        }
    }
}

/// Spreads numbers that count up; they are ours, so nobody can choose them to collide.
#[derive(Default)]
pub(in crate::fs) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded_and_never_has_two_of_one_number() {
        let table = InodeTable::new(64);
        let held: Vec<_> = (0..40).map(|ino| table.get(ino)).collect();
        for ino in 0..10_000 {
            table.get(ino);
            assert!(table.len() <= 64 + 40, "{}", table.len());
        }
        for inode in &held {
            assert!(Arc::ptr_eq(inode, &table.get(inode.ino())));
        }
        drop(held);
        table.clear();
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn open_inodes_stay() {
        let table = InodeTable::new(16);
        let inode = table.get(7);
        inode.set_opens(1);
        let address = Arc::as_ptr(&inode);
        drop(inode);
        (100..1000).for_each(|ino| drop(table.get(ino)));
        assert_eq!(address, Arc::as_ptr(&table.get(7)));
    }

    #[test]
    fn open_inodes_cost_the_eviction_nothing() {
        let table = InodeTable::new(64);
        for ino in 0..1_000 {
            table.get(ino).set_opens(1);
        }
        (1_000..2_000).for_each(|ino| drop(table.get(ino)));
        let ring = |table: &InodeTable| -> usize {
            table.shards.iter().map(|shard| shard.lock().ring.len()).sum()
        };
        assert!(ring(&table) <= 64, "{}", ring(&table));
        assert!((1_000..=1_064).contains(&table.len()), "{}", table.len());
        for ino in 0..1_000 {
            let inode = table.get(ino);
            inode.set_opens(0);
            table.closed(&inode);
            table.closed(&inode);
        }
        assert!((1_000..=1_064).contains(&ring(&table)), "each once: {}", ring(&table));
        (2_000..3_000).for_each(|ino| drop(table.get(ino)));
        assert!(table.len() <= 64, "{}", table.len());
    }
}
