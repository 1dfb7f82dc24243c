//! Orphans: inodes without a name, and files with contents beyond their size.
//!
//! Freeing is done in transactions of bounded size, each of which leaves a consistent store; the
//! ORPHAN row goes with the last. A crash in between leaves the row, so that what is left is freed
//! after the next mount, by [`FileSystem::maintain`].

use std::sync::Arc;

use super::FileSystem;
use super::inode::Inode;
use super::link::FREE_STEPS;
use crate::error::{Error, Result};
use crate::format::{FsKey, InodeRow};
use crate::txn::Class;

/// Orphans that are looked at together.
const BATCH: usize = 64;
/// Rows of extended attributes that one step deletes.
const XATTR_ROWS: usize = 48;

/// What a step left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// More to free.
    More,
    /// Nothing, or the inode is open: it is freed when it is closed.
    Nothing,
}

impl FileSystem {
    /// Opens an inode: it stays readable and writable until it is closed, also without a name.
    /// Opens are counted, are not part of the store, and end with the mount.
    ///
    /// # Errors
    /// [`Error::Stale`] where the inode is gone, and those of reading its row.
    pub fn open(&self, ino: u64) -> Result<()> {
        let inode = self.inodes.get(ino);
        let _held = inode.write(&self.engine, self.tree)?;
        inode.set_opens(inode.opens() + 1);
        Ok(())
    }

    /// Closes an inode as often as it was opened. The last close of one without a name frees it,
    /// up to a bound; what is left, and what fails, is left to [`FileSystem::maintain`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an inode that is not open.
    pub fn close(&self, ino: u64) -> Result<()> {
        let inode = self.inodes.get(ino);
        let last = {
            let (_order, row) = match inode.write(&self.engine, self.tree) {
                Err(Error::Stale) => return Err(NOT_OPEN),
                held => held?,
            };
            let opens = inode.opens().checked_sub(1).ok_or(NOT_OPEN)?;
            inode.set_opens(opens);
            opens == 0 && row.nlink.get() == 0
        };
        drop(inode);
        if last && !self.engine.is_read_only() {
            self.free_unused(ino);
        }
        Ok(())
    }

    /// Frees an inode that lost its last name, as far as that takes few steps. A failure is no
    /// failure of the operation that came before: the rest is done later.
    pub(in crate::fs) fn free_unused(&self, ino: u64) {
        let inode = self.inodes.get(ino);
        for _ in 0..FREE_STEPS {
            match self.free_step(&inode) {
                Ok(Left::More) => {}
                Ok(Left::Nothing) | Err(_) => break,
            }
        }
    }

    /// Frees what orphans hold, in at most `steps` transactions. Returns whether nothing is left
    /// that can be freed now.
    ///
    /// # Errors
    /// Those of reading rows and of the device.
    pub fn reap(&self, mut steps: usize) -> Result<bool> {
        let mut next = 0;
        loop {
            let orphans = self.orphans(next)?;
            for &ino in &orphans {
                let inode = self.inodes.get(ino);
                loop {
                    if steps == 0 {
                        return Ok(false);
                    }
                    steps -= 1;
                    if self.free_step(&inode)? == Left::Nothing {
                        break;
                    }
                }
                next = ino.saturating_add(1);
            }
            if orphans.len() < BATCH || next == u64::MAX {
                return Ok(true);
            }
        }
    }

    /// The first orphans from a number on.
    fn orphans(&self, from: u64) -> Result<Vec<u64>> {
        let (mut found, mut failure) = (Vec::new(), None);
        let from = FsKey::Orphan(from).encode();
        self.engine.scan(self.tree, &from, &[6], |key, _| {
            match FsKey::parse(key) {
                Ok(FsKey::Orphan(ino)) => found.push(ino),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
            failure.is_none() && found.len() < BATCH
        })?;
        failure.map_or(Ok(found), Err)
    }

    /// One step of freeing an inode that lost its last name and is not open, or the contents
    /// beyond its size.
    fn free_step(&self, inode: &Arc<Inode>) -> Result<Left> {
        let ino = inode.ino();
        let mut draft = match self.draft_any(inode) {
            Err(Error::Stale) => return Ok(Left::Nothing),
            draft => draft?,
        };
        let row = *draft.row(ino)?;
        if row.nlink.get() > 0 {
            if row.flags.get() & InodeRow::TRIMMING == 0 {
                return Ok(Left::Nothing);
            }
            let trim = |row: &mut InodeRow, finish: &mut super::data::Finish<'_>| {
                self.data.trim_step(ino, row, finish)
            };
            let (_, row) = draft.contents(ino, trim, |_| ())?;
            let done = row.flags.get() & InodeRow::TRIMMING == 0;
            return Ok(if done { Left::Nothing } else { Left::More });
        }
        if inode.opens() > 0 {
            return Ok(Left::Nothing);
        }
        if row.xattrs.get() > 0 {
            let rows = self.xattr_rows(ino, XATTR_ROWS)?;
            for key in &rows {
                draft.edits.del(self.tree, &key.encode());
            }
            if rows.len() < XATTR_ROWS {
                draft.change_row(ino)?.xattrs = 0.into();
            }
            draft.commit(Class::Freeing)?;
            return Ok(Left::More);
        }
        if row.key_id.get() != 0 {
            let free = |row: &mut InodeRow, finish: &mut super::data::Finish<'_>| {
                self.data.free_step(ino, row, finish)
            };
            draft.contents(ino, free, |_| ())?;
            return Ok(Left::More);
        }
        draft.delete(ino)?;
        draft.edits.del(self.tree, &FsKey::Orphan(ino).encode());
        draft.commit(Class::Freeing)?;
        Ok(Left::Nothing)
    }
}

const NOT_OPEN: Error = Error::InvalidArgument("the inode is not open");
