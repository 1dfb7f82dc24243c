//! Access control lists, as the kernel sets them.

use efscrypt::Result;
use efscrypt::fs::{Acl, AclKind, FileSystem};

use crate::caller::Caller;

/// Sets a list. The set-group-ID bit goes with it where the caller is not in the group.
pub fn set(fs: &FileSystem, caller: Caller, ino: u64, kind: AclKind, value: &[u8]) -> Result<()> {
    let list = Acl::from_xattr(value)?;
    let standing = caller.setting_list(&fs.getattr(ino)?);
    fs.acting(standing).set_acl(ino, kind, list.as_ref()).map(drop)
}
