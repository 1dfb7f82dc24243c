//! Lists as Linux hands them over: values of two extended attributes, version 2.

use super::{Acl, AclEntry, AclKind, AclTag, NOBODY};
use crate::error::{Error, Result};

const VERSION: u32 = 2;
const HEADER_LEN: usize = 4;
const ENTRY_LEN: usize = 8;

impl AclKind {
    /// The attribute that such a list is.
    pub fn xattr_name(self) -> &'static [u8] {
        match self {
            AclKind::Access => b"system.posix_acl_access",
            AclKind::Default => b"system.posix_acl_default",
        }
    }

    /// The list that an attribute is, if it is one.
    pub fn of_xattr_name(name: &[u8]) -> Option<AclKind> {
        [AclKind::Access, AclKind::Default].into_iter().find(|kind| kind.xattr_name() == name)
    }
}

impl Acl {
    /// Reads a list from the value of an attribute: bytes that anybody may have made. One without
    /// any entry is none: setting it removes the list.
    ///
    /// # Errors
    /// [`Error::NotSupported`] for another version than 2; [`Error::InvalidArgument`] for another
    /// length than whole entries have, and as [`Acl::new`].
    pub fn from_xattr(value: &[u8]) -> Result<Option<Acl>> {
        let bad = Error::InvalidArgument("length of an access control list");
        let Some((version, rest)) = value.split_first_chunk::<HEADER_LEN>() else {
            return Err(bad);
        };
        if u32::from_le_bytes(*version) != VERSION {
            return Err(Error::NotSupported);
        }
        let (entries, more) = rest.as_chunks::<ENTRY_LEN>();
        if !more.is_empty() {
            return Err(bad);
        }
        if entries.is_empty() {
            return Ok(None);
        }
        if entries.len() > crate::limits::MAX_ACL_ENTRIES {
            return Err(Error::InvalidArgument("an access control list has at most 511 entries"));
        }
        let entries = entries.iter().map(entry).collect::<Result<_>>()?;
        Acl::new(entries).map(Some)
    }

    /// The value of the attribute that the list is. Each list has one only.
    pub fn to_xattr(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for entry in &self.entries {
            let (tag, id) = match entry.tag {
                AclTag::UserObj => (1, NOBODY),
                AclTag::User(id) => (2, id),
                AclTag::GroupObj => (4, NOBODY),
                AclTag::Group(id) => (8, id),
                AclTag::Mask => (16, NOBODY),
                AclTag::Other => (32, NOBODY),
            };
            value.extend_from_slice(&u16::to_le_bytes(tag));
            value.extend_from_slice(&u16::from(entry.perm).to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        value
    }
}

/// Reads one entry. The id of those that name nobody is ignored, as Linux does.
fn entry(bytes: &[u8; ENTRY_LEN]) -> Result<AclEntry> {
    let [tag, tag_high, perm, perm_high, id @ ..] = *bytes;
    let id = u32::from_le_bytes(id);
    let tag = match u16::from_le_bytes([tag, tag_high]) {
        1 => AclTag::UserObj,
        2 => AclTag::User(id),
        4 => AclTag::GroupObj,
        8 => AclTag::Group(id),
        16 => AclTag::Mask,
        32 => AclTag::Other,
        _ => return Err(Error::InvalidArgument("an entry of an access control list for whom?")),
    };
    // Permissions that do not exist are told by who looks at all of the list.
    let perm = if perm_high == 0 { perm } else { u8::MAX };
    Ok(AclEntry { tag, perm })
}
