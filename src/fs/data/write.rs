//! Writing contents.
//!
//! A write goes in batches, each of which is one transaction. Whole units are sealed straight from
//! the caller's bytes; a unit that is written in part is read, changed and sealed as a new unit.

use super::buffer::Scratch;
use super::change::{MAX_OLD, Plain};
use super::map::{Detail, Map};
use super::stream::GROWN;
use super::{Contents, Finish, Written};
use crate::error::{Error, Result};
use crate::format::InodeRow;
use crate::limits::{MAX_FILE_SIZE, MAX_INLINE_LEN, SMALL_UNITS, UNIT};
use crate::txn::Class;

/// Units of one batch: the ciphertext that waits for its request.
const BATCH: u64 = 256;

impl Contents {
    /// Writes `bytes` from `offset` on; what lies between the old end and `offset` is a hole. The
    /// caller holds the inode's lock, exclusive.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`] while the DATA domain is locked, [`Error::FileTooLarge`],
    /// [`Error::NoSpace`]; [`Error::Corrupt`] where a unit is written in part whose old contents
    /// do not authenticate; those of the device. Nothing changed then.
    pub fn write(
        &self,
        ino: u64,
        row: &mut InodeRow,
        offset: u64,
        bytes: &[u8],
        finish: &mut Finish<'_>,
    ) -> Result<Written> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > MAX_FILE_SIZE) {
            return Err(Error::FileTooLarge);
        }
        self.keys.check()?;
        self.settle(ino, row, offset + bytes.len() as u64, usize::MAX, finish)?;
        let mut written = Written { bytes: 0, lsn: self.engine.last() };
        let mut scratch = self.pool.take(ino);
        while written.bytes < bytes.len() {
            let (at, rest) = (offset + written.bytes as u64, &bytes[written.bytes..]);
            let size = row.size.get().max(at + rest.len() as u64);
            let batch = if size <= MAX_INLINE_LEN as u64 {
                self.write_inline(ino, row, at, rest, &mut scratch, finish)
            } else {
                self.write_units(ino, row, at, rest, &mut scratch, finish)
            };
            match batch {
                Ok(batch) => {
                    written.bytes += batch.bytes;
                    written.lsn = batch.lsn;
                }
                Err(error) if written.bytes == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(written)
    }

    /// Writes a file that is small enough as inline bytes.
    fn write_inline(
        &self,
        ino: u64,
        row: &mut InodeRow,
        offset: u64,
        bytes: &[u8],
        scratch: &mut Scratch,
        finish: &mut Finish<'_>,
    ) -> Result<Written> {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        let size = row.size.get().max(end as u64);
        let Scratch { old, new, head, value, .. } = scratch;
        let plain = head.units(1);
        {
            let _pin = self.engine.pin_for(ino);
            self.lookup(ino, 0..1, Detail::Whole, MAX_OLD, old)?;
            if start > 0 || (end as u64) < row.size.get() {
                self.read_unit(ino, 0, old, plain)?;
            } else {
                plain.fill(0);
            }
        }
        plain[start..end].copy_from_slice(bytes);
        let mut change = self.change(ino, row);
        new.clear();
        change.store_inline(&mut plain[..size as usize], new, value)?;
        change.replace(0..1, old, new, value);
        change.row.size = size.into();
        let lsn = change.commit(row, Class::Normal, finish)?;
        Ok(Written { bytes: bytes.len(), lsn })
    }

    /// Writes one batch as units.
    fn write_units(
        &self,
        ino: u64,
        row: &mut InodeRow,
        offset: u64,
        bytes: &[u8],
        scratch: &mut Scratch,
        finish: &mut Finish<'_>,
    ) -> Result<Written> {
        let Scratch { old, new, head, tail, cipher, value } = scratch;
        let first = offset / UNIT as u64;
        let end = offset + bytes.len() as u64;
        let last = end.div_ceil(UNIT as u64).min(first + BATCH);
        let mut stream = self.streams.take(ino, first);
        // A stream's extent grows: it ends before the first unit.
        let from = if stream.is_some() { first.saturating_sub(1) } else { first };
        let pin = self.engine.pin_for(ino);
        let last = self.lookup(ino, from..last, Detail::Whole, MAX_OLD, old)?;
        let bytes = &bytes[..(end.min(last * UNIT as u64) - offset) as usize];
        let mut plain = Plain { body: bytes, ..Plain::default() };
        let skip = offset as usize % UNIT;
        if skip > 0 || bytes.len() < UNIT {
            let (now, rest) = bytes.split_at(bytes.len().min(UNIT - skip));
            let unit = head.units(1);
            let kept = skip > 0 || offset + (now.len() as u64) < row.size.get();
            self.old_unit(ino, first, kept, old, unit)?;
            unit[skip..skip + now.len()].copy_from_slice(now);
            (plain.head, plain.body) = (unit, rest);
        }
        let (body, now) = plain.body.split_at(plain.body.len() / UNIT * UNIT);
        plain.body = body;
        if !now.is_empty() {
            let unit = tail.units(1);
            self.old_unit(ino, last - 1, end < row.size.get(), old, unit)?;
            unit[..now.len()].copy_from_slice(now);
            plain.tail = unit;
        }
        drop(pin);

        let mut change = self.change(ino, row);
        let small = plain.units() as u64 <= u64::from(SMALL_UNITS);
        if let Some(stream) = stream.as_mut().filter(|_| small) {
            change.draw(stream, plain.units() as u32)?;
        }
        new.clear();
        let units = change.store(first, &plain, cipher, new)?;
        new.join(old, GROWN);
        change.replace(first..first + units, old, new, value);
        let done = bytes.len().min(((first + units) * UNIT as u64 - offset) as usize);
        let size = row.size.get().max(offset + done as u64);
        change.row.size = size.into();
        let lsn = change.commit(row, Class::Normal, finish)?;
        if small {
            stream.unwrap_or_else(|| self.streams.start()).keep(ino, first + units);
        }
        Ok(Written { bytes: done, lsn })
    }

    /// What a unit that is written in part holds so far; zeros where nothing of it is kept.
    fn old_unit(&self, ino: u64, unit: u64, kept: bool, old: &Map, buf: &mut [u8]) -> Result<()> {
        if kept {
            return self.read_unit(ino, unit, old, buf);
        }
        buf.fill(0);
        Ok(())
    }
}
