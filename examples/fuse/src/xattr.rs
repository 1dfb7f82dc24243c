//! Extended attributes, as the kernel asks for them.

use efscrypt::fs::{FileSystem, XattrMode};
use efscrypt::{Error, Result};
use fuser::{Errno, ReplyXattr};
use rustix::fs::XattrFlags;

/// What gives a program capabilities when it is run.
const CAPABILITIES: &[u8] = b"security.capability";
/// Names that mean something to the kernel alone: access control lists, which are not offered.
const SYSTEM: &[u8] = b"system.";

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

/// The names of all attributes, each with a NUL behind it.
pub fn list(fs: &FileSystem, ino: u64) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    for name in fs.list_xattrs(ino)? {
        list.extend_from_slice(&name);
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
    match name.starts_with(SYSTEM) {
        true => Err(Error::NotSupported),
        false => Ok(()),
    }
}
