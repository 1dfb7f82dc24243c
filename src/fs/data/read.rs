//! Reading contents.
//!
//! Whole units are read straight into the caller's buffer and opened there in place; a unit that
//! is wanted in part goes through working memory. Rows that stand one after another in the file
//! and on the device are read with one request.

use std::ops::Range;

use super::Contents;
use super::buffer::Buffer;
use super::map::{Detail, Map, Row};
use crate::error::Result;
use crate::format::InodeRow;
use crate::limits::UNIT;

/// Units whose rows are looked up together: bounds working memory.
const WINDOW: u64 = 1024;
/// Most units of one request: what was read is still in the processor's cache when it is opened.
pub(super) const REQUEST: u64 = 64;

impl Contents {
    /// Reads bytes from `offset` on into `buf`, and returns how many there are before the end of
    /// the file. Holes read as zeros.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`](crate::Error::KeyUnavailable) while the DATA domain is locked;
    /// [`Error::Corrupt`](crate::Error::Corrupt) with the file and the offset of a unit that does
    /// not authenticate; those of the device. `buf` then holds zeros.
    pub fn read(&self, ino: u64, row: &InodeRow, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let left = row.size.get().saturating_sub(offset);
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let buf = &mut buf[..len];
        if len == 0 {
            return Ok(0);
        }
        let result = self.keys.check().and_then(|()| self.read_windows(ino, offset, buf));
        if result.is_err() {
            buf.fill(0);
        }
        result.map(|()| len)
    }

    fn read_windows(&self, ino: u64, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        let mut scratch = self.pool.take(ino);
        let scratch = &mut *scratch;
        while !buf.is_empty() {
            let first = offset / UNIT as u64;
            let window = ((first + WINDOW) * UNIT as u64 - offset).min(buf.len() as u64) as usize;
            let (now, rest) = buf.split_at_mut(window);
            let end = (offset + window as u64).div_ceil(UNIT as u64);
            let _pin = self.engine.pin_for(ino);
            self.lookup(ino, first..end, Detail::Part, usize::MAX, &mut scratch.old)?;
            self.read_window(ino, offset, now, &scratch.old, &mut scratch.head)?;
            (offset, buf) = (offset + window as u64, rest);
        }
        Ok(())
    }

    /// Reads a window whose rows are in `map`: a unit wanted in part, whole units, another part.
    fn read_window(
        &self,
        ino: u64,
        mut offset: u64,
        mut buf: &mut [u8],
        map: &Map,
        head: &mut Buffer,
    ) -> Result<()> {
        while !buf.is_empty() {
            let (first, skip) = (offset / UNIT as u64, offset as usize % UNIT);
            let whole = buf.len() / UNIT;
            let step =
                if skip == 0 && whole > 0 { whole * UNIT } else { buf.len().min(UNIT - skip) };
            let (now, rest) = buf.split_at_mut(step);
            let inline = map.inline().map_or(UNIT, |(inline, _)| inline.len);
            if skip == 0 && whole > 0 {
                self.read_whole(ino, first..first + whole as u64, now, map)?;
            } else if (first, skip) == (0, 0) && inline <= step {
                // All of it is wanted.
                self.read_unit(ino, 0, map, now)?;
            } else {
                let unit = head.units(1);
                self.read_unit(ino, first, map, unit)?;
                now.copy_from_slice(&unit[skip..skip + step]);
            }
            (offset, buf) = (offset + step as u64, rest);
        }
        Ok(())
    }

    /// Reads whole units into `buf`.
    fn read_whole(&self, ino: u64, range: Range<u64>, buf: &mut [u8], map: &Map) -> Result<()> {
        let bytes = |from: u64, to: u64| {
            (from - range.start) as usize * UNIT..(to - range.start) as usize * UNIT
        };
        let mut at = range.start;
        if at == 0 && map.inline().is_some() {
            self.read_unit(ino, 0, map, &mut buf[..UNIT])?;
            at = 1;
        }
        let behind = map.rows().partition_point(|row| row.end() <= at);
        let mut rows = &map.rows()[behind..];
        while let Some(row) = rows.first().filter(|row| row.first < range.end && at < range.end) {
            let from = row.first.max(at);
            buf[bytes(at, from)].fill(0);
            let end = contiguous(rows, from, range.end);
            let unit = row.extent.unit + (from - row.first);
            self.fetch(ino, from, unit, &mut buf[bytes(from, end)])?;
            at = from;
            while at < end {
                let row = &rows[0];
                let to = row.end().min(end);
                let part = (at - row.first) as u32..(to - row.first) as u32;
                let tags = map.tags(row, part.clone());
                self.open(ino, row, part.start, tags, &mut buf[bytes(at, to)])?;
                at = to;
                if to == row.end() {
                    rows = &rows[1..];
                }
            }
        }
        buf[bytes(at, range.end)].fill(0);
        Ok(())
    }
}

/// How far the units from `from` on, which the first row holds, stand one after another on the
/// device: at most to `limit`, and not further than one request.
fn contiguous(rows: &[Row], from: u64, limit: u64) -> u64 {
    let limit = limit.min(from + REQUEST);
    let mut end = rows[0].end();
    for (row, next) in rows.iter().zip(&rows[1..]) {
        let follows = next.first == row.end()
            && next.extent.unit == row.extent.unit + u64::from(row.extent.units);
        if end >= limit || !follows {
            break;
        }
        end = next.end();
    }
    end.min(limit)
}
