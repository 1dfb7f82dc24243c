//! Attributes of an inode, as operations give them out.

use crate::format::{InodeRow, TimeRow};
use crate::limits::UNIT;

/// Bits of a mode that name the type.
const TYPE_BITS: u32 = 0o170_000;
/// Bits of a mode that `chmod` sets.
pub(super) const PERMISSION_BITS: u32 = 0o7777;

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

impl Time {
    /// The system's clock.
    pub fn now() -> Time {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Time { seconds: now.tv_sec, nanoseconds: now.tv_nsec as u32 }
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
    pub mode: u32,
    /// Number of names; for a directory 2 plus its subdirectories.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of contents or of a link target; for a directory the bytes of its names.
    pub size: u64,
    /// Bytes of the store that the contents take, without metadata.
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
            space: row.units.get() * UNIT as u64,
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
