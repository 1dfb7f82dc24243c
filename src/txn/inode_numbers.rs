//! Inode numbers: each is given out once in the life of a store.
//!
//! A superblock promises: nothing at or above its `next_ino` was ever given out. Numbers are given
//! out below what the newest durable superblock promises, so the next open, which starts there,
//! meets none of them, not even those of files that a crash took or that were removed. Every
//! checkpoint moves the promise ahead of the numbers in use; who needs one beyond it writes a
//! checkpoint first. What was promised and not used is skipped: at most [`AHEAD`] numbers for an
//! open of the store.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Engine;
use super::checkpoint::Reason;
use crate::error::{Error, Object, Result};

/// How far a checkpoint promises ahead. A checkpoint is due more often than once for so many new
/// files.
pub(super) const AHEAD: u64 = 1 << 16;
/// The first number: 1 is the root directory's.
const FIRST: u64 = 2;
/// Numbers end here: 2^23 opens and 2^40 changes in each do not reach it.
const END: u64 = 1 << 63;

pub(super) struct Numbers {
    next: AtomicU64,
    /// What the newest durable superblock promises.
    promised: AtomicU64,
}

impl Numbers {
    /// Continues at the promise of a superblock; 0 in one that was written before there were any.
    pub fn new(promised: u64) -> Numbers {
        let next = AtomicU64::new(promised.max(FIRST));
        Numbers { next, promised: AtomicU64::new(promised) }
    }

    /// What a checkpoint may promise now.
    pub fn promise(&self) -> u64 {
        self.next.load(Ordering::Relaxed).saturating_add(AHEAD)
    }

    /// What the last checkpoint may promise: all numbers that were not used. None is given out
    /// below an older promise from now on.
    pub fn last_promise(&self) -> u64 {
        let next = self.next.load(Ordering::Relaxed);
        self.promised.store(next, Ordering::Relaxed);
        next
    }

    /// Says that a promise is durable.
    pub fn promised(&self, promise: u64) {
        self.promised.store(promise, Ordering::Release);
    }

    /// Whether a number is below what is promised.
    pub fn covers(&self, number: u64) -> bool {
        number < self.promised.load(Ordering::Acquire)
    }
}

impl Engine {
    /// An inode number that was never given out before, also not before a crash.
    ///
    /// # Errors
    /// Where a checkpoint is needed, those of the device, which poison the store;
    /// [`Error::Corrupt`] where the store says that 2^63 numbers are used.
    pub fn new_ino(&self) -> Result<u64> {
        let number = self.inodes.next.fetch_add(1, Ordering::Relaxed);
        if !(FIRST..END).contains(&number) {
            self.inodes.next.store(END, Ordering::Relaxed);
            return Err(Error::corrupt(Object::Store, "its inode numbers are used up"));
        }
        if !self.inodes.covers(number) {
            self.checkpoint_with(Reason::Number(number))?;
        }
        Ok(number)
    }

    /// Says that numbers up to `last` are in use: those of a store that promises nothing.
    pub fn raise_ino(&self, last: u64) {
        self.inodes.next.fetch_max(last.saturating_add(1), Ordering::Relaxed);
    }
}
