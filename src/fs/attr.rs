//! Attributes of an inode: given out, and set.

use super::FileSystem;
use super::caller::Caller;
use super::file::check_regular;
use crate::error::{Error, Result};
use crate::format::{InodeRow, TimeRow};
use crate::limits::{MAX_INLINE_LEN, UNIT};
use crate::txn::Class;

/// Bits of a mode that name the type.
const TYPE_BITS: u32 = 0o170_000;
/// Bits of a mode that `chmod` sets.
pub(super) const PERMISSION_BITS: u32 = 0o7777;
/// Bytes of the blocks in which `stat` counts.
const SECTOR: u64 = 512;

/// What an inode is. The numbers are those of `d_type` and of the upper bits of `st_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileType {
    /// A named pipe.
    Fifo = 1,
    /// A character device node.
    CharDevice = 2,
    /// A directory.
    Directory = 4,
    /// A block device node.
    BlockDevice = 6,
    /// A regular file.
    Regular = 8,
    /// A symbolic link.
    Symlink = 10,
    /// A socket.
    Socket = 12,
}

impl FileType {
    /// The type of a `d_type` number.
    pub fn from_code(code: u8) -> Option<FileType> {
        Some(match code {
            1 => FileType::Fifo,
            2 => FileType::CharDevice,
            4 => FileType::Directory,
            6 => FileType::BlockDevice,
            8 => FileType::Regular,
            10 => FileType::Symlink,
            12 => FileType::Socket,
            _ => return None,
        })
    }

    /// The type that the upper bits of a mode name.
    pub fn of_mode(mode: u32) -> Option<FileType> {
        FileType::from_code(((mode & TYPE_BITS) >> 12) as u8)
    }

    /// The upper bits of a mode.
    pub fn mode_bits(self) -> u32 {
        u32::from(self as u8) << 12
    }
}

/// A moment: seconds since 1970 and nanoseconds below one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanoseconds: u32,
}

const SECOND: u32 = 1_000_000_000;

impl Time {
    /// The system's clock.
    pub fn now() -> Time {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Time { seconds: now.tv_sec, nanoseconds: now.tv_nsec as u32 }
    }

    /// Fails for nanoseconds of a second or more: a row with such a time would not be read again.
    pub(super) fn check(&self) -> Result<()> {
        match self.nanoseconds < SECOND {
            true => Ok(()),
            false => Err(Error::InvalidArgument("nanoseconds of a second or more")),
        }
    }

    /// The same moment with nanoseconds below one second: for what an embedder's clock says.
    pub(super) fn carried(self) -> Time {
        Time {
            seconds: self.seconds.saturating_add(i64::from(self.nanoseconds / SECOND)),
            nanoseconds: self.nanoseconds % SECOND,
        }
    }
}

impl From<TimeRow> for Time {
    fn from(row: TimeRow) -> Time {
        Time { seconds: row.seconds.get(), nanoseconds: row.nanoseconds.get() }
    }
}

impl From<Time> for TimeRow {
    fn from(time: Time) -> TimeRow {
        TimeRow { seconds: time.seconds.into(), nanoseconds: time.nanoseconds.into() }
    }
}

/// Attributes of an inode at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number, never 0.
    pub ino: u64,
    /// With the number, unique for ever.
    pub generation: u64,
    /// What it is.
    pub kind: FileType,
    /// Permission bits with set-user-ID, set-group-ID and sticky: the lower 12 bits of `st_mode`.
    /// They alone say who may do what only where the inode has no access control list:
    /// [`FileSystem::access`] knows.
    pub mode: u32,
    /// Number of names; for a directory 2 plus its subdirectories.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of contents or of a link target; for a directory the bytes of its names.
    pub size: u64,
    /// Bytes of the store that the contents take, without metadata. Contents that stand in the tree
    /// count with up to 2 KiB, in steps of 512 bytes: only a file without contents takes none, so
    /// who skips holes finds all that is there.
    pub space: u64,
    /// Device number of a device node.
    pub rdev: u64,
    /// Number of entries of a directory, without "." and "..".
    pub entries: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of contents.
    pub mtime: Time,
    /// Last change of contents or attributes.
    pub ctime: Time,
    /// Creation.
    pub btime: Time,
    /// Grows with each change of contents or attributes, also through crashes.
    pub change: u64,
}

impl Attr {
    pub(super) fn of(ino: u64, row: &InodeRow) -> Attr {
        let mode = row.mode.get();
        Attr {
            ino,
            generation: row.generation.get(),
            // Checked when the row was read.
            kind: FileType::of_mode(mode).unwrap_or(FileType::Regular),
            mode: mode & PERMISSION_BITS,
            nlink: row.nlink.get(),
            uid: row.uid.get(),
            gid: row.gid.get(),
            size: row.size.get(),
            space: space(row),
            rdev: row.rdev.get(),
            entries: row.entries.get(),
            atime: row.atime.into(),
            mtime: row.mtime.into(),
            ctime: row.ctime.into(),
            btime: row.btime.into(),
            change: row.change.get(),
        }
    }
}

/// Bytes that the contents of an inode take.
fn space(row: &InodeRow) -> u64 {
    match row.units.get() {
        // Perhaps bytes in the tree: at most so many, of a file that was ever written.
        0 if row.key_id.get() != 0 => {
            row.size.get().min(MAX_INLINE_LEN as u64).next_multiple_of(SECTOR)
        }
        units => units * UNIT as u64,
    }
}

/// What a server compares to see whether anybody else changed an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// Size.
    pub size: u64,
    /// Last change of contents.
    pub mtime: Time,
    /// Last change of contents or attributes.
    pub ctime: Time,
    /// Change attribute.
    pub change: u64,
}

/// An object right before and right after an operation: nothing happened to it in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wcc {
    /// Before.
    pub before: Before,
    /// After.
    pub after: Attr,
}

impl Wcc {
    pub(super) fn of(ino: u64, before: &InodeRow, after: &InodeRow) -> Wcc {
        let before = Before {
            size: before.size.get(),
            mtime: before.mtime.into(),
            ctime: before.ctime.into(),
            change: before.change.get(),
        };
        Wcc { before, after: Attr::of(ino, after) }
    }
}

/// A time to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The moment of the operation.
    Now,
    /// The caller's.
    At(Time),
}

/// Attributes to be set; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits; others are ignored. Of an inode with an access control list, the bits of
    /// the group are the list's mask.
    pub mode: Option<u32>,
    /// Owner. Setting owner or group of anything but a directory takes away set-ID bits as the
    /// caller's [`Standing`](super::Standing) says, unless the mode is set too: then it is what
    /// the caller says.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size of a regular file. Another one than before moves mtime; that which the file has, set
    /// alone, moves no time, as `truncate` of Linux. A server for `ftruncate` and `O_TRUNC`, which
    /// move mtime in any case, sets mtime to [`SetTime::Now`] with it. Setting it takes set-ID
    /// bits away as setting the owner does, also where the size stays.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of contents.
    pub mtime: Option<SetTime>,
    /// Do nothing unless this is the ctime.
    pub guard: Option<Time>,
}

impl FileSystem {
    /// The attributes of an inode.
    ///
    /// # Errors
    /// [`Error::Stale`] where the inode is gone, and those of reading its row.
    pub fn getattr(&self, ino: u64) -> Result<Attr> {
        let inode = self.inodes.get(ino);
        Ok(Attr::of(ino, &inode.row(&self.engine, self.tree)?))
    }

    /// Sets attributes, all or none. Setting nothing changes nothing.
    ///
    /// # Errors
    /// [`Error::NotSync`] as the guard says; [`Error::IsDirectory`] or [`Error::InvalidArgument`]
    /// for the size of what is not a regular file; [`Error::InvalidArgument`] for nanoseconds of a
    /// second or more; [`Error::Stale`]; for a size those of truncating.
    pub fn setattr(&self, ino: u64, set: &SetAttr) -> Result<Wcc> {
        self.setattr_as(Caller::ANY, ino, set)
    }

    pub(in crate::fs) fn setattr_as(&self, caller: Caller, ino: u64, set: &SetAttr) -> Result<Wcc> {
        set.check()?;
        self.changing(|| self.try_setattr(caller, ino, set))
    }

    fn try_setattr(&self, caller: Caller, ino: u64, set: &SetAttr) -> Result<Wcc> {
        let inode = self.inodes.get(ino);
        let mut draft = self.draft_to_grow(&inode, |_| set.size.unwrap_or(0))?;
        let before = *draft.row(ino)?;
        if set.guard.is_some_and(|guard| guard != before.ctime.into()) {
            return Err(Error::NotSync);
        }
        let stamp = draft.stamp;
        let resized = set.size.is_some_and(|size| size != before.size.get());
        let moved = if resized { stamp.now } else { before.mtime };
        let apply = |row: &mut InodeRow| {
            set.apply(row, (stamp.now, moved), caller);
            stamp.touch(row);
        };
        let Some(size) = set.size else {
            if (SetAttr { guard: None, ..*set }) == SetAttr::default() {
                return Ok(Wcc::of(ino, &before, &before));
            }
            let row = draft.change_row(ino)?;
            apply(row);
            let after = *row;
            draft.commit(Class::Normal)?;
            return Ok(Wcc::of(ino, &before, &after));
        };
        check_regular(&before)?;
        if !resized && set.is_size_alone() && !set.changes_beside_size(&before, caller) {
            return Ok(Wcc::of(ino, &before, &before));
        }
        let truncate = |row: &mut InodeRow, finish: &mut super::data::Finish<'_>| {
            self.data.truncate(ino, row, size, finish)
        };
        draft.will_last();
        let (_, after) = draft.contents(ino, truncate, apply)?;
        if after.flags.get() & InodeRow::TRIMMING != 0 {
            self.orphans.wait();
        }
        Ok(Wcc::of(ino, &before, &after))
    }
}

impl SetAttr {
    fn check(&self) -> Result<()> {
        [self.atime, self.mtime].iter().try_for_each(|time| match time {
            Some(SetTime::At(time)) => time.check(),
            _ => Ok(()),
        })
    }

    /// Whether nothing but a size is set.
    fn is_size_alone(&self) -> bool {
        self.size.is_some() && SetAttr { size: None, guard: None, ..*self } == SetAttr::default()
    }

    /// Whether a size that stays changes something else of a row.
    fn changes_beside_size(&self, row: &InodeRow, caller: Caller) -> bool {
        let mode = row.mode.get();
        row.flags.get() & InodeRow::EXCLUSIVE != 0 || caller.mode_after(mode, false, true) != mode
    }

    /// Sets everything but the size, at a moment, with the mtime where none is given.
    fn apply(&self, row: &mut InodeRow, (now, mtime): (TimeRow, TimeRow), caller: Caller) {
        let mut mode = row.mode.get();
        let directory = FileType::of_mode(mode) == Some(FileType::Directory);
        let owner = self.uid.is_some() || self.gid.is_some();
        if !directory {
            mode = caller.mode_after(mode, owner, self.size.is_some());
        }
        if let Some(new) = self.mode {
            mode = (mode & !PERMISSION_BITS) | (new & PERMISSION_BITS);
        }
        row.mode = mode.into();
        row.uid = self.uid.map_or(row.uid, Into::into);
        row.gid = self.gid.map_or(row.gid, Into::into);
        let time = |set: Option<SetTime>| match set? {
            SetTime::Now => Some(now),
            SetTime::At(time) => Some(time.into()),
        };
        row.atime = time(self.atime).unwrap_or(row.atime);
        row.mtime = time(self.mtime).unwrap_or(mtime);
        row.flags = (row.flags.get() & !InodeRow::EXCLUSIVE).into();
        row.verifier = [0; 8];
    }
}
