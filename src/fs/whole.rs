//! The file system as a whole: space, caches.

use super::FileSystem;
use crate::limits::{MAX_FILE_SIZE, MAX_LINKS, MAX_NAME_LEN, UNIT};

/// Space and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes of the grain in which space is given out.
    pub block_size: u32,
    /// Bytes in all; of a device that grows those that it has, and those that its host has free.
    pub total: u64,
    /// Bytes that are not in use.
    pub free: u64,
    /// Bytes that a large file can still take: those that are free without what is kept so that a
    /// full store can be emptied, and without what the metadata for them takes. Small files take
    /// more metadata. Nothing can be created or written where it is 0, or little more.
    pub available: u64,
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
            available: (usage.available + self.data.parked()) * UNIT as u64,
            name_max: MAX_NAME_LEN as u32,
            link_max: MAX_LINKS,
            size_max: MAX_FILE_SIZE,
        }
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
