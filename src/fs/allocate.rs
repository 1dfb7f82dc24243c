//! Space for a range of a file: asked for ahead of its contents, and given back with zeros.

use super::FileSystem;
use super::attr::Wcc;
use super::caller::Caller;
use super::data::Finish;
use crate::error::{Error, Result};
use crate::format::InodeRow;
use crate::limits::{MAX_FILE_SIZE, UNIT};
use crate::txn::Lsn;

/// What happens to the size of a file whose range ends behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// The file grows to the end of the range.
    Grow,
    /// The size stays.
    Keep,
}

impl FileSystem {
    /// Asks for the space of `len` bytes from `offset` on, which keep their contents. Fails at once
    /// where that is more than the file takes already and the store has free, and sets the size as
    /// `beyond` says; a part that was a hole still is one. Space is not set aside: nothing is ever
    /// overwritten in place, so a store that is full by then refuses a later write all the same.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; [`Error::InvalidArgument`] for no bytes, [`Error::FileTooLarge`], and
    /// those of [`FileSystem::setattr`] with a size.
    pub fn allocate(&self, ino: u64, offset: u64, len: u64, beyond: Beyond) -> Result<Wcc> {
        self.allocate_as(Caller::ANY, ino, (offset, len), beyond)
    }

    pub(in crate::fs) fn allocate_as(
        &self,
        caller: Caller,
        ino: u64,
        (offset, len): (u64, u64),
        beyond: Beyond,
    ) -> Result<Wcc> {
        let end = range_end(offset, len)?;
        let work = |row: &mut InodeRow, finish: &mut Finish<'_>| {
            let missing = len.saturating_sub(row.units.get().saturating_mul(UNIT as u64));
            if missing > self.statfs().available {
                return Err(Error::NoSpace);
            }
            self.grow(ino, row, end, beyond, finish)
        };
        let most = |_: &InodeRow| if beyond == Beyond::Grow { end } else { 0 };
        Ok(self.change_contents(caller, ino, 0, most, work)?.1)
    }

    /// Makes zeros of `len` bytes from `offset` on, as [`FileSystem::punch_hole`] does, and sets
    /// the size as `beyond` says.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no bytes, and those of [`FileSystem::punch_hole`].
    pub fn zero_range(&self, ino: u64, offset: u64, len: u64, beyond: Beyond) -> Result<Wcc> {
        self.zero_range_as(Caller::ANY, ino, (offset, len), beyond)
    }

    pub(in crate::fs) fn zero_range_as(
        &self,
        caller: Caller,
        ino: u64,
        (offset, len): (u64, u64),
        beyond: Beyond,
    ) -> Result<Wcc> {
        let end = range_end(offset, len)?;
        let mut wcc = self.punch_hole_as(caller, ino, offset, len)?;
        if beyond == Beyond::Grow && end > wcc.after.size {
            let grow = |row: &mut InodeRow, finish: &mut Finish<'_>| {
                self.grow(ino, row, end, beyond, finish)
            };
            wcc.after = self.change_contents(caller, ino, 0, |_| end, grow)?.1.after;
        }
        Ok(wcc)
    }

    /// Sets the size to `end` where that is more and wanted.
    fn grow(
        &self,
        ino: u64,
        row: &mut InodeRow,
        end: u64,
        beyond: Beyond,
        finish: &mut Finish<'_>,
    ) -> Result<Lsn> {
        let size = match beyond {
            Beyond::Grow => end.max(row.size.get()),
            Beyond::Keep => row.size.get(),
        };
        self.data.truncate(ino, row, size, finish)
    }
}

/// Where a range ends.
fn range_end(offset: u64, len: u64) -> Result<u64> {
    if len == 0 {
        return Err(Error::InvalidArgument("a range without bytes"));
    }
    let end = offset.checked_add(len).filter(|end| *end <= MAX_FILE_SIZE);
    end.ok_or(Error::FileTooLarge)
}
