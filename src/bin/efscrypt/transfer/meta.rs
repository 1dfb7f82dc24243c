//! Meta: the attributes that a copy keeps, from either side.

use efscrypt::fs::{Attr, SetAttr, SetTime};
pub use efscrypt::fs::{FileType as Kind, Time};
use rustix::fs::Stat;

/// Seconds after which a file that was changed is taken to be at rest.
const SETTLED: i64 = 2;

/// Attributes of something in a store or on the machine.
#[derive(Debug, Clone, Copy)]
pub struct Meta {
    pub kind: Kind,
    /// Permissions, 12 bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub rdev: u64,
    pub mtime: Time,
    pub atime: Time,
    /// Last change of anything, which nobody can set.
    pub ctime: Time,
    /// Number of names.
    pub links: u64,
    /// Device (0 in a store) and inode.
    pub id: (u64, u64),
    /// In a store: generation and change attribute.
    pub version: (u64, u64),
}

impl Meta {
    // The fields of `stat` have other types on other machines.
    #[allow(clippy::unnecessary_cast, reason = "not unnecessary everywhere")]
    pub fn of_stat(stat: &Stat) -> Meta {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        Meta {
            // Linux has no other types.
            kind: Kind::of_mode(stat.st_mode).unwrap_or(Kind::Regular),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            rdev: stat.st_rdev as u64,
            mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            atime: time(stat.st_atime as i64, stat.st_atime_nsec as u32),
            ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
            links: stat.st_nlink as u64,
            id: (stat.st_dev as u64, stat.st_ino as u64),
            version: (0, 0),
        }
    }

    pub fn of_attr(attr: &Attr) -> Meta {
        Meta {
            kind: attr.kind,
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            size: attr.size,
            rdev: attr.rdev,
            mtime: attr.mtime,
            atime: attr.atime,
            ctime: attr.ctime,
            links: u64::from(attr.nlink),
            id: (0, attr.ino),
            version: (attr.generation, attr.change),
        }
    }

    /// The time of the machine.
    pub fn now() -> Time {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Time { seconds: now.tv_sec, nanoseconds: now.tv_nsec as u32 }
    }

    /// Whether nothing happened to a file between two looks at it.
    pub fn is_still(&self, later: &Meta) -> bool {
        let of = |meta: &Meta| (meta.kind, meta.size, meta.mtime, meta.ctime, meta.id);
        of(self) == of(later)
    }

    /// Whether a change from `now` on moves the time of the last change: that is so much older that
    /// neither the grain of such times nor clocks that differ can hide another.
    pub fn is_settled(&self, now: Time) -> bool {
        let settled = Time { seconds: self.ctime.seconds.saturating_add(SETTLED), ..self.ctime };
        settled < now
    }

    /// Whether owner, permissions and time of change are the same.
    pub fn has_attributes_of(&self, other: &Meta) -> bool {
        let this = (self.mode, self.uid, self.gid, self.mtime);
        this == (other.mode, other.uid, other.gid, other.mtime)
    }

    /// Everything that a store keeps, to be set there.
    pub fn to_set(self) -> SetAttr {
        SetAttr {
            mode: Some(self.mode),
            uid: Some(self.uid),
            gid: Some(self.gid),
            atime: Some(SetTime::At(self.atime)),
            mtime: Some(SetTime::At(self.mtime)),
            ..SetAttr::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed_at(seconds: i64, nanoseconds: u32) -> Meta {
        let (time, ctime) = (Time::default(), Time { seconds, nanoseconds });
        let (kind, mtime, atime) = (Kind::Regular, time, time);
        let (mode, uid, gid, size, rdev, links, id) = (0o644, 1, 2, 3, 0, 1, (4, 5));
        let version = (0, 0);
        Meta { kind, mode, uid, gid, size, rdev, mtime, atime, ctime, links, id, version }
    }

    #[test]
    fn a_file_is_still_if_nothing_of_it_moved() {
        let before = changed_at(10, 0);
        assert!(before.is_still(&before));
        // Size and time of change can be set back; this cannot.
        assert!(!before.is_still(&changed_at(10, 1)));
        assert!(!before.is_still(&Meta { id: (4, 6), ..before }));
        assert!(!before.is_still(&Meta { size: 4, ..before }));
    }

    #[test]
    fn what_changed_about_when_it_was_read_is_not_settled() {
        let now = Time { seconds: 10, nanoseconds: 500 };
        assert!(changed_at(8, 499).is_settled(now));
        for (seconds, nanoseconds) in [(8, 500), (9, 0), (10, 500), (11, 0), (i64::MAX, 0)] {
            assert!(!changed_at(seconds, nanoseconds).is_settled(now));
        }
    }
}
