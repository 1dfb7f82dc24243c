//! Freeing the contents of a file that nobody can reach any more.

use super::keys::key_row;
use super::{Contents, FINISH_EDITS, Finish};
use crate::error::Result;
use crate::format::{DataRow, Edits, FsKey, InodeRow, MAX_FILE_UNITS, STORE_TREE, StoreKey};
use crate::limits::MAX_EDITS;
use crate::txn::Class;

/// Most KEY rows that one transaction deletes beside rows of contents: files have one for each
/// TiB written.
const FEW_KEYS: usize = 2;
/// Most KEY rows that one transaction deletes by itself.
const MANY_KEYS: usize = MAX_EDITS / 2;
/// Most rows of contents that go together with the last name: those of 2 MiB written in order.
const FEW_ROWS: usize = 8;
/// Most edits of a transaction that takes a last name, beside those of [`Contents::free_few`].
const NAME_EDITS: usize = 12;

const _: () = assert!(2 * FEW_ROWS + FEW_KEYS + NAME_EDITS <= MAX_EDITS);
const _: () = assert!(MANY_KEYS + FINISH_EDITS <= MAX_EDITS);

/// What the last transaction on a file freed beside rows of contents.
#[derive(Default)]
pub struct Freed {
    keys: Vec<u64>,
}

impl Contents {
    /// One step of freeing all contents of a file and all its keys. Returns whether nothing is
    /// left: no data key then, in the row that `finish` gets too. Needs no key, and space only
    /// from the reserve for freeing. The caller holds the inode's lock, exclusive.
    ///
    /// # Errors
    /// Those of reading rows, and of the device.
    pub fn free_step(&self, ino: u64, row: &mut InodeRow, finish: &mut Finish<'_>) -> Result<bool> {
        self.streams.end(ino);
        let mut change = self.change(ino, row);
        change.row.size = 0.into();
        let rows_done = self.delete_rows(&mut change, 0..MAX_FILE_UNITS)? == MAX_FILE_UNITS;
        let mut freed = Freed::default();
        if rows_done {
            let most = if change.edits.is_empty() { MANY_KEYS } else { FEW_KEYS };
            let first = change.row.key_id.get();
            let left = self.delete_keys(ino, first, most, &mut change.edits, &mut freed)?;
            change.row.key_id = left.into();
        }
        let done = rows_done && change.row.key_id.get() == 0;
        if !change.edits.is_empty() {
            change.commit(row, Class::Freeing, finish)?;
            self.forget(ino, &freed);
        }
        Ok(done)
    }

    /// Frees the contents and keys of a file by edits of the caller's transaction, if they are few
    /// enough; else adds none. The caller holds the inode's lock, exclusive, deletes the inode in
    /// the same transaction, and calls [`Contents::forget`] once that is committed.
    ///
    /// # Errors
    /// Those of reading rows: no edit was added.
    pub fn free_few(&self, ino: u64, row: &InodeRow, edits: &mut Edits) -> Result<Option<Freed>> {
        let mut freed = Freed::default();
        if row.key_id.get() == 0 {
            return Ok(Some(freed));
        }
        let mut change = self.change(ino, row);
        if self.delete_few_rows(&mut change, 0..MAX_FILE_UNITS, FEW_ROWS)? < MAX_FILE_UNITS {
            return Ok(None);
        }
        let first = row.key_id.get();
        if self.delete_keys(ino, first, FEW_KEYS, &mut change.edits, &mut freed)? != 0 {
            return Ok(None);
        }
        edits.append(&change.edits);
        Ok(Some(freed))
    }

    /// Deletes KEY rows from `id` on backwards, at most `most`, and returns the next.
    fn delete_keys(
        &self,
        ino: u64,
        mut id: u64,
        most: usize,
        edits: &mut Edits,
        freed: &mut Freed,
    ) -> Result<u64> {
        for _ in 0..most {
            if id == 0 {
                break;
            }
            // A row that is missing ends the list: it was made for nothing that is left.
            let found = key_row(&self.engine, id, ino)?;
            edits.del(STORE_TREE, &StoreKey::DataKey(id).encode());
            freed.keys.push(id);
            id = found.map_or(0, |row| row.previous.get());
        }
        Ok(id)
    }

    /// Forgets what memory holds of a file that was freed.
    pub fn forget(&self, ino: u64, freed: &Freed) {
        self.streams.end(ino);
        freed.keys.iter().for_each(|id| self.keys.forget(*id));
    }
}

/// The units of the device that a row of a file-system tree owns: first and number. `None` for
/// rows that own none.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) for a DATA row that does not parse.
pub fn owned_units(key: &[u8], value: &[u8]) -> Result<Option<(u64, u32)>> {
    let Ok(FsKey::Data(ino, first)) = FsKey::parse(key) else { return Ok(None) };
    Ok(match DataRow::parse(ino, first, value)? {
        DataRow::Extent(extent, _) => Some((extent.unit, extent.units)),
        DataRow::Inline(..) | DataRow::Lost(_) => None,
    })
}
