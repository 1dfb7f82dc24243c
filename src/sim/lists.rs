//! Access control lists as the model knows them: few entries, and rules of its own.

use crate::fs::{Acl, AclEntry, AclKind, AclTag};

/// The named user and group.
const NAMED: (u32, u32) = (21, 22);

/// A list; rights are 0 to 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the rights of whom it names")]
pub struct List {
    pub owner: u8,
    pub group: u8,
    pub other: u8,
    /// A named user, a named group, and the mask; without them the list is a mode.
    pub named: Option<[u8; 3]>,
}

impl List {
    /// The list as the file system takes it.
    pub fn acl(self) -> Option<Acl> {
        let entry = |tag, perm: u8| AclEntry { tag, perm: perm & 7 };
        let mut entries = vec![entry(AclTag::UserObj, self.owner)];
        entries.extend(self.named.map(|[user, ..]| entry(AclTag::User(NAMED.0), user)));
        entries.push(entry(AclTag::GroupObj, self.group));
        if let Some([_, group, mask]) = self.named {
            entries.push(entry(AclTag::Group(NAMED.1), group));
            entries.push(entry(AclTag::Mask, mask));
        }
        entries.push(entry(AclTag::Other, self.other));
        Acl::new(entries).ok()
    }

    /// The value of the attribute that the list is.
    pub(super) fn value(self) -> Vec<u8> {
        let mut value = vec![2, 0, 0, 0];
        let mut entry = |tag: u8, perm: u8, id: u32| {
            value.extend([tag, 0, perm, 0]);
            value.extend(id.to_le_bytes());
        };
        entry(1, self.owner, u32::MAX);
        if let Some([user, ..]) = self.named {
            entry(2, user, NAMED.0);
        }
        entry(4, self.group, u32::MAX);
        if let Some([_, group, mask]) = self.named {
            entry(8, group, NAMED.1);
            entry(16, mask, u32::MAX);
        }
        entry(32, self.other, u32::MAX);
        value
    }

    /// The permission bits that go with it.
    pub(super) fn mode(self) -> u32 {
        let group = self.named.map_or(self.group, |[_, _, mask]| mask);
        u32::from(self.owner) << 6 | u32::from(group) << 3 | u32::from(self.other)
    }

    /// The list once permission bits are set.
    pub(super) fn with_mode(self, mode: u32) -> List {
        let bits = |shift: u32| (mode >> shift) as u8 & 7;
        match self.named {
            None => List { owner: bits(6), group: bits(3), other: bits(0), named: None },
            Some([user, group, _]) => {
                let named = Some([user, group, bits(3)]);
                List { owner: bits(6), other: bits(0), named, ..self }
            }
        }
    }
}

/// The name of the attribute that a list is.
pub(super) fn name(kind: AclKind) -> String {
    String::from_utf8_lossy(kind.xattr_name()).into_owned()
}
