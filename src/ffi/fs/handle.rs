//! File handles for C.

use super::attr::efscrypt_attr;
use crate::ffi::boundary::{out, put, put_wanted, with_fs};
use crate::ffi::bytes::bytes;
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::{FileSystem, HANDLE_BYTES};

/// Most bytes of a file handle.
pub const EFSCRYPT_HANDLE_LEN: usize = 60;

const _: () = assert!(HANDLE_BYTES <= EFSCRYPT_HANDLE_LEN);

/// A file handle: what a server gives its clients, who cannot make one of a file that they were
/// never shown. It stays the same through renames, restarts and changes of keys, and never leads to
/// another file. Only the first `len` bytes matter: 48 now, and the same for all handles of a
/// store, so a server has room for some of its own in the 64 of NFSv3. 64 bytes with its length; it
/// never grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_handle {
    /// How many bytes it has.
    pub len: u32,
    /// The bytes; zeros behind `len`.
    pub bytes: [u8; EFSCRYPT_HANDLE_LEN],
}

const _: () = assert!(size_of::<efscrypt_handle>() == 64);

/// The handle of an inode.
///
/// # Safety
/// `store` is valid; `handle` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_handle(
    store: *const efscrypt_store,
    ino: u64,
    handle: *mut efscrypt_handle,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let handle = out(handle)?;
        let found = fs.handle_of(ino)?;
        let mut bytes = [0; EFSCRYPT_HANDLE_LEN];
        bytes[..found.len()].copy_from_slice(&found);
        // SAFETY: as the caller promises.
        unsafe { put(handle, efscrypt_handle { len: found.len() as u32, bytes }) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// The inode of the `handle_len` bytes of a handle, which may come from a hostile client.
/// `EFSCRYPT_STATUS_BAD_HANDLE` for bytes that this file system never gave out,
/// `EFSCRYPT_STATUS_STALE` where the inode is gone.
///
/// # Safety
/// `store` is valid; `handle` has `handle_len` bytes; `attr` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_by_handle(
    store: *const efscrypt_store,
    handle: *const u8,
    handle_len: usize,
    attr: *mut efscrypt_attr,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let found = fs.by_handle(unsafe { bytes(handle, handle_len)? })?;
        let found = fs.getattr(found)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(attr, found) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}
