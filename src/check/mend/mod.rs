//! Mending: rows of a salvaged state are changed until a census finds nothing wrong.
//!
//! Each round takes a census and acts on it, on the first of these that has something to do: what
//! rows there are; where contents are gone; counts. So counts are taken of what will be there. A
//! round changes only what a finding is about.

mod gaps;
mod names;
mod numbers;
mod older;
mod overlaps;
mod structure;
mod units;

use std::collections::BTreeSet;
use std::rc::Rc;

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::census::{Census, Seen};
use super::note::{Mending, Note};
use crate::error::{Error, Object, Result};
use crate::format::{Edits, FIRST_FS_TREE, FsKey, InodeRow, TimeRow, TreeId};
use crate::fs::Time;
use crate::txn::Salvage;

/// Rounds after which mending ends: each kind of damage takes one or two.
const ROUNDS: usize = 32;

/// The first cookie of a name's bucket.
pub(super) type Bucket = Box<dyn Fn(&[u8]) -> u64>;

/// Changes a salvaged state until it makes sense.
pub(super) struct Mender<'a> {
    salvage: &'a mut Salvage,
    bucket: Rc<Bucket>,
    now: TimeRow,
    notes: Vec<Note>,
    edits: Edits,
    /// Edits so far.
    changes: u64,
    /// Numbers of changes and generations given out.
    numbers: u64,
    /// Inodes that were made because something was left of them.
    made: BTreeSet<u64>,
    /// Whether names may be lost.
    names_lost: bool,
    /// Files that had no lost stretches before.
    marked: BTreeSet<u64>,
    /// Those of this round, which its census does not know.
    fresh: BTreeSet<u64>,
    /// The directory where inodes go that have no name, and its name.
    lost_found: Option<(u64, Vec<u8>)>,
}

/// What mending came to.
pub(super) struct Mended {
    pub notes: Vec<Note>,
    /// Whether rows were changed.
    pub changed: bool,
}

impl<'a> Mender<'a> {
    pub fn new(salvage: &'a mut Salvage, bucket: Bucket) -> Mender<'a> {
        let Time { seconds, nanoseconds } = Time::now();
        let now = TimeRow { seconds: seconds.into(), nanoseconds: nanoseconds.into() };
        Mender {
            salvage,
            bucket: Rc::new(bucket),
            now,
            notes: Vec::new(),
            edits: Edits::new(),
            changes: 0,
            numbers: 0,
            made: BTreeSet::new(),
            names_lost: false,
            marked: BTreeSet::new(),
            fresh: BTreeSet::new(),
            lost_found: None,
        }
    }

    /// Mends the rows; with `contents` all units are read and compared with their checksums.
    pub fn run(mut self, contents: bool) -> Result<Mended> {
        self.rounds()?;
        if self.mend_cut()? {
            self.rounds()?;
        }
        if self.mend_units(contents)? {
            self.rounds()?;
        }
        self.find_paths()?;
        Ok(Mended { notes: self.notes, changed: self.changes > 0 })
    }

    fn rounds(&mut self) -> Result<()> {
        for _ in 0..ROUNDS {
            let census = self.census()?;
            let before = self.changes;
            self.mend_structure(census)?;
            if self.flushed(before)? {
                continue;
            }
            let mut census = self.census()?;
            self.mark_gaps(&census)?;
            if self.flushed(before)? {
                continue;
            }
            self.mend_numbers(&mut census)?;
            if !self.flushed(before)? {
                return Ok(());
            }
        }
        Err(Error::corrupt(Object::Store, "its rows contradict each other without end"))
    }

    fn census(&self) -> Result<Census<Bucket>> {
        let bucket = Rc::clone(&self.bucket);
        let mut census = Census::new(Box::new(move |name: &[u8]| bucket(name)) as Bucket);
        self.salvage.rows(|tree, key, value| census.row(tree, key, value, &mut |_, _| {}))?;
        Ok(census)
    }

    /// Applies what was edited; `true` where something was, since there were `before` changes.
    fn flushed(&mut self, before: u64) -> Result<bool> {
        self.flush()?;
        Ok(self.changes > before)
    }

    fn flush(&mut self) -> Result<()> {
        let edits = std::mem::take(&mut self.edits);
        if !edits.is_empty() {
            self.salvage.amend(&edits)?;
        }
        Ok(())
    }

    fn put(&mut self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<()> {
        if !self.edits.has_room(1, key.len() + value.len()) {
            self.flush()?;
        }
        self.edits.put(tree, key, value);
        self.changes += 1;
        Ok(())
    }

    fn del(&mut self, tree: TreeId, key: &[u8]) -> Result<()> {
        if !self.edits.has_room(1, key.len()) {
            self.flush()?;
        }
        self.edits.del(tree, key);
        self.changes += 1;
        Ok(())
    }

    fn put_fs(&mut self, key: FsKey, value: &[u8]) -> Result<()> {
        self.put(FIRST_FS_TREE, &key.encode(), value)
    }

    fn del_fs(&mut self, key: FsKey) -> Result<()> {
        self.del(FIRST_FS_TREE, &key.encode())
    }

    /// Enters an inode that was made.
    fn remember(&mut self, ino: u64) {
        self.made.insert(ino);
        self.fresh.insert(ino);
    }

    fn note(&mut self, ino: u64, what: Mending) {
        self.notes.push(Note { ino, path: None, what });
    }

    /// The value of a row of the file-system tree, edits of this round left out.
    fn get(&self, key: FsKey) -> Result<Option<Vec<u8>>> {
        self.salvage.engine().get(FIRST_FS_TREE, &key.encode(), <[u8]>::to_vec)
    }

    /// Whether there is a row, edits of this round left out.
    fn has(&self, tree: TreeId, key: &[u8]) -> Result<bool> {
        Ok(self.salvage.engine().get(tree, key, |_| ())?.is_some())
    }

    /// Rows of the file-system tree from a key on and below another.
    fn scan(&self, from: FsKey, to: FsKey) -> Result<Vec<(FsKey, Vec<u8>)>> {
        let mut rows = Vec::new();
        let (from, to) = (from.encode(), to.encode());
        self.salvage.engine().scan(FIRST_FS_TREE, &from, &to, |key, value| {
            if let Ok(key) = FsKey::parse(key) {
                rows.push((key, value.to_vec()));
            }
            true
        })?;
        Ok(rows)
    }

    /// Changes an inode's row, and leaves its tail as it is.
    fn change_inode(&mut self, ino: u64, change: impl FnOnce(&mut InodeRow)) -> Result<()> {
        let Some(mut value) = self.get(FsKey::Inode(ino))? else { return Ok(()) };
        if let Ok((row, _)) = InodeRow::mut_from_prefix(&mut value) {
            change(row);
        }
        self.put_fs(FsKey::Inode(ino), &value)
    }

    /// A number that no change or generation had before.
    fn number(&mut self) -> Result<u64> {
        self.numbers += 1;
        self.salvage.engine().number(self.numbers)
    }

    /// An inode's row with everything made up but its type and permissions.
    fn new_row(&mut self, mode: u32, parent: u64) -> Result<InodeRow> {
        let number = self.number()?;
        let mut row = InodeRow::new_zeroed();
        row.mode = mode.into();
        row.nlink = 1.into();
        (row.generation, row.change) = (number.into(), number.into());
        (row.atime, row.mtime, row.ctime, row.btime) = (self.now, self.now, self.now, self.now);
        row.parent = parent.into();
        Ok(row)
    }

    fn put_row(&mut self, ino: u64, row: &InodeRow) -> Result<()> {
        self.put_fs(FsKey::Inode(ino), row.as_bytes())
    }
}

/// Whether an inode may have contents.
fn holds_contents(seen: &Seen) -> bool {
    use crate::fs::FileType::{Regular, Symlink};
    matches!(seen.kind, Some(Regular | Symlink))
}
