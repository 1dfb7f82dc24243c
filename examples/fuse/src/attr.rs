//! Attributes, times and names, from the engine's words into FUSE's and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use efscrypt::fs::{Attr, FileType, SetTime, Time};
use fuser::{FileAttr, Generation, INodeNo, TimeOrNow};

/// How long the kernel keeps names and attributes: the store is locked, so nobody but the kernel
/// behind this mount changes them.
pub const KEPT: Duration = Duration::from_secs(3600);
/// How long it keeps the attributes of a file whose contents it keeps back: until the file is
/// closed it does not ask by itself what space they take.
const KEPT_BACK: Duration = Duration::from_secs(10);

/// Set-ID bits: they go when somebody writes.
const SET_IDS: u32 = 0o6000;
/// Bytes of the blocks in which `stat` counts.
const SECTOR: u64 = 512;
/// What programs are told to read and write at a time, bytes.
const BLOCK: u32 = 4096;

/// An inode as the kernel sees it.
pub struct Seen {
    pub file: FileAttr,
    pub generation: Generation,
    /// How long the kernel keeps the attributes.
    pub kept: Duration,
}

impl Seen {
    /// What `attr` says; `held_back` where the kernel may hold contents back.
    pub fn new(attr: &Attr, held_back: bool) -> Seen {
        let mut file = file_attr(attr);
        let mut kept = kept(attr);
        if held_back && attr.kind == FileType::Regular {
            // Some programs take a file without blocks for a hole, and its contents may still wait.
            file.blocks = file.blocks.max(1);
            kept = kept.min(KEPT_BACK);
        }
        Seen { file, generation: Generation(attr.generation), kept }
    }
}

/// How long the kernel keeps an inode's attributes. It does not look at the mode again after a
/// write that takes set-ID bits away, and would still run the program as its owner; and nobody
/// tells it when space that a truncation left is freed.
fn kept(attr: &Attr) -> Duration {
    let whole = attr.size.checked_next_multiple_of(BLOCK.into()).unwrap_or(u64::MAX);
    let changes = attr.mode & SET_IDS != 0 || attr.space > whole;
    match attr.kind == FileType::Regular && changes {
        true => Duration::ZERO,
        false => KEPT,
    }
}

/// An inode as FUSE describes it.
fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.space.div_ceil(SECTOR),
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: system_time(attr.btime),
        kind: file_type(attr.kind),
        perm: attr.mode as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev as u32,
        blksize: BLOCK,
        flags: 0,
    }
}

/// What the kernel keeps for a name that leads nowhere.
pub fn no_attr() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: fuser::FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// A type as FUSE calls it.
pub fn file_type(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::CharDevice => fuser::FileType::CharDevice,
        FileType::Directory => fuser::FileType::Directory,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
        FileType::Regular => fuser::FileType::RegularFile,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Socket => fuser::FileType::Socket,
    }
}

/// A moment of the engine's. One that the system's type cannot hold becomes its epoch.
fn system_time(time: Time) -> SystemTime {
    let (seconds, rest) =
        (time.seconds.unsigned_abs(), Duration::from_nanos(time.nanoseconds.into()));
    let whole = Duration::from_secs(seconds);
    let moment = match time.seconds < 0 {
        true => UNIX_EPOCH.checked_sub(whole),
        false => UNIX_EPOCH.checked_add(whole),
    };
    moment.and_then(|moment| moment.checked_add(rest)).unwrap_or(UNIX_EPOCH)
}

/// A moment that the kernel sent. Before 1970 the crate counts the nanoseconds away from zero,
/// where the kernel counts them upwards; this counts them back.
fn engine_time(time: SystemTime) -> Time {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => {
            let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
            Time { seconds, nanoseconds: after.subsec_nanos() }
        }
        Err(before) => {
            let before = before.duration();
            let seconds = 0i64.checked_sub_unsigned(before.as_secs()).unwrap_or(i64::MIN);
            Time { seconds, nanoseconds: before.subsec_nanos() }
        }
    }
}

/// A time to be set.
pub fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::SpecificTime(time) => SetTime::At(engine_time(time)),
        TimeOrNow::Now => SetTime::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_go_out_as_they_are() {
        for (seconds, nanoseconds) in [(0, 0), (5, 7), (-1, 0), (-1, 999_999_999), (-9, 1)] {
            let time = system_time(Time { seconds, nanoseconds });
            let want = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
            let have = match time.duration_since(UNIX_EPOCH) {
                Ok(after) => after.as_nanos() as i128,
                Err(before) => -(before.duration().as_nanos() as i128),
            };
            assert_eq!(have, want);
        }
        for seconds in [i64::MIN, i64::MAX] {
            system_time(Time { seconds, nanoseconds: 999_999_999 });
        }
    }

    #[test]
    fn moments_come_in_as_the_kernel_sent_them() {
        let sent = |seconds: i64, nanoseconds| match seconds < 0 {
            // As the crate makes them.
            true => UNIX_EPOCH - Duration::new(seconds.unsigned_abs(), nanoseconds),
            false => UNIX_EPOCH + Duration::new(seconds as u64, nanoseconds),
        };
        for (seconds, nanoseconds) in [(0, 0), (5, 7), (-1, 0), (-1, 999_999_999), (-9, 1)] {
            assert_eq!(engine_time(sent(seconds, nanoseconds)), Time { seconds, nanoseconds });
        }
    }
}
