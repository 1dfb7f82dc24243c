//! Where a file has contents, and where it has holes.

use super::Contents;
use super::map::Detail;
use crate::error::Result;
use crate::format::InodeRow;
use crate::limits::UNIT;

/// Rows that are looked at together.
const STEP: usize = 64;

impl Contents {
    /// The first byte at or after `offset` that is not in a hole, as `SEEK_DATA`; `None` where
    /// there is none before the end of the file. Needs no key.
    ///
    /// # Errors
    /// Those of reading rows.
    pub fn seek_data(&self, ino: u64, row: &InodeRow, offset: u64) -> Result<Option<u64>> {
        let size = row.size.get();
        if offset >= size {
            return Ok(None);
        }
        let mut scratch = self.pool.take(ino);
        let map = &mut scratch.old;
        let range = offset / UNIT as u64..size.div_ceil(UNIT as u64);
        self.lookup(ino, range, Detail::Place, 1, map)?;
        if map.inline().is_some() {
            return Ok(Some(offset));
        }
        let lost = map.lost().first().map(|lost| lost.start);
        let first = map.rows().first().map(|row| row.first).into_iter().chain(lost).min();
        Ok(first.map(|first| offset.max(first * UNIT as u64)))
    }

    /// The first byte at or after `offset` that is in a hole, as `SEEK_HOLE`: the end of the file
    /// counts as one. `None` for an offset beyond it. Needs no key.
    ///
    /// # Errors
    /// Those of reading rows.
    pub fn seek_hole(&self, ino: u64, row: &InodeRow, offset: u64) -> Result<Option<u64>> {
        let size = row.size.get();
        if offset >= size {
            return Ok(None);
        }
        let mut scratch = self.pool.take(ino);
        let map = &mut scratch.old;
        let (mut at, last) = (offset / UNIT as u64, size.div_ceil(UNIT as u64));
        while at < last {
            let covered = self.lookup(ino, at..last, Detail::Place, STEP, map)?;
            if at == 0 && map.inline().is_some() {
                at = 1;
            }
            let rows = map.rows().iter().map(|row| row.first..row.end());
            let mut data: Vec<_> = rows.chain(map.lost().iter().cloned()).collect();
            data.sort_by_key(|data| data.start);
            for data in data {
                if data.start > at {
                    break;
                }
                at = at.max(data.end);
            }
            if at < covered {
                break;
            }
        }
        Ok(Some((at * UNIT as u64).clamp(offset, size)))
    }
}
