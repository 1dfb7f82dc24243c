//! Caller: on whose behalf contents are changed, and what goes with that.
//!
//! By set-user-ID and set-group-ID a file runs as its owner or group, so who may write it could
//! make it do what they like as those. Linux takes the bits away when contents or owner change,
//! and so does this file system, by the same rule, which asks what the caller is to the file
//! ([`Standing`]). A client that keeps the file's times itself hands over what it gathered by
//! [`FileSystem::write_delegated`].

use super::FileSystem;
use super::acl::{Acl, AclKind};
use super::allocate::Beyond;
use super::attr::{SetAttr, Wcc};
use super::draft::Stamp;
use super::file::Write;
use crate::error::Result;
use crate::format::InodeRow;

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o010;

/// What a caller is to a file whose contents or owner it changes: that decides which set-ID bits
/// the change takes away, by the rule of Linux since 6.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// Somebody of whom nothing else is known: set-user-ID and set-group-ID go.
    #[default]
    Other,
    /// In the file's group: set-user-ID goes, and set-group-ID where the group may execute the
    /// file. Without that the bit lends nobody the group's rights.
    Member,
    /// With Linux's `CAP_FSETID`, as root: a change of contents leaves both, and one of the owner
    /// does what it does for a member.
    Privileged,
}

impl Standing {
    /// A mode as it is once contents changed.
    fn after_contents(self, mode: u32) -> u32 {
        match self {
            Standing::Privileged => mode,
            Standing::Other | Standing::Member => self.after_owner(mode),
        }
    }

    /// A mode as it is once the owner or group of what is no directory was set.
    fn after_owner(self, mode: u32) -> u32 {
        let group = self == Standing::Other || mode & GROUP_EXECUTES != 0;
        mode & !(SET_UID | if group { SET_GID } else { 0 })
    }
}

/// Who changes a file.
#[derive(Clone, Copy)]
pub(in crate::fs) struct Caller {
    standing: Standing,
    /// Whether mtime stays: it is the client's.
    delegate: bool,
}

impl Caller {
    pub const ANY: Caller = Caller { standing: Standing::Other, delegate: false };
    pub const DELEGATE: Caller = Caller { delegate: true, ..Caller::ANY };

    /// Moves what a change of contents moves, at a moment.
    pub fn touch(self, row: &mut InodeRow, stamp: &Stamp) {
        row.mode = self.standing.after_contents(row.mode.get()).into();
        match self.delegate {
            true => stamp.touch(row),
            false => stamp.touch_contents(row),
        }
    }

    /// Whether an access list leaves the set-group-ID bit.
    pub fn keeps_group_bit(self) -> bool {
        self.standing != Standing::Other
    }

    /// A mode as it is once attributes were set: those of what is no directory change with owner
    /// and contents.
    pub fn mode_after(self, mode: u32, owner: bool, contents: bool) -> u32 {
        let mode = if owner { self.standing.after_owner(mode) } else { mode };
        if contents { self.standing.after_contents(mode) } else { mode }
    }
}

/// The operations that change contents or owner, for a caller whose [`Standing`] is known. Nothing
/// else differs.
#[derive(Clone, Copy)]
pub struct Acting<'a> {
    fs: &'a FileSystem,
    caller: Caller,
}

impl FileSystem {
    /// The operations that change contents or owner, for a caller who is known to the server.
    pub fn acting(&self, standing: Standing) -> Acting<'_> {
        Acting { fs: self, caller: Caller { standing, delegate: false } }
    }

    /// [`FileSystem::acting`] for [`Standing::Privileged`].
    pub fn privileged(&self) -> Acting<'_> {
        self.acting(Standing::Privileged)
    }
}

impl Acting<'_> {
    /// As [`FileSystem::write`].
    ///
    /// # Errors
    /// As there.
    pub fn write(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result<Write> {
        self.fs.write_as(self.caller, ino, offset, bytes)
    }

    /// As [`FileSystem::write_delegated`].
    ///
    /// # Errors
    /// As there.
    pub fn write_delegated(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result<Write> {
        let caller = Caller { delegate: true, ..self.caller };
        self.fs.write_as(caller, ino, offset, bytes)
    }

    /// As [`FileSystem::append`].
    ///
    /// # Errors
    /// As there.
    pub fn append(&self, ino: u64, bytes: &[u8]) -> Result<Write> {
        self.fs.append_as(self.caller, ino, bytes)
    }

    /// As [`FileSystem::punch_hole`].
    ///
    /// # Errors
    /// As there.
    pub fn punch_hole(&self, ino: u64, offset: u64, len: u64) -> Result<Wcc> {
        self.fs.punch_hole_as(self.caller, ino, offset, len)
    }

    /// As [`FileSystem::allocate`].
    ///
    /// # Errors
    /// As there.
    pub fn allocate(&self, ino: u64, offset: u64, len: u64, beyond: Beyond) -> Result<Wcc> {
        self.fs.allocate_as(self.caller, ino, (offset, len), beyond)
    }

    /// As [`FileSystem::zero_range`].
    ///
    /// # Errors
    /// As there.
    pub fn zero_range(&self, ino: u64, offset: u64, len: u64, beyond: Beyond) -> Result<Wcc> {
        self.fs.zero_range_as(self.caller, ino, (offset, len), beyond)
    }

    /// As [`FileSystem::set_acl`]. An access list leaves the set-group-ID bit, whoever may execute,
    /// unless the caller is [`Standing::Other`].
    ///
    /// # Errors
    /// As there.
    pub fn set_acl(&self, ino: u64, kind: AclKind, list: Option<&Acl>) -> Result<Wcc> {
        self.fs.set_acl_as(self.caller, ino, kind, list)
    }

    /// As [`FileSystem::setattr`].
    ///
    /// # Errors
    /// As there.
    pub fn setattr(&self, ino: u64, set: &SetAttr) -> Result<Wcc> {
        self.fs.setattr_as(self.caller, ino, set)
    }
}
