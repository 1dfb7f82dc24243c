//! Numbers: what inodes say of what stands elsewhere is set to what was found.

use std::collections::BTreeMap;

use super::{Bucket, Mender, holds_contents};
use crate::check::census::{Brief, Census, Seen, Table};
use crate::check::note::Mending;
use crate::error::Result;
use crate::format::{InodeRow, STORE_TREE, StoreKey, WrappedKeyRow};
use crate::fs::ROOT_INO;
use crate::limits::{DATA_KEY_UNITS, MAX_FILE_SIZE, UNIT};
use zerocopy::IntoBytes;

impl Mender<'_> {
    pub(super) fn mend_numbers(&mut self, census: &mut Census<Bucket>) -> Result<()> {
        census.settle();
        let mut keys = BTreeMap::<u64, Vec<u64>>::new();
        for (&id, &(owner, _)) in census.keys().iter() {
            keys.entry(owner).or_default().push(id);
        }
        for (&ino, seen) in census.inodes().iter() {
            let mut row = seen.row;
            self.recount(ino, seen, &mut row);
            let mut owned = keys.remove(&ino).unwrap_or_default();
            owned.sort_unstable();
            if !is_chain(row.key_id.get(), &owned, census.keys()) {
                self.chain(&owned, census.keys())?;
                let last = owned.last().copied().unwrap_or(0);
                row.key_id = last.into();
                // How much it sealed is not known: it seals no more.
                row.sealed_units = if last == 0 { 0 } else { DATA_KEY_UNITS }.into();
            }
            if row != seen.row {
                let number = self.number()?;
                self.change_inode(ino, |stored| {
                    row.store(stored);
                    stored.change = number.into();
                })?;
                if !self.made.contains(&ino) {
                    self.note(ino, Mending::Recounted);
                }
            }
        }
        Ok(())
    }

    /// Sets what an inode says to what was found.
    fn recount(&mut self, ino: u64, seen: &Seen, row: &mut Brief) {
        let links = seen.links(ino);
        // Names that are gone are noted where they were: here only their number differs.
        row.nlink = links.into();
        if seen.is_dir() {
            let (had, found) = (row.entries.get(), seen.entries);
            if had > found && !self.made.contains(&ino) {
                self.note(ino, Mending::NamesLost { count: had - found });
            }
            row.entries = found.into();
            row.size = seen.name_bytes.into();
            if links > 0 {
                row.parent = if ino == ROOT_INO { ROOT_INO } else { seen.above }.into();
            }
        }
        let (had, found) = (row.xattrs.get(), seen.xattrs);
        if links > 0 && had != found {
            if had > found {
                self.note(ino, Mending::XattrsLost { count: had - found });
            }
            row.xattrs = found.into();
        }
        let flagged = row.flags.get() & InodeRow::ACL != 0;
        if links > 0 && flagged != seen.acl {
            if flagged {
                // The bits of the group were the mask, and somebody may have had less than others.
                row.mode = (row.mode.get() & !0o077).into();
                self.note(ino, Mending::AclLost);
            }
            row.flags = (row.flags.get() ^ InodeRow::ACL).into();
        }
        row.units = seen.units.into();
        let trimming = row.flags.get() & InodeRow::TRIMMING != 0;
        let size = row.size.get();
        if holds_contents(seen) && links > 0 && !trimming && seen.end > size.div_ceil(UNIT as u64) {
            let whole = (seen.end * UNIT as u64).min(MAX_FILE_SIZE);
            let to = if seen.end == 1 && seen.inline > 0 { seen.inline } else { whole };
            row.size = to.into();
            self.note(ino, Mending::SizeRaised { from: size, to });
        }
    }

    /// Makes each KEY row of a file name the one before it.
    fn chain(&mut self, owned: &[u64], keys: &Table<(u64, u64)>) -> Result<()> {
        let mut previous = 0;
        for &id in owned {
            if keys.get(&id).is_some_and(|(_, stored)| *stored != previous) {
                let key = StoreKey::DataKey(id).encode();
                let engine = self.salvage.engine();
                let row = engine.get(STORE_TREE, &key, |value| WrappedKeyRow::parse(value, id))?;
                if let Some(Ok(mut row)) = row {
                    row.previous = previous.into();
                    self.put(STORE_TREE, &key, row.as_bytes())?;
                }
            }
            previous = id;
        }
        Ok(())
    }
}

/// Whether the keys that a file owns are found from its newest one, and no others.
fn is_chain(newest: u64, owned: &[u64], keys: &Table<(u64, u64)>) -> bool {
    let (mut id, mut left) = (newest, owned.len());
    while id != 0 && left > 0 {
        if owned.binary_search(&id).is_err() {
            return false;
        }
        id = keys.get(&id).map_or(0, |(_, previous)| *previous);
        left -= 1;
    }
    id == 0 && left == 0
}
