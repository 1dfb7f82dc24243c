//! Changing the size of a file, and taking contents out of it.
//!
//! Growing is a hole. Shrinking goes in steps: the first commits the new size, and where it leaves
//! rows beyond it, marks the inode [`InodeRow::TRIMMING`] and puts an ORPHAN row, so that the rest
//! is done after a crash too. A file that is so marked grows only to where nothing is left: its old
//! contents would show.

use std::ops::Range;

use super::buffer::Scratch;
use super::change::{Change, MAX_DELETED, MAX_OLD, Plain};
use super::map::{Detail, Map};
use super::{Contents, Finish};
use crate::error::{Error, Result};
use crate::format::{FsKey, InodeRow, MAX_FILE_UNITS};
use crate::limits::{MAX_FILE_SIZE, UNIT};
use crate::txn::{Class, Lsn};

/// Steps that a truncation spends on what it leaves beyond the size.
const TRIM_STEPS: usize = 16;
/// Transactions in which a part of a hole is made.
const HOLE_STEPS: usize = 64;

fn is_trimming(row: &InodeRow) -> bool {
    row.flags.get() & InodeRow::TRIMMING != 0
}

impl Contents {
    /// Sets the size. The caller holds the inode's lock, exclusive.
    ///
    /// Shrinking to a size inside a unit seals that unit anew, and so needs the DATA domain and
    /// a free unit; shrinking to whole units, such as zero, needs neither. Once the size is
    /// committed, what fails after that is left to [`Contents::trim_step`], as is what takes more
    /// than a few steps.
    ///
    /// # Errors
    /// [`Error::FileTooLarge`], [`Error::KeyUnavailable`], [`Error::NoSpace`], [`Error::Corrupt`]
    /// where the cut unit does not authenticate; those of the device. Nothing changed then.
    pub fn truncate(
        &self,
        ino: u64,
        row: &mut InodeRow,
        size: u64,
        finish: &mut Finish<'_>,
    ) -> Result<Lsn> {
        if size > MAX_FILE_SIZE {
            return Err(Error::FileTooLarge);
        }
        if size >= row.size.get() {
            self.settle(ino, row, size, usize::MAX, finish)?;
            let mut change = self.change(ino, row);
            change.row.size = size.into();
            return change.commit(row, Class::Normal, finish);
        }
        let mut lsn = self.cut(ino, row, size, finish)?;
        for _ in 0..TRIM_STEPS {
            if !is_trimming(row) {
                break;
            }
            match self.trim_step(ino, row, finish) {
                Ok(step) => lsn = step,
                Err(_) => break,
            }
        }
        Ok(lsn)
    }

    /// The first step of shrinking: the new size, the cut unit, and as many rows as fit.
    fn cut(&self, ino: u64, row: &mut InodeRow, size: u64, finish: &mut Finish<'_>) -> Result<Lsn> {
        let mut scratch = self.pool.take(ino);
        let Scratch { old, new, head, cipher, value, .. } = &mut *scratch;
        let (first, within) = (size / UNIT as u64, size as usize % UNIT);
        let mut from = first;
        let pin = self.engine.pin_for(ino);
        let covered = self.lookup(ino, first..MAX_FILE_UNITS, Detail::Whole, MAX_OLD, old)?;
        let inline = old.inline().map_or(0, |(inline, _)| inline.len);
        if inline > 0 && (1..=within).contains(&inline) {
            // Nothing of unit 0 goes.
            from = 1;
        } else if within > 0 && old.is_lost(first) {
            // What is gone of a unit stays so: its rest must not become zeros.
            from = first + 1;
        }
        let kept = within > 0 && from == first && (inline > 0 || old.find(first).is_some());
        if kept {
            let unit = head.units(1);
            self.read_unit(ino, first, old, unit)?;
            unit[within..].fill(0);
        }
        drop(pin);
        let mut change = self.change(ino, row);
        new.clear();
        if kept && inline > 0 {
            change.store_inline(&mut head.units(1)[..within], new, value)?;
        } else if kept {
            let plain = Plain { body: head.units(1), ..Plain::default() };
            change.store(first, &plain, cipher, new)?;
        }
        change.replace(from..covered, old, new, value);
        change.row.size = size.into();
        if covered == MAX_FILE_UNITS {
            self.end_trimming(&mut change);
        } else {
            change.row.flags = (row.flags.get() | InodeRow::TRIMMING).into();
            change.edits.put(self.tree, &FsKey::Orphan(ino).encode(), &[]);
        }
        change.commit(row, Class::Freeing, finish)
    }

    /// Frees what truncations left between the size and `end`, if anything, before the file grows:
    /// it would be seen again. Takes at most `steps` transactions, and returns whether nothing is
    /// left there. The caller holds the inode's lock, exclusive.
    ///
    /// # Errors
    /// Those of reading rows, and of the device.
    pub fn settle(
        &self,
        ino: u64,
        row: &mut InodeRow,
        end: u64,
        steps: usize,
        finish: &mut Finish<'_>,
    ) -> Result<bool> {
        let beyond = row.size.get().div_ceil(UNIT as u64)..end.div_ceil(UNIT as u64);
        for done in 0.. {
            if !is_trimming(row) || beyond.is_empty() {
                break;
            }
            let mut map = Map::default();
            self.lookup(ino, beyond.clone(), Detail::Place, 1, &mut map)?;
            if map.rows().is_empty() && map.inline().is_none() && map.lost().is_empty() {
                break;
            }
            if done == steps {
                return Ok(false);
            }
            self.trim_step(ino, row, finish)?;
        }
        Ok(true)
    }

    /// One step of freeing what is beyond the size of an inode that is marked
    /// [`InodeRow::TRIMMING`]; the last takes the mark away, and the ORPHAN row unless the inode
    /// has no name. The caller holds the inode's lock, exclusive.
    ///
    /// # Errors
    /// Those of reading rows, and of the device.
    pub fn trim_step(&self, ino: u64, row: &mut InodeRow, finish: &mut Finish<'_>) -> Result<Lsn> {
        let kept = row.size.get().div_ceil(UNIT as u64);
        let mut change = self.change(ino, row);
        if self.delete_rows(&mut change, kept..MAX_FILE_UNITS)? == MAX_FILE_UNITS {
            self.end_trimming(&mut change);
        }
        change.commit(row, Class::Freeing, finish)
    }

    /// Says that nothing is left beyond the size.
    fn end_trimming(&self, change: &mut Change<'_>) {
        if is_trimming(&change.row) {
            change.row.flags = (change.row.flags.get() & !InodeRow::TRIMMING).into();
            if change.row.nlink.get() > 0 {
                let orphan = FsKey::Orphan(change.ino()).encode();
                change.edits.del(self.tree, &orphan);
            }
        }
    }

    /// Deletes as many rows of a range as fit in a transaction, and returns how far that is.
    pub(super) fn delete_rows(&self, change: &mut Change<'_>, range: Range<u64>) -> Result<u64> {
        self.delete_few_rows(change, range, MAX_DELETED)
    }

    /// As [`Contents::delete_rows`], at most `most` rows.
    pub(super) fn delete_few_rows(
        &self,
        change: &mut Change<'_>,
        range: Range<u64>,
        most: usize,
    ) -> Result<u64> {
        let mut scratch = self.pool.take(change.ino());
        let Scratch { old, new, value, .. } = &mut *scratch;
        let ino = change.ino();
        let covered = self.lookup(ino, range.clone(), Detail::Whole, most, old)?;
        new.clear();
        change.replace(range.start..covered, old, new, value);
        Ok(covered)
    }

    /// Makes a hole of bytes: they read as zeros and take no space where whole units are covered.
    /// The size stays. Does it in so few transactions that others need not wait long for the
    /// inode's lock, and returns where to go on, unless all is done. The caller holds that lock,
    /// exclusive.
    ///
    /// # Errors
    /// As [`Contents::write`]; bytes before those that failed may be zeros by then.
    pub fn punch_part(
        &self,
        ino: u64,
        row: &mut InodeRow,
        bytes: Range<u64>,
        finish: &mut Finish<'_>,
    ) -> Result<(Lsn, Option<u64>)> {
        let (size, unit) = (row.size.get(), UNIT as u64);
        let end = bytes.end.min(size);
        let mut lsn = None;
        if bytes.start < end && !bytes.start.is_multiple_of(unit) {
            let to = end.min(bytes.start.next_multiple_of(unit));
            lsn = self.zero(ino, row, bytes.start..to, finish)?.or(lsn);
        }
        let first = bytes.start.div_ceil(unit);
        // The last unit of the file goes whole.
        let last = if end < size { end / unit } else { end.div_ceil(unit) };
        let (mut at, mut steps) = (first, HOLE_STEPS);
        while at < last {
            let mut change = self.change(ino, row);
            at = self.delete_rows(&mut change, at..last)?;
            if !change.edits.is_empty() {
                let done = change.commit(row, Class::Freeing, finish)?;
                lsn = Some(done);
                steps -= 1;
                if steps == 0 && at < last {
                    return Ok((done, Some(at * unit)));
                }
            }
        }
        if end < size && !end.is_multiple_of(unit) && last >= first {
            lsn = self.zero(ino, row, last * unit..end, finish)?.or(lsn);
        }
        match lsn {
            Some(lsn) => Ok((lsn, None)),
            None => Ok((self.change(ino, row).commit(row, Class::Normal, finish)?, None)),
        }
    }

    /// Writes zeros to a part of one unit, unless it is a hole.
    fn zero(
        &self,
        ino: u64,
        row: &mut InodeRow,
        bytes: Range<u64>,
        finish: &mut Finish<'_>,
    ) -> Result<Option<Lsn>> {
        let unit = bytes.start / UNIT as u64;
        let mut map = Map::default();
        self.lookup(ino, unit..unit + 1, Detail::Place, 1, &mut map)?;
        if map.rows().is_empty() && map.inline().is_none() {
            return Ok(None);
        }
        let zeros = [0; UNIT];
        let zeros = &zeros[..(bytes.end - bytes.start) as usize];
        Ok(Some(self.write(ino, row, bytes.start, zeros, finish)?.lsn))
    }
}
