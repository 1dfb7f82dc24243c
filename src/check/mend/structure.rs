//! Which rows there are: those that make no sense go, and inodes of which something is left that
//! makes sense are made anew.

use std::collections::BTreeSet;

use super::{Bucket, Mender};
use crate::check::census::{Census, Seen, Wanted, waits};
use crate::check::finding::Finding;
use crate::check::note::Mending;
use crate::error::{Error, Object, Result};
use crate::format::{
    DataRow, EntryRow, FIRST_FS_TREE, FsKey, InodeRow, Lost, MAX_FILE_UNITS, STORE_TREE, StoreKey,
    TreeId, XattrRow,
};
use crate::fs::{AclKind, FileType, ROOT_INO};
use crate::limits::{DATA_KEY_UNITS, MAX_FILE_SIZE, UNIT};
use crate::txn::KeyRange;

impl Mender<'_> {
    pub(super) fn mend_structure(&mut self, mut census: Census<Bucket>) -> Result<()> {
        let findings = census.settle();
        let before = self.changes;
        self.fresh.clear();
        self.names_lost = self.may_lack_names(&census);
        for (tree, key) in std::mem::take(&mut census.bad_rows) {
            let parsed = FsKey::parse(&key).ok().filter(|_| tree == FIRST_FS_TREE);
            let ino = match parsed {
                Some(
                    FsKey::Inode(ino)
                    | FsKey::Entry(ino, _)
                    | FsKey::Xattr(ino, ..)
                    | FsKey::Data(ino, _)
                    | FsKey::Orphan(ino),
                ) => ino,
                None => 0,
            };
            let object = Object::Row { class: key.first().copied().unwrap_or(0) };
            self.note(ino, Mending::RowDropped(Error::corrupt(object, "it makes no sense")));
            match parsed {
                // What cannot be understood may be contents: reading them must fail.
                Some(FsKey::Data(ino, unit)) if unit < MAX_FILE_UNITS => {
                    self.put_lost(ino, unit, 1)?;
                }
                _ => self.del(tree, &key)?,
            }
        }
        if self.changes > before {
            return Ok(());
        }
        self.take_older(&census)?;
        if self.changes > before {
            return Ok(());
        }
        for (ino, wanted) in &census.wanted {
            self.make_inode(*ino, wanted, &census)?;
        }
        for finding in &findings {
            self.mend_finding(finding, &census)?;
        }
        let twice = files_with_overlaps(&findings);
        for ino in &twice {
            self.part_contents(*ino)?;
        }
        for (ino, unit) in std::mem::take(&mut census.unkeyed) {
            // Rows that were parted are looked at in the next round.
            if twice.contains(&ino) {
                continue;
            }
            if census.inodes().contains_key(&ino) || self.fresh.contains(&ino) {
                self.drop_contents(ino, unit)?;
            }
        }
        if self.changes == before {
            self.mend_names(&census)?;
        }
        Ok(())
    }

    /// Makes an inode that something is left of.
    fn make_inode(&mut self, ino: u64, wanted: &Wanted, census: &Census<Bucket>) -> Result<()> {
        let contents = wanted.end > 0;
        let kind = match (wanted.kind, wanted.entries, contents) {
            (_, true, false) => FileType::Directory,
            // The length of a longer target is not known.
            (Some(FileType::Symlink), false, true) if wanted.inline > 0 => FileType::Symlink,
            (_, false, true) => FileType::Regular,
            (Some(FileType::Directory), true, true) => FileType::Directory,
            (_, true, true) => FileType::Regular,
            _ => return Ok(()),
        };
        let mode = match kind {
            FileType::Directory => 0o700,
            FileType::Symlink => 0o777,
            _ => 0o600,
        };
        let parent = if wanted.above == 0 { ROOT_INO } else { wanted.above };
        let parent = if ino == ROOT_INO { ROOT_INO } else { parent };
        let mut row = self.new_row(kind.mode_bits() | mode, parent)?;
        if self.was_removed(wanted) {
            row.nlink = 0.into();
        }
        if kind != FileType::Directory {
            // The least that nothing is cut off by.
            let whole = (wanted.end * UNIT as u64).min(MAX_FILE_SIZE);
            row.size = if wanted.inline > 0 { wanted.inline } else { whole }.into();
            row.units = wanted.units.into();
            let keys = census.keys().iter().filter(|(_, (owner, _))| *owner == ino);
            if let Some(key) = keys.map(|(id, _)| *id).max() {
                row.key_id = key.into();
                // How much it sealed is not known: it seals no more.
                row.sealed_units = DATA_KEY_UNITS.into();
            }
        }
        self.put_row(ino, &row)?;
        self.remember(ino);
        match row.nlink.get() {
            0 => self.note(ino, Mending::Freed),
            _ => self.note(ino, Mending::AttributesLost { kind, size: row.size.get() }),
        }
        Ok(())
    }

    /// Whether an inode that is missing was being freed: it waited for that, and no name of it can
    /// be lost.
    pub(super) fn was_removed(&self, wanted: &Wanted) -> bool {
        wanted.orphan && wanted.above == 0 && !wanted.entries && !self.names_lost
    }

    /// Whether names may be lost: some of their keys are, and directories do not count as many as
    /// there are.
    fn may_lack_names(&self, census: &Census<Bucket>) -> bool {
        let (first, end) = ([2], [3]);
        let names = |(tree, range): &(TreeId, KeyRange)| {
            *tree == FIRST_FS_TREE
                && range.low[..] < end[..]
                && range.high.as_ref().is_none_or(|high| high[..] > first[..])
        };
        let whole = |(ino, seen): (&u64, &Seen)| {
            !seen.is_dir() || (seen.entries == seen.row.entries.get() && !self.made.contains(ino))
        };
        let known = census.inodes().contains_key(&ROOT_INO)
            && census.inodes().iter().all(whole)
            && !census.wanted.values().any(|wanted| wanted.entries);
        self.salvage.wreck().losses.ranges.iter().any(names) && !known
    }

    fn mend_finding(&mut self, finding: &Finding, census: &Census<Bucket>) -> Result<()> {
        let known = |ino: u64| census.inodes().contains_key(&ino);
        match *finding {
            Finding::NoRoot if !self.fresh.contains(&ROOT_INO) => {
                let mode = FileType::Directory.mode_bits() | 0o700;
                let row = self.new_row(mode, ROOT_INO)?;
                self.put_row(ROOT_INO, &row)?;
                self.note(ROOT_INO, Mending::RootMade);
            }
            Finding::EntryToNothing { dir, cookie, ino } if !self.fresh.contains(&ino) => {
                self.drop_name(dir, cookie, true)?;
            }
            Finding::EntryInNothing { dir, cookie } if !self.fresh.contains(&dir) => {
                self.drop_name(dir, cookie, true)?;
            }
            Finding::EntryType { dir, cookie, ino } => {
                let kind = census.inodes().get(&ino).and_then(|seen| seen.kind);
                self.set_type(dir, cookie, kind)?;
            }
            Finding::EntryMisplaced { dir, cookie }
            | Finding::EntryTwice { dir, cookie }
            | Finding::DirectoryTwice { dir, cookie, .. } => self.drop_name(dir, cookie, false)?,
            Finding::Orphan { ino } if !self.fresh.contains(&ino) => {
                self.del_fs(FsKey::Orphan(ino))?
            }
            Finding::XattrPiece { ino, cookie } if !self.fresh.contains(&ino) => {
                self.drop_xattr(ino, cookie)?;
            }
            Finding::AclBroken { ino, cookie } => self.drop_acl(ino, cookie)?,
            Finding::ContentsOfNothing { ino, unit } if !self.fresh.contains(&ino) => {
                self.del_fs(FsKey::Data(ino, unit))?;
                self.note(ino, Mending::ContentsDropped { units: 1 });
            }
            Finding::KeyOfNothing { key, ino } if !known(ino) && !self.fresh.contains(&ino) => {
                self.del(STORE_TREE, &StoreKey::DataKey(key).encode())?;
                self.note(ino, Mending::KeysDropped { count: 1 });
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a name out of a directory: because what it leads to is gone, or because of where it
    /// stands.
    fn drop_name(&mut self, dir: u64, cookie: u64, gone: bool) -> Result<()> {
        let value = self.get(FsKey::Entry(dir, cookie))?;
        let name = value.as_deref().and_then(|value| EntryRow::parse(value).ok());
        if let Some(entry) = name {
            let (name, ino) = (entry.name.to_vec(), entry.ino);
            match gone {
                true => self.note(dir, Mending::NameDropped { dir, name, target: ino }),
                false => self.note(ino, Mending::NameMoved { dir, name }),
            }
        }
        self.del_fs(FsKey::Entry(dir, cookie))
    }

    fn set_type(&mut self, dir: u64, cookie: u64, kind: Option<FileType>) -> Result<()> {
        let value = self.get(FsKey::Entry(dir, cookie))?;
        let entry = value.as_deref().and_then(|value| EntryRow::parse(value).ok());
        if let (Some(entry), Some(kind)) = (entry, kind) {
            let row = EntryRow { kind: kind as u8, ..entry }.encode();
            self.put_fs(FsKey::Entry(dir, cookie), &row)?;
            self.note(entry.ino, Mending::Recounted);
        }
        Ok(())
    }

    fn drop_xattr(&mut self, ino: u64, cookie: u64) -> Result<()> {
        let rows = self.scan(FsKey::Xattr(ino, cookie, 0), FsKey::Xattr(ino, cookie, 255))?;
        for (key, _) in rows {
            self.del_fs(key)?;
        }
        self.del_fs(FsKey::Xattr(ino, cookie, 255))?;
        self.note(ino, Mending::XattrDropped);
        Ok(())
    }

    /// Takes away a list that makes no sense. The inode goes on saying that it has one: what that
    /// means for its mode is up to who counts.
    fn drop_acl(&mut self, ino: u64, cookie: u64) -> Result<()> {
        let value = self.get(FsKey::Xattr(ino, cookie, 0))?;
        let row = value.as_deref().and_then(|value| XattrRow::parse(value).ok());
        if row.is_some_and(|row| AclKind::of_xattr_name(row.name) == Some(AclKind::Access)) {
            self.change_inode(ino, |row| row.flags = (row.flags.get() | InodeRow::ACL).into())?;
        }
        self.drop_xattr(ino, cookie)
    }

    /// Puts a stretch whose contents are gone in the place of a row.
    fn drop_contents(&mut self, ino: u64, unit: u64) -> Result<()> {
        let Some(value) = self.get(FsKey::Data(ino, unit))? else { return Ok(()) };
        let units = DataRow::parse(ino, unit, &value).map_or(1, |row| row.units());
        self.put_lost(ino, unit, units)
    }

    pub(super) fn put_lost(&mut self, ino: u64, unit: u64, units: u64) -> Result<()> {
        let mut value = Vec::new();
        Lost { units }.encode(&mut value);
        self.put_fs(FsKey::Data(ino, unit), &value)?;
        // Should that row be lost too, nothing else would tell it from a hole.
        let marker = StoreKey::lost(ino);
        if !self.marked.contains(&ino) && !self.has(STORE_TREE, &marker)? {
            self.marked.insert(ino);
            self.put(STORE_TREE, &marker, &[])?;
        }
        let (from, to) = (unit * UNIT as u64, (unit + units) * UNIT as u64);
        self.note(ino, Mending::ContentsLost { from, to });
        Ok(())
    }

    /// Gives inodes without a name one in `/lost+found`, and those to be freed their ORPHAN row.
    fn mend_names(&mut self, census: &Census<Bucket>) -> Result<()> {
        let before = self.changes;
        for (&ino, seen) in census.inodes().iter() {
            let row = &seen.row;
            let named = row.nlink.get() > 0;
            if ino == ROOT_INO {
                continue;
            }
            // With names it is not to be freed: its link count is wrong.
            if waits(row) && !seen.orphan && (named || seen.names == 0) {
                self.put_fs(FsKey::Orphan(ino), &[])?;
                self.note(ino, Mending::Freed);
            } else if named && seen.names == 0 {
                self.link_lost(ino, seen)?;
            }
        }
        if self.changes == before {
            self.break_circle(census)?;
        }
        Ok(())
    }
}

/// Files that have rows that stand for the same units.
fn files_with_overlaps(findings: &[Finding]) -> BTreeSet<u64> {
    let twice = findings.iter().filter_map(|finding| match finding {
        Finding::ContentsTwice { ino, .. } => Some(*ino),
        _ => None,
    });
    twice.collect()
}
