//! Units of contents, compared with their checksums, and those that two rows say are theirs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use zerocopy::FromBytes;

use super::Mender;
use crate::check::note::Mending;
use crate::crypto::UnitTag;
use crate::error::Result;
use crate::format::{DataRow, Extent, FIRST_FS_TREE, FsKey};
use crate::limits::UNIT;
use crate::txn::Owners;

/// An extent and its place in its file.
struct Piece {
    ino: u64,
    first: u64,
    extent: Extent,
    crcs: Vec<u32>,
}

impl Mender<'_> {
    /// Reads units and notes those that are damaged; units that a node or two rows have go
    /// to one owner. With `all` false only the latter are read. `true` where rows
    /// were changed.
    pub(super) fn mend_units(&mut self, all: bool) -> Result<bool> {
        let before = self.changes;
        let shared = self.shared_units()?;
        let is_shared = |unit: u64| {
            let range = shared.range(..=unit).next_back();
            range.is_some_and(|(_, end)| unit < *end)
        };
        let nodes = self.salvage.nodes()?;
        let (mut contested, mut damaged) = (Vec::new(), Vec::new());
        self.pieces(&mut |salvage, piece| {
            let units = piece.extent.unit..piece.extent.unit + u64::from(piece.extent.units);
            // A node verifies: what it has is no contents.
            let doubtful = units.clone().any(|unit| is_shared(unit) || !nodes.is_open(unit));
            if !all && !doubtful {
                return;
            }
            let bad: BTreeSet<u64> = (piece.first..)
                .zip(units)
                .zip(&piece.crcs)
                .filter(|((_, unit), crc)| read_crc(salvage, *unit, doubtful) != Some(**crc))
                .map(|((at, _), _)| at)
                .collect();
            match doubtful {
                true => contested.push((piece, bad)),
                false if bad.is_empty() => {}
                false => damaged.push((piece.ino, bad)),
            }
        })?;
        self.settle(contested, nodes)?;
        for (ino, bad) in damaged {
            let bad: Vec<u64> = bad.into_iter().collect();
            for (from, to) in stretches(&bad) {
                let (from, to) = (from * UNIT as u64, to * UNIT as u64);
                self.note(ino, Mending::ContentsDamaged { from, to });
            }
        }
        self.flushed(before)
    }

    /// Gives up the units of extents that lie behind the end of the device: they would be read as
    /// what is written there next. `true` where rows were changed.
    pub(super) fn mend_cut(&mut self) -> Result<bool> {
        let (before, mut cut, mut failed) = (self.changes, Vec::new(), None);
        self.pieces(&mut |salvage, piece| {
            let units = piece.extent.unit..piece.extent.unit + u64::from(piece.extent.units);
            let mut bad = Vec::new();
            for (place, unit) in (piece.first..).zip(units) {
                match salvage.is_cut_off(unit) {
                    Ok(true) => bad.push(place),
                    Ok(false) => {}
                    Err(error) => failed = Some(error),
                }
            }
            if !bad.is_empty() {
                cut.push((piece.ino, piece.first, bad));
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        for (ino, first, bad) in cut {
            self.give_up(ino, first, &bad)?;
        }
        self.flushed(before)
    }

    /// Gives each unit to one extent at most: to the newest that has its checksum.
    fn settle(
        &mut self,
        mut contested: Vec<(Piece, BTreeSet<u64>)>,
        mut taken: Owners,
    ) -> Result<()> {
        contested.sort_by_key(|(piece, _)| Reverse(piece.extent.birth));
        for (piece, mut bad) in contested {
            for at in 0..u64::from(piece.extent.units) {
                let (unit, place) = (piece.extent.unit + at, piece.first + at);
                if !taken.is_open(unit) {
                    bad.insert(place);
                } else if !bad.contains(&place) {
                    taken.own(unit, 1);
                }
            }
            if !bad.is_empty() {
                let bad: Vec<u64> = bad.into_iter().collect();
                self.give_up(piece.ino, piece.first, &bad)?;
            }
        }
        Ok(())
    }

    /// Calls `visit` with each extent.
    fn pieces(&self, visit: &mut dyn FnMut(&crate::txn::Salvage, Piece)) -> Result<()> {
        self.salvage.rows(|tree, key, value| {
            if tree == FIRST_FS_TREE
                && let Ok(FsKey::Data(ino, first)) = FsKey::parse(key)
                && let Ok(DataRow::Extent(extent, tags)) = DataRow::parse(ino, first, value)
                && let Ok(tags) = <[UnitTag]>::ref_from_bytes(tags)
            {
                let crcs = tags.iter().map(|tag| tag.crc.get()).collect();
                visit(self.salvage, Piece { ino, first, extent, crcs });
            }
        })
    }

    /// Ranges of units that more than one extent has: first, and behind the last.
    fn shared_units(&self) -> Result<BTreeMap<u64, u64>> {
        // Extents that follow each other are one here, so this stays small.
        let (mut owned, mut shared) = (BTreeMap::<u64, u64>::new(), BTreeMap::new());
        self.pieces(&mut |_, piece| {
            let (from, to) = (piece.extent.unit, piece.extent.unit + u64::from(piece.extent.units));
            let below = owned.range(..to).rev().take_while(|(_, end)| **end > from);
            for (&start, &end) in below {
                shared.insert(start.max(from), end.min(to));
            }
            add(&mut owned, from, to);
        })?;
        Ok(shared)
    }

    /// Puts a lost stretch where units of an extent turned out to be another's, and keeps the rest.
    fn give_up(&mut self, ino: u64, first: u64, bad: &[u64]) -> Result<()> {
        let Some(value) = self.get(FsKey::Data(ino, first))? else { return Ok(()) };
        let Ok(DataRow::Extent(extent, tags)) = DataRow::parse(ino, first, &value) else {
            return Ok(());
        };
        self.del_fs(FsKey::Data(ino, first))?;
        let end = first + u64::from(extent.units);
        let mut at = first;
        let tag = crate::format::UNIT_TAG_LEN;
        for (from, to) in stretches(bad).into_iter().chain([(end, end)]) {
            if at < from {
                let part = (at - first) as u32..(from - first) as u32;
                let bytes = part.start as usize * tag..part.end as usize * tag;
                let mut row = Vec::new();
                extent.part(part.start, part.end).encode(&tags[bytes], &mut row);
                self.put_fs(FsKey::Data(ino, at), &row)?;
            }
            if from < to {
                self.put_lost(ino, from, to - from)?;
            }
            at = to;
        }
        Ok(())
    }
}

/// Adds a range to disjoint ranges, joined with those that it touches.
pub(super) fn add(ranges: &mut BTreeMap<u64, u64>, mut from: u64, mut to: u64) {
    while let Some((&start, &end)) = ranges.range(..=to).next_back() {
        if end < from {
            break;
        }
        ranges.remove(&start);
        (from, to) = (from.min(start), to.max(end));
    }
    ranges.insert(from, to);
}

/// Ascending numbers as ranges: first, and behind the last.
fn stretches(numbers: &[u64]) -> Vec<(u64, u64)> {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    runs.map(|run| (run[0], run[run.len() - 1] + 1)).collect()
}

/// The checksum of what stands in a unit; `None` where it cannot be read, which is written down
/// where the unit would be given up for it.
fn read_crc(salvage: &crate::txn::Salvage, unit: u64, contested: bool) -> Option<u32> {
    let mut bytes = [0; UNIT];
    match contested {
        true => salvage.engine().read_units(unit, &mut bytes).ok()?,
        false => salvage.read_contents(unit, &mut bytes).ok()?,
    }
    Some(crc32fast::hash(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_numbers_run() {
        let mut ranges = BTreeMap::new();
        for (from, to) in [(10, 20), (30, 40), (20, 25), (24, 31), (50, 60), (0, 5)] {
            add(&mut ranges, from, to);
        }
        assert_eq!(ranges, BTreeMap::from([(0, 5), (10, 40), (50, 60)]));
        assert_eq!(stretches(&[1, 2, 3, 7, 9, 10]), [(1, 4), (7, 8), (9, 11)]);
        assert_eq!(stretches(&[]), []);
    }
}
