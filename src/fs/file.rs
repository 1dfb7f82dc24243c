//! Contents of files, by inode.

use std::sync::Arc;

use super::FileSystem;
use super::attr::{Attr, FileType, Wcc};
use super::caller::Caller;
use super::data::Finish;
use super::draft::Draft;
use super::inode::{Inode, RowRef};
use super::link::FREE_STEPS;
use crate::error::{Error, Result};
use crate::format::InodeRow;
use crate::limits::MAX_FILE_SIZE;

/// Bytes of a change that keeps its lock for long.
const LONG: u64 = 64 << 10;
/// Most bytes that are written while the lock is kept: bounds what is dirty before a checkpoint.
const PART: usize = 16 << 20;

/// Answer to a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Bytes that were read.
    pub len: usize,
    /// Whether the last of them is the last of the file.
    pub eof: bool,
    /// The file as it was when they were read.
    pub attr: Attr,
}

/// Answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// Bytes that were written: fewer than given only where a later part failed. Repeat with the
    /// rest to learn why.
    pub len: usize,
    /// The file before and after.
    pub file: Wcc,
}

impl FileSystem {
    /// Reads bytes of a regular file from `offset` on, as many as there are before its end. Holes
    /// read as zeros. Moves no time.
    ///
    /// # Errors
    /// [`Error::IsDirectory`] or [`Error::InvalidArgument`] for what is not a regular file,
    /// [`Error::Stale`], [`Error::KeyUnavailable`]; [`Error::Corrupt`] for contents that do not
    /// authenticate, nothing of which is given out; those of the device.
    pub fn read(&self, ino: u64, offset: u64, buf: &mut [u8]) -> Result<Read> {
        let inode = self.inodes.get(ino);
        let row = self.regular(&inode)?;
        let len = self.data.read(ino, &row, offset, buf)?;
        let eof = offset.saturating_add(len as u64) >= row.size.get();
        Ok(Read { len, eof, attr: Attr::of(ino, &row) })
    }

    /// Writes bytes to a regular file from `offset` on, which grows as needed, and takes its set-ID
    /// bits away, as far as the caller's [`Standing`](super::Standing) says. A write of up to 4 KiB
    /// inside one unit of 4 KiB is one transaction; larger ones may be several, of up to 1 MiB
    /// each and fewer bytes where space is fragmented or the old contents were. Durable after
    /// [`FileSystem::fsync`].
    ///
    /// # Errors
    /// As [`FileSystem::read`], and [`Error::FileTooLarge`], [`Error::NoSpace`],
    /// [`Error::ReadOnly`]: nothing was written then.
    pub fn write(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result<Write> {
        self.write_as(Caller::ANY, ino, offset, bytes)
    }

    /// As [`FileSystem::write`], for a client that keeps the file's mtime itself and sets it by
    /// [`FileSystem::setattr`]: the write leaves it, and moves ctime and the change attribute. So
    /// a client hands over writes that it gathered, such as one with NFSv4 delegated timestamps
    /// (RFC 9754), or the kernel with FUSE's cache of writes.
    ///
    /// # Errors
    /// As [`FileSystem::write`].
    pub fn write_delegated(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result<Write> {
        self.write_as(Caller::DELEGATE, ino, offset, bytes)
    }

    pub(in crate::fs) fn write_as(
        &self,
        caller: Caller,
        ino: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Write> {
        let part = |done: usize| &bytes[done..bytes.len().min(done + PART)];
        let mut all = self.write_part(caller, ino, offset, part(0))?;
        while all.len < bytes.len() {
            // A part failed, or was not tried. Locks went in between, and room was made.
            let at = offset.saturating_add(all.len as u64);
            let Ok(more) = self.write_part(caller, ino, at, part(all.len)) else { break };
            all.len += more.len;
            all.file.after = more.file.after;
        }
        Ok(all)
    }

    fn write_part(&self, caller: Caller, ino: u64, offset: u64, bytes: &[u8]) -> Result<Write> {
        let end = |_: &InodeRow| offset.saturating_add(bytes.len() as u64);
        let work = |row: &mut InodeRow, finish: &mut Finish<'_>| {
            self.data.write(ino, row, offset, bytes, finish)
        };
        let (written, file) = self.change_contents(caller, ino, bytes.len() as u64, end, work)?;
        Ok(Write { len: written.bytes, file })
    }

    /// Writes bytes at the end of a regular file, wherever that is by then.
    ///
    /// # Errors
    /// As [`FileSystem::write`].
    pub fn append(&self, ino: u64, bytes: &[u8]) -> Result<Write> {
        self.append_as(Caller::ANY, ino, bytes)
    }

    pub(in crate::fs) fn append_as(&self, caller: Caller, ino: u64, bytes: &[u8]) -> Result<Write> {
        let end = |row: &InodeRow| row.size.get().saturating_add(bytes.len() as u64);
        let work = |row: &mut InodeRow, finish: &mut Finish<'_>| {
            self.data.write(ino, row, row.size.get(), bytes, finish)
        };
        let (written, file) = self.change_contents(caller, ino, bytes.len() as u64, end, work)?;
        Ok(Write { len: written.bytes, file })
    }

    /// Writes all of `bytes` or fails, and returns the attributes.
    pub(in crate::fs) fn write_all(
        &self,
        ino: u64,
        mut offset: u64,
        mut bytes: &[u8],
    ) -> Result<Attr> {
        loop {
            let written = self.write(ino, offset, bytes)?;
            (offset, bytes) = (offset + written.len as u64, &bytes[written.len..]);
            if bytes.is_empty() {
                return Ok(written.file.after);
            }
        }
    }

    /// Makes a hole of `len` bytes from `offset` on: they read as zeros, and whole units are given
    /// back. The size stays.
    ///
    /// # Errors
    /// As [`FileSystem::write`]; bytes before those that failed may be zeros by then.
    pub fn punch_hole(&self, ino: u64, offset: u64, len: u64) -> Result<Wcc> {
        self.punch_hole_as(Caller::ANY, ino, offset, len)
    }

    pub(in crate::fs) fn punch_hole_as(
        &self,
        caller: Caller,
        ino: u64,
        offset: u64,
        len: u64,
    ) -> Result<Wcc> {
        let (mut at, end) = (offset, offset.saturating_add(len));
        let mut wcc: Option<Wcc> = None;
        loop {
            let work = |row: &mut InodeRow, finish: &mut Finish<'_>| {
                self.data.punch_part(ino, row, at..end, finish)
            };
            let ((_, next), part) = self.change_contents(caller, ino, len, |_| 0, work)?;
            let wcc = wcc.get_or_insert(part);
            wcc.after = part.after;
            match next {
                Some(next) => at = next,
                None => return Ok(*wcc),
            }
        }
    }

    /// The first byte at or after `offset` that is not in a hole; `None` where only a hole, or
    /// nothing, follows.
    ///
    /// # Errors
    /// As [`FileSystem::read`], without those of keys and contents.
    pub fn seek_data(&self, ino: u64, offset: u64) -> Result<Option<u64>> {
        let inode = self.inodes.get(ino);
        let row = self.regular(&inode)?;
        self.data.seek_data(ino, &row, offset)
    }

    /// The first byte at or after `offset` that is in a hole, as which the end of the file counts;
    /// `None` for an offset at or behind the end.
    ///
    /// # Errors
    /// As [`FileSystem::seek_data`].
    pub fn seek_hole(&self, ino: u64, offset: u64) -> Result<Option<u64>> {
        let inode = self.inodes.get(ino);
        let row = self.regular(&inode)?;
        self.data.seek_hole(ino, &row, offset)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is not one, and those of [`FileSystem::read`].
    pub fn readlink(&self, ino: u64) -> Result<Vec<u8>> {
        let inode = self.inodes.get(ino);
        let row = inode.read(&self.engine, self.tree)?;
        if FileType::of_mode(row.mode.get()) != Some(FileType::Symlink) {
            return Err(Error::InvalidArgument("not a symbolic link"));
        }
        let mut target =
            vec![0; row.size.get().min(crate::limits::MAX_SYMLINK_LEN as u64) as usize];
        let len = self.data.read(ino, &row, 0, &mut target)?;
        target.truncate(len);
        Ok(target)
    }

    /// Fails for a range of what is no regular file, and for one that no file can have.
    pub(in crate::fs) fn check_range(&self, ino: u64, offset: u64, len: u64) -> Result<()> {
        self.regular(&self.inodes.get(ino))?;
        match offset.checked_add(len) {
            Some(end) if end <= i64::MAX as u64 => Ok(()),
            _ => Err(Error::InvalidArgument("a range beyond the end of all files")),
        }
    }

    /// The row of a regular file under the shared lock.
    fn regular<'a>(&self, inode: &'a Inode) -> Result<RowRef<'a>> {
        let row = inode.read(&self.engine, self.tree)?;
        check_regular(&row)?;
        Ok(row)
    }

    /// Changes `len` bytes of the contents of a regular file, with its times and change attribute.
    /// It grows to `end` at most.
    pub(in crate::fs) fn change_contents<T>(
        &self,
        caller: Caller,
        ino: u64,
        len: u64,
        end: impl Fn(&InodeRow) -> u64,
        work: impl Fn(&mut InodeRow, &mut Finish<'_>) -> Result<T>,
    ) -> Result<(T, Wcc)> {
        self.changing(|| {
            let inode = self.inodes.get(ino);
            let mut draft = self.draft_to_grow(&inode, &end)?;
            if len >= LONG {
                draft.will_last();
            }
            let before = *draft.row(ino)?;
            check_regular(&before)?;
            let stamp = draft.stamp;
            let change = |row: &mut InodeRow| {
                caller.touch(row, &stamp);
            };
            let (answer, after) = draft.contents(ino, &work, change)?;
            Ok((answer, Wcc::of(ino, &before, &after)))
        })
    }

    /// Locks a file for a change after which it ends at `end` at most, and sees that nothing is
    /// left up to there of what it once held: a truncation may have left much, so others may have
    /// the lock in between.
    pub(in crate::fs) fn draft_to_grow<'a>(
        &'a self,
        inode: &'a Arc<Inode>,
        end: impl Fn(&InodeRow) -> u64,
    ) -> Result<Draft<'a>> {
        loop {
            let mut draft = self.draft(&[inode])?;
            let end = end(draft.row(inode.ino())?).min(MAX_FILE_SIZE);
            if draft.settle(inode.ino(), end, FREE_STEPS)? {
                return Ok(draft);
            }
            draft.will_last();
            drop(draft);
            self.engine.relieve();
        }
    }
}

/// Fails for what has no contents of bytes.
pub(in crate::fs) fn check_regular(row: &InodeRow) -> Result<()> {
    match FileType::of_mode(row.mode.get()) {
        Some(FileType::Regular) => Ok(()),
        Some(FileType::Directory) => Err(Error::IsDirectory),
        _ => Err(Error::InvalidArgument("not a regular file")),
    }
}
