//! Gaps: where contents are gone and not just a hole. Reading them must fail: zeros would be a lie.

use std::collections::BTreeMap;
use std::ops::Range;

use super::units::add;
use super::{Bucket, Mender, holds_contents};
use crate::check::census::{Census, Seen};
use crate::error::Result;
use crate::format::{DataRow, FIRST_FS_TREE, FsKey, MAX_FILE_UNITS, TreeId};
use crate::limits::{MAX_INLINE_LEN, UNIT};
use crate::txn::KeyRange;

impl Mender<'_> {
    /// Marks what is missing of files that had more contents than were found.
    pub(super) fn mark_gaps(&mut self, census: &Census<Bucket>) -> Result<()> {
        for (&ino, seen) in census.inodes() {
            let row = &seen.row;
            if !holds_contents(seen) || row.nlink.get() == 0 {
                continue;
            }
            let wreck = self.salvage.wreck();
            let lost = self.lost_of(ino);
            let keyed = row.key_id.get() != 0;
            let small = row.size.get() > 0 && row.size.get() <= MAX_INLINE_LEN as u64;
            let bare = keyed && row.size.get() > 0 && seen.end == 0;
            let fewer = row.units.get() > seen.units;
            let unlogged = wreck.log.records > 0 || wreck.uncertain;
            let ranges = match lost.is_empty() {
                // Contents in the tree take no units.
                true if fewer || (bare && small && unlogged) => {
                    std::iter::once(0..MAX_FILE_UNITS).collect()
                }
                true => continue,
                // Nor are they told by the size, which may have grown.
                false if fewer || bare || self.made.contains(&ino) => lost,
                // Stretches that were lost before are counted nowhere.
                false if keyed => units_among(&wreck.losses.leaves, ino),
                false => continue,
            };
            self.mark(ino, seen, ranges)?;
        }
        Ok(())
    }

    /// Puts stretches of lost contents where a file has no rows, within ranges of its units.
    fn mark(&mut self, ino: u64, seen: &Seen, ranges: Vec<Range<u64>>) -> Result<()> {
        let end = seen.row.size.get().div_ceil(UNIT as u64).max(seen.end);
        let mut rows = Vec::new();
        for (key, value) in self.scan(FsKey::Data(ino, 0), FsKey::Data(ino, MAX_FILE_UNITS))? {
            if let FsKey::Data(_, first) = key
                && let Ok(row) = DataRow::parse(ino, first, &value)
            {
                rows.push(first..first + row.units());
            }
        }
        // A range ends at the first key that the next leaf had once, and the last row in it may
        // have reached behind that: up to the next row.
        let mut joined = BTreeMap::new();
        for range in ranges {
            let next = rows.iter().map(|row| row.start).find(|first| *first >= range.end);
            add(&mut joined, range.start, next.unwrap_or(MAX_FILE_UNITS));
        }
        for range in joined.into_iter().map(|(from, to)| from..to) {
            let mut at = range.start;
            for row in rows.iter().chain([&(end..MAX_FILE_UNITS)]) {
                let gap = at..row.start.min(range.end).min(end);
                if gap.start < gap.end {
                    for lost in self.take_extents(ino, gap)? {
                        self.put_lost(ino, lost.start, lost.end - lost.start)?;
                    }
                }
                at = at.max(row.end);
            }
        }
        Ok(())
    }

    /// The units of a file whose rows are gone, if there were any.
    pub(super) fn lost_of(&self, ino: u64) -> Vec<Range<u64>> {
        units_among(&self.salvage.wreck().losses.ranges, ino)
    }
}

/// The units of a file whose rows stand in ranges of keys.
fn units_among(ranges: &[(TreeId, KeyRange)], ino: u64) -> Vec<Range<u64>> {
    let ranges = ranges.iter().filter(|(tree, _)| *tree == FIRST_FS_TREE);
    ranges.filter_map(|(_, range)| units_in(range, ino)).collect()
}

/// The units of a file whose rows stand in a range of keys. The row before the range may have been
/// lost with it, but not what that stands for.
fn units_in(range: &KeyRange, ino: u64) -> Option<Range<u64>> {
    let (first, end) = (FsKey::Data(ino, 0).encode(), FsKey::Data(ino, MAX_FILE_UNITS).encode());
    let unit = |key: &[u8]| {
        let mut bytes = [0; 8];
        let digits = key.get(9..).unwrap_or(&[]);
        let len = digits.len().min(8);
        bytes[..len].copy_from_slice(&digits[..len]);
        u64::from_be_bytes(bytes)
    };
    let from = match &range.low[..] {
        low if low <= &first[..] => 0,
        low if low >= &end[..] => return None,
        low => unit(low),
    };
    let to = match range.high.as_deref() {
        Some(high) if high <= &first[..] => return None,
        Some(high) if high < &end[..] => unit(high),
        _ => MAX_FILE_UNITS,
    };
    (from < to).then_some(from..to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_keys_tells_the_units_of_a_file() {
        let key = |ino, unit| FsKey::Data(ino, unit).encode().to_vec();
        let range = |low: Vec<u8>, high: Option<Vec<u8>>| KeyRange { low, high };
        let all = range(Vec::new(), None);
        assert_eq!(units_in(&all, 7), Some(0..MAX_FILE_UNITS));
        let middle = range(key(7, 5), Some(key(7, 9)));
        assert_eq!(units_in(&middle, 7), Some(5..9));
        assert_eq!((units_in(&middle, 6), units_in(&middle, 8)), (None, None));
        let across = range(key(6, 5), Some(key(8, 1)));
        assert_eq!(units_in(&across, 6), Some(5..MAX_FILE_UNITS));
        assert_eq!(units_in(&across, 7), Some(0..MAX_FILE_UNITS));
        assert_eq!(units_in(&across, 8), Some(0..1));
        assert_eq!(units_in(&range(vec![1], Some(vec![4])), 7), None);
        assert_eq!(units_in(&range(vec![5], None), 7), None);
    }
}
