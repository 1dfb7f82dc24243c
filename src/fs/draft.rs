//! Draft: one operation's change, before it is committed.
//!
//! An operation locks the inodes it touches, changes copies of their rows, adds its other edits,
//! and commits all of it as one transaction. Only then do the copies become what others see. A
//! draft that is dropped changed nothing.

use std::sync::Arc;

use parking_lot::RwLockWriteGuard;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::FileSystem;
use super::inode::{Inode, InodeState};
use crate::error::{Error, Result};
use crate::format::{FsKey, InodeRow, TimeRow};
use crate::txn::{Class, Edits, Lsn};

/// Most inodes of one operation: rename has two directories and two children.
const MOST: usize = 4;

/// One operation's change.
pub(in crate::fs) struct Draft<'a> {
    fs: &'a FileSystem,
    held: [Option<Held<'a>>; MOST],
    /// The edits beside those of inode rows.
    pub edits: Edits,
    /// The moment of the operation.
    pub now: TimeRow,
    /// Its change number: for the change attributes of all that it touches.
    pub change: u64,
}

struct Held<'a> {
    inode: &'a Inode,
    state: RwLockWriteGuard<'a, InodeState>,
    row: InodeRow,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Same,
    Put,
    Del,
}

impl FileSystem {
    /// Locks inodes for a change, in ascending order whatever the order of `inodes`; one that is
    /// given twice counts once.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Stale`] where one of them is gone.
    pub(in crate::fs) fn draft<'a>(&'a self, inodes: &[&'a Arc<Inode>]) -> Result<Draft<'a>> {
        let mut sorted = [None; MOST];
        for (place, inode) in sorted.iter_mut().zip(inodes) {
            *place = Some(*inode);
        }
        sorted.sort_unstable_by_key(|inode| inode.map_or(u64::MAX, |inode| inode.ino()));
        let mut held: [Option<Held<'a>>; MOST] = [const { None }; MOST];
        let mut last = 0;
        for (place, inode) in held.iter_mut().zip(sorted.into_iter().flatten()) {
            if inode.ino() == last {
                continue;
            }
            last = inode.ino();
            let (state, row) = inode.write(&self.engine, self.tree)?;
            *place = Some(Held { inode, state, row, fate: Fate::Same });
        }
        Ok(Draft {
            fs: self,
            held,
            edits: Edits::new(),
            now: (self.options.clock)().into(),
            change: self.next_change()?,
        })
    }
}

impl<'a> Draft<'a> {
    /// Adds a new inode, which nobody can know of yet. Its number is above all others, so its
    /// lock comes last.
    pub fn add(&mut self, inode: &'a Arc<Inode>, row: InodeRow) -> Result<()> {
        let state = inode.lock();
        let place = self.held.iter_mut().find(|place| place.is_none());
        let place = place.ok_or(Error::Internal("an operation holds too many inodes"))?;
        *place = Some(Held { inode, state, row, fate: Fate::Put });
        Ok(())
    }

    /// The row of an inode as the operation leaves it.
    pub fn row(&self, ino: u64) -> Result<&InodeRow> {
        let held = self.held.iter().flatten().find(|held| held.inode.ino() == ino);
        held.map(|held| &held.row).ok_or(NOT_HELD)
    }

    /// The row of an inode, to be changed and written.
    pub fn change_row(&mut self, ino: u64) -> Result<&mut InodeRow> {
        let held = self.held.iter_mut().flatten().find(|held| held.inode.ino() == ino);
        let held = held.ok_or(NOT_HELD)?;
        held.fate = Fate::Put;
        Ok(&mut held.row)
    }

    /// As [`Draft::change_row`], with change attribute and ctime moved.
    pub fn touch(&mut self, ino: u64) -> Result<&mut InodeRow> {
        let (now, change) = (self.now, U64::new(self.change));
        let row = self.change_row(ino)?;
        row.ctime = now;
        row.change = change;
        Ok(row)
    }

    /// As [`Draft::touch`], with mtime moved too.
    pub fn touch_contents(&mut self, ino: u64) -> Result<&mut InodeRow> {
        let now = self.now;
        let row = self.touch(ino)?;
        row.mtime = now;
        Ok(row)
    }

    /// Deletes the inode's row.
    pub fn delete(&mut self, ino: u64) -> Result<()> {
        let held = self.held.iter_mut().flatten().find(|held| held.inode.ino() == ino);
        held.ok_or(NOT_HELD)?.fate = Fate::Del;
        Ok(())
    }

    /// How many times the inode is open.
    pub fn opens(&self, ino: u64) -> u32 {
        let held = self.held.iter().flatten().find(|held| held.inode.ino() == ino);
        held.map_or(0, |held| held.inode.opens())
    }

    /// Writes the rows of all changed inodes into `edits`.
    pub fn put_rows(&self, edits: &mut Edits) {
        for held in self.held.iter().flatten() {
            let key = FsKey::Inode(held.inode.ino()).encode();
            match held.fate {
                Fate::Same => {}
                Fate::Put => edits.put(self.fs.tree, &key, held.row.as_bytes()),
                Fate::Del => edits.del(self.fs.tree, &key),
            }
        }
    }

    /// Commits everything as one transaction, and shows it to others.
    ///
    /// # Errors
    /// Those of [`Engine::commit`](crate::txn::Engine::commit): nothing changed then.
    pub fn commit(mut self, class: Class) -> Result<Lsn> {
        let mut edits = std::mem::take(&mut self.edits);
        self.put_rows(&mut edits);
        let lsn = self.fs.engine.commit(&mut edits, class)?;
        self.publish();
        Ok(lsn)
    }

    /// Makes the rows what others see, after their edits were committed.
    pub fn publish(self) {
        for mut held in self.held.into_iter().flatten() {
            match held.fate {
                Fate::Same => {}
                Fate::Put => held.state.row = Some(held.row),
                Fate::Del => held.state.row = None,
            }
        }
    }
}

const NOT_HELD: Error = Error::Internal("an operation changes an inode that it does not hold");
