//! Rights: what the user who copies can and wants to give to a copy.

use efscrypt::fs::AclKind;

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
    /// Whether extended attributes are copied at all.
    xattrs: bool,
}

impl Rights {
    /// Those of the user who runs this.
    pub fn of_process(special: bool, xattrs: bool) -> Rights {
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let (privileged, user, group) = (user.is_root(), user.as_raw(), group.as_raw());
        Rights { privileged, user, group, special, xattrs }
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

    /// Whether something of the machine may get these attributes without being made anew: its
    /// contents may be somebody else's, who set size and time to those of the store, and would get
    /// the rights of another owner.
    pub fn may_refit(&self, there: &Meta, meta: &Meta) -> bool {
        let of = |meta: &Meta| (meta.uid, meta.gid, meta.mode & (SET_UID | SET_GID));
        !self.privileged || of(there) == of(meta)
    }

    /// Whether any extended attribute is copied.
    pub fn any(&self) -> bool {
        self.xattrs
    }

    /// Whether an extended attribute is copied. Who is not root may neither see nor set those of
    /// the system; access control lists are the owner's.
    pub fn keep(&self, attribute: &[u8]) -> bool {
        if !self.any() {
            return false;
        }
        let all = self.privileged && self.special;
        all || attribute.starts_with(b"user.") || is_list(attribute)
    }

    /// Whether something of the machine keeps an attribute that the store does not have: what the
    /// system gives to each file itself, as a label, is not there to be removed.
    pub fn leave(attribute: &[u8]) -> bool {
        let prefix = |prefix: &[u8]| attribute.starts_with(prefix);
        let system = prefix(b"security.") || prefix(b"trusted.") || prefix(b"system.");
        system && attribute != CAPABILITY && !is_list(attribute)
    }
}

/// The attribute that has a program run with rights of the system.
pub const CAPABILITY: &[u8] = b"security.capability";

/// Whether an attribute is an access control list.
fn is_list(attribute: &[u8]) -> bool {
    AclKind::of_xattr_name(attribute).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::meta::Time;

    fn file(mode: u32, uid: u32, gid: u32) -> Meta {
        let time = Time::default();
        let kind = Kind::Regular;
        let (mtime, atime, ctime) = (time, time, time);
        let (size, rdev, links, id, version) = (0, 0, 1, (0, 1), (0, 0));
        Meta { kind, mode, uid, gid, size, rdev, mtime, atime, ctime, links, id, version }
    }

    #[test]
    fn nobody_lends_his_own_rights() {
        let user = Rights { privileged: false, user: 7, group: 8, special: true, xattrs: true };
        assert_eq!(user.lend(file(0o6755, 7, 8)).mode, 0o6755);
        assert_eq!(user.lend(file(0o6755, 7, 9)).mode, 0o4755);
        assert_eq!(user.lend(file(0o6755, 1, 8)).mode, 0o755);
        let root = Rights { privileged: true, user: 0, group: 0, special: true, xattrs: true };
        assert_eq!(root.lend(file(0o6755, 7, 9)).mode, 0o6755);
    }

    #[test]
    fn what_is_special_can_be_left_out() {
        let root = Rights { privileged: true, user: 0, group: 0, special: false, xattrs: true };
        assert_eq!(root.lend(file(0o7755, 0, 0)).mode, 0o1755);
        let dir = Meta { kind: Kind::Directory, ..file(0o2775, 0, 0) };
        assert_eq!(root.lend(dir).mode, 0o2775, "on a directory the bit says who owns new files");
        assert!(!root.make(Kind::BlockDevice) && root.make(Kind::Fifo));
        assert!(!root.keep(CAPABILITY) && !root.keep(b"security.ima") && !root.keep(b"trusted.x"));
        assert!(root.keep(b"user.x") && root.keep(b"system.posix_acl_access"));
    }

    #[test]
    fn attributes_of_the_system_are_left_where_they_are() {
        for (attribute, left) in [
            (&b"security.selinux"[..], true),
            (b"trusted.overlay.opaque", true),
            (b"system.nfs4_acl", true),
            (b"system.posix_acl_default", false),
            (CAPABILITY, false),
            (b"user.x", false),
        ] {
            assert_eq!(Rights::leave(attribute), left);
        }
        let none = Rights { privileged: true, user: 0, group: 0, special: true, xattrs: false };
        assert!(!none.keep(b"user.x") && !none.keep(CAPABILITY));
    }

    #[test]
    fn what_gets_other_rights_is_made_anew() {
        let root = Rights { privileged: true, user: 0, group: 0, special: true, xattrs: true };
        assert!(root.may_refit(&file(0o644, 1, 2), &file(0o755, 1, 2)));
        for other in [file(0o644, 0, 2), file(0o644, 1, 0), file(0o4644, 1, 2)] {
            assert!(!root.may_refit(&file(0o644, 1, 2), &other));
            let user = Rights { privileged: false, ..root };
            assert!(user.may_refit(&file(0o644, 1, 2), &other));
        }
    }
}
