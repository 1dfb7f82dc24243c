//! Defragmenting of files: their contents come to stand so that reading them in order is fast.

use super::FileSystem;
use super::data::Finish;
use super::file::check_regular;
use crate::error::Result;
use crate::format::InodeRow;
use crate::limits::UNIT;

/// Segments that one call looks at: 16 MiB.
const SEGMENTS: usize = 16;

/// What a call of [`FileSystem::defragment`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defragmented {
    /// The offset to go on at; `None` where nothing follows.
    pub next: Option<u64>,
    /// How many requests of the device read what was looked at in order, before.
    pub before: u64,
    /// How many do now.
    pub after: u64,
    /// Bytes that were moved.
    pub moved: u64,
}

impl FileSystem {
    /// Moves contents of a regular file that stand in many pieces on the device to where they stand
    /// together: those of up to 16 MiB from `offset` on, 1 MiB at most under one lock. What would
    /// not gain by it stays, and so does what no run of free space is long enough for.
    ///
    /// Contents, size, times and the change attribute stay as they are, so no client has anything
    /// to forget. Each step is an ordinary transaction: a crash, or a call that is not followed by
    /// another, leaves a whole file. Memory is bounded.
    ///
    /// # Errors
    /// As [`FileSystem::read`], and [`Error::ReadOnly`](crate::Error::ReadOnly). Missing space is
    /// none.
    pub fn defragment(&self, ino: u64, offset: u64) -> Result<Defragmented> {
        let mut done = Defragmented { next: Some(offset), ..Defragmented::default() };
        for _ in 0..SEGMENTS {
            let Some(from) = done.next else { break };
            let moved = self.changing(|| {
                let inode = self.inodes.get(ino);
                let mut draft = self.draft(&[&inode])?;
                draft.will_last();
                check_regular(draft.row(ino)?)?;
                let work = |row: &mut InodeRow, finish: &mut Finish<'_>| {
                    self.data.defragment(ino, row, from / UNIT as u64, finish)
                };
                Ok(draft.contents(ino, work, |_| ())?.0)
            })?;
            done.next = moved.next.map(|unit| unit * UNIT as u64);
            done.before += moved.before;
            done.after += moved.after;
            done.moved += moved.units * UNIT as u64;
        }
        Ok(done)
    }
}
