//! Upkeep: work that is put off until nobody waits for it.
//!
//! A change may make a checkpoint due, or leave something to be freed later. Neither is done while
//! it holds locks: [`FileSystem::changing`] runs each change and then does what became due.

use super::FileSystem;
use crate::error::{Error, Result};

/// Transactions that one call spends on orphans, of [`FileSystem::maintain`] or where space is
/// short.
const REAP_STEPS: usize = 256;

impl FileSystem {
    /// Runs a change, which lets all its locks go before it returns, and makes it durable where the
    /// mount says so. Where it finds no space,
    /// frees what orphans hold and runs it once more: a change that fails changed nothing, or can
    /// be done again.
    #[inline]
    pub(in crate::fs) fn changing<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        let mut answer = work();
        if matches!(answer, Err(Error::NoSpace)) && self.make_room() {
            answer = work();
        }
        self.engine.relieve();
        if self.options.durable && answer.is_ok() {
            self.engine.sync(self.engine.last())?;
        }
        answer
    }

    /// Whether freeing orphans gave anything back.
    #[cold]
    fn make_room(&self) -> bool {
        self.orphans.may_wait() && self.reap_steps(REAP_STEPS).done > 0
    }

    /// Does work that was put off, a bounded amount: frees orphans and writes a checkpoint.
    /// Returns whether nothing is left to free. For an embedder's timer, and after mounting.
    ///
    /// # Errors
    /// As [`FileSystem::reap`], after the checkpoint; those of the device.
    pub fn maintain(&self) -> Result<bool> {
        if self.engine.is_read_only() {
            return Ok(true);
        }
        let done = self.reap(REAP_STEPS);
        self.engine.checkpoint()?;
        done
    }
}
