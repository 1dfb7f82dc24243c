//! Map: the rows of a file that stand for a range of its units.

use std::ops::Range;

use zerocopy::FromBytes;

use super::Contents;
use crate::crypto::UnitTag;
use crate::error::{Error, Object, Result};
use crate::format::{DataRow, Extent, FsKey, Inline, UNIT_TAG_LEN};
use crate::limits::UNIT;

const _: () = assert!(size_of::<UnitTag>() == UNIT_TAG_LEN);

/// How much of each row a lookup brings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// Where its units are, without tags or inline bytes.
    Place,
    /// The part inside the range.
    Part,
    /// All of it, also what reaches out of the range.
    Whole,
}

/// An extent and the unit of the file that it starts at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub first: u64,
    pub extent: Extent,
    /// Where its tags start in [`Map::tags`].
    tags: usize,
}

impl Row {
    /// The unit of the file behind the row.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.extent.units)
    }
}

/// Rows in ascending order; memory is kept when they change.
#[derive(Default)]
pub(super) struct Map {
    rows: Vec<Row>,
    tags: Vec<UnitTag>,
    inline: Option<Inline>,
    ciphertext: Vec<u8>,
    /// Units whose contents are gone, as their rows say.
    lost: Vec<Range<u64>>,
}

impl Map {
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.tags.clear();
        self.inline = None;
        self.lost.clear();
    }

    /// Units whose contents are gone, also what of them reaches out of the range.
    pub(super) fn lost(&self) -> &[Range<u64>] {
        &self.lost
    }

    /// Whether the contents of a unit are gone.
    pub(super) fn is_lost(&self, unit: u64) -> bool {
        self.lost.iter().any(|lost| lost.contains(&unit))
    }

    /// The extents.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The inline bytes of unit 0, sealed, where it has some.
    pub(super) fn inline(&self) -> Option<(&Inline, &[u8])> {
        self.inline.as_ref().map(|inline| (inline, self.ciphertext.as_slice()))
    }

    /// The extent that holds a unit.
    pub(super) fn find(&self, unit: u64) -> Option<&Row> {
        let after = self.rows.partition_point(|row| row.first <= unit);
        self.rows[..after].last().filter(|row| unit < row.end())
    }

    /// Tags of a part of a row, counted from its first unit.
    pub(super) fn tags(&self, row: &Row, part: Range<u32>) -> &[UnitTag] {
        &self.tags[row.tags + part.start as usize..row.tags + part.end as usize]
    }

    /// Whether a row starts at a unit.
    pub(super) fn starts_at(&self, unit: u64) -> bool {
        (unit == 0 && self.inline.is_some()) || self.rows.iter().any(|row| row.first == unit)
    }

    /// Adds an extent behind the others, and returns its tags to be filled in.
    pub(super) fn push(&mut self, first: u64, extent: Extent) -> &mut [UnitTag] {
        let tags = self.tags.len();
        self.tags.resize(tags + extent.units as usize, UnitTag::default());
        self.rows.push(Row { first, extent, tags });
        &mut self.tags[tags..]
    }

    /// Makes the first extent part of the one before it in `old`, where its units and tweaks
    /// continue that one's and both have at most `most` units.
    pub(super) fn join(&mut self, old: &Map, most: u32) {
        let Some(row) = self.rows.first().copied() else { return };
        let Some(before) = old.rows.iter().find(|old| old.end() == row.first) else { return };
        let units = before.extent.units + row.extent.units;
        let whole = Extent { units, ..before.extent };
        if units > most || whole.part(before.extent.units, units) != row.extent {
            return;
        }
        let tags = self.tags.len();
        self.tags.extend_from_slice(old.tags(before, 0..before.extent.units));
        self.tags.extend_from_within(row.tags..row.tags + row.extent.units as usize);
        self.rows[0] = Row { first: before.first, extent: whole, tags };
    }

    /// Notes that unit 0 has inline bytes now.
    pub(super) fn set_inline(&mut self, inline: Inline) {
        self.inline = Some(inline);
    }

    /// Adds a row that was read; returns the unit behind it.
    fn add(
        &mut self,
        ino: u64,
        first: u64,
        value: &[u8],
        range: &Range<u64>,
        detail: Detail,
    ) -> Result<u64> {
        let row = DataRow::parse(ino, first, value)?;
        let end = first + row.units();
        if end <= range.start {
            return Ok(end);
        }
        match row {
            DataRow::Lost(_) if detail == Detail::Part => {
                return Err(gone(ino, first.max(range.start)));
            }
            DataRow::Lost(_) => self.lost.push(first..end),
            DataRow::Extent(extent, tags) => {
                let (from, to) = match detail {
                    Detail::Part => (first.max(range.start), end.min(range.end)),
                    Detail::Place | Detail::Whole => (first, end),
                };
                let part = (from - first) as u32..(to - first) as u32;
                let start = self.tags.len();
                if detail != Detail::Place {
                    let tags = <[UnitTag]>::ref_from_bytes(tags)
                        .map_err(|_| Error::Internal("tags of a checked extent"))?;
                    let part = part.start as usize..part.end as usize;
                    self.tags.extend_from_slice(&tags[part]);
                }
                let extent = extent.part(part.start, part.end);
                self.rows.push(Row { first: from, extent, tags: start });
            }
            DataRow::Inline(inline, ciphertext) => {
                self.inline = Some(inline);
                self.ciphertext.clear();
                self.ciphertext.extend_from_slice(ciphertext);
            }
        }
        Ok(end)
    }
}

impl Contents {
    /// Reads the rows of a range into `map`, at most `limit` of them. Returns how far they are
    /// all there: the end of the range, or the first unit of the next row.
    pub(super) fn lookup(
        &self,
        ino: u64,
        range: Range<u64>,
        detail: Detail,
        limit: usize,
        map: &mut Map,
    ) -> Result<u64> {
        map.clear();
        let key = FsKey::Data(ino, range.start).encode();
        let floor =
            self.engine.floor(self.tree, &key, |found, value| match unit_of(found, &key) {
                Some(first) => map.add(ino, first, value, &range, detail),
                None => Ok(0),
            })?;
        let mut end = floor.transpose()?.unwrap_or(0);
        if end >= range.end {
            return Ok(range.end);
        }
        let (mut covered, mut failed) = (range.end, None);
        let (from, to) = (FsKey::Data(ino, range.start + 1), FsKey::Data(ino, range.end));
        self.engine.scan(self.tree, &from.encode(), &to.encode(), |found, value| {
            let Some(first) = unit_of(found, &key) else { return true };
            if map.rows.len() + map.lost.len() >= limit {
                covered = first;
                return false;
            }
            let added = match first < end {
                true => Err(overlap(ino, first)),
                false => map.add(ino, first, value, &range, detail),
            };
            match added {
                Ok(next) => end = next,
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(covered), Err)
    }
}

/// The unit that a DATA row of the same file as `key` starts at.
fn unit_of(found: &[u8], key: &[u8]) -> Option<u64> {
    let unit = found.strip_prefix(&key[..9])?;
    unit.try_into().ok().map(u64::from_be_bytes)
}

/// The error of reading contents that are gone.
pub(super) fn gone(ino: u64, unit: u64) -> Error {
    let offset = unit.saturating_mul(UNIT as u64);
    Error::corrupt(Object::File { ino, offset }, "a repair found no contents there")
}

fn overlap(ino: u64, first: u64) -> Error {
    let offset = first.saturating_mul(UNIT as u64);
    Error::corrupt(Object::File { ino, offset }, "two extents for one unit")
}
