//! Extended attributes, as the kernel asks for them.

use efscrypt::fs::{FileSystem, XattrMode};
use efscrypt::{Error, Result};
use fuser::{Errno, ReplyXattr};
use rustix::fs::XattrFlags;

/// What gives a program capabilities when it is run.
const CAPABILITIES: &[u8] = b"security.capability";
/// Where names may be. Access control lists and what else the kernel gives a meaning are not
/// offered.
const SPACES: [&[u8]; 3] = [b"user.", b"security.", TRUSTED];
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
    check(name)?;
    fs.get_xattr(ino, name)
}

/// Removes an attribute.
pub fn remove(fs: &FileSystem, ino: u64, name: &[u8]) -> Result<()> {
    check(name)?;
    fs.remove_xattr(ino, name).map(drop)
}

/// The names of all attributes that a user may know of, each with a NUL behind it.
pub fn list(fs: &FileSystem, ino: u64, uid: u32) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    let names = fs.list_xattrs(ino)?;
    for name in names.iter().filter(|name| uid == 0 || !name.starts_with(TRUSTED)) {
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
