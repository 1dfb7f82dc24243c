//! The census: one pass over all rows, in the order of their keys, and what follows from it.
//!
//! Rows of the STORE tree come first, then inodes, and only then what belongs to inodes. So each
//! row is compared with the inodes as it comes, and only inodes and keys are remembered.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use zerocopy::little_endian::{U32, U64};

use super::finding::{CheckReport, Finding};
use crate::error::{Error, Result};
use crate::format::{
    COOKIE_COUNTER_BITS, DataRow, EntryRow, FIRST_FS_TREE, FsKey, InodeRow, STORE_TREE, StoreKey,
    TreeId, WrappedKeyRow, XattrRow,
};
use crate::fs::{Acl, AclKind, FileType, ROOT_INO, may_have};
use crate::limits::UNIT;
use crate::secret::Wiped;
use crate::txn::{MAX_DAMAGED, StructureReport};
pub(super) use table::{Marks, Table};

/// What an inode says of itself, as far as it is compared. There is one for each inode in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Brief {
    pub mode: U32,
    pub nlink: U32,
    pub flags: U32,
    pub xattrs: U32,
    pub size: U64,
    pub parent: U64,
    pub entries: U64,
    pub units: U64,
    pub key_id: U64,
    pub sealed_units: U64,
}

/// What an inode says, and what was found of it.
pub(super) struct Seen {
    pub kind: Option<FileType>,
    pub row: Brief,
    pub names: u32,
    pub subdirs: u32,
    /// The directory of the last name, and the name's cookie there.
    pub above: u64,
    pub cookie: u64,
    pub entries: u64,
    pub name_bytes: u64,
    pub xattrs: u32,
    /// Whether there is an access list that makes sense.
    pub acl: bool,
    pub units: u64,
    /// Units of the file that contents were found for reach to here.
    pub end: u64,
    /// Whether there is a row for its first unit.
    pub has_first: bool,
    /// Bytes of inline contents.
    pub inline: u64,
    pub orphan: bool,
}

/// What rows say of an inode that has no row itself.
#[derive(Default)]
pub(super) struct Wanted {
    /// The type that a name of it says.
    pub kind: Option<FileType>,
    /// The directory of a name.
    pub above: u64,
    /// Whether it has entries, and so is a directory.
    pub entries: bool,
    /// Units of the device that its contents take.
    pub units: u64,
    /// Units of the file that its contents reach to, and bytes of inline contents.
    pub end: u64,
    pub inline: u64,
    /// Whether it waited to be freed, or trimmed.
    pub orphan: bool,
}

/// The attribute whose pieces come next.
#[derive(Default)]
struct Pieces {
    ino: u64,
    cookie: u64,
    next: u8,
    count: u8,
    /// Where it is an access control list: which, and its bytes.
    list: Option<(AclKind, Vec<u8>)>,
}

pub(super) struct Census<B> {
    /// The first cookie of a name's bucket.
    bucket: B,
    /// Numbers of the inodes that count: what is said of others is left to another census.
    part: Range<u64>,
    inodes: Table<Seen>,
    /// The owner of each data key, and the key before it.
    keys: Table<(u64, u64)>,
    /// The directory of each directory, where other parts have some of them.
    parents: Option<Parents>,
    /// Names of the bucket that entries come from: directory, bucket, names.
    names: (u64, u64, Vec<Wiped>),
    pieces: Pieces,
    entries: u64,
    orphans: u64,
    findings: Vec<Finding>,
    /// Stretches of lost contents, the first of them.
    lost: Vec<Finding>,
    /// Rows that do not parse.
    pub bad_rows: Vec<(TreeId, Vec<u8>)>,
    /// Inodes that are missing.
    pub wanted: BTreeMap<u64, Wanted>,
    /// Contents without their data key: inode and unit.
    pub unkeyed: Vec<(u64, u64)>,
    /// Files that have, or had, stretches of contents that a repair found lost.
    pub lossy: BTreeSet<u64>,
}

impl<B: Fn(&[u8]) -> u64> Census<B> {
    pub fn new(bucket: B) -> Census<B> {
        Census {
            bucket,
            part: 0..u64::MAX,
            inodes: Table::default(),
            keys: Table::default(),
            parents: None,
            names: Default::default(),
            pieces: Pieces::default(),
            entries: 0,
            orphans: 0,
            findings: Vec::new(),
            lost: Vec::new(),
            bad_rows: Vec::new(),
            wanted: BTreeMap::new(),
            unkeyed: Vec::new(),
            lossy: BTreeSet::new(),
        }
    }

    /// A census of some inodes alone. With those of all others it finds what a census of all does.
    pub fn of_part(bucket: B, part: Range<u64>, parents: Parents) -> Census<B> {
        Census { part, parents: Some(parents), ..Census::new(bucket) }
    }

    /// Bytes of memory that the tables take, at most.
    pub fn bytes(&self) -> usize {
        self.inodes.bytes() + self.keys.bytes()
    }

    /// Takes in one row, and says which units it owns.
    pub fn row(&mut self, tree: TreeId, key: &[u8], value: &[u8], own: &mut dyn FnMut(u64, u32)) {
        let taken = match tree {
            STORE_TREE => self.store_row(key, value),
            _ => self.fs_row(key, value, own),
        };
        if let Err(error) = taken
            && self.is_mine(tree, key)
        {
            self.findings.push(Finding::Row(error));
            self.bad_rows.push((tree, key.to_vec()));
        }
    }

    /// Whether this part tells of a row that does not parse, and no other.
    fn is_mine(&self, tree: TreeId, key: &[u8]) -> bool {
        match FsKey::parse(key) {
            Ok(FsKey::Entry(dir, _)) if tree != STORE_TREE => self.part.contains(&dir),
            Ok(_) if tree != STORE_TREE => true,
            _ => self.part.start == 0,
        }
    }

    fn store_row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let key = StoreKey::parse(key)?;
        if let StoreKey::DataKey(id) = key {
            let row = WrappedKeyRow::parse(value, id)?;
            if self.part.contains(&row.ino.get()) {
                self.keys.insert(id, (row.ino.get(), row.previous.get()));
            }
        }
        self.lossy.extend(key.file_of_lost().filter(|ino| self.part.contains(ino)));
        Ok(())
    }

    fn fs_row(&mut self, key: &[u8], value: &[u8], own: &mut dyn FnMut(u64, u32)) -> Result<()> {
        let key = FsKey::parse(key)?;
        match key {
            FsKey::Entry(..) => {}
            FsKey::Inode(ino)
            | FsKey::Xattr(ino, ..)
            | FsKey::Data(ino, _)
            | FsKey::Orphan(ino) => {
                if !self.part.contains(&ino) {
                    return Ok(());
                }
            }
        }
        match key {
            FsKey::Inode(ino) => self.inode(ino, InodeRow::parse(value, ino)?),
            FsKey::Entry(dir, cookie) => self.entry(dir, cookie, &EntryRow::parse(value)?),
            FsKey::Xattr(ino, cookie, chunk) => self.xattr(ino, cookie, chunk, value)?,
            FsKey::Data(ino, unit) => self.data(ino, unit, DataRow::parse(ino, unit, value)?, own),
            FsKey::Orphan(ino) => self.orphan(ino),
        }
        Ok(())
    }

    fn inode(&mut self, ino: u64, row: InodeRow) {
        let kind = FileType::of_mode(row.mode.get());
        if kind.is_none() {
            let object = crate::error::Object::Inode { ino };
            self.findings.push(Finding::Row(Error::corrupt(object, "inode type")));
            let key = FsKey::Inode(ino).encode();
            self.bad_rows.push((FIRST_FS_TREE, key.to_vec()));
        }
        let seen = Seen {
            kind,
            row: Brief::from(&row),
            names: 0,
            subdirs: 0,
            above: 0,
            cookie: 0,
            entries: 0,
            name_bytes: 0,
            xattrs: 0,
            acl: false,
            units: 0,
            end: 0,
            has_first: false,
            inline: 0,
            orphan: false,
        };
        self.inodes.insert(ino, seen);
    }

    fn entry(&mut self, dir: u64, cookie: u64, entry: &EntryRow<'_>) {
        if self.part.contains(&dir) {
            self.entry_in(dir, cookie, entry);
        }
        if self.part.contains(&entry.ino) {
            self.entry_to(dir, cookie, entry);
        }
    }

    /// What an entry says of the inode that it leads to.
    fn entry_to(&mut self, dir: u64, cookie: u64, entry: &EntryRow<'_>) {
        let ino = entry.ino;
        match self.inodes.get_mut(&ino) {
            None => {
                self.findings.push(Finding::EntryToNothing { dir, cookie, ino });
                let wanted = self.wanted.entry(ino).or_default();
                wanted.kind = FileType::from_code(entry.kind);
                wanted.above = dir;
            }
            Some(seen) => {
                if seen.names > 0 && seen.kind == Some(FileType::Directory) {
                    self.findings.push(Finding::DirectoryTwice { dir, cookie, ino });
                }
                seen.names += 1;
                (seen.above, seen.cookie) = (dir, cookie);
                if seen.kind != FileType::from_code(entry.kind) {
                    self.findings.push(Finding::EntryType { dir, cookie, ino });
                }
            }
        }
    }

    /// What an entry says of its directory.
    fn entry_in(&mut self, dir: u64, cookie: u64, entry: &EntryRow<'_>) {
        self.entries += 1;
        let bucket = bucket_of(cookie);
        if bucket != (self.bucket)(entry.name) {
            self.findings.push(Finding::EntryMisplaced { dir, cookie });
        }
        if (self.names.0, self.names.1) != (dir, bucket) {
            self.names = (dir, bucket, Vec::new());
        }
        match self.names.2.iter().any(|name| name[..] == *entry.name) {
            true => self.findings.push(Finding::EntryTwice { dir, cookie }),
            false => self.names.2.push(entry.name.to_vec().into()),
        }
        match self.inodes.get_mut(&dir).filter(|seen| seen.kind == Some(FileType::Directory)) {
            None => {
                self.findings.push(Finding::EntryInNothing { dir, cookie });
                if !self.inodes.contains_key(&dir) {
                    self.wanted.entry(dir).or_default().entries = true;
                }
            }
            Some(seen) => {
                seen.entries += 1;
                seen.name_bytes += entry.name.len() as u64;
                seen.subdirs += u32::from(entry.kind == FileType::Directory as u8);
            }
        }
    }

    fn xattr(&mut self, ino: u64, cookie: u64, chunk: u8, value: &[u8]) -> Result<()> {
        if chunk > 0 {
            let pieces = &mut self.pieces;
            match (pieces.ino, pieces.cookie, pieces.next) == (ino, cookie, chunk) {
                true => {
                    pieces.next += 1;
                    if let Some((_, list)) = &mut pieces.list {
                        list.extend_from_slice(value);
                    }
                }
                false => self.findings.push(Finding::XattrPiece { ino, cookie }),
            }
            return Ok(());
        }
        self.end_of_pieces();
        let row = XattrRow::parse(value)?;
        let list = AclKind::of_xattr_name(row.name).map(|kind| (kind, row.value.to_vec()));
        self.pieces = Pieces { ino, cookie, next: 1, count: row.chunks(), list };
        let misplaced = bucket_of(cookie) != (self.bucket)(row.name);
        match self.inodes.get_mut(&ino) {
            Some(seen) if !misplaced => seen.xattrs += 1,
            _ => self.findings.push(Finding::XattrPiece { ino, cookie }),
        }
        Ok(())
    }

    /// Fails the last attribute if pieces of it are missing, or it is a list that makes no sense.
    fn end_of_pieces(&mut self) {
        let Pieces { ino, cookie, next, count, list } = std::mem::take(&mut self.pieces);
        if next != count {
            return self.findings.push(Finding::XattrPiece { ino, cookie });
        }
        let Some((kind, value)) = list else { return };
        let Some(seen) = self.inodes.get_mut(&ino) else { return };
        let list = Acl::of_stored(&value, kind, ino, seen.row.mode.get());
        match list.is_ok() && may_have(kind, seen.kind) {
            true => seen.acl |= kind == AclKind::Access,
            false => self.findings.push(Finding::AclBroken { ino, cookie }),
        }
    }

    fn data(&mut self, ino: u64, unit: u64, data: DataRow<'_>, own: &mut dyn FnMut(u64, u32)) {
        let (key, units) = match &data {
            DataRow::Extent(extent, _) => {
                own(extent.unit, extent.units);
                (extent.key_id, extent.units)
            }
            DataRow::Inline(inline, _) => (inline.key_id, 0),
            DataRow::Lost(lost) => {
                self.lossy.insert(ino);
                if self.lost.len() < MAX_DAMAGED {
                    self.lost.push(Finding::ContentsLost { ino, unit, units: lost.units });
                }
                (0, 0)
            }
        };
        if key != 0 && self.keys.get(&key).is_none_or(|(owner, _)| *owner != ino) {
            self.findings.push(Finding::KeyMissing { ino, key });
            self.unkeyed.push((ino, unit));
        }
        let inline = match &data {
            DataRow::Inline(inline, _) => inline.len as u64,
            _ => 0,
        };
        let holds =
            |seen: &&mut Seen| matches!(seen.kind, Some(FileType::Regular | FileType::Symlink));
        let Some(seen) = self.inodes.get_mut(&ino).filter(holds) else {
            self.findings.push(Finding::ContentsOfNothing { ino, unit });
            if !self.inodes.contains_key(&ino) {
                let wanted = self.wanted.entry(ino).or_default();
                wanted.units += u64::from(units);
                wanted.end = wanted.end.max(unit + data.units());
                wanted.inline = wanted.inline.max(inline);
            }
            return;
        };
        let end = unit + data.units();
        let trimming = seen.row.flags.get() & InodeRow::TRIMMING != 0;
        if end > seen.row.size.get().div_ceil(UNIT as u64) && !trimming && seen.row.nlink.get() > 0
        {
            self.findings.push(Finding::ContentsBeyondEnd { ino, unit });
        }
        if unit < seen.end {
            self.findings.push(Finding::ContentsTwice { ino, unit });
        }
        seen.end = seen.end.max(end);
        seen.has_first |= unit == 0;
        seen.inline = seen.inline.max(inline);
        seen.units += u64::from(units);
    }

    fn orphan(&mut self, ino: u64) {
        match self.inodes.get_mut(&ino) {
            Some(seen) if waits(&seen.row) => {
                seen.orphan = true;
                self.orphans += u64::from(seen.row.nlink.get() == 0);
            }
            seen => {
                if seen.is_none()
                    && let Some(wanted) = self.wanted.get_mut(&ino)
                {
                    wanted.orphan = true;
                }
                self.findings.push(Finding::Orphan { ino });
            }
        }
    }

    /// What follows once all rows were seen.
    pub fn report(mut self, structure: StructureReport) -> CheckReport {
        let findings = self.settle();
        let directories = self.inodes.values().filter(|seen| seen.is_dir()).count() as u64;
        CheckReport {
            structure,
            inodes: self.inodes.len() as u64,
            directories,
            entries: self.entries,
            orphans: self.orphans,
            findings,
            lost: self.lost,
        }
    }

    /// Inodes by number.
    pub fn inodes(&self) -> &Table<Seen> {
        &self.inodes
    }

    /// Data keys: the owner, and the key before it.
    pub fn keys(&self) -> &Table<(u64, u64)> {
        &self.keys
    }

    /// Everything that does not fit together, once all rows were seen.
    pub fn settle(&mut self) -> Vec<Finding> {
        self.end_of_pieces();
        let is_root = |seen: &Seen| seen.kind == Some(FileType::Directory);
        if self.part.contains(&ROOT_INO) && !self.inodes.get(&ROOT_INO).is_some_and(is_root) {
            self.findings.push(Finding::NoRoot);
        }
        let unreachable = self.unreachable();
        self.findings.extend(unreachable.into_iter().map(|ino| Finding::Unreachable { ino }));
        let mut findings = std::mem::take(&mut self.findings);
        let mut used = Marks::new(self.keys.len());
        for (&ino, seen) in self.inodes.iter() {
            seen.compare(ino, &mut findings);
            let mut key = seen.row.key_id.get();
            while key != 0 {
                let fresh = self.keys.place(&key).is_some_and(|place| used.set(place));
                key = match self.keys.get(&key) {
                    Some((owner, previous)) if fresh && *owner == ino => *previous,
                    _ => {
                        findings.push(Finding::KeyMissing { ino, key });
                        break;
                    }
                };
            }
        }
        let unused = self.keys.iter().enumerate().filter(|(place, _)| !used.has(*place));
        findings.extend(unused.map(|(_, (&key, &(ino, _)))| Finding::KeyOfNothing { key, ino }));
        findings
    }

    /// Inodes with a name that no path from the root leads to.
    fn unreachable(&self) -> Vec<u64> {
        let all = self.parents.as_ref().map(|parents| &parents.0);
        let place = |ino: &u64| match all {
            Some(parents) => parents.place(ino),
            None => self.inodes.place(ino),
        };
        let above = |ino: &u64| match all {
            Some(parents) => parents.get(ino).copied(),
            None => {
                let dir = self.inodes.get(ino).filter(|seen| seen.names > 0 && seen.is_dir());
                dir.map(|seen| seen.above)
            }
        };
        let len = all.map_or(self.inodes.len(), |all| all.len());
        // Directories that are known to be reached, and those that are known to be, or not.
        let (mut reached, mut known) = (Marks::new(len), Marks::new(len));
        let mut found = Vec::new();
        for (&ino, seen) in self.inodes.iter().filter(|(_, seen)| seen.row.nlink.get() > 0) {
            let (mut way, mut at) = (Vec::new(), if seen.is_dir() { ino } else { seen.above });
            let is_reached = loop {
                if at == ROOT_INO {
                    break true;
                }
                let Some(place) = place(&at) else { break false };
                // Not reached until proven otherwise, so that a circle ends here.
                if !known.set(place) {
                    break reached.has(place);
                }
                way.push(place);
                match above(&at) {
                    Some(above) => at = above,
                    None => break false,
                }
            };
            if is_reached {
                for place in way {
                    reached.set(place);
                }
            } else {
                found.push(ino);
            }
        }
        found
    }
}

/// Which directory each directory is in, by what entries say: what the parts of a census share.
#[derive(Default, Clone)]
pub(super) struct Parents(Rc<Table<u64>>);

impl Parents {
    /// The parents of all directories, of pairs of directory and parent that come in any order.
    pub fn new(mut pairs: Vec<(u64, u64)>) -> Parents {
        // Of two names the later counts, as it does for other inodes.
        pairs.sort_by_key(|(ino, _)| *ino);
        let mut table = Table::default();
        pairs.into_iter().for_each(|(ino, above)| table.insert(ino, above));
        Parents(Rc::new(table))
    }
}

impl From<&InodeRow> for Brief {
    fn from(row: &InodeRow) -> Brief {
        Brief {
            mode: row.mode,
            nlink: row.nlink,
            flags: row.flags,
            xattrs: row.xattrs,
            size: row.size,
            parent: row.parent,
            entries: row.entries,
            units: row.units,
            key_id: row.key_id,
            sealed_units: row.sealed_units,
        }
    }
}

impl Brief {
    /// Says it all in the inode's row.
    pub fn store(&self, row: &mut InodeRow) {
        (row.mode, row.nlink, row.flags, row.xattrs) =
            (self.mode, self.nlink, self.flags, self.xattrs);
        (row.size, row.parent, row.entries, row.units) =
            (self.size, self.parent, self.entries, self.units);
        (row.key_id, row.sealed_units) = (self.key_id, self.sealed_units);
    }
}

impl Seen {
    pub fn is_dir(&self) -> bool {
        self.kind == Some(FileType::Directory)
    }

    /// The link count that the names give.
    pub fn links(&self, ino: u64) -> u32 {
        let root = ino == ROOT_INO;
        match self.is_dir() {
            true if self.names > 0 || root => 1 + u32::from(root) + self.names + self.subdirs,
            _ => self.names,
        }
    }

    /// Compares what the inode says with what was found.
    fn compare(&self, ino: u64, findings: &mut Vec<Finding>) {
        let row = &self.row;
        let root = ino == ROOT_INO;
        let (stored, found) = (row.nlink.get(), self.links(ino));
        if stored != found {
            findings.push(Finding::Links { ino, stored, found });
        }
        if waits(row) && !self.orphan {
            findings.push(Finding::Unreachable { ino });
        }
        if self.is_dir() {
            let (stored, found) = (row.entries.get(), self.entries);
            if stored != found {
                findings.push(Finding::Entries { dir: ino, stored, found });
            }
            let (stored, found) = (row.size.get(), self.name_bytes);
            if stored != found {
                findings.push(Finding::NameBytes { dir: ino, stored, found });
            }
            let (stored, found) = (row.parent.get(), if root { ROOT_INO } else { self.above });
            if stored != found && row.nlink.get() > 0 {
                findings.push(Finding::Parent { dir: ino, stored, found });
            }
        }
        let (stored, found) = (row.xattrs.get(), self.xattrs);
        // The attributes of an inode that is being freed go before their count does.
        if stored != found && !(row.nlink.get() == 0 && found < stored) {
            findings.push(Finding::Xattrs { ino, stored, found });
        }
        let stored = row.flags.get() & InodeRow::ACL != 0;
        if stored != self.acl && row.nlink.get() > 0 {
            findings.push(Finding::Acls { ino, stored: stored.into(), found: self.acl.into() });
        }
        let (stored, found) = (row.units.get(), self.units);
        if stored != found {
            findings.push(Finding::Units { ino, stored, found });
        }
    }
}

/// Whether an inode must have an ORPHAN row.
pub(super) fn waits(row: &Brief) -> bool {
    row.nlink.get() == 0 || row.flags.get() & InodeRow::TRIMMING != 0
}

/// The first cookie of the bucket that a cookie is of.
pub(super) fn bucket_of(cookie: u64) -> u64 {
    cookie >> COOKIE_COUNTER_BITS << COOKIE_COUNTER_BITS
}
