//! Access control lists, as anybody may hand them over.
#![no_main]

use efscrypt::fs::{Acl, Credentials};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (mode, bytes) = input;
    let Ok(Some(list)) = Acl::from_xattr(bytes) else { return };
    let again = Acl::from_xattr(&list.to_xattr()).expect("what it gives out it takes");
    assert_eq!(again.as_ref(), Some(&list));
    let mode = u32::from(mode) & 0o7777;
    assert_eq!(list.with_mode(mode).equiv_mode().0, mode & 0o777);
    let (made, access) = list.inherit(mode);
    assert_eq!(made & !mode, 0);
    assert!(access.is_none_or(|access| access.equiv_mode() == (made & 0o777, false)));
    // Without the list nobody has more.
    let without = Acl::from_mode(list.mode_without(mode));
    let list = list.with_mode(mode);
    for uid in [0, 1, 2] {
        for want in 0..8 {
            let who = Credentials { uid, gid: 1, groups: &[3] };
            assert!(list.permits((0, 1), &who, want) || !without.permits((0, 1), &who, want));
        }
    }
});
