//! Extended attributes, as the kernel asks for them.

use efscrypt::fs::{AclKind, FileSystem, FileType, XattrMode};
use efscrypt::{Error, Result};
use fuser::{Errno, ReplyXattr};
use rustix::fs::XattrFlags;

/// What gives a program capabilities when it is run.
const CAPABILITIES: &[u8] = b"security.capability";
/// Where names may be, beside the two that are access control lists. What else the kernel gives a
/// meaning, as NFSv4's lists, is not offered.
const SPACES: [&[u8]; 3] = [USERS, b"security.", TRUSTED];
/// Names that users give, to files and directories.
const USERS: &[u8] = b"user.";
/// Names that only root sees.
const TRUSTED: &[u8] = b"trusted.";

/// How an attribute is set; `None` for flags that nobody knows.
pub fn mode(flags: i32) -> Option<XattrMode> {
    match XattrFlags::from_bits(flags as u32)? {
        XattrFlags::CREATE => Some(XattrMode::Create),
        XattrFlags::REPLACE => Some(XattrMode::Replace),
        flags if flags.is_empty() => Some(XattrMode::Either),
        _ => None,
    }
}

/// Sets an attribute.
pub fn set(fs: &FileSystem, ino: u64, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
    check(name)?;
    fs.set_xattr(ino, name, value, mode).map(drop)
}

/// The value of an attribute.
pub fn get(fs: &FileSystem, ino: u64, name: &[u8]) -> Result<Vec<u8>> {
    if AclKind::of_xattr_name(name).is_none() {
        check(name)?;
    }
    fs.get_xattr(ino, name)
}

/// Removes an attribute.
pub fn remove(fs: &FileSystem, ino: u64, name: &[u8]) -> Result<()> {
    check(name)?;
    fs.remove_xattr(ino, name).map(drop)
}

/// The names of all attributes that a user may know of, each with a NUL behind it: those that
/// [`get`] gives out.
pub fn list(fs: &FileSystem, ino: u64, uid: u32) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    let names = fs.list_xattrs(ino)?;
    // The kernel gives users' attributes to nothing else.
    let users = || {
        let kind = fs.getattr(ino)?.kind;
        Ok::<_, Error>(matches!(kind, FileType::Regular | FileType::Directory))
    };
    let users = names.is_empty() || users()?;
    let known = |name: &&Vec<u8>| {
        let own = name.starts_with(USERS) && !users;
        !own && (check(name).is_ok() || AclKind::of_xattr_name(name).is_some())
    };
    for name in names.iter().filter(known).filter(|name| uid == 0 || !name.starts_with(TRUSTED)) {
        list.extend_from_slice(name);
        list.push(0);
    }
    Ok(list)
}

/// Takes a program's capabilities away, before its contents or its owner change.
pub fn drop_capabilities(fs: &FileSystem, ino: u64) -> Result<()> {
    match fs.get_xattr(ino, CAPABILITIES) {
        Ok(_) => fs.remove_xattr(ino, CAPABILITIES).map(drop),
        Err(Error::NoAttribute) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sends bytes, or their number where the caller wants that.
pub fn reply(reply: ReplyXattr, room: u32, bytes: &[u8]) {
    match room {
        0 => reply.size(bytes.len() as u32),
        room if bytes.len() > room as usize => reply.error(Errno::ERANGE),
        _ => reply.data(bytes),
    }
}

fn check(name: &[u8]) -> Result<()> {
    match SPACES.iter().any(|space| name.len() > space.len() && name.starts_with(space)) {
        true => Ok(()),
        false => Err(Error::NotSupported),
    }
}
