//! Upkeep: work that is put off until nobody waits for it.
//!
//! A change may make a checkpoint due, or leave something to be freed later. Neither is done while
//! it holds locks: [`FileSystem::changing`] runs each change and then does what became due.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::FileSystem;
use crate::error::{Error, Result};

/// Transactions that one call spends on orphans, of [`FileSystem::maintain`] or where space is
/// short.
const REAP_STEPS: usize = 256;
/// Most attempts of a change that finds no space because others are faster.
const ROUNDS: usize = 8;

/// Who makes room. One at a time, in the order in which they came, and no change begins meanwhile:
/// so what is made free for one is not used up by others, again and again.
#[derive(Default)]
pub(in crate::fs) struct Short {
    turn: Mutex<()>,
    /// How many make room or wait to.
    waiting: AtomicUsize,
}

impl Short {
    /// Lets those go first who make room. The caller holds no lock.
    #[inline]
    fn pass(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            MutexGuard::unlock_fair(self.turn.lock());
        }
    }

    /// Waits for a turn, until it is dropped.
    #[cold]
    fn turn(&self) -> Turn<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Turn { short: self, held: Some(self.turn.lock()) }
    }
}

struct Turn<'a> {
    short: &'a Short,
    held: Option<MutexGuard<'a, ()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.short.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(held) = self.held.take() {
            MutexGuard::unlock_fair(held);
        }
    }
}

impl FileSystem {
    /// Runs a change, which lets all its locks go before it returns, and makes it durable where the
    /// mount says so. Where it finds no space, makes room and runs it again: a change that fails
    /// changed nothing, or can be done again.
    #[inline]
    pub(in crate::fs) fn changing<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        self.short.pass();
        let since = self.engine.checkpoints();
        let mut answer = work();
        if matches!(answer, Err(Error::NoSpace)) {
            let turn = self.short.turn();
            answer = self.with_room(since, work);
            drop(turn);
        }
        self.engine.relieve();
        if self.options.durable {
            // Also what a change did before it failed.
            let synced = self.engine.sync(self.engine.last());
            answer = answer.and_then(|done| synced.map(|()| done));
        }
        answer
    }

    /// Makes room for a change that found no space, and runs it again: once, and then as long as
    /// something was freed, or is just being freed, or others used up what was made free: those at
    /// work already, or those whose turn came first.
    #[cold]
    fn with_room<T>(&self, mut since: u64, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        let mut freed = false;
        for round in 1..=ROUNDS {
            self.data.rest_all();
            let before = self.engine.last();
            // The room of a turn before this one, maybe used up in it.
            let second_hand = self.engine.checkpoints() > since;
            self.engine.make_room(since)?;
            since = self.engine.checkpoints();
            // Also where no room was made: the last attempt may have kept what it let go by now.
            let answer = work();
            if !matches!(answer, Err(Error::NoSpace)) {
                return answer;
            }
            if round == ROUNDS {
                break;
            }
            // In this order: others may begin and end at any time. What they free is room, too.
            let waits = self.orphans.may_wait();
            let others = || self.orphans.await_freeing() || self.engine.last() != before;
            if second_hand || others() {
                continue;
            }
            if freed || !waits {
                break;
            }
            freed = true;
            if self.reap_steps(REAP_STEPS).done == 0 && !others() {
                break;
            }
        }
        Err(Error::NoSpace)
    }

    /// Does work that was put off, a bounded amount: frees orphans, writes a checkpoint, and gives
    /// free space back to the host: as holes in the store's file, or by making it shorter. What is
    /// likely to be written again soon stays: as much as was written in the ten seconds before, or
    /// since the call before where nobody called [`FileSystem::sync`] meanwhile, and short pieces.
    /// Returns whether nothing is left to free or to give back. For an embedder's timer, and after
    /// mounting.
    ///
    /// # Errors
    /// As [`FileSystem::reap`], after all else; those of the device. A device that fails to take
    /// space back is no reason to end.
    pub fn maintain(&self) -> Result<bool> {
        if self.engine.is_read_only() {
            return Ok(true);
        }
        let done = self.reap(REAP_STEPS);
        self.engine.checkpoint()?;
        let given = self.give_back();
        Ok(done? & given?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::crypto::{KeyArena, WrapKey};
    use crate::device::MemoryDevice;
    use crate::fs::data::{Contents, DataKeys};
    use crate::fs::{CreateMode, MountOptions, NewAttr, ROOT_INO};
    use crate::secret::Secret;
    use crate::txn::{Engine, EngineOptions, FIRST_FS_TREE, fixed_keys};

    fn file_system(device: MemoryDevice) -> FileSystem {
        let options =
            EngineOptions { log_bytes: 512 << 10, cache_bytes: 8 << 20, read_only: false };
        let engine = Engine::create(Arc::new(device), fixed_keys(1).unwrap(), &options);
        let (engine, arena) = (Arc::new(engine.unwrap()), KeyArena::new().unwrap());
        let id = *engine.store_id();
        let keys = Arc::new(DataKeys::new(Arc::clone(&arena), id, Arc::clone(engine.rng())));
        let kek = Secret::take(&mut [0x24; 32]);
        keys.unlock(1, WrapKey::derive(&arena, &kek, &id, 1).unwrap());
        let contents = Contents::new(Arc::clone(&engine), FIRST_FS_TREE, keys);
        FileSystem::mount(engine, &arena, contents, MountOptions::default()).unwrap()
    }

    #[test]
    fn a_change_without_space_waits_for_what_others_are_freeing() {
        let fs = file_system(MemoryDevice::fixed(24 << 20));
        let make = |name: &[u8]| {
            fs.create(ROOT_INO, name, &NewAttr::default(), CreateMode::Guarded).unwrap().attr.ino
        };
        let (big, small) = (make(b"big"), make(b"small"));
        fs.open(big).unwrap();
        let unit = [7; 4096];
        let fill = |ino| (0..).find(|n| fs.write(ino, n * 8192, &unit).is_err()).unwrap();
        assert!(fill(big) > 2_000);
        fs.unlink(ROOT_INO, b"big").unwrap();
        assert!(fs.write(small, 0, &unit).is_err(), "it is open");
        let freeing = fs.orphans.freeing();
        thread::scope(|scope| {
            let write = scope.spawn(|| fs.write(small, 0, &unit));
            thread::sleep(Duration::from_millis(50));
            fs.close(big).unwrap();
            drop(freeing);
            assert_eq!(write.join().unwrap().unwrap().len, 4096);
        });
    }
}
