//! File handles: inodes named by bytes that clients keep.

use super::FileSystem;
use crate::error::{Error, Result};
use crate::format::{HANDLE_LEN, HandleRow};

/// Bytes of a file handle.
pub const HANDLE_BYTES: usize = HANDLE_LEN;

impl FileSystem {
    /// The handle of an inode. It stays the same through renames and restarts, and once the inode
    /// is gone it never leads to another.
    ///
    /// # Errors
    /// [`Error::Stale`], and those of reading the inode.
    pub fn handle_of(&self, ino: u64) -> Result<[u8; HANDLE_BYTES]> {
        let generation = self.getattr(ino)?.generation;
        let mac = self.handle_mac.get()?;
        let store_id = self.engine.store_id();
        let handle = HandleRow::new(store_id, self.tree, ino, generation, |body| mac.mac(body));
        Ok(zerocopy::transmute!(handle))
    }

    /// The inode of a handle.
    ///
    /// # Errors
    /// [`Error::BadHandle`] for bytes that this file system never gave out, [`Error::Stale`] where
    /// the inode is gone, and those of reading it.
    pub fn by_handle(&self, handle: &[u8]) -> Result<u64> {
        let mac = self.handle_mac.get()?;
        let verify = |body: &[u8], tag: &[u8; 16]| mac.verify(body, tag);
        let (ino, generation) = HandleRow::open(handle, self.engine.store_id(), self.tree, verify)?;
        match self.getattr(ino)?.generation == generation {
            true => Ok(ino),
            false => Err(Error::Stale),
        }
    }
}
