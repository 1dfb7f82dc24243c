//! Rights: what the user who copies can and wants to give to a copy.

use super::meta::{Kind, Meta};

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;

/// What a copy on the machine gets, and which extended attributes either copy gets.
#[derive(Clone, Copy)]
pub struct Rights {
    /// Whether the user is root, who alone gives files away.
    pub privileged: bool,
    user: u32,
    group: u32,
    /// Whether device nodes are made, and programs run with the rights of their owners.
    special: bool,
}

impl Rights {
    /// Those of the user who runs this.
    pub fn of_process(special: bool) -> Rights {
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        Rights { privileged: user.is_root(), user: user.as_raw(), group: group.as_raw(), special }
    }

    /// The attributes that something gets on the machine. Who may not give files away does not
    /// lend his own rights to others either.
    pub fn lend(&self, mut meta: Meta) -> Meta {
        if meta.kind == Kind::Directory {
            return meta;
        }
        if !self.special || !self.privileged && meta.uid != self.user {
            meta.mode &= !SET_UID;
        }
        if !self.special || !self.privileged && (meta.uid, meta.gid) != (self.user, self.group) {
            meta.mode &= !SET_GID;
        }
        meta
    }

    /// Whether things of this kind are made on the machine.
    pub fn make(&self, kind: Kind) -> bool {
        self.special || !matches!(kind, Kind::CharDevice | Kind::BlockDevice)
    }

    /// Whether an extended attribute is copied. Who is not root may neither see nor set those of
    /// the system; access control lists are the owner's.
    pub fn keep(&self, attribute: &[u8]) -> bool {
        match self.privileged {
            true => self.special || attribute != b"security.capability",
            false => attribute.starts_with(b"user.") || attribute.starts_with(b"system.posix_acl_"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::meta::Time;

    fn file(mode: u32, uid: u32, gid: u32) -> Meta {
        let time = Time::default();
        let kind = Kind::Regular;
        let (mtime, atime, ctime) = (time, time, time);
        Meta { kind, mode, uid, gid, size: 0, rdev: 0, mtime, atime, ctime, links: 1, id: (0, 1) }
    }

    #[test]
    fn nobody_lends_his_own_rights() {
        let user = Rights { privileged: false, user: 7, group: 8, special: true };
        assert_eq!(user.lend(file(0o6755, 7, 8)).mode, 0o6755);
        assert_eq!(user.lend(file(0o6755, 7, 9)).mode, 0o4755);
        assert_eq!(user.lend(file(0o6755, 1, 8)).mode, 0o755);
        let root = Rights { privileged: true, user: 0, group: 0, special: true };
        assert_eq!(root.lend(file(0o6755, 7, 9)).mode, 0o6755);
    }

    #[test]
    fn what_is_special_can_be_left_out() {
        let root = Rights { privileged: true, user: 0, group: 0, special: false };
        assert_eq!(root.lend(file(0o7755, 0, 0)).mode, 0o1755);
        let dir = Meta { kind: Kind::Directory, ..file(0o2775, 0, 0) };
        assert_eq!(root.lend(dir).mode, 0o2775, "on a directory the bit says who owns new files");
        assert!(!root.make(Kind::BlockDevice) && root.make(Kind::Fifo));
        assert!(!root.keep(b"security.capability") && root.keep(b"security.other"));
    }
}
