//! Draft: one operation's change, before it is committed.
//!
//! An operation locks the inodes it touches, changes copies of their rows, adds its other edits,
//! and commits all of it as one transaction. Only then do the copies become what others see. A
//! draft that is dropped changed nothing.
//!
//! The locks are not fair by themselves: a thread that changes an inode again and again could keep
//! others waiting for ever. So one in [`TURN`] drafts, and each that kept its locks for long, hands
//! them to those who wait.

use std::sync::Arc;

use parking_lot::RwLockWriteGuard;
use zerocopy::IntoBytes;

use super::FileSystem;
use super::data::{Finish, Freed};
use super::inode::{Inode, WriteGuard};
use super::names::Target;
use crate::error::{Error, Object, Result};
use crate::format::{EntryRow, FsKey, InodeRow, MAX_INO, TimeRow, TreeId};
use crate::limits::MAX_FILE_SIZE;
use crate::txn::{Class, Edits, Lsn};

/// Most inodes of one operation: rename has two directories, two children and a whiteout.
const MOST: usize = 5;
/// Most names of one operation.
const NAMES: usize = 2;
/// One in so many drafts hands its locks on.
const TURN: u64 = 64;

/// One operation's change. The names that it changes live as long as it.
pub(in crate::fs) struct Draft<'a> {
    fs: &'a FileSystem,
    held: [Option<Held<'a>>; MOST],
    names: [Option<NameChange<'a>>; NAMES],
    /// What the operation frees beside the rows of an inode, once it is committed.
    freed: Option<(u64, Freed)>,
    /// The edits beside those of inode rows.
    pub edits: Edits,
    /// When and as what the operation happens.
    pub stamp: Stamp,
    /// Whether it keeps its locks for long.
    long: bool,
}

/// The moment of an operation and its change number: for the times and change attributes of all
/// that it touches.
#[derive(Clone, Copy)]
pub(in crate::fs) struct Stamp {
    pub now: TimeRow,
    pub change: u64,
}

struct Held<'a> {
    inode: &'a Inode,
    /// Taken out when the draft is dropped.
    order: Option<RwLockWriteGuard<'a, ()>>,
    row: InodeRow,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Same,
    Put,
    Del,
}

struct NameChange<'a> {
    dir: u64,
    name: &'a [u8],
    target: Option<Target>,
}

impl Stamp {
    /// Moves ctime and change attribute.
    pub fn touch(&self, row: &mut InodeRow) {
        row.ctime = self.now;
        row.change = self.change.into();
    }

    /// Moves mtime too.
    pub fn touch_contents(&self, row: &mut InodeRow) {
        row.mtime = self.now;
        self.touch(row);
    }
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
        let mut last = None;
        for (place, inode) in held.iter_mut().zip(sorted.into_iter().flatten()) {
            if last.replace(inode.ino()) != Some(inode.ino()) {
                *place = Some(Held::new(inode, inode.write(&self.engine, self.tree)?));
            }
        }
        Draft::new(self, held)
    }

    /// As [`FileSystem::draft`], for one inode that may wait to be freed.
    pub(in crate::fs) fn draft_any<'a>(&'a self, inode: &'a Inode) -> Result<Draft<'a>> {
        let mut held = [const { None }; MOST];
        held[0] = Some(Held::new(inode, inode.write_any(&self.engine, self.tree)?));
        Draft::new(self, held)
    }
}

impl<'a> Held<'a> {
    fn new(inode: &'a Inode, (order, row): WriteGuard<'a>) -> Held<'a> {
        Held { inode, order: Some(order), row, fate: Fate::Same }
    }
}

impl<'a> Draft<'a> {
    fn new(fs: &'a FileSystem, held: [Option<Held<'a>>; MOST]) -> Result<Draft<'a>> {
        let now = (fs.options.clock)().carried().into();
        let stamp = Stamp { now, change: fs.next_change()? };
        let (names, edits) = ([const { None }; NAMES], Edits::new());
        Ok(Draft { fs, held, names, freed: None, edits, stamp, long: false })
    }

    /// Says that the operation keeps its locks for long.
    pub fn will_last(&mut self) {
        self.long = true;
    }

    /// Adds a new inode, which nobody can know of yet. Its number is above all others, so its
    /// lock comes last.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where an inode has the last number already.
    pub fn add(&mut self, inode: &'a Inode, row: InodeRow) -> Result<()> {
        if inode.ino() > MAX_INO {
            return Err(Error::corrupt(
                Object::Inode { ino: inode.ino() },
                "beyond the last number",
            ));
        }
        let order = inode.write_new();
        let place = self.held.iter_mut().find(|place| place.is_none());
        let place = place.ok_or(Error::Internal("an operation holds too many inodes"))?;
        *place = Some(Held { inode, order: Some(order), row, fate: Fate::Put });
        Ok(())
    }

    fn held(&self, ino: u64) -> Result<&Held<'a>> {
        self.held.iter().flatten().find(|held| held.inode.ino() == ino).ok_or(NOT_HELD)
    }

    fn held_mut(&mut self, ino: u64) -> Result<&mut Held<'a>> {
        self.held.iter_mut().flatten().find(|held| held.inode.ino() == ino).ok_or(NOT_HELD)
    }

    /// The row of an inode as the operation leaves it.
    pub fn row(&self, ino: u64) -> Result<&InodeRow> {
        Ok(&self.held(ino)?.row)
    }

    /// The row of an inode, to be changed and written.
    pub fn change_row(&mut self, ino: u64) -> Result<&mut InodeRow> {
        let held = self.held_mut(ino)?;
        held.fate = Fate::Put;
        Ok(&mut held.row)
    }

    /// As [`Draft::change_row`], with change attribute and ctime moved.
    pub fn touch(&mut self, ino: u64) -> Result<&mut InodeRow> {
        let stamp = self.stamp;
        let row = self.change_row(ino)?;
        stamp.touch(row);
        Ok(row)
    }

    /// As [`Draft::touch`], with mtime moved too.
    pub fn touch_contents(&mut self, ino: u64) -> Result<&mut InodeRow> {
        let stamp = self.stamp;
        let row = self.change_row(ino)?;
        stamp.touch_contents(row);
        Ok(row)
    }

    /// Deletes the inode's row.
    pub fn delete(&mut self, ino: u64) -> Result<()> {
        self.held_mut(ino)?.fate = Fate::Del;
        Ok(())
    }

    /// Moves the number of names of an inode.
    ///
    /// # Errors
    /// [`Error::TooManyLinks`]; [`Error::Corrupt`] where there are not so many to take away.
    pub fn add_links(&mut self, ino: u64, step: i32) -> Result<()> {
        let row = self.change_row(ino)?;
        let Some(links) = row.nlink.get().checked_add_signed(step) else {
            return Err(Error::corrupt(Object::Inode { ino }, "link count"));
        };
        if links > InodeRow::MAX_NLINK {
            return Err(Error::TooManyLinks);
        }
        row.nlink = links.into();
        Ok(())
    }

    /// How many times the inode is open.
    pub fn opens(&self, ino: u64) -> Result<u64> {
        Ok(self.held(ino)?.inode.opens())
    }

    /// Adds an entry to a directory, and counts it there.
    pub fn add_entry(&mut self, dir: u64, name: &'a [u8], target: Target) -> Result<()> {
        let row = self.touch_contents(dir)?;
        let (entries, size) = (row.entries.get() + 1, row.size.get() + name.len() as u64);
        if entries > InodeRow::MAX_ENTRIES || size > MAX_FILE_SIZE {
            return Err(Error::corrupt(Object::Inode { ino: dir }, "number of entries"));
        }
        (row.entries, row.size) = (entries.into(), size.into());
        self.put_entry(dir, name, target)
    }

    /// Has an entry lead to another inode.
    pub fn put_entry(&mut self, dir: u64, name: &'a [u8], target: Target) -> Result<()> {
        let key = FsKey::Entry(dir, target.cookie).encode();
        let entry = EntryRow { ino: target.ino, kind: target.kind, name };
        self.edits.put(self.fs.tree, &key, &entry.encode());
        self.name(dir, name, Some(target))
    }

    /// Takes an entry out of a directory.
    pub fn remove_entry(&mut self, dir: u64, name: &'a [u8], target: Target) -> Result<()> {
        let row = self.touch_contents(dir)?;
        let entries = row.entries.get().checked_sub(1);
        row.entries =
            entries.ok_or(Error::corrupt(Object::Inode { ino: dir }, "number of entries"))?.into();
        row.size = row.size.get().saturating_sub(name.len() as u64).into();
        self.edits.del(self.fs.tree, &FsKey::Entry(dir, target.cookie).encode());
        self.name(dir, name, None)
    }

    fn name(&mut self, dir: u64, name: &'a [u8], target: Option<Target>) -> Result<()> {
        let place = self.names.iter_mut().find(|place| place.is_none());
        let place = place.ok_or(Error::Internal("an operation changes too many names"))?;
        *place = Some(NameChange { dir, name, target });
        Ok(())
    }

    /// Commits everything as one transaction, and shows it to others.
    ///
    /// # Errors
    /// Those of [`Engine::try_commit`](crate::txn::Engine::try_commit): nothing changed then.
    pub fn commit(mut self, class: Class) -> Result<Lsn> {
        let mut edits = std::mem::take(&mut self.edits);
        self.put_rows(&mut edits);
        let lsn = self.fs.engine.try_commit(&mut edits, class)?;
        self.publish();
        Ok(lsn)
    }

    /// Frees all that an inode holds with the transaction, where that is little, and the inode.
    /// Returns whether it did; else nothing changed. The caller saw that nobody can reach it.
    pub fn free_with(&mut self, ino: u64) -> Result<bool> {
        let row = *self.row(ino)?;
        if row.xattrs.get() > 0 {
            return Ok(false);
        }
        // What cannot be read is left to be freed later: the name goes nevertheless.
        let freed = self.fs.data.free_few(ino, &row, &mut self.edits);
        let Ok(Some(freed)) = freed else { return Ok(false) };
        if row.flags.get() & InodeRow::TRIMMING != 0 {
            self.edits.del(self.fs.tree, &FsKey::Orphan(ino).encode());
        }
        self.freed = Some((ino, freed));
        self.delete(ino)?;
        Ok(true)
    }

    /// Commits everything together with the first contents of an inode, of a size that fits in
    /// one transaction, and shows it to others. Returns the inode's row.
    ///
    /// # Errors
    /// As [`Contents::write`](super::data::Contents::write): nothing changed then.
    pub fn commit_with(mut self, ino: u64, contents: &[u8]) -> Result<InodeRow> {
        let fs = self.fs;
        let mut row = *self.row(ino)?;
        let finish = &mut |row: &mut InodeRow, edits: &mut Edits| {
            if let Ok(own) = self.change_row(ino) {
                *own = *row;
            }
            edits.append(&self.edits);
            self.put_rows(edits);
        };
        fs.data.write(ino, &mut row, 0, contents, finish)?;
        self.publish();
        Ok(row)
    }

    /// Lets `work` change the contents of an inode, in transactions of its own, each of which
    /// `change` completes; the row is what the last of them made of it, also after a failure.
    pub fn contents<T>(
        mut self,
        ino: u64,
        work: impl FnOnce(&mut InodeRow, &mut Finish<'_>) -> Result<T>,
        change: impl Fn(&mut InodeRow),
    ) -> Result<(T, InodeRow)> {
        let tree = self.fs.tree;
        let own = self.change_row(ino)?;
        let finish = &mut |row: &mut InodeRow, edits: &mut Edits| {
            change(row);
            put_row(edits, tree, ino, row);
        };
        let result = work(own, finish);
        let row = *own;
        self.publish();
        result.map(|answer| (answer, row))
    }

    /// Frees what stood between the size of a file and `end` before the file grows, in at most
    /// `steps` transactions, which change nothing else. Returns whether nothing is left there.
    pub fn settle(&mut self, ino: u64, end: u64, steps: usize) -> Result<bool> {
        let fs = self.fs;
        let held = self.held_mut(ino)?;
        if held.row.flags.get() & InodeRow::TRIMMING == 0 {
            return Ok(true);
        }
        let finish = &mut |row: &mut InodeRow, edits: &mut Edits| {
            put_row(edits, fs.tree, ino, row);
        };
        let settled = fs.data.settle(ino, &mut held.row, end, steps, finish);
        held.inode.set_row(Some(held.row));
        settled
    }

    /// One step of freeing the contents of an inode that nobody can reach; the last frees the
    /// inode too. Returns whether that is done.
    pub fn free_contents(mut self, ino: u64) -> Result<bool> {
        let fs = self.fs;
        self.will_last();
        let finish = &mut |row: &mut InodeRow, edits: &mut Edits| match row.key_id.get() {
            0 => {
                edits.del(fs.tree, &FsKey::Inode(ino).encode());
                edits.del(fs.tree, &FsKey::Orphan(ino).encode());
            }
            _ => put_row(edits, fs.tree, ino, row),
        };
        let held = self.held_mut(ino)?;
        let done = fs.data.free_step(ino, &mut held.row, finish)?;
        held.fate = if done { Fate::Del } else { Fate::Put };
        self.publish();
        Ok(done)
    }

    fn put_rows(&self, edits: &mut Edits) {
        for held in self.held.iter().flatten() {
            let ino = held.inode.ino();
            match held.fate {
                Fate::Same => {}
                Fate::Put => put_row(edits, self.fs.tree, ino, &held.row),
                Fate::Del => edits.del(self.fs.tree, &FsKey::Inode(ino).encode()),
            }
        }
    }

    /// Shows what was committed: names and rows first, only then the locks go.
    fn publish(self) {
        for change in self.names.iter().flatten() {
            // It was found for this change already.
            let Ok(bucket) = self.fs.bucket_of(change.name) else { continue };
            self.fs.names.put(change.dir, bucket, change.name, change.target);
        }
        for held in self.held.iter().flatten() {
            match held.fate {
                Fate::Same => {}
                Fate::Put => held.inode.set_row(Some(held.row)),
                Fate::Del => held.inode.set_row(None),
            }
        }
        if let Some((ino, freed)) = &self.freed {
            self.fs.data.forget(*ino, freed);
        }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.long || self.stamp.change.is_multiple_of(TURN) {
            let orders = self.held.iter_mut().flatten().filter_map(|held| held.order.take());
            orders.for_each(RwLockWriteGuard::unlock_fair);
        }
    }
}

fn put_row(edits: &mut Edits, tree: TreeId, ino: u64, row: &InodeRow) {
    edits.put(tree, &FsKey::Inode(ino).encode(), row.as_bytes());
}

const NOT_HELD: Error = Error::Internal("an operation changes an inode that it does not hold");
