//! Older rows: what leaves that are not in use any more say of keys whose own leaf is lost.
//!
//! Such a row may have been changed or deleted since, so none is taken for its own sake. It is
//! taken where what is in use asks for it: a name or contents for their inode, an inode for the
//! names that it counts, contents for their key, a unit in use for its owner. A key's row never
//! changes, and a unit in use has one owner and a checksum, so those are certain; inodes and names
//! are reported as older.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use zerocopy::FromBytes;

use super::{Bucket, Mender};
use crate::check::census::{Census, Seen, Wanted};
use crate::check::note::Mending;
use crate::crypto::UnitTag;
use crate::error::Result;
use crate::format::{
    DataRow, EntryRow, FIRST_FS_TREE, FsKey, InodeRow, STORE_TREE, StoreKey, UNIT_TAG_LEN,
    WrappedKeyRow,
};
use crate::fs::{FileType, ROOT_INO};
use crate::limits::{DATA_KEY_UNITS, MAX_FILE_SIZE, UNIT};

impl Mender<'_> {
    /// Takes the older rows that a census asks for.
    pub(super) fn take_older(&mut self, census: &Census<Bucket>) -> Result<()> {
        if self.salvage.has_older() {
            self.take_keys(census)?;
            self.take_properties()?;
            for (ino, wanted) in &census.wanted {
                self.take_inode(*ino, wanted, census)?;
            }
            self.take_names(census)?;
        }
        Ok(())
    }

    /// Takes KEY rows that contents and inodes name, and those before them.
    fn take_keys(&mut self, census: &Census<Bucket>) -> Result<()> {
        let mut wanted = Vec::new();
        for &(ino, unit) in &census.unkeyed {
            let value = self.get(FsKey::Data(ino, unit))?;
            match value.as_deref().map(|value| DataRow::parse(ino, unit, value)) {
                Some(Ok(DataRow::Extent(extent, _))) => wanted.push((ino, extent.key_id)),
                Some(Ok(DataRow::Inline(inline, _))) => wanted.push((ino, inline.key_id)),
                _ => {}
            }
        }
        wanted.extend(census.inodes().iter().map(|(ino, seen)| (*ino, seen.row.key_id.get())));
        let mut taken = BTreeSet::new();
        for (ino, mut id) in wanted {
            while id != 0 && !census.keys().contains_key(&id) && taken.insert(id) {
                let key = StoreKey::DataKey(id).encode();
                let Some(value) = self.salvage.older(STORE_TREE, &key) else { break };
                let value = value.to_vec();
                match WrappedKeyRow::parse(&value, id) {
                    Ok(row) if row.ino.get() == ino => {
                        self.put(STORE_TREE, &key, &value)?;
                        id = row.previous.get();
                    }
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Takes properties of the store: they are never deleted.
    fn take_properties(&mut self) -> Result<()> {
        let mut rows = Vec::new();
        for (key, value) in self.salvage.older_rows(STORE_TREE, &[3], &[4]) {
            rows.push((key.to_vec(), value.to_vec()));
        }
        for (key, value) in rows {
            if !self.has(STORE_TREE, &key)? {
                self.put(STORE_TREE, &key, &value)?;
                self.note(0, Mending::PropertyOlder);
            }
        }
        Ok(())
    }

    /// Takes the row of an inode that is missing.
    fn take_inode(&mut self, ino: u64, wanted: &Wanted, census: &Census<Bucket>) -> Result<()> {
        let Some(value) = self.salvage.older(FIRST_FS_TREE, &FsKey::Inode(ino).encode()) else {
            return Ok(());
        };
        let mut value = value.to_vec();
        if InodeRow::parse(&value, ino).is_err() {
            return Ok(());
        }
        let (number, lost) = (self.number()?, !self.lost_of(ino).is_empty());
        let Ok((row, _)) = InodeRow::mut_from_prefix(&mut value) else { return Ok(()) };
        let Some(kind) = FileType::of_mode(row.mode.get()) else { return Ok(()) };
        let holds = matches!(kind, FileType::Regular | FileType::Symlink);
        let fits = wanted.kind.is_none_or(|named| named == kind)
            && (!wanted.entries || kind == FileType::Directory)
            && (wanted.end == 0 || holds);
        if !fits {
            return Ok(());
        }
        // What was forbidden since stays forbidden: the owner decides anew.
        let (mode, uid, gid) = (row.mode.get(), row.uid.get(), row.gid.get());
        let older_size = row.size.get();
        row.mode = (kind.mode_bits()
            | if kind == FileType::Symlink { 0o777 } else { mode & 0o700 })
        .into();
        (row.uid, row.gid) = (0.into(), 0.into());
        let removed = (row.nlink.get() == 0 && wanted.above == 0) || self.was_removed(wanted);
        row.nlink = if removed { 0 } else { row.nlink.get().max(1) }.into();
        row.flags = 0.into();
        row.change = number.into();
        if holds {
            let units = row.size.get().div_ceil(UNIT as u64);
            // The least that nothing is cut off by: it may have changed since, within its last
            // unit too, unless it is that of a link. What is missing at the end may be lost.
            if wanted.inline > 0 {
                row.size = wanted.inline.into();
            } else if kind == FileType::Regular && (units <= wanted.end || !lost) {
                row.size = (wanted.end * UNIT as u64).min(MAX_FILE_SIZE).into();
            }
            row.units = wanted.units.into();
            let keys = census.keys().iter().filter(|(_, (owner, _))| *owner == ino);
            let key = keys.map(|(id, _)| *id).max().unwrap_or(0);
            row.key_id = key.into();
            // How much it sealed since is not known: it seals no more.
            row.sealed_units = if key == 0 { 0 } else { DATA_KEY_UNITS }.into();
        }
        let (size, mode) = ([older_size, row.size.get()], mode & 0o7777);
        self.put_fs(FsKey::Inode(ino), &value)?;
        self.remember(ino);
        match removed {
            true => self.note(ino, Mending::Freed),
            false => self.note(ino, Mending::AttributesOlder { kind, mode, uid, gid, size }),
        }
        Ok(())
    }

    /// Takes names of inodes that count more than there are.
    fn take_names(&mut self, census: &Census<Bucket>) -> Result<()> {
        let mut names = BTreeMap::<u64, Vec<(u64, u64, Vec<u8>)>>::new();
        for (key, value) in self.salvage.older_rows(FIRST_FS_TREE, &[2], &[3]) {
            if let (Ok(FsKey::Entry(dir, cookie)), Ok(entry)) =
                (FsKey::parse(key), EntryRow::parse(value))
            {
                names.entry(entry.ino).or_default().push((dir, cookie, value.to_vec()));
            }
        }
        for (ino, names) in names {
            let Some(seen) = census.inodes().get(&ino) else { continue };
            let mut missing = missing_names(ino, seen);
            for (dir, cookie, value) in names {
                let Ok(entry) = EntryRow::parse(&value) else { continue };
                let above = census.inodes().get(&dir).is_some_and(Seen::is_dir);
                let kind = seen.kind == FileType::from_code(entry.kind);
                // Where it was moved away from it does not come back to: who may look in there may
                // not be who may look in where it was.
                let left = has_one_name(ino, seen)
                    && dir != seen.row.parent.get()
                    && !self.made.contains(&ino);
                if missing == 0 || !above || !kind || dir == ino || left {
                    continue;
                }
                self.flush()?;
                let free = self.get(FsKey::Entry(dir, cookie))?.is_none();
                if free && self.find_name(dir, entry.name)?.is_err() {
                    self.put_fs(FsKey::Entry(dir, cookie), &value)?;
                    self.note(ino, Mending::NameOlder);
                    missing -= 1;
                }
            }
        }
        Ok(())
    }

    /// Takes extents for a gap of a file, of which each unit is in use, of nobody else, and has its
    /// checksum. Returns what is still missing.
    pub(super) fn take_extents(&mut self, ino: u64, gap: Range<u64>) -> Result<Vec<Range<u64>>> {
        let (from, to) = (FsKey::Data(ino, 0).encode(), FsKey::Data(ino, gap.end).encode());
        let mut rows = Vec::new();
        for (key, value) in self.salvage.older_rows(FIRST_FS_TREE, &from, &to) {
            if let Ok(FsKey::Data(_, first)) = FsKey::parse(key) {
                rows.push((first, value.to_vec()));
            }
        }
        let mut found = BTreeSet::new();
        for (first, value) in rows {
            let Ok(DataRow::Extent(extent, tags)) = DataRow::parse(ino, first, &value) else {
                continue;
            };
            let Ok(crcs) = <[UnitTag]>::ref_from_bytes(tags) else { continue };
            let mut good = Vec::new();
            for (at, tag) in (0u64..).zip(crcs) {
                let (place, crc) = (first + at, tag.crc.get());
                if gap.contains(&place)
                    && !found.contains(&place)
                    && self.salvage.claim(extent.unit + at, crc)?
                {
                    found.insert(place);
                    good.push(at);
                }
            }
            for run in good.chunk_by(|a, b| a + 1 == *b) {
                let (from, to) = (run[0] as u32, run[run.len() - 1] as u32 + 1);
                let mut row = Vec::new();
                let tags = &tags[from as usize * UNIT_TAG_LEN..to as usize * UNIT_TAG_LEN];
                extent.part(from, to).encode(tags, &mut row);
                self.put_fs(FsKey::Data(ino, first + u64::from(from)), &row)?;
            }
        }
        Ok(holes(&found, gap))
    }
}

/// The ranges of a gap that were not found.
fn holes(found: &BTreeSet<u64>, gap: Range<u64>) -> Vec<Range<u64>> {
    let (mut holes, mut at) = (Vec::new(), gap.start);
    for unit in found.iter().copied().chain([gap.end]) {
        if at < unit {
            holes.push(at..unit);
        }
        at = unit + 1;
    }
    holes
}

/// How many names of an inode are missing.
fn missing_names(ino: u64, seen: &Seen) -> u32 {
    match seen.is_dir() {
        _ if ino == ROOT_INO || seen.row.nlink.get() == 0 => 0,
        true => u32::from(seen.names == 0),
        false => seen.row.nlink.get().saturating_sub(seen.names),
    }
}

/// Whether an inode says where its only name stands.
fn has_one_name(ino: u64, seen: &Seen) -> bool {
    ino != ROOT_INO && (seen.is_dir() || seen.row.nlink.get() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_found_is_left() {
        let holes = |found: &[u64], gap| holes(&found.iter().copied().collect(), gap);
        assert_eq!(holes(&[], 3..9).as_slice(), std::slice::from_ref(&(3..9)));
        assert_eq!(holes(&[3, 4], 3..5), []);
        assert_eq!(holes(&[4, 5], 3..9), [3..4, 6..9]);
    }
}
