//! What a list means: who may do what, and what modes do to it.

use super::{ALL, Acl, AclEntry, AclTag, bits};

const PERMISSIONS: u32 = 0o777;
const GROUP_BITS: u32 = 0o070;

/// Who asks: a user with its groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Other groups.
    pub groups: &'a [u32],
}

impl Credentials<'_> {
    /// Whether the user is in a group.
    pub fn is_in(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

impl Acl {
    /// The permission bits that go with the list as an access list, and whether they say all that
    /// it says (`posix_acl_equiv_mode`).
    pub fn equiv_mode(&self) -> (u32, bool) {
        let perm = |tag| u32::from(self.perm(tag).unwrap_or(0));
        let mask = self.perm(AclTag::Mask);
        let group = mask.map_or(perm(AclTag::GroupObj), u32::from);
        let mode = perm(AclTag::UserObj) << 6 | group << 3 | perm(AclTag::Other);
        (mode, mask.is_none())
    }

    /// The list once the mode is set (`posix_acl_chmod`): the bits of the group are the mask's, or
    /// the owning group's where there is none.
    #[must_use]
    pub fn with_mode(&self, mode: u32) -> Acl {
        let masked = self.perm(AclTag::Mask).is_some();
        let set = |entry: &AclEntry| {
            let perm = match entry.tag {
                AclTag::UserObj => bits(mode, 6),
                AclTag::GroupObj if !masked => bits(mode, 3),
                AclTag::Mask => bits(mode, 3),
                AclTag::Other => bits(mode, 0),
                _ => entry.perm,
            };
            AclEntry { perm, ..*entry }
        };
        Acl { entries: self.entries.iter().map(set).collect() }
    }

    /// What an inode gets that is made with a mode in a directory with this default list
    /// (`posix_acl_create`): its mode, and its access list where the mode does not say it all. No
    /// umask counts.
    pub fn inherit(&self, mode: u32) -> (u32, Option<Acl>) {
        let (list, same) = self.equiv_mode();
        let granted = mode & list & PERMISSIONS;
        let access = (!same).then(|| self.with_mode(granted));
        (mode & !PERMISSIONS | granted, access)
    }

    /// Whether somebody gets all rights of `want` to an inode with this access list
    /// (`posix_acl_permission`). What a superuser may do is up to the caller.
    pub fn permits(&self, owner: (u32, u32), who: &Credentials<'_>, want: u8) -> bool {
        let grants = |perm: u8| perm & want & ALL == want & ALL;
        let mask = self.perm(AclTag::Mask).unwrap_or(ALL);
        let mut in_group = false;
        for entry in &self.entries {
            match entry.tag {
                AclTag::UserObj if who.uid == owner.0 => return grants(entry.perm),
                AclTag::User(uid) if uid == who.uid => return grants(entry.perm & mask),
                AclTag::GroupObj if who.is_in(owner.1) => in_group = true,
                AclTag::Group(gid) if who.is_in(gid) => in_group = true,
                AclTag::Other => return !in_group && grants(entry.perm),
                _ => continue,
            }
            // One group must grant all: rights of several do not add up.
            if grants(entry.perm) {
                return grants(entry.perm & mask);
            }
        }
        false
    }

    /// The mode of an inode that has this access list and is to lose it, so that nobody gets a
    /// right that the list did not give: group and others keep what every named user, and others
    /// what every named group, has too.
    pub fn mode_without(&self, mode: u32) -> u32 {
        let list = self.with_mode(mode);
        let mask = list.perm(AclTag::Mask).unwrap_or(ALL);
        let mut group = list.perm(AclTag::GroupObj).unwrap_or(0) & mask;
        let mut other = list.perm(AclTag::Other).unwrap_or(0);
        for entry in &list.entries {
            match entry.tag {
                AclTag::User(_) => {
                    group &= entry.perm & mask;
                    other &= entry.perm & mask;
                }
                AclTag::Group(_) => other &= entry.perm & mask,
                _ => {}
            }
        }
        mode & !(GROUP_BITS | u32::from(ALL)) | u32::from(group) << 3 | u32::from(other)
    }
}

/// Whether the permission bits alone give somebody all rights of `want`.
pub(super) fn mode_permits(mode: u32, owner: (u32, u32), who: &Credentials<'_>, want: u8) -> bool {
    Acl::from_mode(mode).permits(owner, who, want)
}
