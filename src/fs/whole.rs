//! The file system as a whole: durability, space, upkeep, caches.

use super::FileSystem;
use crate::error::{Error, Result};
use crate::limits::{MAX_FILE_SIZE, MAX_LINKS, MAX_NAME_LEN, UNIT};

/// Transactions that one call of [`FileSystem::maintain`] spends on orphans.
const REAP_STEPS: usize = 256;

/// Space and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes of the grain in which space is given out.
    pub block_size: u32,
    /// Bytes in all; for a device that grows, the most it may have.
    pub total: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Longest name, bytes.
    pub name_max: u32,
    /// Most links of an inode.
    pub link_max: u32,
    /// Largest file, bytes.
    pub size_max: u64,
}

impl FileSystem {
    /// Space and limits.
    pub fn statfs(&self) -> StatFs {
        let usage = self.engine.usage();
        StatFs {
            block_size: UNIT as u32,
            total: usage.total * UNIT as u64,
            free: usage.total.saturating_sub(usage.used) * UNIT as u64,
            name_max: MAX_NAME_LEN as u32,
            link_max: MAX_LINKS,
            size_max: MAX_FILE_SIZE,
        }
    }

    /// Makes everything so far durable.
    ///
    /// # Errors
    /// Those of the device, which poison the store.
    pub fn sync(&self) -> Result<()> {
        self.engine.sync(self.engine.last())
    }

    /// Does work that was put off, a bounded amount: frees orphans and writes a checkpoint.
    /// Returns whether nothing is left to free. For an embedder's timer, and after mounting.
    ///
    /// # Errors
    /// Those of reading rows and of the device.
    pub fn maintain(&self) -> Result<bool> {
        if self.engine.is_read_only() {
            return Ok(true);
        }
        let done = self.reap(REAP_STEPS)?;
        self.engine.checkpoint()?;
        Ok(done)
    }

    /// Runs an operation that holds nothing yet, and where space was short, once more after freeing
    /// what removed files still hold and what was reserved for later writes: both count as free.
    pub(in crate::fs) fn with_room<T>(
        &self,
        mut operation: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        match operation() {
            Err(Error::NoSpace) if self.make_room() => operation(),
            answer => answer,
        }
    }

    /// Frees some of what nobody needs; returns whether there was any.
    fn make_room(&self) -> bool {
        let before = self.engine.usage().used;
        // A failure shows by what it did not free.
        let _left = self.reap(REAP_STEPS);
        self.data.rest_all() || self.engine.usage().used < before
    }

    /// Forgets names and inodes that nobody uses; names are wiped. They are read again when they
    /// are needed.
    pub fn drop_caches(&self) {
        self.names.clear();
        self.inodes.clear();
    }

    /// Inodes in memory.
    pub fn cached_inodes(&self) -> usize {
        self.inodes.len()
    }
}
