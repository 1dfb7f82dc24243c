//! Attributes for C, as the caller gives them.

use std::mem::offset_of;

use super::attr::{efscrypt_time, efscrypt_wcc};
use crate::error::{Error, Result};
use crate::ffi::boundary::{put_wanted, with_fs};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::sized::{Sized, check_reserved, sized};
use crate::ffi::store::efscrypt_store;
use crate::fs::{FileSystem, NewAttr, SetAttr, SetTime, Time, Wcc};

/// `mode` counts.
pub const EFSCRYPT_SET_MODE: u32 = 1;
/// `uid` counts.
pub const EFSCRYPT_SET_UID: u32 = 2;
/// `gid` counts.
pub const EFSCRYPT_SET_GID: u32 = 4;
/// `file_size` counts.
pub const EFSCRYPT_SET_SIZE: u32 = 8;
/// `atime` counts.
pub const EFSCRYPT_SET_ATIME: u32 = 16;
/// `mtime` counts.
pub const EFSCRYPT_SET_MTIME: u32 = 32;
/// The last access is the moment of the operation.
pub const EFSCRYPT_SET_ATIME_NOW: u32 = 64;
/// The last change of contents is the moment of the operation.
pub const EFSCRYPT_SET_MTIME_NOW: u32 = 128;
/// `guard` counts.
pub const EFSCRYPT_SET_GUARD: u32 = 256;
/// `umask` counts.
pub const EFSCRYPT_SET_UMASK: u32 = 512;

const KNOWN: u32 = 2 * EFSCRYPT_SET_UMASK - 1;
/// What cannot be said of an inode that is just being made.
const NOT_NEW: u32 = EFSCRYPT_SET_SIZE | EFSCRYPT_SET_GUARD;

/// Attributes to be set, or of a new inode. Set it to zero but for `size`, then each field that is
/// meant together with its `EFSCRYPT_SET_` bit in `valid`; others are ignored. Of a new inode, what
/// is not set has its default: owner and group 0, all times now, and permission bits for the owner
/// alone.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_set_attr {
    /// `sizeof(efscrypt_set_attr)`: later versions only add at the end.
    pub size: usize,
    /// Which fields count: `EFSCRYPT_SET_` bits.
    pub valid: u32,
    /// Permission bits; others are ignored.
    pub mode: u32,
    /// Owner. Setting owner or group of anything but a directory takes away its set-ID bits, as
    /// the caller's standing says (`efscrypt_fs_setattr_as`), unless the mode is set too.
    pub uid: u32,
    /// Group. What is made in a directory with the set-group-ID bit has the directory's.
    pub gid: u32,
    /// Bytes of contents; not for a new inode.
    pub file_size: u64,
    /// Last access.
    pub atime: efscrypt_time,
    /// Last change of contents.
    pub mtime: efscrypt_time,
    /// Do nothing unless this is the ctime: `EFSCRYPT_STATUS_NOT_SYNC`; not for a new inode.
    pub guard: efscrypt_time,
    /// Permission bits that a new inode does not get, unless its directory has a default access
    /// control list; only for a new inode.
    pub umask: u32,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size, and holds numbers.
unsafe impl Sized for efscrypt_set_attr {
    const LEAST: usize = offset_of!(efscrypt_set_attr, guard) + size_of::<efscrypt_time>();
}

impl efscrypt_set_attr {
    fn has(&self, bit: u32) -> bool {
        self.valid & bit != 0
    }

    fn check(&self) -> Result<()> {
        let both = |a, b| self.has(a) && self.has(b);
        check_reserved(&self.reserved.to_ne_bytes())?;
        if self.valid & !KNOWN != 0
            || both(EFSCRYPT_SET_ATIME, EFSCRYPT_SET_ATIME_NOW)
            || both(EFSCRYPT_SET_MTIME, EFSCRYPT_SET_MTIME_NOW)
        {
            return Err(Error::InvalidArgument("valid has bits that do not go together"));
        }
        Ok(())
    }

    fn time(&self, bit: u32, time: efscrypt_time) -> Result<Option<Time>> {
        if !self.has(bit) {
            return Ok(None);
        }
        check_reserved(&time.reserved.to_ne_bytes())?;
        Ok(Some(Time { seconds: time.seconds, nanoseconds: time.nanoseconds }))
    }

    fn set_attr(&self) -> Result<SetAttr> {
        self.check()?;
        if self.has(EFSCRYPT_SET_UMASK) {
            return Err(Error::InvalidArgument("only a new inode has a umask"));
        }
        let wanted = |bit, value| self.has(bit).then_some(value);
        let time = |bit, now, time| -> Result<Option<SetTime>> {
            let at = self.time(bit, time)?.map(SetTime::At);
            Ok(if self.has(now) { Some(SetTime::Now) } else { at })
        };
        Ok(SetAttr {
            mode: wanted(EFSCRYPT_SET_MODE, self.mode),
            uid: wanted(EFSCRYPT_SET_UID, self.uid),
            gid: wanted(EFSCRYPT_SET_GID, self.gid),
            size: self.has(EFSCRYPT_SET_SIZE).then_some(self.file_size),
            atime: time(EFSCRYPT_SET_ATIME, EFSCRYPT_SET_ATIME_NOW, self.atime)?,
            mtime: time(EFSCRYPT_SET_MTIME, EFSCRYPT_SET_MTIME_NOW, self.mtime)?,
            guard: self.time(EFSCRYPT_SET_GUARD, self.guard)?,
        })
    }
}

/// Attributes of a new inode; NULL stands for one that sets nothing.
///
/// # Safety
/// The pointer is NULL, or points to as many bytes as its size says.
pub(super) unsafe fn new_attr(pointer: *const efscrypt_set_attr, mode: u32) -> Result<NewAttr> {
    let mut new = NewAttr { mode, ..NewAttr::default() };
    // SAFETY: as the caller promises.
    let Some(given) = (unsafe { sized(pointer)? }) else { return Ok(new) };
    given.check()?;
    if given.has(NOT_NEW) {
        return Err(Error::InvalidArgument("a new inode has no size and no guard"));
    }
    if given.has(EFSCRYPT_SET_MODE) {
        new.mode = given.mode;
    }
    if given.has(EFSCRYPT_SET_UMASK) {
        new.umask = given.umask;
    }
    if given.has(EFSCRYPT_SET_UID) {
        new.uid = given.uid;
    }
    if given.has(EFSCRYPT_SET_GID) {
        new.gid = given.gid;
    }
    new.atime = given.time(EFSCRYPT_SET_ATIME, given.atime)?;
    new.mtime = given.time(EFSCRYPT_SET_MTIME, given.mtime)?;
    Ok(new)
}

/// Sets attributes, all or none; a size cuts or grows a regular file, and takes away its set-ID
/// bits as `efscrypt_fs_write` does. Another size than before moves mtime; that which the file has,
/// set alone, moves no time: `EFSCRYPT_SET_MTIME_NOW` with it does, as `ftruncate` and `O_TRUNC` of
/// POSIX do. Setting nothing changes nothing. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// `store` is valid; `set` points to as many bytes as its size says; `file` is NULL or valid for a
/// write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_setattr(
    store: *const efscrypt_store,
    ino: u64,
    set: *const efscrypt_set_attr,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { set_with(store, set, file, error, |fs, set| fs.setattr(ino, set)) }
}

/// Has `apply` set attributes.
///
/// # Safety
/// As for `efscrypt_fs_setattr`.
pub(super) unsafe fn set_with(
    store: *const efscrypt_store,
    set: *const efscrypt_set_attr,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
    apply: impl FnOnce(&FileSystem, &SetAttr) -> Result<Wcc>,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let set = unsafe { sized(set)? }.ok_or(Error::InvalidArgument("set is NULL"))?;
        let wcc = apply(fs, &set.set_attr()?)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(file, wcc) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}
