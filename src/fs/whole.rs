//! The file system as a whole: durability, space, caches.

use super::FileSystem;
use crate::error::Result;
use crate::limits::{MAX_FILE_SIZE, MAX_LINKS, MAX_NAME_LEN, UNIT};

/// Space and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes of the grain in which space is given out.
    pub block_size: u32,
    /// Bytes in all; of a device that grows those that it has, and those that its host has free.
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

    /// The verifier that a server answers to writes which are not durable yet, and to commits: it
    /// is another one for each opening of the store for writing, so a client sees that what it
    /// wrote before may be lost. Within one opening nothing is lost: a store that failed to make
    /// something durable takes no change any more until it is opened again.
    pub fn write_verifier(&self) -> [u8; 8] {
        let id = u128::from_le_bytes(*self.engine.store_id());
        ((id >> 64) as u64 ^ id as u64).wrapping_add(self.engine.epoch()).to_le_bytes()
    }

    /// Makes everything so far durable.
    ///
    /// # Errors
    /// Those of the device, which poison the store.
    pub fn sync(&self) -> Result<()> {
        self.engine.sync(self.engine.last())?;
        self.reap_few();
        Ok(())
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
