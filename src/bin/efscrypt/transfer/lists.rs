//! Access control lists, and what becomes of permissions where one is not copied.
//!
//! The bits of the group in the mode of something with a list are the list's mask: without the list
//! they are the right of the owning group, and who was denied by name has what others have. So
//! where a list stays behind, so do the rights that it kept from somebody.

use efscrypt::fs::{Acl, AclKind};

/// Permission bits of all but the owner.
const OTHERS: u32 = 0o077;

/// Lists of other kinds, whose meaning a store does not know.
const FOREIGN: [&[u8]; 5] = [
    b"system.nfs4_acl",
    b"system.nfs4_acl_xdr",
    b"system.nfs4_dacl",
    b"system.richacl",
    b"system.nfs4acl",
];

/// Whether an attribute is the list that says who may do what.
pub fn is_access(attribute: &[u8]) -> bool {
    AclKind::of_xattr_name(attribute) == Some(AclKind::Access)
}

/// Whether an attribute is a list of another kind.
pub fn is_foreign(attribute: &[u8]) -> bool {
    FOREIGN.contains(&attribute)
}

/// A mode that gives nobody more than mode and list did; `list` is the value of the attribute.
pub fn mode_without(list: &[u8], mode: u32) -> u32 {
    match Acl::from_xattr(list) {
        Ok(Some(list)) => list.mode_without(mode),
        Ok(None) => mode,
        Err(_) => mode & !OTHERS,
    }
}

/// As [`mode_without`], for a list of another kind.
pub fn mode_without_foreign(attribute: &[u8], list: &[u8], mode: u32) -> u32 {
    match attribute != b"system.richacl" && names_nobody(list) {
        true => mode,
        false => mode & !OTHERS,
    }
}

/// Whether an NFSv4 list is about owner, group and everyone alone, and so is what the mode says:
/// servers make one up for files that have none. It is a number of entries, each of type, flags,
/// rights, and a name with its length, padded to 4 bytes; all numbers are big-endian.
fn names_nobody(list: &[u8]) -> bool {
    let mut rest = list;
    let Some(count) = number(&mut rest) else { return false };
    for _ in 0..count {
        let head = [number(&mut rest), number(&mut rest), number(&mut rest)];
        let Some(len) = number(&mut rest).filter(|_| head.iter().all(Option::is_some)) else {
            return false;
        };
        let Some(name) = rest.split_off(..(len as usize).min(rest.len())) else { return false };
        if !matches!(name, b"OWNER@" | b"GROUP@" | b"EVERYONE@") {
            return false;
        }
        let padding = name.len().next_multiple_of(4) - name.len();
        if rest.split_off(..padding).is_none() {
            return false;
        }
    }
    rest.is_empty()
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let bytes = rest.split_off(..4)?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nfs4(names: &[&str]) -> Vec<u8> {
        let mut list = (names.len() as u32).to_be_bytes().to_vec();
        for name in names {
            for number in [0, 0, 0x16, name.len() as u32] {
                list.extend(u32::to_be_bytes(number));
            }
            list.extend(name.as_bytes());
            list.resize(list.len().next_multiple_of(4), 0);
        }
        list
    }

    #[test]
    fn a_list_of_another_kind_that_names_somebody_leaves_the_owner_alone() {
        let of = |attribute, list: &[u8]| mode_without_foreign(attribute, list, 0o4775);
        let plain = nfs4(&["OWNER@", "GROUP@", "EVERYONE@"]);
        assert_eq!(of(FOREIGN[0], &plain), 0o4775);
        assert_eq!(of(FOREIGN[0], &nfs4(&["OWNER@", "bob@example", "EVERYONE@"])), 0o4700);
        assert_eq!(of(b"system.richacl", &plain), 0o4700);
        for cut in 0..plain.len() {
            assert_eq!(of(FOREIGN[0], &plain[..cut]), 0o4700, "{cut}");
        }
        assert_eq!(of(FOREIGN[0], &[255; 64]), 0o4700);
    }

    #[test]
    fn a_list_that_is_not_understood_leaves_the_owner_alone() {
        assert_eq!(mode_without(&[2, 0, 0, 0], 0o640), 0o640);
        assert_eq!(mode_without(&[3, 0, 0, 0], 0o640), 0o600);
        assert_eq!(mode_without(&[2, 0, 0, 0, 1], 0o2675), 0o2600);
    }
}
