//! Change: one transaction on the contents of a file, from its units to its commit.

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::buffer::Buffer;
use super::keys::KeyGuard;
use super::map::{Map, Row};
use super::stream::Held;
use super::{Contents, FINISH_BYTES, FINISH_EDITS, Finish};
use crate::error::{Error, Object, Result};
use crate::format::{
    Edits, Extent, FsKey, Inline, InodeRow, Lost, STORE_TREE, StoreKey, UNIT_TAG_LEN,
};
use crate::limits::{MAX_EDIT_BYTES, MAX_EDITS, RUN_UNITS, UNIT};
use crate::txn::{Class, Lsn, Run, units_check};

/// Most extents that one transaction adds.
pub(super) const MAX_NEW: usize = 8;
/// Most rows that one transaction replaces, when it adds others.
pub(super) const MAX_OLD: usize = 20;
/// Most rows that one transaction deletes, when it adds none.
pub(super) const MAX_DELETED: usize = 28;

/// Edits beside those for extents: the caller's, a KEY row, an ORPHAN row, and the parts of old
/// extents before and behind the range.
const OTHER_EDITS: usize = FINISH_EDITS + 1 + 1 + 2;
/// Bytes of an edit that puts an extent.
const EXTENT_BYTES: usize = 96 + RUN_UNITS as usize * UNIT_TAG_LEN;

const _: () = assert!(2 * MAX_OLD + 2 * MAX_NEW + OTHER_EDITS <= MAX_EDITS);
const _: () = assert!(2 * MAX_DELETED + OTHER_EDITS <= MAX_EDITS);
const _: () =
    assert!((MAX_NEW + 2) * EXTENT_BYTES + MAX_EDITS * 128 + FINISH_BYTES <= MAX_EDIT_BYTES);

/// Plaintext of consecutive units: the first and the last may stand apart.
#[derive(Clone, Copy, Default)]
pub(super) struct Plain<'a> {
    pub head: &'a [u8],
    pub body: &'a [u8],
    pub tail: &'a [u8],
}

impl Plain<'_> {
    pub(super) fn units(&self) -> usize {
        (self.head.len() + self.body.len() + self.tail.len()) / UNIT
    }

    /// The units from `from` on that stand together, up to `to`.
    fn at(&self, from: usize, to: usize) -> &[u8] {
        let (mut from, mut to) = (from * UNIT, to * UNIT);
        for part in [self.head, self.body, self.tail] {
            if from < part.len() {
                return &part[from..to.min(part.len())];
            }
            from -= part.len();
            to -= part.len();
        }
        &[]
    }
}

/// A transaction being made. Dropped, it changed nothing.
pub(super) struct Change<'a> {
    contents: &'a Contents,
    ino: u64,
    /// The inode row as the transaction leaves it.
    pub row: InodeRow,
    pub edits: Edits,
    /// Units for new contents, and the tweak of the first of each run.
    runs: Vec<(Run<'a>, u128)>,
}

impl Contents {
    /// Starts a transaction on a file whose row is `row`.
    pub(super) fn change(&self, ino: u64, row: &InodeRow) -> Change<'_> {
        Change { contents: self, ino, row: *row, edits: Edits::new(), runs: Vec::new() }
    }
}

impl<'a> Change<'a> {
    /// The file.
    pub(super) fn ino(&self) -> u64 {
        self.ino
    }

    /// How many units the key of [`Change::key`] still seals.
    pub(super) fn key_room(&self) -> u64 {
        let used = if self.key_is_due() { 0 } else { self.row.sealed_units.get() };
        self.contents.key_units - used
    }

    /// Whether the file needs a new data key.
    fn key_is_due(&self) -> bool {
        self.row.key_id == U64::ZERO || self.row.sealed_units.get() >= self.contents.key_units
    }

    /// The file's data key, to seal `units` units, at most [`Change::key_room`]. A new one where
    /// there is none, or the last has sealed enough: its row is part of the transaction.
    pub(super) fn key(&mut self, units: u64) -> Result<KeyGuard<'a>> {
        let Contents { engine, keys, .. } = self.contents;
        let (due, row) = (self.key_is_due(), &mut self.row);
        let id = row.key_id.get();
        if !due {
            row.sealed_units = U64::new(row.sealed_units.get() + units);
            return keys.get(engine, id, self.ino);
        }
        let (id, wrapped, guard) = keys.create(engine, self.ino, id)?;
        self.edits.put(STORE_TREE, &StoreKey::DataKey(id).encode(), wrapped.as_bytes());
        row.key_id = U64::new(id);
        row.sealed_units = U64::new(units);
        Ok(guard)
    }

    /// Seals units, which are for the file from unit `first` on, and writes them where nothing
    /// stands. Returns how many: all, unless space is fragmented or the key has no more room.
    /// Their rows are in `new`.
    pub(super) fn store(
        &mut self,
        first: u64,
        plain: &Plain<'_>,
        cipher: &mut Buffer,
        new: &mut Map,
    ) -> Result<u64> {
        let units = match self.runs.first() {
            Some((run, _)) => u64::from(run.units()),
            None => self.reserve((plain.units() as u64).min(self.key_room()))?,
        };
        let cipher = cipher.units(units as usize);
        self.seal(first, plain, cipher, new)?;
        let mut rest = &*cipher;
        for (run, _) in &mut self.runs {
            let (now, after) = rest.split_at(run.units() as usize * UNIT);
            run.write(&[now])?;
            rest = after;
        }
        for row in new.rows() {
            let tags = new.tags(row, 0..row.extent.units);
            let check = units_check(tags.iter().map(|tag| tag.crc.get()));
            self.edits.take(row.extent.unit, row.extent.units, check);
        }
        let taken = self.row.units.get().checked_add(units);
        let taken = taken.filter(|taken| *taken <= InodeRow::MAX_UNITS);
        let object = Object::Inode { ino: self.ino };
        self.row.units = U64::new(taken.ok_or(Error::corrupt(object, "number of units"))?);
        Ok(units)
    }

    /// Seals bytes in place as the inline bytes of unit 0, and puts their row.
    pub(super) fn store_inline(
        &mut self,
        text: &mut [u8],
        new: &mut Map,
        value: &mut Vec<u8>,
    ) -> Result<()> {
        let nonce = self.contents.engine.rng().nonce()?;
        let guard = self.key(1)?;
        let key_id = self.row.key_id.get();
        let identity = Inline::identity(text.len(), key_id, self.ino);
        let tag = guard.key()?.seal_inline(&nonce, &identity, text);
        drop(guard);
        let inline = Inline { len: text.len(), key_id, nonce, tag };
        value.clear();
        inline.encode(text, value);
        self.edits.put(self.contents.tree, &FsKey::Data(self.ino, 0).encode(), value);
        new.set_inline(inline);
        Ok(())
    }

    /// Reserves up to `want` units, in so few runs that their rows fit.
    fn reserve(&mut self, want: u64) -> Result<u64> {
        let Contents { engine, streams, .. } = self.contents;
        let (mut have, mut rows) = (0, 0);
        while have < want && rows < MAX_NEW {
            let most = (want - have).min((MAX_NEW - rows) as u64 * u64::from(RUN_UNITS));
            let run = match engine.try_reserve(most as u32) {
                Err(Error::NoSpace) if have > 0 => break,
                Err(Error::NoSpace) if streams.end_all() => engine.try_reserve(most as u32)?,
                run => run?,
            };
            have += u64::from(run.units());
            rows += run.units().div_ceil(RUN_UNITS) as usize;
            self.runs.push((run, engine.rng().tweak_start()?));
        }
        Ok(have)
    }

    /// Takes `units` units from a stream, which gets a fresh run where it has too few. Where
    /// there is no such run either, none is taken, and the stream is left without.
    pub(super) fn draw(&mut self, stream: &mut Held<'a>, units: u32) -> Result<()> {
        let engine = &self.contents.engine;
        if u64::from(units) > self.key_room() || self.key_is_due() {
            return Ok(());
        }
        let key_id = self.row.key_id.get();
        let mut drawn = stream.draw(units, key_id);
        if drawn.is_none() {
            let run = match engine.try_reserve_for(RUN_UNITS, units) {
                Err(Error::NoSpace) => return Ok(()),
                run => run?,
            };
            stream.refill(run, engine.rng().tweak_start()?, key_id);
            drawn = stream.draw(units, key_id);
        }
        self.runs.extend(drawn);
        Ok(())
    }

    /// Seals the units of all runs, one after another.
    fn seal(
        &mut self,
        mut first: u64,
        plain: &Plain<'_>,
        mut cipher: &mut [u8],
        new: &mut Map,
    ) -> Result<()> {
        let engine = &self.contents.engine;
        let birth = engine.generation();
        let guard = self.key((cipher.len() / UNIT) as u64)?;
        let key_id = self.row.key_id.get();
        let mut done = 0;
        for (run, first_tweak) in &self.runs {
            let (unit, units, first_tweak) = (run.unit(), run.units(), *first_tweak);
            let run = Extent { units, unit, key_id, first_tweak, birth };
            let mut at = 0;
            while at < run.units {
                let extent = run.part(at, run.units.min(at + RUN_UNITS));
                let (now, rest) = cipher.split_at_mut(extent.units as usize * UNIT);
                let tags = new.push(first, extent);
                let mut sealed = 0;
                while sealed < tags.len() {
                    let plain = plain.at(done + sealed, done + tags.len());
                    let next = sealed + plain.len() / UNIT;
                    guard.key()?.seal_units(
                        extent.first_tweak.wrapping_add(sealed as u128),
                        plain,
                        &mut now[sealed * UNIT..next * UNIT],
                        &mut tags[sealed..next],
                    );
                    sealed = next;
                }
                cipher = rest;
                at += extent.units;
                first += u64::from(extent.units);
                done += extent.units as usize;
            }
        }
        Ok(())
    }

    /// Replaces the rows of a range, which are in `old`, by those in `new`, and gives back the
    /// units that the old ones had there.
    pub(super) fn replace(&mut self, range: Range<u64>, old: &Map, new: &Map, value: &mut Vec<u8>) {
        let (tree, mut freed, mut given) = (self.contents.tree, 0, 0..0);
        if range.start == 0 && old.inline().is_some() && !new.starts_at(0) {
            self.edits.del(tree, &FsKey::Data(self.ino, 0).encode());
        }
        for lost in old.lost() {
            if lost.start < range.start {
                self.put_lost(lost.start..range.start, value);
            } else if !new.starts_at(lost.start) {
                self.edits.del(tree, &FsKey::Data(self.ino, lost.start).encode());
            }
            if lost.end > range.end {
                self.put_lost(range.end..lost.end, value);
            }
        }
        for row in old.rows() {
            let (from, to) = (row.first.max(range.start), row.end().min(range.end));
            if from >= to {
                continue;
            }
            if row.first < range.start {
                self.put(row, row.first..range.start, old, value);
            } else if !new.starts_at(row.first) {
                self.edits.del(tree, &FsKey::Data(self.ino, row.first).encode());
            }
            if row.end() > range.end {
                self.put(row, range.end..row.end(), old, value);
            }
            let unit = row.extent.unit + (from - row.first);
            if given.end != unit {
                self.give(&given);
                given = unit..unit;
            }
            given.end += to - from;
            freed += to - from;
        }
        self.give(&given);
        for row in new.rows() {
            self.put(row, row.first..row.end(), new, value);
        }
        self.row.units = U64::new(self.row.units.get().saturating_sub(freed));
    }

    /// Puts a part of a row, given by units of the file.
    fn put(&mut self, row: &Row, part: Range<u64>, map: &Map, value: &mut Vec<u8>) {
        let units = (part.start - row.first) as u32..(part.end - row.first) as u32;
        let tags = map.tags(row, units.clone());
        value.clear();
        row.extent.part(units.start, units.end).encode(tags.as_bytes(), value);
        let key = FsKey::Data(self.ino, part.start).encode();
        self.edits.put(self.contents.tree, &key, value);
    }

    /// Puts what is left of a stretch whose contents are gone.
    fn put_lost(&mut self, units: Range<u64>, value: &mut Vec<u8>) {
        value.clear();
        Lost { units: units.end - units.start }.encode(value);
        self.edits.put(self.contents.tree, &FsKey::Data(self.ino, units.start).encode(), value);
    }

    fn give(&mut self, units: &Range<u64>) {
        if !units.is_empty() {
            self.edits.give(units.start, (units.end - units.start) as u32);
        }
    }

    /// Commits the transaction; only then `row` is what it made of it.
    pub(super) fn commit(
        mut self,
        row: &mut InodeRow,
        class: Class,
        finish: &mut Finish<'_>,
    ) -> Result<Lsn> {
        finish(&mut self.row, &mut self.edits);
        let lsn = self.contents.engine.try_commit(&mut self.edits, class)?;
        for (run, _) in self.runs {
            let units = run.units();
            run.taken(units);
        }
        *row = self.row;
        Ok(lsn)
    }
}
