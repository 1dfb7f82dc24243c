//! Extended attributes for C.

use super::attr::efscrypt_wcc;
use crate::error::Error;
use crate::ffi::boundary::{put_wanted, with_fs};
use crate::ffi::bytes::{bytes, copy_out};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::{FileSystem, XattrMode};

/// An extended attribute is set whether it exists or not.
pub const EFSCRYPT_XATTR_EITHER: u32 = 0;
/// It must not exist: `EFSCRYPT_STATUS_EXISTS`.
pub const EFSCRYPT_XATTR_CREATE: u32 = 1;
/// It must exist: `EFSCRYPT_STATUS_NO_ATTRIBUTE`.
pub const EFSCRYPT_XATTR_REPLACE: u32 = 2;

/// Reads the value of an extended attribute into `value` and sets `*len` to its length. Where
/// `room` is 0 only the length is set; `EFSCRYPT_STATUS_BUFFER_TOO_SMALL` where it is less than
/// that.
///
/// # Safety
/// `store` is valid; `name` has `name_len` bytes; `value` is valid for writes of `room` bytes;
/// `len` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_get_xattr(
    store: *const efscrypt_store,
    ino: u64,
    name: *const u8,
    name_len: usize,
    value: *mut u8,
    room: usize,
    len: *mut usize,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let found = fs.get_xattr(ino, unsafe { bytes(name, name_len)? })?;
        // SAFETY: as the caller promises.
        unsafe { copy_out(&found, value, room, len) }
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Sets an extended attribute: a name of 1 to 255 bytes without NUL, a value of up to 64 KiB. `how`
/// is one of `EFSCRYPT_XATTR_EITHER`, `EFSCRYPT_XATTR_CREATE`, `EFSCRYPT_XATTR_REPLACE`. Which
/// names a client may use is up to the caller. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// `store` is valid; name and value have their lengths; `file` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_set_xattr(
    store: *const efscrypt_store,
    ino: u64,
    name: *const u8,
    name_len: usize,
    value: *const u8,
    value_len: usize,
    how: u32,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let mode = match how {
            EFSCRYPT_XATTR_EITHER => XattrMode::Either,
            EFSCRYPT_XATTR_CREATE => XattrMode::Create,
            EFSCRYPT_XATTR_REPLACE => XattrMode::Replace,
            _ => return Err(Error::InvalidArgument("no such mode of setting an attribute")),
        };
        // SAFETY: as the caller promises.
        let name = unsafe { bytes(name, name_len)? };
        // SAFETY: as the caller promises.
        let wcc = fs.set_xattr(ino, name, unsafe { bytes(value, value_len)? }, mode)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(file, wcc) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Removes an extended attribute. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// `store` is valid; `name` has `name_len` bytes; `file` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_remove_xattr(
    store: *const efscrypt_store,
    ino: u64,
    name: *const u8,
    name_len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let wcc = fs.remove_xattr(ino, unsafe { bytes(name, name_len)? })?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(file, wcc) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Lists the names of all extended attributes of an inode into `names`, each with a final NUL, in
/// no order that means anything, and sets `*len` to the bytes of all. Where `room` is 0 only the
/// length is set; `EFSCRYPT_STATUS_BUFFER_TOO_SMALL` where it is less than that.
///
/// # Safety
/// `store` is valid; `names` is valid for writes of `room` bytes; `len` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_list_xattrs(
    store: *const efscrypt_store,
    ino: u64,
    names: *mut u8,
    room: usize,
    len: *mut usize,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let mut all = Vec::new();
        for name in fs.list_xattrs(ino)? {
            all.extend_from_slice(&name);
            all.push(0);
        }
        // SAFETY: as the caller promises.
        unsafe { copy_out(&all, names, room, len) }
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}
