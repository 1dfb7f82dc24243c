//! Freeing the contents of a file that nobody can reach any more.

use super::keys::key_row;
use super::{Contents, Finish};
use crate::error::Result;
use crate::format::{DataRow, FsKey, InodeRow, MAX_FILE_UNITS, STORE_TREE, StoreKey};
use crate::limits::MAX_EDITS;
use crate::txn::Class;

/// Most KEY rows that one transaction deletes beside rows of contents: files have one for each
/// TiB written.
const FEW_KEYS: usize = 2;
/// Most KEY rows that one transaction deletes by itself.
const MANY_KEYS: usize = MAX_EDITS / 2;

impl Contents {
    /// One step of freeing all contents of a file and all its keys. Returns whether nothing is
    /// left: the caller then deletes the inode and its ORPHAN row. Needs no key, and space only
    /// from the reserve for freeing. The caller holds the inode's lock, exclusive.
    ///
    /// # Errors
    /// Those of reading rows, and of the device.
    pub fn free_step(&self, ino: u64, row: &mut InodeRow, finish: &mut Finish<'_>) -> Result<bool> {
        self.streams.end(ino);
        let mut change = self.change(ino, row);
        change.row.size = 0.into();
        let rows_done = self.delete_rows(&mut change, 0..MAX_FILE_UNITS)? == MAX_FILE_UNITS;
        let mut id = row.key_id.get();
        if rows_done {
            let most = if change.edits.is_empty() { MANY_KEYS } else { FEW_KEYS };
            for _ in 0..most {
                if id == 0 {
                    break;
                }
                // A row that is missing ends the list: it was made for nothing that is left.
                let found = key_row(&self.engine, id, ino)?;
                change.edits.del(STORE_TREE, &StoreKey::DataKey(id).encode());
                id = found.map_or(0, |row| row.previous.get());
            }
            change.row.key_id = id.into();
        }
        if !change.edits.is_empty() {
            change.commit(row, Class::Freeing, finish)?;
        }
        Ok(rows_done && id == 0)
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
        DataRow::Inline(..) => None,
    })
}
