//! Caller: on whose behalf contents are changed, and what goes with that.
//!
//! By set-user-ID and set-group-ID a file runs as its owner or group, so who may write it could
//! make it do what they like as those. Linux takes the bits away when contents or owner change,
//! and so does this file system, by the same rule: set-user-ID always, and set-group-ID where the
//! group may execute the file; without that it means mandatory locking. Linux lets callers with
//! `CAP_FSETID`, as root has, keep the bits when they change contents: a server that knows its
//! caller as such says so by [`FileSystem::privileged`]. A client that keeps the file's times
//! itself hands over what it gathered by [`FileSystem::write_delegated`].

use super::FileSystem;
use super::allocate::Beyond;
use super::attr::{SetAttr, Wcc};
use super::draft::Stamp;
use super::file::Write;
use crate::error::Result;
use crate::format::InodeRow;

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o010;

/// Who changes contents.
#[derive(Clone, Copy)]
pub(in crate::fs) struct Caller {
    /// Whether set-ID bits stay.
    privileged: bool,
    /// Whether mtime stays: it is the client's.
    delegate: bool,
}

impl Caller {
    pub const ANY: Caller = Caller { privileged: false, delegate: false };
    pub const PRIVILEGED: Caller = Caller { privileged: true, ..Caller::ANY };
    pub const DELEGATE: Caller = Caller { delegate: true, ..Caller::ANY };

    /// Whether set-ID bits go with a change of contents.
    pub fn loses_set_ids(self) -> bool {
        !self.privileged
    }

    /// Moves what a change of contents moves, at a moment.
    pub fn touch(self, row: &mut InodeRow, stamp: &Stamp) {
        if self.loses_set_ids() {
            row.mode = without_set_ids(row.mode.get()).into();
        }
        match self.delegate {
            true => stamp.touch(row),
            false => stamp.touch_contents(row),
        }
    }
}

/// A mode as it is once contents or owner changed.
pub(in crate::fs) fn without_set_ids(mode: u32) -> u32 {
    let group = if mode & GROUP_EXECUTES != 0 { SET_GID } else { 0 };
    mode & !(SET_UID | group)
}

/// The operations that change contents, for a caller that keeps set-user-ID and set-group-ID bits.
#[derive(Clone, Copy)]
pub struct Privileged<'a> {
    fs: &'a FileSystem,
}

impl FileSystem {
    /// The operations that change contents, for a caller that keeps set-user-ID and set-group-ID
    /// bits, as one with Linux's `CAP_FSETID` does. Nothing else differs.
    pub fn privileged(&self) -> Privileged<'_> {
        Privileged { fs: self }
    }
}

impl Privileged<'_> {
    /// As [`FileSystem::write`].
    ///
    /// # Errors
    /// As there.
    pub fn write(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result<Write> {
        self.fs.write_as(Caller::PRIVILEGED, ino, offset, bytes)
    }

    /// As [`FileSystem::write_delegated`].
    ///
    /// # Errors
    /// As there.
    pub fn write_delegated(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result<Write> {
        let caller = Caller { delegate: true, ..Caller::PRIVILEGED };
        self.fs.write_as(caller, ino, offset, bytes)
    }

    /// As [`FileSystem::append`].
    ///
    /// # Errors
    /// As there.
    pub fn append(&self, ino: u64, bytes: &[u8]) -> Result<Write> {
        self.fs.append_as(Caller::PRIVILEGED, ino, bytes)
    }

    /// As [`FileSystem::punch_hole`].
    ///
    /// # Errors
    /// As there.
    pub fn punch_hole(&self, ino: u64, offset: u64, len: u64) -> Result<Wcc> {
        self.fs.punch_hole_as(Caller::PRIVILEGED, ino, offset, len)
    }

    /// As [`FileSystem::allocate`].
    ///
    /// # Errors
    /// As there.
    pub fn allocate(&self, ino: u64, offset: u64, len: u64, beyond: Beyond) -> Result<Wcc> {
        self.fs.allocate_as(Caller::PRIVILEGED, ino, (offset, len), beyond)
    }

    /// As [`FileSystem::zero_range`].
    ///
    /// # Errors
    /// As there.
    pub fn zero_range(&self, ino: u64, offset: u64, len: u64, beyond: Beyond) -> Result<Wcc> {
        self.fs.zero_range_as(Caller::PRIVILEGED, ino, (offset, len), beyond)
    }

    /// As [`FileSystem::setattr`]: a new size leaves the bits; a new owner takes them away still.
    ///
    /// # Errors
    /// As there.
    pub fn setattr(&self, ino: u64, set: &SetAttr) -> Result<Wcc> {
        self.fs.setattr_as(Caller::PRIVILEGED, ino, set)
    }
}
