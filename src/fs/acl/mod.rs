//! Access control lists: POSIX.1e lists as Linux has them.
//!
//! An inode's permission bits are three entries of its list: owner, mask and others. The bits of
//! the group are the *mask*, the most that named users, named groups and the owning group get, so
//! without the list they mean too much. Everything here follows the functions of Linux that are
//! named beside it, so that a server, a mount and Linux's own file systems give one answer.
//!
//! A list of owner, owning group and others alone says what the mode says: it is kept as the mode.
//! A directory may have a second list, the *default* one, which what is made in it starts from; it
//! grants nothing by itself.

mod rules;
mod store;
mod xattr;

pub use rules::Credentials;
pub(crate) use store::may_have;

use crate::error::{Error, Result};
use crate::limits::MAX_ACL_ENTRIES;

/// The right to read a file or list a directory.
pub const ACL_READ: u8 = 4;
/// The right to write a file or change the names of a directory.
pub const ACL_WRITE: u8 = 2;
/// The right to execute a file or reach what is in a directory.
pub const ACL_EXECUTE: u8 = 1;

const ALL: u8 = ACL_READ | ACL_WRITE | ACL_EXECUTE;

/// The id that is nobody's.
const NOBODY: u32 = u32::MAX;

/// Which of its two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AclKind {
    /// Who may do what.
    Access,
    /// What new inodes of a directory start from.
    Default,
}

/// Whom an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AclTag {
    /// The owner.
    UserObj,
    /// A user.
    User(u32),
    /// The owning group.
    GroupObj,
    /// A group.
    Group(u32),
    /// The most that all get but the owner and others.
    Mask,
    /// Everybody else.
    Other,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AclEntry {
    /// Whom it is about.
    pub tag: AclTag,
    /// [`ACL_READ`], [`ACL_WRITE`] and [`ACL_EXECUTE`].
    pub perm: u8,
}

/// A list that is valid: owner, named users, owning group, named groups, mask, others, in this
/// order. The mask may be missing only where nobody is named. Named users and groups stay in the
/// caller's order; of two entries for one user the first counts, as on Linux.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acl {
    entries: Vec<AclEntry>,
}

impl Acl {
    /// A list of these entries, as Linux's `posix_acl_valid` takes them.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: an entry missing, twice or out of order, permissions that do not
    /// exist, an id of 2^32 - 1, or more than 511 entries.
    pub fn new(entries: Vec<AclEntry>) -> Result<Acl> {
        let bad = |why| Err(Error::InvalidArgument(why));
        if entries.len() > MAX_ACL_ENTRIES {
            return bad("an access control list has at most 511 entries");
        }
        let (mut rank, mut named, mut masked) = (0, false, false);
        for entry in &entries {
            if entry.perm & !ALL != 0 {
                return bad("permissions of an access control list that do not exist");
            }
            let next = entry.tag.rank();
            let again = matches!(entry.tag, AclTag::User(_) | AclTag::Group(_));
            // Owner, owning group and others come once and are never left out.
            let skipped = [1, 3, 6].iter().any(|must| rank < *must && *must < next);
            if next < rank || (next == rank && !again) || skipped {
                return bad("an access control list lacks an entry, or has them out of order");
            }
            if let AclTag::User(NOBODY) | AclTag::Group(NOBODY) = entry.tag {
                return bad("an access control list names nobody");
            }
            (rank, named, masked) = (next, named | again, masked | (entry.tag == AclTag::Mask));
        }
        if rank != AclTag::Other.rank() || (named && !masked) {
            return bad("an access control list lacks an entry, or has them out of order");
        }
        Ok(Acl { entries })
    }

    /// The list that says what permission bits say.
    pub fn from_mode(mode: u32) -> Acl {
        let entry = |tag, shift: u32| AclEntry { tag, perm: bits(mode, shift) };
        let entries = vec![entry(AclTag::UserObj, 6), entry(AclTag::GroupObj, 3)];
        Acl { entries: [entries, vec![entry(AclTag::Other, 0)]].concat() }
    }

    /// The entries, in their order.
    pub fn entries(&self) -> &[AclEntry] {
        &self.entries
    }

    fn perm(&self, tag: AclTag) -> Option<u8> {
        self.entries.iter().find(|entry| entry.tag == tag).map(|entry| entry.perm)
    }
}

impl AclTag {
    /// Where entries of its kind stand among the others, from 1 on.
    fn rank(self) -> u8 {
        match self {
            AclTag::UserObj => 1,
            AclTag::User(_) => 2,
            AclTag::GroupObj => 3,
            AclTag::Group(_) => 4,
            AclTag::Mask => 5,
            AclTag::Other => 6,
        }
    }
}

/// Three of the permission bits of a mode.
fn bits(mode: u32, shift: u32) -> u8 {
    (mode >> shift) as u8 & ALL
}
