//! Inode numbers: each is given out once in the life of a store.
//!
//! A superblock promises: nothing at or above its `next_ino` was ever given out. Numbers are given
//! out below what the newest durable superblock promises, so the next open, which starts there,
//! meets none of them, not even those of files that a crash took or that were removed. Every
//! checkpoint moves the promise ahead of the numbers in use; who needs one beyond it writes a
//! checkpoint first, and holds no lock then that others want. What was promised and not used is
//! skipped: at most [`AHEAD`] numbers for an open of the store.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Engine;
use super::checkpoint::Reason;
use crate::error::{Error, Object, Result};

/// How far a checkpoint promises ahead. A checkpoint is due more often than once for so many new
/// files.
pub(super) const AHEAD: u64 = 1 << 16;
/// The first number: 1 is the root directory's.
pub(super) const FIRST: u64 = 2;
/// Numbers end here: 2^23 opens and 2^40 changes in each do not reach it.
const END: u64 = 1 << 63;

pub(super) struct Numbers {
    /// Whether `next` is known; before that nothing is promised.
    known: AtomicBool,
    next: AtomicU64,
    /// What the newest durable superblock promises.
    promised: AtomicU64,
}

impl Numbers {
    /// Continues at the promise of a superblock; 0 in one that was written before there were any.
    pub fn new(promised: u64) -> Numbers {
        let next = AtomicU64::new(promised.max(FIRST));
        let known = AtomicBool::new(promised != 0);
        Numbers { known, next, promised: AtomicU64::new(promised) }
    }

    /// What a checkpoint may promise now.
    pub fn promise(&self) -> u64 {
        match self.known.load(Ordering::Acquire) {
            true => self.next.load(Ordering::Relaxed).saturating_add(AHEAD),
            false => 0,
        }
    }

    /// What the last checkpoint may promise: all numbers that were not used. None is given out
    /// below an older promise from now on.
    pub fn last_promise(&self) -> u64 {
        if !self.known.load(Ordering::Acquire) {
            return 0;
        }
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
    /// An inode number that was never given out before, also not before a crash. `None` where
    /// [`Engine::promise_inos`] must be called first.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the store says that 2^63 numbers are used.
    pub fn try_new_ino(&self) -> Result<Option<u64>> {
        let step = |next: u64| self.inodes.covers(next).then(|| next.saturating_add(1));
        let taken = self.inodes.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        match taken.unwrap_or_else(|next| next) {
            FIRST..END => Ok(taken.ok()),
            _ => Err(Error::corrupt(Object::Store, "its inode numbers are used up")),
        }
    }

    /// As [`Engine::try_new_ino`], with the checkpoint where one is needed.
    ///
    /// # Errors
    /// As there, and those of the device, which poison the store.
    pub fn new_ino(&self) -> Result<u64> {
        loop {
            if let Some(number) = self.try_new_ino()? {
                return Ok(number);
            }
            self.promise_inos()?;
        }
    }

    /// Writes a checkpoint that promises more inode numbers, where none is left.
    ///
    /// # Errors
    /// Those of the device, which poison the store.
    pub fn promise_inos(&self) -> Result<()> {
        self.checkpoint_with(Reason::Number(self.inodes.next.load(Ordering::Relaxed)))
    }

    /// Whether the store said which numbers are used up. If not, [`Engine::raise_ino`] must.
    pub fn knows_inos(&self) -> bool {
        self.inodes.known.load(Ordering::Acquire)
    }

    /// Says that numbers up to `last` are in use: those of a store that promises nothing.
    pub fn raise_ino(&self, last: u64) {
        self.inodes.next.fetch_max(last.saturating_add(1), Ordering::Relaxed);
        self.inodes.known.store(true, Ordering::Release);
    }
}
