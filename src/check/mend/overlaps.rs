//! Overlaps: rows of a file that stand for the same units. The newest row keeps them.
//!
//! They come of a lost record of the log, which cut rows that are whole again now. What the log put
//! is newer than what a checkpoint wrote, whatever its birth says: a part of an extent keeps the
//! birth of the whole.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use super::Mender;
use super::units::add;
use crate::check::note::Mending;
use crate::error::Result;
use crate::format::{DataRow, FIRST_FS_TREE, FsKey, Lost, MAX_FILE_UNITS, UNIT_TAG_LEN};
use crate::limits::UNIT;

/// The place of a row in its file.
struct Piece {
    range: Range<u64>,
    /// What is newer is greater.
    age: (u64, u64, u64),
    /// What is left to it.
    left: Vec<Range<u64>>,
}

impl Mender<'_> {
    /// Parts the rows of a file from each other.
    pub(super) fn part_contents(&mut self, ino: u64) -> Result<()> {
        let mut pieces = self.overlapping(ino)?;
        pieces.sort_by_key(|piece| Reverse(piece.age));
        let mut taken = BTreeMap::new();
        for piece in &mut pieces {
            piece.left = free(&taken, &piece.range);
            add(&mut taken, piece.range.start, piece.range.end);
        }
        pieces.retain(|piece| piece.left != [piece.range.clone()]);
        // A part of one may begin where another one stood that goes.
        let mut parts = Vec::new();
        for Piece { range, left, .. } in &pieces {
            let lost = without(left, range);
            self.note(
                ino,
                Mending::ContentsTwice {
                    from: lost.start * UNIT as u64,
                    to: lost.end * UNIT as u64,
                },
            );
            if let Some(value) = self.get(FsKey::Data(ino, range.start))?
                && let Ok(row) = DataRow::parse(ino, range.start, &value)
            {
                for part in left {
                    let within = part.start - range.start..part.end - range.start;
                    parts.push((part.start, part_of(&row, within)));
                }
            }
            self.del_fs(FsKey::Data(ino, range.start))?;
        }
        for (first, value) in parts {
            self.put_fs(FsKey::Data(ino, first), &value)?;
        }
        Ok(())
    }

    /// The rows of a file that have units in common with another of its rows.
    fn overlapping(&self, ino: u64) -> Result<Vec<Piece>> {
        let (from, to) = (FsKey::Data(ino, 0).encode(), FsKey::Data(ino, MAX_FILE_UNITS).encode());
        // Rows of which each meets one before it, and where they end.
        let (mut group, mut end) = (Vec::<Piece>::new(), 0);
        let mut pieces = Vec::new();
        self.salvage.engine().scan(FIRST_FS_TREE, &from, &to, |key, value| {
            let Ok(FsKey::Data(_, first)) = FsKey::parse(key) else { return true };
            let Ok(row) = DataRow::parse(ino, first, value) else { return true };
            let logged = match row {
                // It never stands for what is newer than contents.
                DataRow::Lost(_) => 0,
                _ => self.salvage.replayed(key),
            };
            let (range, age) = (first..first + row.units(), (logged, birth(&row), first));
            if first >= end {
                close(&mut group, &mut pieces);
            }
            end = end.max(range.end);
            group.push(Piece { range, age, left: Vec::new() });
            true
        })?;
        close(&mut group, &mut pieces);
        Ok(pieces)
    }
}

/// Ends a group of rows, and keeps it where there are several.
fn close(group: &mut Vec<Piece>, pieces: &mut Vec<Piece>) {
    if group.len() > 1 {
        pieces.append(group);
    }
    group.clear();
}

/// The value of a part of a row.
fn part_of(row: &DataRow<'_>, part: Range<u64>) -> Vec<u8> {
    let mut value = Vec::new();
    match row {
        DataRow::Extent(extent, tags) => {
            let bytes = part.start as usize * UNIT_TAG_LEN..part.end as usize * UNIT_TAG_LEN;
            extent.part(part.start as u32, part.end as u32).encode(&tags[bytes], &mut value);
        }
        // Inline contents are of one unit: they are left whole, or go.
        DataRow::Inline(..) => {}
        DataRow::Lost(_) => Lost { units: part.end - part.start }.encode(&mut value),
    }
    value
}

/// What of a range is not in disjoint ranges.
fn free(taken: &BTreeMap<u64, u64>, range: &Range<u64>) -> Vec<Range<u64>> {
    let meets = taken.range(..range.end).rev().take_while(|(_, end)| **end > range.start);
    let (mut free, mut end) = (Vec::new(), range.end);
    for (&from, &to) in meets {
        if to < end {
            free.push(to..end);
        }
        end = from;
    }
    if range.start < end {
        free.push(range.start..end);
    }
    free.reverse();
    free
}

/// From the first to the last unit of a range that is not left of it.
fn without(left: &[Range<u64>], range: &Range<u64>) -> Range<u64> {
    let start = left.first().filter(|part| part.start == range.start);
    let end = left.last().filter(|part| part.end == range.end);
    start.map_or(range.start, |part| part.end)..end.map_or(range.end, |part| part.start)
}

/// The generation that contents were made for.
fn birth(row: &DataRow<'_>) -> u64 {
    match row {
        DataRow::Extent(extent, _) => extent.birth,
        DataRow::Inline(..) | DataRow::Lost(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_not_free() {
        let taken = BTreeMap::from([(0, 5), (10, 12), (20, 30)]);
        assert_eq!(free(&taken, &(0..40)), [5..10, 12..20, 30..40]);
        assert_eq!(free(&taken, &(11..21)).as_slice(), std::slice::from_ref(&(12..20)));
        assert_eq!(free(&taken, &(21..29)), []);
        assert_eq!(free(&taken, &(30..31)).len(), 1);
        assert_eq!(without(&[5..10, 12..20], &(5..25)), 10..25);
        assert_eq!(without(&[], &(5..25)), 5..25);
    }
}
