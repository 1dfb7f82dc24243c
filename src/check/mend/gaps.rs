//! Gaps: where contents are gone and not just a hole. Reading them must fail: zeros would be a lie.

use std::collections::BTreeMap;
use std::ops::Range;

use super::units::add;
use super::{Bucket, Mender, holds_contents};
use crate::check::census::{Census, Seen};
use crate::error::Result;
use crate::format::{DataRow, FIRST_FS_TREE, FsKey, MAX_FILE_UNITS, STORE_TREE, StoreKey, TreeId};
use crate::limits::{MAX_INLINE_LEN, UNIT};
use crate::txn::KeyRange;

/// The first unit, which inline contents stand for.
const FIRST: Range<u64> = 0..1;

impl Mender<'_> {
    /// Marks what is missing of files that had more contents than were found. An inode counts the
    /// units of its extents; inline contents, and stretches that were lost before, are counted
    /// nowhere.
    pub(super) fn mark_gaps(&mut self, census: &Census<Bucket>) -> Result<()> {
        let unmarked = self.lost_properties();
        for (&ino, seen) in census.inodes().iter() {
            let row = &seen.row;
            if !holds_contents(seen) || row.nlink.get() == 0 {
                continue;
            }
            let lost = self.lost_of(ino);
            let before = census.lossy.contains(&ino) && !self.marked.contains(&ino);
            let lossy = unmarked || before;
            let fewer = row.units.get().saturating_sub(seen.units);
            let made = self.made.contains(&ino);
            match lost.is_empty() {
                true if fewer > 0 => {
                    let all = std::iter::once(0..MAX_FILE_UNITS).collect();
                    self.mark(ino, seen, all, u64::MAX)?;
                }
                true if self.lacks_inline(ino, seen) => self.mark_first(ino)?,
                true => {}
                // Nor are they told by the size, which may have grown.
                false if made || fewer > 0 => {
                    // What no count tells of is looked at once these are there.
                    let enough = if made { u64::MAX } else { fewer };
                    self.mark(ino, seen, lost, enough)?;
                }
                false => self.mark_untold(ino, seen, lossy)?,
            }
        }
        Ok(())
    }

    /// Whether a lost record of the log may have put inline contents of a file.
    fn lacks_inline(&self, ino: u64, seen: &Seen) -> bool {
        let (row, wreck) = (&seen.row, self.salvage.wreck());
        let size = row.size.get();
        let small = size <= MAX_INLINE_LEN as u64 && seen.end == 0;
        // What the log says of the file is newer than what it does not say any more.
        let logged = self.salvage.replayed(&FsKey::Inode(ino).encode()) > 0;
        let unlogged = wreck.log.records > 0 && (small || logged) || wreck.uncertain && small;
        row.key_id.get() != 0 && size > 0 && !seen.has_first && unlogged
    }

    /// Marks contents that no count tells of, where a leaf that may have had them is lost.
    fn mark_untold(&mut self, ino: u64, seen: &Seen, lossy: bool) -> Result<()> {
        let (row, losses) = (&seen.row, &self.salvage.wreck().losses);
        let mut told = units_among(&losses.leaves, ino);
        if self.salvage.wreck().missing > 0 {
            told.extend(units_among(&losses.gaps, ino));
        }
        let keyed = row.key_id.get() != 0 && row.size.get() > 0;
        // It has a key for contents, and they are nowhere: they stood in the tree.
        let bare = keyed && seen.end == 0 && row.units.get() == 0;
        if bare {
            told.extend(self.lost_of(ino));
        }
        if lossy {
            self.mark(ino, seen, told, u64::MAX)?;
        } else if keyed && !seen.has_first && told.iter().any(|range| range.start == 0) {
            self.mark_first(ino)?;
        }
        Ok(())
    }

    fn mark_first(&mut self, ino: u64) -> Result<()> {
        self.put_lost(ino, FIRST.start, FIRST.end)
    }

    /// Puts what older leaves have of a file, and stretches of lost contents, where it has no rows,
    /// within ranges of its units. Where as many are found as are missing the rest are holes.
    fn mark(&mut self, ino: u64, seen: &Seen, ranges: Vec<Range<u64>>, enough: u64) -> Result<()> {
        let end = seen.row.size.get().div_ceil(UNIT as u64).max(seen.end);
        let rows = self.row_ranges(ino)?;
        // A range ends at the first key that the next leaf had once, and the last row in it may
        // have reached behind that: up to the next row.
        let mut joined = BTreeMap::new();
        for range in ranges {
            let next = rows[rows.partition_point(|row| row.end <= range.end)..].first();
            let to = next.map_or(MAX_FILE_UNITS, |row| row.start.max(range.end));
            add(&mut joined, range.start, to);
        }
        let (mut missing, mut found) = (Vec::new(), 0);
        for range in joined.into_iter().map(|(from, to)| from..to) {
            let mut at = range.start;
            let meets = &rows[rows.partition_point(|row| row.end <= range.start)..];
            for row in meets.iter().chain([&(end..MAX_FILE_UNITS)]) {
                if at >= range.end {
                    break;
                }
                let gap = at..row.start.min(range.end).min(end);
                if gap.start < gap.end {
                    found += gap.end - gap.start;
                    let lost = self.take_extents(ino, gap)?;
                    found -= lost.iter().map(|lost| lost.end - lost.start).sum::<u64>();
                    missing.extend(lost);
                }
                at = at.max(row.end);
            }
        }
        for lost in missing.iter().filter(|_| found < enough) {
            self.put_lost(ino, lost.start, lost.end - lost.start)?;
        }
        Ok(())
    }

    /// Units of a file that there are rows for, joined where rows follow each other.
    fn row_ranges(&self, ino: u64) -> Result<Vec<Range<u64>>> {
        let mut rows = Vec::<Range<u64>>::new();
        let (from, to) = (FsKey::Data(ino, 0).encode(), FsKey::Data(ino, MAX_FILE_UNITS).encode());
        self.salvage.engine().scan(FIRST_FS_TREE, &from, &to, |key, value| {
            if let Ok(FsKey::Data(_, first)) = FsKey::parse(key)
                && let Ok(row) = DataRow::parse(ino, first, value)
            {
                let end = first + row.units();
                match rows.last_mut().filter(|last| last.end >= first) {
                    Some(last) => last.end = last.end.max(end),
                    None => rows.push(first..end),
                }
            }
            true
        })?;
        Ok(rows)
    }

    /// Whether a leaf is lost that may have said which files have lost stretches.
    fn lost_properties(&self) -> bool {
        let wreck = self.salvage.wreck();
        let first = StoreKey::Property(&[]).encode();
        let gaps = wreck.losses.gaps.iter().filter(|_| wreck.missing > 0);
        let mut lost = wreck.losses.leaves.iter().chain(gaps);
        lost.any(|(tree, range)| {
            *tree == STORE_TREE && range.high.as_ref().is_none_or(|high| *high > first)
        })
    }

    /// The units of a file whose rows are gone, if there were any.
    pub(super) fn lost_of(&self, ino: u64) -> Vec<Range<u64>> {
        units_among(&self.salvage.wreck().losses.ranges, ino)
    }
}

/// The units of a file whose rows stand in ranges of keys, which ascend.
fn units_among(ranges: &[(TreeId, KeyRange)], ino: u64) -> Vec<Range<u64>> {
    let (first, end) = (FsKey::Data(ino, 0).encode(), FsKey::Data(ino, MAX_FILE_UNITS).encode());
    let meets = KeyRange::meeting(ranges, FIRST_FS_TREE, &first, &end);
    meets.iter().filter_map(|(_, range)| units_in(range, ino)).collect()
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
